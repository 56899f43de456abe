"""The waist in compiled code (dmc._core)."""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from dmc._compiled import core
from dmc.observations import BothOrders, Pattern


class _Entries(NamedTuple):
    by_row: Any
    by_column: Any


# Of each pattern what the core made of it: index ranges checked, entries cut into pieces of work.
_prepared: WeakKeyDictionary[Pattern, _Entries] = WeakKeyDictionary()


def _entries(pattern: Pattern) -> _Entries:
    found = _prepared.get(pattern)
    if found is None:
        kinds = {np.dtype(np.int32): core.Entries, np.dtype(np.int64): core.WideEntries}
        m, n = pattern.shape
        found = _prepared[pattern] = _Entries(
            kinds[pattern.by_row.indices.dtype](*pattern.by_row, n),
            kinds[pattern.by_column.indices.dtype](*pattern.by_column, m),
        )
    return found


def masked_product(left: NDArray[Any], right: NDArray[Any], pattern: Pattern) -> NDArray[Any]:
    return core.masked_product(_entries(pattern).by_row, np.ascontiguousarray(left), np.ascontiguousarray(right))


def masked_residual_grad(
    left: NDArray[Any],
    right: NDArray[Any],
    pattern: Pattern,
    target: BothOrders,
    weights: BothOrders | None = None,
    gathered: str | None = None,
) -> tuple[float, NDArray[Any], NDArray[Any]]:
    left, right = np.ascontiguousarray(left), np.ascontiguousarray(right)
    w = (None, None) if weights is None else weights
    run = core.residual_gradient if gathered is None else core.residual_gradient_bfloat16
    rows, columns = _entries(pattern)
    loss, d_left = run(rows, left, right, target.by_row, w[0])
    _, d_right = run(columns, right, left, target.by_column, w[1])
    return loss, d_left, d_right


def describe() -> str:
    return f"C++, {core.instruction_set()}, {core.max_threads()} threads"
