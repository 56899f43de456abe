"""The observed positions of a matrix, sorted by row and, on demand, by column."""

from __future__ import annotations

from dataclasses import dataclass
from mmap import mmap
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import DTypeLike, NDArray
from scipy import sparse

from dmc import _arrays, _checks, _extensions
from dmc._arrays import Array, Device
from dmc._extensions import Entries
from dmc._locks import cached_property


class SparseIndex(NamedTuple):
    """Entries row by row, or column by column: those of row i are in the columns indices[indptr[i]:indptr[i+1]]."""

    indptr: Array  # (rows + 1,) int64
    indices: Array  # (observed,) int32, or int64 where the matrix has 2³¹ columns

    def compiled(self, others: int) -> Any:
        """Prepare the entries for the compiled core: check the indices, and cut the work into pieces."""
        kind = _extensions.core.Entries if self.indices.dtype == np.int32 else _extensions.core.WideEntries
        return kind(plain(self.indptr), plain(self.indices), others)

    def take(self, rows: NDArray[Any]) -> tuple[SparseIndex, NDArray[np.int64]]:
        """Select rows, by number or by mask (NumPy arrays only); also returns which entries are theirs."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        counts = np.diff(self.indptr)[rows]
        ends = np.concatenate([[0], np.cumsum(counts)])
        entries = np.arange(ends[-1]) + np.repeat(self.indptr[rows] - ends[:-1], counts)
        return SparseIndex(ends, self.indices[entries]), entries


class BothOrders(NamedTuple):
    """A value for each observed entry, in row order and in column order, so that no pass needs a permutation."""

    by_row: Array  # (observed,)
    by_column: Array  # (observed,)


ROWS, COLUMNS = 0, 1  # the two sides of a matrix, and where in a `BothOrders` their order stands


@dataclass(frozen=True, eq=False)
class Pattern:
    """The set Ω of observed positions, sorted by row; everything derived from it is computed once, at first use.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns of the matrix.
    by_row : SparseIndex
        Entries by row: pointers int64; indices int32 if large enough, ascending within each row; read-only NumPy
        arrays, or torch tensors of one device.
    """

    shape: tuple[int, int]
    by_row: SparseIndex

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_row", _read_only(self.by_row))

    def __getstate__(self) -> dict[str, Any]:
        return {"shape": self.shape, "by_row": self.by_row}

    def __setstate__(self, state: dict[str, Any]) -> None:
        shape = _checks.shape(state["shape"], 0)  # one process of several may have no rows
        vars(self).update(shape=shape, by_row=_read_only(state["by_row"]))
        if self.device is None:  # torch checks its own
            self._checked(ROWS)

    @cached_property
    def by_column(self) -> SparseIndex:
        """The entries by column: `by_row` of the transposed matrix."""
        m, n = self.shape
        indptr, indices = self.by_row
        if self.device is not None:
            return SparseIndex(pointers_of(indices, n), self.rows[self.column_order])
        if _extensions.core is not None:
            return _read_only(SparseIndex(*_extensions.core.transpose(indptr, indices, n)))
        matrix = self.csr(np.ones(len(indices), np.int8)).tocsc()
        own = matrix.indices.astype(_checks.index_dtype(m), copy=False)
        return _read_only(SparseIndex(matrix.indptr.astype(np.int64), own))

    @property
    def transposed(self) -> Pattern:
        """The pattern of the transposed matrix, with the two orders exchanged."""
        m, n = self.shape
        other = Pattern((n, m), self.by_column)
        vars(other)["by_column"] = self.by_row  # in the place of the cached property
        return other

    def entries(self, side: int) -> SparseIndex:
        """`by_row` for ROWS, `by_column` for COLUMNS."""
        return self.by_column if side else self.by_row

    def prepared(self, side: int) -> Entries:
        """The entries of a side, prepared for the compiled core: indices checked, work cut into pieces."""
        return self._core_columns if side else self._core_rows

    @cached_property
    def _core_rows(self) -> Entries:
        return self._of_core(self.by_row, self.shape[1])

    @cached_property
    def _core_columns(self) -> Entries:
        return self._of_core(self.by_column, self.shape[0])

    def checked(self, side: int) -> SparseIndex:
        """The entries of a side as checked NumPy arrays, which compiled code may use without checks."""
        return self._checked_columns if side else self._checked_rows

    @cached_property
    def _checked_rows(self) -> SparseIndex:
        return self._checked(ROWS)

    @cached_property
    def _checked_columns(self) -> SparseIndex:
        return self._checked(COLUMNS)

    def _checked(self, side: int) -> SparseIndex:
        entries, (lines, others) = self.entries(side), self.shape[:: -1 if side else 1]
        indptr, indices = (_arrays.place(array, None) for array in entries)
        if indptr.shape != (lines + 1,) or indices.ndim != 1 or indptr[0] != 0 or indptr[-1] != len(indices):
            raise ValueError(
                f"a pattern has an indptr of shape {indptr.shape} and indices of shape {indices.shape} for {lines} "
                "rows; make patterns by dmc.observe or Observations.from_entries"
            )
        if (np.diff(indptr) < 0).any() or not -1 < indices.min(initial=0) <= indices.max(initial=0) < max(others, 1):
            raise ValueError(
                f"a pattern has indices outside of {_checks.count(others, 'column')}, or an indptr that does not "
                "ascend; make patterns by dmc.observe or Observations.from_entries"
            )
        return entries

    def _of_core(self, entries: SparseIndex, others: int) -> Entries:
        # The core wants one dtype for both sides; int64 is that of a matrix with 2³¹ rows or columns.
        wide = self.by_row.indices.dtype != np.int32 or _checks.index_dtype(self.shape[0]) != np.int32
        indices = np.asarray(entries.indices).astype(np.int64 if wide else np.int32, copy=False)
        return entries._replace(indices=indices).compiled(others)

    def positions(self, side: int) -> tuple[Array, Array]:
        """(observed,) index of each entry on a side and on the other one, in the order of that side."""
        if side == ROWS:
            return self.rows, self.cols
        return self._columns_of_entries, self.by_column.indices

    @cached_property
    def _columns_of_entries(self) -> Array:
        """(observed,) column of each entry, in column order."""
        return self._repeated(self.shape[1], self.column_counts)

    def _repeated(self, size: int, counts: Array) -> Array:
        if self.device is None:
            return read_only(np.repeat(np.arange(size, dtype=_checks.index_dtype(size)), counts))
        xp = array_namespace(counts)
        dtype = getattr(xp, np.dtype(_checks.index_dtype(size)).name)
        return xp.repeat(xp.arange(size, dtype=dtype, device=self.device), counts)

    @property
    def n_observed(self) -> int:
        return len(self.by_row.indices)

    @property
    def device(self) -> Device:
        """Where the arrays live: None for NumPy arrays, else the name of a torch device."""
        return _arrays.of(self.by_row.indices)

    def to(self, device: Device) -> Pattern:
        """Move the positions to a device, None for NumPy arrays; see `Observations.to`."""
        if device == self.device:
            return self
        moved = Pattern(self.shape, _placed(self.by_row, device))
        if "by_column" in vars(self):
            vars(moved)["by_column"] = _read_only(_placed(self.by_column, device))
        return moved

    @cached_property
    def rows(self) -> Array:
        """(observed,) row of each entry, in row order."""
        return self._repeated(self.shape[0], self.row_counts)

    @property
    def cols(self) -> Array:
        """(observed,) column of each entry, in row order."""
        return self.by_row.indices

    @property
    def row_counts(self) -> Array:
        """(rows,) observed entries in each row, int64."""
        return self.by_row.indptr[1:] - self.by_row.indptr[:-1]

    @property
    def column_counts(self) -> Array:
        """(columns,) observed entries in each column, int64."""
        return self.by_column.indptr[1:] - self.by_column.indptr[:-1]

    @cached_property
    def column_order(self) -> Array:
        """(observed,) int64 position in row order of each entry in column order."""
        if self.device is None:
            return read_only(self.both_orders(np.arange(self.n_observed)).by_column)
        return array_namespace(self.cols).argsort(self.cols, stable=True)

    def both_orders(self, values: Array) -> BothOrders:
        """Values in both orders, from (observed,) values in row order."""
        if self.device is not None:
            return BothOrders(values, values[self.column_order])
        values = plain(values)
        if _extensions.core is None:
            return BothOrders(values, self.csr(values).tocsc().data)
        return BothOrders(values, _extensions.core.by_line(self.by_row.indices, self.shape[1], values))

    def csr(self, values: NDArray[Any]) -> sparse.csr_array:
        matrix = sparse.csr_array((values, self.by_row.indices, self.by_row.indptr), shape=self.shape, copy=False)
        matrix.has_canonical_format = True
        return matrix

    @classmethod
    def of(cls, shape: tuple[int, int], by_row: SparseIndex) -> Pattern:
        """Make the pattern of rows whose columns ascend."""
        xp = array_namespace(by_row.indices)
        dtype = getattr(xp, np.dtype(_checks.index_dtype(shape[1])).name)
        indptr, indices = (
            xp.astype(array, to, copy=False) for array, to in zip(by_row, (xp.int64, dtype), strict=True)
        )
        return cls(shape, SparseIndex(indptr, indices))


def _placed(entries: SparseIndex, device: Device) -> SparseIndex:
    return SparseIndex(*(_arrays.place(array, device) for array in entries))


def _read_only(entries: SparseIndex) -> SparseIndex:
    return SparseIndex(*(read_only(array) for array in entries))


def read_only(array: Array) -> Array:
    """Return a NumPy array whose numbers nobody can change; tensors are returned as they are.

    A flag can be set back, and the memory behind a view may be somebody else's: they are copied into a bytes object,
    unless they lie in one already, or in a file that is mapped for reading.
    """
    if not isinstance(array, np.ndarray) or _is_immutable(array):
        return array
    if array.dtype.hasobject or not array.size:
        array = array.copy()
        array.flags.writeable = False
        return array
    return np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)


def _is_immutable(array: NDArray[Any]) -> bool:
    """Whether nobody can write to the memory, through any view; the core checks the same (csrc/bind.h)."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        if owner.flags.writeable:
            return False
        owner = owner.base
    return isinstance(owner, bytes) or (isinstance(owner, mmap) and memoryview(owner).readonly)


def plain(array: Array, dtype: DTypeLike | None = None) -> NDArray[Any]:
    """Return an array as the core takes it, contiguous and aligned; copied only where it is not."""
    if dtype is None and isinstance(array, np.ndarray) and array.flags.c_contiguous and array.flags.aligned:
        return array  # as most are; to ask NumPy for it takes as long as a small product
    return np.require(array, dtype, ["C", "A"])


def pointers_of(lines: Array, count: int) -> Array:
    """(count + 1,) start of each row among all entries, from the row of each entry; on a device."""
    xp = array_namespace(lines)
    return xp.cumulative_sum(xp.bincount(lines, minlength=count), include_initial=True)
