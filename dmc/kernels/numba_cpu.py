"""The kernel compiled by numba, for machines where the compiled core was not built."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.ufunc import parallel
from numpy.typing import NDArray

from dmc._locks import lock
from dmc.factors import Array
from dmc.pattern import ROWS, Pattern

# Allow re-association and fused multiply-add, which vectorise the dot products; keep NaN, infinities and denormals.
_MATH = {"reassoc", "contract", "nsz"}
_CHUNK = 4096  # entries per piece of work: rows are balanced by entries, because rating data have long tails
_CACHE = 1 << 20  # bytes; a factor beyond it is fetched ahead, and its lines have to start where cache lines do
_AHEAD = 48  # entries between the fetch of a line and its use


# In a process forked from one in which numba's threads have worked, be it for somebody else: they are no more, and to
# ask for them, where they are OpenMP's, ends the process.
_forked = False


def _after_fork() -> None:
    global _forked
    _forked = _forked or parallel._is_initialized


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@cache
def _on_one_thread(function: Any) -> Any:
    # Not kept on disk: numba's files do not tell the two forms of a function apart.
    return numba.njit(fastmath=_MATH)(function.py_func)


def _run(function: Any, *arguments: Any) -> Any:
    """Run the compiled function, with several threads where they are available."""
    if _forked:
        return _on_one_thread(function)(*arguments)
    with _turn():
        return function(*arguments)


_turns = lock()


def _turn() -> AbstractContextManager[Any]:
    """Exclude other callers while numba's own threads are at work, which end the process when two callers meet."""
    numba.get_num_threads()  # starts them: which they are is told only then
    return _turns if parallel.threading_layer() == "workqueue" else nullcontext()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Limit the threads within a ``with`` block, up to the number that numba was started with."""
    if _forked:
        yield
        return
    before = numba.get_num_threads()
    most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined, unused-ignore]
    numba.set_num_threads(min(count, most))
    try:
        yield
    finally:
        numba.set_num_threads(before)


def masked_product(left: NDArray[Any], right: NDArray[Any], pattern: Pattern) -> NDArray[Any]:
    out = np.empty(pattern.n_observed, left.dtype)
    pointers, indices = pattern.checked(ROWS)
    with _aligned(right, pattern) as other:
        _run(_product, pointers, indices, left, other, _pieces(pointers), out)
    return out


def weighted_sums(
    side: int, other: NDArray[Any], pattern: Pattern, coefficients: NDArray[Any] | None = None
) -> NDArray[Any]:
    sums = np.empty((pattern.shape[side], other.shape[1]), other.dtype)
    pointers, indices = pattern.checked(side)
    weights = np.empty(0, other.dtype) if coefficients is None else coefficients
    with _aligned(other, pattern) as gathered:
        _run(_sums, pointers, indices, gathered, weights, _pieces(pointers), sums)
    return sums


def residual_gradient(
    side: int,
    own: NDArray[Any],
    other: NDArray[Any],
    pattern: Pattern,
    target: NDArray[Any] | None = None,
    weights: NDArray[Any] | None = None,
    gather_dtype: str | None = None,
) -> tuple[float, NDArray[Any]]:
    d_own, nothing = np.empty_like(own), np.empty(0, own.dtype)
    pointers, indices = pattern.checked(side)
    t, w = (nothing if array is None else array for array in (target, weights))
    with _aligned(other, pattern) as gathered:
        losses = _run(_pass, pointers, indices, own, gathered, t, w, _pieces(pointers), d_own)
    return float(losses.sum()), d_own


def _pieces(pointers: Array) -> NDArray[np.int64]:
    """First row of each piece; about _CHUNK entries (but at least one row) in each, whatever the thread count."""
    n_pieces = max(1, int(pointers[-1]) // _CHUNK)
    cuts = np.searchsorted(pointers, np.linspace(0, pointers[-1], n_pieces + 1)[1:-1])
    return np.concatenate([[0], cuts, [len(pointers) - 1]])


# Of each pattern the room of the last call: fresh pages cost about as much as what is written to them.
_rooms: WeakKeyDictionary[Pattern, NDArray[np.uint8]] = WeakKeyDictionary()


@contextmanager
def _aligned(matrix: NDArray[Any], pattern: Pattern) -> Iterator[NDArray[Any]]:
    """The matrix, or if it exceeds the cache a copy aligned to cache lines: otherwise each row touches one more."""
    if matrix.nbytes <= _CACHE or matrix.ctypes.data % 64 == 0:
        yield matrix
        return
    room = _rooms.pop(pattern, None)  # nobody else's until it is given back
    if room is None or not matrix.nbytes + 64 <= len(room) <= 4 * matrix.nbytes:
        room = np.empty(matrix.nbytes + 64, np.uint8)
    copy = room[-room.ctypes.data % 64 :][: matrix.nbytes].view(matrix.dtype).reshape(matrix.shape)
    copy[:] = matrix
    yield copy
    _rooms[pattern] = room


@intrinsic
def _fetch(context, matrix, line):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Prefetch a row of a C-ordered matrix into the second level of the cache."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        byte, number, size = ir.IntType(8).as_pointer(), ir.IntType(32), arguments[1].type
        bytes_of_line = builder.extract_value(array.strides, 0)
        start = builder.gep(builder.bitcast(array.data, byte), [builder.mul(arguments[1], bytes_of_line)])
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        with cgutils.for_range_slice(builder, size(0), bytes_of_line, size(64)) as (offset, _):
            # to read; nearness 2 of 3: the first level has too few lines under way; data, not code
            builder.call(prefetch, [builder.gep(start, [offset]), number(0), number(2), number(1)])
        return context.get_dummy_value()

    return types.void(matrix, types.int64), generate


@numba.njit(parallel=True, fastmath=_MATH, cache=True)  # pragma: no cover
def _product(pointers, indices, left, right, pieces, out):  # type: ignore[no-untyped-def]
    far = right.size * right.itemsize > _CACHE
    for piece in numba.prange(len(pieces) - 1):
        last = pointers[pieces[piece + 1]]
        for i in range(pieces[piece], pieces[piece + 1]):
            for e in range(pointers[i], pointers[i + 1]):
                if far and e + _AHEAD < last:
                    _fetch(right, np.int64(indices[e + _AHEAD]))  # type: ignore[call-arg]
                j = indices[e]
                dot = left.dtype.type(0)
                for c in range(left.shape[1]):
                    dot += left[i, c] * right[j, c]
                out[e] = dot


@numba.njit(parallel=True, fastmath=_MATH, cache=True)  # pragma: no cover
def _pass(pointers, indices, own, other, target, weights, pieces, d_own):  # type: ignore[no-untyped-def]
    """Compute prediction, residual, loss and the gradient of `own`, row by row; the other side is only gathered."""
    losses = np.zeros(len(pieces) - 1)
    weighted, aimed = len(weights) > 0, len(target) > 0
    far = other.size * other.itemsize > _CACHE
    for piece in numba.prange(len(pieces) - 1):
        loss, last = 0.0, pointers[pieces[piece + 1]]
        for i in range(pieces[piece], pieces[piece + 1]):
            d_own[i, :] = 0
            for e in range(pointers[i], pointers[i + 1]):
                if far and e + _AHEAD < last:
                    _fetch(other, np.int64(indices[e + _AHEAD]))  # type: ignore[call-arg]
                j = indices[e]
                residual = -target[e] if aimed else own.dtype.type(0)
                for c in range(own.shape[1]):
                    residual += own[i, c] * other[j, c]
                scaled = weights[e] * residual if weighted else residual
                loss += 0.5 * np.float64(scaled) * np.float64(residual)
                for c in range(own.shape[1]):
                    d_own[i, c] += scaled * other[j, c]
        losses[piece] = loss
    return losses


@numba.njit(parallel=True, fastmath=_MATH, cache=True)  # pragma: no cover
def _sums(pointers, indices, other, weights, pieces, sums):  # type: ignore[no-untyped-def]
    """Sum the vectors of the other side, row by row, each times its entry's weight."""
    weighted = len(weights) > 0
    far = other.size * other.itemsize > _CACHE
    for piece in numba.prange(len(pieces) - 1):
        last = pointers[pieces[piece + 1]]
        for i in range(pieces[piece], pieces[piece + 1]):
            sums[i, :] = 0
            for e in range(pointers[i], pointers[i + 1]):
                if far and e + _AHEAD < last:
                    _fetch(other, np.int64(indices[e + _AHEAD]))  # type: ignore[call-arg]
                j = indices[e]
                weight = weights[e] if weighted else other.dtype.type(1)
                for c in range(other.shape[1]):
                    sums[i, c] += weight * other[j, c]
