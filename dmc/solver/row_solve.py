"""Rows given the columns, or columns given the rows: the Gaussian posteriors of many at once.

Used wherever this is needed: fold-in, imputation and its score, the uncertainty of a fitted model, the half-sweeps of
factor analysis and the last steps of a completion. Whatever is said of rows holds for columns, with rows as the other
side.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from dmc import _arrays, _extensions
from dmc._locks import cached_property
from dmc.factors import Array
from dmc.pattern import Pattern

Float = NDArray[np.float64]
Matrix: TypeAlias = NDArray[np.float64] | sparse.csr_array

DENSE = 0.05  # share observed from which products with zeros for gaps are quicker than sparse ones
CHUNK = 1 << 19  # numbers in the matrices that are held at a time: they stay in the cache
ALONE = 2e6  # operations in the solution of systems up to which one thread has them before others have begun
LEAST_NOISE = 1e-7  # of what is predicted of an entry: below it only rounding is left, and matrices would be singular
REFINED = 1e-3  # of the same: noise from which on solutions are refined, as squares have lost half of the digits


def matrix(pattern: Pattern, values: Float) -> Matrix:
    """(rows, columns) matrix for products, zero where nothing was observed: dense, unless it is sparse enough."""
    m, n = pattern.shape
    found = pattern.csr(values)
    return found.toarray() if pattern.n_observed > DENSE * m * n else found


def packed(matrices: Float) -> Float:
    """(…, k(k+1)/2) the upper triangles of symmetric matrices (…, k, k), row by row."""
    first, second = np.triu_indices(matrices.shape[-1])
    return np.ascontiguousarray(matrices[..., first, second])


def unpacked(triangles: Any, k: int) -> Any:
    """(…, k, k) matrices that `packed` took; or tensors of that form."""
    xp, where = array_namespace(triangles), device(triangles)
    first, second = (_arrays.place(places, _arrays.of(triangles)) for places in np.triu_indices(k))
    full = xp.empty((*triangles.shape[:-1], k, k), dtype=triangles.dtype, device=where)
    full[..., first, second] = full[..., second, first] = triangles
    return full


def seconds(vectors: Float) -> Float:
    """(vectors, k(k+1)/2) x·xᵀ of each row x of (vectors, k), packed."""
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
    grams : (systems, k(k+1)/2) array
        Packed matrices; they become their inverses, if these are asked for, and else nothing of use.
    sides : (systems, k) array
        Right-hand sides, which become the solutions.
    """
    if _extensions.core is not None:
        count, k = sides.shape
        _extensions.core.solve_gaussians(grams, sides, inverses, 1 if count * k**3 < ALONE else 0)
        return
    full = unpacked(grams, sides.shape[1])
    if inverses:
        inverse = np.linalg.inv(full)
        sides[:] = (inverse @ sides[:, :, None])[:, :, 0]
        grams[:] = packed(np.asarray(inverse, dtype=np.float64))
    else:
        sides[:] = np.linalg.solve(full, sides[:, :, None])[:, :, 0]


def posteriors(
    weights: Matrix,
    targets: ArrayLike,
    features: Float,
    moments: Float | None = None,
    *,
    covariances: bool = False,
    room: Float | None = None,
) -> tuple[Float, Float | None]:
    """Compute the posteriors of rows b under y_j = ⟨b, x_j⟩ + noise and the prior b ~ N(0, I).

    Parameters
    ----------
    weights : (rows, columns) array or sparse matrix
        The precision of each entry; zero where nothing was observed.
    targets : (rows, k) array
        Σ_j w_j y_j x_j of each row, less what is known of the covariance of x and y.
    features : (columns, k) array
        x.
    moments : (columns, k(k+1)/2) array, optional
        Packed E x·xᵀ, where x is uncertain itself; left out: x·xᵀ.
    covariances : bool
        Whether they are asked for: they take three times as long.
    room : (at least rows, k(k+1)/2) array, optional
        Memory to work in, for a caller who comes back with a few rows at a time; `weights` is an array then.

    Returns
    -------
    means : (rows, k) array
    covariances : (rows, k(k+1)/2) array, packed, or None
    """
    k = features.shape[1]
    means = np.array(targets, dtype=np.float64, order="C")
    if k == 0:
        return means, np.zeros((len(means), 0)) if covariances else None
    moments = seconds(features) if moments is None else moments
    found = np.empty((len(means), moments.shape[1])) if covariances else None
    for part in chunks(len(means), moments.shape[1]):
        if room is None:
            grams = np.ascontiguousarray(weights[part] @ moments)
        else:
            grams = np.matmul(weights[part], moments, out=room[: len(means[part])])
        grams[:, diagonal(k)] += 1
        solve(grams, means[part], inverses=covariances)
        if found is not None:
            found[part] = grams
    return means, found


