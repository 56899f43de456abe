"""The data of a comparison, training and test: a split of the observed entries, or a planted matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _arrays, _checks
from dmc._warn import warn
from dmc.datasets import Planted
from dmc.factors import Factors
from dmc.inputs import aligned, observe
from dmc.observations import Observations
from dmc.pattern import plain
from dmc.solver.problem import MaskedLeastSquares

JUDGES = 10_000  # entries of a planted matrix that judge: their error is that of all to a percent
UNEVEN = 10.0  # spreads of columns that differ by more let one of them decide the error


@dataclass(frozen=True, eq=False)
class TestEntries:
    """The test entries.

    Attributes
    ----------
    rows, cols : (entries,) int64
        Positions.
    values : (entries,) float64
        In the units of the training entries.
    drawn : str
        How they were chosen, in a sentence.
    """

    __test__ = False  # no test of pytest's

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    values: NDArray[np.float64]
    drawn: str


@dataclass(frozen=True, eq=False)
class TrialData:
    """The training entries as the networks get them, and the test entries of all contenders.

    Attributes
    ----------
    train : Observations
        In float64, in the data's units (standardised: in standard deviations of the column).
    test : TestEntries
        In the same units.
    problem : MaskedLeastSquares
        For the training entries minus `level`, over `unit`: their spectral norm, over the observed share, is 1.
    level, unit : float
        Shift and scale between the units of `problem` and those of `train`.
    baseline : float
        Root mean squared error of the mean of all training entries, or of those of each column, whichever is less.
    standardized : bool
        Whether columns were standardised.
    """

    train: Observations
    test: TestEntries
    problem: MaskedLeastSquares
    level: float
    unit: float
    baseline: float
    standardized: bool

    def error(self, factors: Factors) -> float:
        """Compute the RMSE of a network on the test entries, in the units of the training entries."""
        predicted = _arrays.place(factors.at(self.test.rows, self.test.cols), None)
        with np.errstate(over="ignore", invalid="ignore"):  # of a network that diverges
            return self.unit * rms(predicted - (self.test.values - self.level) / self.unit)


def rms(values: NDArray[np.float64]) -> float:
    """Root mean square of numbers whose squares may overflow their dtype."""
    largest = float(np.max(np.abs(values)))
    return largest * math.sqrt(float(np.mean(np.square(values / largest)))) if 0 < largest < math.inf else largest


def trial_data(
    X: Any,
    mask: Any,
    test: Any,
    test_fraction: float,
    missing_values: float | None,
    standardize: bool,
    seed: int,
) -> TrialData:
    """Split the input into training and test entries, and scale it for the networks."""
    given = X if isinstance(X, (Planted, MaskedLeastSquares)) else observe(X, mask, missing_values=missing_values)
    if given is X and mask is not None:
        raise ValueError(
            f"a mask was given with {type(X).__name__}, which already marks the observed entries; leave the mask out"
        )
    _check_placeholder(X, mask, given, missing_values)
    observed = given if isinstance(given, Observations) else given.observations
    observed = observed.with_values(_float64(observed.values))
    if test is not None:
        train, entries = _by_mask(given, observed, test)
    elif isinstance(given, Planted) and observed.density < 1:
        train, entries = observed, _planted_entries(given, seed)
    else:
        train, entries = _split(observed, test_fraction, seed)
    if standardize:
        train, entries = _standardized(train, entries)
    else:
        _check_spreads(train)
    level, unit, problem = _scaled(given, train)
    return TrialData(train, entries, problem, level, unit, _baseline(train, entries), standardize)


def _check_placeholder(X: Any, mask: Any, given: Any, missing_values: float | None) -> None:
    """Check that the number that stands for missing entries occurs at all."""
    if given is X or missing_values is None or missing_values != missing_values:
        return
    if observe(X, mask).n_observed == given.n_observed:
        warn(f"missing_values is {missing_values:g}, which does not occur in X; check the number")


def _float64(values: Any) -> Any:
    return plain(values, np.float64) if not _arrays.is_tensor(values) else values.double()


def _split(observed: Observations, fraction: float, seed: int) -> tuple[Observations, TestEntries]:
    fraction = _checks.real(fraction, "test_fraction", 0, 1, open_ends=True)
    try:
        train, held_out = observed.split(fraction, seed)
    except ValueError:
        raise ValueError(
            f"none of the {_checks.count(observed.n_observed, 'observed entry', 'observed entries')} can be held out "
            "without emptying a row or a column; give more entries, or a test mask"
        ) from None
    drawn = (
        f"{held_out.n_observed:,} of {observed.n_observed:,} observed entries are held out "
        f"({held_out.n_observed / observed.n_observed:.1%}), drawn at random (seed {seed}); "
        "no row or column loses its last one"
    )
    return train, _entries(held_out, drawn)


def _entries(held_out: Observations, drawn: str) -> TestEntries:
    rows, cols, values = (_arrays.place(a, None) for a in (held_out.rows, held_out.cols, held_out.values))
    return TestEntries(rows.astype(np.int64), cols.astype(np.int64), values.astype(np.float64), drawn)


def _planted_entries(given: Planted, seed: int) -> TestEntries:
    """Entries that were not observed, whose values a planted matrix knows."""
    m, n = given.observations.shape
    pattern = given.observations.pattern.to(None)
    n_unseen = m * n - given.observations.n_observed
    rng, wanted = np.random.default_rng(seed), min(JUDGES, n_unseen)
    if n_unseen <= 4 * JUDGES:
        seen = np.zeros(m * n, bool)
        seen[np.asarray(pattern.rows, np.int64) * n + np.asarray(pattern.cols)] = True
        positions = np.sort(rng.choice(np.flatnonzero(~seen), wanted, replace=False))
    else:  # without a number for each entry of a matrix that may be large
        free = np.empty(0, np.int64)
        while len(free) < wanted:
            drawn = np.unique(np.r_[free, rng.integers(0, m * n, 4 * JUDGES)])
            free = drawn[given.observations.locate(drawn // n, drawn % n) < 0]
        positions = np.sort(rng.permutation(free)[:wanted])
    rows, cols = positions // n, positions % n
    return TestEntries(
        rows,
        cols,
        np.einsum("ij,ij->i", given.A[rows], given.B[cols]),
        f"judged by {len(rows):,} of the {n_unseen:,} entries that were not observed, drawn at random (seed {seed}), "
        "at their planted values, without noise",
    )


def _by_mask(given: Any, observed: Observations, test: Any) -> tuple[Observations, TestEntries]:
    """Split by a mask of test entries."""
    marked = np.asarray(aligned(test, given, "test"))
    if marked.shape != observed.shape or marked.dtype != bool:
        m, n = observed.shape
        raise ValueError(f"test has shape {marked.shape} and dtype {marked.dtype}; give a bool array ({m}, {n})")
    rows, cols = np.nonzero(marked)
    if not len(rows):
        raise ValueError("test marks no entry; mark at least one observed entry to judge by")
    at = observed.locate(rows, cols)
    unseen = int((at < 0).sum())
    if unseen and not isinstance(given, Planted):
        raise ValueError(
            f"test marks {_checks.count(unseen, 'entry', 'entries')} that {'was' if unseen == 1 else 'were'} not "
            f"observed, the first at row {rows[at < 0][0]}, column {cols[at < 0][0]}; mark observed entries only"
        )
    keep = np.ones(observed.n_observed, bool)
    keep[at[at >= 0]] = False
    if not keep.any():
        raise ValueError("test marks all observed entries; leave some to be trained on")
    train = observed.take(keep)
    if isinstance(given, Planted):
        values = np.einsum("ij,ij->i", given.A[rows], given.B[cols])
    else:
        values = _arrays.place(observed.values, None)[at].astype(np.float64)
    _warn_of_emptied(train, rows, cols)
    return train, TestEntries(rows, cols, values, f"judged by the {len(rows):,} entries of the test mask given")


def _warn_of_emptied(train: Observations, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> None:
    pattern = train.pattern.to(None)
    alone = (pattern.row_counts[rows] == 0) | (pattern.column_counts[cols] == 0)
    if alone.any():
        warn(
            f"{alone.sum():,} of {len(rows):,} test entries are in a row or column without any training entry: "
            "nothing can be learnt about them; mark others"
        )


def _columns(train: Observations) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """(observed,) column of each entry, and (columns,) means and standard deviations; 0 where there are no entries."""
    cols = _arrays.place(train.cols, None).astype(np.int64)
    values, n = _arrays.place(train.values, None), train.shape[1]
    largest = float(np.abs(values).max()) or 1.0
    shares, counts = values / largest, np.maximum(np.bincount(cols, minlength=n), 1)
    means = np.bincount(cols, shares, n) / counts
    spreads = np.sqrt(np.bincount(cols, np.square(shares - means[cols]), n) / counts)
    return cols, largest * means, largest * spreads


def _standardized(train: Observations, test: TestEntries) -> tuple[Observations, TestEntries]:
    """Subtract from each column the mean of its training entries, and divide by their standard deviation."""
    cols, means, spreads = _columns(train)
    size = np.where(spreads > 0, spreads, 1.0)
    values = (_arrays.place(train.values, None) - means[cols]) / size[cols]
    judged = (test.values - means[test.cols]) / size[test.cols]
    return train.with_values(values), TestEntries(test.rows, test.cols, judged, test.drawn)


def _check_spreads(train: Observations) -> None:
    spreads = _columns(train)[2]
    known = spreads[spreads > 0]
    if len(known) > 1 and known.max() > UNEVEN * np.median(known):
        warn(
            f"the largest spread of a column, {known.max():.3g}, is {known.max() / np.median(known):,.0f} times the "
            "median one: it dominates the errors; pass standardize=True if columns have different units"
        )


def _scaled(given: Any, train: Observations) -> tuple[float, float, MaskedLeastSquares]:
    """Level and unit of the training entries, and the problem in these units."""
    values = _arrays.place(train.values, None)
    largest = float(np.abs(values).max())
    shares = values / (largest or 1.0)
    level = float(np.mean(shares))
    if abs(level) <= float(np.std(shares)):  # else an offset decides, which is no direction worth learning
        level = 0.0
    if np.ptp(shares - level) == 0:
        raise ValueError(f"all {len(values):,} training entries are {values[0]:g}: there is nothing to compare")
    problem = _problem(given, train.with_values(shares - level), 1.0)
    unit = problem.target_norm
    scaled = _problem(given, train.with_values((shares - level) / unit), largest * unit)
    return largest * level, largest * unit, scaled


def _problem(given: Any, train: Observations, unit: float) -> MaskedLeastSquares:
    if not isinstance(given, MaskedLeastSquares):
        return MaskedLeastSquares(train)
    weights = None
    if given.weights is not None:  # of the entries' own terms, which lack what each has as an unobserved one
        at = given.observations.locate(*(_arrays.place(a, None) for a in (train.rows, train.cols)))
        weights = _arrays.place(given.weights.by_row, None)[at] + given.unobserved_weight
    l2 = tuple(_arrays.place(penalty, None) / unit for penalty in given.l2)
    return MaskedLeastSquares(train, weights, (l2[0], l2[1]), unobserved_weight=given.unobserved_weight)


def _baseline(train: Observations, test: TestEntries) -> float:
    cols, means, _ = _columns(train)
    counts = np.bincount(cols, minlength=train.shape[1])
    mean = float(means @ (counts / counts.sum()))
    of_columns = np.where(counts > 0, means, mean)[test.cols]
    return min(rms(of_columns - test.values), rms(mean - test.values))
