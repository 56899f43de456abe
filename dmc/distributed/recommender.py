"""A recommender that is fitted in several processes, each of which keeps its own users."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dmc import _checks, _extensions, kernels
from dmc._group import ALONE, Group
from dmc._keeper import NOTHING_KEPT, Keeper, refuse_keeping
from dmc._warn import warn
from dmc.distributed import shards
from dmc.distributed.agreement import agreed, everyone
from dmc.distributed.arrow import give_back
from dmc.distributed.checkpoint import Checkpoint
from dmc.distributed.dealing import Dealt, deal
from dmc.distributed.sources import batches
from dmc.observations import Observations
from dmc.pattern import SparseIndex
from dmc.recommend import answers, ensemble
from dmc.recommend.bayesian_model import MAX_PRECISION, VariationalFactorization
from dmc.recommend.fitting import RATING, Columns, Duplicates, Told, served_state, warn_of_ratings
from dmc.recommend.models import RatingModel
from dmc.recommend.recommender import Recommender as OwnRecommender
from dmc.recommend.settings import Feedback, ModelName, RecommenderSettings
from dmc.recommend.state import FitInfo, Fitted
from dmc.recommend.tables.vocabulary import Vocabulary
from dmc.solver.callbacks import Progress
from dmc.solver.loop import Callback
from dmc.solver.solution import StepInfo

T = TypeVar("T")
ROWS = 1 << 16  # put in another order at a time
Source = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Iterable[Any]


class Recommender:
    """`dmc.Recommender`, fitted in several processes: users are dealt to the processes, items are shared by all.

    Every process creates one with the same parameters and calls the same methods. The result is that of one process up
    to rounding, for any number of processes. Lists are sorted by predicted rating. Ensembles, intervals and features of
    users and items are not available.

    Parameters
    ----------
    rank : int, optional
        As in `dmc.Recommender`.
    feedback : {"explicit", "implicit"}
        Whether the table holds ratings, or counts of events.
    model : {"bayes", "network"}, optional
        Model of the ratings, as in `dmc.Recommender`.
    depth : int, optional
        Network only: number of factors between the outer two.
    l2 : float, optional
        Network only: regularisation, as in `dmc.Recommender`.
    validation_fraction : float, optional
        Network only: share of the ratings held out to choose the number of steps.
    random_state : int
        Seed; the same in all processes.
    n_threads : int, optional
        Threads of each process. Default: OMP_NUM_THREADS if it is set, which torchrun sets to 1.
    device : str, optional
        For networks and clicks: "cuda" is the GPU with the process's number on its machine.
    verbose : bool
        Show a progress bar in the first process.
    callbacks : sequence of callables
        Called during the fit with the factors of the process's own users. A callback that returns true in one process
        ends the fit in all.

    Attributes
    ----------
    own_ : dmc.Recommender
        The fitted model of this process's users and all items.
    group_ : Group
        The processes.
    resumed_ : bool
        Whether the fit resumed from a checkpoint; if the checkpoint was complete, nothing was left to do.

    See Also
    --------
    connected : The group of processes to pass to `fit`.
    load : Read a saved model, or only the part that has some users.

    Examples
    --------
    In one process, which needs no launcher:

    >>> import dmc.distributed, pyarrow
    >>> ratings = {"user": ["ann", "ann", "bob", "bob"], "item": ["a", "b", "a", "c"], "rating": [5.0, 3.0, 4.0, 2.0]}
    >>> rec = dmc.distributed.Recommender().fit([pyarrow.RecordBatch.from_pydict(ratings)])
    >>> len(rec.own_.users_)
    2
    """

    def __init__(
        self,
        rank: int | None = None,
        *,
        feedback: Feedback = "explicit",
        model: ModelName | None = None,
        depth: int | None = None,
        l2: float | None = None,
        validation_fraction: float | None = None,
        random_state: int = 0,
        n_threads: int | None = None,
        device: str | None = None,
        verbose: bool = False,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        seed = _checks.integer(random_state, "random_state", 0)
        refuse_keeping(callbacks, "a fit of several processes", "give its folder to fit, as checkpoint=…")
        self._settings = RecommenderSettings(
            rank, feedback, model, depth, l2, validation_fraction, random_state=seed, n_threads=n_threads,
            device=device, verbose=verbose, callbacks=callbacks
        ).checked()  # fmt: skip

    def __repr__(self) -> str:
        settings = f"rank={self._settings.rank}, feedback={self._settings.feedback!r}"
        return f"Recommender({settings}, {f'of this process: {self.own_}' if hasattr(self, 'own_') else 'not fitted'})"

    def fit(
        self,
        source: Source,
        user: str = "user",
        item: str = "item",
        rating: str = RATING,
        duplicates: Duplicates = "error",
        *,
        weight: str | None = None,
        time: str | None = None,
        group: Group = ALONE,
        checkpoint: str | os.PathLike[str] | None = None,
        scratch: str | os.PathLike[str] | None = None,
    ) -> Recommender:
        """Fit to ratings or clicks; every process calls this.

        Parameters
        ----------
        source : paths, or iterable of pyarrow.RecordBatch
            Parquet files and folders, the same in all processes, each of which reads a share of them; or the rows of
            this process, which may belong to any user.
        user, item, rating : str
            Names of the columns.
        duplicates : {"error", "mean", "last", "latest"}
            What to do if a user rated an item more than once, as in `dmc.Recommender.fit`.
        weight : str, optional
            Column of weights, as in `dmc.Recommender.fit`.
        time : str, optional
            Column of times for ``duplicates="latest"``.
        group : Group
            The processes, from `connected`. Default: this process alone.
        checkpoint : path, optional
            Folder on a disk that all processes see, for the state of the fit after each sweep. If it holds a checkpoint
            of the same data and settings, the fit resumes from it, with any number of processes.
        scratch : path, optional
            Folder on a disk of this machine, for rows on their way to the process that owns them. Default: the folder
            of temporary files.

        Returns
        -------
        Recommender
            The recommender itself.

        Raises
        ------
        ValueError, TypeError, OSError, ImportError
            In all processes if any of them has a reason to; the others raise an `ElsewhereError`.
        LostProcess
            If another process ended, or cannot be reached any more.
        FloatingPointError
            If the fit overflowed.

        Warns
        -----
        UserWarning
            As `dmc.Recommender.fit`, in the first process; and if the ratings show no noise, since `dmc.Recommender` in
            one process then finishes the fit exactly.

        Examples
        --------
        >>> import dmc.distributed, pyarrow
        >>> clicks = pyarrow.RecordBatch.from_pydict({"who": ["ann", "ann", "bob"], "song": [7, 8, 7]})
        >>> rec = dmc.distributed.Recommender(rank=1, feedback="implicit")
        >>> rec.fit([clicks], user="who", item="song").own_.recommend("bob")["song"].tolist()
        [8]
        """
        columns = Columns(user, item, rating, weight, time)
        settings, paths = self._settings, shards.are_paths(source)
        with agreed(group):
            source = source if paths else shards.rows_of(source)
        of_call = {"device": settings.device, "source": "paths" if paths else "rows"}
        self._refuse_differences(group, columns, duplicates, of_call | {"checkpointing": checkpoint is not None})
        rows: Any = batches(source, columns.for_duplicates(duplicates), group) if paths else source  # type: ignore[arg-type]
        dealt = deal(rows, columns, settings.feedback, duplicates, group, scratch)
        give_back()
        if settings.feedback == "implicit":
            _refuse_dislikes_alone(group, dealt)
        warn_of_ratings(settings, dealt.observations, group)
        keeper: Keeper = NOTHING_KEPT
        if checkpoint is not None:
            keeper = Checkpoint(checkpoint, dealt.share, self._identity(columns, duplicates), dealt.digest)
        with kernels.threads(settings.n_threads), _interrupts(group) as interrupted:
            watchers: list[Callback] = [*settings.callbacks, *self._progress(group), interrupted]
            watched = replace(settings, callbacks=watchers, verbose=False)
            rng = np.random.default_rng(settings.random_state)
            models, info = _told_once(
                group, partial(ensemble.fit, watched, dealt.observations, rng, share=dealt.share, keeper=keeper)
            )
        self._warn_of_clean(group, models[0])
        self.resumed_: bool = isinstance(keeper, Checkpoint) and keeper.resumes
        self.group_: Group = group
        self.own_: OwnRecommender = _own(settings, columns, dealt, models[0], info)
        return self

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the model into a folder, one file per process.

        `dmc.Recommender.load` reads the folder, or a single file of it.

        Parameters
        ----------
        folder : path
            On a disk that all processes see. A model that is there is replaced once all files are written.

        Raises
        ------
        ValueError, OSError
            If the folder holds something else, or cannot be written.

        Examples
        --------
        >>> import os, tempfile
        >>> import dmc.distributed, pyarrow
        >>> ratings = {"user": ["ann", "ann", "bob"], "item": ["a", "b", "c"], "rating": [5.0, 3.0, 4.0]}
        >>> rec = dmc.distributed.Recommender().fit([pyarrow.RecordBatch.from_pydict(ratings)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     rec.save(os.path.join(folder, "model"))
        ...     print(dmc.Recommender.load(os.path.join(folder, "model")))
        Recommender(2 users, 3 items, 3 ratings)
        """
        shards.write(self.own_, folder, self.group_)

    def _progress(self, group: Group) -> list[Callback]:
        return [Progress()] if self._settings.verbose and group.rank == 0 else []

    def _identity(self, columns: Columns, duplicates: Duplicates) -> dict[str, Any]:
        """What a checkpoint has to be of."""
        settings = self._settings
        told = settings.of_fit() | {"random_state": settings.random_state}
        return told | {"duplicates": duplicates, "columns": list(columns)}

    def _refuse_differences(
        self, group: Group, columns: Columns, duplicates: Duplicates, of_call: dict[str, Any]
    ) -> None:
        """All processes are to do the same, and to be able to."""
        with agreed(group):
            columns.for_duplicates(duplicates)
            answers.refuse_reserved(columns[:3])
            if _extensions.core is None:
                raise ImportError(
                    f"process {group.rank} has no compiled core, which fits of several processes need: "
                    f"{_extensions.missing}; {_extensions.REMEDY}"
                )
        told = everyone(group, self._identity(columns, duplicates) | of_call)
        with agreed(group):
            for rank, theirs in enumerate(told):
                for name, ours in told[0].items():
                    if theirs[name] != ours:
                        raise ValueError(
                            f"{name} is {ours!r} in process 0 and {theirs[name]!r} in process {rank}; use the same in "
                            "all"
                        )

    def _warn_of_clean(self, group: Group, model: RatingModel) -> None:
        if group.rank == 0 and isinstance(model, VariationalFactorization) and model.precision >= MAX_PRECISION:
            warn(
                f"the ratings show no noise above {model.noise:.2g}, and predictions are not more accurate than that; "
                "dmc.Recommender, in one process, finishes such fits exactly"
            )


