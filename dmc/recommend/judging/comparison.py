"""Two recommenders by the same users: what differs between them, and whether that could be chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dmc import _checks
from dmc.recommend.judging import bootstrap
from dmc.recommend.judging.held_out import ERRORS, OF_LISTS, Floats, Judged, TestSet, error_figures, mean_figures


class Difference(NamedTuple):
    """One measure of two recommenders.

    Attributes
    ----------
    first, second : float
        What each reaches.
    difference : float
        First less second: above 0 the first is the better one, but of "rmse" and "mae", where it is below.
    low, high : float
        Interval of the difference.
    p_value : float
        How likely so large a difference, either way, is where both are equally good.
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True, repr=False)
class Comparison:
    """What `dmc.evaluation.compare` finds; printed, it is a table.

    Attributes
    ----------
    measures : dict of Difference
        By name, as in `dmc.evaluation.Evaluation`; those that apply.
    confidence : float
        Of the intervals.
    n : int
        Items recommended to each user.
    n_ratings, n_users : int
        Test rows, and users among them who have a relevant item.
    n_seen : int
        Test rows left out, being in one fit or the other.
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
        """The attributes by name, of plain numbers, lists and dicts."""
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
    """Judge two recommenders by the same users, and tell whether one is better than the other.

    Each user is judged by both, and what counts is the difference: it is much surer than each figure alone, so that
    intervals of two evaluations may overlap where one recommender is clearly better. The intervals are those of the
    bootstrap over users (BCa); p-values those of a permutation test that swaps the two recommenders for each user by
    the toss of a coin. With many measures, some p-value is small by chance: settle on one measure before.

    Parameters
    ----------
    first, second : dmc.Recommender
        Or anything that `evaluate` takes, such as `dmc.evaluation.Popularity` and `dmc.evaluation.Biases`; fitted to
        columns of the same names.
    test : data frame, mapping of arrays, or path of a file
        Ratings, or clicks, that neither has seen. Pairs that one of them has are left out, with a warning.
    n, relevant
        As in `evaluate`.
    confidence : float
        Of the intervals, between 0 and 1.
    n_resamples : int
        How often users are drawn, and swapped.
    seed : int or numpy.random.Generator

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError, TypeError, OSError
        If the test table cannot be used, it has fewer than two users, or the recommenders are not of one kind.
    """
    drawing = bootstrap.settings(confidence, n_resamples, seed)
    tests = TestSet.open((first, second), test, n, relevant)
    measures: dict[str, Difference] = {}
    if len(np.unique(tests.users)) < 2:
        raise ValueError("the test has a single user, and how users differ cannot be told; give the rows of more")
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
