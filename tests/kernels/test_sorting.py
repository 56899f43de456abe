"""The compiled sorting of entries against NumPy's, for any number of threads; what its binding refuses."""

import os

import numpy as np
import pytest
from hypothesis import given, strategies as st
from threadpoolctl import threadpool_limits

from dmc import _extensions
from dmc._extensions import core

pytestmark = pytest.mark.skipif(
    _extensions.missing is not None,
    reason=f"the compiled core is not here: {_extensions.missing}; {_extensions.REMEDY}",
)


def pointers_of(lines, count):
    return np.concatenate([[0], np.cumsum(np.bincount(lines, minlength=count))])


def check(rows, cols, values, m, n):
    """Every function of the sorting on these entries, against a stable sort of NumPy's."""
    order = np.lexsort((cols, rows))
    pointers, indices, ordered, repeats, first = core.sort_entries(rows, cols, values, m, n)
    np.testing.assert_array_equal(pointers, pointers_of(rows, m))
    np.testing.assert_array_equal(indices, cols[order])
    np.testing.assert_array_equal(ordered, values[order])
    assert (pointers.dtype, indices.dtype, ordered.dtype) == (np.int64, np.int32, values.dtype)
    again = 1 + np.flatnonzero((np.diff(rows[order]) == 0) & (np.diff(cols[order]) == 0))
    assert (repeats, first) == (len(again), again[0] if len(again) else -1)

    back = np.lexsort((rows[order], cols[order]))
    for index in (np.int32, np.int64):
        columns, others = core.transpose(pointers, indices.astype(index), n)
        np.testing.assert_array_equal(columns, pointers_of(cols, n))
        np.testing.assert_array_equal(others, rows[order][back])
        assert (columns.dtype, others.dtype) == (np.int64, np.int32)
        for dtype in (np.int8, np.float16, np.float32, np.int64):
            numbers = (np.arange(len(rows)) % 2039).astype(dtype)  # which float16 still holds
            found = core.by_line(indices.astype(index), n, numbers)
            np.testing.assert_array_equal(found, numbers[back])
            assert found.dtype == dtype
    return pointers, indices, ordered, repeats, first, columns, others, found


@given(st.data())
def test_few_entries(data):
    m, n = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    entries = data.draw(st.lists(st.tuples(st.integers(0, m - 1), st.integers(0, n - 1)), max_size=60))
    index, dtype = (
        data.draw(st.sampled_from([np.int32, np.int64])),
        data.draw(st.sampled_from([np.float32, np.float64])),
    )
    rows, cols = np.array(entries, index).reshape(-1, 2).T.copy()
    check(rows, cols, np.arange(len(rows), dtype=dtype), m, n)


def long_tail(rng, count, lines):
    """Half of the entries in one line, the others with a long tail."""
    found = (lines * rng.random(count) ** 3).astype(np.int64)
    found[rng.random(count) < 0.5] = lines // 3
    return found


MANY = 600_000  # several chunks; half of them are too many for one thread to sort alone
# How rows and columns are drawn: each way takes another path through buckets, chunks and counters.
CASES = {
    "many rows": (200_000, 300, MANY, None),
    "many columns": (300, 200_000, MANY, None),
    "more lines than entries": (3_000_000, 2_000_000, 300_000, None),
    "more lines than entries, few of them": (3_000_000, 70_001, 100, None),
    "no entry": (3_000_000, 5, 0, None),
    "one row": (1, 1_000_000, MANY, None),
    "one column": (1_000_000, 1, MANY, None),
    "one position": (1, 1, MANY, None),
    "half in one row": (150_000, 2_000, MANY, "rows"),
    "half in one column": (2_000, 150_000, MANY, "cols"),
    "half at one position": (150_000, 150_000, MANY, "both"),
    "a power of two": (1 << 17, 1 << 11, MANY, None),
}


def entries(name, index=np.int32, dtype=np.float32):
    m, n, count, heavy = CASES[name]
    rng = np.random.default_rng(4)
    rows = long_tail(rng, count, m) if heavy in ("rows", "both") else rng.integers(0, m, count)
    cols = long_tail(rng, count, n) if heavy in ("cols", "both") else rng.integers(0, n, count)
    return rows.astype(index), cols.astype(index), rng.random(count).astype(dtype), m, n


