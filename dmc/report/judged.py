"""Ratings beside their predictions, and lists beside what was chosen: what a report judges a recommender by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc.recommend.judging.held_out import TestSet
from dmc.recommend.recommender import Recommender
from dmc.recommend.tables.vocabulary import Vocabulary

LEVEL = 0.9  # of the intervals that are judged
BINS = 10  # of predictions
LISTED = 10  # items recommended to each user
SEEN_USERS = 2_000  # whose lists are looked at where there is no test
BEGINS = (0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)  # where groups of counts begin

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class JudgedRatings:
    """Ratings beside their predictions; `lower` and `upper` where the model has learnt intervals.

    Attributes
    ----------
    users : (ratings,) int64
        Whose each is, counted from 0.
    popularity : (ratings,) int64
        In how many ratings of the fit the item occurs.
    own : bool
        Whether these are the ratings that were fitted.
    """

    users: Positions
    popularity: Positions
    actual: NDArray[Any]
    predicted: NDArray[Any]
    lower: NDArray[Any] | None
    upper: NDArray[Any] | None
    own: bool

    @property
    def errors(self) -> NDArray[np.float64]:
        return self.predicted.astype(np.float64) - self.actual

    @property
    def named(self) -> str:
        return "the model's own ratings" if self.own else "the test ratings"


@dataclass(frozen=True)
class Lists:
    """What is recommended to some users, best first for each.

    Attributes
    ----------
    users : (users,) ids
    to : (recommended,) int64
        Positions in `users`.
    items : (recommended,) int64
        Positions among the model's items.
    """

    users: NDArray[Any]
    to: Positions
    items: Positions


def own_table(model: Recommender) -> dict[str, NDArray[Any]]:
    """The table that was fitted."""
    known = model.observations_
    columns = (model.users_.ids[known.rows], model.items_.ids[known.cols], np.asarray(known.values))
    return dict(zip(model.columns_, columns, strict=True))


def test_set(model: Recommender, test: Any) -> TestSet:
    """The test without the pairs that were fitted, which are warned of.

    Raises
    ------
    ValueError, TypeError, OSError
        If the table cannot be used, or nothing is left of it.
    """
    found = TestSet.open((model,), test, LISTED, None)
    if len(found.listed) == 0:
        kind = "clicks" if found.feedback == "implicit" else "ratings"
        raise ValueError(
            f"no test rows are left; give {kind} of pairs that are not in the fit, or no test for a report on the "
            "model alone"
        )
    return found


def rows_of(tests: TestSet, graded: bool) -> dict[str, NDArray[Any]]:
    """The test set as a table again; with ratings, or counts, if it is `graded`."""
    columns = (tests.users, tests.items, tests.values)
    return dict(zip(tests.columns if graded else tests.columns[:2], columns, strict=False))


def ratings(model: Recommender, tests: TestSet | None) -> JudgedRatings:
    """Test ratings beside their predictions; the model's own, if there are none."""
    table = own_table(model) if tests is None else rows_of(tests, graded=True)
    user, item, rating = (table[name] for name in model.columns_)
    found = model.predict(dict(zip(model.columns_[:2], (user, item), strict=True)), interval=interval_of(model))
    users = np.unique(user, return_inverse=True)[1] if tests is not None else np.asarray(model.observations_.rows)
    popularity = np.append(n_ratings(model), 0)[model.items_.positions(item)]  # the last is a stranger's
    bounds = found.get("lower"), found.get("upper")
    return JudgedRatings(users.astype(np.int64), popularity, rating, found["prediction"], *bounds, tests is None)


def interval_of(model: Recommender) -> float | None:
    return LEVEL if model.intervals else None


def n_ratings(model: Recommender) -> Positions:
    """(items,) ratings, or users who chose it, of each item in the fit."""
    return np.bincount(model.seen_.indices, minlength=len(model.items_))


def lists(recommend: Callable[..., Any], model: Recommender, users: NDArray[Any]) -> Lists:
    """What a recommender, the model or a rival of it, recommends to them."""
    user, item, _ = model.columns_
    given = recommend({user: users}, LISTED)
    return Lists(users, Vocabulary(users).positions(given[user]), model.items_.positions(given[item]))


def some_users(model: Recommender) -> NDArray[Any]:
    """Ids of users who have chosen something, evenly spaced among them all."""
    chosen = np.flatnonzero(np.diff(model.seen_.indptr) > 0)
    places = np.linspace(0, len(chosen) - 1, min(len(chosen), SEEN_USERS)).round().astype(int)
    return np.asarray(model.users_.ids[chosen[places]])


def bins(judged: JudgedRatings) -> list[Positions]:
    """Places of the ratings, in groups of about equal size by their prediction, low ones first; ties stay together."""
    edges = np.unique(np.quantile(judged.predicted, np.arange(1, BINS) / BINS))
    group_of = np.searchsorted(edges, judged.predicted, side="right")
    return [np.flatnonzero(group_of == group) for group in np.unique(group_of)]


def by_count(counts: Positions) -> list[tuple[str, NDArray[np.bool_]]]:
    """Groups of about equal ratio of some counts, those that are not empty: their names, and who is in each."""
    group_of = np.searchsorted(BEGINS, counts, side="right") - 1
    return [(_range(group), group_of == group) for group in np.unique(group_of).tolist()]


def _range(group: int) -> str:
    begin = BEGINS[group]
    if group + 1 == len(BEGINS):
        return f"{begin:,}+"
    end = BEGINS[group + 1] - 1
    return f"{begin:,}" if begin == end else f"{begin:,}–{end:,}"
