"""How the rank is found and the answer made exact: paths down a penalty, a finish without it, held-out judgement."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, device

from dmc import _arrays
from dmc.completion.journal import Journal
from dmc.factors import Array, Factors
from dmc.observations import Observations
from dmc.pattern import COLUMNS, ROWS
from dmc.solver import initial, steps
from dmc.solver.callbacks import EarlyStopping, Lowest, Stagnation
from dmc.solver.loop import solve
from dmc.solver.problem import MaskedLeastSquares
from dmc.solver.rank_path import FIRST_LEVEL, RankPath
from dmc.solver.solution import Status, StepInfo

FAST = 0.84  # decay of the first path's level,
SLOWER = (0.9, 0.93, 0.96)  # and of those tried when it does not lead to the answer
PATH_STEPS, POLISH_STEPS = 300, 100  # more than a phase needs: it ends when it has done its work
ROUNDS = 20  # of path and polish, each lower than the last
AMPLE = 1.05  # entries over degrees of freedom above which matching them all exactly is no accident
CHANCE = 1.1  # of the norm that residuals of random signs have: up to it there is nothing to gain from what they hide
FEW = 100  # entries: among fewer, chance and structure look alike
GAP = 3.0  # ratio of neighbouring singular values from which on they are of two kinds
FILLING = 1e3  # such a ratio of an exact model, whose further directions may only fill in
AS_GOOD = 0.01  # relative rise of the held-out error for which a model without penalty is preferred
WRONG_TURN = 0.3  # residual over held-out error up to which slower paths are worth trying
PLENTY = 2.0  # entries for each degree of freedom above which a converged fit does not depend on its start
MAX_GRAMS = 50_000_000  # numbers in the matrices of all lines together
MAX_HELD_OUT = 10_000  # entries: enough to know the error to a percent
SPARE = 1.25  # entries for each line, from which some can be spared: with fewer than one nothing hangs together
MOST_HELD_OUT = 0.2  # share of a small table
MIN_HELD_OUT = 20  # entries: with fewer the error says nothing
MOST_ROUNDING = 0.01  # of the entries' size: with more nothing can be said to be exact
ALONE = 0.999  # share of a line in the directions of all lines from which on others say nothing of it
LINE_ROUNDING = 1e-6  # of a line's own size: what is left of it is not the share of other lines in the rounding
POLISH = steps.Backtracking(steps.GaussNewton())


class Settled:
    """Stops a path whose width stays while the level falls: nothing is near to joining, and a finish may be tried.

    At the bound a width stays in any case. There the path has settled when the entries are nearly matched, and is
    stuck when the value no longer falls either.
    """

    name = "settled"
    looks, fall, little = 5, 0.97, 1e-3

    def __init__(self, bound: int, zero: float) -> None:
        self._bound, self._little = bound, self.little * zero
        self._before: StepInfo | None = None
        self._in_a_row = 0
        self.stuck = False

    def __call__(self, info: StepInfo) -> bool:
        before, self._before = self._before, info
        if before is None:
            return False
        counts = info.factors.width == before.factors.width
        if info.factors.width >= self._bound and info.value > self._little:
            counts = self.stuck = counts and info.value > self.fall * before.value
        else:
            self.stuck = False
        self._in_a_row = self._in_a_row + 1 if counts else 0
        return self._in_a_row >= self.looks


class Patience(EarlyStopping):
    """Ends a path on which held-out entries are predicted no better: soon where directions have joined since, and late
    where none has, for a large first direction may be followed by small ones far down."""

    soon, late = 8, 40

    def __init__(self, held_out: Observations) -> None:
        super().__init__(held_out, patience=self.soon)
        self._width = 0

    def __call__(self, info: StepInfo) -> bool:
        before = self._mark[0]
        stopped = super().__call__(info)
        if self._mark[0] != before or self._width == 0:
            self._width = info.factors.width
        return stopped and (info.factors.width > self._width or info.n_steps - self._mark[0] >= self.late)


class Trained(NamedTuple):
    """A model of the training entries that held-out ones judge, and how it is made again from all entries."""

    kind: str
    factors: Factors
    error: float  # root mean square over the held-out entries
    matched: bool  # whether it matches the training entries to rounding
    finish: Callable[[], Factors]


class RankSearch:
    """The search of one matrix for its rank: what it is fitted to and how it is judged.

    Parameters
    ----------
    observations : Observations
        Of about unit size.
    bound : int
        Width at most.
    depth : int
        Of the network whose penalty the path pays.
    rng : numpy.random.Generator
    journal : Journal
    weights : (observed,) array, optional
        Of the entries.
    intercept : bool
        Whether each column has a bias of its own, which is fitted and not penalised.
    rounding : (columns,) array, optional
        Size of the rounding of the entries, where it is more than that of their own size: of data that were shifted.
    """

    def __init__(
        self,
        observations: Observations,
        bound: int,
        depth: int,
        rng: np.random.Generator,
        journal: Journal,
        weights: Array | None = None,
        intercept: bool = False,
        rounding: Array | None = None,
    ) -> None:
        self.observations, self.depth, self.rng, self.journal = observations, depth, rng, journal
        self.intercept, self._weights, self._rounding = intercept, weights, rounding
        # One problem, for its order of the data and its norm are computed once.
        self._problem = MaskedLeastSquares(observations, weights)
        counts = observations.pattern.row_counts, observations.pattern.column_counts
        self._lines = tuple(int((count > 0).sum()) for count in counts)  # the others have no part in it
        ranks = range(1, min(bound, *self._lines) + 1)
        self._largest = max((r for r in ranks if self.oversampling(r) >= AMPLE), default=1)
        # Wider, a model could match any entries; some room is left for directions that go again on the path.
        self.bound = min(bound, 2 * self._largest)
        self.size = _rms(observations)

    @property
    def ended(self) -> bool:
        return self.journal.ended

    def start(self, observations: Observations) -> Factors:
        """The leading direction, as large as the first level of the path leaves it."""
        start = initial.spectral(observations, 1).scaled(1 - FIRST_LEVEL)
        return replace(start, column_bias=0 * start.V[:, 0]) if self.intercept else start

    def explore(self, decay: float) -> Factors:
        """Down the path on all entries, with a finish wherever the rank has settled, until they are matched exactly,
        nothing but noise is left, or the model has more freedom than the entries can decide."""
        observations, zero = self.observations, 0.5 * self.observations.n_observed * self.size**2
        problem, level = self._problem, FIRST_LEVEL
        model = self.start(observations)
        for _ in range(ROUNDS):
            settled = Settled(self.bound, zero)
            step = RankPath(self.bound, self.depth, level, decay, self.rng)
            model = self.solve("path", problem, settled, model, step, PATH_STEPS)
            if self.ended or settled.stuck or model.width > self._largest:
                return model
            model = self.solve("polish", problem, Stagnation(8, 1e-2), model, POLISH, POLISH_STEPS)
            if self.ended or self.matched(model) or model.width >= self.bound:
                break
            residual = _left(problem, model)
            norm = residual.spectral_norm()
            if observations.n_observed >= FEW and norm <= CHANCE * _norm_by_chance(residual, self.rng):
                break
            level = norm / (problem.curvature * problem.target_norm)
        return self.trim(model) if not self.ended and self.matched(model) else model

    def trim(self, model: Factors) -> Factors:
        """An exact model without directions that only fill in where few entries check them, if it is exact without."""
        rank = _gap(model.singular_values(), FILLING)
        if rank == model.width:
            return model
        trimmed = model.truncate(rank)
        if not self.matched(trimmed):
            trimmed = self.solve("polish", self._problem, Stagnation(8, 1e-2), trimmed, POLISH, POLISH_STEPS)
        return trimmed if self.matched(trimmed) else model

    def explore_no_wider_than_carried(self) -> Factors:
        """What exploring finds if no model may be wider than the entries carry: where none can be held out."""
        self.bound = self._largest
        return self.explore(FAST)

    def candidates(self, explored: Factors, train: Observations, held_out: Observations) -> list[Trained]:
        """Models of part of the entries: the best of a path, with as many steps without its penalty as do good; its
        directions before the gap, and the model that was explored, both without penalty."""
        problem = MaskedLeastSquares(train, _of_train(self._weights, self.observations, train))
        start = self.start(train)
        path = Patience(held_out)
        step = RankPath(self.bound, self.depth, FIRST_LEVEL, FAST, self.rng)
        self.solve("path", problem, path, start, step, PATH_STEPS)
        if path.best is None:
            return [Trained("explored", explored, path.error(explored), False, lambda: explored)]
        if self.ended:
            best = path.best
            return [Trained("penalised", best, path.best_error, False, lambda: best)]
        polish = EarlyStopping(held_out, patience=8, min_change=1e-3)
        self.solve("polish", problem, polish, path.best, POLISH, POLISH_STEPS)
        found = []
        starts = {"cut": path.best.truncate(_gap(path.best.singular_values()))}
        # Else its start would know the held-out entries.
        if self.oversampling(explored.width) > PLENTY and not self.apart(explored):
            starts["explored"] = explored
        for kind, begin in starts.items():
            if not self.ended and begin.width <= self._largest:
                plain = self.solve("polish", problem, Stagnation(8, 1e-2), begin, POLISH, POLISH_STEPS)
                error = path.error(plain)
                self.journal.history[-1]["held_out_error"] = error
                finish = partial(self._finish_plain, plain)
                matched = self._to_rounding(_left(problem, plain))
                found.append(Trained(kind, self.steady(plain, error, problem), error, matched, finish))
        better = path.best if path.best_error <= polish.best_error else polish.best
        assert better is not None
        error = min(path.best_error, polish.best_error)
        finish = partial(self._finish_penalised, start, step, path, polish.best_step)
        found.append(Trained("penalised", self.steady(better, error, problem), error, False, finish))
        return found

    def _finish_plain(self, found: Factors) -> Factors:
        return self.repeat(Stagnation(8, 1e-6), found, POLISH, POLISH_STEPS)

    def _finish_penalised(self, start: Factors, step: RankPath, path: EarlyStopping, polished: int) -> Factors:
        model = self.repeat(Lowest(), start, step, path.best_step)
        if polished > 0:
            model = self.repeat(Lowest(), model, POLISH, polished)
        assert path.best is not None
        return path.best if self.ended else model

    def steady(self, model: Factors, error: float, problem: MaskedLeastSquares | None = None) -> Factors:
        """The model with every line fitted again, with the other lines as the prior: a line with few entries stays near
        them in place of following its own noise.

        The rows have a Gaussian prior, with the mean and the covariance of the rows weighted by their entries, and the
        entries noise of the size of the held-out error; then the columns the same, given the rows.
        """
        if error == 0 or model.width**2 * sum(model.shape) > MAX_GRAMS:
            return model
        problem = problem or self._problem
        pattern = problem.observations.pattern
        k, bias = model.width, model.column_bias
        _, grad = problem.value_and_grad(model)
        grams = problem.grams(ROWS, model.V)
        model = replace(model, U=_with_prior(model.U, grams, grad.U, pattern.row_counts, error))
        _, grad = problem.value_and_grad(model)
        xp = array_namespace(model.V)
        columns, slopes = model.V, grad.V
        if bias is not None:
            assert grad.column_bias is not None
            columns = xp.concat([columns, bias[:, None]], axis=1)
            slopes = xp.concat([slopes, grad.column_bias[:, None]], axis=1)
        columns = _with_prior(columns, problem.grams(COLUMNS, model.left), slopes, pattern.column_counts, error, k)
        return replace(model, V=columns[:, :k], column_bias=None if bias is None else columns[:, k])

    def repeat(self, watch: Any, start: Factors, step: steps.Step, max_steps: int) -> Factors:
        """A phase on all entries that was judged on some: as far as was best then."""
        if self.ended:
            return start
        model = self.solve("final", self._problem, watch, start, step, max_steps)
        if self.journal.status is Status.MAX_STEPS:
            self.journal.conclude(Status.CONVERGED)
        return model

    def solve(
        self, phase: str, problem: MaskedLeastSquares, watch: Any, start: Factors, step: steps.Step, max_steps: int
    ) -> Factors:
        """One phase, looked at every step."""
        journal = self.journal
        callbacks = [*journal.callbacks, watch]  # one that asks for the end goes before one that ends the phase
        solution = solve(problem, start, step, callbacks=callbacks, max_steps=max_steps, tol=1e-14, check_every=1)
        ended = solution.stopped_by == watch.name
        journal.conclude(*(Status.CONVERGED, None) if ended else (solution.status, solution.stopped_by))
        zero = 0.5 * problem.observations.n_observed * _rms(problem.observations) ** 2
        value = solution.value / max(zero, np.finfo(float).tiny)
        error = watch.best_error if isinstance(watch, EarlyStopping) else None
        journal.note(phase, solution.factors.width, solution.n_steps, value, error)
        return solution.factors

    def _to_rounding(self, left: Observations) -> bool:
        return _rms(left) <= self._tolerance * self.size

    @cached_property
    def _tolerance(self) -> float:
        """What a match to rounding leaves of the entries, over their size."""
        eps = float(array_namespace(self.observations.values).finfo(self.observations.dtype).eps)
        rounding = max(30 * eps, 4e-10)  # 4e-10: what a last step leaves at κ = 1e4
        if self._rounding is None:
            return rounding
        return math.hypot(rounding, 30 * float(np.sqrt(np.mean(self._rounding**2))))

    def matched(self, model: Factors) -> bool:
        """Whether the entries are matched to rounding, those of each row and of each column by their own size."""
        left = _left(self._problem, model)
        if not self._to_rounding(left):
            return False
        residual, values = (_arrays.place(o.values, None).astype(np.float64) for o in (left, self.observations))
        pattern = self.observations.pattern.to(None)
        loose = max(LINE_ROUNDING, 1e3 * self._tolerance)
        for at, count in zip((pattern.rows, pattern.cols), pattern.shape, strict=True):
            missed, size = (np.bincount(at, x * x, count) for x in (residual, values))
            if (missed > loose**2 * size).any():
                return False
        return True

    def certain(self, model: Factors) -> bool:
        """Whether the entries are matched by a model of fewer degrees of freedom, so that it is no accident; and no
        line with gaps has a direction of its own, which would match whatever it holds."""
        if self.oversampling(model.width) < AMPLE or self._tolerance > MOST_ROUNDING or not self.matched(model):
            return False
        return not self.apart(model)

    def apart(self, model: Factors) -> bool:
        """Whether a line with gaps has a direction of its own, which matches whatever the line holds."""
        pattern, (m, n) = self.observations.pattern.to(None), self._lines
        for side, counts, others in ((model.U, pattern.row_counts, n), (model.V, pattern.column_counts, m)):
            Q, R = np.linalg.qr(_arrays.place(side, None).astype(np.float64))
            own = np.square(Q[:, np.abs(np.diag(R)) > 0]).sum(axis=1)
            if ((own > ALONE) & (counts > 0) & (counts < others)).any():
                return True
        return False

    def oversampling(self, rank: int) -> float:
        """Observed entries for each degree of freedom of a rank; with nothing missing there are always enough."""
        n_observed, (m, n) = self.observations.n_observed, self._lines
        freedom = rank * (m + n - rank) + (n - rank if self.intercept else 0)
        return math.inf if n_observed == m * n else n_observed / freedom


def hold_out(observations: Observations, fraction: float, rng: np.random.Generator, parts: int) -> Observations | None:
    """One of some parts of the entries that are held out in turn, each at most 10,000; None where all of them together
    are too few to tell anything."""
    # Of small tables a larger share, but for such as hang together by hardly more than a thread.
    if fraction > 0 and observations.n_observed >= SPARE * sum(observations.shape):
        fraction = max(fraction, min(MIN_HELD_OUT / (parts * observations.n_observed), MOST_HELD_OUT))
    fraction = min(fraction, MAX_HELD_OUT / observations.n_observed)
    if round(fraction * observations.n_observed * parts) < MIN_HELD_OUT:
        return None
    try:
        held_out = observations.split(fraction, rng)[1]
    except ValueError:  # every entry is the only one of its row or column
        return None
    return held_out if 2 * held_out.n_observed * parts >= MIN_HELD_OUT else None


def _of_train(weights: Array | None, whole: Observations, train: Observations) -> Array | None:
    if weights is None:
        return None
    where = whole.to(None).locate(*(_arrays.place(a, None) for a in (train.rows, train.cols)))
    return weights[where]


def _left(problem: MaskedLeastSquares, factors: Factors) -> Observations:
    """What a model leaves of the entries."""
    observations = problem.observations
    return observations.with_values(-problem.residual(factors)) if factors.width else observations


def _norm_by_chance(residual: Observations, rng: np.random.Generator) -> float:
    """The spectral norm of the residuals with random signs, which leave no structure but noise in them.

    Hong, Sheng & Dobriban, "Selecting the number of components in PCA via random signflips", 2020.
    """
    signs = rng.choice(np.asarray([-1, 1], _arrays.numpy_dtype(residual.dtype)), residual.n_observed)
    return residual.with_values(residual.values * _arrays.place(signs, residual.device)).spectral_norm()


def _with_prior(
    side: Array, grams: Array, slopes: Array, counts: Array, noise: float, known: int | None = None
) -> Array:
    """One side of a model, each line at the maximum of its posterior; nothing is known beforehand of the coordinates
    behind the first `known`."""
    xp = array_namespace(side)
    weights, lines = xp.astype(counts, xp.float64) / float(counts.sum()), xp.astype(side, xp.float64)
    k = side.shape[1] if known is None else known
    mean = weights @ lines
    away = lines - mean
    covariance = (away * weights[:, None]).T @ away
    of = covariance[:k, :k]
    eye = xp.eye(side.shape[1], dtype=xp.float64, device=device(side))
    floor = 100 * xp.finfo(side.dtype).eps * (xp.linalg.trace(of) + mean[:k] @ mean[:k])
    precision = 0 * covariance
    precision[:k, :k] = noise**2 * xp.linalg.inv(of + floor * eye[:k, :k])
    traces = xp.linalg.trace(xp.astype(grams, xp.float64))[:, None, None]
    ridge = xp.where(traces > 0, 100 * xp.finfo(side.dtype).eps * traces, traces * 0 + 1)
    step = xp.linalg.solve(grams + precision + ridge * eye, (slopes + away @ precision)[:, :, None])[:, :, 0]
    return side - xp.astype(step, side.dtype)


def _rms(observations: Observations) -> float:
    xp = array_namespace(observations.values)
    return math.sqrt(float(xp.mean(xp.astype(observations.values, xp.float64) ** 2)))


def _gap(s: Array, least: float = GAP) -> int:
    """How many singular values (descending) stand before the largest ratio of neighbours; all, if none is as large."""
    s = _arrays.place(s, None)
    ratios = s[:-1] / np.maximum(s[1:], s[0] * np.finfo(s.dtype).eps)
    return int(np.argmax(ratios)) + 1 if ratios.max(initial=0) > least else len(s)
