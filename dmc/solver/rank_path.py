"""How the rank shows itself: down the path of a deep network's penalty, directions join a model and leave it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import array_api_compat
import numpy as np

from dmc import _arrays, _checks
from dmc.factors import Array, Factors
from dmc.solver.gauss_newton import NormalEquations, check_applies
from dmc.solver.steps import Scales, Step

FIRST_LEVEL = 0.7  # of the spectral norm: just below where the first direction joins
JOINS = 1.02  # of the level: what is in the model already may be left unexplained up to the level itself
WEAK = 1e-3  # of the level: a direction that has shrunk below it leaves
NEWCOMER = 0.1  # of the level: the size with which a direction joins; directions of few lines are soon too large
PROBES = 8  # directions of the residual that are followed
TOL, MAX_PRODUCTS = 0.1, 30  # of the linear solves: the next level moves the solution further than that
SHORTEST = 1e-4  # share of a step below which it is not taken


@dataclass(frozen=True)
class RankPath(Step):
    """Gauss–Newton steps on the loss plus the penalty of a deep network's weight decay, which falls from step to step.

    Weight decay of a network of L cores between two outer factors costs its end-to-end matrix the Schatten
    quasi-norm Σ s_i^q with q = 2/(L + 2): the nuclear norm without cores, and the deeper, the closer to the rank.
    Here it is paid by a two-factor model directly, reweighted at every step: with p the curvature, σ the size of the
    matrix sought and t the level, a direction of size s pays the slope p·t·σ·(tσ/(s + tσ))^(1−q). So a direction of
    the residual joins when its singular value exceeds p·t·σ, large ones pay ever less, and weak ones are driven out.
    The level falls geometrically; the factors' width is the rank that it shows. A column bias is fitted and
    not penalised.

    Parameters
    ----------
    bound : int
        Width at most.
    depth : int
        L.
    level : float
        t at the first step.
    decay : float
        t of a step over that of the step before. Slow paths find the rank from fewer entries. 1 stays at a level.
    seed : int or numpy.random.Generator
        Of the probes that follow the residual's leading directions.

    References
    ----------
    F. Shang et al., "Unified scalable equivalent formulations for Schatten quasi-norms", 2016 (arXiv 1606.00668).
    C. Kümmerle, C. Mayrink Verdun, "A scalable second order method for ill-conditioned matrix completion from few
    samples", ICML 2021 (arXiv 2106.02119).
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

    def init(self, problem: Scales, factors: Factors) -> _Walk:
        check_applies("RankPath", problem, factors)
        n = factors.shape[1]
        probes = np.random.default_rng(self.seed).standard_normal((n, min(PROBES, self.bound, n)))
        probes = _arrays.place(probes.astype(_arrays.numpy_dtype(factors.V.dtype)), factors.device)
        walk = _Walk(problem, problem.target_norm, self.level, probes)
        for _ in range(3):
            walk = replace(walk, probes=_leading(problem, factors, walk.probes)[2])
        return walk

    def __call__(self, factors: Factors, value: float, grad: Factors, state: _Walk) -> tuple[Factors, _Walk]:
        problem, level = state.problem, state.level * state.size
        P, s, Q = _leading(problem, factors, state.probes)
        state = replace(state, probes=Q, level=state.level * self.decay)
        if level == 0 or problem.curvature == 0:
            return factors, state
        new = min(int((s > JOINS * problem.curvature * level).sum()), self.bound - factors.width)
        if new > 0:
            root = math.sqrt(NEWCOMER * level)
            factors = _beside(factors, root * P[:, :new], root * Q[:, :new])
            value, grad = problem.value_and_grad(factors)
        q = 2 / (self.depth + 2)
        slope = problem.curvature * level * (level / (_squares(factors) / 2 + level)) ** (1 - q)
        penalised = replace(grad, U=grad.U + slope * factors.U, V=grad.V + slope * factors.V)
        delta = NormalEquations(problem, factors, slope).solve(penalised, TOL, MAX_PRODUCTS)
        moved = _descend(problem, factors, delta, slope, float(value))
        strong = int((moved.singular_values() > WEAK * level).sum())
        return moved.truncate(max(strong, 1)), state


@dataclass(frozen=True)
class _Walk:
    """Where the path has got to."""

    problem: Any
    size: float  # spectral norm of the matrix sought, about
    level: float  # in units of the size
    probes: Array  # (columns, probes) orthonormal after a power iteration: the residual's leading directions


def _squares(factors: Factors) -> Array:
    """(width,) the sum of squares of each column of both factors."""
    return (factors.U**2).sum(0) + (factors.V**2).sum(0)


def _leading(problem: Any, factors: Factors, probes: Array) -> tuple[Array, Array, Array]:
    """One power iteration: (P, s, Q) with P·diag(s)·Qᵀ the leading part of what the model leaves unexplained.

    The gradient by a column of U that is zero is the gradient by X̂ times its column of V.
    """
    xp, (m, n), b = array_api_compat.array_namespace(probes), factors.shape, probes.shape[1]

    def zeros(lines: int, columns: int) -> Array:
        return xp.zeros((lines, columns), dtype=probes.dtype, device=array_api_compat.device(probes))

    _, grad = problem.value_and_grad(_beside(factors, zeros(m, b), probes))
    P = xp.linalg.qr(grad.U[:, -b:])[0]
    _, grad = problem.value_and_grad(_beside(factors, P, zeros(n, P.shape[1])))
    Q, s, turn = xp.linalg.svd(-grad.V[:, -P.shape[1] :], full_matrices=False)
    return P @ turn.T, s, Q


def _beside(factors: Factors, U: Array, V: Array) -> Factors:
    """The factors, wider by some columns."""
    xp = array_api_compat.array_namespace(U)
    return replace(factors, U=xp.concat([factors.U, U], axis=1), V=xp.concat([factors.V, V], axis=1))


def _descend(problem: Any, factors: Factors, delta: Factors, slope: Any, value: float) -> Factors:
    """The longest step, halved from the whole, that does not raise the loss plus penalty; none if there is none."""

    def penalty(at: Factors) -> float:
        return 0.5 * float(slope @ _squares(at))

    before, share = value + penalty(factors), 1.0
    while share >= SHORTEST:
        moved = factors.map(lambda a, d, h=share: a + h * d, delta)
        if problem.value(moved) + penalty(moved) <= before:
            return moved
        share /= 2
    return factors
