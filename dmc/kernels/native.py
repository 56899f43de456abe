"""The waist in compiled code (dmc._core)."""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from dmc._extensions import core
from dmc.factors import Factors
from dmc.pattern import BothOrders, Pattern


class _Entries(NamedTuple):
    by_row: Any
    by_column: Any


# Of each pattern what the core made of it: index ranges checked, entries cut into pieces of work.
_prepared: WeakKeyDictionary[Pattern, _Entries] = WeakKeyDictionary()


def _entries(pattern: Pattern) -> _Entries:
    found = _prepared.get(pattern)
    if found is None:
        m, n = pattern.shape
        # The core wants one dtype for both; int64 is that of a matrix with 2³¹ lines on one side.
        dtype = np.result_type(pattern.by_row.indices, pattern.by_column.indices)
        kind = core.Entries if dtype == np.int32 else core.WideEntries
        found = _prepared[pattern] = _Entries(
            *(
                kind(lines.indptr, lines.indices.astype(dtype, copy=False), others)
                for lines, others in ((pattern.by_row, n), (pattern.by_column, m))
            )
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


def value_and_grad(
    factors: Factors,
    pattern: Pattern,
    target: BothOrders,
    weights: BothOrders | None,
    l2: tuple[NDArray[Any], NDArray[Any]] | None,
    gathered: str | None = None,
) -> tuple[float, Factors]:
    """A whole step's share of a `MaskedLeastSquares` in one call: its value, and its gradient by every factor."""
    run = core.value_and_grad if gathered is None else core.value_and_grad_bfloat16
    f = factors.map(np.ascontiguousarray)
    w, penalties = (None, None) if weights is None else weights, (None, None) if l2 is None else l2
    value, *gradient = run(*_entries(pattern), f.U, f.cores, f.V, f.row_bias, f.column_bias, *target, *w, *penalties)
    return value, Factors(*gradient)


def describe() -> str:
    return f"C++, {core.instruction_set()}, {core.max_threads()} threads"
