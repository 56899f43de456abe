"""Recommender: ratings by anybody's users and items in, predictions and recommendations out."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _checks, kernels, model_file
from dmc.observations import Duplicates, Observations
from dmc.recommend import ensemble, implicit, list_ranking, storage
from dmc.recommend.intervals import Calibration
from dmc.recommend.queries import Recommending
from dmc.recommend.state import Course, Fitted, Lazy, Model, Origin, Ranking, State, grown, read_only
from dmc.recommend.table import Table, Vocabulary, attributes
from dmc.solver.loop import Callback

RATING = "rating"  # the column of ratings, unless another is named


class Recommender(Recommending):
    """Predict ratings and recommend items, from a table of users, items and ratings with ids of any kind.

    The model is the mean rating, plus a bias of each user and of each item, plus a low-rank part. It is fitted by
    variational Bayes (`recommend.bayesian`): who rated what tells where a user or item is to be expected, and how far
    from there the ratings may move it, and how reliable each user's ratings are, is learnt from all of them; so no
    setting has to be chosen, and nothing is held out. It knows no time: where tastes drift, later ratings are predicted
    worse than a random part of them, which ``dmc.evaluation.split(by="time")`` shows.
    With `depth`, or on a `device`, a compressed deep network is trained in its place.

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
        Whether the table holds ratings, or counts above 0 of what happened (all one, if it has no column "rating" and
        no other is named).
    depth : int, optional
        Train a compressed deep network with so many cores, for as long as ratings that are held out for that gain from
        it. Left out: variational Bayes; on a device 3.
    l2 : float
        Of the network: regularisation, relative to the ratings' standard deviation; that of a user or item grows with
        the square root of its number of ratings.
    validation_fraction : float
        Of the network: share of the ratings held out to find the number of steps.
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
        Where to train a network: "cuda" for a GPU, by torch. The model comes back to the host.
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
    n_observed_ : int
        Ratings fitted, repeated ones merged.
    observations_ : Observations
        These ratings; row i is user ``users_.ids[i]``, column j item ``items_.ids[j]``.
    mean_ : float
        The mean rating.
    factors_ : Factors
        What is added to the mean: biases and low-rank part, two-factor, float32.
    user_factors, item_factors : (users, k) and (items, k) float32
        Their products plus the mean are the predictions; the biases are two of the columns.
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
        "n_steps" and "noise" after each sweep; of a network "n_steps" and "validation_rmse"; of preferences "rank",
        "ridge", "ndcg" on held-out clicks and its "noise" for each setting that was tried.
    """

    def __init__(
        self,
        rank: int | None = None,
        *,
        feedback: str = "explicit",
        depth: int | None = None,
        l2: float = 1.3,
        validation_fraction: float = 0.1,
        ensemble: int = 1,
        intervals: bool = False,
        random_state: int | np.random.Generator | None = 0,
        n_threads: int | None = None,
        device: str | None = None,
        verbose: bool = False,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.rank = None if rank is None else _checks.integer(rank, "rank", 1)
        self.feedback = _checks.choice(feedback, "feedback", ("explicit", "implicit"))
        if feedback == "implicit" and (intervals or depth is not None):
            wish = "intervals" if intervals else "depth"
            raise ValueError(f"feedback is 'implicit', whose preferences have no {wish}; leave {wish} out")
        self.depth = None if depth is None else _checks.integer(depth, "depth", 0)
        self.l2 = _checks.real(l2, "l2", 0)
        self.validation_fraction = _checks.real(validation_fraction, "validation_fraction", 0, 0.5)
        self.ensemble = _checks.integer(ensemble, "ensemble", 1)
        self.intervals = bool(intervals)
        _checks.generator(random_state)
        _checks.callables(callbacks, "callbacks")
        self.random_state = random_state
        self.n_threads = None if n_threads is None else _checks.integer(n_threads, "n_threads", 1)
        self.device = device
        self.verbose = verbose
        self.callbacks = callbacks

    def __repr__(self) -> str:
        state, fitted = self._state, ", not fitted"
        if state is not None:
            fitted = f", {len(state.users):,} users, {len(state.items):,} items"
        return f"Recommender(rank={self.rank}, feedback={self.feedback!r}{fitted})"

    # Fitting -----------------------------------------------------------------------------------------------------

    def fit(
        self,
        table: Any,
        user: str = "user",
        item: str = "item",
        rating: str = RATING,
        duplicates: Duplicates = "error",
        *,
        user_features: Any = None,
        item_features: Any = None,
    ) -> Recommender:
        """Fit to a table of ratings.

        Ctrl-C ends the fit with what was reached, and a warning.

        Parameters
        ----------
        table : data frame, mapping of arrays, or path of a file
            One rating a row: see `dmc.recommend.table.Table.open`.
        user, item, rating : str
            Names of the columns. Ids may be text or numbers, with gaps; ratings real numbers on any scale.
        duplicates : {"error", "mean", "last"}
            What to do when a user rated an item more than once. Counts of what happened are added up in any case.
        user_features, item_features : data frame, mapping of arrays, or path of a file, optional
            What else is known of users or items: the column of ids named as in `table`, and columns of numbers or text
            (`recommend.table.attributes`). They tell where somebody is to be expected, above all who has no rating yet:
            who stands in these tables is known to the model.

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
        _checks.choice(duplicates, "duplicates", ("error", "mean", "last"))
        source = Table.open(table, (user, item, rating))
        values = self._numbers(source, rating)
        users, rows = Vocabulary.learn(source.ids(user))
        items, cols = Vocabulary.learn(source.ids(item))
        if len(values) == 0:
            raise ValueError("the table holds no rating; give at least one")
        users, rows, of_users = self._described(users, rows, user_features, user)
        items, cols, of_items = self._described(items, cols, item_features, item)
        try:
            how: Duplicates = "sum" if self.feedback == "implicit" else duplicates
            observations = Observations.from_entries(rows, cols, values, (len(users), len(items)), how)
        except ValueError as error:
            if how != "error" or "repeat" not in str(error):
                raise
            n = len(values) - len(np.unique(rows.astype(np.int64) * len(items) + cols))
            raise ValueError(
                f"{_checks.count(n, 'rating repeats', 'ratings repeat')} a user and an item given before; "
                "say duplicates='last' or duplicates='mean'"
            ) from None
        del source, values, rows, cols  # what the observations were made of would outlive it by the whole fit
        rng = _checks.generator(self.random_state)
        with kernels.threads(self.n_threads):
            calibration, starts = None, list[Any]()
            if self.intervals:
                calibration, starts = ensemble.calibrate(self, observations, rng, (of_users, of_items))
            members, course = ensemble.fit(self, observations, rng, starts, (of_users, of_items))
        named = (user, item, rating)
        self._state = self._state_of(named, users, items, Fitted(observations, members), course, calibration)
        return self

    def _described(
        self, vocabulary: Vocabulary, lines: NDArray[Any], features: Any, name: str
    ) -> tuple[Vocabulary, NDArray[Any], NDArray[np.float32] | None]:
        """The vocabulary with all that have features, the lines in it, and the attributes of all."""
        if features is None:
            return vocabulary, lines, None
        if self.feedback == "implicit" or self.depth is not None or self.device is not None:
            raise ValueError(f"features of {name} are for ratings and the default model; leave the features out")
        ids, matrix = attributes(features, name)
        vocabulary, old, described = vocabulary.extended(ids)
        of_all = np.zeros((len(vocabulary), matrix.shape[1]), np.float32)
        of_all[described] = matrix
        return vocabulary, old[lines], of_all

    def _numbers(self, source: Table, rating: str) -> NDArray[np.float32]:
        if self.feedback == "implicit" and rating == RATING and rating not in source.names:
            return np.ones(len(source), np.float32)
        values = source.numbers(rating)
        if self.feedback == "implicit":
            implicit.refuse_nothing(values)  # before those of a pair are added up
        return values

    def _state_of(
        self,
        columns: tuple[str, str, str],
        users: Vocabulary,
        items: Vocabulary,
        fitted: Fitted,
        course: Course,
        calibration: Calibration | None,
        origin: Origin | None = None,
        refit: bool = True,
    ) -> State:
        """What is served, from fitted models and their ratings; with the ranking of lists from scratch, or grown."""
        observations, members = fitted
        observations = observations.with_values(read_only(observations.values))
        explicit, served = self.feedback == "explicit", ensemble.served(members)
        ranking: Lazy[Ranking] | None = None
        if explicit and origin is None:
            ranking = Lazy(partial(list_ranking.rank_lists, observations, served, self.device, self.n_threads))
        elif explicit and origin is not None:
            again = partial(list_ranking.rank_again, origin, observations, served, refit, self.device, self.n_threads)
            ranking = Lazy(again)
        return State(
            columns=columns,
            users=users,
            items=items,
            mean=members[0].mean,
            range=ensemble.range_of(observations) if explicit else (-math.inf, math.inf),
            left=served.left,
            right=served.right,
            seen=observations.pattern.by_row,
            noise=members[0].noise,
            rank=members[0].rank,
            course=course,
            calibration=calibration,
            fitted=Lazy.of(Fitted(observations, members)),
            ranking=ranking,
            origin=origin,
        )

    # More ratings ------------------------------------------------------------------------------------------------

    def fold_in(self, table: Any) -> Recommender:
        """A recommender that also knows the ratings of a table: of new users, new items, and new ones of known users.

        Nothing is fitted again: new items are placed by the ratings of known users, then the table's users by all of
        theirs, each at the mean of its posterior.

        Parameters
        ----------
        table : data frame, mapping of arrays, or path of a file
            With the columns named as in `fit`. Of a rating that is known already the new value counts.

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
        folded._state = self._with_more(self._served(), table)
        return folded

    def user_vector(self, items: Any, ratings: Any = None) -> NDArray[np.float32]:
        """What `fold_in` would make of somebody with these ratings alone; quick, for one at a time.

        ``rec.mean_ + rec.item_factors @ rec.user_vector(items, ratings)`` are the predictions for all items.

        Parameters
        ----------
        items : sequence of ids
            Those that are not known are left out.
        ratings : (items,) real numbers, optional
            Only preferences do without: one each.

        Returns
        -------
        (k,) float32 array
        """
        state = self._served()
        _, item, rating = state.columns
        lines = state.items.lines(items, item)
        given = np.ones(len(lines)) if ratings is None else _checks.as_float(ratings, rating)
        if ratings is None and self.feedback == "explicit":
            raise ValueError("the ratings are not given; without them only feedback='implicit' places a user")
        _checks.same_length(items=lines, ratings=given)
        _checks.finite(given, rating)
        known, given = lines[lines >= 0], given[lines >= 0]
        if len(np.unique(known)) < len(known):
            raise ValueError("an item is given more than once; give each one time")
        order = np.argsort(known)
        vectors = [member.vector(known[order], given[order]) for member in state.fitted().members]
        factors = np.concatenate([vector[:-2] for vector in vectors])
        return np.append(factors, np.mean([vector[-2:] for vector in vectors], axis=0)).astype(np.float32)

    def partial_fit(self, table: Any) -> Recommender:
        """Take more ratings in, and fit all of them again from where the model stands.

        A network is fitted anew, and so are preferences of more than twice as many counts as their settings were found
        with.

        Until it is done, other threads are answered by the model as it was, and then by the new one. If it fails, or
        Ctrl-C ends it before or behind the sweeps, the model stays as it was; Ctrl-C during the sweeps ends them with
        what was reached, and a warning. If the model has all the ratings already, nothing is fitted.

        Parameters
        ----------
        table : data frame, mapping of arrays, or path of a file
            With the columns named as in `fit`, or of the first ratings if it was not fitted before. Of a rating that is
            known already the new value counts; counts of what happened are added to those before.

        Returns
        -------
        Recommender
            Itself.
        """
        before = self._state
        if before is None:
            return self.fit(table, duplicates="last")
        more = self._with_more(before, table)
        if more.same_ratings(before):
            return self
        observations, starts = more.fitted()
        with kernels.threads(self.n_threads):
            members, course = ensemble.fit(self, observations, _checks.generator(self.random_state), starts)
        origin = more.origin if more.origin is not None and more.origin.ranking.made else None
        fitted = Fitted(observations, members)
        state = self._state_of(before.columns, more.users, more.items, fitted, course, before.calibration, origin)
        if origin is not None and state.ranking is not None:
            state.ranking()  # here and now, not by the first who asks for a list
            state = replace(state, origin=None)  # which would hold on to the ranking before
        self._state = state
        return self

    def _with_more(self, before: State, table: Any) -> State:
        """`before` with the ratings of a table, nothing fitted again."""
        user, item, rating = before.columns
        source = Table.open(table, before.columns)
        values, (known, members) = self._numbers(source, rating), before.fitted()
        if len(values) == 0:
            raise ValueError("the table holds no rating; give at least one")
        users, old_rows, rows = before.users.extended(source.ids(user))
        items, old_cols, cols = before.items.extended(source.ids(item))
        shape = (len(users), len(items))
        observations = Observations.from_entries(
            np.concatenate([old_rows[known.rows], rows]),
            np.concatenate([old_cols[known.cols], cols]),
            np.concatenate([known.values, values]),
            shape,
            "sum" if self.feedback == "implicit" else "last",
        )
        row_of, column_of = (np.full(size, -1) for size in shape)
        row_of[old_rows], column_of[old_cols] = np.arange(len(old_rows)), np.arange(len(old_cols))
        changed = np.zeros(shape[0], bool)
        changed[rows] = True
        with kernels.threads(self.n_threads):
            extended: list[Model] = [m.extended(observations, row_of, column_of, changed) for m in members]
        origin = None
        if before.ranking is not None:
            origin = grown(before, Origin(before.ranking, row_of, column_of, changed))
        fitted = Fitted(observations, extended)
        return self._state_of(before.columns, users, items, fitted, before.course, before.calibration, origin, False)

    # Files -------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model to a file (safetensors with a JSON header).

        What lists of ratings' users are ranked by is part of it; if nobody has asked for a list yet, it is fitted now.

        Parameters
        ----------
        path : path
            Replaced if it exists; the file appears whole or not at all.
        """
        storage.write(self, self._served(), path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, mmap: bool = False) -> Recommender:
        """Read a model that `save` or ``dmc fit -o`` wrote.

        Parameters
        ----------
        path : path
        mmap : bool
            Map the file into memory in place of reading it: large models are there at once, and processes share them;
            its contents are then not checked for damage.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no such file, or it is damaged, foreign or of a newer version.
        """
        settings, state = storage.read(path, mmap)
        model = cls(**settings)
        model._state = state
        return model

    def export(self, folder: str | os.PathLike[str], format: str = "npy") -> list[Path]:
        """Write ids and vectors for other programs, such as vector databases.

        The product of a user's and an item's vector, plus `mean_`, is the prediction.

        Parameters
        ----------
        folder : path
            Made, if it is not there.
        format : {"npy", "parquet"}
            "npy": users.npy, user_factors.npy, items.npy, item_factors.npy. "parquet" (needs pyarrow): users.parquet
            and items.parquet, with columns "id" and "vector".

        Returns
        -------
        list of Path
            The files.
        """
        state = self._served()
        _checks.choice(format, "format", ("npy", "parquet"))
        tables = {"user": (state.users.ids, state.left[:-1]), "item": (state.items.ids, state.right[:-1])}
        return model_file.export(folder, format, tables)
