"""Bayesian matrix factorisation of ratings: what held-out ratings would have to choose is learnt by the fit itself."""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _checks, kernels
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.pattern import Lines
from dmc.pattern_features import Features, pattern_features
from dmc.side import Side
from dmc.solution import Status, StepInfo

START_WIDTH = 10  # directions to begin with; more join while all of them are alive
GROWTH = 1.5
FIXED_SWEEPS = 3  # before the priors are learnt
MAX_SWEEPS = 60  # of one width
TOL = 0.06  # of the noise: predictions that have less than this before them have arrived
SLOWEST = 0.9  # ratio of two moves that is believed
WATCHED = 20_000  # entries whose predictions are watched
ALIVE = 1.25  # times the strength at which noise hides a direction
FADING = 0.97  # of its strength is left after a sweep, or less: a direction that may yet die
PRECISE = 1e6  # of an entry: what float32 moments still carry
SETTLED = 0.01  # relative change of the noise
PARTS = ("means", "covariance", "weights", "variances", "attributes")  # of a side, in a file

Float = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Bayesian:
    """A fitted Bayesian factorisation.

    Attributes
    ----------
    factors : Factors
        Posterior means, biases included, in the data's units; the mean of the data comes on top.
    mean : float
    noise : float
        Standard deviation of an entry around the model, in the data's units.
    rank : int
        Directions that stand out of the noise.
    rows, columns : Side
        In units of the data's standard deviation.
    unit : float
        The data's standard deviation.
    errors : list of float
        The noise, in the data's units, after each sweep.
    status : Status
        How the fit ended.
    """

    factors: Factors
    mean: float
    noise: float
    rank: int
    rows: Side
    columns: Side
    unit: float
    errors: list[float]
    status: Status

    def extended(
        self,
        observations: Observations,
        row_of: NDArray[np.int64],
        column_of: NDArray[np.int64],
        changed: NDArray[np.bool_],
    ) -> Bayesian:
        """The model with more entries and more lines, none of the others fitted again.

        New columns are told by their entries with known rows, then new and changed rows by all of theirs: each gets the
        mean of its posterior under the priors that were learnt.

        Parameters
        ----------
        observations : Observations
            All entries, old and new, in the data's units.
        row_of, column_of : (rows,) and (columns,) int64
            Which line of this model each one is; −1 for a new one.
        changed : (rows,) bool
            Known rows that have new entries.
        """
        scaled = observations.with_values((observations.values - np.float32(self.mean)) * np.float32(1 / self.unit))
        pattern, both = scaled.pattern, scaled.pattern.both_orders(scaled.values)
        sides = (
            self.rows.extended(pattern.by_row, both.by_row, row_of, column_of),
            self.columns.extended(pattern.by_column, both.by_column, column_of, row_of),
        )
        sides[1].update_some(column_of < 0, sides[0], self.precision)
        sides[0].update_some((row_of < 0) | changed, sides[1], self.precision)
        return replace(self, rows=sides[0], columns=sides[1], factors=_factors(*sides, self.unit))

    def served(self) -> Factors:
        """The factors, each side with a last line: what is expected of one without entries."""
        root = np.float32(self.unit**0.5)
        (P, b), (Q, c) = (
            (means[:, :-1] * root, means[:, -1] * np.float32(self.unit))
            for means in (np.vstack([side.means, side.stranger]) for side in (self.rows, self.columns))
        )
        return Factors(P, (), Q, b, c)

    @property
    def precision(self) -> float:
        """Of an entry, in units of the data's standard deviation."""
        return (self.unit / self.noise) ** 2 if self.noise > 0 else PRECISE

    def vector(self, columns: NDArray[Any], values: NDArray[Any]) -> NDArray[np.float64]:
        """(k + 2,) the line of `Factors.left` of a row with these entries alone: the mean of its posterior."""
        lines, side = Lines(np.array([0, len(columns)]), columns), self.rows
        known = np.column_stack([self.columns.means[columns, :-1], np.ones(len(columns))]).astype(np.float64)
        expected = (side.of_lines(lines) @ side.weights[: 2 + side.of_lines.loadings.shape[1]])[0]
        surprise = (values - self.mean) / self.unit - self.columns.means[columns, -1] - known @ expected
        gram = np.linalg.inv(side.covariance) + self.precision * known.T @ known
        found = expected + np.linalg.solve(gram, self.precision * known.T @ surprise)
        return np.concatenate([self.unit**0.5 * found[:-1], [self.unit * found[-1], 1.0]])

    def contributions(self, row: int, column: int) -> NDArray[np.float64]:
        """(entries,) what each entry of a row adds to the prediction for a column, by being other than was expected.

        The posterior mean is what the prior expects plus a sum over the entries; in the data's units.
        """
        lines, side = self.rows.lines, self.columns
        at = slice(lines.pointers[row], lines.pointers[row + 1])
        known = lines.indices[at]
        vectors = np.column_stack([side.means[:, :-1], np.ones(len(side.means))]).astype(np.float64)
        x, target = vectors[known], vectors[column]
        expected = self.rows.features[row] @ self.rows.weights
        surprise = self.rows.values[at] - side.means[known, -1] - x @ expected
        gram = np.linalg.inv(self.rows.covariance) + self.precision * x.T @ x
        return self.unit * self.precision * (x @ np.linalg.solve(gram, target)) * surprise

    @classmethod
    def of(cls, factors: Factors, observations: Observations, mean: float, noise: float) -> Bayesian:
        """A two-factor model with biases that was fitted in another way, under priors estimated from its lines."""
        unit = float(np.std(observations.values, dtype=np.float64)) or 1.0
        pattern = observations.pattern
        both = pattern.both_orders((observations.values - np.float32(mean)) * np.float32(1 / unit))
        sides: list[Side] = []
        for lines, values, U, bias, others in (
            (pattern.by_row, both.by_row, factors.U, factors.row_bias, observations.shape[1]),
            (pattern.by_column, both.by_column, factors.V, factors.column_bias, observations.shape[0]),
        ):
            assert bias is not None
            means = np.column_stack([U / unit**0.5, bias / unit]).astype(np.float32)
            of_lines = Features.of(np.diff(lines.pointers), np.zeros((others, 0), np.float32))
            d = means.shape[1]
            covariance = np.cov(means, rowvar=False, ddof=0).reshape(d, d) + 1e-6 * np.eye(d)
            weights = np.vstack([means.mean(axis=0), np.zeros(d)])
            nothing = np.zeros((len(means), 0), np.float32)
            sides.append(Side(lines, values, of_lines, means, covariance, weights, np.ones(2), nothing))
        rows, columns = sides
        return cls(factors, mean, noise, factors.rank(1e-3), rows, columns, unit, [noise], Status.CONVERGED)

    def arrays(self) -> tuple[dict[str, NDArray[Any]], dict[str, float]]:
        """What `from_arrays` needs besides the entries: arrays, and numbers."""
        arrays, numbers = {}, {"mean": self.mean, "noise": self.noise, "unit": self.unit, "rank": self.rank}
        for name, side in (("rows", self.rows), ("columns", self.columns)):
            arrays[f"{name}.means"], arrays[f"{name}.covariance"] = side.means, side.covariance
            arrays[f"{name}.weights"], arrays[f"{name}.variances"] = side.weights, side.variances
            arrays[f"{name}.loadings"], arrays[f"{name}.attributes"] = side.of_lines.loadings, side.attributes
            numbers[f"{name}.center"], numbers[f"{name}.spread"] = side.of_lines.center, side.of_lines.spread
        return arrays, numbers

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], numbers: Mapping[str, float], observations: Observations
    ) -> Bayesian:
        """The model again, from what `arrays` gave and its entries."""
        unit, pattern = numbers["unit"], observations.pattern
        both = pattern.both_orders((observations.values - np.float32(numbers["mean"])) * np.float32(1 / unit))
        sides: list[Side] = []
        for name, lines, values in (
            ("rows", pattern.by_row, both.by_row),
            ("columns", pattern.by_column, both.by_column),
        ):
            of_lines = Features(arrays[f"{name}.loadings"], numbers[f"{name}.center"], numbers[f"{name}.spread"])
            kept = (arrays[f"{name}.{part}"] for part in PARTS)
            sides.append(Side(lines, values, of_lines, *kept))
        rank, noise = int(numbers["rank"]), numbers["noise"]
        rows, columns = sides
        factors = _factors(rows, columns, unit)
        return cls(factors, numbers["mean"], noise, rank, rows, columns, unit, [noise], Status.CONVERGED)


