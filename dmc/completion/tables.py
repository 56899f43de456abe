"""Tables as people bring them: labels that come back, weights and bounds of entries, columns by name."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from dmc import _arrays, _checks
from dmc._arrays import Array
from dmc.inputs import GappedArray, read_matrix
from dmc.observations import Observations

Float = NDArray[np.float64]

MOST_REPEATED = 10  # times as many rows
NAMED = 5  # columns at most that a message names


def read(X: Any, mask: Any, allow_empty: bool, missing_values: float | None) -> GappedArray | Observations:
    """`read_matrix`; where it refuses, also in the words that scikit-learn's tools look for."""
    try:
        return read_matrix(X, mask, allow_empty=allow_empty, missing_values=missing_values)
    except (TypeError, ValueError) as error:
        shape = tuple(getattr(X, "shape", ()))
        if _is_complex(X):
            raise ValueError(f"{error} (Complex data not supported)") from None
        if len(shape) == 1:
            raise ValueError(f"{error} (Reshape your data: X.reshape(1, -1) is one row)") from None
        if shape[1:] == (0,):
            raise ValueError(f"{error} (0 feature(s) (shape={shape}) while a minimum of 1 is required.)") from None
        if isinstance(error, TypeError) and isinstance(error.__context__, TypeError):
            raise TypeError(f"{error} ({error.__context__})") from None
        raise


def _is_complex(X: Any) -> bool:
    """By the dtypes of what was given; of torch's tensors and of data frames too."""
    frame = len(getattr(X, "shape", ())) == 2
    dtypes = list(X.dtypes) if frame and hasattr(X, "dtypes") else [getattr(X, "dtype", "")]
    return any("complex" in str(dtype) for dtype in dtypes)


@dataclass(frozen=True, eq=False)
class Labels:
    """What a data frame had around its numbers.

    Attributes
    ----------
    library : {"pandas", "polars"} or None
        Where the frame came from; None for all that is no frame.
    columns : list, pandas' index or None
        Names of the columns.
    index : object or None
        pandas' index.
    """

    library: str | None = None
    columns: Any = None
    index: Any = None

    @classmethod
    def of(cls, X: Any) -> Labels:
        library = type(X).__module__.partition(".")[0]
        if library not in ("pandas", "polars") or not hasattr(X, "columns"):
            return cls()
        names = X.columns if library == "pandas" else list(X.columns)
        several = {str(name) for name in names if list(names).count(name) > 1} if len(set(names)) < len(names) else ()
        if several:
            raise ValueError(f"several columns of X are called {min(several)!r}; give each its own name")
        return cls(library, names, getattr(X, "index", None))

    def around(self, array: NDArray[Any]) -> Any:
        """The array as such a frame; the array itself where there was none."""
        if self.library is None:
            return array
        frame = importlib.import_module(self.library).DataFrame
        if self.library == "polars":
            return frame(array, schema=list(self.columns))
        return frame(array, index=self.index, columns=self.columns)

    def ordered(self, of_columns: Any) -> Any:
        """pandas' series of numbers in the order of the columns that it names; anything else as it is."""
        if self.library == "pandas" and hasattr(of_columns, "reindex") and set(self.columns) == set(of_columns.index):
            return of_columns.reindex(self.columns).to_numpy()
        return of_columns

    def named(self, columns: Sequence[int]) -> str:
        """Some columns in words: by name, else by number."""
        names = [repr(self.columns[j]) if self.columns is not None else str(j) for j in columns[:NAMED]]
        more = f" and {len(columns) - NAMED:,} more" if len(columns) > NAMED else ""
        return f"{'columns' if len(columns) > 1 else 'column'} {', '.join(names)}{more}"


def repetitions(sample_weight: ArrayLike | None, rows: int) -> NDArray[np.int64] | None:
    """(rows,) how often each row counts, if that is a small whole number for all of them; else None.

    Then it stands there so often: as scikit-learn means it, two rows with the same entries are more than one that is
    twice as precise, for each has a part of its own in what rows are like.
    """
    if sample_weight is None:
        return None
    array = np.asarray(sample_weight)
    if array.shape != (rows,) or array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        return None
    if (
        (array < 0).any()
        or (array != np.floor(array)).any()
        or (array <= 1).all()
        or array.sum() > MOST_REPEATED * rows
    ):
        return None
    return array.astype(np.int64)