def _refuse_dislikes_alone(group: Group, dealt: Dealt) -> None:
    liked = group.any(bool((dealt.observations.values > 0).any()))
    with agreed(group):
        if not liked:
            raise ValueError(
                "no count is above 0, so there are no preferences to learn; give counts of what was chosen"
            )


def _told_once(group: Group, fit: Callable[[], T]) -> T:
    """A fit that overflows does so in all processes; one of them tells."""
    failed: FloatingPointError | None = None
    try:
        return fit()
    except FloatingPointError as error:
        failed = error
    with agreed(group):
        raise failed


def _own(
    settings: RecommenderSettings, columns: Columns, dealt: Dealt, model: RatingModel, info: FitInfo
) -> OwnRecommender:
    """What is served of the own users, in the order of their ids."""
    order = np.argsort(dealt.users, kind="stable")
    ordered = _in_order(dealt.observations, order)
    items = np.arange(len(dealt.items))
    sorted_model = model.extended(ordered, order, items, np.zeros(len(order), bool))
    told = Told(columns, Vocabulary(dealt.users[order]), dealt.items, (None, None))
    group = dealt.share.group
    state = served_state(settings, told, Fitted(ordered, [sorted_model]), info, None, ranked=False, group=group)
    return OwnRecommender._serving(settings, state)


