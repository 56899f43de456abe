"""Reading a matrix with gaps from what people hold it in: NaN, masks, sparse matrices, tensors, data frames."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from dmc import _arrays, _checks, _memory
from dmc.observations import DuplicateEntries, Observations
from dmc.pattern import Pattern, SparseIndex


@_memory.in_words
def observe(
    X: Any, mask: Any = None, *, allow_empty: bool = False, missing_values: float | None = None
) -> Observations:
    """Collect the observed entries of a matrix with gaps.

    Parameters
    ----------
    X : (rows, columns) array, masked array, SciPy sparse matrix, torch tensor, data frame, or Observations
        In a dense matrix NaN is missing, and so are None and pandas' NA; in a masked array, what is masked; in a sparse
        matrix, what is not stored (stored zeros are observed, stored NaN is not). float16 becomes float32; all other
        dtypes but float32 become float64.
    mask : (rows, columns) bool, optional
        True where an entry was observed, with dense `X` only; NaN is an error there. If both are data frames, their
        labels have to agree, in any order.
    allow_empty : bool
        Whether to accept a matrix without any observed entry.
    missing_values : float, optional
        A number that stands for a missing entry, beside NaN.

    Returns
    -------
    Observations
        NumPy arrays; for a torch tensor, tensors on its device.

    Raises
    ------
    ValueError
        If X is not two-dimensional, is empty, has no observed entry, or an observed value is not finite; if the mask
        has another shape or other labels.
    DuplicateEntries
        If a sparse matrix stores a position twice; a ValueError.
    TypeError
        If values are not real numbers; the message names the column of a data frame.

    Examples
    --------
    >>> import numpy as np
    >>> import dmc
    >>> observed = dmc.observe(np.array([[1.0, np.nan], [3.0, 4.0]]))
    >>> observed
    Observations(2×2, 3 observed = 75 %, float64)
    >>> observed.rows, observed.cols, observed.values
    (array([0, 1, 1], dtype=int32), array([0, 0, 1], dtype=int32), array([1., 3., 4.]))

    A mask, or another sign for "missing":

    >>> ratings = np.array([[5, 0], [0, 3]])
    >>> dmc.observe(ratings, mask=ratings > 0).n_observed, dmc.observe(ratings, missing_values=0).n_observed
    (2, 2)
    """
    found = read_matrix(X, mask, allow_empty=allow_empty, missing_values=missing_values)
    return found.observations() if isinstance(found, GappedArray) else found


@dataclass(frozen=True, eq=False)
class GappedArray:
    """A matrix with gaps as an array, checked.

    Attributes
    ----------
    values : (rows, columns) float32 or float64 array
        Finite where observed, anything elsewhere.
    observed : (rows, columns) bool array
        True where an entry was observed.
    """

    values: NDArray[Any]
    observed: NDArray[np.bool_]
    device = None  # on the host

    @property
    def shape(self) -> tuple[int, int]:
        m, n = self.values.shape
        return m, n

    def observations(self) -> Observations:
        at = np.flatnonzero(self.observed)
        pointers = np.concatenate([[0], np.cumsum(np.count_nonzero(self.observed, axis=1))])
        pattern = Pattern.of(self.shape, SparseIndex(pointers, at % self.shape[1]))
        return Observations(pattern, self.values.ravel()[at])


def read_matrix(
    X: Any, mask: Any = None, *, allow_empty: bool = False, missing_values: float | None = None
) -> GappedArray | Observations:
    """Read what `observe` takes, as an array where it was one on the host, else as observations."""
    if missing_values is not None and missing_values == missing_values:  # NaN is missing in any case
        missing_values = _checks.real(missing_values, "missing_values")
    else:
        missing_values = None
    if type(X).__name__ == "LazyFrame":
        raise TypeError("X is a LazyFrame, which holds no entries yet; give X.collect()")
    if isinstance(X, Observations):
        if mask is not None:
            raise ValueError("a mask was given with Observations, which know what is observed; leave the mask out")
        return X if missing_values is None else X.take(X.values != missing_values)
    if _arrays.is_tensor(X):
        found = observe(_to_host(X)[0], mask, allow_empty=allow_empty, missing_values=missing_values)
        return found.to(_arrays.of(X))
    mask = aligned(mask, X, "mask")
    X, sparse_input = _to_host(X)
    if sparse_input:
        if mask is not None:
            raise ValueError("a mask was given with a sparse matrix, where stored means observed; leave the mask out")
        return _observe_sparse(X, allow_empty, missing_values)
    return _read_array(X, mask, allow_empty, missing_values)


def _read_array(X: Any, mask: Any, allow_empty: bool, missing_values: float | None) -> GappedArray:
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
    if missing_values is not None and (dense == missing_values).any():
        dense = np.where(dense == missing_values, np.nan, dense)
        if mask is not None:
            mask = np.asarray(mask) & ~np.isnan(dense)
    observed = _observed_mask(dense, mask, masked)
    if not (observed.any() or allow_empty):
        raise ValueError(f"none of the {dense.size:,} entries of X is observed; at least one has to be")
    finite = np.isfinite(dense)
    if (observed & ~finite).any():
        infinite = np.argwhere(observed & ~finite)
        row, col = infinite[0]
        raise ValueError(
            f"X holds {_checks.count(len(infinite), 'infinite value')}, the first ({dense[row, col]}) "
            f"at row {row}, column {col}; replace by NaN what is missing"
        )
    return GappedArray(dense, observed)


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
    if (observed & missing).any():
        clash = np.argwhere(observed & missing)
        row, col = clash[0]
        raise ValueError(
            f"{_checks.count(len(clash), 'entry is', 'entries are')} NaN where the mask says observed, the first "
            f"at row {row}, column {col}; {'mask it' if masked else 'set the mask to False there'}"
        )
    return observed


def _to_host(X: Any) -> tuple[Any, bool]:
    """Convert a torch tensor or data frame to NumPy or SciPy, without importing either; also whether it is sparse."""
    if _arrays.is_tensor(X):
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
    if hasattr(X, "columns") and hasattr(X, "dtypes"):  # a data frame
        array = np.asarray(X)
        return (_of_columns(array, list(X.columns)) if array.dtype.kind in "OUS" else array), False
    if isinstance(X, (str, bytes, PathLike)):
        raise TypeError(f"X is the path {str(X)!r}; give the table itself, as from pandas.read_csv")
    if isinstance(X, np.ndarray) and X.dtype == object:
        return _without_missing(X), False
    return X, sparse.issparse(X)


def _of_columns(array: NDArray[Any], names: list[Any]) -> NDArray[np.float64]:
    """The columns of a data frame as numbers; all that hold none are named at once."""
    columns, others = [], []
    for j, name in enumerate(names):
        values = _without_missing(array[:, j])
        try:
            columns.append(np.asarray(values, dtype=np.float64))
        except (TypeError, ValueError):
            bad = next((v for v in values.tolist() if not _checks.is_number(v)), None)
            others.append((name, bad))
    if others:
        name, bad = others[0]
        rest = ", ".join(repr(other) for other, _ in others[1:6]) + (", …" if len(others) > 6 else "")
        more = f" (nor are all values of {rest})" if rest else ""
        which = "these columns out, or convert them first" if rest else "the column out, or convert it first"
        raise TypeError(f"column {name!r} holds {bad!r}, which is not a number{more}; leave {which}")
    return np.column_stack(columns)


def _without_missing(values: NDArray[Any]) -> NDArray[Any]:
    """Replace pandas' NA and NaT, which no array of numbers can hold, by NaN."""
    kinds = np.frompyfunc(lambda v: type(v).__name__ in ("NAType", "NaTType"), 1, 1)
    missing = kinds(values).astype(bool)
    return np.where(missing, np.nan, values) if missing.any() else values


