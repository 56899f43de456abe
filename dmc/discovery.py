"""How the rank is found: rounds of a deep network that shows directions, a polish of them, and a judgement."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import initial, steps
from dmc.callbacks import EarlyStopping, Stagnation
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.problem import MaskedLeastSquares
from dmc.solution import Status
from dmc.solver import Callback, solve

START_SCALE = 1e-2  # ε of the deep network's cores, for data of unit spectral norm
DISCOVERED = 1e-2  # gradient ratio at which a deep phase has shown the directions that it will show
GROWN = 3e-2  # of the largest singular value: a direction below it has not left the small start behind
NEGLIGIBLE = 1e-6  # of the largest singular value, once the entries are matched exactly
IMPROVEMENT = 5e-3  # relative fall of the held-out error that is worth more rank
DEEP_STEPS, POLISH_STEPS = 2_000, 10_000  # more than a phase needs: it ends when it has done its work
MAX_HELD_OUT = 10_000  # entries: enough to know the error to a percent
MIN_HELD_OUT = 20  # entries: with fewer the error says nothing
POLISH = steps.Backtracking(steps.ScaledDescent())


class Discovery:
    """One fit over its phases: what it trains on and judges by, and the bookkeeping."""

    def __init__(
        self,
        observations: Observations,
        validation_fraction: float,
        rng: np.random.Generator,
        callbacks: Sequence[Callback],
    ) -> None:
        self.train, self.held_out = _hold_out(observations, validation_fraction, rng)
        self.callbacks = callbacks
        self.history: list[dict[str, Any]] = []
        self.n_steps = 0
        self.status = Status.CONVERGED
        self.stopped_by: str | None = None
        self.polish_steps = POLISH_STEPS
        self._zero = self.error(None)
        self._began = time.perf_counter()

    def grow(self, bound: int, depth: int, rng: np.random.Generator) -> Factors:
        """As many directions at a time as a deep network shows, while the held-out error falls."""
        m, n = self.train.shape
        best = Factors(np.zeros((m, 0), self.train.dtype), (), np.zeros((n, 0), self.train.dtype))
        error = self._zero
        while not self.exact(error) and best.width < bound:
            found = self.discover(best, bound - best.width, depth, rng)
            if found.width == 0:
                break
            candidate, n_steps = _join(best, found), POLISH_STEPS
            if not self.ended:
                candidate, n_steps = self.polish(candidate)
            new_error = self.error(candidate)
            if best.width and not new_error <= error * (1 - IMPROVEMENT):
                break
            best, error, self.polish_steps = candidate, new_error, n_steps
            if self.ended:
                break
        return best

    @property
    def ended(self) -> bool:
        """Whether the fit is to end with what it has: somebody asked for it, or it overflowed."""
        return self.status in (Status.STOPPED, Status.NONFINITE)

    def discover(self, model: Factors, rank: int, depth: int, rng: np.random.Generator) -> Factors:
        """The leading directions of what a model leaves unexplained, by a deep network from a small start."""
        residual = _minus(self.train, model)
        norm = residual.spectral_norm()
        if norm == 0 or (model.width and self.held_out is not None and norm <= _norm_by_chance(residual, rng)):
            return model.map(lambda factor: factor[:, :0])
        unit = residual.dtype.type(norm / residual.density)  # in this unit the network's σ_1 is about 1
        residual = residual.with_values(residual.values / unit)
        held_out = None if self.held_out is None else _minus(self.held_out, model)
        if held_out is not None:
            held_out = held_out.with_values(held_out.values / unit)
        start = initial.compressed(residual, rank, depth, START_SCALE, rng)
        limits = {"max_steps": DEEP_STEPS, "tol": DISCOVERED}
        deep, _ = self.solve("deep", residual, held_out, 1e-3, start, steps.DiscrepantDescent(), limits)
        found = deep.truncate(_gap(deep.singular_values()[: rank + 1]))
        return found.map(lambda factor: np.sqrt(unit) * factor)

    def polish(self, start: Factors) -> tuple[Factors, int]:
        """Descend at a given rank, to the end or to where the held-out entries say that it is enough."""
        limits = {"max_steps": POLISH_STEPS, "tol": 1e-10}
        return self.solve("polish", self.train, self.held_out, 1e-2, start, POLISH, limits)

    def finish(self, observations: Observations, start: Factors) -> Factors:
        """Descend on all entries, held-out ones included: to the end if they are matched exactly, else as long."""
        if start.width == 0 or self.ended:
            return start
        exact = self.exact(self.error(start))
        if exact:  # directions that joined on the way and have nothing left to explain
            trimmed = start.truncate(max(start.rank(NEGLIGIBLE), 1))
            start = trimmed if self.error(trimmed) <= NEGLIGIBLE * self._zero else start
        self.status = Status.CONVERGED
        n_steps = POLISH_STEPS if exact or self.held_out is None else self.polish_steps
        limits = {"max_steps": n_steps, "tol": 1e-10}
        factors, _ = self.solve("final", observations, None, 1e-2, start, POLISH, limits)
        if n_steps < POLISH_STEPS and self.status is Status.MAX_STEPS:
            self.status = Status.CONVERGED  # as many steps as the held-out entries found best
        return factors

    def solve(
        self,
        phase: str,
        observations: Observations,
        held_out: Observations | None,
        min_change: float,
        start: Factors,
        step: steps.Step,
        limits: dict[str, Any],
    ) -> tuple[Factors, int]:
        """One phase; returns its best factors and the step at which they were reached."""
        watch = EarlyStopping(held_out, min_change=min_change) if held_out is not None else Stagnation()
        problem = MaskedLeastSquares(observations)
        solution = solve(problem, start, step, callbacks=[watch, *self.callbacks], **limits)
        self.n_steps += solution.n_steps
        ended = solution.stopped_by == watch.name
        self.status = Status.CONVERGED if ended else solution.status
        self.stopped_by = None if ended else solution.stopped_by
        self.history.append(
            {
                "phase": phase,
                "width": start.width,
                "n_steps": solution.n_steps,
                "value": solution.value / max(problem.value(start.map(np.zeros_like)), np.finfo(float).tiny),
                "held_out_error": watch.best_error if isinstance(watch, EarlyStopping) else None,
                "seconds": time.perf_counter() - self._began,
            }
        )
        if isinstance(watch, EarlyStopping) and watch.best is not None:
            return watch.best, watch.best_step
        return solution.factors, solution.n_steps

    def error(self, factors: Factors | None) -> float:
        """Root mean squared error on the held-out entries, or on the training entries where there are none."""
        judged = self.train if self.held_out is None else self.held_out
        return _rms(judged if factors is None else _minus(judged, factors))

    @staticmethod
    def rms_residual(observations: Observations, factors: Factors) -> float:
        """Root mean square of X̂ − X over observed entries."""
        return _rms(_minus(observations, factors))

    def exact(self, error: float) -> bool:
        """Whether an error is nothing but rounding."""
        return error <= self._zero * float(np.finfo(self.train.dtype).eps) ** 0.6


def default_bound(observations: Observations) -> int:
    """The largest rank whose degrees of freedom, r(m + n − r), the entries exceed by a fifth; at most 50.

    With nothing missing, any rank can be seen.
    """
    m, n = observations.shape
    if observations.n_observed == m * n:
        return min(50, m, n)
    largest = (m + n - math.sqrt(max((m + n) ** 2 - 4 * observations.n_observed / 1.2, 0))) / 2
    return max(1, min(int(largest), 50, m, n))


def _hold_out(
    observations: Observations, fraction: float, rng: np.random.Generator
) -> tuple[Observations, Observations | None]:
    fraction = min(fraction, MAX_HELD_OUT / observations.n_observed)
    if fraction * observations.n_observed < MIN_HELD_OUT:
        return observations, None
    try:
        return observations.split(fraction, rng)
    except ValueError:  # every entry is the only one of its row or column
        return observations, None


def _minus(observations: Observations, factors: Factors) -> Observations:
    if factors.width == 0:
        return observations
    return observations.with_values(-MaskedLeastSquares(observations).residual(factors))


def _norm_by_chance(residual: Observations, rng: np.random.Generator) -> float:
    """The spectral norm of the residuals with random signs, which leave no structure but noise in them.

    Hong, Sheng & Dobriban, "Selecting the number of components in PCA via random signflips", 2020.
    """
    signs = rng.choice(np.asarray([-1, 1], residual.dtype), residual.n_observed)
    return residual.with_values(residual.values * signs).spectral_norm()


def _rms(observations: Observations) -> float:
    return math.sqrt(float(np.mean(np.square(observations.values, dtype=np.float64))))


def _join(first: Factors, second: Factors) -> Factors:
    return Factors(np.hstack([first.U, second.U]), (), np.hstack([first.V, second.V]))


def _gap(s: NDArray[Any]) -> int:
    """How many singular values (descending) have grown, and stand before the largest ratio of neighbours."""
    if len(s) == 1:
        return 1
    ratios = s[:-1] / np.maximum(s[1:], s[0] * np.finfo(s.dtype).eps)
    return int(np.argmax(np.where(s[:-1] >= GROWN * s[0], ratios, 0))) + 1
