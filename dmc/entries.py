"""Entries in any order: sorting them row by row, merging duplicates, and holding some out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
from array_api_compat import array_namespace, device as device_of
from scipy import sparse

from dmc import _arrays, _checks, _extensions
from dmc._group import Group, Share
from dmc.pattern import Pattern, SparseIndex, plain, pointers_of

TOGETHER = 1 << 23  # entries sorted at a time, where there are many
PART = 1 << 20  # entries looked at together: what is made of them on the way stays in the caches

Duplicates = Literal["error", "mean", "last", "sum"]


class SortedEntries(NamedTuple):
    """Entries row by row, columns ascending within a row, duplicates in the order given."""

    by_row: SparseIndex
    values: Any
    repeats: int  # entries that repeat the position before them
    first: int  # the first of these


def sort_entries(rows: Any, cols: Any, values: Any, shape: tuple[int, int]) -> SortedEntries:
    m, n = shape
    if _arrays.of(values) is not None:
        return _sort_tensors(rows, cols, values, shape)
    if _extensions.core is not None:
        index = np.int32 if rows.dtype == cols.dtype == np.int32 else np.int64
        given = plain(rows, index), plain(cols, index), plain(values)
        try:
            if len(given[2]) > 2 * TOGETHER:
                return _sort_in_parts(*given, shape)
            pointers, indices, ordered, *repeats = _extensions.core.sort_entries(*given, m, n)
        except IndexError:  # which only says that one is out of range: these say which
            _checks.indices(rows, m, "row")
            _checks.indices(cols, n, "column")
            raise
        return SortedEntries(SparseIndex(pointers, indices), ordered, *repeats)
    rows, cols = _checks.indices(rows, m, "row"), _checks.indices(cols, n, "column")
    # By column, then by row: a conversion of SciPy's is a stable counting sort. Here each line of `given` is one entry.
    given = sparse.csr_array((values, cols, np.arange(len(values) + 1)), shape=(len(values), n)).tocsc()
    columns = sparse.csc_array((given.data, rows[given.indices], given.indptr), shape=shape)
    matrix = columns.tocsr()
    again = np.flatnonzero(~_new(matrix.indptr, matrix.indices))
    return SortedEntries(
        SparseIndex(matrix.indptr, matrix.indices), matrix.data, len(again), int(again[0]) if len(again) else -1
    )


def _sort_in_parts(rows: Any, cols: Any, values: Any, shape: tuple[int, int]) -> SortedEntries:
    """The same for a few rows at a time: sorting takes three times the memory of what it sorts."""
    m, n = shape
    counts = np.zeros(m + 1, np.int64)
    for first in range(0, len(rows), PART):
        part = rows[first : first + PART]
        if not 0 <= part.min() <= part.max() < m:
            raise IndexError
        counts[1:] += np.bincount(part, minlength=m)
    pointers = np.cumsum(counts)
    indices, ordered = np.empty(len(rows), _checks.index_dtype(max(m, n))), np.empty_like(values)
    repeats, first_repeat = 0, -1
    for begin, end in _some_rows(pointers):
        found = _extensions.core.sort_entries(*_of_rows(begin, end, rows, cols, values), end - begin, n)
        at = slice(pointers[begin], pointers[end])
        indices[at], ordered[at] = found[1:3]
        repeats += found[3]
        first_repeat = int(at.start + found[4]) if first_repeat < 0 <= found[4] else first_repeat
    return SortedEntries(SparseIndex(pointers, indices), ordered, repeats, first_repeat)


def _some_rows(pointers: Any) -> Iterator[tuple[int, int]]:
    """Ranges of rows (first, end) of about TOGETHER entries each, which cover all rows."""
    ends = np.searchsorted(pointers, np.arange(TOGETHER, pointers[-1] + TOGETHER, TOGETHER))
    ends[ends == ends[-1]] = len(pointers) - 1  # the last rows may be empty
    return pairwise([0, *np.unique(ends[ends > 0]).tolist()])


def _of_rows(begin: int, end: int, *entries: Any) -> tuple[Any, ...]:
    """The entries of some rows, numbered from 0, in the order given."""
    kept: tuple[list[Any], ...] = ([], [], [])
    for first in range(0, len(entries[0]), PART):
        rows, cols, values = (one[first : first + PART] for one in entries)
        inside = np.flatnonzero((rows >= begin) & (rows < end))
        for some, part in zip(kept, (rows[inside] - rows.dtype.type(begin), cols[inside], values[inside]), strict=True):
            some.append(part)
    return tuple(map(np.concatenate, kept))


def _sort_tensors(rows: Any, cols: Any, values: Any, shape: tuple[int, int]) -> SortedEntries:
    xp = array_namespace(values)
    for axis, given, size in (("row", rows, shape[0]), ("column", cols, shape[1])):
        if not 0 <= int(given.min()) <= int(given.max()) < size:
            _checks.indices(_arrays.place(given, None), size, axis)  # says which
    order = xp.argsort(cols, stable=True)
    order = order[xp.argsort(rows[order], stable=True)]
    indices = xp.astype(cols[order], getattr(xp, np.dtype(_checks.index_dtype(shape[1])).name))
    by_row = SparseIndex(pointers_of(rows, shape[0]), indices)
    (again,) = xp.nonzero(~_new(*by_row))
    return SortedEntries(by_row, values[order], len(again), int(again[0]) if len(again) else -1)


def _new(pointers: Any, indices: Any) -> Any:
    """(observed,) whether an entry has another position than the one before it."""
    xp = array_namespace(indices)
    new = xp.ones(len(indices), dtype=xp.bool, device=device_of(indices))
    new[1:] = indices[1:] != indices[:-1]
    new[pointers[:-1][pointers[1:] > pointers[:-1]]] = True
    return new


def merge_repeats(by_row: SparseIndex, values: Any, duplicates: Duplicates) -> tuple[SparseIndex, Any]:
    """Merge duplicates into one value per position; with many entries, in the memory of the given ones."""
    if isinstance(values, np.ndarray) and len(values) > 2 * TOGETHER:
        return _merge_in_parts(by_row, values, duplicates)
    return _merge(by_row, values, duplicates)


def _merge_in_parts(by_row: SparseIndex, values: Any, duplicates: Duplicates) -> tuple[SparseIndex, Any]:
    """The same for a few rows at a time: all at once would take several times the memory of the entries."""
    pointers, size = np.zeros_like(by_row.indptr), 0
    indices, merged = by_row.indices, values  # what is written stands before what is still to be read
    for begin, end in _some_rows(by_row.indptr):
        first, last = by_row.indptr[begin], by_row.indptr[end]
        part = SparseIndex(by_row.indptr[begin : end + 1] - first, by_row.indices[first:last])
        (of_part, own), found = _merge(part, values[first:last], duplicates)
        pointers[begin + 1 : end + 1] = size + of_part[1:]
        indices[size : size + len(own)], merged[size : size + len(own)] = own, found
        size += len(own)
    return SparseIndex(pointers, indices[:size]), merged[:size]


def _merge(by_row: SparseIndex, values: Any, duplicates: Duplicates) -> tuple[SparseIndex, Any]:
    xp = array_namespace(values)
    (first,) = xp.nonzero(_new(*by_row))
    ends = xp.concat([first[1:], by_row.indptr[-1:]])
    if duplicates == "last":
        merged = values[ends - 1]
    else:
        with np.errstate(over="ignore"):
            sums = (
                np.add.reduceat(values, first)
                if isinstance(values, np.ndarray)
                else xp.segment_reduce(values, "sum", lengths=ends - first)
            )
        if not bool(xp.isfinite(sums).all()):
            raise ValueError(f"values of repeated entries add up to more than {values.dtype} holds; divide all of them")
        merged = sums if duplicates == "sum" else sums / xp.astype(ends - first, values.dtype)
    return SparseIndex(xp.searchsorted(first, by_row.indptr), by_row.indices[first]), merged


def drawn_for_test(
    pattern: Pattern, fraction: float, rng: np.random.Generator, share: Share
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Choose a share of the entries of all processes to hold out; each row and column keeps its last drawn entry.

    Raises
    ------
    ValueError
        If no entry can be spared; in all processes.
    """
    group, n_own = share.group, pattern.n_observed
    priority = share.draw(
        rng,
        share.of_parts(np.asarray(pattern.by_row.indptr)),
        lambda of_part, n: of_part.random(n) if share.hashed else of_part.permutation(n),
    )
    spare = np.ones(n_own, bool)
    for kept in (
        _last_of_each(pattern.by_row, priority),
        group.max(_last_of_each(pattern.by_column, pattern.both_orders(priority).by_column)),
    ):
        spare[np.isin(priority, kept)] = False
    n_observed, n_spare = (int(n) for n in group.sum(np.array([n_own, spare.sum()])))
    if n_spare == 0:
        raise ValueError(
            f"none of the {n_observed:,} observed entries can be held out without emptying a row or a column; "
            "fit without a held-out part"
        )
    n_test = min(n_spare, max(1, round(fraction * n_observed)))
    test: np.ndarray[Any, np.dtype[np.bool_]] = spare & (priority <= _smallest(priority[spare], n_test, group))
    return test


def _last_of_each(lines: SparseIndex, priority: Any) -> Any:
    """(rows,) the largest number among each row's entries; −1 where there are none."""
    found = np.full(len(lines.indptr) - 1, -1, priority.dtype)
    filled = np.flatnonzero(np.diff(lines.indptr))
    if len(filled):
        found[filled] = np.maximum.reduceat(priority, lines.indptr[filled])
    return found


def _smallest(values: Any, count: int, group: Group) -> float:
    """A bound that `count` of all processes' values do not exceed; with several processes, values are from 0 to 1."""
    if group.size == 1:
        return float(np.partition(values, count - 1)[count - 1])
    ordered, low, high = np.sort(values), 0.0, 1.0
    while True:
        middle = (low + high) / 2
        below = int(group.sum(int(np.searchsorted(ordered, middle, side="right"))))
        if below == count or middle in (low, high):
            return middle
        low, high = (middle, high) if below < count else (low, middle)
