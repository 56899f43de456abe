"""The kernel in a few lines of array code: the oracle for the others, and the fallback.

It forms (chunk, k) temporaries, but never (observed, k) ones, and works on NumPy arrays and torch tensors alike.
"""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np

from dmc.factors import Array
from dmc.pattern import ROWS, Pattern

CHUNK = 1 << 18  # entries at a time


def masked_product(left: Array, right: Array, pattern: Pattern) -> Array:
    return _product(left, right, *pattern.positions(ROWS))


def weighted_sums(side: int, other: Array, pattern: Pattern, coefficients: Array | None = None) -> Array:
    xp = array_api_compat.array_namespace(other)
    at_own, at_other = pattern.positions(side)
    size = (pattern.shape[side], other.shape[1])
    sums = xp.zeros(size, dtype=other.dtype, device=array_api_compat.device(other))
    for s in _chunks(pattern.n_observed):
        terms = other[at_other[s]]
        _add_at(sums, at_own[s], terms if coefficients is None else coefficients[s][:, None] * terms)
    return sums


def residual_gradient(
    side: int,
    own: Array,
    other: Array,
    pattern: Pattern,
    target: Array | None = None,
    weights: Array | None = None,
    gather_dtype: str | None = None,
) -> tuple[float, Array]:
    xp = array_api_compat.array_namespace(own)
    residual = _product(own, other, *pattern.positions(side))
    residual = residual if target is None else residual - target
    weighted = residual if weights is None else weights * residual
    loss = 0.5 * sum(float(xp.sum(weighted[s] * residual[s], dtype=xp.float64)) for s in _chunks(len(residual)))
    return loss, weighted_sums(side, other, pattern, weighted)


def _product(own: Array, other: Array, at_own: Array, at_other: Array) -> Array:
    xp = array_api_compat.array_namespace(own)
    return xp.concat([xp.sum(own[at_own[s]] * other[at_other[s]], axis=1) for s in _chunks(len(at_own))])


def _add_at(total: Any, rows: Array, terms: Array) -> None:
    """total[rows] += terms, where a row may occur more than once."""
    if isinstance(total, np.ndarray):
        np.add.at(total, rows, terms)
    else:
        xp = array_api_compat.array_namespace(total)
        total.index_add_(0, xp.asarray(rows, dtype=xp.int64, device=total.device), terms)


def _chunks(n: int) -> list[slice]:
    return [slice(start, start + CHUNK) for start in range(0, max(n, 1), CHUNK)]
