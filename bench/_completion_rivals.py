"""Rivals of MatrixCompletion: this library's rooms, and plain NumPy and SciPy after their papers; each gives X̂."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import lsqr

import dmc
from _planted import Problem
from dmc.solver import initial, steps

Matrix = NDArray[np.float64]


def descent(t: Problem, rank: int, step: steps.Step, max_steps: int = 3000) -> Matrix:
    """Two factors from the spectral start."""
    problem = dmc.MaskedLeastSquares(t.observations)
    step = steps.Backtracking(step)
    start = initial.spectral(t.observations, rank)
    return dmc.solve(problem, start, step, max_steps=max_steps, tol=1e-11).factors.dense()


class Linearised:
    """U·Bᵀ + A·Vᵀ at the observed positions, as a sparse matrix of A and B; least squares of it by LSQR, from 0."""

    def __init__(self, t: Problem, rank: int) -> None:
        self.rows, self.cols, self.shape, self.rank = t.observations.rows, t.observations.cols, t.X.shape, rank
        places = np.arange(rank)
        of_A = self.rows[:, None].astype(np.int32) * rank + places
        of_B = (self.shape[0] + self.cols[:, None].astype(np.int32)) * rank + places
        self.indices = np.hstack([of_A, of_B]).astype(np.int32).ravel()
        self.indptr = np.arange(0, len(self.indices) + 1, 2 * rank, dtype=np.int32)

    def solve(self, U: Matrix, V: Matrix, values: Matrix, tol: float, products: int) -> tuple[Matrix, Matrix]:
        """A and B of least norm."""
        data = np.hstack([V[self.cols], U[self.rows]]).ravel()
        size = len(values), sum(self.shape) * self.rank
        matrix = sparse.csr_matrix((data, self.indices, self.indptr), size)
        moved = lsqr(matrix, values, atol=tol, btol=tol, iter_lim=products)[0].reshape(-1, self.rank)
        return moved[: self.shape[0]], moved[self.shape[0] :]

    def of(self, U: Matrix, V: Matrix) -> Matrix:
        return np.einsum("ij,ij->i", U[self.rows], V[self.cols])


def best_iterate(t: Problem, rank: int, move: Callable[[Linearised, Matrix, Matrix, float], tuple]) -> Matrix:
    """From the spectral start 100 moves, which also give A and B; of all U·Bᵀ + A·Vᵀ, cut to the rank, the one that
    misses the observed entries least."""
    values, size = t.observations.values, np.linalg.norm(t.observations.values)
    start = initial.spectral(t.observations, rank)
    U, V, linearised = start.U, start.V, Linearised(t, rank)
    best, least = (U, V), np.inf
    for _ in range(100):
        *moved, left, right = move(linearised, U, V, least)
        estimate = cut(left, right, rank)
        U, V = moved
        missed = np.linalg.norm(linearised.of(*estimate) - values) / size
        if missed < least:
            best, least = estimate, missed
        if missed < 1e-14 or not np.isfinite(missed):
            break
    return best[0] @ best[1].T


def cut(left: Matrix, right: Matrix, rank: int) -> tuple[Matrix, Matrix]:
    """The factors of the nearest matrix of that rank."""
    (Q, R), (S, T) = np.linalg.qr(left), np.linalg.qr(right)
    P, s, Kt = np.linalg.svd(R @ T.T)
    return Q @ (P[:, :rank] * s[:rank]), S @ Kt[:rank].T


def gauss_newton(t: Problem, rank: int) -> Matrix:
    """GNMR (P. Zilber, B. Nadler, arXiv 2106.12933), its setting variant: the least A, B with U·Bᵀ + A·Vᵀ − U·Vᵀ
    nearest to the entries are the next factors."""
    values = t.observations.values

    def move(linearised: Linearised, U: Matrix, V: Matrix, least: float) -> tuple:
        A, B = linearised.solve(U, V, values + linearised.of(U, V), min(1e-15, least**2), 2000)
        return A, B, np.hstack([U, A]), np.hstack([B - V, V])

    return best_iterate(t, rank, move)


def r2rils(t: Problem, rank: int) -> Matrix:
    """R2RILS (J. Bauch, B. Nadler, P. Zilber, arXiv 2002.01849): the least A, B with U·Bᵀ + A·Vᵀ, of rank 2r, nearest
    to the entries are averaged with U and V, all with columns of norm 1."""

    def unit(factor: Matrix) -> Matrix:
        return factor / np.maximum(np.linalg.norm(factor, axis=0), np.finfo(float).tiny)

    def move(linearised: Linearised, U: Matrix, V: Matrix, least: float) -> tuple:
        U, V = unit(U), unit(V)
        A, B = linearised.solve(U, V, t.observations.values, min(1e-5, least**2), 1000)
        return U + unit(A), V + unit(B), np.hstack([U, A]), np.hstack([B, V])

    return best_iterate(t, rank, move)


def iterative_svd(t: Problem, rank: int, max_steps: int = 2000) -> Matrix:
    """Fill in, cut to the rank, again (Troyanskaya et al., 2001)."""
    filled = np.where(t.mask, t.X, 0.0)
    for _ in range(max_steps):
        P, s, Qt = np.linalg.svd(filled, full_matrices=False)
        cut = (P[:, :rank] * s[:rank]) @ Qt[:rank]
        change = np.linalg.norm((cut - filled)[~t.mask])
        filled = np.where(t.mask, filled, cut)
        if change <= 1e-9 * np.linalg.norm(filled):
            break
    return filled


def soft_impute(t: Problem, shares: Sequence[float], max_steps: int = 30) -> Iterator[Matrix]:
    """Fill in, shrink the singular values, again (Mazumder, Hastie, Tibshirani, 2010), from larger shrinkages down."""
    seen = np.zeros(t.mask.shape)
    seen[t.observations.rows, t.observations.cols] = t.observations.values
    largest = np.linalg.norm(seen, 2)
    completed = np.zeros_like(seen)
    for share in shares:
        for _ in range(max_steps):
            P, s, Qt = np.linalg.svd(np.where(t.mask, seen, completed), full_matrices=False)
            previous, completed = completed, (P * np.maximum(s - share * largest, 0)) @ Qt
            if np.linalg.norm(completed - previous) <= 1e-4 * np.linalg.norm(completed):
                break
        yield completed


def singular_value_thresholding(t: Problem, max_steps: int = 1000) -> Matrix:
    """Cai, Candès & Shen, 2010, with their settings τ = 5√(mn), δ = 1.2/p."""
    m, n = t.mask.shape
    seen = np.where(t.mask, t.X, 0.0)
    tau, delta = 5 * np.sqrt(m * n), 1.2 / t.mask.mean()
    Y = np.ceil(tau / (delta * np.linalg.norm(seen, 2))) * delta * seen
    for _ in range(max_steps):
        P, s, Qt = np.linalg.svd(Y, full_matrices=False)
        completed = (P * np.maximum(s - tau, 0)) @ Qt
        residual = np.where(t.mask, seen - completed, 0.0)
        if np.linalg.norm(residual) <= 1e-7 * np.linalg.norm(seen):
            break
        Y += delta * residual
    return completed


def published(t: Problem, goal: float) -> Matrix:
    """Compressed training as published: ε = 1e-3, γ = .01, dense residuals; told the rank; until that error."""
    problem = dmc.MaskedLeastSquares(t.observations, kernel="dense")
    start = initial.compressed(t.observations, t.rank, 3, 1e-3)
    rate = 5e-3 * 34 / np.linalg.norm(t.X, 2)  # theirs is for singular values of about 34 at this size
    done = [lambda info: t.errors(info.factors.dense())[1] <= goal]
    step = steps.DiscrepantDescent(rate, 0.01)
    return dmc.solve(problem, start, step, max_steps=200_000, tol=0, callbacks=done, check_every=250).factors.dense()


# Those that can reach 1e-6: soft-impute is biased, and iterative SVD takes thousands of dense SVDs.
TOLD_THE_RANK: dict[str, Callable[[Problem, int], Matrix]] = {
    "Gauss–Newton as in GNMR": gauss_newton,
    "R2RILS": r2rils,
    "ScaledGD": lambda t, rank: descent(t, rank, steps.ScaledDescent()),
    "gradient descent": lambda t, rank: descent(t, rank, steps.DiscrepantDescent()),
}
