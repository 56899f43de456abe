"""A path down the rank's penalty that entries which are grossly wrong do not lead astray."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dmc.completion import tuning
from dmc.completion.phases import Phase, Phases
from dmc.factors import Array
from dmc.observations import Observations
from dmc.solver import initial
from dmc.solver.kept_phases import Course
from dmc.solver.problem import MaskedLeastSquares
from dmc.solver.rank_path import FIRST_LEVEL, RankPath
from dmc.solver.solution import Look, Status

Float = NDArray[np.float64]

MEDIAN_TO_DEVIATION = 1.4826  # of a Gaussian


class ReweightedPath(Course):
    """A `RankPath` on which every entry counts the less, the farther it lies from the model of the step before.

    How far is said in the typical residual of all entries or of the entry's row or column, whichever is largest, as
    medians tell it: else a row that the model learns late is cast out as a whole. And it is never less than an entry
    of a direction at the path's level, so that the scale falls with the level ("graduated non-convexity") and nothing
    is far before the model could explain it. A few entries are held out: the path ends where their median residual
    falls no longer.

    Parameters
    ----------
    host : Observations
        NumPy entries, of any units.
    weights : (observed,) array or None
        Of the entries.
    bound : int
        Width at most.

    Attributes
    ----------
    deviations : (observed,) float64
        Of each entry from the model that missed the held-out ones least, in typical residuals.

    References
    ----------
    A. Blake, A. Zisserman, "Visual reconstruction", 1987; H. Yang et al., "Graduated non-convexity for robust spatial
    perception", 2020 (arXiv 1909.08605).
    """

    _weights: Float
    _deviations: Float

    def __init__(self, host: Observations, weights: Float | None, bound: int) -> None:
        self._host, rng = standardised(host), np.random.default_rng(0)
        self._root = np.ones(host.n_observed) if weights is None else np.sqrt(weights / weights.mean())
        self._held_out = _held_out(host, rng)
        self._missed = self._root * np.abs(self._host.values)
        self._weigh(1.0)
        start = initial.spectral(self._host.with_values(self._weights * self._host.values), 1).scaled(1 - FIRST_LEVEL)
        self._factors = replace(start, column_bias=0 * start.V[:, 0])
        # Wider, a model could match any entries.
        bound = max(min(bound, host.n_observed // sum(host.shape)), 1)
        self._step = RankPath(bound, decay=tuning.ROBUST.path_decay, seed=rng)
        self._state: Any = None
        self._first, self._best, self._since = self._error(), math.inf, 0

    def run(self, phases: Phases) -> None:
        """All steps, as a phase of a fit."""
        first = phases.run.n_steps
        status = phases.run.phase(self.advance, self.look, tuning.ROBUST.path_steps, planned=True, course=self)
        value = (self._best / (self._first or 1.0)) ** 2
        phases.add(Phase("path", self._factors, status, phases.run.n_steps - first, value))

    def standing(self) -> tuple[Any, ...]:
        walk = None if self._state is None else (self._state.size, self._state.level, self._state.probes)
        best = self._best, self._since, getattr(self, "deviations", None)
        return self._factors, walk, self._missed, self._weights, self._deviations, *best

    def stand(self, standing: tuple[Any, ...]) -> None:
        self._factors, walk, self._missed, self._weights, self._deviations, *best = standing
        self._best, self._since, deviations = best
        if walk is not None:
            begun = self._step.init(MaskedLeastSquares(self._host, self._weights), self._factors)
            self._state = replace(begun, **dict(zip(("size", "level", "probes"), walk, strict=True)))
        if deviations is not None:
            self.deviations: Float = deviations

    def advance(self) -> None:
        """One step, and the weights of the next."""
        problem = MaskedLeastSquares(self._host, self._weights)
        state = self._step.init(problem, self._factors) if self._state is None else self._state
        state = replace(state, problem=problem)
        value, grad = problem.value_and_grad(self._factors)
        self._factors, self._state = self._step(self._factors, float(value), grad, state)
        self._missed = self._root * np.abs(problem.residual(self._factors))
        m, n = self._host.shape
        self._weigh(self._state.level * self._state.size / math.sqrt(m * n))

    def look(self) -> Look:
        """The held-out error; CONVERGED, where it falls no longer or next to nothing is left."""
        error = self._error()
        self._since = 0 if error < (1 - tuning.ROBUST.path_min_change) * self._best else self._since + 1
        if error < self._best:
            self._best = error
            self.deviations = self._deviations
        over = error < tuning.ROBUST.path_matched or self._since >= tuning.ROBUST.path_patience
        return Look(error, 1.0, lambda: self._factors, Status.CONVERGED if over else None)

    def _error(self) -> float:
        """The median residual of what was held out, or of all where nothing can be."""
        missed = self._missed[self._held_out] if self._held_out.any() else self._missed
        return float(np.median(missed))

    def _weigh(self, least: float) -> None:
        """Anew by the residuals, in typical ones or the least that is typical."""
        missed = self._missed
        overall, order = float(np.median(missed)), np.argsort(missed)
        sides = zip((self._host.rows, self._host.cols), self._host.shape, strict=True)
        of_lines = np.maximum(*(_of_lines(missed, at, count, order)[at] for at, count in sides))
        typical = np.clip(of_lines, overall, tuning.ROBUST.path_max_ratio * overall)
        self._deviations = missed / np.maximum(MEDIAN_TO_DEVIATION * typical, max(least, 1e-300))
        self._weights = ~self._held_out * self._root**2 * trust(self._deviations)


def _of_lines(missed: Float, at: Array, count: int, order: NDArray[np.int64]) -> Float:
    """(count,) the median of each row or column that has enough entries for one; 0 of the others."""
    enough = np.bincount(at, minlength=count) >= tuning.ROBUST.path_min_entries
    return medians(missed, at, count, order) * enough


def trust(deviations: Float) -> Float:
    """(entries,) how much an entry counts, by Student's t."""
    freedom = tuning.ROBUST.freedom
    return np.asarray((freedom + 1) / (freedom + deviations**2))


