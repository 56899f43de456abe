"""The two functions of the waist in a few lines of array code: the oracle of the others, and the last resort.

Forms (chunk, k) temporaries, but never (observed, k) ones; works on NumPy arrays and torch tensors alike.
"""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np

from dmc.pattern import BothOrders, Pattern

CHUNK = 1 << 18  # entries at a time


def masked_product(left: Any, right: Any, pattern: Pattern) -> Any:
    xp = array_api_compat.array_namespace(left)
    rows, cols = pattern.rows, pattern.cols
    parts = [xp.sum(left[rows[s]] * right[cols[s]], axis=1) for s in _chunks(pattern.n_observed)]
    return xp.concat(parts)


def masked_residual_grad(
    left: Any,
    right: Any,
    pattern: Pattern,
    target: BothOrders,
    weights: BothOrders | None = None,
    gathered: str | None = None,
) -> tuple[float, Any, Any]:
    xp = array_api_compat.array_namespace(left)
    d_left, d_right = xp.zeros_like(left), xp.zeros_like(right)
    loss = 0.0
    for s in _chunks(pattern.n_observed):
        rows, cols = pattern.rows[s], pattern.cols[s]
        residual = xp.sum(left[rows] * right[cols], axis=1) - target.by_row[s]
        weighted = residual if weights is None else weights.by_row[s] * residual
        loss += 0.5 * float(xp.sum(weighted * residual, dtype=xp.float64))
        _add_at(d_left, rows, weighted[:, None] * right[cols])
        _add_at(d_right, cols, weighted[:, None] * left[rows])
    return loss, d_left, d_right


def _add_at(total: Any, lines: Any, terms: Any) -> None:
    """total[lines] += terms, where a line may occur more than once."""
    if isinstance(total, np.ndarray):
        np.add.at(total, lines, terms)
    else:
        xp = array_api_compat.array_namespace(total)
        total.index_add_(0, xp.asarray(lines, dtype=xp.int64, device=total.device), terms)


def _chunks(n: int) -> list[slice]:
    return [slice(start, start + CHUNK) for start in range(0, n, CHUNK)]
