"""The largest singular value of a matrix that is known by its products, to a percent."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from dmc._group import ALONE, Group


def largest_singular_value(matrix: sparse.csr_array | LinearOperator, tol: float = 1e-3, group: Group = ALONE) -> float:
    """By Golub and Kahan's bidiagonalisation from a random start, until it rises by no more than `tol` of itself.

    Each process of a group has rows of its own, which makes a left vector's part of their number, and all of every
    right one.

    References
    ----------
    G. Golub, W. Kahan, "Calculating the singular values and pseudo-inverse of a matrix", 1965.
    """
    back, start = matrix.T, np.random.default_rng(0).standard_normal(matrix.shape[1])
    right = (start / np.linalg.norm(start)).astype(matrix.dtype)
    left, found, rows = matrix @ right, 0.0, []
    last = int(min(group.sum(matrix.shape[0]), matrix.shape[1]))
    for step in range(1, last + 1):
        alpha = math.sqrt(group.sum(float(np.linalg.norm(left)) ** 2))
        if alpha == 0:
            break
        left = left / alpha
        following = group.sum(back @ left) - alpha * right
        beta = float(np.linalg.norm(following))
        rows.append((alpha, beta))
        if step % 4 == 0 or beta == 0 or step == last:
            before, found = found, float(np.linalg.norm(_bidiagonal(rows), 2))
            if group.any(found - before <= tol * found or beta == 0):
                break
        right = following / beta
        left = matrix @ right - beta * left
    return float(np.linalg.norm(_bidiagonal(rows), 2)) if rows else 0.0


def _bidiagonal(rows: list[tuple[float, float]]) -> NDArray[np.float64]:
    """(k, k + 1) upper bidiagonal matrix of pairs of a diagonal number and the one to its right."""
    matrix = np.zeros((len(rows), len(rows) + 1))
    at = np.arange(len(rows))
    matrix[at, at], matrix[at, at + 1] = np.array(rows).T
    return matrix
