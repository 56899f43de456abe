"""Where to start."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import svds

from dmc import _checks
from dmc.factors import Factors
from dmc.observations import Observations

Seed = int | np.random.Generator


def compressed(observations: Observations, rank: int, depth: int = 3, scale: float = 1e-2, seed: Seed = 0) -> Factors:
    """The compressed deep network's start: orthonormal outer factors on the subspace that training moves in.

    In closed form, for any shape: with Ω⊙X ≈ Σ σ_i p_i q_iᵀ (`rank` terms), V = [q z] and U = [w p], where w and z are
    random orthonormal complements, and every core is `scale` times the identity. This is the subspace that the
    published construction finds from the full-width network's first gradient (Yaras et al., arXiv 2406.04112,
    section 3), by one truncated SVD of the sparse matrix in place of O(d³).

    Parameters
    ----------
    observations : Observations
    rank : int
        Upper bound r̂ of the rank; the width is 2r̂, or the smaller side of the matrix if that is less.
    depth : int
        Number of cores L. With 0 the two outer factors alone, each times the square root of `scale`.
    scale : float
        ε, in the data's units to the power 1/L.
    seed : int or numpy.random.Generator

    Returns
    -------
    Factors
        In the observations' dtype.
    """
    rng = np.random.default_rng(seed)
    rank = _checks.rank(rank, observations.shape)
    depth = _checks.integer(depth, "depth", 0)
    scale = _checks.real(scale, "scale", 0, open_ends=True)
    P, _, Q = _truncated_svd(observations, rank, rng)
    more = min(2 * rank, *observations.shape) - rank
    U = np.hstack([_complement(P, more, rng), P])
    V = np.hstack([Q, _complement(Q, more, rng)])
    if depth == 0:
        return Factors(U * U.dtype.type(scale**0.5), (), V * V.dtype.type(scale**0.5))
    return Factors(U, (U.dtype.type(scale) * np.eye(U.shape[1], dtype=U.dtype),) * depth, V)


def spectral(observations: Observations, rank: int, seed: Seed = 0) -> Factors:
    """The two-factor start: the truncated SVD of Ω⊙X over the observed share, split evenly.

    Parameters
    ----------
    observations : Observations
    rank : int
        Rank r of the model, which this start needs to know.
    seed : int or numpy.random.Generator

    Returns
    -------
    Factors
        Without cores, in the observations' dtype.
    """
    rank = _checks.rank(rank, observations.shape)
    P, s, Q = _truncated_svd(observations, rank, np.random.default_rng(seed))
    root = np.sqrt(s / s.dtype.type(observations.density))
    return Factors(P * root, (), Q * root)


def gaussian(
    shape: tuple[int, int],
    width: int,
    depth: int = 0,
    scale: float = 1e-2,
    seed: Seed = 0,
    dtype: Any = np.float64,
) -> Factors:
    """Random factors: independent Gaussian entries of standard deviation scale/√width (the outer ones: scale).

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the matrix.
    width : int
        Inner dimension k.
    depth : int
        Number of cores.
    scale : float
        Standard deviation of the outer factors' entries; the cores have about this spectral norm.
    seed : int or numpy.random.Generator
    dtype : dtype
        float32 or float64.
    """
    m, n = _checks.shape(shape)
    width = _checks.integer(width, "width", 1)
    depth = _checks.integer(depth, "depth", 0)
    scale = _checks.real(scale, "scale", 0, open_ends=True)
    if np.dtype(dtype) not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"dtype is {np.dtype(dtype)}; choose float32 or float64")
    rng = np.random.default_rng(seed)

    def draw(rows: int, deviation: float) -> NDArray[Any]:
        return (deviation * rng.standard_normal((rows, width))).astype(dtype)

    return Factors(draw(m, scale), [draw(width, scale / width**0.5) for _ in range(depth)], draw(n, scale))


def _truncated_svd(
    observations: Observations, rank: int, rng: np.random.Generator
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Leading singular vectors (columns) and values, descending, of the matrix, zero where not observed."""
    largest = np.abs(observations.values).max()
    # Divided by the largest, squares stay inside the range of the dtype.
    matrix = observations.with_values(observations.values / (largest or largest.dtype.type(1))).to_scipy()
    smaller = min(matrix.shape)
    if largest == 0:  # nothing to decompose, and nothing for ARPACK to start from
        m, n = matrix.shape
        P, Q = (rng.standard_normal((lines, rank)).astype(matrix.dtype) for lines in (m, n))
        s = np.zeros(rank, matrix.dtype)
    elif 2 * rank >= smaller:  # ARPACK wants fewer; one side is then as narrow as the result itself
        P, s, Qt = np.linalg.svd(matrix.toarray(), full_matrices=False)
        P, s, Q = P[:, :rank], s[:rank], Qt[:rank].T
    else:
        P, s, Qt = svds(matrix, rank, v0=rng.standard_normal(smaller).astype(matrix.dtype), rng=rng)
        P, s, Q = P[:, ::-1], s[::-1], Qt[::-1].T
    # A matrix of lower rank leaves arbitrary vectors behind, not always orthonormal ones.
    return _orthonormal(P), s * largest, _orthonormal(Q)


def _orthonormal(columns: NDArray[Any]) -> NDArray[Any]:
    """Orthonormal columns with the span and, where they were orthonormal already, the signs of the given ones."""
    Q, R = np.linalg.qr(columns)
    return Q * np.where(np.diag(R) < 0, -1, 1).astype(Q.dtype)


def _complement(basis: NDArray[Any], columns: int, rng: np.random.Generator) -> NDArray[Any]:
    """(lines, columns) random orthonormal columns, orthogonal to an orthonormal basis."""
    draw = rng.standard_normal((basis.shape[0], columns)).astype(basis.dtype)
    for _ in range(2):  # twice is enough (Kahan): the second pass removes what rounding left
        draw = np.linalg.qr(draw - basis @ (basis.T @ draw))[0]
    return draw
