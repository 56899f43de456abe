"""The waist by dense products: for factors about as wide as the matrix, where a (rows, columns) array is no burden."""

from __future__ import annotations

from typing import Any

import array_api_compat

from dmc.pattern import BothOrders, Pattern


def masked_product(left: Any, right: Any, pattern: Pattern) -> Any:
    return (left @ right.T)[pattern.rows, pattern.cols]


def masked_residual_grad(
    left: Any,
    right: Any,
    pattern: Pattern,
    target: BothOrders,
    weights: BothOrders | None = None,
    gathered: str | None = None,
) -> tuple[Any, Any, Any]:
    xp = array_api_compat.array_namespace(left)
    residual = masked_product(left, right, pattern) - target.by_row
    weighted = residual if weights is None else weights.by_row * residual
    loss = 0.5 * xp.sum(weighted * residual, dtype=xp.float64)
    scattered = xp.zeros(pattern.shape, dtype=left.dtype, device=array_api_compat.device(left))
    scattered[pattern.rows, pattern.cols] = weighted
    return loss, scattered @ right, scattered.T @ left