def fit(
    observations: Observations,
    rank: int = 16,
    seed: int | np.random.Generator = 0,
    callbacks: Sequence[Callable[[StepInfo], object]] = (),
    start: Bayesian | None = None,
    attributes: tuple[Float | None, Float | None] = (None, None),
) -> Bayesian:
    """Fit x_ij ≈ μ + b_i + c_j + ⟨u_i, v_j⟩ by variational Bayes.

    (u_i, b_i) is Gaussian around a linear function of the row's features, columns likewise; covariances, weights of the
    features and noise are those under which the observations are likeliest (a variational bound on it). Sweeps give the
    posterior of all columns, then of all rows. Directions that the observations do not support shrink to nothing under
    a covariance that is learnt, so that the rank need not be known; nothing is held out. Ctrl-C ends it with what was
    reached.

    Parameters
    ----------
    observations : Observations
        float32.
    rank : int
        Directions at most.
    seed : int or numpy.random.Generator
        Of the first factors.
    callbacks : sequence of callables
        Each is called after each sweep with a `StepInfo`, whose value is the noise and whose factors come without the
        mean, both in the data's units; a true return value ends the fit.
    start : Bayesian, optional
        A model of these observations to begin with, from `Bayesian.extended`.
    attributes : pair of (rows, any) and (columns, any) float32 arrays, optional
        What else is known of the lines, each column of average zero: further features of the prior, so that lines
        without entries have more to go by than the average. Of a `start` they are known already.
    """
    bound = min(_checks.integer(rank, "rank", 1), *observations.shape)
    if observations.dtype != np.float32:
        raise TypeError(f"the observations are {observations.dtype}; make them float32")
    with kernels.sharing_cores(START_WIDTH):
        rng = _checks.generator(seed)
        model = _fit(observations, bound, rng, callbacks, start, attributes)
        if model.status is Status.MAX_STEPS and start is None:  # some starts lead nowhere: another seldom does as well
            again = _fit(observations, bound, rng, callbacks, start, attributes)
            model = min(model, again, key=lambda found: found.noise)
        return model


