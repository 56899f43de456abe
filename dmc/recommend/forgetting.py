"""A recommender without some of its users or items: as if they had been taken out of what it serves and keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import kernels
from dmc.observations import Observations
from dmc.pattern import SparseIndex
from dmc.recommend import list_ranking, queries
from dmc.recommend.models import RatingModel
from dmc.recommend.settings import RecommenderSettings
from dmc.recommend.state import Fitted, Lazy, Ranking, State, WithoutRatings
from dmc.recommend.tables.vocabulary import Vocabulary

SHOWN = 3  # ids that are not known, in a message

Positions = NDArray[np.int64]


def forget(settings: RecommenderSettings, before: State, users: Any, items: Any) -> State:
    """`before` without some users and items; see `dmc.Recommender.forget`."""
    if users is None and items is None:
        raise ValueError("no user or item to forget is given; give users or items")
    user, item, _ = before.columns
    rows, cols = _kept(before.users, users, user), _kept(before.items, items, item)
    left = replace(
        before,
        users=Vocabulary(before.users.ids[rows]),
        items=Vocabulary(before.items.ids[cols]),
        left=_of_these(before.left, rows),
        right=_of_these(before.right, cols),
        origin=None,  # as the ranking before, it would hold on to those who are forgotten
    )
    if before.without_ratings is not None:
        return _less_without_ratings(left, before.without_ratings, rows, cols)
    return _less(settings, before, left, rows, cols)


def _less(settings: RecommenderSettings, before: State, left: State, rows: Positions, cols: Positions) -> State:
    """What is left, with its ratings, its models and its ranking of lists."""
    observed, models = before.fitted()
    ratings, unchanged = observed.among(rows, cols), np.zeros(len(rows), bool)
    if ratings.n_observed == 0:
        raise ValueError("without them no rating would be left; fit a model of others")
    with kernels.threads(settings.n_threads):
        fitted = Fitted(ratings, [model.extended(ratings, rows, cols, unchanged) for model in models])
        left = replace(left, seen=ratings.pattern.by_row, fitted=Lazy.of(fitted))
        if before.ranking is None:
            return left
        if not (before.ranking.made or (before.origin is not None and before.origin.ranking.made)):
            given = ratings, left.served, fitted.models[0].attributes, settings.device, settings.n_threads
            return replace(left, ranking=Lazy(partial(list_ranking.rank_lists, *given)))
        ranking = _of_ranking(before.ranking(), rows, cols)
        if ranking.preferences is not None:
            chosen = list_ranking.chosen_of(ratings)
            preferences = ranking.preferences().extended(chosen, rows, cols, unchanged)
            ranking = replace(ranking, preferences=Lazy.of(preferences))
    return replace(left, ranking=Lazy.of(ranking))


def _less_without_ratings(left: State, before: WithoutRatings, rows: Positions, cols: Positions) -> State:
    """The same of a model that has none."""
    counts = None if before.counts is None else (before.counts[0][rows], before.counts[1][cols])
    models = Lazy.of(without_users(before.models(), cols))
    left = replace(left, seen=no_ratings(len(rows)), without_ratings=before._replace(models=models, counts=counts))
    if left.ranking is None:
        return left
    return replace(left, ranking=Lazy.of(_of_ranking(left.ranking(), rows, cols)))


def without_users(models: Sequence[RatingModel], items: Positions) -> Sequence[RatingModel]:
    """What models know of some items, and of users in general: enough to place a user by ratings that are given."""
    nobody = np.zeros(0, np.int64)
    observed = nothing_of_nobody(len(items))
    return [model.extended(observed, nobody, items, nobody.astype(bool)) for model in models]


def nothing_of_nobody(n_items: int) -> Observations:
    """Ratings of no user."""
    return Observations.from_lines(no_ratings(0), np.zeros(0, np.float32), (0, n_items))


def no_ratings(n_users: int) -> SparseIndex:
    """None of each user."""
    return SparseIndex(np.zeros(n_users + 1, np.int64), np.zeros(0, np.int32))


def _kept(vocabulary: Vocabulary, ids: Any, name: str) -> Positions:
    """Positions of those that stay."""
    if ids is None:
        return np.arange(len(vocabulary))
    given = queries.asked(ids, name).ids(name)
    positions = vocabulary.positions(given, name)
    if (positions < 0).any():
        raise ValueError(_unknown(np.unique(given[positions < 0]).tolist(), name))
    stays = np.ones(len(vocabulary), bool)
    stays[positions] = False
    if not stays.any():
        raise ValueError(f"these are all of the {name}s, and nothing would be left; delete the model")
    return np.flatnonzero(stays)


def _unknown(ids: Sequence[Any], name: str) -> str:
    named, more = ", ".join(map(repr, ids[:SHOWN])), f" and {len(ids) - SHOWN:,} more" if len(ids) > SHOWN else ""
    are = "are" if len(ids) > 1 else "is"
    return f"{name} {named}{more} {are} not known, and nothing was forgotten; leave out unknown ones"


def _of_these(vectors: NDArray[np.float32], positions: Positions) -> NDArray[np.float32]:
    """Their vectors, and last that of those who are not known."""
    return vectors[np.append(positions, -1)]


def _of_ranking(before: Ranking, rows: Positions, cols: Positions) -> Ranking:
    """The same order of what is left; its preferences are still those of all."""
    return replace(before, left=_of_these(before.left, rows), right=_of_these(before.right, cols))
