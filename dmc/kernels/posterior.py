"""The step of variational Bayes: the posterior of every line of one side, given the other side. Compiled, or plain."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dmc import _checks, _extensions
from dmc._extensions import Entries
from dmc.pattern import SparseIndex

GRAIN = 16  # as in csrc/posterior.h

Float = NDArray[np.float32]


def entries_of(lines: SparseIndex, others: int) -> Entries | sparse.csr_array:
    """The entries as a step and `line_sums` take them."""
    return incidence(lines, others) if _extensions.core is None else lines.compiled(others)


def incidence(lines: SparseIndex, others: int) -> sparse.csr_array:
    """The pattern as a sparse matrix of ones."""
    ones = np.ones(len(lines.indices), np.float32)
    index = _checks.index_dtype(len(ones))  # of another dtype SciPy copies the indices
    pointers = np.asarray(lines.indptr).astype(index)
    return sparse.csr_array((ones, lines.indices, pointers), shape=(len(pointers) - 1, others))


def line_sums(entries: Entries | sparse.csr_array, vectors: Float, weights: Float | None = None) -> Float:
    """(lines, any) the sum over each line's entries of the vectors (other lines, any) of the other side, each times the
    entry's weight (entries,)."""
    if _extensions.core is None:
        return np.asarray((entries if weights is None else _weighted(entries, weights)) @ vectors)
    count, width = vectors.shape
    padded = np.zeros((count, _up(width)), np.float32)
    padded[:, :width] = vectors
    return np.asarray(_extensions.core.line_sums(entries, padded, weights)[:, :width])


def _weighted(entries: sparse.csr_array, by: NDArray[Any]) -> sparse.csr_array:
    return sparse.csr_array((by, entries.indices, entries.indptr), shape=entries.shape)


def _up(count: int) -> int:
    return -(-count // GRAIN) * GRAIN


def moments_of(means: Float, covariances: NDArray[Any] | None = None) -> Float:
    """What lines show to the other side: see csrc/posterior.h.

    Parameters
    ----------
    means : (lines, unknowns) array
    covariances : (lines, unknowns, unknowns) array, optional
        Zero if left out.
    """
    if covariances is None and _extensions.core is not None:
        return np.asarray(_extensions.core.moments_of(means))
    count, d = means.shape
    z = np.insert(means, d - 1, 1, axis=1)
    seconds = z[:, :, None] * z[:, None, :]
    if covariances is not None:
        at = np.append(np.arange(d - 1), d)
        seconds[:, at[:, None], at] += covariances
    packed = _up((d + 1) * (d + 2) // 2)
    moments = np.zeros((count, packed + _up(d + 1)), np.float32)
    first, second = np.triu_indices(d + 1)
    moments[:, : len(first)] = seconds[:, first, second]
    moments[:, packed : packed + d + 1] = z
    return moments


def step(
    entries: Entries | sparse.csr_array,
    values: Float,
    others: Float,
    precision: NDArray[np.floating],
    expected: Float,
    noise: NDArray[np.float64],
    moments: Float,
    weights: Float | None = None,
) -> tuple[Float, NDArray[np.float64], NDArray[np.float64]]:
    """The posterior of every line.

    Parameters
    ----------
    entries : object
        From `entries_of`.
    values : (entries,) float32 array
        Line by line.
    others : (other lines, any) float32 array
        The moments of the other side; if its lines have weights, times these: the errors that are returned then mean
        nothing.
    precision : (unknowns, unknowns) float64 array
        Of the prior.
    expected : (lines, unknowns) float32 array
        Means of the prior.
    noise : (lines,) float64 array
        Precision of an entry of each line.
    moments : (lines, any) float32 array
        Receives the moments of this side.
    weights : (entries,) float32 array, optional
        Of the entries, above 0: times `noise` they are the precisions. The values then come times them.

    Returns
    -------
    means : (lines, unknowns) float32 array
    covariance : (unknowns, unknowns) float64 array
        Summed over the lines.
    errors : (lines,) float64 array
        Expected sum of squared errors of each line's entries, each times its weight.
    """
    if _extensions.core is None:
        return plain_step(entries, values, others, precision, expected, noise, moments, weights)
    return _extensions.core.posterior(entries, values, others, precision, expected, noise, moments, weights)


def plain_step(
    entries: sparse.csr_array,
    values: Float,
    others: Float,
    precision: NDArray[np.floating],
    expected: Float,
    noise: NDArray[np.float64],
    moments: Float,
    weights: Float | None = None,
) -> tuple[Float, NDArray[np.float64], NDArray[np.float64]]:
    """What the compiled core does; entries is the pattern as a SciPy matrix."""
    d = len(precision)
    packed = _up((d + 1) * (d + 2) // 2)
    first, second = np.triu_indices(d + 1)
    others = others.astype(np.float64)  # sums in float32 would lose what tells the directions of a long line apart
    sums = (entries if weights is None else _weighted(entries, weights)) @ others[:, : len(first)]
    linear = _weighted(entries, values) @ others[:, packed : packed + d + 1]
    gram = np.empty((len(sums), d + 1, d + 1))
    gram[:, first, second] = gram[:, second, first] = sums
    side = linear[:, :d] - gram[:, :d, d]
    covariances = np.linalg.inv(noise[:, None, None] * gram[:, :d, :d] + precision)
    means = np.einsum("lij,lj->li", covariances, noise[:, None] * side + expected @ precision)
    seconds = means[:, :, None] * means[:, None, :] + covariances
    squares = np.square(values, dtype=np.float64)
    errors = _weighted(entries, squares if weights is None else squares / weights).sum(axis=1)
    errors += gram[:, d, d] - 2 * linear[:, d]
    errors += np.sum(gram[:, :d, :d] * seconds, axis=(1, 2)) - 2 * np.sum(side * means, axis=1)
    means = means.astype(np.float32)
    moments[:] = moments_of(means, covariances)
    return means, covariances.sum(axis=0), errors