def aligned(mask: Any, X: Any, name: str) -> Any:
    """Bring a data frame beside X, such as a mask, into the order of the rows and columns of X."""
    for axis in ("index", "columns"):
        given, wanted = getattr(mask, axis, None), getattr(X, axis, None)
        if given is None or wanted is None or callable(given) or callable(wanted):
            continue
        given, wanted = list(given), list(wanted)
        if given == wanted:
            continue
        if len(set(given)) < len(given) or sorted(map(repr, given)) != sorted(map(repr, wanted)):
            other = next((label for label in given if label not in set(wanted)), None)
            which = f", for instance {other!r}" if other is not None else ""
            raise ValueError(f"the {axis} labels of {name} and X differ{which}; give it the labels of X")
        mask = mask.reindex(**{axis: wanted}) if hasattr(mask, "reindex") else mask[wanted]
    return mask


def _diagonals(X: Any) -> sparse.coo_array:
    """Convert a DIA matrix to COO; SciPy's own conversion loses the stored zeros."""
    m, n = X.shape
    cols = np.broadcast_to(np.arange(X.data.shape[1]), X.data.shape)
    rows = cols - X.offsets[:, None]
    inside = (rows >= 0) & (rows < m) & (cols < n)
    return sparse.coo_array((X.data[inside], (rows[inside], cols[inside])), shape=(m, n))


def _observe_sparse(X: Any, allow_empty: bool, missing_values: float | None) -> Observations:
    if X.ndim != 2:
        raise ValueError(f"X has shape {X.shape}; give a matrix, with two dimensions")
    if 0 in X.shape:
        raise ValueError(f"X has shape {X.shape}; give at least one row and one column")
    entries = _diagonals(X) if X.format == "dia" else X.tocoo()
    missing = entries.data != entries.data  # NaN; integers have none
    if missing_values is not None:
        missing = missing | (entries.data == missing_values)
    if missing.any():
        kept = ~missing
        entries = sparse.coo_array((entries.data[kept], (entries.row[kept], entries.col[kept])), shape=X.shape)
    if entries.nnz == 0 and not allow_empty:
        raise ValueError(f"X ({X.shape[0]}×{X.shape[1]}, sparse) stores no entry; at least one has to be observed")
    if entries.nnz == 0:
        nothing = SparseIndex(np.zeros(X.shape[0] + 1, np.int64), np.zeros(0, np.int32))
        return Observations(Pattern.of(X.shape, nothing), np.zeros(0))
    try:
        return Observations.from_entries(entries.row, entries.col, entries.data, X.shape)
    except DuplicateEntries as error:
        remedy = "call X.sum_duplicates(), or dmc.Observations.from_entries"
        raise DuplicateEntries(error.count, error.row, error.column, remedy) from None
