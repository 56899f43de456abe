"""Step rules: from factors and their gradient to the next factors. Step sizes are scaled to the data here.

A step is a rule (frozen settings) with `init`, which makes the state, and a call that takes and returns it. `Momentum`
and `Backtracking` wrap another step. Rules that solve linear systems have files of their own: `GaussNewton` in
`dmc.solver.gauss_newton`, `AlternatingLeastSquares` in `dmc.solver.alternating`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any, NamedTuple

import array_api_compat

from dmc import _checks
from dmc._group import ALONE, Group
from dmc.factors import Array, Factors
from dmc.solver.alternating import AlternatingLeastSquares
from dmc.solver.gauss_newton import GaussNewton
from dmc.solver.protocol import Problem, Step, group_of, scale_of

__all__ = [
    "Adam",
    "AlternatingLeastSquares",
    "Backtracking",
    "DiscrepantDescent",
    "GaussNewton",
    "Momentum",
    "ScaledDescent",
    "Step",
    "partway",
]

SQUARINGS = 7


def _spectral_norm(matrix: Array, group: Group = ALONE) -> Array:
    """Estimate the largest singular value of a matrix with few columns, from below, to 1 %; float64, without
    dimensions. Its rows may be dealt among the processes of a group.

    By repeated squaring of its small Gram matrix G: with P about G^128, tr(PG)/tr(P) is a mean of G's eigenvalues
    in which the largest outweigh all others. Unlike an eigenvalue solver, that makes no host wait for a device.
    """
    xp = array_api_compat.array_namespace(matrix)
    tall = group.size > 1 or matrix.shape[0] >= matrix.shape[1]
    power = small = group.sum(xp.astype(matrix.T @ matrix if tall else matrix @ matrix.T, xp.float64))
    for _ in range(SQUARINGS):
        power = _over(power, xp.linalg.trace(power))
        power = power @ power
    return _over(xp.sum(power * small), xp.linalg.trace(power)) ** 0.5


def _frobenius(matrix: Array, group: Group = ALONE) -> Array:
    xp = array_api_compat.array_namespace(matrix)
    return group.sum(xp.astype(xp.sum(matrix * matrix), xp.float64)) ** 0.5


def _over(a: Array | float, b: Array, otherwise: float = 0.0) -> Array:
    """a/b where b is positive."""
    xp = array_api_compat.array_namespace(b)
    return xp.where(b > 0, a / xp.where(b > 0, b, 1.0), otherwise)


class Scales(NamedTuple):
    """The scales of the rates, and the processes among which the rows are dealt."""

    curvature: float
    target_norm: float
    group: Group


@dataclass(frozen=True)
class DiscrepantDescent(Step):
    """Gradient descent with one rate for the cores and another, "discrepant" one for outer factors and biases.

    Parameters
    ----------
    rate : float, optional
        Rate η of the cores, for the loss ½‖·‖² in the data's units (published: 5e-3; Yaras et al., arXiv 2406.04112).
        By default the normalised rule. With L cores, C their product, p the curvature and a = ‖U‖, b = ‖V‖, c = ‖C‖
        spectral norms, η = stability · min(1/(p (a b)² c^(2−2/L)), c^(1/L)/‖∇W‖), with the largest ‖∇W‖ over the cores:
        as large as the local curvature allows, while no step moves a core by more than a fifth of its size. This
        removes most of the plateau after a small start.
    outer_ratio : float
        Ratio γ: the rate of the outer factors is γη (published: .01). 0 freezes them. Under the normalised rule γ is in
        units of the data's scale, and no outer rate exceeds what its own curvature allows.
    weight_decay : float
        Weight decay λ: each factor also shrinks by its rate times λ.
    stability : float
        Share of the classical stability limit that the normalised rule uses.

    Examples
    --------
    >>> import dmc
    >>> observed = dmc.datasets.planted((40, 30), rank=2, observed=0.6).observations
    >>> problem, start = dmc.MaskedLeastSquares(observed), dmc.initial.compressed(observed, rank=4)
    >>> dmc.solve(problem, start, dmc.steps.DiscrepantDescent()).status.name
    'CONVERGED'
    >>> published = dmc.steps.DiscrepantDescent(rate=5e-3, outer_ratio=0.01)
    """

    rate: float | None = None
    outer_ratio: float = 1.0
    weight_decay: float = 0.0
    stability: float = 0.2

    def __post_init__(self) -> None:
        if self.rate is not None:
            _checks.real(self.rate, "rate", 0, open_ends=True)
        _checks.real(self.outer_ratio, "outer_ratio", 0)
        _checks.real(self.weight_decay, "weight_decay", 0)
        _checks.real(self.stability, "stability", 0, 1, open_ends=True)

    def init(self, problem: Problem, factors: Factors) -> Scales:
        if self.rate is not None:
            return Scales(1.0, 1.0, group_of(problem))
        curvature, size = (scale_of(problem, name, "DiscrepantDescent()") for name in ("curvature", "target_norm"))
        return Scales(curvature, size, group_of(problem))

    def __call__(self, factors: Factors, value: float, grad: Factors, state: Scales) -> tuple[Factors, Scales]:
        core_rate, U_rate, V_rate = (
            (self.rate, self.outer_ratio * self.rate, self.outer_ratio * self.rate)
            if self.rate is not None
            else self._normalised(factors, grad, *state)
        )

        def move(factor: Array, gradient: Array | None, rate: Array | float) -> Array:
            assert gradient is not None  # there is one for each factor
            return (1 - rate * self.weight_decay) * factor - rate * gradient

        moved = Factors(
            move(factors.U, grad.U, U_rate),
            tuple(move(W, dW, core_rate) for W, dW in zip(factors.cores, grad.cores, strict=True)),
            move(factors.V, grad.V, V_rate),
            None if factors.row_bias is None else move(factors.row_bias, grad.row_bias, U_rate),
            None if factors.column_bias is None else move(factors.column_bias, grad.column_bias, V_rate),
        )
        return moved, state

    def _normalised(
        self, factors: Factors, grad: Factors, curvature: float, target_norm: float, group: Group
    ) -> tuple[Array | float, Array | float, Array | float]:
        """Rates of the cores, of U and of V, as arrays on the device of the factors, so that nothing waits for it."""
        if curvature == 0 or target_norm == 0:
            return 0.0, 0.0, 0.0
        limit, xp = self.stability, array_api_compat.array_namespace(factors.U)
        a, b = _spectral_norm(factors.U, group), _spectral_norm(factors.V)
        if factors.cores:
            L = factors.depth
            c = _spectral_norm(factors.core)
            largest = reduce(xp.maximum, [_frobenius(dW) for dW in grad.cores])
            stable = _over(limit, curvature * (a * b) ** 2 * c ** (2 - 2 / L))
            core = xp.where(c > 0, xp.minimum(stable, _over(limit * c ** (1 / L), largest, math.inf)), 0.0)
            outer = self.outer_ratio * core * target_norm ** (-2 / L)
            rates = (
                core,
                xp.minimum(outer, _over(limit, curvature * (c * b) ** 2)),
                xp.minimum(outer, _over(limit, curvature * (c * a) ** 2)),
            )
        else:
            larger, largest = xp.maximum(a, b), xp.maximum(_frobenius(grad.U, group), _frobenius(grad.V))
            stable = _over(limit, curvature * larger**2)
            both = self.outer_ratio * xp.minimum(stable, _over(limit * larger, largest, math.inf))
            rates = both, both, both
        core, outer_U, outer_V = (xp.astype(rate, factors.U.dtype) for rate in rates)
        return core, outer_U, outer_V


@dataclass(frozen=True)
class ScaledDescent(Step):
    """Preconditioned gradient descent for a two-factor model, as fast at any condition number of the matrix.

    U −= (rate/p) ∇U (VᵀV)⁻¹ and V −= (rate/p) ∇V (UᵀU)⁻¹, with p the curvature (ScaledGD, Tong, Ma & Chi, 2021).
    Biases stay as they are.

    Parameters
    ----------
    rate : float
        In units of the local curvature; above about 1 it diverges.
    damping : float
        Added to the diagonal of the Gram matrices before inversion, relative to their largest eigenvalue.

    Examples
    --------
    >>> import dmc
    >>> observed = dmc.datasets.planted((60, 50), rank=2, observed=0.5, condition=10).observations
    >>> problem, start = dmc.MaskedLeastSquares(observed), dmc.initial.spectral(observed, rank=2)
    >>> dmc.solve(problem, start, dmc.steps.ScaledDescent()).status.name
    'CONVERGED'
    """

    rate: float = 0.5
    damping: float = 1e-12

    def __post_init__(self) -> None:
        _checks.real(self.rate, "rate", 0, open_ends=True)
        _checks.real(self.damping, "damping", 0)

    def init(self, problem: Problem, factors: Factors) -> tuple[float, Group]:
        if factors.cores:
            raise ValueError(
                f"ScaledDescent moves two-factor models; these factors have {_checks.count(factors.depth, 'core')}: "
                "start from factors.truncate(rank), or use DiscrepantDescent"
            )
        curvature = scale_of(problem, "curvature", "ScaledDescent")
        return self.rate / curvature if curvature > 0 else 0.0, group_of(problem)

    def __call__(
        self, factors: Factors, value: float, grad: Factors, state: tuple[float, Group]
    ) -> tuple[Factors, tuple[float, Group]]:
        rate, group = state
        moved = Factors(
            factors.U - rate * self._preconditioned(grad.U, factors.V.T @ factors.V),
            (),
            factors.V - rate * self._preconditioned(grad.V, group.sum(factors.U.T @ factors.U)),
            factors.row_bias,
            factors.column_bias,
        )
        return moved, state

    def _preconditioned(self, d_own: Array, gram: Array) -> Array:
        xp = array_api_compat.array_namespace(gram)
        if not bool(xp.all(xp.isfinite(gram))):  # diverged, of which the loop tells
            return math.nan * d_own
        values, vectors = xp.linalg.eigh(gram)
        floor = xp.where(values[-1] > 0, values[-1], values[-1] * 0) * self.damping
        values = xp.where(values > floor, values, values * 0 + floor)
        scale = xp.where(values > 0, 1 / xp.where(values > 0, values, values * 0 + 1), values * 0)
        return (d_own @ vectors * scale) @ vectors.T


@dataclass(frozen=True)
class Adam(Step):
    """Adam (Kingma & Ba, 2015) with discrepant rates: every parameter has a step size of its own.

    For data with long tails, where some rows have thousands of entries and some only a few.

    Parameters
    ----------
    rate : float
        About the change of each entry of a core in one step, in the units of the factors.
    outer_ratio : float
        The rate of the outer factors and biases over that of the cores.
    betas : (float, float)
        Decay rates of the running means of the gradient and of its square.
    constant_steps : int, optional
        After this many steps the rate falls as 1/√n (as in their analysis); by default never. Near a minimum the root
        mean square of the gradient falls while the curvature does not, so that steps of a constant rate become
        unstable.

    Examples
    --------
    >>> import dmc
    >>> observed = dmc.datasets.planted((30, 20), rank=2, observed=0.6).observations
    >>> problem, start = dmc.MaskedLeastSquares(observed), dmc.initial.compressed(observed, rank=2, depth=1)
    >>> solution = dmc.solve(problem, start, dmc.steps.Adam(constant_steps=100), max_steps=300, tol=0)
    >>> solution.value < 1e-3 * problem.value(start)
    True
    """

    rate: float = 0.02
    outer_ratio: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    constant_steps: int | None = None

    def __post_init__(self) -> None:
        _checks.real(self.rate, "rate", 0, open_ends=True)
        _checks.real(self.outer_ratio, "outer_ratio", 0)
        if self.constant_steps is not None:
            _checks.integer(self.constant_steps, "constant_steps", 1)
        if len(self.betas) != 2:
            raise ValueError(f"betas is {self.betas!r}; give two numbers")
        for beta in self.betas:
            if _checks.real(beta, "each of betas", 0, 1) == 1:
                raise ValueError("one of betas is 1: the average would never forget; use numbers below 1")

    def init(self, problem: Problem, factors: Factors) -> tuple[Factors, Factors, int]:
        zero = factors.map(lambda a: a * 0)
        return zero, zero, 0

    def __call__(
        self, factors: Factors, value: float, grad: Factors, state: tuple[Factors, Factors, int]
    ) -> tuple[Factors, tuple[Factors, Factors, int]]:
        mean, square, n = state
        n += 1
        beta, beta2 = self.betas
        mean = mean.map(lambda m, g: beta * m + (1 - beta) * g, grad)
        square = square.map(lambda s, g: beta2 * s + (1 - beta2) * g * g, grad)
        # Kingma & Ba, section 2: the bias of both averages corrected in the step size.
        rate = self.rate * math.sqrt(1 - beta2**n) / (1 - beta**n)
        if self.constant_steps is not None:
            rate *= math.sqrt(min(1.0, self.constant_steps / n))
        change = mean.map(lambda m, s: m / (s**0.5 + 1e-12), square)
        outer = self.outer_ratio * rate
        moved = factors.map(lambda x, d: x - outer * d, change)
        cores = tuple(W - rate * d for W, d in zip(factors.cores, change.cores, strict=True))
        return Factors(moved.U, cores, moved.V, moved.row_bias, moved.column_bias), (mean, square, n)


@dataclass(frozen=True)
class Momentum(Step):
    """Heavy-ball momentum around another step rule, which then gets v ← beta·v + grad instead of the gradient.

    Parameters
    ----------
    step : Step
        The rule, such as `DiscrepantDescent`.
    beta : float
        From 0 (no momentum) to below 1; the effective rate is that of the rule over 1 − beta.

    Examples
    --------
    >>> import dmc
    >>> observed = dmc.datasets.planted((30, 20), rank=2, observed=0.6).observations
    >>> problem, start = dmc.MaskedLeastSquares(observed), dmc.initial.spectral(observed, rank=2)
    >>> dmc.solve(problem, start, dmc.steps.Momentum(dmc.steps.ScaledDescent(0.2), beta=0.5)).status.name
    'CONVERGED'
    """

    step: Step
    beta: float = 0.9

    def __post_init__(self) -> None:
        _checks.real(self.beta, "beta", 0, 1)
        if self.beta == 1:
            raise ValueError("beta is 1: the average would never forget; use a number below 1")

    def init(self, problem: Problem, factors: Factors) -> tuple[object, Factors]:
        return self.step.init(problem, factors), factors.map(lambda a: a * 0)

    def __call__(
        self, factors: Factors, value: float, grad: Factors, state: tuple[object, Factors]
    ) -> tuple[Factors, tuple[object, Factors]]:
        inner, velocity = state
        velocity = velocity.map(lambda v, g: self.beta * v + g, grad)
        factors, inner = self.step(factors, value, velocity, inner)
        return factors, (inner, velocity)


def partway(factors: Factors, proposed: Factors, share: float) -> Factors:
    """Move from factors a share of the way to others.

    Parameters
    ----------
    factors, proposed : Factors
        Of the same form.
    share : float
        From 0 (stay) to 1 (the proposed factors).

    Returns
    -------
    Factors
        Of the same form; each array is interpolated.

    Examples
    --------
    >>> import numpy as np
    >>> import dmc
    >>> zeros, ones = (dmc.Factors(np.full((1, 1), x), [], np.full((2, 1), x)) for x in (0.0, 1.0))
    >>> dmc.steps.partway(zeros, ones, 0.25).V
    array([[0.25],
           [0.25]])
    """
    return factors.map(lambda a, b: a + share * (b - a), proposed) if share < 1 else proposed


@dataclass(frozen=True)
class Accepted:
    """The state of `Backtracking`.

    Attributes
    ----------
    factors, grad : Factors or None
        The last point that was accepted, and the gradient there; None before the first.
    value : float
        The value there.
    proposed : Factors or None
        Where the inner step led from there.
    inner : object
        The state of the inner step.
    share : float
        Share of the way there that is taken.
    """

    factors: Factors | None
    value: float
    grad: Factors | None
    proposed: Factors | None
    inner: Any
    share: float


@dataclass(frozen=True)
class Backtracking(Step):
    """Safeguard around another step rule: undo a step that raised the value, and repeat it at half the length.

    Parameters
    ----------
    step : Step
        The rule, such as `GaussNewton`.
    slack : float
        Relative rise of the value that is accepted as rounding error.
    growth : float
        Factor by which the length recovers after each accepted step, up to the whole step.

    Examples
    --------
    >>> import dmc
    >>> observed = dmc.datasets.planted((30, 20), rank=2, observed=0.6).observations
    >>> problem, start = dmc.MaskedLeastSquares(observed), dmc.initial.spectral(observed, rank=2)
    >>> step = dmc.steps.Backtracking(dmc.steps.ScaledDescent(rate=3.0))  # by itself this rate diverges
    >>> dmc.solve(problem, start, step).status.name
    'CONVERGED'
    """

    step: Step
    slack: float = 1e-6
    growth: float = field(default=1.1, repr=False)

    def __post_init__(self) -> None:
        _checks.real(self.slack, "slack", 0)
        _checks.real(self.growth, "growth", 1)

    def init(self, problem: Problem, factors: Factors) -> Accepted:
        return Accepted(None, math.inf, None, None, self.step.init(problem, factors), 1.0)

    def accepted_point(
        self, factors: Factors, value: float, grad: Factors, state: Accepted
    ) -> tuple[Factors, float, Factors]:
        if not self._refused(value, state):
            return factors, value, grad
        assert state.factors is not None
        assert state.grad is not None
        return state.factors, state.value, state.grad

    def _refused(self, value: float, state: Accepted) -> bool:
        # Relative to its size, as a value may be negative (a likelihood's); also when it is NaN.
        return state.factors is not None and not value <= state.value + self.slack * abs(state.value)

    def __call__(self, factors: Factors, value: float, grad: Factors, state: Accepted) -> tuple[Factors, Accepted]:
        value = float(value)
        if self._refused(value, state):
            assert state.factors is not None
            assert state.proposed is not None
            factors, proposed = state.factors, state.proposed
            state = replace(state, share=state.share / 2)
        else:
            proposed, inner = self.step(factors, value, grad, state.inner)
            state = Accepted(factors, value, grad, proposed, inner, min(1.0, state.share * self.growth))
        return partway(factors, proposed, state.share), state