@pytest.mark.parametrize(("index", "dtype"), [(np.int32, np.float32), (np.int64, np.float64)])
@pytest.mark.parametrize("name", CASES)
def test_many_entries_for_any_number_of_threads(name, index, dtype):
    for n_threads in (1, 2, 3):
        with threadpool_limits(limits=n_threads, user_api="openmp"):
            assert core.max_threads() == n_threads
            check(*entries(name, index, dtype))


@pytest.mark.parametrize("name", ["many rows", "half in one row", "one column", "no entry"])
def test_locate_finds_every_entry_and_nothing_else(name):
    rows, cols, _, m, n = entries(name)
    keys = np.unique(rows.astype(np.int64) * n + cols)
    pointers, indices = pointers_of(keys // n, m), (keys % n).astype(np.int32)
    rng = np.random.default_rng(5)
    asked = np.concatenate([rng.permutation(keys), rng.integers(0, m * n, 10_000)])
    at = np.minimum(np.searchsorted(keys, asked), max(len(keys) - 1, 0))
    wanted = np.where(keys[at] == asked, at, -1) if len(keys) else np.full(len(asked), -1)
    for n_threads in (1, 2, 3):
        with threadpool_limits(limits=n_threads, user_api="openmp"):
            found = core.locate(pointers, indices, (asked // n).astype(np.int32), (asked % n).astype(np.int32))
        np.testing.assert_array_equal(found, wanted)
    found = core.locate(pointers, indices.astype(np.int64), asked // n, asked % n)
    np.testing.assert_array_equal(found, wanted)


# --- what the binding refuses


def unaligned(a):
    room = np.zeros(a.nbytes + 1, np.uint8)[1:]
    room[:] = np.frombuffer(a.tobytes(), np.uint8)
    return room.view(a.dtype)


def sort(**changes):
    values = {
        "rows": np.array([0, 2, 1], np.int32),
        "cols": np.array([1, 0, 1], np.int32),
        "values": np.ones(3, np.float32),
        "m": 3,
        "n": 2,
    }
    return core.sort_entries(**{**values, **{name: change(values[name]) for name, change in changes.items()}})


def lines(function):
    def call(**changes):
        values = {"pointers": np.array([0, 1, 3]), "indices": np.array([1, 0, 2], np.int32)}
        values |= {
            core.transpose: {"n": 3},
            core.locate: {"rows": np.array([0, 1], np.int32), "cols": np.array([1, 1], np.int32)},
        }[function]
        return function(**{**values, **{name: change(values[name]) for name, change in changes.items()}})

    return call


def by_line(**changes):
    values = {"indices": np.array([1, 0, 1], np.int32), "n": 2, "values": np.ones(3)}
    return core.by_line(**{**values, **{name: change(values[name]) for name, change in changes.items()}})


transpose, locate = (lines(core.transpose), lines(core.locate)) if core else (None, None)


def test_binding_takes_what_is_right():
    assert sort()[0].tolist() == [0, 1, 2, 3]
    assert transpose()[1].tolist() == [1, 0, 1]
    assert by_line().tolist() == [1, 1, 1]
    assert locate().tolist() == [0, -1]
    assert sort(rows=lambda a: a[:0], cols=lambda a: a[:0], values=lambda a: a[:0], m=lambda _: 0)[0].tolist() == [0]


@pytest.mark.parametrize(
    ("function", "changes", "error", "said"),
    [
        (sort, {"rows": lambda a: a[:-1]}, ValueError, r"rows has shape \(2,\); it has to be \(3,\)"),
        (sort, {"cols": lambda a: a[:, None]}, ValueError, r"cols has shape \(3, 1\); it has to be \(3,\)"),
        (sort, {"values": lambda a: a[:, None]}, ValueError, r"values has shape \(3, 1\); it has to be \(any,\)"),
        (sort, {"values": lambda a: np.append(a, a)}, ValueError, r"rows has shape \(3,\); it has to be \(6,\)"),
        (sort, {"rows": lambda a: a + 1}, IndexError, "out of range"),
        (sort, {"rows": lambda a: a - 1}, IndexError, "out of range"),
        (sort, {"cols": lambda a: a + 1}, IndexError, "out of range"),
        (sort, {"cols": lambda a: a - 1}, IndexError, "out of range"),
        (sort, {"m": lambda _: 0}, IndexError, "out of range"),
        (sort, {"n": lambda _: 0}, IndexError, "out of range"),
        (sort, {"m": lambda _: -1}, ValueError, "m is -1; it has to be from 0 to"),
        (sort, {"n": lambda _: 2**62}, ValueError, "n is 4611686018427387904; it has to be from 0 to"),
        (
            sort,
            {"rows": unaligned},
            ValueError,
            r"rows is not aligned to 4 bytes in memory; give a copy",
        ),
        (sort, {"values": unaligned}, ValueError, "values is not aligned"),
        (sort, {"rows": lambda a: a.astype(np.int64)}, TypeError, "incompatible function arguments"),
        (sort, {"rows": lambda a: np.repeat(a, 2)[::2]}, TypeError, "incompatible function arguments"),
        (sort, {"values": lambda a: a.astype(np.float16)}, TypeError, "incompatible function arguments"),
        (transpose, {"pointers": lambda a: a[:0]}, ValueError, r"pointers has shape \(0,\)"),
        (transpose, {"pointers": lambda a: a[:, None]}, ValueError, r"pointers has shape \(3, 1\)"),
        (transpose, {"pointers": lambda a: a + 1}, ValueError, r"pointers\[0\] is 1; it has to be 0"),
        (transpose, {"pointers": lambda a: a[[0, 2, 1]]}, ValueError, r"pointers\[2\] is less than pointers\[1\]"),
        (transpose, {"indices": lambda a: a[:-1]}, ValueError, r"indices has shape \(2,\); it has to be \(3,\)"),
        (transpose, {"indices": lambda a: a - 1}, IndexError, "out of range"),
        (transpose, {"n": lambda _: 2}, IndexError, "out of range"),
        (transpose, {"n": lambda _: -1}, ValueError, "n is -1"),
        (transpose, {"indices": unaligned}, ValueError, "indices is not aligned"),
        (by_line, {"values": lambda a: a[:-1]}, ValueError, r"values has shape \(2,\); it has to be \(3,\)"),
        (by_line, {"indices": lambda a: a + 1}, IndexError, "out of range"),
        (by_line, {"n": lambda _: -1}, ValueError, "n is -1"),
        (
            by_line,
            {"values": lambda a: np.repeat(a, 2)[::2]},
            ValueError,
            "values is not contiguous in row order",
        ),
        (by_line, {"values": lambda a: a.astype(object)}, ValueError, "values holds objects; give numbers"),
        (
            by_line,
            {"values": lambda a: a.astype(complex)},
            ValueError,
            "values has elements of 16 bytes; they need to have 1, 2, 4 or 8",
        ),
        (by_line, {"values": unaligned}, ValueError, "values is not aligned"),
        (by_line, {"values": lambda a: a.tolist()}, TypeError, "incompatible function arguments"),
        (locate, {"rows": lambda a: a + 1}, IndexError, "out of range"),
        (locate, {"rows": lambda a: a - 1}, IndexError, "out of range"),
        (locate, {"rows": lambda a: a[:-1]}, ValueError, r"cols has shape \(2,\); it has to be \(1,\)"),
        (locate, {"pointers": lambda a: a * 5}, ValueError, r"indices has shape \(3,\); it has to be \(15,\)"),
        (locate, {"cols": lambda a: a.astype(np.int64)}, TypeError, "incompatible function arguments"),
    ],
)
def test_binding_refuses(function, changes, error, said):
    with pytest.raises(error, match=said):
        function(**changes)


@pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="a sanitizer ends the process there")
@pytest.mark.parametrize("side", ["m", "n"])
def test_more_lines_than_memory_holds(side):
    with pytest.raises(MemoryError):
        sort(**{side: lambda _: 2**55})


def test_columns_that_no_row_holds_are_not_found():
    assert locate(cols=lambda a: a * 0 - 5).tolist() == [-1, -1]
    assert locate(cols=lambda a: a + 1000).tolist() == [-1, -1]
