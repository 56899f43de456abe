"""Recommender: ratings by anybody's users and items in, predictions and recommendations out."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from dmc import _memory
from dmc._locks import lock
from dmc.recommend import fitting, forgetting, storage
from dmc.recommend.fitted_recommender import FittedRecommender
from dmc.recommend.fitting import RATING, Duplicates
from dmc.recommend.settings import Feedback, ModelName, RecommenderSettings
from dmc.recommend.state import State
from dmc.solver.loop import Callback

_REPLACING = lock()  # between the look at what is served and its replacement


@_memory.methods_in_words
class Recommender(FittedRecommender):
    """Predict ratings and recommend items, from a table of users, items and ratings with ids of any kind.

    The model is the mean rating, plus a bias of each user and of each item, plus a low-rank part. It is fitted by
    variational Bayes (`recommend.bayesian`): who rated what tells where a user or item is to be expected, and how far
    from there the ratings may move it, and how reliable each user's ratings are, is learnt from all of them; so no
    setting has to be chosen, and nothing is held out. It knows no time: where tastes drift, later ratings are predicted
    worse than a random part of them, which ``dmc.evaluation.split(by="time")`` shows.
    With ``model="network"`` a compressed deep network is trained in its place (`recommend.network`).

    Where there are no ratings but clicks, plays or purchases (``feedback="implicit"``), every pair counts, those
    without any as a weak no (`recommend.implicit`): what is predicted is then a preference, about 1 for what is chosen
    and about 0 for what is not, and only its order means something.

    Parameters
    ----------
    rank : int, optional
        Upper bound of the rank of the interactions; a generous one does no harm. Left out, ratings take directions in
        while those that are there stand out of the noise. Of preferences it is the rank, and left out the one up to
        1,024 that tells held-out clicks best (`history_`); of a network 16.
    feedback : {"explicit", "implicit"}
        Whether the table holds ratings, or counts of what happened (all one, if it has no column "rating" and no other
        is named); counts below 0 are dislikes: of these a list holds none, and less of what is like them.
    model : {"bayes", "network"}, optional
        Of ratings; left out: "bayes". Clicks have one of their own.
    depth : int, optional
        Cores of the network, which is trained for as long as ratings that are held out for that gain from it; 3 if
        left out. Like the next two, refused where it has no effect.
    l2 : float, optional
        Of the network: regularisation, relative to the ratings' standard deviation; that of a user or item grows with
        the square root of its number of ratings. 1.3 if left out.
    validation_fraction : float, optional
        Of the network: share of the ratings held out to find the number of steps; .1 if left out.
    ensemble : int
        Models from as many seeds, whose predictions are averaged.
    intervals : bool
        Also learn how far predictions are off, for ``predict(…, interval=0.9)``: a model without a tenth of the ratings
        is fitted for that, and judged on them (split conformal prediction, `dmc.recommend.intervals`).
    random_state : int, numpy.random.Generator or None
        Seed of the start and of what is held out.
    n_threads : int, optional
        Threads of the fit; left out: as many as OMP_NUM_THREADS says, or as there are cores. The result does not depend
        on it.
    device : str, optional
        Where to train a network, or to fit preferences: "cuda" for a GPU, by torch. The model comes back to the host.
    verbose : bool
        Show a progress bar.
    callbacks : sequence of callables
        See `dmc.callbacks`; one that returns true ends the fit with what was reached.

    Many threads may ask a model while one fits it further: each answer is of the model before or of the one after. What
    it hands out is read-only.

    Attributes
    ----------
    users_, items_ : Vocabulary
        The known ids.
    columns_ : (str, str, str)
        Names of the columns of users, items and ratings.
    n_observed_ : int
        Ratings fitted, repeated ones merged.
    observations_ : Observations
        These ratings; row i is user ``users_.ids[i]``, column j item ``items_.ids[j]``.
    seen_ : SparseIndex
        What each user has rated: user ``users_.ids[i]`` the items ``items_.ids[j]`` for j in
        ``seen_.indices[seen_.indptr[i]:seen_.indptr[i + 1]]``.
    mean_, range_ : float, (float, float)
        The mean rating; the lowest and the highest.
    factors_ : Factors
        What is added to the mean: biases and low-rank part, two-factor, float32.
    user_factors, item_factors : (users, k) and (items, k) float32
        Their products plus the mean are the predictions; the biases are two of the columns.
    cold_start_factors_ : (k,) and (k,) float32
        The same of a user, and of an item, that are not known.
    ranking_ : Factors
        What `recommend` goes by: row i, column j orders item ``items_.ids[j]`` in the list of user ``users_.ids[i]``,
        and means nothing else. Of clicks these are the predictions.
    rank_ : int
        Directions of the interactions that stand out of the noise.
    noise_ : float
        Standard deviation of a rating around its prediction, as the fit estimates it.
    status_ : Status
    n_iter_ : int
        Sweeps, or steps, of the (first) fit.
    validation_rmse_ : float
        Root mean squared error on the ratings that were held out; NaN where none were.
    history_ : list of dict
        "n_steps" and "noise" after each sweep; of a network "n_steps" and "validation_rmse"; of preferences "phase"
        ("search" or "fit"), "n_steps" and "value" after each sweep, and "rank", "ridge", "ndcg" on held-out clicks and
        its "noise" for each setting that was tried.
    """

    rank: int | None
    feedback: Feedback
    model: ModelName | None
    depth: int | None
    l2: float | None
    validation_fraction: float | None
    ensemble: int
    intervals: bool
    random_state: int | np.random.Generator | None
    n_threads: int | None
    device: str | None
    verbose: bool
    callbacks: Sequence[Callback]

    def __init__(
        self,
        rank: int | None = None,
        *,
        feedback: Feedback = "explicit",
        model: ModelName | None = None,
        depth: int | None = None,
        l2: float | None = None,
        validation_fraction: float | None = None,
        ensemble: int = 1,
        intervals: bool = False,
        random_state: int | np.random.Generator | None = 0,
        n_threads: int | None = None,
        device: str | None = None,
        verbose: bool = False,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        settings = RecommenderSettings(
            rank, feedback, model, depth, l2, validation_fraction, ensemble, intervals, random_state, n_threads, device,
            verbose, callbacks
        )  # fmt: skip
        vars(self).update(vars(settings.checked()))

    def __repr__(self) -> str:
        state, fitted = self._state, ", not fitted"
        if state is not None:
            fitted = f", {len(state.users):,} users, {len(state.items):,} items"
        return f"Recommender(rank={self.rank}, feedback={self.feedback!r}{fitted})"

    def _settings(self) -> RecommenderSettings:
        """As they are now: they may have been set since."""
        return RecommenderSettings(**{of.name: getattr(self, of.name) for of in fields(RecommenderSettings)}).checked()

    def fit(
        self,
        table: Any,
        user: str = "user",
        item: str = "item",
        rating: str = RATING,
        duplicates: Duplicates = "error",
        *,
        weight: str | None = None,
        time: str | None = None,
        user_features: Any = None,
        item_features: Any = None,
    ) -> Recommender:
        """Fit to a table of ratings.

        Ctrl-C ends the fit with what was reached, and a warning; a second one, or one while the table is read or the
        result is put together, raises KeyboardInterrupt and leaves the model as it was. With a
        `dmc.callbacks.Checkpoint` among the callbacks the fit goes on where an earlier process left it; `partial_fit`
        keeps none.

        Parameters
        ----------
        table : data frame, mapping of arrays, or path of a file
            One rating a row: see `dmc.recommend.tables.table.Table.open`.
        user, item, rating : str
            Names of the columns. Ids may be text or numbers, with gaps; ratings real numbers on any scale.
        duplicates : {"error", "mean", "last", "latest"}
            What to do when a user rated an item more than once: "last" is the last one in the table, "latest" the one
            of the latest time. Counts of what happened are added up in any case.
        weight : str, optional
            The column of weights, above 0: how much each row of the table counts, such as ``0.5 ** (age / half_life)``.
            A rating of weight w is taken to be as precise as w ratings: only ratios of weights matter. A count counts
            so often: what is less than one, less than a click. Tables of later ratings have to have the column too.
        time : str, optional
            The column of times for ``duplicates="latest"``, "timestamp" if left out: numbers, dates or ISO 8601 text.
        user_features, item_features : data frame, mapping of arrays, or path of a file, optional
            Side information: the column of ids named as in `table`, and columns of numbers, dates, text or tags
            (lists, or text such as "drama|war"; `recommend.side_information`). They tell where somebody is to be
            expected, above all who has no rating yet (cold start): who stands in these tables is known to the model.
            Of clicks they place only who has none: once there is one, clicks alone do, and that all others have not
            clicked counts, too. Not for networks.

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
        columns = fitting.Columns(user, item, rating, weight, time)
        self._state = fitting.fit(self._settings(), table, columns, duplicates, user_features, item_features)
        return self

    def fold_in(self, table: Any = None, *, user_features: Any = None, item_features: Any = None) -> Recommender:
        """A recommender that also knows the ratings of a table: of new users, new items, and new ones of known users.

        Nothing is fitted again: new items are placed by the ratings of known users, then the table's users by all of
        theirs, each at the mean of its posterior.

        Parameters
        ----------
        table : data frame, mapping of arrays, or path of a file, optional
            With the columns named as in `fit`. Of a rating that is known already the new value counts.
        user_features, item_features : data frame, mapping of arrays, or path of a file, optional
            Of new users and items, or new ones of known ones, with the columns of those in `fit`: who has no rating is
            placed by them.

        Returns
        -------
        Recommender
            Another one; this one stays as it is.

        Raises
        ------
        ValueError, TypeError, OSError
            If the table cannot be used, or the model was saved by a version that did not keep the ratings.
        """
        folded = copy.copy(self)
        folded._state = fitting.fold_in(self._settings(), self._served(), table, user_features, item_features)
        return folded

    def partial_fit(self, table: Any = None, *, user_features: Any = None, item_features: Any = None) -> Recommender:
        """Take more ratings in, and fit all of them again from where the model stands.

        A network is fitted anew, and so are preferences of more than twice as many counts as their settings were found
        with.

        Until it is done, other threads are answered by the model as it was, and then by the new one. If it fails, or
        Ctrl-C ends it before or behind the sweeps, the model stays as it was; Ctrl-C during the sweeps ends them with
        what was reached, and a warning. If the model has all the ratings already, nothing is fitted.

        Parameters
        ----------
        table : data frame, mapping of arrays, or path of a file, optional
            With the columns named as in `fit`, or of the first ratings if it was not fitted before. Of a rating that is
            known already the new value counts; counts of what happened are added to those before.
        user_features, item_features : data frame, mapping of arrays, or path of a file, optional
            As in `fold_in`; in the first fit as in `fit`.

        Returns
        -------
        Recommender
            Itself.
        """
        if self._state is None:
            return self.fit(table, duplicates="last", user_features=user_features, item_features=item_features)
        before = self._state
        return self._replaced(
            before, fitting.fit_further(self._settings(), before, table, user_features, item_features)
        )

    def forget(self, users: Any = None, items: Any = None) -> Recommender:
        """Take users or items out: their ids, vectors, ratings and features, and what lists knew of them.

        Until it is done, other threads are answered by the model as it was. The predictions and lists of all others
        stay. What their vectors learnt from the ratings that are gone stays, too, until `partial_fit` takes new ratings
        in, or the model is fitted again; and what was learnt of all together: means, priors, bounds of predictions.
        Files and models that were made before (`save`, `fold_in`) know who is forgotten here: replace them.

        Parameters
        ----------
        users, items : id, sequence of ids, or data frame or mapping with the column of users or items, optional
            Known ones. Who rates again later is somebody new.

        Returns
        -------
        Recommender
            Itself.

        Raises
        ------
        ValueError
            If one of them is not known; or if no user, no item or no rating would be left. Then nothing is forgotten.
        RuntimeError
            If the model was changed in another thread meanwhile.
        """
        before = self._served()
        return self._replaced(before, forgetting.forget(self._settings(), before, users, items))

    def _replaced(self, before: State, after: State) -> Recommender:
        """Serve what was made of what was served: nothing that came between is lost without a word."""
        with _REPLACING:
            if self._state is not before:
                raise RuntimeError(
                    "the model was changed in another thread meanwhile, and stays as that left it; call again"
                )
            self._state = after
        return self

    def save(self, path: str | os.PathLike[str], *, ratings: bool = True) -> None:
        """Write the fitted model to a file (safetensors with a JSON header).

        What lists of ratings' users are ranked by is part of it; if nobody has asked for a list yet, it is fitted now.
        All settings are kept but callbacks; of a generator as `random_state` None. The same model makes the same bytes.
        docs/guide/privacy.md says what a file keeps of persons.

        Parameters
        ----------
        path : path
            Replaced if it exists; the file appears whole or not at all.
        ratings : bool
            Keep the ratings, and who rated what. Without them the loaded model predicts, bounds included, recommends
            with ``filter_already_liked_items=False``, compares, forgets and makes vectors of new users; what else needs
            ratings (`fold_in`, `partial_fit`, `explain`, `observations_`, a report) it refuses.
        """
        storage.write(self._settings(), self._served(), path, ratings=bool(ratings))

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, mmap: bool = False, verify: bool = False) -> Recommender:
        """Read a model that `save` or ``dmc fit -o`` wrote.

        All of the file is checked before it is believed: its bytes against their digest, its arrays against each other.

        Parameters
        ----------
        path : path
            Of a file, or of a folder that `dmc.distributed.Recommender.save` wrote.
        mmap : bool
            Map a file of more than 16 MiB into memory in place of reading it: large models are there at once, and
            processes share them. Of such a file only the header, the shapes and text ids are checked. Replace it as
            `save` does, by another file: one that is cut short while it is mapped ends the process (SIGBUS).
        verify : bool
            Check all of a mapped file, too, which reads it once.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no such file, or it is damaged, foreign or of a newer version.
        MemoryError
            If there is no room for it.
        """
        return cls.serving(*storage.read(path, mmap, verify))

    @classmethod
    def serving(cls, settings: RecommenderSettings, state: State) -> Recommender:
        """One that serves what was fitted or read elsewhere.

        Parameters
        ----------
        settings : RecommenderSettings
            With which it was fitted.
        state : State
        """
        model = cls(**settings.for_file())
        model._state = state
        return model
