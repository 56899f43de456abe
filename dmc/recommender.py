"""Recommender: ratings by anybody's users and items in, predictions and recommendations out."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterator, Mapping, Sequence, Set, ValuesView
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmc import __version__, _checks, bayesian, kernels, persistence, preferences
from dmc.bayesian import Bayesian
from dmc.callbacks import Progress
from dmc.factors import Factors
from dmc.observations import Duplicates, Observations
from dmc.pattern import Lines
from dmc.preferences import Preferences
from dmc.rating_network import MIN_HELD_OUT, Training
from dmc.ratings import Table, Vocabulary, attributes
from dmc.solution import Status
from dmc.solver import Callback

Model = Bayesian | Preferences
Described = tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]  # attributes of users, and of items

RANK = 16
CALIBRATED = 0.1  # share of the ratings that intervals are learnt from,
MAX_CALIBRATED = 20_000  # and how many at most


class Course(NamedTuple):
    """What a fit tells of itself."""

    status: Status
    n_iter: int
    validation_rmse: float
    history: list[dict[str, Any]]


class Recommender:
    """Predict ratings and recommend items, from a table of users, items and ratings with ids of any kind.

    The model is the mean rating, plus a bias of each user and of each item, plus a low-rank part. It is fitted by
    variational Bayes (`dmc.bayesian`): who rated what tells where a user or item is to be expected, and how far from
    there the ratings may move it is learnt from all of them; so no setting has to be chosen, and nothing is held out.
    With `depth`, or on a `device`, a compressed deep network is trained in its place.

    Where there are no ratings but clicks, plays or purchases (``feedback="implicit"``), every pair counts, those
    without any as a weak no (`dmc.preferences`): what is predicted is then a preference, about 1 for what is chosen and
    about 0 for what is not, and only its order means something.

    Parameters
    ----------
    rank : int, optional
        Upper bound of the rank of the interactions; a generous one does no harm. Left out: 16, of preferences 64.
    feedback : {"explicit", "implicit"}
        Whether the table holds ratings, or counts above 0 of what happened (all one, if it has no such column).
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
        is fitted for that, and judged on them (split conformal prediction).
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
        "n_steps" and "noise" after each sweep; of a network "n_steps" and "validation_rmse".
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
        fitted = (
            f", {len(self.users_):,} users, {len(self.items_):,} items" if hasattr(self, "_left") else ", not fitted"
        )
        return f"Recommender(rank={self.rank}, feedback={self.feedback!r}{fitted})"

    # Fitting -----------------------------------------------------------------------------------------------------

    def fit(
        self,
        table: Any,
        user: str = "user",
        item: str = "item",
        rating: str = "rating",
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
            One rating a row: see `dmc.ratings.Table.open`.
        user, item, rating : str
            Names of the columns. Ids may be text or numbers, with gaps; ratings real numbers on any scale.
        duplicates : {"error", "mean", "last"}
            What to do when a user rated an item more than once. Counts of what happened are added up in any case.
        user_features, item_features : data frame, mapping of arrays, or path of a file, optional
            What else is known of users or items: the column of ids named as in `table`, and columns of numbers or text
            (`dmc.ratings.attributes`). They tell where somebody is to be expected, above all who has no rating yet: who
            stands in these tables is known to the model.

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
            if "repeat" not in str(error):
                raise
            n = len(values) - len(np.unique(rows * len(items) + cols))
            raise ValueError(
                f"{_checks.count(n, 'rating repeats', 'ratings repeat')} a user and an item given before; "
                "say duplicates='last' or duplicates='mean'"
            ) from None
        rng = _checks.generator(self.random_state)
        with kernels.threads(self.n_threads):
            residuals, starts = np.zeros(0, np.float32), list[Any]()
            if self.intervals:
                residuals, starts = self._calibrate(observations, rng, (of_users, of_items))
            members, course = self._members_of(observations, rng, starts, (of_users, of_items))
        self.columns_, self.users_, self.items_, self._residuals = (user, item, rating), users, items, residuals
        self._take(observations, members)
        self.status_, self.n_iter_, self.validation_rmse_, self.history_ = course
        return self

    def _described(
        self, vocabulary: Vocabulary, lines: NDArray[np.int64], features: Any, name: str
    ) -> tuple[Vocabulary, NDArray[np.int64], NDArray[np.float32] | None]:
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
        if self.feedback == "implicit" and rating not in source.names:
            return np.ones(len(source), np.float32)
        return source.numbers(rating)

    def _members_of(
        self,
        observations: Observations,
        rng: np.random.Generator,
        starts: Sequence[Any] = (),
        described: Described = (None, None),
    ) -> tuple[list[Model], Course]:
        """The models of the ensemble, fitted; what the fit tells of itself is the first one's."""
        members: list[Model] = []
        courses: list[Course] = []
        for number in range(len(starts) or self.ensemble):
            watchers: list[Callback] = [*self.callbacks, *([Progress()] if self.verbose else [])]
            start = starts[number] if starts else None
            model: Model
            if self.feedback == "implicit":
                model = preferences.fit(observations, self.rank or preferences.RANK, rng, watchers, self.device, start)
                status, n_iter, held_out, history = model.status, len(model.errors), math.nan, []
            elif self.depth is None and self.device is None:
                model = bayesian.fit(observations, self.rank or RANK, rng, watchers, start, described)
                status, n_iter, held_out = model.status, len(model.errors), math.nan
                history = [{"n_steps": n + 1, "noise": noise} for n, noise in enumerate(model.errors)]
            else:
                model, status, n_iter, held_out, history = self._network(observations, rng, watchers)
            if status is Status.NONFINITE:
                raise FloatingPointError(f"the fit failed: {status}")
            members.append(model)
            courses.append(Course(status, n_iter, held_out, history))
            if status is Status.STOPPED:
                return members, courses[0]._replace(status=status)
        return members, courses[0]

    def _network(
        self, observations: Observations, rng: np.random.Generator, callbacks: Sequence[Callback]
    ) -> tuple[Bayesian, Status, int, float, list[dict[str, Any]]]:
        depth = 3 if self.depth is None else self.depth
        rank = self.rank or RANK
        trained = Training(rank, depth, self.l2, self.validation_fraction, self.device).fit(
            observations, rng, callbacks
        )
        status, n_steps = trained.solution.status, trained.solution.n_steps
        if trained.solution.stopped_by == "interrupt":
            bayesian.warn_of_interrupt(n_steps)
        factors = trained.factors
        if status is not Status.NONFINITE:
            factors = factors.truncate(min(rank, factors.width, *factors.shape))
        noise = trained.held_out_error
        if not math.isfinite(noise):
            noise = math.sqrt(2 * trained.solution.value / observations.n_observed) * float(observations.values.std())
        history = [{"n_steps": n, "validation_rmse": error} for n, error in trained.errors]
        model = Bayesian.of(factors, observations, trained.mean, noise)
        return model, status, n_steps, trained.held_out_error, history

    def _calibrate(
        self, observations: Observations, rng: np.random.Generator, described: Described
    ) -> tuple[NDArray[np.float32], list[Any]]:
        """Absolute residuals, ascending, of ratings that some models have not seen; and those models, to go on from.

        Two fits that begin apart may end apart, and then the errors of one say nothing of the other.
        """
        fraction = min(CALIBRATED, MAX_CALIBRATED / observations.n_observed)
        number = _checks.count(observations.n_observed, "rating is", "ratings are")
        too_few = f"{number} too few to hold some out for intervals"
        if fraction * observations.n_observed < MIN_HELD_OUT:
            raise ValueError(f"{too_few}; give more, or leave intervals out")
        try:
            train, held_out = observations.split(fraction, rng)
        except ValueError:
            raise ValueError(f"{too_few}, each the only one of its user or item; leave intervals out") from None
        members, _ = self._members_of(train, rng, described=described)
        predicted = _served(members).at(held_out.rows, held_out.cols) + np.float32(members[0].mean)
        residuals = np.sort(np.abs(np.clip(predicted, *_range(observations)) - held_out.values))
        rows, columns = (np.arange(size) for size in observations.shape)
        return residuals, [m.extended(observations, rows, columns, np.zeros(len(rows), bool)) for m in members]

    def _take(self, observations: Observations, members: list[Model]) -> None:
        """What is served, from fitted models and their ratings."""
        explicit = self.feedback == "explicit"
        self.range_ = _range(observations) if explicit else (-math.inf, math.inf)
        self.mean_, self.noise_, self.rank_ = members[0].mean, members[0].noise, members[0].rank
        self._ratings, self._members = observations, members
        self._stored: tuple[dict[str, NDArray[Any]], dict[str, Any]] | None = None
        self._seen, self.n_observed_ = observations.pattern.by_row, observations.n_observed
        served = _served(members)
        self._left, self._right = served.left, served.right  # factors and biases, as they are multiplied

    @property
    def factors_(self) -> Factors:
        left, right = self.user_factors, self.item_factors
        return Factors(left[:, :-2], (), right[:, :-2], left[:, -2], right[:, -1])

    @property
    def observations_(self) -> Observations:
        self._check_fitted()
        self._models()
        return self._ratings

    @property
    def user_factors(self) -> NDArray[np.float32]:
        self._check_fitted()
        return self._left[:-1]

    @property
    def item_factors(self) -> NDArray[np.float32]:
        self._check_fitted()
        return self._right[:-1]

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
        folded, _ = self._with_more(table)
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
        self._check_fitted()
        lines = self.items_.lines(items, self.columns_[1])
        given = np.ones(len(lines)) if ratings is None else _checks.as_float(ratings, self.columns_[2])
        if ratings is None and self.feedback == "explicit":
            raise ValueError("the ratings are not given; without them only feedback='implicit' places a user")
        _checks.same_length(items=lines, ratings=given)
        _checks.finite(given, self.columns_[2])
        known, given = lines[lines >= 0], given[lines >= 0]
        if len(np.unique(known)) < len(known):
            raise ValueError("an item is given more than once; give each one time")
        order = np.argsort(known)
        vectors = [member.vector(known[order], given[order]) for member in self._models()]
        factors = np.concatenate([vector[:-2] for vector in vectors])
        return np.append(factors, np.mean([vector[-2:] for vector in vectors], axis=0)).astype(np.float32)

    def partial_fit(self, table: Any) -> Recommender:
        """Take more ratings in, and fit all of them again from where the model stands (a network: anew).

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
        if not hasattr(self, "_left"):
            return self.fit(table, duplicates="last")
        folded, observations = self._with_more(table)
        rng = _checks.generator(self.random_state)
        with kernels.threads(self.n_threads):
            members, course = self._members_of(observations, rng, folded._members)
        self.users_, self.items_ = folded.users_, folded.items_
        self._take(observations, members)
        self.status_, self.n_iter_, self.validation_rmse_, self.history_ = course
        return self

    def _with_more(self, table: Any) -> tuple[Recommender, Observations]:
        self._check_fitted()
        user, item, rating = self.columns_
        source = Table.open(table, self.columns_)
        values, members = self._numbers(source, rating), self._models()
        if len(values) == 0:
            raise ValueError("the table holds no rating; give at least one")
        folded = copy.copy(self)
        folded.users_, old_rows, rows = self.users_.extended(source.ids(user))
        folded.items_, old_cols, cols = self.items_.extended(source.ids(item))
        known, shape = self._ratings, (len(folded.users_), len(folded.items_))
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
            extended = [member.extended(observations, row_of, column_of, changed) for member in members]
        folded._take(observations, extended)
        return folded, observations

    def _models(self) -> list[Model]:
        """The fitted models; of a loaded recommender they are made when first asked for."""
        with _LOADING:
            if self._stored is not None:
                arrays, header = self._stored
                if not header["members"]:
                    raise ValueError(
                        "the model file was written by a version of dmc that did not keep its ratings; fit it again"
                    )
                lines = Lines(arrays["seen.pointers"], arrays["seen.indices"])
                shape = (len(self.users_), len(self.items_))
                self._ratings = Observations.from_lines(lines, arrays["ratings"], shape)
                kind = Bayesian if self.feedback == "explicit" else Preferences
                self._members = [
                    kind.from_arrays(_under(arrays, f"member.{i}."), numbers, self._ratings)
                    for i, numbers in enumerate(header["members"])
                ]
                self._stored = None
        return self._members

    # Serving -----------------------------------------------------------------------------------------------------

    def predict(self, table: Any, *, clip: bool = True, interval: float | None = None) -> Any:
        """Predict the rating of each pair of a user and an item.

        A user or an item that is not known gets what is expected of one without ratings.

        Parameters
        ----------
        table : data frame, mapping of arrays, or path of a file
            With the columns of users and items named as in `fit`.
        clip : bool
            Keep the predictions inside the range of the ratings seen in `fit`.
        interval : float, optional
            Also give bounds between which a rating lies with this probability, such as .9; needs
            ``Recommender(intervals=True)``. They hold on average over pairs like those that were rated.

        Returns
        -------
        The table's own kind, with a column "prediction" (float32), and with `interval` "lower" and "upper"; for a file,
        a dict of arrays.
        """
        self._check_fitted()
        source = Table.open(table, self.columns_[:2])
        user, item = (source.ids(name) for name in self.columns_[:2])
        rows, cols = self.users_.lines(user), self.items_.lines(item)
        m, n = len(self._left), len(self._right)
        predicted = Factors(self._left, (), self._right).at(rows % m, cols % n) + np.float32(self.mean_)
        centre = np.clip(predicted, *self.range_)
        result = source.with_column("prediction", centre if clip else predicted)
        if interval is None:
            return result
        half = self._half_width(interval)
        for name, bound in (("lower", centre - half), ("upper", centre + half)):
            result = Table.open(result).with_column(name, np.clip(bound, *self.range_))
        return result

    def _half_width(self, probability: float) -> np.float32:
        probability = _checks.real(probability, "interval", 0, 1, open_ends=True)
        n = len(self._residuals)
        if n == 0:
            raise ValueError("this model has learnt no intervals; fit Recommender(intervals=True)")
        place = math.ceil((n + 1) * probability) - 1  # Vovk et al.: exact for the next rating like these
        return np.float32(self._residuals[place] if place < n else self.range_[1] - self.range_[0])

    def recommend(
        self,
        users: Any = None,
        n: int = 10,
        *,
        filter_already_liked_items: bool = True,
        filter_items: Any = None,
        items: Any = None,
    ) -> Any:
        """The n best items for each user, of those that the user has not rated.

        Users who are not known get the items that are best on average.

        Parameters
        ----------
        users : id, sequence of ids, or data frame or mapping with the column of users, optional
            All users that are known, if left out.
        n : int
            Items for each user; fewer where fewer are left.
        filter_already_liked_items : bool
            Leave out what the user has rated.
        filter_items : ids, as `users`, optional
            Never recommend these.
        items : ids, as `users`, optional
            Recommend only these. Unknown ones are left out, in both.

        Returns
        -------
        dict of arrays, or a data frame if one was given
            Columns of users, items (named as in `fit`) and "prediction" (float32), best first for each user in the
            order given.
        """
        self._check_fitted()
        user, item, _ = self.columns_
        source = _asked(self.users_.ids if users is None else users, user)
        rows = self.users_.lines(source.ids(user))
        among = None
        if items is not None or filter_items is not None:
            allowed = np.full(len(self.items_), items is None)
            for ids, value in ((items, True), (filter_items, False)):
                lines = self.items_.lines(_asked([] if ids is None else ids, item).ids(item), item)
                allowed[lines[lines >= 0]] = value
            among = np.flatnonzero(allowed)
        seen = Lines(np.append(self._seen.pointers, self._seen.pointers[-1]), self._seen.indices)
        best, scores = Factors(self._left, (), self._right[:-1]).top_n(
            rows % len(self._left), n, exclude=seen if filter_already_liked_items else None, among=among
        )
        found = best >= 0
        columns = {
            user: np.repeat(source.column(user), found.sum(axis=1)),
            item: self.items_.ids[best[found]],
            "prediction": np.clip(scores[found] + np.float32(self.mean_), *self.range_),
        }
        return source.like(columns)

    def similar_items(self, items: Any, n: int = 10) -> Any:
        """The n items most like each of some items: those that the same users are predicted to rate alike.

        Parameters
        ----------
        items : id, sequence of ids, or data frame or mapping with the column of items
            Known ones.
        n : int

        Returns
        -------
        dict of arrays, or a data frame if one was given
            Columns of items, "similar" (ids) and "similarity" (the cosine, float32), most similar first.
        """
        f = self.factors_
        return self._similar(items, self.columns_[1], self.items_, f.V, f.U, n)

    def similar_users(self, users: Any, n: int = 10) -> Any:
        """The n users most like each of some users; see `similar_items`."""
        f = self.factors_
        return self._similar(users, self.columns_[0], self.users_, f.U, f.V, n)

    def _similar(
        self, asked: Any, name: str, vocabulary: Vocabulary, own: NDArray[Any], other: NDArray[Any], n: int
    ) -> Any:
        n, source = _checks.integer(n, "n", 1), _asked(asked, name)
        ids = source.ids(name)
        lines = vocabulary.lines(ids)
        if (lines < 0).any():
            unknown = ids[lines < 0].tolist()[0]
            raise ValueError(f"{name} {unknown!r} is not known; ask for those that were rated in fit")
        # Vectors whose products are those of the predictions over all lines of the other side.
        own, other = (a / (np.abs(a).max(initial=0) or np.float32(1)) for a in (own, other))  # squares may overflow
        values, vectors = np.linalg.eigh(other.T.astype(np.float64) @ other)
        units = own @ (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32)
        units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        itself = Lines(np.arange(len(units) + 1), np.arange(len(units)))
        best, cosines = Factors(units, (), units).top_n(lines, n, exclude=itself)
        found = best >= 0
        columns = {
            name: np.repeat(source.column(name), found.sum(axis=1)),
            "similar": vocabulary.ids[best[found]],
            "similarity": cosines[found],
        }
        return source.like(columns)

    def explain(self, user: Any, item: Any, n: int = 10) -> dict[str, NDArray[Any]]:
        """Which of a user's ratings speak for an item, and which against it.

        The prediction is what is expected of such a user plus a contribution of each rating, by being higher or lower
        than was expected.

        Parameters
        ----------
        user, item : ids
            Known ones.
        n : int
            How many ratings at most.

        Returns
        -------
        dict of arrays
            Columns of items, ratings (named as in `fit`) and "contribution" (in the ratings' units, float32), largest
            first by size.
        """
        self._check_fitted()
        n, members = _checks.integer(n, "n", 1), self._models()
        row, column = (
            int(vocabulary.lines([asked], name)[0])
            for vocabulary, asked, name in zip((self.users_, self.items_), (user, item), self.columns_[:2], strict=True)
        )
        for line, name, asked in zip((row, column), self.columns_[:2], (user, item), strict=True):
            if line < 0:
                raise ValueError(f"{name} {asked!r} is not known; ask for one that was rated in fit")
        shares = np.mean([member.contributions(row, column) for member in members], axis=0)
        own = slice(self._seen.pointers[row], self._seen.pointers[row + 1])
        order = np.argsort(-np.abs(shares), kind="stable")[:n]
        return {
            self.columns_[1]: self.items_.ids[self._seen.indices[own][order]],
            self.columns_[2]: self._ratings.values[own][order],
            "contribution": shares[order].astype(np.float32),
        }

    # Files -------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model to a file (safetensors with a JSON header).

        Parameters
        ----------
        path : path
            Replaced if it exists; the file appears whole or not at all.
        """
        self._check_fitted()
        members = self._models()
        arrays = {"left": self._left, "right": self._right}
        arrays |= {"users": self.users_.ids, "items": self.items_.ids, "residuals": self._residuals}
        arrays |= {"seen.pointers": self._seen.pointers, "seen.indices": self._seen.indices}
        arrays |= {"ratings": self._ratings.values}
        numbers = []
        for i, member in enumerate(members):
            of_member, its_numbers = member.arrays()
            arrays |= {f"member.{i}.{name}": array for name, array in of_member.items()}
            numbers.append(its_numbers)
        names = ("rank", "feedback", "depth", "l2", "validation_fraction", "ensemble", "intervals")
        header = {
            "written_by": f"dmc {__version__}",
            "settings": {name: getattr(self, name) for name in names},
            "columns": self.columns_,
            "mean": self.mean_,
            "noise": self.noise_,
            "range": self.range_,
            "rank": self.rank_,
            "status": self.status_.name,
            "n_iter": self.n_iter_,
            "validation_rmse": self.validation_rmse_,
            "history": self.history_,
            "members": numbers,
        }
        persistence.save(path, "Recommender", arrays, header)

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
        arrays, header = persistence.load(path, "Recommender", mmap=mmap)
        self = cls(**header["settings"])
        if "members" in header:
            self._left, self._right = arrays["left"], arrays["right"]
        else:  # version 1: the network itself, and no line for strangers
            U, V, *biases = (arrays[name] for name in ("U", "V", "row_bias", "column_bias"))
            cores = [arrays[f"cores.{i}"] for i in range(header["settings"]["depth"])]
            network = Factors(U, cores, V)
            network = network.truncate(min(network.width, len(U), len(V)))
            U, V, *biases = (np.concatenate([a, np.zeros_like(a[:1])]) for a in (network.U, network.V, *biases))
            served = Factors(U, (), V, *biases)
            self._left, self._right = served.left, served.right
        self.users_, self.items_ = Vocabulary(arrays["users"]), Vocabulary(arrays["items"])
        self._seen = Lines(arrays["seen.pointers"], arrays["seen.indices"])
        self.n_observed_ = len(self._seen.indices)
        self._residuals = arrays.get("residuals", np.zeros(0, np.float32))
        self._stored = (arrays, {"members": header.get("members", [])})
        self.columns_ = tuple(header["columns"])
        self.mean_, self.range_ = header["mean"], tuple(header["range"])
        self.rank_, self.n_iter_ = header["rank"], header["n_iter"]
        self.status_ = Status[header["status"]]
        self.validation_rmse_ = header["validation_rmse"]
        self.noise_ = header.get("noise", self.validation_rmse_)
        self.history_ = header.get("history", [])
        return self

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
        self._check_fitted()
        _checks.choice(format, "format", ("npy", "parquet"))
        tables = {"user": (self.users_.ids, self.user_factors), "item": (self.items_.ids, self.item_factors)}
        return persistence.export(folder, format, tables)

    def _check_fitted(self) -> None:
        if not hasattr(self, "_left"):
            from sklearn.exceptions import NotFittedError

            raise NotFittedError("this Recommender is not fitted yet; call fit with a table of ratings first")


_LOADING = Lock()  # of a loaded model's parts that serving seldom needs


def _asked(ids: Any, name: str) -> Table:
    """A table of ids, whatever they came in."""
    if isinstance(ids, (Iterator, Set, ValuesView)):  # which NumPy would take for one id
        ids = list(ids)
    if not (hasattr(ids, "columns") or isinstance(ids, Mapping)):  # a list as it is: an array might round huge ids
        ids = {name: ids if isinstance(ids, (list, tuple)) else np.atleast_1d(ids)}
    return Table.open(ids, (name,))


def _range(observations: Observations) -> tuple[float, float]:
    return float(observations.values.min()), float(observations.values.max())


def _under(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _served(members: Sequence[Model]) -> Factors:
    """The average of some models; each side with a last line, for those who are not known."""
    each = [member.served() for member in members]
    row_bias, column_bias = (np.mean([getattr(f, name) for f in each], axis=0) for name in ("row_bias", "column_bias"))
    share = np.float32(1 / len(each))
    return Factors(np.hstack([f.U for f in each]), (), share * np.hstack([f.V for f in each]), row_bias, column_bias)
