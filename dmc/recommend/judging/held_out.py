"""What recommenders achieve on a test table, user by user; evaluations and comparisons are computed from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dmc import _checks, metrics
from dmc._warn import warn
from dmc.pattern import SparseIndex
from dmc.recommend.judging.baselines import values_of
from dmc.recommend.settings import Feedback
from dmc.recommend.tables.table import Table
from dmc.recommend.tables.vocabulary import Vocabulary

ERRORS = ("rmse", "mae")
OF_HITS = ("precision", "recall", "ndcg", "average_precision", "reciprocal_rank", "hit_rate")
OF_LISTS = (*OF_HITS, "graded_ndcg", "novelty")
Floats = NDArray[np.float64]


class Judged(Protocol):
    """The interface that `evaluate` needs of a recommender; `dmc.Recommender` has it.

    It may also have `feedback` (default "explicit"), `users_` (a Vocabulary) and `seen_` (a `SparseIndex` with the
    positions of the items that each user has in the fit). Without these, unknown users and pairs from the fit cannot be
    recognised, and there is no novelty.

    Examples
    --------
    >>> import numpy as np
    >>> import dmc
    >>> ratings = {"user": ["ann", "ann", "bob", "bob"], "item": ["a", "b", "a", "c"], "rating": [5, 3, 4, 2]}
    >>> class Constant:
    ...     columns_ = ("user", "item", "rating")
    ...     items_ = dmc.Recommender().fit(ratings).items_
    ...
    ...     def predict(self, table):
    ...         return {"prediction": np.full(len(table["user"]), 3.0)}
    ...
    ...     def recommend(self, users, n):
    ...         return {"user": users["user"], "item": np.full(len(users["user"]), "a")}
    >>> dmc.evaluation.evaluate(Constant(), ratings, n=1).mae
    1.0
    """

    @property
    def columns_(self) -> tuple[str, str, str]:
        """Names of the columns of users, items and ratings."""

    @property
    def items_(self) -> Vocabulary:
        """The known items."""

    def predict(self, table: Any) -> Any:
        """Predict the rating of each pair of a user and an item.

        Parameters
        ----------
        table : mapping of arrays
            With the columns of users and items.

        Returns
        -------
        mapping of arrays or data frame
            With a column "prediction", a number for each row.
        """

    def recommend(self, users: Any, n: int) -> Any:
        """Recommend n items to each user.

        Parameters
        ----------
        users : mapping of arrays
            With the column of users.
        n : int
            Number of items for each user.

        Returns
        -------
        mapping of arrays or data frame
            Columns of users and items, named as in `columns_`; best first for each user.
        """


def error_figures(sums: Floats) -> Floats:
    """(…, 2) root mean squared and mean absolute error, of sums, (…, 3), of squares, of absolute errors and of ones."""
    squared, absolute, counts = np.moveaxis(sums, -1, 0)
    return np.stack([np.sqrt(squared / counts), absolute / counts], axis=-1)


def mean_figures(sums: Floats) -> Floats:
    """(…, k) means, of sums, (…, 2 k), of k values and of how many there are of each."""
    values, counts = np.split(sums, 2, axis=-1)
    return np.asarray(values / counts)


class Lists(NamedTuple):
    """How good the list of each user who has a relevant item is."""

    per_user: dict[str, Floats]  # by the names of OF_LISTS, in their order: (users,) each; NaN where it has no value
    coverage: float

    def sums(self, names: Sequence[str]) -> Floats:
        """(users, 2 k) what each user adds to the sums that `mean_figures` takes."""
        values = np.stack([self.per_user[name] for name in names], axis=1)
        return np.hstack([np.nan_to_num(values), np.isfinite(values).astype(np.float64)])


@dataclass(frozen=True, eq=False)
class TestSet:
    """Test rows that none of the recommenders has in its fit, and which of them are relevant.

    Attributes
    ----------
    columns : (str, str, str)
    feedback : {"explicit", "implicit"}
    n : int
        Items to recommend.
    relevant : float or None
        From which value an item is relevant; None: clicks, of any count.
    n_seen : int
        Rows that were left out because their pair is in a fit.
    users, items : (rows,) ids
    values : (rows,) float64
        Ratings, or counts.
    wanted : pair of (pairs,) int64 and ids
        Relevant pairs: positions in `listed`, and items.
    grades : (pairs,) float64, optional
        Their ratings or counts; None where there are none, or not all are above 0.
    listed : (users,) ids
        Who has a relevant item, sorted.
    """

    __test__ = False  # what pytest would take it for

    columns: tuple[str, str, str]
    feedback: Feedback
    n: int
    relevant: float | None
    n_seen: int
    users: NDArray[Any]
    items: NDArray[Any]
    values: Floats
    wanted: tuple[NDArray[np.int64], NDArray[Any]]
    grades: Floats | None
    listed: NDArray[Any]

    @classmethod
    def open(cls, recommenders: Sequence[Judged], test: Any, n: int, relevant: float | None) -> TestSet:
        """Of a table with the columns of the fit; warns of rows that are in it already."""
        n, (first, *others) = _checks.integer(n, "n", 1), recommenders
        relevant = None if relevant is None else _checks.real(relevant, "relevant")
        columns, feedback = first.columns_, feedback_of(first)
        for other in others:
            if (other.columns_, feedback_of(other)) != (columns, feedback):
                raise ValueError(
                    f"one recommender was fitted to {feedback} feedback in the columns {', '.join(columns)} and the "
                    f"other to {feedback_of(other)} feedback in {', '.join(other.columns_)}; compare two of one kind"
                )
        source = Table.open(test, columns)
        users, items = source.ids(columns[0]), source.ids(columns[1])
        values = values_of(source, columns[2], feedback)
        if len(values) == 0:
            raise ValueError("there are no test ratings; give at least one")
        new = ~np.any([_seen(recommender, users, items) for recommender in recommenders], axis=0)
        if not new.all():
            _tell_seen(int((~new).sum()), len(new))
        users, items, values = users[new], items[new], values[new]
        if feedback == "explicit" and relevant is None and len(values):
            relevant = float(np.mean(values))
        least = -math.inf if relevant is None else relevant
        graded = columns[2] in source.names
        listed, wanted, grades = _relevant(users, items, values, feedback, least)
        if len(listed) == 0 and new.any():
            what = "count" if feedback == "implicit" else "rating"
            enough = "above 0" if feedback == "implicit" and least <= 0 else f"of at least {least:g}"
            warn(f"no pair of the test has a {what} {enough}, so nothing is relevant and no lists are judged")
        return cls(
            columns, feedback, n, relevant, int((~new).sum()), users, items, values, wanted,
            grades if graded and (grades > 0).all() else None, listed
        )  # fmt: skip

    def n_unknown_users(self, recommender: Judged) -> int:
        """How many of the listed users the recommender does not know; warns where lists cannot say anything."""
        known: Vocabulary | None = getattr(recommender, "users_", None)
        n_unknown = 0 if known is None else int((known.positions(self.listed) < 0).sum())
        if len(self.listed) == 0:
            return 0
        items = recommender.items_
        if n_unknown == len(self.listed):
            warn(
                f"the recommender knows none of the {_checks.count(n_unknown, 'user')} in the test, so all of them get "
                "the same list; use users that were in the fit"
            )
        elif isinstance(items, Vocabulary) and (items.positions(self.wanted[1]) < 0).all():
            warn("the recommender knows none of the relevant items in the test, so it finds none; check the ids")
        return n_unknown

    def errors(self, recommender: Judged) -> Floats:
        """(raters, 3) squares, sizes and number of the errors of predicted ratings, added up for each user."""
        user, item, _ = self.columns
        predicted = np.asarray(recommender.predict({user: self.users, item: self.items})["prediction"])
        _checks.finite(predicted, "predictions")
        off = predicted.astype(np.float64) - self.values
        _, rows = np.unique(self.users, return_inverse=True)
        sums = [np.bincount(rows, of_row) for of_row in (np.square(off), np.abs(off), np.ones(len(off)))]
        return np.stack(sums, axis=1).astype(np.float64)

    def lists(self, recommender: Judged) -> Lists:
        """Of the items recommended to those who have a relevant one."""
        user, item, _ = self.columns
        given = recommender.recommend({user: self.listed}, self.n)
        to, what = Vocabulary(self.listed).positions(given[user]), np.asarray(given[item])
        ranking = metrics.hits((to, what), self.wanted)
        per_user = {name: getattr(metrics, name).per_user(*ranking, self.n) for name in OF_HITS}
        if self.grades is not None:
            graded = metrics.gains((to, what), self.wanted, self.grades, self.n)
            per_user["graded_ndcg"] = metrics.graded_ndcg.per_user(*graded, self.n)
        counts = _popularity(recommender, what)
        if counts is not None:
            per_user["novelty"] = np.full(len(self.listed), np.nan)
            per_user["novelty"][np.unique(to)] = metrics.novelty.per_user(to, *counts)
        return Lists(per_user, metrics.coverage(what, len(recommender.items_)))


def feedback_of(recommender: Judged) -> Feedback:
    """Whether it was fitted to ratings or to clicks."""
    found: Feedback = getattr(recommender, "feedback", "explicit")
    return found


def _seen(recommender: Judged, users: NDArray[Any], items: NDArray[Any]) -> NDArray[np.bool_]:
    """(rows,) whether each pair is in the fit, as far as the recommender tells."""
    seen: SparseIndex | None = getattr(recommender, "seen_", None)
    known: Vocabulary | None = getattr(recommender, "users_", None)
    found = np.zeros(len(users), bool)
    if seen is None or known is None:
        return found
    rows, cols = known.positions(users), recommender.items_.positions(items)
    both = np.flatnonzero((rows >= 0) & (cols >= 0))
    asked, place = np.unique(rows[both], return_inverse=True)  # of large fits few users
    own, _ = seen.take(asked)
    n_items = len(recommender.items_)
    keys = np.repeat(np.arange(len(asked)), np.diff(own.indptr)) * n_items + own.indices
    found[both] = np.isin(place * n_items + cols[both], keys)
    return found


def _tell_seen(n_seen: int, n_rows: int) -> None:
    if n_seen == n_rows:
        warn(
            f"all {_checks.count(n_rows, 'test row')} are pairs from the fit, so nothing is judged; use others, such "
            "as the test part of dmc.evaluation.split"
        )
        return
    warn(
        f"{n_seen:,} of {n_rows:,} test rows are pairs from the fit and are left out: they are not recommended again, "
        "and errors on fitted ratings are too small"
    )


def _relevant(
    users: NDArray[Any], items: NDArray[Any], values: Floats, feedback: Feedback, least: float
) -> tuple[NDArray[Any], tuple[NDArray[np.int64], NDArray[Any]], Floats]:
    """Users who have a relevant item; the relevant pairs; and their values, which for clicks are added up."""
    if feedback == "implicit":
        of_users, rows = Vocabulary.learn(users)
        of_items, cols = Vocabulary.learn(items)
        pairs, of_row = np.unique(rows.astype(np.int64) * len(of_items) + cols, return_inverse=True)
        values = np.bincount(of_row, values, len(pairs)).astype(np.float64)
        users, items = of_users.ids[pairs // len(of_items)], of_items.ids[pairs % len(of_items)]
        good = (values > 0) & (values >= least)  # below 0 it is a dislike
    else:
        good = values >= least
    listed, owners = np.unique(users[good], return_inverse=True)
    return listed, (owners, items[good]), values[good]


def _popularity(recommender: Judged, items: NDArray[Any]) -> tuple[NDArray[np.int64], int] | None:
    """(recommended,) how many users have each item in the fit, and how many have any; None where that is not told."""
    seen: SparseIndex | None = getattr(recommender, "seen_", None)
    if seen is None or len(seen.indices) == 0 or len(items) == 0:
        return None
    counts = np.bincount(seen.indices, minlength=len(recommender.items_))
    positions = recommender.items_.positions(items)
    return np.where(positions >= 0, counts[positions], 0), int((np.diff(seen.indptr) > 0).sum())
