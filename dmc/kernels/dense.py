"""The kernel by dense products, for factors about as wide as the matrix."""

from __future__ import annotations

import array_api_compat

from dmc.factors import Array
from dmc.pattern import ROWS, BothOrders, Pattern


def masked_product(left: Array, right: Array, pattern: Pattern) -> Array:
    return (left @ right.T)[pattern.rows, pattern.cols]


def weighted_sums(side: int, other: Array, pattern: Pattern, coefficients: Array | None = None) -> Array:
    return _scattered(side, pattern, 1 if coefficients is None else coefficients, other) @ other


def residual_gradient(
    side: int,
    own: Array,
    other: Array,
    pattern: Pattern,
    target: Array | None = None,
    weights: Array | None = None,
    gather_dtype: str | None = None,
) -> tuple[Array, Array]:
    loss, weighted = _weighted_residual((own @ other.T)[pattern.positions(side)], target, weights)
    return loss, _scattered(side, pattern, weighted, other) @ other


def residual_gradients(
    left: Array,
    right: Array,
    pattern: Pattern,
    target: BothOrders,
    weights: BothOrders | None = None,
    gather_dtype: str | None = None,
) -> tuple[Array, Array, Array]:
    """Both sides by one product."""
    by_row = None if weights is None else weights.by_row
    loss, weighted = _weighted_residual(masked_product(left, right, pattern), target.by_row, by_row)
    scattered = _scattered(ROWS, pattern, weighted, left)
    return loss, scattered @ right, scattered.T @ left


def _weighted_residual(product: Array, target: Array | None, weights: Array | None) -> tuple[Array, Array]:
    """The loss, and what is summed."""
    xp = array_api_compat.array_namespace(product)
    residual = product if target is None else product - target
    weighted = residual if weights is None else weights * residual
    return 0.5 * xp.sum(weighted * residual, dtype=xp.float64), weighted


def _scattered(side: int, pattern: Pattern, values: Array | float, like: Array) -> Array:
    """(own rows, other rows) the values of the entries, zero elsewhere."""
    xp = array_api_compat.array_namespace(like)
    size = pattern.shape if side == ROWS else pattern.shape[::-1]
    matrix = xp.zeros(size, dtype=like.dtype, device=array_api_compat.device(like))
    matrix[pattern.positions(side)] = values
    return matrix
