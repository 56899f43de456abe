"""Random starts of layered networks: every factor has the spectral norm `scale`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy.linalg import eigvalsh

from dmc import _checks
from dmc.factors import Factors

Seed = int | np.random.Generator
Draw = Callable[[int, int], NDArray[Any]]  # (rows, columns) random numbers


def orthogonal(
    shape: tuple[int, int],
    layers: int = 3,
    scale: float = 1e-2,
    seed: Seed = 0,
    dtype: DTypeLike = np.float64,
    *,
    depth: int | None = None,
) -> Factors:
    """Start a full-width deep network W_N⋯W_1 from ε-orthogonal layers: U = W_N, square cores, V = W_1ᵀ.

    This is the start for which the law of parsimony is proved (Yaras et al., arXiv 2306.01154).

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the matrix. The hidden width is the larger of the two.
    layers : int
        Number of layers N, at least 2; the Factors have N − 2 cores.
    scale : float
        The ε: every layer is ε times a matrix with orthonormal rows or columns.
    seed : int or numpy.random.Generator
        The same seed gives the same start.
    dtype : dtype
        Either float32 or float64.
    depth : int, optional
        Old name of `layers`; deprecated.

    Returns
    -------
    Factors
        The layers.

    Examples
    --------
    >>> import numpy as np
    >>> import dmc
    >>> start = dmc.initial.orthogonal((30, 20), layers=4, scale=0.1)
    >>> start
    Factors(30×20, width 30, 2 cores)
    >>> bool(np.allclose(start.U.T @ start.U, 0.1**2 * np.eye(30)))
    True
    """
    layers = _checks.renamed("depth", depth, "layers", layers)
    return _layered(_semi_orthogonal, shape, None, layers, scale, seed, dtype)


def narrow(
    shape: tuple[int, int],
    width: int,
    layers: int = 3,
    scale: float = 1e-2,
    seed: Seed = 0,
    dtype: DTypeLike = np.float64,
    *,
    depth: int | None = None,
) -> Factors:
    """Start a deep network W_N⋯W_1 of a small hidden width from random ε-orthogonal layers.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the matrix.
    width : int
        Hidden width k, at most the smaller of the two.
    layers : int
        Number of layers N, at least 2; the Factors have N − 2 cores.
    scale : float
        The ε: every layer is ε times a matrix with orthonormal rows or columns.
    seed : int or numpy.random.Generator
        The same seed gives the same start.
    dtype : dtype
        Either float32 or float64.
    depth : int, optional
        Old name of `layers`; deprecated.

    Returns
    -------
    Factors
        The layers.

    Examples
    --------
    >>> import dmc
    >>> dmc.initial.narrow((30, 20), width=5, layers=3)
    Factors(30×20, width 5, 1 core)
    """
    layers = _checks.renamed("depth", depth, "layers", layers)
    width = _checks.integer(width, "width", 1, min(_checks.shape(shape)))
    return _layered(_semi_orthogonal, shape, width, layers, scale, seed, dtype)


def normal(
    shape: tuple[int, int],
    layers: int = 3,
    scale: float = 1e-2,
    seed: Seed = 0,
    dtype: DTypeLike = np.float64,
    *,
    width: int | None = None,
) -> Factors:
    """Start a deep network W_N⋯W_1 from independent normal entries: U = W_N, square cores, V = W_1ᵀ.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the matrix.
    layers : int
        Number of layers N, at least 2; the Factors have N − 2 cores.
    scale : float
        Spectral norm of every layer, as in `orthogonal`: each draw is divided by its own.
    seed : int or numpy.random.Generator
        The same seed gives the same start.
    dtype : dtype
        Either float32 or float64.
    width : int, optional
        Hidden width; by default full width, the larger of rows and columns.

    Returns
    -------
    Factors
        The layers.

    Examples
    --------
    >>> import numpy as np, dmc
    >>> start = dmc.initial.normal((30, 20), layers=4, scale=1e-2)
    >>> start
    Factors(30×20, width 30, 2 cores)
    >>> [round(float(np.linalg.norm(W, 2)), 6) for W in start.arrays]
    [0.01, 0.01, 0.01, 0.01]
    """
    return _layered(_normal, shape, width, layers, scale, seed, dtype)


def uniform(
    shape: tuple[int, int],
    layers: int = 3,
    scale: float = 1e-2,
    seed: Seed = 0,
    dtype: DTypeLike = np.float64,
    *,
    width: int | None = None,
) -> Factors:
    """Start a deep network W_N⋯W_1 from independent entries, uniform around zero.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the matrix.
    layers : int
        Number of layers N, at least 2; the Factors have N − 2 cores.
    scale : float
        Spectral norm of every layer: each draw is divided by its own.
    seed : int or numpy.random.Generator
        The same seed gives the same start.
    dtype : dtype
        Either float32 or float64.
    width : int, optional
        Hidden width; by default full width, the larger of rows and columns.

    Returns
    -------
    Factors
        The layers.

    Examples
    --------
    >>> import dmc
    >>> dmc.initial.uniform((30, 20), layers=3, width=10)
    Factors(30×20, width 10, 1 core)
    """
    return _layered(_uniform, shape, width, layers, scale, seed, dtype)


def gaussian(
    shape: tuple[int, int],
    width: int,
    depth: int = 0,
    scale: float = 1e-2,
    seed: Seed = 0,
    dtype: DTypeLike = np.float64,
) -> Factors:
    """Start from independent normal entries, by the number of cores: `normal` of a given width.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the matrix.
    width : int
        Inner dimension k.
    depth : int
        Number of cores.
    scale : float
        Spectral norm of every factor: of U, V and each core.
    seed : int or numpy.random.Generator
        The same seed gives the same start.
    dtype : dtype
        Either float32 or float64.

    Returns
    -------
    Factors
        Of this width, with `depth` cores.

    Examples
    --------
    >>> import dmc
    >>> dmc.initial.gaussian((30, 20), width=5, depth=2)
    Factors(30×20, width 5, 2 cores)
    """
    return normal(shape, _checks.integer(depth, "depth", 0) + 2, scale, seed, dtype, width=width)


def checked_dtype(dtype: DTypeLike, scale: float) -> np.dtype[Any]:
    """float32 or float64, if the scale is a normal number in it."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype is {dtype!r}; choose float32 or float64") from None
    if found not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"dtype is {found}; choose float32 or float64")
    least = float(np.finfo(found).tiny)
    if scale < least:
        raise ValueError(f"scale is {scale:g}, which {found} takes for zero; give at least {least:.1g}")
    return found


