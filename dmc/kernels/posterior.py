"""The step of variational Bayes: the posteriors of one side's rows, given the other side. Compiled, or plain."""

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


def means_in(moments: Float, unknowns: int) -> Float:
    """(lines, unknowns) the means that stand in the moments of lines."""
    first = _up((unknowns + 1) * (unknowns + 2) // 2)
    return np.delete(moments[:, first : first + unknowns + 1], unknowns - 1, axis=1)


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
    gathered = _exact_sums(entries, values, others, weights)
    squares = np.square(values, dtype=np.float64)
    errors = _weighted(entries, squares if weights is None else squares / weights).sum(axis=1)
    return _posterior_of(gathered, precision, expected, noise, moments, errors)


def sums(
    entries: Entries | sparse.csr_array,
    values: Float,
    others: Float,
    weights: Float | None = None,
    lines: slice = slice(None),
) -> Float:
    """The first half of a step: what some lines gather of their entries. Entries that are spread over processes, or
    come in batches, have their sums added before `finish`.

    Parameters
    ----------
    entries, values, others, weights
        As of `step`, of all lines.
    lines : slice
        The lines whose sums are wanted, without gaps.

    Returns
    -------
    (lines, as wide as others) float32 array
        The moments of the other side times the entries' weights, and the expected vectors times their values. They are
        summed in float64 and then rounded; lines without entries have zeros.
    """
    if _extensions.core is None:
        return plain_sums(entries, values, others, weights, lines)
    return np.asarray(_extensions.core.posterior_sums(entries, values, others, weights, lines))


def plain_sums(
    entries: sparse.csr_array,
    values: Float,
    others: Float,
    weights: Float | None = None,
    lines: slice = slice(None),
) -> Float:
    """What the compiled core does; entries is the pattern as a SciPy matrix."""
    begin, end, _ = lines.indices(entries.shape[0])
    ends = entries.indptr[begin : max(end, begin) + 1]
    at = slice(ends[0], ends[-1])
    shape = len(ends) - 1, entries.shape[1]
    some = sparse.csr_array((entries.data[at], entries.indices[at], ends - ends[0]), shape=shape)
    return _exact_sums(some, values[at], others, None if weights is None else weights[at]).astype(np.float32)


def _exact_sums(entries: sparse.csr_array, values: Float, others: Float, weights: Float | None) -> NDArray[np.float64]:
    packed = _packed(others.shape[1])
    others = others.astype(np.float64)  # sums in float32 would lose what tells the directions of a long line apart
    seconds = (entries if weights is None else _weighted(entries, weights)) @ others[:, :packed]
    return np.hstack([seconds, _weighted(entries, values) @ others[:, packed:]])


def finish(
    sums: Float,
    precision: NDArray[np.floating],
    expected: Float,
    noise: NDArray[np.float64],
    moments: Float,
) -> tuple[Float, NDArray[np.float64]]:
    """The second half of a step: the posterior of every line, from the sums over its entries.

    Parameters
    ----------
    sums : (lines, any) float32 array
        Of `sums`, over all entries of each line.
    precision, expected, noise, moments
        As of `step`, of these lines; moments are written to.

    Returns
    -------
    means : (lines, unknowns) float32 array
    covariance : (unknowns, unknowns) float64 array
        Summed over the lines.
    """
    if _extensions.core is None:
        return plain_finish(sums, precision, expected, noise, moments)
    return _extensions.core.posterior_of_sums(sums, precision, expected, noise, moments)


def plain_finish(
    sums: Float,
    precision: NDArray[np.floating],
    expected: Float,
    noise: NDArray[np.float64],
    moments: Float,
) -> tuple[Float, NDArray[np.float64]]:
    """What the compiled core does."""
    nothing = np.zeros(len(sums))
    return _posterior_of(sums.astype(np.float64), precision, expected, noise, moments, nothing)[:2]


def _posterior_of(
    sums: NDArray[np.float64],
    precision: NDArray[np.floating],
    expected: Float,
    noise: NDArray[np.float64],
    moments: Float,
    errors: NDArray[np.float64],
) -> tuple[Float, NDArray[np.float64], NDArray[np.float64]]:
    """errors: (lines,) squares of the values, each times its entry's weight."""
    d = len(precision)
    first, second = np.triu_indices(d + 1)
    linear = sums[:, _packed(sums.shape[1]) :]
    gram = np.empty((len(sums), d + 1, d + 1))
    gram[:, first, second] = gram[:, second, first] = sums[:, : len(first)]
    side = linear[:, :d] - gram[:, :d, d]
    covariances = np.linalg.inv(noise[:, None, None] * gram[:, :d, :d] + precision)
    means = np.einsum("lij,lj->li", covariances, noise[:, None] * side + expected @ precision)
    seconds = means[:, :, None] * means[:, None, :] + covariances
    errors += gram[:, d, d] - 2 * linear[:, d]
    errors += np.sum(gram[:, :d, :d] * seconds, axis=(1, 2)) - 2 * np.sum(side * means, axis=1)
    means = means.astype(np.float32)
    moments[:] = moments_of(means, covariances)
    return means, covariances.sum(axis=0), errors


def _packed(size: int) -> int:
    """How many of a line's moments stand before its expected vector."""
    unknowns = 1
    while _up((unknowns + 1) * (unknowns + 2) // 2) + _up(unknowns + 1) < size:
        unknowns += 1
    return size - _up(unknowns + 1)