def diagonal(k: int) -> NDArray[np.int64]:
    """(k,) positions of the diagonal in a packed (k, k) matrix."""
    return np.cumsum([0, *range(k, 1, -1)])[:k]


def chunks(rows: int, numbers: int, most: int | None = None) -> Iterator[slice]:
    """Ranges of rows to process together, so that at most CHUNK numbers, or those given, are held at a time."""
    size = max(1, (most or CHUNK) // max(numbers, 1))
    return (slice(i, i + size) for i in range(0, rows, size))


@dataclass(frozen=True, eq=False)
class RowEntries:
    """The observed entries of rows in the form that products need: arrays, or sparse matrices if most are missing.

    Attributes
    ----------
    weights : (rows, columns) array or CSR matrix
        Of each entry; zero where nothing was observed.
    weighted : (rows, columns) array or CSR matrix
        Weight times value.
    """

    weights: Matrix
    weighted: Matrix

    @classmethod
    def of(cls, pattern: Pattern, weights: Float | None, values: Float) -> RowEntries:
        """Make them from (observed,) values at positions, and their (observed,) weights, by default one."""
        weights = np.ones(len(values)) if weights is None else weights
        return cls(matrix(pattern, weights), matrix(pattern, weights * values))

    def residual(self, rows: Float, features: Float) -> Matrix:
        """Weight times the residual of each entry, for rows (rows, k) and features (columns, k)."""
        if isinstance(self.weights, np.ndarray):
            return self.weighted - self.weights * (rows @ features.T)
        left: sparse.csr_array = self.weighted.copy()
        at = np.repeat(np.arange(len(rows)), np.diff(self.weights.indptr))
        left.data -= self.weights.data * np.einsum("ij,ij->i", rows[at], features[self.weights.indices])
        return left


@dataclass(frozen=True, eq=False)
class RowModel:
    """Rows a ~ N(mean, root·rootᵀ) whose entries are y_j = base_j + ⟨a − mean, x_j⟩ + noise.

    Solved in the coordinates b with a = mean + root·b, b ~ N(0, I), and entries over their noise ("whitened"): of a
    population that varies in few directions, or by very different amounts, no inverse is formed.

    Attributes
    ----------
    mean : (k,) float64
    root : (k, k) float64
    base, noise : (columns,) float64
        Mean and standard deviation of a column's entries, given the row.
    features : (columns, k) float64
        rootᵀ·x over the noise.
    refined : bool
        Whether there is so little noise that solutions need a second look.
    """

    mean: Float
    root: Float
    base: Float
    noise: Float
    features: Float
    refined: bool

    @classmethod
    def of(cls, features: Float, offset: Float, noise: Float, mean: Float, covariance: Float) -> RowModel:
        """Make the model of entries y_j = offset_j + ⟨a, x_j⟩ + noise, a ~ N(mean, covariance).

        Parameters
        ----------
        features : (columns, k) float64
            x.
        offset, noise : (columns,) float64
            Noise below 1e-7 of what is predicted of an entry is taken for that.
        mean, covariance : (k,) and (k, k) float64
        """
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.maximum(values, 0))
        turned = features @ root
        size = np.sqrt((turned * turned).sum(axis=1)) if turned.size else np.zeros(len(turned))
        size = np.where(size > 0, size, size.max(initial=0) or 1.0)
        noise = np.maximum(noise, LEAST_NOISE * size)
        refined = bool((noise < REFINED * size).any())
        return cls(mean, root, offset + features @ mean, noise, turned / noise[:, None], refined)

    @cached_property
    def moments(self) -> Float:
        """(columns, k(k+1)/2) packed outer products of the features."""
        return seconds(self.features)

    def posterior(
        self, entries: RowEntries, *, covariances: bool = False, room: Float | None = None
    ) -> tuple[Float, Float | None]:
        """Compute the posteriors of rows, given their entries.

        Parameters
        ----------
        entries : RowEntries
            Values (y − base) / noise; weights multiply the precision of the noise.
        covariances : bool
            Whether they are asked for.
        room : array, optional
            As of `posteriors`.

        Returns
        -------
        means : (rows, k) float64
        covariances : (rows, k, k) float64, or None
        """
        features, k = self.features, len(self.mean)
        wanted = covariances or self.refined
        targets = entries.weighted @ features
        b, packed_ = posteriors(entries.weights, targets, features, self.moments, covariances=wanted, room=room)
        full = None if packed_ is None else unpacked(packed_, k)
        if self.refined:
            assert full is not None
            for _ in range(2):
                b = b + (full @ (entries.residual(b, features) @ features - b)[:, :, None])[:, :, 0]
        means = self.mean + b @ self.root.T
        return means, self.root @ full @ self.root.T if covariances and full is not None else None