def _layered(
    kind: Callable[[np.random.Generator, int, int], NDArray[Any]],
    shape: tuple[int, int],
    width: int | None,
    layers: int,
    scale: float,
    seed: Seed,
    dtype: DTypeLike,
) -> Factors:
    """Make factors from draws of (rows, columns), each scaled from spectral norm one."""
    m, n = _checks.shape(shape)
    hidden = max(m, n) if width is None else _checks.integer(width, "width", 1)
    layers = _checks.integer(layers, "layers", 2)
    scale = _checks.real(scale, "scale", 0, open_ends=True)
    found = checked_dtype(dtype, scale)
    draw: Draw = partial(kind, _checks.generator(seed, "seed"))
    sizes = [(m, hidden), *[(hidden, hidden)] * (layers - 2), (n, hidden)]
    U, *cores, V = ((scale * draw(*size)).astype(found) for size in sizes)
    return Factors(U, cores, V)


def _semi_orthogonal(rng: np.random.Generator, rows: int, columns: int) -> NDArray[Any]:
    larger = max(rows, columns)
    Q = np.linalg.qr(rng.standard_normal((larger, min(rows, columns))))[0]
    return Q if rows >= columns else Q.T


def _normal(rng: np.random.Generator, rows: int, columns: int) -> NDArray[Any]:
    return _of_norm_one(rng.standard_normal((rows, columns)))


def _uniform(rng: np.random.Generator, rows: int, columns: int) -> NDArray[Any]:
    return _of_norm_one(rng.uniform(-1, 1, (rows, columns)))


def _of_norm_one(matrix: NDArray[Any]) -> NDArray[Any]:
    """Divide a matrix by its spectral norm, computed from the smaller of its Gram matrices."""
    gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    last = len(gram) - 1
    return matrix / float(eigvalsh(gram, subset_by_index=[last, last])[0]) ** 0.5
