"""A line, given the other side: the Gaussian posteriors of many at once, each from its own entries."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _extensions
from dmc.pattern import Pattern

Float = NDArray[np.float64]

DENSE = 0.05  # share observed from which products with zeros for gaps are quicker than sparse ones
CHUNK = 1 << 19  # numbers in the matrices that are held at a time: they stay in the cache


def matrix(pattern: Pattern, values: Float) -> Any:
    """(rows, columns) for products, zero where nothing was observed: dense, unless it is sparse enough."""
    m, n = pattern.shape
    found = pattern.csr(values)
    return found.toarray() if pattern.n_observed > DENSE * m * n else found


def packed(matrices: Float) -> Float:
    """(…, k(k+1)/2) the upper triangles of symmetric matrices (…, k, k), row by row."""
    first, second = np.triu_indices(matrices.shape[-1])
    return np.ascontiguousarray(matrices[..., first, second])


def unpacked(triangles: Float, k: int) -> Float:
    """(…, k, k) what `packed` took."""
    first, second = np.triu_indices(k)
    full = np.empty((*triangles.shape[:-1], k, k))
    full[..., first, second] = full[..., second, first] = triangles
    return full


def seconds(vectors: Float) -> Float:
    """(lines, k(k+1)/2) x·xᵀ of each line x of (lines, k), packed."""
    k = vectors.shape[1]
    products = np.empty((len(vectors), k * (k + 1) // 2))
    at = 0
    for i in range(k):
        np.multiply(vectors[:, i : i + 1], vectors[:, i:], out=products[:, at : at + k - i])
        at += k - i
    return products


def solve(grams: Float, sides: Float, *, inverses: bool) -> None:
    """Solve many positive definite systems, in place.

    Parameters
    ----------
    grams : (lines, k(k+1)/2) array
        Packed matrices; they become their inverses, if these are asked for, and else nothing of use.
    sides : (lines, k) array
        Right-hand sides, which become the solutions.
    """
    if _extensions.core is not None:
        _extensions.core.solve_gaussians(grams, sides, inverses)
        return
    full = unpacked(grams, sides.shape[1])
    if inverses:
        inverse = np.linalg.inv(full)
        sides[:] = (inverse @ sides[:, :, None])[:, :, 0]
        grams[:] = packed(np.asarray(inverse, dtype=np.float64))
    else:
        sides[:] = np.linalg.solve(full, sides[:, :, None])[:, :, 0]


def posteriors(
    weights: Any, targets: Any, features: Float, moments: Float | None = None, *, covariances: bool = False
) -> tuple[Float, Float | None]:
    """The posteriors of lines b under y_j = ⟨b, x_j⟩ + noise and the prior b ~ N(0, I).

    Parameters
    ----------
    weights : (lines, others) array or sparse matrix
        The precision of each entry; zero where nothing was observed.
    targets : (lines, k) array
        Σ_j w_j y_j x_j of each line, less what is known of the covariance of x and y.
    features : (others, k) array
        x.
    moments : (others, k(k+1)/2) array, optional
        Packed E x·xᵀ, where x is uncertain itself; left out: x·xᵀ.
    covariances : bool
        Whether they are asked for: they take three times as long.

    Returns
    -------
    means : (lines, k) array
    covariances : (lines, k(k+1)/2) array, packed, or None
    """
    k = features.shape[1]
    means = np.array(targets, dtype=np.float64, order="C")
    if k == 0:
        return means, np.zeros((len(means), 0)) if covariances else None
    moments = seconds(features) if moments is None else moments
    diagonal = np.cumsum([0, *range(k, 1, -1)])
    found = np.empty((len(means), moments.shape[1])) if covariances else None
    lines = max(1, CHUNK // moments.shape[1])
    for i in range(0, len(means), lines):
        grams = np.ascontiguousarray(weights[i : i + lines] @ moments)
        grams[:, diagonal] += 1
        solve(grams, means[i : i + lines], inverses=covariances)
        if found is not None:
            found[i : i + lines] = grams
    return means, found
