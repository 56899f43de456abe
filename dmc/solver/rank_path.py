"""Finding the rank: as the penalty of a deep network's weight decay falls, directions join the model and leave it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import array_api_compat
import numpy as np

from dmc import _arrays, _checks
from dmc.factors import Array, Factors
from dmc.pattern import COLUMNS, ROWS
from dmc.solver.gauss_newton import NormalEquations, check_applies
from dmc.solver.problem import MaskedLeastSquares
from dmc.solver.protocol import Problem, Step
from dmc.solver.steps import partway

__all__ = [
    "RankPath",
]

FIRST_LEVEL = 0.7  # of the spectral norm: just below where the first direction joins
JOINS = 1.02  # of the level: what is in the model already may be left unexplained up to the level itself
WEAK = 1e-3  # of the level: a direction that has shrunk below it leaves
NEWCOMER = 0.1  # of the level: the size with which a direction joins; directions of few lines are soon too large
PROBES = 8  # directions of the residual that are followed
TOL, MAX_PRODUCTS = 0.1, 30  # of the linear solves: the next level moves the solution further than that
SHORTEST = 1e-4  # share of a step below which it is not taken


@dataclass(frozen=True)
class RankPath(Step):
    """Gauss–Newton steps on the loss plus a deep network's weight decay, which falls from step to step.

    Weight decay of a network of L cores between two outer factors costs its end-to-end matrix the Schatten quasi-norm Σ
    s_i^q with q = 2/(L + 2): the nuclear norm without cores, and closer to the rank the deeper the network. Here a
    two-factor model pays it directly, reweighted at every step: with p the curvature, σ the size of the matrix sought
    and t the level, a direction of size s pays the slope p·t·σ·(tσ/(s + tσ))^(1−q). So a direction of the residual
    joins when its singular value exceeds p·t·σ, large ones pay ever less, and weak ones are driven out. The level falls
    geometrically; the width of the factors is the rank found. A column bias is fitted and not penalised.

    Parameters
    ----------
    bound : int
        The largest width.
    depth : int
        Number of cores L of the network.
    level : float
        Level t at the first step.
    decay : float
        Level of a step over that of the step before. Slow paths find the rank from fewer entries; 1 stays at one level.
    seed : int or numpy.random.Generator
        Seed of the probes that follow the leading directions of the residual.

    References
    ----------
    F. Shang et al., "Unified scalable equivalent formulations for Schatten quasi-norms", 2016 (arXiv 1606.00668). C.
    Kümmerle, C. Mayrink Verdun, "A scalable second order method for ill-conditioned matrix completion from few
    samples", ICML 2021 (arXiv 2106.02119).

    Examples
    --------
    Find that the rank is 3, given only that it is at most 10:

    >>> import dmc
    >>> observed = dmc.datasets.planted((60, 50), rank=3, observed=0.4).observations
    >>> problem, start = dmc.MaskedLeastSquares(observed), dmc.initial.spectral(observed, rank=1).scaled(1e-3)
    >>> path = dmc.rank_path.RankPath(bound=10)
    >>> dmc.solve(problem, start, path, max_steps=60, tol=0, check_every=1).factors.width
    3
    """

    bound: int
    depth: int = 3
    level: float = FIRST_LEVEL
    decay: float = 0.84
    seed: int | np.random.Generator = 0

    def __post_init__(self) -> None:
        _checks.integer(self.bound, "bound", 1)
        _checks.integer(self.depth, "depth", 0)
        _checks.real(self.level, "level", 0, open_ends=True)
        _checks.real(self.decay, "decay", 0, 1)

    def init(self, problem: Problem, factors: Factors) -> _Walk:
        masked = check_applies("RankPath", problem, factors)
        if masked.group.size > 1:
            raise ValueError(
                f"RankPath is for one process and the rows of this problem are dealt among {masked.group.size}; use "
                "Backtracking(GaussNewton()), or DiscrepantDescent"
            )
        n = factors.shape[1]
        draw = np.random.default_rng(self.seed).standard_normal((n, min(PROBES, self.bound, n)))
        probes = _arrays.place(draw.astype(_arrays.numpy_dtype(factors.V.dtype)), factors.device)
        gradient = masked.gradient_products(factors)
        for _ in range(3):
            probes = _leading(gradient, probes)[2]
        return _Walk(masked, masked.target_norm, self.level, probes)

    def __call__(self, factors: Factors, value: float, grad: Factors, state: _Walk) -> tuple[Factors, _Walk]:
        problem, level = state.problem, state.level * state.size
        P, s, Q = _leading(problem.gradient_products(factors), state.probes)
        state = replace(state, probes=Q, level=state.level * self.decay)
        if level == 0 or problem.curvature == 0:
            return factors, state
        new = min(int((s > JOINS * problem.curvature * level).sum()), self.bound - factors.width)
        if new > 0:
            root = math.sqrt(NEWCOMER * level)
            factors = _beside(factors, root * P[:, :new], root * Q[:, :new])
            there, grad = problem.value_and_grad(factors)
            value = float(there)
        q, squares = 2 / (self.depth + 2), _squares(factors)
        slope = problem.curvature * level * (level / (squares / 2 + level)) ** (1 - q)
        bias = grad.column_bias
        penalised = Factors(grad.U + slope * factors.U, (), grad.V + slope * factors.V, column_bias=bias)
        delta = NormalEquations(problem, factors, slope).solve(penalised, TOL, MAX_PRODUCTS)

        def penalised_value(at: Factors) -> float:
            return problem.value(at) + 0.5 * float(slope @ _squares(at))

        proposed = factors.map(lambda a, d: a + d, delta)
        before = float(value) + 0.5 * float(slope @ squares)
        moved = _backtrack(penalised_value, factors, proposed, before, SHORTEST)
        return _without_weak(moved, WEAK * level), state


@dataclass(frozen=True)
class _Walk:
    """The state of the path."""

    problem: MaskedLeastSquares
    size: float  # spectral norm of the matrix sought, about
    level: float  # in units of the size
    probes: Array  # (columns, probes) orthonormal after a power iteration: the residual's leading directions


def _backtrack(
    value: Callable[[Factors], float], factors: Factors, proposed: Factors, before: float, shortest: float
) -> Factors:
    """Take the longest step towards a proposal, halved from the whole, that does not raise a value.

    Parameters
    ----------
    value : callable
        Of factors.
    factors, proposed : Factors
    before : float
        The value at `factors`.
    shortest : float
        Share of the way below which no step is taken.
    """
    share = 1.0
    while share >= shortest:
        moved = partway(factors, proposed, share)
        if value(moved) <= before:
            return moved
        share /= 2
    return factors


def _squares(factors: Factors) -> Array:
    """(width,) sum of squares of each column of both factors."""
    return (factors.U**2).sum(0) + (factors.V**2).sum(0)


def _leading(gradient: Callable[[int, Array], Array], probes: Array) -> tuple[Array, Array, Array]:
    """One power iteration: (P, s, Q) with P·diag(s)·Qᵀ the leading part of minus the gradient by X̂, given by
    products.
    """
    xp = array_api_compat.array_namespace(probes)
    P = gradient(ROWS, probes)
    triangle = _triangle(P)
    P = xp.linalg.qr(P)[0] if triangle is None else P @ xp.linalg.inv(triangle).T
    Q = -gradient(COLUMNS, P)
    triangle = _triangle(Q)
    if triangle is not None:
        _, s, turn = xp.linalg.svd(triangle.T)
        if s[-1] > _rounding(s) * s[0]:
            return P @ turn.T, s, Q @ (turn.T / s)
    Q, s, turn = xp.linalg.svd(Q, full_matrices=False)
    return P @ turn.T, s, Q


def _without_weak(factors: Factors, least: float) -> Factors:
    """Balanced factors without the directions whose singular values are at most `least`, except the first."""
    of_U, of_V = _triangle(factors.U), _triangle(factors.V)
    if of_U is None or of_V is None:
        P, s, Q = factors.svd()
    else:  # of the matrix' singular vectors, times singular values, in the basis of the factors
        P, s, Qt = np.linalg.svd(of_U.T @ of_V)
        P, Q = factors.U @ (of_V @ (Qt.T / s)), factors.V @ (of_U @ (P / s))
    strong = max(int((s > least).sum()), 1)
    root = s[:strong] ** 0.5
    return replace(factors, U=P[:, :strong] * root, V=Q[:, :strong] * root)


def _triangle(columns: Array) -> Array | None:
    """Lower triangular L that makes columns·L⁻ᵀ orthonormal, from their Gram matrix: on the host many times faster than
    a QR decomposition. None if they are too nearly dependent for that.
    """
    if not isinstance(columns, np.ndarray):
        return None
    gram = columns.T @ columns
    try:
        triangle = np.linalg.cholesky(gram)
    except np.linalg.LinAlgError:
        return None
    apart = np.diagonal(triangle) ** 2 > _rounding(gram) * np.diagonal(gram)
    return triangle if apart.all() else None


def _rounding(array: Array) -> float:
    """A relative size above which a number keeps three quarters of its digits in a Gram matrix."""
    return float(np.finfo(array.dtype).eps) ** 0.25


def _beside(factors: Factors, U: Array, V: Array) -> Factors:
    """Append columns to the factors."""
    xp = array_api_compat.array_namespace(U)
    return replace(factors, U=xp.concat([factors.U, U], axis=1), V=xp.concat([factors.V, V], axis=1))
