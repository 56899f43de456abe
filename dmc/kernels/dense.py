"""The waist by dense products: for factors about as wide as the matrix, where a (rows, columns) array is no burden."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc.observations import BothOrders, Pattern


def masked_product(left: NDArray[Any], right: NDArray[Any], pattern: Pattern) -> NDArray[Any]:
    return (left @ right.T)[pattern.rows, pattern.cols]


def masked_residual_grad(
    left: NDArray[Any],
    right: NDArray[Any],
    pattern: Pattern,
    target: BothOrders,
    weights: BothOrders | None = None,
    gathered: str | None = None,
) -> tuple[float, NDArray[Any], NDArray[Any]]:
    residual = masked_product(left, right, pattern) - target.by_row
    weighted = residual if weights is None else weights.by_row * residual
    loss = 0.5 * float(np.sum(weighted * residual, dtype=np.float64))
    scattered = np.zeros(pattern.shape, left.dtype)
    scattered[pattern.rows, pattern.cols] = weighted
    return loss, scattered @ right, scattered.T @ left