def _in_order(observations: Observations, order: NDArray[np.int64]) -> Observations:
    """The rows in another order, some at a time: to say where each entry comes from takes as much room as the entry."""
    by_row, values, weights = observations.pattern.by_row, observations.values, observations.weights
    ends = np.concatenate([[0], np.cumsum(np.diff(np.asarray(by_row.indptr))[order])])
    found = [np.empty_like(one) for one in (by_row.indices, values, *(() if weights is None else (weights,)))]
    for first in range(0, len(order), ROWS):
        index, entries = by_row.take(order[first : first + ROWS])
        at = slice(ends[first], ends[first] + len(entries))
        found[0][at], found[1][at] = index.indices, values[entries]
        if weights is not None:
            found[2][at] = weights[entries]
    indices, own, *weighed = found
    return Observations.from_lines(SparseIndex(ends, indices), own, observations.shape, weighed[0] if weighed else None)


class _Interrupt:
    """Ctrl-C, as a callback: what one process is asked for, all do, behind the same step."""

    name = "interrupt"

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, info: StepInfo) -> bool:
        return self.asked

    def ask(self, *_: object) -> None:
        self.asked = True


@contextmanager
def _interrupts(group: Group) -> Iterator[_Interrupt]:
    """Ctrl-C ends the fit of several processes where they are together."""
    interrupt = _Interrupt()
    if group.size == 1 or threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = signal.signal(signal.SIGINT, interrupt.ask)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
