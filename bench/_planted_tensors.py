"""Tensors of low tubal rank with a planted answer, and the fit that is told the multi-rank."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmc import tubal
from dmc.solver import steps
from dmc.solver.loop import solve


@dataclass(frozen=True)
class Case:
    """Rows, columns and tube; tubal rank; entries over degrees of freedom; condition of every slice; noise over the
    entries' spread."""

    shape: tuple[int, int, int]
    rank: int
    rho: float
    condition: float = 1.0
    noise: float = 0.0

    def __str__(self) -> str:
        more = f" κ={self.condition:g}" * (self.condition > 1) + f" noise {self.noise:g}" * (self.noise > 0)
        return f"{'×'.join(map(str, self.shape))} r={self.rank} ρ={self.rho:g}{more}"


@dataclass(frozen=True)
class Planted:
    """The tensor sought, what is seen of it, and where."""

    tensor: np.ndarray
    seen: np.ndarray
    mask: np.ndarray

    def error(self, found: np.ndarray) -> float:
        return float(np.linalg.norm(found - self.tensor) / np.linalg.norm(self.tensor))


def make(case: Case, seed: int) -> Planted:
    """Slices of that rank with singular values from 1 to 1/condition; entries at random."""
    rng = np.random.default_rng(seed)
    m, n, length = case.shape
    sides = (tubal.svd(rng.standard_normal((rows, case.rank, length)))[0] for rows in (m, n))
    sizes = np.geomspace(1, 1 / case.condition, case.rank)
    U, V = sides
    tensor = tubal.product(U * sizes[:, None], tubal.transpose(V))
    tensor /= tensor.std()
    count = round(case.rho * length * case.rank * (m + n - case.rank))
    mask = np.zeros(tensor.size, bool)
    mask[rng.permutation(tensor.size)[:count]] = True
    noisy = tensor + case.noise * rng.standard_normal(tensor.shape)
    return Planted(tensor, noisy, mask.reshape(tensor.shape))


def oracle(planted: Planted, rank: int) -> np.ndarray:
    """Gauss–Newton at the true tubal rank, from the true tensor."""
    problem = tubal.TubalLeastSquares(planted.seen, mask=planted.mask)
    whole = tubal.TubalLeastSquares(planted.tensor)
    found = solve(
        problem, tubal.spectral(whole, rank), steps.Backtracking(steps.GaussNewton()), max_steps=50, check_every=1
    )
    return problem.tensor(found.factors)
