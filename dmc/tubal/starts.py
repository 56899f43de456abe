"""Starts for descent over factor tensors."""

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
    """Start from flat factor tensors of small normal entries, from which descent finds a low tubal rank.

    It does so however wide the factors are.

    Parameters
    ----------
    problem : TubalLeastSquares
        What is minimised.
    width : int
        Lateral slices of each factor, an upper bound of the tubal rank.
    scale : float
        Approximate size of the factors, relative to those sought; published values are from 1e-6 to .1.
    seed : int or numpy.random.Generator
        The same seed gives the same start.

    Returns
    -------
    Factors
        Flat, as `dmc.TubalLeastSquares` takes them.

    References
    ----------
    S. Karnik et al., "Implicit regularization for tubal tensor factorizations via gradient descent", 2024 (arXiv
    2410.16247).

    Examples
    --------
    >>> import numpy as np
    >>> import dmc
    >>> problem = dmc.TubalLeastSquares(np.ones((5, 4, 3)))
    >>> dmc.tubal.small_random(problem, width=2)
    Factors(5×4, width 6, 0 cores)
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
    """Start from flat factor tensors of the leading directions of each slice of the observed tensor.

    Missing entries count as zeros, and the tensor is divided by the observed share.

    Parameters
    ----------
    problem : TubalLeastSquares
        What is minimised.
    width : int
        Lateral slices of each factor, an upper bound of the tubal rank.

    Returns
    -------
    Factors
        Flat, as `dmc.TubalLeastSquares` takes them.

    Examples
    --------
    >>> import numpy as np
    >>> import dmc
    >>> problem = dmc.TubalLeastSquares(np.ones((5, 4, 3)))
    >>> start = dmc.tubal.spectral(problem, width=1)
    >>> bool(np.allclose(problem.tensor(start), 1))
    True
    """
    width = _width(problem, width)
    slices = problem.slices
    P, s, Qh = np.linalg.svd(slices.transform.forward(slices.values) / slices.share, full_matrices=False)
    s, Q = np.where(np.arange(s.shape[1]) < width, s, 0), Qh.conj().transpose(0, 2, 1)
    return from_slices(slices.transform, balanced(P, s.astype(slices.values.dtype), Q))


def _width(problem: TubalLeastSquares, width: int) -> int:
    m, n = problem.shape
    return _checks.integer(width, "width", 1, min(m, n), f"a slice has {m}×{n} entries")