def _fit(
    observations: Observations,
    bound: int,
    rng: np.random.Generator,
    callbacks: Sequence[Callable[[StepInfo], object]],
    start: Bayesian | None,
    attributes: tuple[Float | None, Float | None],
) -> Bayesian:
    began = time.perf_counter()
    most = min(max(bound, START_WIDTH), *observations.shape)  # spare directions are the way of weak ones into a model
    if start is None:
        mean, unit, (rows, columns) = _begin(observations, rng, attributes)
        for side in (rows, columns):
            side.widen(min(most, START_WIDTH), rng)
        precision, learn_from = 1.0, FIXED_SWEEPS
    else:
        mean, unit, rows, columns = start.mean, start.unit, replace(start.rows), replace(start.columns)
        alive = _rank(rows, columns, start.precision)
        _cut(rows, columns, alive)  # what died may be alive by now, but cannot come back from nothing
        width = min(most, max(START_WIDTH, math.ceil(GROWTH * alive)))
        for side, of_lines in zip((rows, columns), pattern_features(observations.pattern, rng), strict=True):
            side.regard(of_lines)
            side.widen(width - alive, rng)
        precision, learn_from = 1.0, FIXED_SWEEPS
    errors: list[float] = []
    sample = rng.integers(0, observations.n_observed, WATCHED)
    watched = observations.rows[sample], observations.cols[sample]
    before, moves, weakest = np.zeros(WATCHED, np.float32), list[float](), math.inf
    status = None
    try:
        while status is None:
            error = 0.0
            for side, other in ((columns, rows), (rows, columns)):
                error = side.update(other, precision)
                if len(errors) >= learn_from:
                    side.learn()
            if errors or start is not None:
                precision = min(observations.n_observed / max(error, 1e-300), PRECISE)
            errors.append(unit / math.sqrt(precision))
            factors = _factors(rows, columns, unit)
            predicted = factors.at(*watched) * np.float32(1 / unit)
            moved = math.sqrt(float(np.mean(np.square(predicted - before))) * precision)
            slowing = min(math.sqrt(moved / moves[-2]), SLOWEST) if len(moves) > 1 and moves[-2] else SLOWEST
            moves.append(moved)
            before = predicted
            arrived = len(errors) > learn_from + 1 and moved < TOL * (1 - slowing)  # the sum of a geometric series
            arrived = arrived and abs(errors[-1] / errors[-2] - 1) < SETTLED
            if not math.isfinite(moved + errors[-1]):
                status = Status.NONFINITE
            elif arrived or len(errors) >= learn_from + MAX_SWEEPS:
                width, left = rows.means.shape[1] - 1, weakest
                weakest = _strengths(rows, columns, precision).min()
                if width >= most or not weakest >= ALIVE:
                    status = Status.CONVERGED if arrived else Status.MAX_STEPS
                elif weakest > FADING * left or not arrived:  # one that dies does not yet ask for company
                    for side in (rows, columns):
                        side.widen(min(most, math.ceil(GROWTH * width)) - width, rng)
                    learn_from, weakest = len(errors) + FIXED_SWEEPS, math.inf
            seconds = time.perf_counter() - began
            info = StepInfo(
                len(errors), learn_from + MAX_SWEEPS, errors[-1], moved / (max(moves) or 1.0), seconds, factors, status
            )
            asked = [callback(info) for callback in callbacks]  # every one of them
            if any(asked) and status is None:
                status = Status.STOPPED
    except KeyboardInterrupt:
        warn_of_interrupt(len(errors))
        status, errors = Status.STOPPED, errors or [unit]
    if bound < most and rows.means.shape[1] - 1 > bound:
        _cut(rows, columns, bound)
        for side, other in ((columns, rows), (rows, columns)):
            side.update(other, precision)
    n_obs = observations.n_observed
    globals()["LAST"] = 0.5 * n_obs * (math.log(precision) - math.log(2*math.pi)) - 0.5 * precision * error + rows.evidence() + columns.evidence()
    rank_, factors = _rank(rows, columns, precision), _factors(rows, columns, unit)
    return Bayesian(factors, mean, errors[-1], rank_, rows, columns, unit, errors, status)


