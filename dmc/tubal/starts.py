"""Where a descent over factor tensors begins."""

from __future__ import annotations

import numpy as np

from dmc import _checks
from dmc.factors import Factors
from dmc.tubal.containers import from_slices
from dmc.tubal.problem import TubalLeastSquares
from dmc.tubal.slices import balanced


def small_random(
    problem: TubalLeastSquares, width: int, scale: float = 1e-3, seed: int | np.random.Generator = 0
) -> Factors:
    """Flat factor tensors of small normal entries: from them descent finds low tubal rank, however wide they are.

    Parameters
    ----------
    problem : TubalLeastSquares
    width : int
        Lateral slices of each factor: no tubal rank above it can be represented.
    scale : float
        The factors' size, about, in units of those sought: published are 1e-6 to .1.
    seed : int or numpy.random.Generator

    References
    ----------
    S. Karnik et al., "Implicit regularization for tubal tensor factorizations via gradient descent", 2024 (arXiv
    2410.16247).
    """
    width = _width(problem, width)
    scale, rng = _checks.real(scale, "scale", 0), _checks.generator(seed, "seed")
    size, (m, n), columns = (problem.target_norm or 1.0) ** 0.5, problem.shape, width * problem.length
    # Of normal entries the largest singular value of a slice is about √(rows) + √(width).
    spread = scale * size / (max(m, n) ** 0.5 + width**0.5)
    dtype = problem.slices.values.dtype
    U, V = (spread * rng.standard_normal((rows, columns)) for rows in (m, n))
    return Factors(U.astype(dtype), (), V.astype(dtype))


def spectral(problem: TubalLeastSquares, width: int) -> Factors:
    """Flat factor tensors of the leading directions of each slice of the observed tensor, missing entries taken for
    zeros, over the share observed."""
    width = _width(problem, width)
    slices = problem.slices
    P, s, Qh = np.linalg.svd(slices.transform.forward(slices.values) / slices.share, full_matrices=False)
    s, Q = np.where(np.arange(s.shape[1]) < width, s, 0), Qh.conj().transpose(0, 2, 1)
    return from_slices(slices.transform, balanced(P, s.astype(slices.values.dtype), Q))


def _width(problem: TubalLeastSquares, width: int) -> int:
    m, n = problem.shape
    return _checks.integer(width, "width", 1, min(m, n), f"a slice has {m}×{n} entries")