def weighted(
    observations: Observations, sample_weight: ArrayLike | None, weights: Any
) -> tuple[Observations, Float | None]:
    """The entries that count, and the weight of each; None if all weigh the same.

    Parameters
    ----------
    observations : Observations
    sample_weight : (rows,) array or None
    weights : (rows, columns) array, sparse matrix or data frame, or (observed,) array in row order; or None
        Left out: those of the observations, which are handed back without.
    """
    weights = observations.weights if weights is None else weights
    observations, pattern = replace(observations, weights=None), observations.pattern.to(None)
    m, n = observations.shape
    total = np.ones(observations.n_observed)
    if sample_weight is not None:
        total *= _non_negative(sample_weight, "sample_weight", (m,), "one for each row")[pattern.rows]
    if weights is not None:
        if sparse.issparse(weights):
            weights = weights.tocsr()
            if weights.shape != (m, n):
                raise ValueError(f"weights has shape {weights.shape}; give {(m, n)}, one for each entry")
            weights = np.asarray(weights[pattern.rows, pattern.cols]).ravel()
        array = np.asarray(_arrays.place(weights, None) if _arrays.is_tensor(weights) else weights)
        if array.shape == (m, n):
            array = array[pattern.rows, pattern.cols]
        elif array.shape != total.shape:
            raise ValueError(f"weights has shape {array.shape}; give {(m, n)}, one for each entry of X")
        total *= _non_negative(array, "weights", total.shape, "one for each entry")
    if not total.any():
        name = "sample_weight" if weights is None else "weights"
        raise ValueError(f"{name}: all weights of observed entries are zero; give at least one positive weight")
    if (total == 0).any():
        keep = total > 0
        observations, total = observations.take(keep), total[keep]
    return observations, None if (total == total[0]).all() else total / total.mean()


def _non_negative(values: Any, name: str, shape: tuple[int, ...], what: str) -> Float:
    values = _arrays.place(values, None) if _arrays.is_tensor(values) else values
    return _checks.non_negative(values, name, shape, what).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Bounds:
    """Least and largest value of each column, infinite where there is none."""

    low: Float
    high: Float

    @classmethod
    def of(cls, low: Any, high: Any, labels: Labels, n: int) -> Bounds:
        bounds = [
            _bound(labels.ordered(value), name, n, -np.inf if name == "min_value" else np.inf)
            for name, value in (("min_value", low), ("max_value", high))
        ]
        crossed = np.flatnonzero(bounds[0] > bounds[1])
        if len(crossed):
            low, high = (bound[crossed[0]] for bound in bounds)
            which = labels.named(crossed.tolist())
            raise ValueError(f"min_value {low:g} is above max_value {high:g} in {which}; swap them")
        return cls(*bounds)

    @property
    def none(self) -> bool:
        return bool(np.isinf(self.low).all() and np.isinf(self.high).all())

    def check(self, observations: Observations, labels: Labels) -> None:
        """Refuse observed entries that lie outside."""
        host = observations.to(None)
        cols = host.cols
        outside = np.flatnonzero((host.values < self.low[cols]) | (host.values > self.high[cols]))
        if len(outside):
            first = outside[0]
            j = cols[first]
            raise ValueError(
                f"{_checks.count(len(outside), 'observed entry lies', 'observed entries lie')} outside min_value and "
                f"max_value, the first ({host.values[first]:g}, bounds {self.low[j]:g} to {self.high[j]:g}) at row "
                f"{host.rows[first]}, {labels.named([j])}; widen the bounds, or mark such entries as missing"
            )

    def clipped(self, values: Array, cols: Array | None = None) -> Any:
        """Values of columns, or of all columns of a matrix, within their bounds."""
        if self.none:
            return values
        low, high = (bound if cols is None else bound[cols] for bound in (self.low, self.high))
        home = _arrays.of(values)
        array = _arrays.place(values, None)
        return _arrays.place(np.clip(array, low, high).astype(array.dtype), home)


def _bound(value: ArrayLike | None, name: str, n: int, none: float) -> Float:
    if value is None:
        return np.full(n, none)
    if isinstance(value, Mapping):
        raise TypeError(f"{name} is a mapping; give one number, or {(n,)}, one for each column, {none} for no bound")
    array = _checks.as_float(value, name).astype(np.float64)
    if array.ndim == 0:
        array = np.full(n, array)
    if array.shape != (n,):
        raise ValueError(f"{name} has shape {array.shape}; give one number, or {(n,)}, one for each column")
    if np.isnan(array).any():
        raise ValueError(f"{name} is NaN for column {int(np.flatnonzero(np.isnan(array))[0])}; give a number, or None")
    return array
