"""Which positions of a matrix were observed: sorted by row and by column."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray
from scipy import sparse

from dmc import _arrays, _checks, _extensions
from dmc._arrays import Device


class SparseIndex(NamedTuple):
    """Entries line by line (a line is a row, or a column): those of line i are indices[indptr[i]:indptr[i+1]]."""

    indptr: Any  # (lines + 1,) int64
    indices: Any  # (observed,) int32, or int64 where the other side has 2³¹ lines


class BothOrders(NamedTuple):
    """A value for each observed entry, in row order and again in column order: no pass needs a permutation."""

    by_row: Any  # (observed,)
    by_column: Any  # (observed,)


@dataclass(frozen=True, eq=False)
class Pattern:
    """The set Ω of observed positions, sorted both ways.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns of the matrix.
    by_row, by_column : SparseIndex
        Pointers int64; indices int32 while they fit; ascending within each line; NumPy arrays, or torch tensors of one
        device. Not to be written to: kernels trust what was checked once.
    """

    shape: tuple[int, int]
    by_row: SparseIndex
    by_column: SparseIndex

    @property
    def n_observed(self) -> int:
        return len(self.by_row.indices)

    @property
    def device(self) -> Device:
        """Where the arrays live: None (NumPy), or torch's name of a device."""
        return _arrays.of(self.by_row.indices)

    def to(self, device: Device) -> Pattern:
        """The same positions on a device, None being NumPy; see `Observations.to`."""
        if device == self.device:
            return self
        orders = (SparseIndex(*(_arrays.place(a, device) for a in lines)) for lines in (self.by_row, self.by_column))
        return Pattern(self.shape, *orders)

    @cached_property
    def rows(self) -> Any:
        """(observed,) row of each entry, in row order."""
        m = self.shape[0]
        if self.device is None:
            return np.repeat(np.arange(m, dtype=_checks.index_dtype(m)), self.row_counts)
        xp = array_namespace(self.by_row.indptr)
        rows = xp.repeat(xp.arange(m, device=self.device), self.row_counts)
        return xp.astype(rows, self.by_column.indices.dtype)

    @property
    def cols(self) -> Any:
        """(observed,) column of each entry, in row order."""
        return self.by_row.indices

    @property
    def row_counts(self) -> Any:
        """(rows,) observed entries in each row, int64."""
        return self.by_row.indptr[1:] - self.by_row.indptr[:-1]

    @property
    def column_counts(self) -> Any:
        """(columns,) observed entries in each column, int64."""
        return self.by_column.indptr[1:] - self.by_column.indptr[:-1]

    @cached_property
    def column_order(self) -> Any:
        """(observed,) int64 place in row order of each entry in column order."""
        if self.device is None:
            return self.both_orders(np.arange(self.n_observed)).by_column
        return array_namespace(self.cols).argsort(self.cols, stable=True)

    def both_orders(self, values: Any) -> BothOrders:
        """Values given in row order (observed,), in both orders."""
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
        """The pattern whose rows are these, columns ascending within each."""
        m, n = shape
        if _arrays.of(by_row.indices) is not None:
            return cls._of_tensors(shape, by_row)
        pointers = by_row.indptr.astype(np.int64, copy=False)
        indices = by_row.indices.astype(_checks.index_dtype(n), copy=False)
        if _extensions.core is None:
            matrix = sparse.csr_array((np.ones(len(indices), np.int8), indices, pointers), shape=shape).tocsc()
            by_column = SparseIndex(
                matrix.indptr.astype(np.int64), matrix.indices.astype(_checks.index_dtype(m), copy=False)
            )
        else:
            by_column = SparseIndex(*_extensions.core.transpose(pointers, indices, n))
        return cls(shape, SparseIndex(pointers, indices), by_column)

    @classmethod
    def _of_tensors(cls, shape: tuple[int, int], by_row: SparseIndex) -> Pattern:
        """The same on a device: by a stable sort, for which torch has a fast one."""
        m, n = shape
        xp = array_namespace(by_row.indices)
        row_type, column_type = (getattr(xp, np.dtype(_checks.index_dtype(size)).name) for size in shape)
        indices = xp.astype(by_row.indices, column_type, copy=False)
        order = xp.argsort(indices, stable=True)
        counts = by_row.indptr[1:] - by_row.indptr[:-1]
        rows = xp.repeat(xp.arange(m, dtype=row_type, device=indices.device), counts)
        pattern = cls(shape, SparseIndex(by_row.indptr, indices), SparseIndex(pointers_of(indices, n), rows[order]))
        vars(pattern)["column_order"] = order  # in the place of the cached property, which would sort again
        return pattern


def plain(array: NDArray[Any], dtype: Any = None) -> NDArray[Any]:
    """As the core takes arrays: without gaps, aligned; a copy only where they are not."""
    return np.require(array, dtype, ["C", "A"])


def pointers_of(lines: Any, count: int) -> Any:
    """(count + 1,) where each line's entries begin among all of them, from the line of each entry; on a device."""
    xp = array_namespace(lines)
    return xp.cumulative_sum(xp.bincount(lines, minlength=count), include_initial=True)