def towards_prior(
    side: Array, grams: Array, slopes: Array, counts: Array, noise: float, known: int | None = None
) -> Array:
    """Move each row of a fit to the maximum of its posterior: a row with few entries stays near the others instead of
    following its own noise.

    Their prior is Gaussian, with the mean and the covariance of the rows weighted by their entries.

    Parameters
    ----------
    side : (rows, k) array or tensor
    grams : (rows, k, k)
        Of each row, Σ_j w_j x_j·x_jᵀ over its entries.
    slopes : (rows, k)
        The gradient of half the sum of squares, at `side`.
    counts : (rows,)
        Entries of each.
    noise : float
        Standard deviation of an entry.
    known : int, optional
        Coordinates that have a prior, the first ones; all if left out.
    """
    xp = array_namespace(side)
    weights, rows = xp.astype(counts, xp.float64) / float(counts.sum()), xp.astype(side, xp.float64)
    k = side.shape[1] if known is None else known
    mean = weights @ rows
    away = rows - mean
    covariance = (away * weights[:, None]).T @ away
    of = covariance[:k, :k]
    eye = xp.eye(side.shape[1], dtype=xp.float64, device=device(side))
    floor = 100 * xp.finfo(side.dtype).eps * (xp.linalg.trace(of) + mean[:k] @ mean[:k])
    floor = floor + math.sqrt(xp.finfo(xp.float64).tiny)  # a side that is zero stays zero
    precision = 0 * covariance
    precision[:k, :k] = noise**2 * xp.linalg.inv(of + floor * eye[:k, :k])
    traces = xp.linalg.trace(xp.astype(grams, xp.float64))[:, None, None]
    ridge = xp.where(traces > 0, 100 * xp.finfo(side.dtype).eps * traces, traces * 0 + 1)
    step = _solved(grams + precision + ridge * eye, slopes + away @ precision)
    return side - xp.astype(step, side.dtype)


def _solved(grams: Array, sides: Array) -> Array:
    """(systems, k) solutions of full systems, on the device of the arrays."""
    if _arrays.is_tensor(grams):
        return array_namespace(grams).linalg.solve(grams, sides[:, :, None])[:, :, 0]
    found = np.array(sides, dtype=np.float64, order="C")
    solve(packed(np.asarray(grams, dtype=np.float64)), found, inverses=False)
    return found
