"""Entries that are grossly wrong: found by what a model of the others leaves of them, and left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dmc.completion import tuning
from dmc.completion.model import Model
from dmc.completion.phases import Phases
from dmc.completion.results import Selected, transposed
from dmc.completion.scaling import Scaling, Side
from dmc.completion.selection import too_large
from dmc.factors import Array, Factors
from dmc.observations import Observations
from dmc.solver import initial
from dmc.solver.loop import Look
from dmc.solver.problem import MaskedLeastSquares
from dmc.solver.rank_path import FIRST_LEVEL, RankPath
from dmc.solver.row_solve import LEAST_NOISE
from dmc.solver.solution import Status

Float = NDArray[np.float64]

MEDIAN_TO_DEVIATION = 1.4826  # of a Gaussian


def standardised_residuals(
    model: Model, observations: Observations, weights: Float | None = None, noise: Float | None = None
) -> Float:
    """(observed,) the size of each NumPy entry's residual over the typical one: of its line or of all, the larger, and
    not below the noise (lines,), if it is given: a wide model leaves less of it in the entries that were fitted."""
    predicted = np.asarray(model.factors.at(observations.rows, observations.cols))
    missed = np.abs(predicted.astype(np.float64) - observations.values)
    rows = model.scaling.side == "rows"
    at = observations.rows if rows else observations.cols
    scaled = missed / model.scaling.spread[at]
    if weights is not None:
        scaled = scaled * np.sqrt(weights)
    least = 0 if noise is None else noise / model.scaling.spread
    typical = MEDIAN_TO_DEVIATION * _medians(scaled, at, len(model.scaling.spread))
    eps = float(np.finfo(observations.dtype).eps)
    rounding = 100 * eps * np.abs(observations.values).max(initial=0) / model.scaling.spread[at]
    overall = MEDIAN_TO_DEVIATION * float(np.median(scaled)) if len(scaled) else 0.0
    typical = np.maximum(np.maximum(typical, least), max(overall, 1e-300))
    return np.asarray(scaled / np.maximum(typical[at], rounding))


def gross(model: Model, observations: Observations, weights: Float | None = None) -> int:
    """How many entries are so far from the model that the squared loss follows them; 0, if too few to be told of, or no
    more than the end of a long tail: then many lie half as far."""
    deviations = standardised_residuals(model, observations, weights)
    count, half = (
        int((deviations > limit).sum())
        for limit in (tuning.ROBUST.gross_deviations, tuning.ROBUST.gross_deviations / 2)
    )
    return (
        count
        if count >= max(tuning.ROBUST.min_gross, tuning.ROBUST.min_gross_share * observations.n_observed, half / 2)
        else 0
    )


def select_robustly(
    observations: Observations,
    weights: Float | None,
    width: int,
    side: Side,
    phases: Phases,
    select: Callable[[Observations, Float | None], Selected],
) -> tuple[Selected, NDArray[np.bool_]]:
    """Fit to the entries that agree with each other.

    Factor analysis under Student's t says which may be wrong; a model of the others is fitted, and says anew, until
    nothing changes.

    Returns
    -------
    Selected
        Fitted without the outliers.
    (observed,) bool
        Which entries are outliers.
    """
    host = observations.to(None)
    outliers = np.zeros(host.n_observed, bool)
    if side == "rows":
        of_columns = None if weights is None else np.asarray(host.pattern.both_orders(weights).by_column)
        outliers[host.pattern.column_order] = _suspected(transposed(host), of_columns, width, phases)
    else:
        outliers = _suspected(host, weights, width, phases)
    seen: list[NDArray[np.bool_]] = []
    while True:
        seen.append(outliers)
        kept = None if weights is None else weights[~outliers]
        found = select(observations.take(~outliers), kept)
        deviations = standardised_residuals(found.model, host, weights, found.model.noise)
        deviations[outliers] = np.minimum(deviations[outliers], _predicted_deviations(found.model, host.take(outliers)))
        outliers = _minority(deviations, host)
        if phases.ended or len(seen) == tuning.ROBUST.rounds or any((outliers == before).all() for before in seen):
            return found, seen[-1]


def _predicted_deviations(model: Model, left_out: Observations) -> Float:
    """(entries,) of some that the model has not seen: residuals over what it says of its predictions there."""
    if too_large(model.factors):
        return np.full(left_out.n_observed, np.inf)
    rows, cols = left_out.rows, left_out.cols
    missed = np.abs(np.asarray(model.factors.at(rows, cols)).astype(np.float64) - left_out.values)
    return np.asarray(missed / np.maximum(model.deviations(rows, cols), 1e-300))


def _suspected(host: Observations, weights: Float | None, width: int, phases: Phases) -> NDArray[np.bool_]:
    """(observed,) entries that lie far from a path on which others count for more."""
    path = ReweightedPath(host, weights, width)
    phases.run.phase(path.advance, path.look, tuning.ROBUST.path_steps, planned=True)
    return _minority(path.deviations, host)


class ReweightedPath:
    """Down the path of the rank, with entries that count the less at each step the farther they lie from the model.

    What is far is told by the medians of all residuals and of those of a row and a column, but not below what the path's
    level leaves out: so the scale falls with the level, and nothing is cast out before the model can explain it
    ("graduated non-convexity"). Some entries are held out; where their median residual was least the path is done.

    Parameters
    ----------
    host : Observations
        NumPy entries.
    weights : (observed,) array or None
        Of the entries.
    width : int
        At most.
    """

    def __init__(self, host: Observations, weights: Float | None, width: int) -> None:
        self._host = _robustly_standardised(host)
        self._root = np.ones(host.n_observed) if weights is None else np.sqrt(weights / weights.mean())
        rng = np.random.default_rng(0)
        self._trained = self._root**2 * ~_held_out(host, rng)
        self.deviations = np.zeros(host.n_observed)
        m, n = host.shape
        self._least = 0.0
        self._weigh(np.abs(self._host.values))
        weighted = self._host.with_values(self._host.values * self._weights)
        start = initial.spectral(weighted, 1).scaled(1 - FIRST_LEVEL)
        self._factors = replace(start, column_bias=0 * start.V[:, 0])
        bound = max(1, min(width, host.n_observed // (m + n)))
        self._step = RankPath(bound, decay=tuning.ROBUST.path_decay, seed=rng)
        self._state = None
        self._best, self._since = np.inf, 0

    def _weigh(self, missed: Float) -> None:
        host = self._host
        m, n = host.shape
        of_lines = np.maximum(_medians(missed, host.rows, m)[host.rows], _medians(missed, host.cols, n)[host.cols])
        size = np.maximum(MEDIAN_TO_DEVIATION * np.maximum(of_lines, np.median(missed)), max(self._least, 1e-12))
        self._now = missed / size
        self._weights = self._trained / (1 + (self._now / C) ** 2) ** 2
        self._missed = missed

    def advance(self) -> None:
        problem = MaskedLeastSquares(self._host, self._weights)
        if self._state is None:
            self._state = self._step.init(problem, self._factors)
        self._state = replace(self._state, problem=problem)
        self._factors, self._state = self._step(self._factors, *problem.value_and_grad(self._factors), self._state)
        m, n = self._host.shape
        self._least = self._state.level * self._state.size / np.sqrt(m * n)
        self._weigh(self._root * np.abs(problem.residual(self._factors)))

    def look(self) -> Look:
        out = self._trained == 0
        error = float(np.median(self._missed[out if out.any() else ...]))
        self._since = 0 if error < (1 - 1e-3) * self._best else self._since + 1
        if error < self._best:
            self._best, self.deviations = error, self._now
        over = error < ENOUGH or self._since >= 8
        return Look(error, 1.0, lambda: self._factors, Status.CONVERGED if over else None)


C, ENOUGH = 3.0, 1e-6


def _held_out(host, rng):
    out = np.zeros(host.n_observed, bool)
    try:
        test = host.split(tuning.ROBUST.held_out_share, rng)[1]
    except ValueError:
        return out
    out[host.locate(test.rows, test.cols)] = True
    return out


def _robustly_standardised(host: Observations) -> Observations:
    """With median 0 and typical deviation 1 in each column."""
    n = host.shape[1]
    x, at = np.asarray(host.values).astype(np.float64), host.cols
    level = _medians(x, at, n)
    spread = MEDIAN_TO_DEVIATION * _medians(np.abs(x - level[at]), at, n)
    counts = np.maximum(np.bincount(at, minlength=n), 1)
    whole = np.sqrt(np.bincount(at, (x - level[at]) ** 2, n) / counts)  # where most entries are one value
    spread = np.where(spread > 0, spread, np.where(whole > 0, whole, 1.0))
    return host.with_values((x - level[at]) / spread[at])


def _minority(deviations: Float, host: Observations, columns: bool = True) -> NDArray[np.bool_]:
    """(observed,) outliers by their deviations, and of no line more than half: what is left has to tell the line."""
    outliers = deviations > tuning.ROBUST.deviations
    if columns:
        outliers &= ~_flags(host)
    for at in (host.rows, host.cols) if columns else (host.rows,):
        order = np.lexsort((-deviations, at))  # line by line, the largest first
        counts = np.bincount(at)
        place = np.empty(len(at), np.int64)
        place[order] = np.arange(len(at)) - np.repeat(np.cumsum(counts) - counts, counts)
        outliers &= place < counts[at] // 2
    return outliers


def fold_in(model: Model, observations: Observations, *, covariances: bool = False) -> tuple[Factors, Float | None]:
    """`Model.fold_in` of NumPy entries, as far as these agree with each other and with the columns."""
    trust = np.ones(observations.n_observed)
    for _ in range(tuning.ROBUST.reweighted):
        folded, _ = model.fold_in(observations, trust)
        predicted = np.asarray(folded.at(observations.rows, observations.cols))
        missed = np.abs(predicted.astype(np.float64) - observations.values)
        least = _noise(model, observations)
        typical = MEDIAN_TO_DEVIATION * _medians(missed, observations.rows, observations.shape[0])
        trust = (tuning.ROBUST.freedom + 1) / (
            tuning.ROBUST.freedom + (missed / np.maximum(typical[observations.rows], least)) ** 2
        )
    outliers = _minority(missed / least, observations, columns=False)
    return model.fold_in(observations.take(~outliers), covariances=covariances)


def _noise(model: Model, observations: Observations) -> Float:
    """(observed,) what an entry of a row may be off by: noise, or rounding."""
    eps = float(np.finfo(observations.dtype).eps)
    rounding = np.maximum(100 * eps, LEAST_NOISE) * np.abs(observations.values).max(initial=0)
    if model.scaling.side == "rows":
        noise = model.typical_noise * Scaling.of(observations, "rows").spread[observations.rows]
    else:
        noise = model.noise[observations.cols]
    return np.asarray(np.maximum(noise, max(rounding, 1e-300)))


def _flags(host: Observations) -> NDArray[np.bool_]:
    """(observed,) entries of columns with two values: the rarer one is no error."""
    n = host.shape[1]
    low, high = np.full(n, np.inf), np.full(n, -np.inf)
    np.minimum.at(low, host.cols, host.values)
    np.maximum.at(high, host.cols, host.values)
    between = (host.values != low[host.cols]) & (host.values != high[host.cols])
    return np.asarray((np.bincount(host.cols, between, n) == 0)[host.cols])


def _medians(values: Float, at: Array, count: int) -> Float:
    """(count,) the median of the values at each place; 0 where there is none."""
    order = np.lexsort((values, at))
    counts = np.bincount(at, minlength=count)
    ends = np.cumsum(counts)
    ordered = np.append(values[order], 0.0)
    low, high = ends - counts + np.maximum(counts - 1, 0) // 2, ends - counts + counts // 2
    return np.asarray(np.where(counts > 0, (ordered[low] + ordered[np.minimum(high, len(values))]) / 2, 0.0))
