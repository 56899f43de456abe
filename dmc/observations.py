"""Observed entries: their positions, sorted by row and by column, and their values, checked when they are made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from dmc import _arrays, _checks, _extensions, _memory
from dmc._arrays import Array, Device
from dmc._bidiagonal import largest_singular_value
from dmc._group import ALONE, Group, Share
from dmc.entries import Duplicates, drawn_for_test, merge_repeats, sort_entries
from dmc.pattern import COLUMNS, ROWS, Pattern, SparseIndex, plain, read_only


class DuplicateEntries(ValueError):
    """Raised where a position occurs more than once and each has to occur once.

    Attributes
    ----------
    count : int
        Entries that repeat an earlier position.
    row, column : int
        Position of the first of them.
    """

    def __init__(self, count: int, row: int, column: int, remedy: str) -> None:
        super().__init__(count, row, column, remedy)
        self.count: int = count
        self.row: int = row
        self.column: int = column
        self.remedy: str = remedy

    def __str__(self) -> str:
        repeat = _checks.count(self.count, "entry repeats", "entries repeat")
        return f"{repeat} a position given before, the first at row {self.row}, column {self.column}; {self.remedy}"


@_memory.methods_in_words
@dataclass(frozen=True, eq=False)
class Observations:
    """The observed entries of a matrix.

    Make them with `dmc.observe` or `Observations.from_entries`, which check their input; the constructor does not.

    Parameters
    ----------
    pattern : Pattern
        The observed positions.
    values : (observed,) float32 or float64
        In row order (row by row, columns ascending), in the units of the data; a read-only NumPy array or a torch
        tensor, like the arrays of the pattern.
    weights : (observed,) array or None
        Weight of each entry, in the order and dtype of the values; None: all equal.

    Examples
    --------
    >>> import dmc
    >>> observed = dmc.Observations.from_entries(rows=[0, 1, 1], cols=[2, 0, 2], values=[5.0, 3.0, 1.0])
    >>> observed
    Observations(2×3, 3 observed = 50 %, float64)
    >>> observed.to_scipy().toarray()
    array([[0., 0., 5.],
           [3., 0., 1.]])
    """

    pattern: Pattern
    values: Array
    weights: Array | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", read_only(self.values))
        if self.weights is not None:
            object.__setattr__(self, "weights", read_only(self.weights))

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(pattern=state["pattern"], values=state["values"], weights=state["weights"])
        self.__post_init__()
        for name in ("values", "weights"):
            found = getattr(self, name)
            if found is not None and found.shape != (self.n_observed,):
                raise ValueError(f"{name} has shape {tuple(found.shape)} for {self.n_observed:,} observed entries")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix."""
        return self.pattern.shape

    @property
    def device(self) -> Device:
        """Where the arrays live: None for NumPy arrays, else the name of a torch device such as "cuda:0"."""
        return self.pattern.device

    def to(self, device: Device) -> Observations:
        """Move the entries to a device.

        Parameters
        ----------
        device : str or None
            "cpu" or "cuda" for torch tensors there; None for NumPy arrays.

        Returns
        -------
        Observations
            The same object, if it is there already.

        Raises
        ------
        ImportError, ValueError
            If torch is not installed, or has no such device.
        """
        device = _arrays.checked(device)
        if device == self.device:
            return self
        weights = None if self.weights is None else _arrays.place(self.weights, device)
        return Observations(self.pattern.to(device), _arrays.place(self.values, device), weights)

    @property
    def rows(self) -> Array:
        """(observed,) row of each entry, ascending; int32 if large enough."""
        return self.pattern.rows

    @property
    def cols(self) -> Array:
        """(observed,) column of each entry, ascending within a row; int32 if large enough."""
        return self.pattern.cols

    @property
    def n_observed(self) -> int:
        """Number of observed entries."""
        return self.pattern.n_observed

    @property
    def density(self) -> float:
        """Observed share of the matrix, from 0 to 1."""
        m, n = self.shape
        return self.n_observed / (m * n)

    @property
    def dtype(self) -> Any:
        """Dtype of the values: float32 or float64, NumPy's or torch's."""
        return self.values.dtype

    def __repr__(self) -> str:
        m, n = self.shape
        where = "" if self.device is None else f", {self.device}"
        return f"Observations({m}×{n}, {self.n_observed:,} observed = {100 * self.density:.3g} %, {self.dtype}{where})"

    def with_values(self, values: ArrayLike | Array) -> Observations:
        """Replace the values at the same positions; weights are kept.

        Parameters
        ----------
        values : (observed,) array
            In row order; moved to the device of these observations.

        Returns
        -------
        Observations
            With the new values, which are not checked.
        """
        values = values if _arrays.is_tensor(values) else np.asarray(values)
        return Observations(self.pattern, _arrays.place(values, self.device), self.weights)

    def to_scipy(self) -> sparse.csr_array:
        """Convert to a SciPy sparse matrix.

        Returns
        -------
        (rows, columns) CSR array
            Observed zeros stay stored. NumPy arrays share their memory with it.
        """
        return self.pattern.to(None).csr(_arrays.place(self.values, None))

    def linear_operator(self) -> sparse.csr_array | LinearOperator:
        """Wrap the matrix, zero where nothing was observed, for SciPy's iterative solvers.

        Returns
        -------
        CSR array or scipy.sparse.linalg.LinearOperator
            The operator for tensors: it computes each product on their device, and only vectors travel.
        """
        if self.device is None:
            return self.to_scipy()
        xp = array_namespace(self.values)
        by_row, by_column = self.pattern.both_orders(self.values)

        def product(vector: NDArray[Any], side: int, values: Array) -> NDArray[Any]:
            x, (indptr, indices) = _arrays.place(vector.ravel(), self.device), self.pattern.entries(side)
            x = xp.astype(x, self.dtype)
            return _arrays.place(xp.segment_reduce(values * x[indices], "sum", offsets=indptr), None)

        return LinearOperator(
            self.shape,
            lambda x: product(x, ROWS, by_row),
            lambda x: product(x, COLUMNS, by_column),
            dtype=_arrays.place(self.values[:0], None).dtype,
        )

    def spectral_norm(self, group: Group = ALONE) -> float:
        """Compute the largest singular value, to a percent, of the matrix that is zero where nothing was observed.

        Parameters
        ----------
        group : Group
            The processes among which the rows are dealt; by default there is one.

        Returns
        -------
        float
            In the units of the data.
        """
        xp = array_namespace(self.values)
        largest = float(xp.max(xp.abs(self.values))) if self.n_observed else 0.0
        largest = float(group.max(np.array([largest]))[0])
        if largest == 0:
            return 0.0
        scaled = self.with_values(self.values / largest)  # squares stay inside the range of the dtype
        return largest * largest_singular_value(scaled.linear_operator(), group=group)

    def take(self, keep: Array) -> Observations:
        """Select entries; the shape of the matrix stays.

        Parameters
        ----------
        keep : (observed,) bool
            True for the entries to keep.

        Returns
        -------
        Observations
            These entries.

        Examples
        --------
        >>> import dmc
        >>> observed = dmc.Observations.from_entries([0, 1, 1], [2, 0, 2], [5.0, 3.0, 1.0])
        >>> observed.take(observed.values > 2).n_observed
        2
        """
        xp = array_namespace(self.values)
        (kept,) = xp.nonzero(_arrays.place(keep, self.device))
        by_row = SparseIndex(xp.searchsorted(kept, self.pattern.by_row.indptr), self.cols[kept])
        return Observations(Pattern.of(self.shape, by_row), self.values[kept], self._weights_at(kept))

    def among(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> Observations:
        """Select rows and columns of the matrix; NumPy arrays only.

        Parameters
        ----------
        rows, cols : integers
            Ascending.

        Returns
        -------
        Observations
            The submatrix of these rows and columns.
        """
        index, entries = self.pattern.by_row.take(rows)
        number = np.full(self.shape[1], -1, index.indices.dtype)
        number[cols] = np.arange(len(cols))
        columns = number[index.indices]
        kept = np.flatnonzero(columns >= 0)
        by_row, entries = SparseIndex(np.searchsorted(kept, index.indptr), columns[kept]), entries[kept]
        return self.from_lines(by_row, self.values[entries], (len(rows), len(cols)), self._weights_at(entries))

    def repeat_rows(self, times: NDArray[np.int64]) -> tuple[Observations, NDArray[np.int64]]:
        """Repeat rows; NumPy arrays only.

        Parameters
        ----------
        times : (rows,) integers
            How often each row occurs in the result.

        Returns
        -------
        observations : Observations
            Of the repeated rows.
        origin : (new rows,) int64 array
            The row that each of them was.
        """
        origin = np.repeat(np.arange(self.shape[0]), times)
        by_row, entries = self.pattern.by_row.take(origin)
        weights = self._weights_at(entries)
        return self.from_lines(by_row, self.values[entries], (len(origin), self.shape[1]), weights), origin

    def _weights_at(self, entries: Array) -> Array | None:
        return None if self.weights is None else self.weights[entries]

    def locate(self, rows: ArrayLike, cols: ArrayLike) -> NDArray[np.int64]:
        """Find where the entries at given positions stand in `values`.

        ``observed.values[observed.locate(rows, cols)]`` are the values at observed positions in the order of `rows` and
        `cols`. Use it to bring results for each entry back into the order in which you gave the entries.

        Parameters
        ----------
        rows, cols : (pairs,) integers
            Zero-based positions.

        Returns
        -------
        (pairs,) int64 array
            Indices into `values`, which is in row order; −1 where the position was not observed.

        Raises
        ------
        ValueError
            If an index is out of range or the lengths differ.
        TypeError
            If indices are not integers.

        Examples
        --------
        >>> import dmc
        >>> observed = dmc.Observations.from_entries(rows=[1, 0], cols=[0, 1], values=[7.0, 4.0])
        >>> observed.values, observed.locate([1, 0, 0], [0, 1, 0])
        (array([4., 7.]), array([ 1,  0, -1]))
        """
        m, n = self.shape
        pointers, indices = self.pattern.to(None).by_row
        rows, cols = _checks.indices(rows, m, "row"), _checks.indices(cols, n, "column")
        _checks.same_length(rows=rows, cols=cols)
        if _extensions.core is not None:
            return _extensions.core.locate(pointers, indices, plain(rows), plain(cols, indices.dtype))
        low, end = pointers[rows], pointers[1:][rows]
        high = end
        while (low < high).any():  # a binary search in the row of each pair, all of them at once
            middle = (low + high) // 2
            before = low < high
            before[before] = indices[middle[before]] < cols[before]
            low, high = np.where(before, middle + 1, low), np.where(before, high, np.minimum(middle, high))
        found = low < end
        found[found] = indices[low[found]] == cols[found]
        return np.where(found, low, -1)

    def split(
        self, test_fraction: float, seed: int | np.random.Generator = 0, share: Share | None = None
    ) -> tuple[Observations, Observations]:
        """Split the entries at random into a training and a test part, both of the full shape.

        One random entry of each row and column always stays in the training part, so that every test entry can be
        predicted from data. With very few entries the test part is therefore smaller than `test_fraction`.

        Parameters
        ----------
        test_fraction : float
            Share of the observed entries that go to the test part, between 0 and 1.
        seed : int or numpy.random.Generator
            The same seed gives the same split.
        share : Share, optional
            If these are the entries of one process among several: the split is then of the entries of all.

        Returns
        -------
        train : Observations
            The entries to fit.
        test : Observations
            The entries to test on.

        Raises
        ------
        ValueError
            If the fraction is not between 0 and 1, or if no entry can be spared.

        Examples
        --------
        >>> import numpy as np
        >>> import dmc
        >>> train, test = dmc.observe(np.ones((10, 10))).split(0.2)
        >>> train.n_observed, test.n_observed
        (80, 20)
        """
        fraction = _checks.real(test_fraction, "test_fraction", 0, 1, open_ends=True)
        share = share or Share.whole(self.shape[0])
        test = drawn_for_test(self.pattern.to(None), fraction, np.random.default_rng(seed), share)
        return self.take(~test), self.take(test)

    @classmethod
    def from_lines(
        cls, by_row: SparseIndex, values: NDArray[Any], shape: tuple[int, int], weights: Array | None = None
    ) -> Observations:
        """Make observations from rows that are sorted already; nothing is checked.

        Parameters
        ----------
        by_row : SparseIndex
            Columns ascending within each row.
        values : (observed,) array
            In this order.
        shape : (int, int)
            Rows and columns.
        weights : (observed,) array, optional
            Weight of each entry.

        Returns
        -------
        Observations
            Of these entries.
        """
        return cls(Pattern.of(shape, by_row), values, weights)

    @classmethod
    def from_entries(
        cls,
        rows: ArrayLike,
        cols: ArrayLike,
        values: ArrayLike,
        shape: tuple[int, int] | None = None,
        duplicates: Duplicates = "error",
        weights: ArrayLike | None = None,
    ) -> Observations:
        """Make observations from (row, column, value) triplets in any order.

        Parameters
        ----------
        rows, cols : (observed,) integers
            Zero-based positions.
        values : (observed,) real numbers
            Kept in float32; float16 becomes float32, all else float64. The entries of a torch tensor are sorted
            on its device, and stay there.
        shape : (int, int), optional
            Rows and columns of the matrix; by default just large enough for the largest indices.
        duplicates : {"error", "mean", "last", "sum"}
            What to do when a position occurs more than once: raise, average, keep the last one given, or add up.
        weights : (observed,) real numbers, optional
            Weight of each entry, above 0. Averaged entries get the average of their weights; with "sum" there are none.

        Returns
        -------
        Observations
            On the device of the values.

        Raises
        ------
        DuplicateEntries
            If a position occurs twice under ``duplicates="error"``.
        ValueError
            If there is no entry, an index is out of range, a value is not finite, a weight is not above 0, or lengths
            differ.
        TypeError
            If indices are not integers or values not real numbers.

        Examples
        --------
        >>> import dmc
        >>> observed = dmc.Observations.from_entries([0, 0, 1], [1, 1, 0], [2.0, 4.0, 5.0], duplicates="mean")
        >>> observed.values
        array([3., 5.])
        """
        _checks.choice(duplicates, "duplicates", ("error", "mean", "last", "sum"))
        v = _as_float(values, "values")
        i, j = _as_indices(rows, "row indices", v), _as_indices(cols, "column indices", v)
        _checks.same_length(rows=i, cols=j, values=v)
        if len(v) == 0:
            raise ValueError("there are no observed entries; give at least one")
        size = (max(int(i.max()) + 1, 1), max(int(j.max()) + 1, 1)) if shape is None else _checks.shape(shape)
        remedy = "number rows and columns from 0 without gaps, or use dmc.Recommender for ids of any kind"
        _checks.memory(8 * sum(size), f"an index of the rows of a {size[0]}×{size[1]} matrix", remedy)
        if weights is not None:
            return cls._weighted(i, j, v, size, duplicates, weights)
        by_row, ordered, repeats, first = sort_entries(i, j, v, size)
        with np.errstate(over="ignore"):
            total = float(v.sum())
        if not math.isfinite(total):  # by one of them, or by their number: the host tells
            _checks.finite(_arrays.place(v, None), "values")
        if repeats and duplicates == "error":
            row = np.searchsorted(_arrays.place(by_row.indptr, None), first, side="right") - 1
            remedy = "pass duplicates='mean' or duplicates='last'"
            raise DuplicateEntries(repeats, int(row), int(by_row.indices[first]), remedy)
        if repeats:
            by_row, ordered = merge_repeats(by_row, ordered, duplicates)
        return cls(Pattern.of(size, by_row), ordered)

    @classmethod
    def _weighted(
        cls, i: Array, j: Array, v: Array, size: tuple[int, int], duplicates: Duplicates, weights: ArrayLike
    ) -> Observations:
        """`from_entries`: values and weights are sorted and merged one after the other, in the same way."""
        w = _as_weights(weights, v)
        if duplicates == "sum":
            raise ValueError("entries that add up have no weights; multiply the values by them")
        found = cls.from_entries(i, j, w * v if duplicates == "mean" else v, size, duplicates)
        of = cls.from_entries(i, j, w, size, duplicates).values
        return cls(found.pattern, found.values / of if duplicates == "mean" else found.values, of)


def _as_weights(weights: ArrayLike, values: Array) -> Array:
    """Check (observed,) weights against the values."""
    w = _as_float(weights, "weights")
    _checks.same_length(values=values, weights=w)
    wrong = ~((w > 0) & (w < math.inf))
    if bool(wrong.any()):
        raise ValueError(
            f"{_checks.count(int(wrong.sum()), 'weight is', 'weights are')} not above 0 and finite, such as "
            f"{float(w[wrong][0]):g}; leave out entries that should not count"
        )
    return array_namespace(w).astype(w, values.dtype, copy=False)


def _as_float(values: Any, name: str) -> Array:
    """`_checks.as_float` that leaves tensors on their device."""
    if not _arrays.is_tensor(values):
        return _checks.as_float(values, name)
    xp = array_namespace(values)
    if values.dtype in (xp.float16, xp.bfloat16):
        values = values.to(xp.float32)
    if values.dtype in (xp.float32, xp.float64):
        return values.detach().contiguous()
    return _arrays.place(_checks.as_float(_arrays.place(values, None), name), _arrays.of(values))


def _as_indices(given: Any, name: str, like: Array) -> Array:
    """`_checks.as_indices`, on the device of the values."""
    device = _arrays.of(like)
    if _arrays.is_tensor(given):
        xp = array_namespace(given)
        if device is not None and given.ndim == 1 and given.dtype in (xp.int32, xp.int64):
            return _arrays.place(given, device)
        given = _arrays.place(given, None)
    return _arrays.place(_checks.as_indices(given, name), device)
