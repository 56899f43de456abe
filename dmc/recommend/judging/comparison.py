"""Compare two recommenders on the same users: how they differ, and whether that could be chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dmc import _checks
from dmc.recommend.judging import bootstrap
from dmc.recommend.judging.held_out import ERRORS, OF_LISTS, Floats, Judged, TestSet, error_figures, mean_figures


class Difference(NamedTuple):
    """One measure of two recommenders, with the difference between them.

    Parameters
    ----------
    first, second : float
        The measure of each.
    difference : float
        First minus second. Above 0 the first is better, except for "rmse" and "mae", where it is better below 0.
    low, high : float
        Bounds of the confidence interval of the difference.
    p_value : float
        Probability of a difference at least as large, in either direction, if both were equally good.

    Examples
    --------
    >>> from dmc.evaluation import Difference
    >>> Difference(first=0.9, second=1.0, difference=-0.1, low=-0.15, high=-0.05, p_value=0.001).difference
    -0.1
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True, repr=False)
class Comparison:
    """The result of `dmc.evaluation.compare`; printed, it is a table.

    Parameters
    ----------
    measures : dict of str to Difference
        The measures that apply, by name as in `dmc.evaluation.Evaluation`.
    confidence : float
        Confidence of the intervals.
    n : int
        Number of items recommended to each user.
    n_ratings : int
        Number of test rows that were judged.
    n_users : int
        Number of users among them who have a relevant item.
    n_seen : int
        Number of test rows that were left out, because either recommender was fitted to them.

    Examples
    --------
    >>> import dmc
    >>> ratings = {"user": ["ann", "ann", "bob", "bob"], "item": ["a", "b", "a", "c"], "rating": [5, 3, 4, 2]}
    >>> test = {"user": ["ann", "bob"], "item": ["c", "b"], "rating": [3, 4]}
    >>> popular, biases = dmc.evaluation.Popularity(ratings), dmc.evaluation.Biases(ratings)
    >>> found = dmc.evaluation.compare(popular, biases, test, n=1)
    >>> found.n_users, found.measures["mae"].difference
    (1, 0.0)
    """

    measures: dict[str, Difference]
    confidence: float
    n: int
    n_ratings: int
    n_users: int
    n_seen: int

    def __repr__(self) -> str:
        head = ("", "first", "second", "difference", f"{100 * self.confidence:g} % interval", "p")
        rows = [head]
        for name, found in self.measures.items():
            figures = f"{found.first:.4f}", f"{found.second:.4f}", f"{found.difference:+.4f}"
            rows.append((name, *figures, f"{found.low:+.4f} … {found.high:+.4f}", f"{found.p_value:.2g}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) if k == 0 else cell.rjust(width) for k, (cell, width) in enumerate(pairs))
            for pairs in (list(zip(row, widths, strict=True)) for row in rows)
        ]
        told = (
            f"{_checks.count(self.n_ratings, 'test row')}, lists of {self.n} for {_checks.count(self.n_users, 'user')}"
        )
        return "\n".join([told, *lines])

    def asdict(self) -> dict[str, Any]:
        """Return the attributes as plain numbers, lists and dicts.

        Returns
        -------
        dict
            By name; `json.dumps` accepts it.

        Examples
        --------
        >>> from dmc.evaluation import Comparison, Difference
        >>> found = Comparison({"mae": Difference(0.9, 1.0, -0.1, -0.15, -0.05, 0.001)}, 0.95, 10, 40, 8, 0)
        >>> found.asdict()["measures"]["mae"]["difference"]
        -0.1
        """
        return {**vars(self), "measures": {name: found._asdict() for name, found in self.measures.items()}}


def compare(
    first: Judged,
    second: Judged,
    test: Any,
    n: int = 10,
    relevant: float | None = None,
    *,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    seed: int | np.random.Generator = 0,
) -> Comparison:
    """Evaluate two recommenders on the same users, and test whether one is better than the other.

    Each user is judged by both recommenders, and the difference is analysed. It varies much less than either measure,
    so one recommender may be clearly better even though the intervals of two separate evaluations overlap. With many
    measures, some p-value is small by chance: decide on one measure beforehand.

    Parameters
    ----------
    first, second : dmc.Recommender or Judged
        Fitted to columns of the same names; also `dmc.evaluation.Popularity` and `dmc.evaluation.Biases`.
    test : data frame, mapping of arrays, or path of a file
        Ratings, or clicks, that neither has seen. Pairs that either was fitted to are left out, with a warning.
    n : int
        Number of items to recommend to each user.
    relevant : float, optional
        From which rating, or count, an item is relevant, as in `dmc.evaluation.evaluate`.
    confidence : float
        Confidence of the intervals, between 0 and 1.
    n_resamples : int
        Number of bootstrap samples, and of permutations.
    seed : int or numpy.random.Generator
        Seed of both.

    Returns
    -------
    Comparison
        Each measure of both, the difference, its interval and its p-value.

    Raises
    ------
    ValueError, TypeError, OSError
        If the test table cannot be used or has fewer than two users, or if the recommenders are of different kinds.

    Warns
    -----
    UserWarning
        As `dmc.evaluation.evaluate`.

    References
    ----------
    Intervals: the BCa bootstrap over users (B. Efron, "Better bootstrap confidence intervals", 1987). p-values: a
    permutation test that swaps the two recommenders for each user at random.

    Examples
    --------
    >>> import numpy as np
    >>> import dmc
    >>> rng = np.random.default_rng(0)
    >>> taste = rng.standard_normal((40, 2)) @ rng.standard_normal((2, 30))
    >>> user, item = np.nonzero(rng.random((40, 30)) < 0.5)
    >>> train, test = dmc.evaluation.split({"user": user, "item": item, "rating": 3 + taste[user, item]})
    >>> found = dmc.evaluation.compare(dmc.Recommender().fit(train), dmc.evaluation.Biases(train), test, n=5)
    >>> found.measures["rmse"].high < 0, found.measures["rmse"].p_value < 0.05
    (True, True)
    """
    drawing = bootstrap.settings(confidence, n_resamples, seed)
    tests = TestSet.open((first, second), test, n, relevant)
    measures: dict[str, Difference] = {}
    if len(np.unique(tests.users)) < 2:
        raise ValueError(
            "the test has a single user, so differences between users are unknown; give rows of more users"
        )
    if tests.feedback == "explicit":
        sums = [tests.errors(recommender) for recommender in (first, second)]
        # Of equal sums of both, the difference of the squares' sums grows with that of the errors.
        swapped = (sums[0] - sums[1])[:, :2]
        found = _differences(np.hstack(sums), error_figures, swapped, drawing)
        measures |= zip(ERRORS, found, strict=True)
    if len(tests.listed) > 1:
        for recommender in (first, second):
            tests.n_unknown_users(recommender)  # which warns where lists cannot say anything
        lists = [tests.lists(recommender) for recommender in (first, second)]
        names = [name for name in OF_LISTS if all(name in of.per_user for of in lists)]
        sums = [of.sums(names) for of in lists]
        swapped = (sums[0] - sums[1])[:, : len(names)]
        found = _differences(np.hstack(sums), mean_figures, swapped, drawing)
        measures |= zip(names, found, strict=True)
    return Comparison(measures, drawing.confidence, tests.n, len(tests.values), len(tests.listed), tests.n_seen)


def _differences(
    sums: Floats,
    statistic: bootstrap.Statistic,
    swapped: Floats,
    drawing: bootstrap.Drawing,
) -> list[Difference]:
    """Of users' sums, (users, 2 k), the first's and then the second's; `swapped`, (users, q), is what a swap turns."""

    def of_both(total: Floats) -> tuple[Floats, Floats]:
        one, other = np.split(total, 2, axis=-1)
        return statistic(one), statistic(other)

    def difference(total: Floats) -> Floats:
        one, other = of_both(total)
        return one - other

    confidence, n_resamples, rng = drawing.confidence, drawing.n_resamples, _checks.generator(drawing.seed, "seed")
    drawn = bootstrap.resampled(sums, difference, n_resamples, rng)
    low, high = bootstrap.intervals(sums, difference, drawn, confidence)
    p_values = bootstrap.sign_flip_test(swapped, n_resamples, rng)
    one, other = of_both(sums.sum(axis=0))
    return [Difference(*map(float, row)) for row in zip(one, other, one - other, low, high, p_values, strict=True)]
