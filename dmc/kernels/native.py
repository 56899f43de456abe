"""The waist in compiled code (dmc._core). Where it was not built, the reason and the remedy are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc.observations import BothOrders, Pattern

try:
    from dmc import _core  # type: ignore[attr-defined, unused-ignore]
except ImportError as error:
    _core = None
    missing: str | None = (
        "its module dmc._core was not built"
        if error.name in ("dmc", "dmc._core") or "cannot import name" in str(error)
        else f"dmc._core does not load ({error})"
    )
else:
    missing = None

REMEDY = "install a C++17 compiler (g++ or clang++), then install dmc again (pip install --force-reinstall --no-deps .)"


def masked_product(left: NDArray[Any], right: NDArray[Any], pattern: Pattern) -> NDArray[Any]:
    left, right = np.ascontiguousarray(left), np.ascontiguousarray(right)
    return _core.masked_product(*pattern.by_row, left, right)


def masked_residual_grad(
    left: NDArray[Any],
    right: NDArray[Any],
    pattern: Pattern,
    target: BothOrders,
    weights: BothOrders | None = None,
) -> tuple[float, NDArray[Any], NDArray[Any]]:
    left, right = np.ascontiguousarray(left), np.ascontiguousarray(right)
    w = (None, None) if weights is None else weights
    loss, d_left = _core.residual_gradient(*pattern.by_row, left, right, target.by_row, w[0])
    _, d_right = _core.residual_gradient(*pattern.by_column, right, left, target.by_column, w[1])
    return loss, d_left, d_right


def describe() -> str:
    return f"C++, {_core.instruction_set()}, {_core.max_threads()} threads"
