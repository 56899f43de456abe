"""From a table to what is served: fitted anew, folded in, or fitted further."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmc import _checks, entries, kernels
from dmc._group import ALONE, Group
from dmc._keeper import Fit, Keeping, keeper_among
from dmc._warn import warn
from dmc.observations import DuplicateEntries, Observations
from dmc.recommend import answers, ensemble, list_ranking
from dmc.recommend.intervals import Calibration
from dmc.recommend.models import RatingModel
from dmc.recommend.preferences import refuse_nothing
from dmc.recommend.settings import RecommenderSettings
from dmc.recommend.side_information import Described, Encoding, SideInformation
from dmc.recommend.state import FitInfo, Fitted, Lazy, Origin, Ranking, State, grown
from dmc.recommend.tables.table import Table
from dmc.recommend.tables.vocabulary import Vocabulary
from dmc.solver import fingerprint
from dmc.solver.kept_phases import seed_again
from dmc.solver.solution import Status

RATING, TIME = "rating", "timestamp"  # the columns of ratings and of times, unless others are named
Duplicates = Literal["error", "mean", "last", "latest"]


class Columns(NamedTuple):
    """The columns that are read of a table."""

    user: str
    item: str
    rating: str
    weight: str | None = None  # none: all count the same
    time: str | None = None  # none: ratings are not told apart by it

    def asked(self) -> list[str]:
        """Those that are read."""
        return [*self[:3], *(name for name in self[3:] if name is not None)]

    def for_duplicates(self, duplicates: Duplicates) -> Columns:
        """With the column of times where one is needed, and only there."""
        _checks.choice(duplicates, "duplicates", ("error", "mean", "last", "latest"))
        if duplicates == "latest":
            return self._replace(time=self.time or TIME)
        if self.time is not None:
            raise ValueError(
                f"time is {self.time!r} and duplicates {duplicates!r}, which uses no times; pass duplicates='latest' "
                "or leave time out"
            )
        return self


class Events(NamedTuple):
    """What a table tells of pairs, in its order."""

    values: NDArray[np.float32]  # (entries,) ratings, or counts: these times their weights
    weights: NDArray[np.float32] | None  # (entries,) of ratings

    @classmethod
    def read(cls, settings: RecommenderSettings, source: Table, columns: Columns) -> Events:
        weights = None if columns.weight is None else source.numbers(columns.weight, "weight")
        if weights is not None:
            _refuse_weights(weights, columns.weight)
        if settings.feedback == "explicit":
            return cls(source.numbers(columns.rating), weights)
        unnamed = columns.rating == RATING and RATING not in source.names
        counts = np.ones(len(source), np.float32) if unnamed else source.numbers(columns.rating)
        refuse_nothing(counts)  # before those of a pair are added up
        return cls(counts if weights is None else counts * weights, None)

    def taken(self, order: NDArray[np.int64]) -> Events:
        """In another order."""
        return Events(self.values[order], None if self.weights is None else self.weights[order])

    def after(self, known: Observations) -> Events:
        """Behind those that are known."""
        values, weights = np.concatenate([known.values, self.values]), None
        if known.weights is not None:
            assert self.weights is not None
            weights = np.concatenate([known.weights, self.weights])
        return Events(values, weights)


def _refuse_weights(weights: NDArray[np.float32], name: str | None) -> None:
    wrong = np.flatnonzero(weights <= 0)
    if len(wrong):
        raise ValueError(
            f"column {name!r} holds {_checks.count(len(wrong), 'weight')} not above 0, the first in row {wrong[0]} "
            f"({weights[wrong[0]]:g}); drop the rows that should not count"
        )


def fit(
    settings: RecommenderSettings,
    table: Any,
    columns: Columns,
    duplicates: Duplicates,
    user_features: Any = None,
    item_features: Any = None,
) -> State:
    """Fit to a table of ratings; see `dmc.Recommender.fit`."""
    columns = columns.for_duplicates(duplicates)
    answers.refuse_reserved(columns[:3])
    asked = columns.asked()
    source = Table.open(table, asked, only=asked)
    events = Events.read(settings, source, columns)
    users, rows = source.learn(columns.user)
    items, cols = source.learn(columns.item)
    times = None if columns.time is None else source.times(columns.time)
    del source  # what was read is not to stand in memory beside what is sorted
    if len(events.values) == 0:
        raise ValueError("the table holds no rating; give at least one")
    if times is not None:
        order = np.argsort(times, kind="stable")
        rows, cols, events = rows[order], cols[order], events.taken(order)
    users, rows, of_users = _with_features(settings, users, rows, user_features, columns.user)
    items, cols, of_items = _with_features(settings, items, cols, item_features, columns.item)
    observations = _observations(settings, rows, cols, events, (len(users), len(items)), duplicates)
    del events, rows, cols  # what the observations were made of would outlive it by the whole fit
    warn_of_ratings(settings, observations)
    side_information = SideInformation(*(None if told is None else told[1] for told in (of_users, of_items)))
    rng = _checks.generator(settings.random_state)
    what = partial(_identity, settings, observations, side_information)
    with keeper_among(settings.callbacks, what) as keeper, kernels.threads(settings.n_threads):
        seed_again(keeper, rng)
        calibration: Calibration | None = None
        starts: Sequence[RatingModel] = ()
        if settings.intervals:
            calibration, starts = ensemble.calibrate(settings, observations, rng, side_information, keeper)
        if starts and starts[-1].status is Status.STOPPED:  # somebody ended all of it
            models, info = list(starts), FitInfo.of(starts)
        else:
            models, info = ensemble.fit(settings, observations, rng, starts, side_information, keeper=keeper)
        if models[-1].stopped_by != "interrupt":
            keeper.finish()
    encodings = of_users and of_users[0], of_items and of_items[0]
    told = Told(columns, users, items, encodings)
    return served_state(settings, told, Fitted(observations, models), info, calibration)


def _identity(settings: RecommenderSettings, *data: Any) -> Fit:
    """Which fit it is, for a checkpoint."""
    told = {"fit": "Recommender"} | settings.for_file()
    told |= {"random_state": fingerprint.told(settings.random_state), "device": settings.device}
    return Fit(told, fingerprint.digest(*data))


class Told(NamedTuple):
    """Of what a state is, besides the ratings: names, ids, and how features become attributes."""

    columns: Columns
    users: Vocabulary
    items: Vocabulary
    encodings: tuple[Encoding | None, Encoding | None]


def _with_features(
    settings: RecommenderSettings, vocabulary: Vocabulary, positions: NDArray[Any], features: Any, name: str
) -> tuple[Vocabulary, NDArray[Any], tuple[Encoding, NDArray[np.float32]] | None]:
    """The vocabulary with all that have features, the positions in it, and how features become the attributes of
    all."""
    if features is None:
        return vocabulary, positions, None
    if settings.kind == "network":
        raise ValueError(f"features of {name} are not for model 'network'; leave the features out")
    encoding, ids, matrix = Encoding.learn(features, name)
    vocabulary, old, described = vocabulary.extended(ids)
    of_all = np.zeros((len(vocabulary), matrix.shape[1]), np.float32)
    of_all[described] = matrix
    return vocabulary, old[positions], (encoding, of_all)


def _observations(
    settings: RecommenderSettings,
    rows: NDArray[Any],
    cols: NDArray[Any],
    events: Events,
    shape: tuple[int, int],
    duplicates: Duplicates,
) -> Observations:
    kept: entries.Duplicates = "last" if duplicates == "latest" else duplicates
    how = "sum" if settings.feedback == "implicit" else kept
    try:
        return Observations.from_entries(rows, cols, events.values, shape, how, events.weights)
    except DuplicateEntries as error:
        raise ValueError(what_repeats(error.count)) from None


def what_repeats(count: int) -> str:
    """Tells of ratings of a pair that has one."""
    repeats = _checks.count(count, "rating repeats", "ratings repeat")
    return (
        f"{repeats} a user and an item given before; pass duplicates='last', duplicates='latest' (by time) or "
        "duplicates='mean'; for clicks, which are added up, pass feedback='implicit'"
    )


def warn_of_ratings(settings: RecommenderSettings, observations: Observations, group: Group = ALONE) -> None:
    """Warn, once for all processes, of ratings that are all the same."""
    if settings.feedback != "explicit":
        return
    (least, most), count = ensemble.range_of(observations, group), int(group.sum(observations.n_observed))
    if count > 1 and least == most and group.rank == 0:
        warn(
            f"all {count:,} ratings are {least:g}, so there is nothing to learn; for events such as clicks, pass "
            "feedback='implicit'"
        )


def served_state(
    settings: RecommenderSettings,
    told: Told,
    fitted: Fitted,
    info: FitInfo,
    calibration: Calibration | None,
    origin: Origin | None = None,
    refit: bool = True,
    ranked: bool = True,
    group: Group = ALONE,
) -> State:
    """What is served, from fitted models and their ratings; with the ranking of lists from scratch, or grown; or, if
    they are not to be `ranked`, by predicted rating. `group`: the processes that have ratings."""
    observations, models = fitted
    explicit, served = settings.feedback == "explicit", ensemble.served(models)
    ranking: Lazy[Ranking] | None = None
    attributes, where = models[0].attributes, (settings.device, settings.n_threads)
    if explicit and ranked and origin is None:
        ranking = Lazy(partial(list_ranking.rank_lists, observations, served, attributes, *where))
    elif explicit and ranked and origin is not None:
        ranking = Lazy(partial(list_ranking.rank_again, origin, observations, served, attributes, refit, *where))
    return State(
        columns=told.columns[:3],
        weight=told.columns.weight,
        users=told.users,
        items=told.items,
        encodings=told.encodings,
        mean=models[0].mean,
        range=ensemble.range_of(observations, group) if explicit else (-math.inf, math.inf),
        left=np.asarray(served.left),
        right=np.asarray(served.right),
        seen=observations.pattern.by_row,
        noise=models[0].noise,
        rank=models[0].rank,
        fit_info=info,
        calibration=calibration,
        fitted=Lazy.of(Fitted(observations, models)),
        ranking=ranking,
        origin=origin,
    )


def fold_in(
    settings: RecommenderSettings, before: State, table: Any, user_features: Any = None, item_features: Any = None
) -> State:
    """`before` with the ratings of a table, nothing fitted again; see `dmc.Recommender.fold_in`."""
    known, models = before.fitted()
    columns = Columns(*before.columns, before.weight)
    if table is None and user_features is None and item_features is None:
        raise ValueError("there are neither ratings nor features; give at least one of them")
    asked = columns.asked()
    source = Table.open(_no_ratings(columns) if table is None else table, asked, only=asked)
    spared = settings.feedback == "implicit" and columns.rating == RATING
    source.require([name for name in asked if not (spared and name == RATING)], "name its columns as in the fit")
    events = Events.read(settings, source, columns)
    if len(events.values) == 0 and table is not None:
        raise ValueError("the table holds no rating; give at least one")
    of_users, of_items = before.encodings
    users = _grown(before.users, source.ids(columns.user), user_features, of_users, columns.user)
    items = _grown(before.items, source.ids(columns.item), item_features, of_items, columns.item)
    shape = len(users.vocabulary), len(items.vocabulary)
    values, weights = events.after(known)
    observations = Observations.from_entries(
        np.concatenate([users.known[known.rows], users.positions]),
        np.concatenate([items.known[known.cols], items.positions]),
        values,
        shape,
        "sum" if settings.feedback == "implicit" else "last",
        weights,
    )
    row_of, column_of = users.was, items.was
    changed = np.zeros(shape[0], bool)
    changed[users.positions] = True
    described = users.described, items.described
    with kernels.threads(settings.n_threads):
        extended = [model.extended(observations, row_of, column_of, changed, described) for model in models]
    origin = None
    if before.ranking is not None:
        origin = grown(before, Origin(before.ranking, row_of, column_of, changed))
    told = Told(columns, users.vocabulary, items.vocabulary, before.encodings)
    fitted = Fitted(observations, extended)
    return served_state(settings, told, fitted, before.fit_info, before.calibration, origin, refit=False)


def _no_ratings(columns: Columns) -> dict[str, NDArray[Any]]:
    return {name: np.zeros(0, np.int64) for name in columns.asked()}


class Grown(NamedTuple):
    """A vocabulary with more ids."""

    vocabulary: Vocabulary
    known: NDArray[Any]  # (known before,) their positions now
    positions: NDArray[Any]  # (entries,) of the table's ids
    described: Described | None  # what a table of features tells

    @property
    def was(self) -> NDArray[np.int64]:
        """(known,) position before of each id; −1: a new one."""
        found = np.full(len(self.vocabulary), -1)
        found[self.known] = np.arange(len(self.known))
        return found


def _grown(vocabulary: Vocabulary, ids: NDArray[Any], features: Any, encoding: Encoding | None, name: str) -> Grown:
    more, known, positions = vocabulary.extended(ids)
    if features is None:
        return Grown(more, known, positions, None)
    if encoding is None:
        raise ValueError(f"the model was fitted without features of {name}; fit it again with them")
    described, attributes = encoding.later(features, name)
    more, old, places = more.extended(described)
    return Grown(more, old[known], old[positions], Described(places, attributes))


def fit_further(
    settings: RecommenderSettings, before: State, table: Any, user_features: Any = None, item_features: Any = None
) -> State:
    """`before` with the ratings of a table, fitted again from where it stands; see `dmc.Recommender.partial_fit`."""
    more = fold_in(settings, before, table, user_features, item_features)
    if user_features is None and item_features is None and more.same_ratings(before):
        return before
    observations, starts = more.fitted()
    settings = replace(settings, callbacks=[one for one in settings.callbacks if not isinstance(one, Keeping)])
    with kernels.threads(settings.n_threads):
        models, info = ensemble.fit(settings, observations, _checks.generator(settings.random_state), starts)
    origin = more.origin if more.origin is not None and more.origin.ranking.made else None
    told = Told(Columns(*before.columns, before.weight), more.users, more.items, before.encodings)
    state = served_state(settings, told, Fitted(observations, models), info, before.calibration, origin)
    if origin is not None and state.ranking is not None:
        state.ranking()  # here and now, not by the first who asks for a list
        state = replace(state, origin=None)  # which would hold on to the ranking before
    return state