def standardised(host: Observations) -> Observations:
    """With median 0 and typical deviation 1 in each column, whatever a minority of its entries are."""
    n = host.shape[1]
    x, at = np.asarray(host.values).astype(np.float64), host.cols
    left = x - medians(x, at, n)[at]
    spread = MEDIAN_TO_DEVIATION * medians(np.abs(left), at, n)
    whole = np.sqrt(np.bincount(at, left**2, n) / np.maximum(np.bincount(at, minlength=n), 1))
    spread = np.where(spread > 0, spread, np.where(whole > 0, whole, 1.0))  # where most entries are one value
    return host.with_values(left / spread[at])


def medians(values: Float, at: Array, count: int, order: NDArray[np.int64] | None = None) -> Float:
    """(count,) the median of the values at each place; 0 where there is none.

    Parameters
    ----------
    order : (values,) integers, optional
        That sorts the values, if it is known.
    """
    order = np.argsort(values) if order is None else order
    n = len(order)
    lines = sparse.csr_array((values[order], (at[order], np.arange(n))), shape=(count, n))  # each line's, ascending
    ordered, (starts, ends) = np.append(lines.data, 0.0), (lines.indptr[:-1], lines.indptr[1:])
    counts = ends - starts
    low, high = starts + np.maximum(counts - 1, 0) // 2, starts + counts // 2
    middle = (ordered[np.minimum(low, n)] + ordered[np.minimum(high, n)]) / 2
    return np.asarray(np.where(counts > 0, middle, 0.0))


def _held_out(host: Observations, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(observed,) a few entries, none of them the last of its row or column."""
    held_out = np.zeros(host.n_observed, bool)
    try:
        test = host.split(tuning.ROBUST.held_out_share, rng)[1]
    except ValueError:  # none can be spared
        return held_out
    held_out[host.locate(test.rows, test.cols)] = True
    return held_out
