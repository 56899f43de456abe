"""Evaluate recommenders: split a table before the fit, measure errors and lists, and compare with simple baselines.

The formulas are in `dmc.metrics`; the site's page on metrics says where other libraries use the same names differently.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc.recommend.judging import bootstrap
from dmc.recommend.judging.baselines import Biases, Popularity
from dmc.recommend.judging.comparison import Comparison, Difference, compare
from dmc.recommend.judging.held_out import ERRORS, OF_LISTS, Floats, Judged, TestSet, error_figures, mean_figures
from dmc.recommend.judging.splitting import split
from dmc.recommend.settings import Feedback
from dmc.recommend.tables.table import Table

__all__ = [
    "Biases",
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


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The result of `evaluate`: measures with confidence intervals. A measure that does not apply is None.

    Parameters
    ----------
    rmse, mae : float or None
        Root mean squared and mean absolute error of the predicted ratings, in their units. None for clicks, whose
        counts are not predicted.
    precision, recall, ndcg, average_precision : float or None
        Of the n items recommended to each user who has a relevant test item, averaged over these users; see
        `dmc.metrics`.
    coverage : float or None
        Share of the known items that is recommended to any of these users.
    reciprocal_rank, hit_rate : float or None
        As `precision`.
    graded_ndcg : float or None
        NDCG in which each relevant item counts with its rating, or count. None if one of them is not above 0, or if
        clicks have no counts.
    novelty : float or None
        How little known the recommended items are, in bits; see `dmc.metrics.novelty`.
    n : int
        Number of items recommended to each user.
    relevant : float or None
        An item is relevant if its rating, or count, is at least this; None: any click is.
    n_ratings : int
        Number of test rows that were judged.
    n_users : int
        Number of users among them who have a relevant item.
    n_seen : int
        Number of test rows that were left out, because the recommender was fitted to their pair of user and item.
    n_unknown_users : int
        How many of the `n_users` the recommender does not know; they are recommended what is popular.
    confidence : float or None
        Probability with which each interval contains the measure for an infinite number of such users.
    intervals : dict of str to (float, float)
        Lower and upper bound of each measure but the coverage, from a bootstrap over users; empty if there is one user.
    users : (n_users,) array of ids
        The users who were judged.
    per_user : dict of str to (n_users,) float64 array
        Each measure of the list of each of `users`.

    Examples
    --------
    >>> import dmc
    >>> ratings = {"user": ["ann", "ann", "bob", "bob"], "item": ["a", "b", "a", "c"], "rating": [5, 3, 4, 2]}
    >>> rec = dmc.Recommender().fit(ratings)
    >>> found = dmc.evaluation.evaluate(rec, {"user": ["ann", "bob"], "item": ["c", "b"], "rating": [3, 3]}, n=1)
    >>> found.n_ratings, found.recall, found.intervals["recall"]
    (2, 1.0, (1.0, 1.0))
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

    def __repr__(self) -> str:
        least = "" if self.relevant is None else f" with an item of at least {self.relevant:.4g}"
        strangers = f", {self.n_unknown_users:,} of them unknown" if self.n_unknown_users else ""
        users = f"lists of {self.n} for {_checks.count(self.n_users, 'user')}{least}{strangers}"
        rows = [("", "", "" if not self.intervals else f"{100 * (self.confidence or 0):g} % interval")]
        for name in (*ERRORS, *OF_LISTS, "coverage"):
            value, bounds = getattr(self, name), self.intervals.get(name)
            between = "" if bounds is None else f"{bounds[0]:.4f} … {bounds[1]:.4f}"
            rows += [] if value is None else [(name, f"{value:.4f}", between)]
        a, b, c = (max(map(len, column)) for column in zip(*rows, strict=True))
        lines = [f"{name:<{a}}  {value:>{b}}  {between:>{c}}".rstrip() for name, value, between in rows]
        return "\n".join([f"{_checks.count(self.n_ratings, 'test row')}, {users}", *filter(None, lines)])

    def asdict(self) -> dict[str, Any]:
        """Return the attributes as plain numbers, lists and dicts, without the arrays of single users.

        Returns
        -------
        dict
            By name; `json.dumps` accepts it.

        Examples
        --------
        >>> import dmc
        >>> ratings = {"user": ["ann", "ann", "bob", "bob"], "item": ["a", "b", "a", "c"], "rating": [5, 3, 4, 2]}
        >>> test = {"user": ["ann", "bob"], "item": ["c", "b"], "rating": [3, 3]}
        >>> dmc.evaluation.evaluate(dmc.evaluation.Popularity(ratings), test, n=1).asdict()["hit_rate"]
        1.0
        """
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
    """Evaluate a fitted recommender on ratings, or clicks, that it has not seen.

    Users and items that were not in the fit are judged, too, by what the recommender predicts for unknown ones. Pairs
    that were in the fit are left out of errors and lists, with a warning: they are not recommended again, and errors on
    fitted ratings are too small. If all pairs were in the fit, nothing is judged.

    Parameters
    ----------
    recommender : dmc.Recommender or Judged
        Fitted; any object with `predict`, `recommend`, `columns_` and `items_` will do.
    test : data frame, mapping of arrays, or path of a file
        With columns named as in the fit. Clicks need no column of counts; if there is one, the counts of a pair are
        added up, and negative ones are dislikes, which are never relevant.
    n : int
        Number of items to recommend to each user.
    relevant : float, optional
        An item is relevant if its rating, or count, is at least this. Default: the mean of the test ratings; for
        clicks, any count above 0. If no item is relevant, the lists are not judged.
    confidence : float, optional
        Confidence of the intervals, between 0 and 1; None: no intervals.
    n_resamples : int
        Number of bootstrap samples.
    seed : int or numpy.random.Generator
        Seed of the bootstrap.

    Returns
    -------
    Evaluation
        Errors and list measures, with intervals.

    Raises
    ------
    ValueError, TypeError, OSError
        If the test table cannot be used.

    Warns
    -----
    UserWarning
        If test pairs were in the fit, nothing is relevant, or the recommender knows none of the users or none of the
        relevant items.

    References
    ----------
    Intervals: B. Efron, "Better bootstrap confidence intervals", 1987 (BCa), over users.

    Examples
    --------
    >>> import numpy as np
    >>> import dmc
    >>> rng = np.random.default_rng(0)
    >>> taste = rng.standard_normal((40, 2)) @ rng.standard_normal((2, 30))
    >>> user, item = np.nonzero(rng.random((40, 30)) < 0.5)
    >>> train, test = dmc.evaluation.split({"user": user, "item": item, "rating": 3 + taste[user, item]})
    >>> found = dmc.evaluation.evaluate(dmc.Recommender().fit(train), test)
    >>> found.rmse < dmc.evaluation.baselines(train, test)["biases"].rmse
    True
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
    """Evaluate simple baselines, to compare a recommender's figures with.

    Parameters
    ----------
    train : data frame, mapping of arrays, or path of a file
        What the recommender was fitted to.
    test : data frame, mapping of arrays, or path of a file
        What it is evaluated on.
    n : int
        Number of items to recommend to each user, as in `evaluate`.
    relevant : float, optional
        From which rating, or count, an item is relevant, as in `evaluate`.
    user, item, rating : str
        Names of the columns.
    feedback : {"explicit", "implicit"}
        Whether these are ratings or clicks, as in `dmc.Recommender`.
    confidence : float, optional
        Confidence of the intervals, as in `evaluate`.
    n_resamples : int
        Number of bootstrap samples, as in `evaluate`.
    seed : int or numpy.random.Generator
        Seed of the bootstrap.

    Returns
    -------
    dict of str to Evaluation
        "mean": the mean training rating for everybody. "biases": the mean plus a damped bias of each user and each item
        (`Biases`); apart from the items that a user rated, everybody gets the same list. "popularity": the items that
        most users have (`Popularity`); it predicts no ratings. For clicks only the last.

    Raises
    ------
    ValueError, TypeError, OSError
        If the tables cannot be used.

    Examples
    --------
    >>> import dmc
    >>> ratings = {"user": ["ann", "ann", "bob", "bob"], "item": ["a", "b", "a", "c"], "rating": [5, 3, 4, 2]}
    >>> test = {"user": ["ann", "bob"], "item": ["c", "b"], "rating": [3, 4]}
    >>> found = dmc.evaluation.baselines(ratings, test, n=1)
    >>> list(found), found["mean"].mae
    (['mean', 'biases', 'popularity'], 0.5)
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