def warn_of_interrupt(n_steps: int) -> None:
    """Ctrl-C ended a fit: told at the line that called for it, whichever room of dmc it went through."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals["__name__"].startswith("dmc."):
        level, frame = level + 1, frame.f_back
    warnings.warn(f"interrupted after {n_steps} steps: the model holds the best so far", stacklevel=level)


def _begin(
    observations: Observations, rng: np.random.Generator, attributes: tuple[Float | None, Float | None]
) -> tuple[float, float, tuple[Side, Side]]:
    """Mean and standard deviation of the data, and both sides without any direction yet."""
    values, pattern = observations.values, observations.pattern
    mean = float(np.mean(values, dtype=np.float64))
    unit = float(np.std(values, dtype=np.float64)) or 1.0
    scaled = pattern.both_orders(((values - np.float32(mean)) * np.float32(1 / unit)).astype(np.float32))
    features = pattern_features(pattern, rng)
    rows = Side.begin(pattern.by_row, scaled.by_row, features[0], attributes[0])
    return mean, unit, (rows, Side.begin(pattern.by_column, scaled.by_column, features[1], attributes[1]))


def _cut(rows: Side, columns: Side, width: int) -> None:
    """Leave the directions in which the model is largest."""
    R, T = (np.linalg.qr(side.means[:, :-1].astype(np.float64))[1] for side in (rows, columns))
    P, s, Qt = np.linalg.svd(R @ T.T)
    root = np.sqrt(s[:width])
    rows.turn(np.linalg.pinv(R) @ P[:, :width] * root)
    columns.turn(np.linalg.pinv(T) @ Qt[:width].T * root)


def _rank(rows: Side, columns: Side, precision: float) -> int:
    """Directions that stand out of the noise."""
    return int(np.sum(_strengths(rows, columns, precision) > ALIVE))


def _strengths(rows: Side, columns: Side, precision: float) -> NDArray[np.float64]:
    """(directions,) what each contributes to an entry, over what noise hides.

    That is s, as a standard deviation, where s⁴ = (noise variance)² / (entries of a row · entries of a column), lines
    weighing as their entries.
    """
    product = rows.covariance[:-1, :-1] @ columns.covariance[:-1, :-1]
    strengths = np.sqrt(np.maximum(np.linalg.eigvals(product).real, 0))
    counts = (np.diff(side.lines.pointers).astype(float) for side in (rows, columns))
    typical = math.prod(float((c @ c) / c.sum()) for c in counts)
    return np.asarray(strengths * (precision * precision * typical) ** 0.25)


def _factors(rows: Side, columns: Side, unit: float) -> Factors:
    root = np.float32(math.sqrt(unit))
    return Factors(
        root * rows.means[:, :-1],
        (),
        root * columns.means[:, :-1],
        np.float32(unit) * rows.means[:, -1],
        np.float32(unit) * columns.means[:, -1],
    )
