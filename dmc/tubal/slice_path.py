"""Finding the multi-rank: as one penalty on all slices falls, directions join their models and leave them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmc.tubal.slices import SliceEquations, SliceFactors, SliceLeastSquares, Slices, adjoint, gradient

FIRST_LEVEL = 0.7  # of the largest singular value of all slices: just below where the first direction joins
JOINS = 1.02  # of the level, as in dmc.rank_path
WEAK = 1e-3  # of the level: a direction that has shrunk below it leaves
NEWCOMER = 0.1  # of the level: the size with which a direction joins
PROBES = 4  # directions of each slice's residual that are followed
LONGEST = 0.5  # of the level: where nothing is near to joining it falls by so much in one step
TOL, MAX_PRODUCTS = 0.1, 30  # of the linear solves: the next level moves the solution further than that
SHORTEST = 1e-4  # share of a step below which it is not taken


@dataclass(frozen=True)
class PathPoint:
    """The state of a path.

    Attributes
    ----------
    model : SliceFactors
    level : float
        Of the next step, in units of the problem's size.
    probes : (slices, columns, probes) array
        About the leading directions of each slice's residual.
    value : float
        The loss at the model before the last step; NaN before the first.
    """

    model: SliceFactors
    level: float
    probes: Slices
    value: float = math.nan


class SlicePath:
    """Gauss–Newton steps on the loss plus the penalty of a deep network's weight decay on every slice.

    What `dmc.rank_path.RankPath` does for a matrix, with one level t for all slices: with p the share observed and σ
    the largest singular value of all slices of the tensor sought, a direction of size s pays the slope
    p·t·σ·(tσ/(s + tσ))^(1−q), q = 2/(depth + 2), and a direction joins a slice when the singular value of what is
    unexplained there exceeds p·t·σ.

    Parameters
    ----------
    problem : SliceLeastSquares
    bound : int
        Width of a slice at most.
    depth : int
        Cores of the network whose penalty is paid.
    rng : numpy.random.Generator
        Of the probes.
    """

    def __init__(self, problem: SliceLeastSquares, bound: int, depth: int, rng: np.random.Generator) -> None:
        self.problem: SliceLeastSquares = problem
        self.bound: int = bound
        self.depth: int = depth
        self._rng = rng

    def start(self, level: float = FIRST_LEVEL, model: SliceFactors | None = None) -> PathPoint:
        """Make the first point: from zero, or from a model."""
        transform, (_, m, n) = self.problem.transform, self.problem.values.shape
        dtype = transform.dtype(self.problem.values.dtype)
        slices, count = len(transform.weights), min(PROBES, self.bound, m, n)
        draw = self._rng.standard_normal((slices, n, count)).astype(dtype)
        if dtype.kind == "c":
            draw[~transform.real] += 1j * self._rng.standard_normal((int((~transform.real).sum()), n, count))
        if model is None:
            model = SliceFactors(np.zeros((slices, m, 1), dtype), np.zeros((slices, n, 1), dtype))
        by_slices, probes = self.problem.gradient_by_slices(model)[1], np.linalg.qr(draw)[0]
        for _ in range(3):
            probes = leading(by_slices, probes)[2]
        return PathPoint(model, level, probes)

    def step(self, at: PathPoint, decay: float) -> PathPoint:
        """Take one step at the point's level; that of the next point is lower by the decay."""
        problem, model, level = self.problem, at.model, at.level * self.problem.size
        if level == 0 or problem.share == 0:
            return at
        value, by_slices = problem.gradient_by_slices(model)
        P, s, Q = leading(by_slices, at.probes)
        joining = np.minimum((s > JOINS * problem.share * level).sum(1), self.bound - model.widths)
        if joining.max() > 0:
            model = _beside(model, P, Q, joining, NEWCOMER * level)
            value, by_slices = problem.gradient_by_slices(model)
        squares = model.squares()
        q = 2 / (self.depth + 2)
        slope = problem.share * level * (level / (squares / 2 + level)) ** (1 - q)
        slopes = gradient(model, by_slices)
        penalised = SliceFactors(slopes.U + slope[:, None] * model.U, slopes.V + slope[:, None] * model.V)
        delta = SliceEquations(problem, model, slope).solve(penalised, TOL, MAX_PRODUCTS)

        def penalised_value(loss: float, of: SliceFactors) -> float:
            return loss + 0.5 * float(problem.transform.weights @ (slope * of.squares()).sum(1))

        before, share, moved = penalised_value(value, model), 1.0, model
        while share >= SHORTEST:
            proposed = model.moved(delta, share)
            if penalised_value(problem.value(proposed), proposed) <= before:
                moved = proposed
                break
            share /= 2
        left = float(s.max()) / (problem.share * problem.size)
        following = at.level * decay
        # Between a few large directions and many small ones lies a gap in which nothing happens.
        if joining.max() <= 0 and left < following:
            following = max(left, at.level * LONGEST)
        return PathPoint(moved.above(WEAK * level), following, Q, value)


def leading(by_slices: Slices, probes: Slices) -> tuple[Slices, NDArray[np.float64], Slices]:
    """One power iteration: (P, s, Q) of each slice with P·diag(s)·Qᴴ the leading part of minus the gradient."""
    P = np.linalg.qr(np.matmul(by_slices, probes))[0]
    Q, s, turn = np.linalg.svd(-adjoint(np.matmul(adjoint(P), by_slices)), full_matrices=False)
    return np.matmul(P, adjoint(turn)), s, Q


def _beside(model: SliceFactors, P: Slices, Q: Slices, joining: NDArray[np.int64], size: float) -> SliceFactors:
    """Widen the model, in each slice, by directions of a given size."""
    width = int(joining.max())
    root = np.where(np.arange(width) < joining[:, None], math.sqrt(size), 0)[:, None, :]
    return SliceFactors(
        np.concatenate([model.U, (P[:, :, :width] * root).astype(P.dtype)], axis=2),
        np.concatenate([model.V, (Q[:, :, :width] * root).astype(Q.dtype)], axis=2),
    )
