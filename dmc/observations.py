"""Where entries were observed and what their values are: sorted by row and by column, checked at birth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse.linalg import svds

from dmc import _checks

Duplicates = Literal["error", "mean", "last"]


class Lines(NamedTuple):
    """Entries line by line (a line is a row, or a column): those of line i are indices[pointers[i]:pointers[i+1]]."""

    pointers: NDArray[np.int64]  # (lines + 1,)
    indices: NDArray[Any]  # (observed,) int32, or int64 where the other side has 2³¹ lines


class BothOrders(NamedTuple):
    """A value for each observed entry, in row order and again in column order: no pass needs a permutation."""

    by_row: NDArray[Any]  # (observed,)
    by_column: NDArray[Any]  # (observed,)


@dataclass(frozen=True, eq=False)
class Pattern:
    """The set Ω of observed positions, sorted both ways.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns of the matrix.
    by_row, by_column : Lines
        Pointers int64; indices int32 while they fit; ascending within each line.
    """

    shape: tuple[int, int]
    by_row: Lines
    by_column: Lines

    @property
    def n_observed(self) -> int:
        return len(self.by_row.indices)

    @cached_property
    def rows(self) -> NDArray[Any]:
        """(observed,) row of each entry, in row order."""
        m = self.shape[0]
        return np.repeat(np.arange(m, dtype=_checks.index_dtype(m)), np.diff(self.by_row.pointers))

    @property
    def cols(self) -> NDArray[Any]:
        """(observed,) column of each entry, in row order."""
        return self.by_row.indices

    @property
    def row_counts(self) -> NDArray[np.int64]:
        """(rows,) observed entries in each row."""
        return np.diff(self.by_row.pointers)

    @property
    def column_counts(self) -> NDArray[np.int64]:
        """(columns,) observed entries in each column."""
        return np.diff(self.by_column.pointers)

    def both_orders(self, values: NDArray[Any]) -> BothOrders:
        """Values given in row order (observed,), in both orders."""
        return BothOrders(np.ascontiguousarray(values), self._csr(values).tocsc().data)

    def _csr(self, values: NDArray[Any]) -> sparse.csr_array:
        matrix = sparse.csr_array((values, self.by_row.indices, self.by_row.pointers), shape=self.shape, copy=False)
        matrix.has_canonical_format = True
        return matrix

    @classmethod
    def _from_csr(cls, matrix: sparse.csr_array) -> tuple[Pattern, NDArray[Any]]:
        """The pattern of a canonical CSR matrix, and its values in row order."""
        m, n = matrix.shape
        columns = matrix.tocsc()
        pattern = cls(
            (m, n),
            Lines(matrix.indptr.astype(np.int64), matrix.indices.astype(_checks.index_dtype(n), copy=False)),
            Lines(columns.indptr.astype(np.int64), columns.indices.astype(_checks.index_dtype(m), copy=False)),
        )
        return pattern, matrix.data


@dataclass(frozen=True, eq=False)
class Observations:
    """The observed entries of a matrix.

    Made by `dmc.observe` or `Observations.from_entries`, which check; this constructor trusts.

    Attributes
    ----------
    pattern : Pattern
        Where: sorted by row and by column.
    values : (observed,) float32 or float64
        What, in row order (row by row, columns ascending), in the data's own units.
    """

    pattern: Pattern
    values: NDArray[Any]

    @property
    def shape(self) -> tuple[int, int]:
        return self.pattern.shape

    @property
    def rows(self) -> NDArray[Any]:
        """(observed,) row of each entry, int32 while it fits, ascending."""
        return self.pattern.rows

    @property
    def cols(self) -> NDArray[Any]:
        """(observed,) column of each entry, int32 while it fits, ascending within a row."""
        return self.pattern.cols

    @property
    def n_observed(self) -> int:
        return self.pattern.n_observed

    @property
    def density(self) -> float:
        """Share of the matrix that was observed."""
        m, n = self.shape
        return self.n_observed / (m * n)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.values.dtype

    def __repr__(self) -> str:
        m, n = self.shape
        return f"Observations({m}×{n}, {self.n_observed:,} observed = {100 * self.density:.3g} %, {self.dtype})"

    def with_values(self, values: NDArray[Any]) -> Observations:
        """Other values (observed,), in row order, at the same positions."""
        return Observations(self.pattern, np.asarray(values))

    def to_scipy(self) -> sparse.csr_array:
        """The observed entries as a SciPy CSR matrix (observed zeros stay stored); shares memory."""
        return self.pattern._csr(self.values)

    def spectral_norm(self) -> float:
        """Largest singular value, to a percent, of the matrix that is zero where nothing was observed."""
        largest = np.abs(self.values).max(initial=0)
        if largest == 0:
            return 0.0
        matrix = self.with_values(self.values / largest).to_scipy()  # squares stay inside the range of the dtype
        if min(self.shape) == 1:
            return float(largest) * float(np.linalg.norm(matrix.data))
        start = np.random.default_rng(0).standard_normal(min(self.shape)).astype(matrix.dtype)
        return float(largest) * float(svds(matrix, 1, tol=1e-2, v0=start, return_singular_vectors=False)[0])

    def take(self, keep: NDArray[np.bool_]) -> Observations:
        """The entries where `keep` (observed,) is true, in a matrix of the same shape."""
        pointers = np.concatenate([[0], np.cumsum(keep)])[self.pattern.by_row.pointers]
        matrix = sparse.csr_array((self.values[keep], self.cols[keep], pointers), shape=self.shape)
        matrix.has_canonical_format = True
        return Observations(*Pattern._from_csr(matrix))

    def split(self, test_fraction: float, seed: int | np.random.Generator = 0) -> tuple[Observations, Observations]:
        """Split at random into training and test entries, of the same shape.

        No row or column loses its last training entry: one random entry of each is never drawn for the test,
        so that what is tested can be learnt. With very few entries the test part is smaller than asked for.

        Parameters
        ----------
        test_fraction : float
            Share of the observed entries that go to the test part, between 0 and 1.
        seed : int or numpy.random.Generator
            The same seed gives the same split.

        Returns
        -------
        train, test : Observations

        Raises
        ------
        ValueError
            If the fraction is not between 0 and 1, or if no entry can be spared.
        """
        fraction = _checks.real(test_fraction, "test_fraction", 0, 1, open_ends=True)
        priority = np.random.default_rng(seed).permutation(self.n_observed)
        spare = np.ones(self.n_observed, bool)
        for lines, by_line in (
            (self.pattern.by_row, priority),
            (self.pattern.by_column, self.pattern.both_orders(priority).by_column),
        ):
            filled = np.flatnonzero(np.diff(lines.pointers))
            kept = np.maximum.reduceat(by_line, lines.pointers[filled])  # the line's last in the draw
            spare[np.isin(priority, kept)] = False
        candidates = np.flatnonzero(spare)
        if len(candidates) == 0:
            raise ValueError(
                f"none of the {self.n_observed:,} observed entries can be held out without emptying a row or a column; "
                "fit without a held-out part"
            )
        n_test = min(len(candidates), max(1, round(fraction * self.n_observed)))
        test = np.zeros(self.n_observed, bool)
        test[candidates[np.argsort(priority[candidates])[:n_test]]] = True
        return self.take(~test), self.take(test)

    @classmethod
    def from_entries(
        cls,
        rows: ArrayLike,
        cols: ArrayLike,
        values: ArrayLike,
        shape: tuple[int, int] | None = None,
        duplicates: Duplicates = "error",
    ) -> Observations:
        """Observations from (row, column, value) triplets in any order.

        Parameters
        ----------
        rows, cols : (observed,) integers
            Zero-based positions.
        values : (observed,) real numbers
            float32 stays float32, float16 becomes it; all else becomes float64.
        shape : (int, int), optional
            Rows and columns of the matrix; if left out, just large enough for the largest indices.
        duplicates : {"error", "mean", "last"}
            What to do when a position occurs more than once: refuse, average, or keep the last in the order given.

        Raises
        ------
        ValueError
            If there is no entry, an index is out of range, a value is not finite, lengths differ, or a position
            occurs twice under ``duplicates="error"``.
        TypeError
            If indices are not integers or values not real numbers.
        """
        _checks.choice(duplicates, "duplicates", ("error", "mean", "last"))
        values = _checks.as_float(values, "values")
        rows, cols = _checks.as_indices(rows, "row indices"), _checks.as_indices(cols, "column indices")
        _checks.same_length(rows=rows, cols=cols, values=values)
        if len(values) == 0:
            raise ValueError("there are no observed entries; give at least one")
        size = (int(rows.max()) + 1, int(cols.max()) + 1) if shape is None else _checks.shape(shape)
        rows = _checks.indices(rows, max(size[0], 1), "row")
        cols = _checks.indices(cols, max(size[1], 1), "column")
        _checks.finite(values, "values")
        # COO -> CSR -> CSC is a counting sort each: linear time. It adds up duplicates, which shows them.
        matrix = sparse.coo_array((values, (rows, cols)), shape=size).tocsr()
        if matrix.nnz < len(values):
            rows, cols, values = _merge_duplicates(rows, cols, values, size, duplicates)
            matrix = sparse.coo_array((values, (rows, cols)), shape=size).tocsr()
        matrix.sort_indices()
        return cls(*Pattern._from_csr(matrix))


def _merge_duplicates(
    rows: NDArray[Any],
    cols: NDArray[Any],
    values: NDArray[Any],
    shape: tuple[int, int],
    duplicates: Duplicates,
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    order = np.lexsort((cols, rows))  # stable: equal positions stay in the order given
    rows, cols, values = rows[order], cols[order], values[order]
    new = np.concatenate([[True], (np.diff(rows) != 0) | (np.diff(cols) != 0)])
    first = np.flatnonzero(new)
    if duplicates == "error":
        again = np.flatnonzero(~new)
        raise ValueError(
            f"{_checks.count(len(again), 'entry repeats', 'entries repeat')} a position given before, the first "
            f"at row {rows[again[0]]}, column {cols[again[0]]}; say duplicates='mean' or duplicates='last'"
        )
    if duplicates == "mean":
        merged = np.add.reduceat(values, first) / np.diff(np.append(first, len(values))).astype(values.dtype)
    else:
        merged = values[np.append(first[1:], len(values)) - 1]
    return rows[first], cols[first], merged


def observe(X: Any, mask: ArrayLike | None = None, *, allow_empty: bool = False) -> Observations:
    """Take the observed entries of a matrix.

    Parameters
    ----------
    X : (rows, columns) array, masked array, SciPy sparse matrix, torch tensor, data frame, or Observations
        Dense: NaN means missing. Masked array: what is masked is missing. Sparse: what is stored is observed, stored
        zeros included. A tensor is copied to the host. float16 becomes float32, all but float32 float64.
    mask : (rows, columns) bool, optional
        True where an entry was observed; an entry that is NaN there is refused. Only with dense `X`.
    allow_empty : bool
        Whether a matrix without any observed entry passes.

    Returns
    -------
    Observations

    Raises
    ------
    ValueError
        If X is not two-dimensional, is empty, has no observed entry, or an observed value is not finite; if the
        mask has another shape; if a sparse matrix stores a position twice.
    TypeError
        If values are not real numbers.
    """
    if isinstance(X, Observations):
        if mask is not None:
            raise ValueError("a mask was given with Observations, which know what is observed; leave the mask out")
        return X
    X, sparse_input = _to_host(X)
    if sparse_input:
        if mask is not None:
            raise ValueError("a mask was given with a sparse matrix, where stored means observed; leave the mask out")
        return _observe_sparse(X, allow_empty)
    masked = np.ma.isMaskedArray(X)
    if masked:
        if mask is not None:
            raise ValueError("a mask was given with a masked array, which has its own; leave one of them out")
        mask, X = ~np.ma.getmaskarray(X), X.data
    dense = _checks.as_float(X, "X")
    if dense.ndim != 2:
        raise ValueError(f"X has shape {dense.shape}; give a matrix, with two dimensions")
    if dense.size == 0:
        raise ValueError(f"X has shape {dense.shape}; give at least one row and one column")
    observed = _observed_mask(dense, mask, masked)
    n_observed = np.count_nonzero(observed)
    if n_observed == 0 and not allow_empty:
        raise ValueError(f"none of the {dense.size:,} entries of X is observed; at least one has to be")
    values = dense[observed]
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        row, col = np.argwhere(observed)[infinite[0]]
        raise ValueError(
            f"X holds {_checks.count(len(infinite), 'infinite value')}, the first ({values[infinite[0]]}) "
            f"at row {row}, column {col}; replace by NaN what is missing"
        )
    pointers = np.concatenate([[0], np.cumsum(np.count_nonzero(observed, axis=1))])
    matrix = sparse.csr_array((values, np.nonzero(observed)[1], pointers), shape=dense.shape)
    matrix.has_canonical_format = True
    return Observations(*Pattern._from_csr(matrix))


def _observed_mask(dense: NDArray[Any], mask: ArrayLike | None, masked: bool) -> NDArray[np.bool_]:
    missing = np.isnan(dense)
    if mask is None:
        return ~missing
    observed = np.asarray(_to_host(mask)[0])
    if observed.dtype.kind != "b":
        if observed.dtype.kind not in "iuf" or not np.isin(observed, (0, 1)).all():
            raise TypeError(f"mask has dtype {observed.dtype}; give booleans, True where an entry was observed")
        observed = observed.astype(bool)
    if observed.shape != dense.shape:
        raise ValueError(f"mask has shape {observed.shape} and X {dense.shape}; give one truth value for each entry")
    clash = np.argwhere(observed & missing)
    if len(clash):
        row, col = clash[0]
        raise ValueError(
            f"{_checks.count(len(clash), 'entry is', 'entries are')} NaN where the mask says observed, the first "
            f"at row {row}, column {col}; {'mask it' if masked else 'set the mask to False there'}"
        )
    return observed


def _to_host(X: Any) -> tuple[Any, bool]:
    """A torch tensor or a data frame as NumPy or SciPy, without importing either; whether the result is sparse."""
    if type(X).__module__.partition(".")[0] == "torch" and hasattr(X, "detach"):
        X = X.detach().cpu()
        if str(X.dtype) == "torch.bfloat16":  # which NumPy does not have
            X = X.float()
        layout = str(X.layout)
        if layout != "torch.strided":
            if X.ndim != 2:
                raise ValueError(f"X has shape {tuple(X.shape)}; give a matrix, with two dimensions")
            if layout != "torch.sparse_coo":
                X = X.to_sparse()
            rows, cols = X._indices().numpy()  # not coalesced: a position stored twice is told, not added up
            return sparse.coo_array((X._values().numpy(), (rows, cols)), shape=tuple(X.shape)), True
        return X.numpy(), False
    if hasattr(X, "isna"):  # a pandas frame: its nullable columns have a missing value of their own
        return np.where(X.isna(), np.nan, X) if np.asarray(X).dtype == object else np.asarray(X), False
    return X, sparse.issparse(X)


def _diagonals(X: Any) -> sparse.coo_array:
    """A DIA matrix as COO; SciPy's own conversion loses the stored zeros."""
    m, n = X.shape
    cols = np.broadcast_to(np.arange(X.data.shape[1]), X.data.shape)
    rows = cols - X.offsets[:, None]
    inside = (rows >= 0) & (rows < m) & (cols < n)
    return sparse.coo_array((X.data[inside], (rows[inside], cols[inside])), shape=(m, n))


def _observe_sparse(X: Any, allow_empty: bool) -> Observations:
    if X.ndim != 2:
        raise ValueError(f"X has shape {X.shape}; give a matrix, with two dimensions")
    if 0 in X.shape:
        raise ValueError(f"X has shape {X.shape}; give at least one row and one column")
    entries = _diagonals(X) if X.format == "dia" else X.tocoo()
    if entries.nnz == 0 and not allow_empty:
        raise ValueError(f"X ({X.shape[0]}×{X.shape[1]}, sparse) stores no entry; at least one has to be observed")
    if entries.nnz == 0:
        return Observations(*Pattern._from_csr(sparse.csr_array(X.shape, dtype=np.float64)))
    try:
        return Observations.from_entries(entries.row, entries.col, entries.data, X.shape)
    except ValueError as error:
        if "repeat" in str(error):
            hint = str(error).partition("; say")[0]
            raise ValueError(f"{hint}; call X.sum_duplicates(), or dmc.Observations.from_entries") from None
        raise
