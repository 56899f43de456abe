"""A model of some rows and columns, carried on to the others by what these have in common with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dmc.completion.cores import Part
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.solver import row_solve

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Side:
    """The rows, or the columns: their entries, and what is known of them.

    Attributes
    ----------
    values, marks : (rows, columns) CSR array
        Of the entries, and 1 at each.
    unknowns : (rows, k) float64
    known : (rows,) bool
    """

    values: sparse.csr_array
    marks: sparse.csr_array
    unknowns: Float
    known: NDArray[np.bool_]


def extended(found: Factors, part: Part, host: Observations) -> Factors:
    """A NumPy model of a part of the observations, and all other rows and columns by least squares: those with the most
    entries among what is known come first, twice as many as there are unknowns where that leads on."""
    k, (m, n) = found.width, host.shape
    bias = np.zeros((n, 1 if found.column_bias is not None else 0))
    U, V = np.zeros((m, k)), np.column_stack([np.zeros((n, k)), bias])
    U[part[0]] = found.U
    V[part[1], :k] = found.V
    if found.column_bias is not None:
        V[part[1], k] = found.column_bias
    values = host.pattern.csr(np.asarray(host.values, dtype=np.float64))
    marks = host.pattern.csr(np.ones(host.n_observed))
    rows = _Side(values, marks, U, part[0].copy())
    columns = _Side(values.T.tocsr(), marks.T.tocsr(), V, part[1].copy())
    enough = 2 * V.shape[1]
    while enough:
        grown = _grow(rows, _features(columns, k), enough, columns.known)
        grown |= _grow(columns, _features(rows, V.shape[1]), enough, rows.known)
        if not grown:
            # At last also such as have too few: theirs is the least solution that matches them.
            enough = enough - 1 if enough > k else min(enough - 1, 1)
    dtype = found.U.dtype
    left_bias = V[:, k].astype(dtype) if found.column_bias is not None else None
    return Factors(U.astype(dtype), (), V[:, :k].astype(dtype), None, left_bias)


def _features(other: _Side, width: int) -> tuple[Float, Float]:
    """What multiplies a side's unknowns, and what is known of the entries without these."""
    k = other.unknowns.shape[1]
    if width == k + 1:  # columns with a bias, beside rows
        return np.column_stack([other.unknowns, np.ones(len(other.unknowns))]), np.zeros(len(other.unknowns))
    return other.unknowns[:, :width], other.unknowns[:, width:].sum(axis=1)


def _grow(side: _Side, features: tuple[Float, Float], enough: int, others: NDArray[np.bool_]) -> bool:
    """Solve for the unknown rows of a side that have enough entries in common with what is known; whether any has."""
    new = np.flatnonzero(~side.known & (side.marks @ others.astype(float) >= enough))
    if not len(new):
        return False
    vectors, offset = features[0][others], features[1][others]
    values, marks = (matrix[new][:, np.flatnonzero(others)] for matrix in (side.values, side.marks))
    side.unknowns[new] = _least_squares(values, marks, vectors, offset)
    side.known[new] = True
    return True


def _least_squares(values: sparse.csr_array, marks: sparse.csr_array, vectors: Float, offset: Float) -> Float:
    """(rows, k) a with ⟨a, x_j⟩ + offset_j nearest to the values of each row, in coordinates where the x_j are of one
    size in all directions that they have; the least of them, where they are too few."""
    P, s, Wt = np.linalg.svd(vectors, full_matrices=False)
    spanned = s > np.finfo(float).eps * s.max(initial=0)
    if not spanned.any():
        return np.zeros((values.shape[0], vectors.shape[1]))
    size = np.sqrt(len(P))
    P = size * P[:, spanned]
    grams = np.ascontiguousarray(marks @ row_solve.seconds(P))
    at = row_solve.diagonal(P.shape[1])
    traces = grams[:, at].sum(axis=1, keepdims=True)
    grams[:, at] += np.where(traces > 0, 100 * np.finfo(float).eps * traces, 1)
    b = np.zeros((values.shape[0], P.shape[1]))
    rows = np.repeat(np.arange(len(b)), np.diff(values.indptr))
    missed = values.copy()
    for _ in range(3):  # the squares have lost half of the digits
        missed.data = values.data - offset[values.indices] - np.einsum("ij,ij->i", b[rows], P[values.indices])
        sides = np.ascontiguousarray(missed @ P)
        row_solve.solve(grams.copy(), sides, inverses=False)
        b += sides
    return np.asarray(b * (size / s[spanned]) @ Wt[spanned])
