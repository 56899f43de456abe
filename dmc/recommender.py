"""Recommender: ratings by anybody's users and items in, predictions and recommendations out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import __version__, _checks, initial, kernels, persistence, steps
from dmc.callbacks import EarlyStopping, Lowest, Progress
from dmc.factors import Factors
from dmc.observations import Duplicates, Lines, Observations
from dmc.problem import MaskedLeastSquares
from dmc.ratings import Table, Vocabulary
from dmc.solution import Solution, Status
from dmc.solver import Callback, solve

START_SCALE = 0.3  # of the factors' entries, for ratings of unit variance
RATE = 0.03  # Adam's, for factors of that size
MAX_STEPS = 1_000
MAX_HELD_OUT = 200_000  # ratings: more would cost time and tell nothing
MIN_HELD_OUT = 20  # ratings: with fewer the error says nothing
FALLBACK_STEPS = 100  # when there are too few ratings to hold any out
# Bytes of factors beyond the caches, where gathering in half the bytes saves time. The noise of ratings hides the
# rounding: test errors on MovieLens and Douban are the same to .0005.
FAR = 1 << 25
CHUNK = 1 << 22  # scores computed at a time when recommending


class Recommender:
    """Predict ratings and recommend items, from a table of users, items and ratings with ids of any kind.

    The model is the mean rating, plus a bias of each user and of each item, plus a compressed deep network; all fitted
    together. How long to train is found on ratings held out of the training data; then it is trained on all of them.

    Parameters
    ----------
    rank : int
        Upper bound of the rank of the interactions; a generous one does no harm.
    depth : int
        Number of cores of the deep network.
    l2 : float
        Regularisation, relative to the ratings' standard deviation; that of a user or item grows with the square root
        of its number of ratings.
    validation_fraction : float
        Share of the ratings held out to find the number of steps.
    random_state : int, numpy.random.Generator or None
        Seed of the start and of the held-out choice.
    n_threads : int, optional
        Threads of the fit; left out: as many as OMP_NUM_THREADS says, or as there are cores. The result does not depend
        on it.
    device : str, optional
        Where to train: "cuda" for a GPU, by torch. Left out: by compiled code on the host. The model comes back to the
        host.
    verbose : bool
        Show a progress bar.
    callbacks : sequence of callables
        See `dmc.callbacks`; one that returns true ends the fit with the best so far.

    Attributes
    ----------
    users_, items_ : Vocabulary
        The known ids.
    n_observed_ : int
        Ratings fitted, repeated ones merged.
    mean_ : float
        The mean rating.
    factors_ : Factors
        What is added to the mean: biases and deep part, float32.
    rank_ : int
        Rank of the interactions: singular values above 1e-3 of the largest.
    status_ : Status
    n_iter_ : int
        Steps of the final training.
    validation_rmse_ : float
        Root mean squared error on the ratings that were held out; NaN without.
    history_ : list of dict
        "n_steps" and "validation_rmse" at each look.
    """

    def __init__(
        self,
        rank: int = 16,
        *,
        depth: int = 3,
        l2: float = 1.3,
        validation_fraction: float = 0.1,
        random_state: int | np.random.Generator | None = 0,
        n_threads: int | None = None,
        device: str | None = None,
        verbose: bool = False,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.rank = _checks.integer(rank, "rank", 1)
        self.depth = _checks.integer(depth, "depth", 0)
        self.l2 = _checks.real(l2, "l2", 0)
        self.validation_fraction = _checks.real(validation_fraction, "validation_fraction", 0, 0.5)
        _checks.generator(random_state)
        _checks.callables(callbacks, "callbacks")
        self.random_state = random_state
        self.n_threads = None if n_threads is None else _checks.integer(n_threads, "n_threads", 1)
        self.device = device
        self.verbose = verbose
        self.callbacks = callbacks

    def fit(
        self,
        table: Any,
        user: str = "user",
        item: str = "item",
        rating: str = "rating",
        duplicates: Duplicates = "error",
    ) -> Recommender:
        """Fit to a table of ratings.

        Ctrl-C ends the fit with the best so far, and a warning.

        Parameters
        ----------
        table : data frame, mapping of arrays, or path of a file
            One rating a row: see `dmc.ratings.Table.open`.
        user, item, rating : str
            Names of the columns. Ids may be text or numbers, with gaps; ratings real numbers on any scale.
        duplicates : {"error", "mean", "last"}
            What to do when a user rated an item more than once.

        Returns
        -------
        Recommender
            Itself.

        Raises
        ------
        ValueError, TypeError, OSError
            If the table cannot be used; the message says why, and what to do.
        FloatingPointError
            If the fit overflowed.
        """
        source = Table.open(table, (user, item, rating))
        values = source.numbers(rating)
        users, rows = Vocabulary.learn(source.ids(user))
        items, cols = Vocabulary.learn(source.ids(item))
        if len(values) == 0:
            raise ValueError("the table holds no rating; give at least one")
        try:
            observations = Observations.from_entries(rows, cols, values, (len(users), len(items)), duplicates)
        except ValueError as error:
            if "repeat" not in str(error):
                raise
            n = len(values) - len(np.unique(rows * len(items) + cols))
            raise ValueError(
                f"{_checks.count(n, 'rating repeats', 'ratings repeat')} a user and an item given before; "
                "say duplicates='last' or duplicates='mean'"
            ) from None
        self.columns_ = (user, item, rating)
        self.users_, self.items_ = users, items
        with kernels.threads(self.n_threads):
            self._fit(observations)
        return self

    def _fit(self, observations: Observations) -> None:
        rng = _checks.generator(self.random_state)
        values = observations.values
        self.mean_ = float(np.mean(values, dtype=np.float64))
        self.range_ = (float(values.min()), float(values.max()))
        unit = float(np.std(values, dtype=np.float64)) or 1.0
        scaled = observations.with_values(((values - self.mean_) / unit).astype(np.float32))
        scaled = scaled if self.device is None else scaled.to(self.device)
        start = self._start(scaled, rng)
        watch, solution = self._find_length(scaled, start, rng)
        self.validation_rmse_ = watch.best_error * unit if watch else float("nan")
        self.history_ = [{"n_steps": n, "validation_rmse": e * unit} for n, e in (watch.errors if watch else [])]
        if solution is None or solution.stopped_by in (None, EarlyStopping.name):
            lowest = Lowest()  # a last step may land on a spike
            solution = self._train(scaled, start, max(watch.best_step, 1) if watch else FALLBACK_STEPS, lowest)
            solution = replace(solution, factors=lowest.best or solution.factors)
        if solution.status is Status.NONFINITE:
            raise FloatingPointError(f"the fit failed: {solution.status}")
        factors = solution.factors
        if solution.status is Status.STOPPED and watch is not None and watch.best is not None:
            factors = watch.best  # somebody asked to stop: better the best so far than an unfinished final training
        if solution.stopped_by == "interrupt":
            warnings.warn("interrupted: the model holds the best so far", stacklevel=3)
        # The final training has the number of steps that it was given: that is its end.
        self.status_: Status = Status.CONVERGED if solution.status is Status.MAX_STEPS else solution.status
        self.n_iter_ = solution.n_steps
        self.factors_ = factors.to(None).scaled(unit)
        self.rank_ = self.factors_.rank(1e-3)
        self._seen = observations.pattern.by_row
        self.n_observed_ = observations.n_observed

    def _start(self, scaled: Observations, rng: np.random.Generator) -> Factors:
        m, n = scaled.shape
        width = 2 * min(self.rank, m, n)
        start = initial.gaussian((m, n), width, self.depth, START_SCALE, rng, np.float32)
        return replace(start, row_bias=np.zeros(m, np.float32), column_bias=np.zeros(n, np.float32))

    def _find_length(
        self, scaled: Observations, start: Factors, rng: np.random.Generator
    ) -> tuple[EarlyStopping | None, Solution | None]:
        """Train on a part, watching the rest: how many steps are best."""
        fraction = min(self.validation_fraction, MAX_HELD_OUT / scaled.n_observed)
        if fraction * scaled.n_observed < MIN_HELD_OUT:
            return None, None
        try:
            train, held_out = scaled.split(fraction, rng)
        except ValueError:  # every rating is the only one of its user or item
            return None, None
        watch = EarlyStopping(held_out, patience=40)
        return watch, self._train(train, start, MAX_STEPS, watch)

    def _train(self, scaled: Observations, start: Factors, n_steps: int, watch: EarlyStopping | Lowest) -> Solution:
        pattern = scaled.pattern
        l2 = (self.l2 * pattern.row_counts**0.5, self.l2 * pattern.column_counts**0.5)
        looks: list[Callback] = [
            watch,
            *self.callbacks,
            *([Progress()] if self.verbose else []),
        ]
        far = (start.U.nbytes + start.V.nbytes) > FAR
        return solve(
            MaskedLeastSquares(scaled, l2=l2, gathered="bfloat16" if far else None),
            start,
            steps.Adam(RATE),
            max_steps=n_steps,
            callbacks=looks,
            check_every=5,
        )

    def predict(self, table: Any, clip: bool = True) -> Any:
        """Predict ratings for pairs of a user and an item.

        Users and items that are not known get what the rest says: the mean, plus the other side's bias.

        Parameters
        ----------
        table : data frame, mapping of arrays, or path of a file
            With the columns of users and items named as in `fit`.
        clip : bool
            Keep the predictions inside the range of the ratings seen in `fit`.

        Returns
        -------
        The table's own kind, with a column "prediction" (float32); for a file, a dict of arrays.
        """
        self._check_fitted()
        source = Table.open(table, self.columns_[:2])
        user, item = (source.ids(name) for name in self.columns_[:2])
        rows, cols = self.users_.lines(user), self.items_.lines(item)
        left, right = self._sides()
        predicted = Factors(left, (), right).at(rows % len(left), cols % len(right)) + np.float32(self.mean_)
        return source.with_column("prediction", np.clip(predicted, *self.range_) if clip else predicted)

    def recommend(self, users: Any, n: int = 10) -> Any:
        """The n best items for each user, of those that the user has not rated.

        Users who are not known get the items that are best on average.

        Parameters
        ----------
        users : id, sequence of ids, or data frame or mapping with the column of users
        n : int
            Items for each user; fewer where fewer are left.

        Returns
        -------
        dict of arrays, or a data frame if one was given
            Columns of users, items (named as in `fit`) and "prediction" (float32), best first for each user in the
            order given.
        """
        self._check_fitted()
        n = _checks.integer(n, "n", 1)
        user, item, _ = self.columns_
        is_table = hasattr(users, "columns") or isinstance(users, Mapping)
        if not is_table:  # a list as it is: an array might round huge ids
            users = {user: users if isinstance(users, (list, tuple)) else np.atleast_1d(users)}
        source = Table.open(users, (user,))
        ids = source.ids(user)
        rows = self.users_.lines(ids)
        left, right = self._sides()
        right = right[:-1]  # without the unknown item
        chunk = max(1, CHUNK // len(right))
        found = [best for i in range(0, len(rows), chunk) for best in self._best(rows[i : i + chunk], left, right, n)]
        counts = [len(cols) for cols, _ in found]
        cols = np.concatenate([np.empty(0, np.int64), *(cols for cols, _ in found)])
        scores = np.concatenate([np.empty(0, np.float32), *(scores for _, scores in found)])
        columns = {
            user: np.repeat(source.column(user), counts),
            item: self.items_.ids[cols],
            "prediction": np.clip(scores + np.float32(self.mean_), *self.range_),
        }
        return source.like(columns)

    def _best(
        self, rows: NDArray[Any], left: NDArray[Any], right: NDArray[Any], n: int
    ) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        """Columns and scores of the best unseen items of some users."""
        scores = left[rows % len(left)] @ right.T
        pointers, seen = self._seen
        best = []
        for row, own in zip(rows, scores, strict=True):
            if row >= 0:
                own[seen[pointers[row] : pointers[row + 1]]] = -np.inf
            top = np.argpartition(-own, min(n, len(own)) - 1)[:n]
            top = top[np.lexsort((top, -own[top]))]
            top = top[np.isfinite(own[top])]
            best.append((top, own[top]))
        return best

    def _sides(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """left and right, each with a last line for what is not known: no interaction, no bias of its own."""
        left, right = self.factors_.left, self.factors_.right
        stranger_left, stranger_right = np.zeros_like(left[:1]), np.zeros_like(right[:1])
        stranger_left[0, -1] = 1  # carries the item's bias
        stranger_right[0, -2] = 1  # carries the user's bias
        return np.vstack([left, stranger_left]), np.vstack([right, stranger_right])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model to a file (safetensors with a JSON header).

        Parameters
        ----------
        path : path
            Replaced if it exists; the file appears whole or not at all.
        """
        self._check_fitted()
        f = self.factors_
        arrays = {"U": f.U, "V": f.V, "row_bias": f.row_bias, "column_bias": f.column_bias}
        arrays |= {f"cores.{i}": W for i, W in enumerate(f.cores)}
        arrays |= {"users": self.users_.ids, "items": self.items_.ids}
        arrays |= {"seen.pointers": self._seen.pointers, "seen.indices": self._seen.indices}
        header = {
            "written_by": f"dmc {__version__}",
            "settings": {"rank": self.rank, "depth": self.depth, "l2": self.l2},
            "columns": self.columns_,
            "mean": self.mean_,
            "range": self.range_,
            "rank": self.rank_,
            "status": self.status_.name,
            "n_iter": self.n_iter_,
            "validation_rmse": self.validation_rmse_,
        }
        persistence.save(path, "Recommender", arrays, header)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recommender:
        """Read a model that `save` or ``dmc fit -o`` wrote.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no such file, or it is damaged, foreign or of a newer version.
        """
        arrays, header = persistence.load(path, "Recommender")
        self = cls(**header["settings"])
        cores = [arrays[f"cores.{i}"] for i in range(self.depth)]
        self.factors_ = Factors(arrays["U"], tuple(cores), arrays["V"], arrays["row_bias"], arrays["column_bias"])
        self.users_, self.items_ = Vocabulary(arrays["users"]), Vocabulary(arrays["items"])
        self._seen = Lines(arrays["seen.pointers"], arrays["seen.indices"])
        self.n_observed_ = len(self._seen.indices)
        self.columns_ = tuple(header["columns"])
        self.mean_, self.range_ = header["mean"], tuple(header["range"])
        self.rank_, self.n_iter_ = header["rank"], header["n_iter"]
        self.status_ = Status[header["status"]]
        self.validation_rmse_ = header["validation_rmse"]
        self.history_ = []
        return self

    def _check_fitted(self) -> None:
        if not hasattr(self, "factors_"):
            from sklearn.exceptions import NotFittedError

            raise NotFittedError("this Recommender is not fitted yet; call fit with a table of ratings first")
