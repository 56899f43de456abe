"""Judging a recommender: a part split off before the fit, errors and lists on it, and what simple rivals reach.

`docs/guide/metrics.md` says what each measure is here, and where ranx, RecTools and LensKit mean another by its name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc.recommend.judging import bootstrap
from dmc.recommend.judging.baselines import Biases, Popularity
from dmc.recommend.judging.comparison import Comparison, Difference, compare
from dmc.recommend.judging.held_out import ERRORS, OF_LISTS, Floats, Judged, TestSet, error_figures, mean_figures
from dmc.recommend.judging.splitting import By, split
from dmc.recommend.settings import Feedback
from dmc.recommend.tables.table import Table

__all__ = [
    "Biases",
    "By",
    "Comparison",
    "Difference",
    "Evaluation",
    "Judged",
    "Popularity",
    "baselines",
    "compare",
    "evaluate",
    "split",
]


@dataclass(frozen=True)
class Evaluation:
    """What a recommender reaches on ratings or clicks that it has not seen; None where a measure does not apply.

    Attributes
    ----------
    rmse, mae : float or None
        Errors of the predicted ratings, in their units; None of clicks, whose counts are not predicted.
    precision, recall, ndcg, average_precision : float or None
        Of the n items recommended to each user who has a relevant one, averaged over these users: see `dmc.metrics`.
    coverage : float or None
        Share of the known items that is recommended to any of them.
    reciprocal_rank, hit_rate : float or None
        As `precision`.
    graded_ndcg : float or None
        NDCG where each relevant item is worth its rating, or count; None if one of them is not above 0, or clicks have
        no counts.
    novelty : float or None
        How little known the recommended items are: bits of `dmc.metrics.novelty`.
    n : int
        Items recommended to each user.
    relevant : float or None
        Ratings, or counts, of at least this make an item relevant; None: any click does.
    n_ratings, n_users : int
        Test rows that are judged, and users among them who have a relevant item.
    n_seen : int
        Test rows that are not judged, because the recommender has their pair of a user and an item already.
    n_unknown_users : int
        Of the `n_users`, those whom the recommender does not know; they get what is popular.
    confidence : float or None
        With which probability each of the intervals holds the figure of endlessly many such users.
    intervals : dict of (float, float)
        Lower and upper bound of each measure but the coverage, by the bootstrap over users; empty if there is only one.
    users : (n_users,) ids
    per_user : dict of (n_users,) arrays
        Measures of the list of each of `users`.
    """

    rmse: float | None
    mae: float | None
    precision: float | None
    recall: float | None
    ndcg: float | None
    average_precision: float | None
    coverage: float | None
    reciprocal_rank: float | None
    hit_rate: float | None
    graded_ndcg: float | None
    novelty: float | None
    n: int
    relevant: float | None
    n_ratings: int
    n_users: int
    n_seen: int
    n_unknown_users: int
    confidence: float | None
    intervals: dict[str, tuple[float, float]]
    users: NDArray[Any] = field(repr=False, compare=False)
    per_user: dict[str, Floats] = field(repr=False, compare=False)

    def asdict(self) -> dict[str, Any]:
        """The attributes by name, of plain numbers, lists and dicts; without what is of each user."""
        found = {of.name: getattr(self, of.name) for of in fields(self) if of.compare}
        return {**found, "intervals": {name: list(bounds) for name, bounds in self.intervals.items()}}


def evaluate(
    recommender: Judged,
    test: Any,
    n: int = 10,
    relevant: float | None = None,
    *,
    confidence: float | None = 0.95,
    n_resamples: int = 1000,
    seed: int | np.random.Generator = 0,
) -> Evaluation:
    """Judge a fitted recommender by ratings, or clicks, that it has not seen.

    Users and items that were not in the fit are judged too: they get what the recommender has for strangers. Pairs that
    were in the fit are left out, of the errors and of the lists, with a warning: they cannot be recommended again, and
    errors on what was fitted flatter. If all were, nothing is judged.

    Parameters
    ----------
    recommender : dmc.Recommender
        Or anything with its `predict`, `recommend`, `columns_` and `items_`: see `Judged`.
    test : data frame, mapping of arrays, or path of a file
        With columns named as in the fit. Clicks need no column of counts; if there is one, counts of a pair are added
        up, and those below 0 are dislikes, which are never relevant.
    n : int
        Items to recommend to each user.
    relevant : float, optional
        Ratings, or counts, of at least this make an item relevant; left out: the mean of the test ratings, and of
        clicks all that are above 0. If none does, the lists are not judged.
    confidence : float, optional
        Of the intervals, between 0 and 1; None: no intervals.
    n_resamples : int
        How often users are drawn for the intervals.
    seed : int or numpy.random.Generator
        Of these draws.

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError, TypeError, OSError
        If the test table cannot be used.
    """
    drawing = None if confidence is None else bootstrap.settings(confidence, n_resamples, seed)
    tests = TestSet.open((recommender,), test, n, relevant)
    return _verdict(tests, recommender, drawing, errors=tests.feedback == "explicit", lists=True)


def baselines(
    train: Any,
    test: Any,
    n: int = 10,
    relevant: float | None = None,
    user: str = "user",
    item: str = "item",
    rating: str = "rating",
    *,
    feedback: Feedback = "explicit",
    confidence: float | None = 0.95,
    n_resamples: int = 1000,
    seed: int | np.random.Generator = 0,
) -> dict[str, Evaluation]:
    """What simple rivals reach, so that a recommender's figures mean something.

    Parameters
    ----------
    train, test : data frame, mapping of arrays, or path of a file
        What the recommender was fitted to, and what it is judged by.
    n, relevant
        As in `evaluate`.
    user, item, rating : str
        Names of the columns.
    feedback : {"explicit", "implicit"}
        Whether these are ratings or clicks, as of `dmc.Recommender`.
    confidence, n_resamples, seed
        As in `evaluate`.

    Returns
    -------
    dict of Evaluation
        "mean" (of the training ratings, for everybody), "biases" (the mean, plus a damped deviation of each user and of
        each item: the lists are the same for everybody but for what was rated; see `Biases`) and "popularity" (the
        items that most users have; it predicts no ratings). Of clicks only the last.

    Raises
    ------
    ValueError, TypeError, OSError
        If the tables cannot be used.
    """
    drawing = None if confidence is None else bootstrap.settings(confidence, n_resamples, seed)
    named = (user, item, rating)
    train = Table.open(train, named)
    popular = Popularity(train, *named, feedback=feedback)
    tests = TestSet.open((popular,), test, n, relevant)
    found = {}
    if feedback == "explicit":
        biases, mean = Biases(train, *named), Biases(train, *named, damping=math.inf)
        found["mean"] = _verdict(tests, mean, drawing, errors=True, lists=False)
        found["biases"] = _verdict(tests, biases, drawing, errors=True, lists=True)
    return found | {"popularity": _verdict(tests, popular, drawing, errors=False, lists=True)}


def _verdict(
    tests: TestSet, recommender: Judged, drawing: bootstrap.Drawing | None, errors: bool, lists: bool
) -> Evaluation:
    found: dict[str, Any] = dict.fromkeys((*ERRORS, *OF_LISTS, "coverage"))
    bounds: dict[str, tuple[float, float]] = {}
    per_user: dict[str, Floats] = {}
    if errors and len(tests.values):
        sums = tests.errors(recommender)
        found |= zip(ERRORS, error_figures(sums.T.copy().sum(axis=1)).tolist(), strict=True)
        bounds |= bootstrap.named(ERRORS, sums, error_figures, drawing)
    judged = lists and len(tests.listed) > 0
    if judged:
        ranked = tests.lists(recommender)
        per_user, found["coverage"] = ranked
        sums = ranked.sums(tuple(per_user))
        found |= {name: float(np.nanmean(values)) for name, values in per_user.items()}
        bounds |= bootstrap.named(tuple(per_user), sums, mean_figures, drawing)
    return Evaluation(
        **found,
        n=tests.n,
        relevant=tests.relevant,
        n_ratings=len(tests.values),
        n_users=len(tests.listed),
        n_seen=tests.n_seen,
        n_unknown_users=tests.n_unknown_users(recommender) if judged else 0,
        confidence=None if drawing is None else drawing.confidence,
        intervals=bounds,
        users=tests.listed,
        per_user=per_user,
    )
