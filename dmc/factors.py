"""The container of every model: outer factors U and V, and the cores between them. Gradients have this type, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import array_api_compat
import numpy as np
from numpy.typing import ArrayLike

from dmc import _arrays, _checks, _extensions
from dmc._arrays import Array as Array, Device
from dmc._locks import cached_property
from dmc.pattern import plain, read_only

__all__ = ["Array", "Factors"]

CHUNK = 1 << 16  # pairs predicted at a time: bounds the (pairs, width) temporary
SCORES = 1 << 22  # computed at a time where there is no compiled core


class _Lines(Protocol):
    """What `Factors.top_n` reads of a `dmc.pattern.SparseIndex`, or of a SciPy CSR matrix."""

    @property
    def indptr(self) -> Array: ...
    @property
    def indices(self) -> Array: ...


@dataclass(frozen=True, eq=False)
class Factors:
    """A matrix in factored form, X̂ = U · W_L ⋯ W_1 · Vᵀ, plus optional row and column biases.

    Without cores it is the two-factor (Burer–Monteiro) model; with small cores, the compressed deep network; with U =
    W_L, square cores and V = W_1ᵀ, the full-width deep network (Yaras et al., arXiv 2406.04112). `dmc.solve` returns
    its result, and problems return their gradients, in this form. The arrays are NumPy arrays or torch tensors.

    Parameters
    ----------
    U : (rows, k_L) float array
        Row factors.
    cores : sequence of float arrays
        In reading order, W_L first and W_1 last, so that ``X̂ = U @ cores[0] @ … @ cores[-1] @ V.T``; may be empty.
    V : (columns, k_0) float array
        Column factors.
    row_bias : (rows,) float array, optional
        Added to every entry of its row.
    column_bias : (columns,) float array, optional
        Added to every entry of its column.

    Raises
    ------
    ValueError
        If the shapes do not fit each other.

    Examples
    --------
    >>> import numpy as np
    >>> import dmc
    >>> U, V = np.array([[1.0], [2.0], [3.0]]), np.array([[1.0], [10.0]])
    >>> factors = dmc.Factors(U, [], V, column_bias=np.array([0.0, 0.5]))
    >>> factors
    Factors(3×2, width 1, 0 cores, biases)
    >>> factors.dense()
    array([[ 1. , 10.5],
           [ 2. , 20.5],
           [ 3. , 30.5]])
    >>> factors.at([0, 2], [1, 0])
    array([10.5,  3. ])
    """

    U: Array
    cores: Sequence[Array]
    V: Array
    row_bias: Array | None = None
    column_bias: Array | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "cores", tuple(self.cores))
        for i, factor in enumerate((self.U, *self.cores, self.V)):
            if len(factor.shape) != 2:
                name = "U" if i == 0 else "V" if i > len(self.cores) else f"cores[{i - 1}]"
                raise ValueError(f"{name} has shape {tuple(factor.shape)}; give a matrix, with two dimensions")
        width, left_name = self.U.shape[1], "U"
        for i, W in enumerate(self.cores):
            if W.shape[0] != width:
                raise ValueError(f"{left_name} has {width} columns and cores[{i}] {W.shape[0]} rows; make them equal")
            width, left_name = W.shape[1], f"cores[{i}]"
        if self.V.shape[1] != width:
            raise ValueError(f"{left_name} has {width} columns and V {self.V.shape[1]}; make them equal")
        if self.row_bias is None and self.column_bias is None:
            return
        for name, bias, lines in (
            ("row_bias", self.row_bias, self.U.shape[0]),
            ("column_bias", self.column_bias, self.V.shape[0]),
        ):
            if bias is not None and tuple(bias.shape) != (lines,):
                raise ValueError(f"{name} has shape {tuple(bias.shape)}; give {(lines,)}, one value for each")

    def __repr__(self) -> str:
        m, n = self.shape
        biases = ", biases" * (self.row_bias is not None or self.column_bias is not None)
        return f"Factors({m}×{n}, width {self.width}, {_checks.count(self.depth, 'core')}{biases})"

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix."""
        return int(self.U.shape[0]), int(self.V.shape[0])

    @property
    def device(self) -> Device:
        """Where the arrays live: None for NumPy arrays, else the name of a torch device."""
        return _arrays.of(self.U)

    def to(self, device: Device) -> Factors:
        """Move the factors to a device.

        Parameters
        ----------
        device : str or None
            "cpu" or "cuda" for torch tensors there, None for NumPy arrays.

        Returns
        -------
        Factors
            The same object, if its arrays are there already and do not require gradients.

        Raises
        ------
        ImportError, ValueError
            If torch is not installed, or has no such device.
        """
        device = _arrays.checked(device)
        placed = self.map(lambda array: _arrays.place(array, device))
        return self if all(a is b for a, b in zip(self.arrays, placed.arrays, strict=True)) else placed

    @property
    def depth(self) -> int:
        """Number of cores, L."""
        return len(self.cores)

    @property
    def width(self) -> int:
        """The smallest inner dimension, an upper bound of the rank."""
        return min(int(self.V.shape[1]), int(self.U.shape[1]), *(int(W.shape[1]) for W in self.cores))

    @property
    def n_parameters(self) -> int:
        """Number of entries of all factors and biases together."""
        return sum(int(np.prod(a.shape)) for a in self.arrays)

    @property
    def arrays(self) -> tuple[Array, ...]:
        """All arrays in order: U, the cores, V, and the biases that are not None."""
        return (self.U, *self.cores, self.V, *(b for b in (self.row_bias, self.column_bias) if b is not None))

    @cached_property
    def core(self) -> Array:
        """Product of the cores, W_L⋯W_1, as a (k_L, k_0) array; the identity without cores."""
        if len(self.cores) == 1:
            return self.cores[0]
        return read_only(self._product_of_cores())

    def _product_of_cores(self) -> Array:
        if not self.cores:
            xp = array_api_compat.array_namespace(self.U)
            return xp.eye(self.U.shape[1], dtype=self.U.dtype, device=array_api_compat.device(self.U))
        product = self.cores[0]
        for W in self.cores[1:]:
            product = product @ W
        return product

    @property
    def left(self) -> Array:
        """(rows, k) array such that X̂ = left @ right.T: U·W_L⋯W_1, then columns for the biases."""
        product = self.U @ self.core if self.cores else self.U
        # [L b 1]·[V 1 c]ᵀ = L·Vᵀ + b·1ᵀ + 1·cᵀ: biases are two more columns, so that no kernel knows of them.
        return _append(product, self.row_bias, _ones_if(self.column_bias, product))

    @property
    def right(self) -> Array:
        """(columns, k) array such that X̂ = left @ right.T: V, then columns for the biases."""
        return _append(self.V, _ones_if(self.row_bias, self.V), self.column_bias)

    def pull_back(self, d_left: Array, d_right: Array) -> Factors:
        """Backpropagate the gradients with respect to `left` and `right` to every factor.

        With C = W_L⋯W_1: dU = d_left Cᵀ, dC = Uᵀ d_left, dW_l = (W_L⋯W_{l+1})ᵀ dC (W_{l−1}⋯W_1)ᵀ, dV = d_right. It is
        all that a `dmc.Problem` of your own needs from the factorization.

        Parameters
        ----------
        d_left : (rows, k) array
            Gradient with respect to `left`.
        d_right : (columns, k) array
            Gradient with respect to `right`.

        Returns
        -------
        Factors
            The gradient with respect to each factor, in the form of these factors.

        Examples
        --------
        The gradient of ½ ‖X̂ − X‖²:

        >>> import numpy as np
        >>> import dmc
        >>> X, factors = np.zeros((2, 2)), dmc.Factors(np.ones((2, 1)), [], np.ones((2, 1)))
        >>> residual = factors.dense() - X
        >>> factors.pull_back(residual @ factors.right, residual.T @ factors.left).U
        array([[2.],
               [2.]])
        """
        k = self.V.shape[1]
        row_bias = None if self.row_bias is None else d_left[:, k]
        column_bias = None if self.column_bias is None else d_right[:, -1]
        d_left, dV = d_left[:, :k], d_right[:, :k]
        if not self.cores:
            return Factors(d_left, (), dV, row_bias, column_bias)
        before: list[Array | None] = [None]  # before[i] = product of the cores that stand left of cores[i]
        for W in self.cores[:-1]:
            before.append(W if before[-1] is None else before[-1] @ W)
        d_cores: list[Array] = []
        d_after = self.U.T @ d_left  # dC · (product of the cores right of cores[i])ᵀ
        for W, product in zip(reversed(self.cores), reversed(before), strict=True):
            d_cores.append(d_after if product is None else product.T @ d_after)
            d_after = d_after @ W.T
        return Factors(d_left @ self.core.T, tuple(reversed(d_cores)), dV, row_bias, column_bias)

    def at(self, rows: ArrayLike | Array, cols: ArrayLike | Array) -> Array:
        """Predict single entries.

        Parameters
        ----------
        rows, cols : (pairs,) integers
            Zero-based positions.

        Returns
        -------
        (pairs,) float array
            X̂ at these positions, on the device of the factors.

        Raises
        ------
        ValueError
            If an index is out of range or the lengths differ.
        """
        m, n = self.shape
        i, j = (_arrays.place(a, None) if _arrays.is_tensor(a) else a for a in (rows, cols))
        i, j = _checks.indices(i, m, "row"), _checks.indices(j, n, "column")
        _checks.same_length(rows=i, cols=j)
        i, j = (_arrays.place(a, self.device) for a in (i, j))
        left, right = self.left, self.right
        if _core_takes(left, right):
            kind = np.result_type(i, j)
            i, j = (plain(indices, dtype=kind) for indices in (i, j))
            return _extensions.core.product_at(plain(left), plain(right), i, j)
        xp = array_api_compat.array_namespace(left)
        parts = [
            xp.sum(left[i[start : start + CHUNK]] * right[j[start : start + CHUNK]], axis=1)
            for start in range(0, max(len(i), 1), CHUNK)
        ]
        return xp.concat(parts)

    def top_n(
        self, rows: ArrayLike | Array, n: int, exclude: _Lines | None = None, among: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        """Find the columns with the largest predicted values in each of the given rows.

        The rows of X̂ are never formed. Ties go to the lower column; predictions that are NaN are ignored.

        Parameters
        ----------
        rows : (asked,) integers
            Zero-based rows, in any order.
        n : int
            Columns per row; at most as many as there are candidates.
        exclude : SparseIndex, optional
            Columns to leave out of each row of the matrix: ``indptr`` (rows + 1,), and ``indices`` that ascend within a
            row. To leave out the observed ones, pass ``observations.pattern.by_row``.
        among : (candidates,) integers, optional
            The candidate columns; by default all.

        Returns
        -------
        columns : (asked, n) int64 array
            Best first; −1 where no column is left.
        scores : (asked, n) float array
            Their predicted values; NaN where no column is left. Both are NumPy arrays on every device.

        Raises
        ------
        ValueError
            If an index is out of range, or the indices of `exclude` are not sorted.

        Examples
        --------
        >>> import numpy as np
        >>> import dmc
        >>> factors = dmc.Factors(np.array([[1.0], [-1.0]]), [], np.array([[1.0], [2.0], [3.0]]))
        >>> columns, scores = factors.top_n([0, 1], 2)
        >>> columns
        array([[2, 1],
               [0, 1]])
        """
        m, columns = self.shape
        rows, n = _checks.indices(rows, m, "row"), _checks.integer(n, "n", 1)
        if among is not None:
            among = _checks.indices(among, columns, "column").astype(np.int64)
            among = among if (np.diff(among) > 0).all() else np.unique(among)
        n = min(n, max(columns if among is None else len(among), 1))
        size = len(rows) * n * (8 + self.U.itemsize)
        _checks.memory(size, f"the {n:,} best of {_checks.count(len(rows), 'row')}", "ask for fewer")
        row_bias = None if self.row_bias is None else self.row_bias[rows]
        asked = replace(self, U=self.U[rows], row_bias=row_bias)  # no product with the rest of U
        left, right = (_arrays.place(a, None) for a in (asked.left, asked.right))
        kind = np.result_type(left, right, np.float32)
        left, right = plain(left, dtype=kind), plain(right, dtype=kind)
        first = last = np.zeros(len(rows), np.int64)
        excluded = np.zeros(0, np.int32)
        if exclude is not None:
            pointers = np.asarray(exclude.indptr, dtype=np.int64)
            if pointers.shape != (m + 1,):
                raise ValueError(
                    f"the indptr of exclude has shape {pointers.shape}; give {(m + 1,)}, one more than rows"
                )
            first, last = pointers[rows], pointers[rows + 1]
            excluded = _checks.as_indices(exclude.indices, "the indices of exclude")
            if excluded.dtype != np.int32:
                excluded = excluded.astype(np.int64, copy=False)
            excluded = plain(excluded)
        run = _extensions.core.top_n if _core_takes(left, right) else _top_n
        return run(left, right, n, first, last, excluded, among)

    def dense(self) -> Array:
        """Form the whole matrix.

        Returns
        -------
        (rows, columns) float array
            X̂, biases included.

        Raises
        ------
        MemoryError
            If the matrix would not fit into the memory of the machine; `at` predicts single entries.
        """
        m, n = self.shape
        size = m * n * self.U.itemsize
        _checks.memory(size, f"the dense {m}×{n} matrix", "ask for the entries that you need, with at(rows, cols)")
        return self.left @ self.right.T

    def svd(self) -> tuple[Array, Array, Array]:
        """Compute the singular value decomposition of U·W_L⋯W_1·Vᵀ without forming the matrix.

        Biases are left out.

        Returns
        -------
        P : (rows, k) array
            Left singular vectors; k is the smallest of the inner dimensions and those of the matrix.
        s : (k,) array
            Singular values, descending.
        Q : (columns, k) array
            Right singular vectors, so that the matrix is P·diag(s)·Qᵀ.
        """
        xp = array_api_compat.array_namespace(self.U)
        Q_left, R_left = xp.linalg.qr(self.U)
        Q_right, R_right = xp.linalg.qr(self.V)
        P, s, Qt = xp.linalg.svd(R_left @ self.core @ R_right.T, full_matrices=False)
        return Q_left @ P, s, Q_right @ Qt.T

    def singular_values(self) -> Array:
        """Compute the singular values of U·W_L⋯W_1·Vᵀ (biases left out).

        Returns
        -------
        (k,) array
            Descending; k is the smallest of the inner dimensions and those of the matrix.
        """
        xp = array_api_compat.array_namespace(self.U)
        R_left, R_right = (xp.linalg.qr(factor)[1] for factor in (self.U, self.V))
        return xp.linalg.svd(R_left @ self.core @ R_right.T, full_matrices=False)[1]

    def rank(self, tol: float | None = None) -> int:
        """Count the singular values that exceed `tol` times the largest: the numerical rank.

        Parameters
        ----------
        tol : float, optional
            Relative threshold; by default the larger dimension times the machine epsilon, as in NumPy's `matrix_rank`.

        Returns
        -------
        int
            The rank of U·W_L⋯W_1·Vᵀ (biases left out).

        Examples
        --------
        >>> import numpy as np
        >>> import dmc
        >>> factors = dmc.Factors(np.eye(3), [np.diag([1.0, 0.1, 1e-9])], np.eye(3))
        >>> factors.rank(), factors.rank(tol=1e-6)
        (3, 2)
        """
        s = self.singular_values()
        if tol is None:
            tol = max(self.shape) * float(array_api_compat.array_namespace(s).finfo(s.dtype).eps)
        tol = _checks.real(tol, "tol", 0)
        return int((s > tol * s[0]).sum()) if len(s) and s[0] > 0 else 0

    def truncate(self, rank: int) -> Factors:
        """Reduce to the nearest matrix of a given rank.

        Parameters
        ----------
        rank : int
            From 1 to the width.

        Returns
        -------
        Factors
            Balanced (Uᵀ U = Vᵀ V), without cores; biases are kept.

        Raises
        ------
        ValueError
            If the rank is below 1 or above the width.
        """
        P, s, Q = self.svd()
        k = _checks.integer(rank, "rank", 1, int(s.shape[0]), f"the factors are {self.width} wide")
        root = s[:k] ** 0.5
        return replace(self, U=P[:, :k] * root, cores=(), V=Q[:, :k] * root)

    def scaled(self, factor: float) -> Factors:
        """Multiply the whole matrix, biases included, by a number.

        Parameters
        ----------
        factor : float
            The number.

        Returns
        -------
        Factors
            With U and the biases multiplied by it.
        """
        factor = float(factor)  # a Python number takes the arrays' dtype
        row_bias = None if self.row_bias is None else factor * self.row_bias
        column_bias = None if self.column_bias is None else factor * self.column_bias
        return replace(self, U=factor * self.U, row_bias=row_bias, column_bias=column_bias)

    def map(self, f: Callable[..., Array], *others: Factors) -> Factors:
        """Apply a function to each array.

        Parameters
        ----------
        f : callable
            Takes one array, and one more for each of `others`; returns an array.
        *others : Factors
            Of the same form; f gets their arrays of the same place.

        Returns
        -------
        Factors
            The results, in the same form.

        Examples
        --------
        A step of gradient descent:

        >>> import numpy as np
        >>> import dmc
        >>> factors = dmc.Factors(np.ones((2, 1)), [], np.ones((3, 1)))
        >>> gradient = dmc.Factors(np.ones((2, 1)), [], np.zeros((3, 1)))
        >>> factors.map(lambda a, g: a - 0.1 * g, gradient).U
        array([[0.9],
               [0.9]])
        """
        forms = (self, *others)

        def bias(name: str) -> Array | None:
            found = [getattr(form, name) for form in forms]
            return None if found[0] is None else f(*found)

        return Factors(
            f(*(form.U for form in forms)),
            tuple(f(*Ws) for Ws in zip(*(form.cores for form in forms), strict=True)),
            f(*(form.V for form in forms)),
            bias("row_bias"),
            bias("column_bias"),
        )


def _append(factor: Array, *columns: Array | None) -> Array:
    present = [column[:, None] for column in columns if column is not None]
    return array_api_compat.array_namespace(factor).concat([factor, *present], axis=1) if present else factor


def _ones_if(bias: Array | None, like: Array) -> Array | None:
    if bias is None:
        return None
    xp = array_api_compat.array_namespace(like)
    return xp.ones(like.shape[0], dtype=like.dtype, device=array_api_compat.device(like))


def _core_takes(left: Array, right: Array) -> bool:
    if _extensions.core is None or not (isinstance(left, np.ndarray) and isinstance(right, np.ndarray)):
        return False
    return left.dtype == right.dtype and left.dtype in (np.float32, np.float64)


def _top_n(
    left: Array, right: Array, n: int, first: Array, last: Array, excluded: Array, among: Array | None
) -> tuple[Array, Array]:
    """What the compiled core computes, in chunks of rows."""
    _checks.indices(excluded, len(right), "column")
    n = min(n, len(right) if among is None else len(among))
    columns = np.full((len(left), n), -1)
    best = np.full((len(left), n), np.nan, left.dtype)
    chunk = max(1, SCORES // max(len(right), 1))
    for i in range(len(left)):
        if i % chunk == 0:
            with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is told by the scores
                scores = left[i : i + chunk] @ right.T
        own = scores[i % chunk]
        own[excluded[first[i] : last[i]]] = np.nan
        found = np.flatnonzero(~np.isnan(own)) if among is None else among[~np.isnan(own[among])]
        if len(found) > n:  # the n best, and those equal to the last of them
            found = found[own[found] >= np.partition(own[found], -n)[-n]]
        found = found[np.argsort(-own[found], kind="stable")[:n]]
        columns[i, : len(found)], best[i, : len(found)] = found, own[found]
    return columns, best
