"""From a table to what is served: fitted anew, folded in, or fitted further."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _checks, kernels
from dmc.entries import Duplicates
from dmc.observations import DuplicateEntries, Observations
from dmc.recommend import ensemble, implicit, list_ranking
from dmc.recommend.intervals import Calibration
from dmc.recommend.models import RatingModel
from dmc.recommend.settings import RecommenderSettings
from dmc.recommend.side_information import SideInformation, attributes
from dmc.recommend.state import FitInfo, Fitted, Lazy, Origin, Ranking, State, grown
from dmc.recommend.table import Table
from dmc.recommend.vocabulary import Vocabulary
from dmc.solver.solution import Status

RATING = "rating"  # the column of ratings, unless another is named
Columns = tuple[str, str, str]  # of users, items and ratings


def fit(
    settings: RecommenderSettings,
    table: Any,
    columns: Columns,
    duplicates: Duplicates,
    user_features: Any = None,
    item_features: Any = None,
) -> State:
    """Fit to a table of ratings; see `dmc.Recommender.fit`."""
    _checks.choice(duplicates, "duplicates", ("error", "mean", "last"))
    user, item, rating = columns
    source = Table.open(table, columns, only=columns)
    values = _numbers(settings, source, rating)
    users, rows = source.learn(user)
    items, cols = source.learn(item)
    del source  # what was read is not to stand in memory beside what is sorted
    if len(values) == 0:
        raise ValueError("the table holds no rating; give at least one")
    users, rows, of_users = _with_features(settings, users, rows, user_features, user)
    items, cols, of_items = _with_features(settings, items, cols, item_features, item)
    observations = _observations(settings, rows, cols, values, (len(users), len(items)), duplicates)
    del values, rows, cols  # what the observations were made of would outlive it by the whole fit
    rng, side_information = _checks.generator(settings.random_state), SideInformation(of_users, of_items)
    with kernels.threads(settings.n_threads):
        calibration: Calibration | None = None
        starts: Sequence[RatingModel] = ()
        if settings.intervals:
            calibration, starts = ensemble.calibrate(settings, observations, rng, side_information)
        if starts and starts[-1].status is Status.STOPPED:  # somebody ended all of it
            models, info = list(starts), FitInfo.of(starts)
        else:
            models, info = ensemble.fit(settings, observations, rng, starts, side_information)
    return _served(settings, columns, (users, items), Fitted(observations, models), info, calibration)


def _numbers(settings: RecommenderSettings, source: Table, rating: str) -> NDArray[np.float32]:
    """(entries,) ratings, or counts."""
    implicitly = settings.feedback == "implicit"
    if implicitly and rating == RATING and rating not in source.names:
        return np.ones(len(source), np.float32)
    values = source.numbers(rating)
    if implicitly:
        implicit.refuse_nothing(values)  # before those of a pair are added up
    return values


def _with_features(
    settings: RecommenderSettings, vocabulary: Vocabulary, positions: NDArray[Any], features: Any, name: str
) -> tuple[Vocabulary, NDArray[Any], NDArray[np.float32] | None]:
    """The vocabulary with all that have features, the positions in it, and the attributes of all."""
    if features is None:
        return vocabulary, positions, None
    if settings.kind != "bayes":
        raise ValueError(f"features of {name} are for ratings and model 'bayes'; leave the features out")
    ids, matrix = attributes(features, name)
    vocabulary, old, described = vocabulary.extended(ids)
    of_all = np.zeros((len(vocabulary), matrix.shape[1]), np.float32)
    of_all[described] = matrix
    return vocabulary, old[positions], of_all


def _observations(
    settings: RecommenderSettings,
    rows: NDArray[Any],
    cols: NDArray[Any],
    values: NDArray[np.float32],
    shape: tuple[int, int],
    duplicates: Duplicates,
) -> Observations:
    how: Duplicates = "sum" if settings.feedback == "implicit" else duplicates
    try:
        return Observations.from_entries(rows, cols, values, shape, how)
    except DuplicateEntries as error:
        repeats = _checks.count(error.count, "rating repeats", "ratings repeat")
        raise ValueError(
            f"{repeats} a user and an item given before; say duplicates='last' or duplicates='mean'"
        ) from None


def _served(
    settings: RecommenderSettings,
    columns: Columns,
    vocabularies: tuple[Vocabulary, Vocabulary],
    fitted: Fitted,
    info: FitInfo,
    calibration: Calibration | None,
    origin: Origin | None = None,
    refit: bool = True,
) -> State:
    """What is served, from fitted models and their ratings; with the ranking of lists from scratch, or grown."""
    observations, models = fitted
    explicit, served = settings.feedback == "explicit", ensemble.served(models)
    ranking: Lazy[Ranking] | None = None
    where = (settings.device, settings.n_threads)
    if explicit and origin is None:
        ranking = Lazy(partial(list_ranking.rank_lists, observations, served, *where))
    elif explicit and origin is not None:
        ranking = Lazy(partial(list_ranking.rank_again, origin, observations, served, refit, *where))
    return State(
        columns=columns,
        users=vocabularies[0],
        items=vocabularies[1],
        mean=models[0].mean,
        range=ensemble.range_of(observations) if explicit else (-math.inf, math.inf),
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


def fold_in(settings: RecommenderSettings, before: State, table: Any) -> State:
    """`before` with the ratings of a table, nothing fitted again; see `dmc.Recommender.fold_in`."""
    user, item, rating = before.columns
    source = Table.open(table, before.columns)
    values, (known, models) = _numbers(settings, source, rating), before.fitted()
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
        "sum" if settings.feedback == "implicit" else "last",
    )
    row_of, column_of = (np.full(size, -1) for size in shape)
    row_of[old_rows], column_of[old_cols] = np.arange(len(old_rows)), np.arange(len(old_cols))
    changed = np.zeros(shape[0], bool)
    changed[rows] = True
    with kernels.threads(settings.n_threads):
        extended = [model.extended(observations, row_of, column_of, changed) for model in models]
    origin = None
    if before.ranking is not None:
        origin = grown(before, Origin(before.ranking, row_of, column_of, changed))
    fitted = Fitted(observations, extended)
    vocabularies = (users, items)
    return _served(
        settings, before.columns, vocabularies, fitted, before.fit_info, before.calibration, origin, refit=False
    )


def fit_further(settings: RecommenderSettings, before: State, table: Any) -> State:
    """`before` with the ratings of a table, fitted again from where it stands; see `dmc.Recommender.partial_fit`."""
    more = fold_in(settings, before, table)
    if more.same_ratings(before):
        return before
    observations, starts = more.fitted()
    with kernels.threads(settings.n_threads):
        models, info = ensemble.fit(settings, observations, _checks.generator(settings.random_state), starts)
    origin = more.origin if more.origin is not None and more.origin.ranking.made else None
    fitted, vocabularies = Fitted(observations, models), (more.users, more.items)
    state = _served(settings, before.columns, vocabularies, fitted, info, before.calibration, origin)
    if origin is not None and state.ranking is not None:
        state.ranking()  # here and now, not by the first who asks for a list
        state = replace(state, origin=None)  # which would hold on to the ranking before
    return state
