"""What is minimised: half the sum (not the mean) of squares, over observed entries, all entries, or measurements."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from dmc import _checks, kernels
from dmc.factors import Factors
from dmc.observations import BothOrders, Observations


class Problem(Protocol):
    """What the solver and the step rules ask of a problem."""

    @property
    def curvature(self) -> float:
        """c such that the loss is about ½ c ‖X̂ − X‖² over the whole matrix: what step sizes are scaled by."""
        ...

    @property
    def target_norm(self) -> float:
        """About the spectral norm of the matrix sought, in the data's own units."""
        ...

    def value(self, factors: Factors) -> float: ...

    def value_and_grad(self, factors: Factors) -> tuple[float, Factors]: ...

    def sharing_cores(self, factors: Factors) -> AbstractContextManager[object]:
        """While it is open, BLAS and the kernel do not fight for the processor's cores."""
        ...


class MaskedLeastSquares:
    """Least squares on the observed entries of a matrix.

    With left and right the two sides of the model (X̂ = left·rightᵀ, see `Factors`) the value is

        ½ Σ_Ω w_ij (X̂_ij − X_ij)²  +  ½ Σ_i λ_i ‖left_i‖²  +  ½ Σ_j μ_j ‖right_j‖²

    The penalty acts on the two sides and not on the single factors: at any depth its minimum over all factorizations
    of one X̂ is the (weighted) nuclear norm, while cores that grow would escape a penalty on U and V alone. A bias
    counts as one more coordinate of its line.

    Parameters
    ----------
    observations : Observations
    weights : (observed,) array, optional
        Non-negative weight w of each entry, in the order of ``observations.values``; all one if left out.
    l2 : float or pair of arrays
        λ of every line, or (λ (rows,), μ (columns,)); in units of the data (data times a: l2 times a).
    kernel : {"native", "numba", "reference", "dense"}, optional
        The implementation of the masked product; if left out, the best available for the width.
    gathered : {"bfloat16"}, optional
        The form in which factors may be gathered entry by entry; if left out, their own. bfloat16 (float32 data only)
        halves the traffic where they exceed the cache. Each prediction is then off by about 2⁻⁹ of its terms, and so is
        each residual, however small: enough for noisy data, not for an exact answer. Only the native kernel makes use
        of it.

    Raises
    ------
    ValueError
        If weights or penalties are negative, not finite or of the wrong length; if bfloat16 is asked for with data
        that are not float32.
    """

    def __init__(
        self,
        observations: Observations,
        weights: ArrayLike | None = None,
        l2: float | tuple[ArrayLike, ArrayLike] = 0.0,
        kernel: str | None = None,
        gathered: str | None = None,
    ) -> None:
        self.observations = observations
        self._pattern = observations.pattern
        self._target = self._pattern.both_orders(observations.values)
        self._weights: BothOrders | None = None
        if weights is not None:
            self._weights = self._pattern.both_orders(
                self._non_negative(weights, "weights", observations.n_observed, "one for each observed entry")
            )
        m, n = observations.shape
        if isinstance(l2, (tuple, list)) and len(l2) == 2:
            row_l2, column_l2 = l2
        elif np.ndim(l2) == 0:
            row_l2, column_l2 = np.full(m, l2), np.full(n, l2)
        else:
            raise ValueError(f"l2 has shape {np.shape(l2)}; give a number, or a pair of arrays (rows, columns)")
        self._row_l2 = self._non_negative(row_l2, "l2 of the rows", m, "one for each row")
        self._column_l2 = self._non_negative(column_l2, "l2 of the columns", n, "one for each column")
        self._penalised = bool(self._row_l2.any() or self._column_l2.any())
        self._kernel = kernels.select(kernel)
        self._gathered = gathered
        if gathered is not None:
            _checks.choice(gathered, "gathered", ("bfloat16",))
            if observations.dtype != np.float32:
                raise ValueError(f"gathered is 'bfloat16' and the data are {observations.dtype}; make them float32")
        self._wide_kernel = self._kernel if kernel else kernels.select("dense")

    def _non_negative(self, values: ArrayLike, name: str, length: int, what: str) -> NDArray[Any]:
        # A copy: one order of the entries would follow what the caller writes to the array later, the other not.
        array = _checks.as_float(values, name).astype(self.observations.dtype)
        if array.shape != (length,):
            raise ValueError(f"{name}: shape {array.shape}; give ({length},), {what}")
        _checks.finite(array, name)
        if (array < 0).any():
            raise ValueError(f"{name}: the smallest is {array.min():g}; none may be negative")
        return array

    @cached_property
    def curvature(self) -> float:
        """Mean weight of an entry of the whole matrix; without weights, the share that was observed."""
        total = self.observations.n_observed if self._weights is None else float(self._weights.by_row.sum())
        m, n = self.observations.shape
        return total / (m * n)

    @cached_property
    def target_norm(self) -> float:
        """Spectral norm of the weighted observed matrix over its curvature."""
        weighted = self.observations
        if self._weights is not None:
            weighted = weighted.with_values(weighted.values * self._weights.by_row)
        return weighted.spectral_norm() / self.curvature if self.curvature > 0 else 0.0

    def residual(self, factors: Factors) -> NDArray[Any]:
        """(observed,) X̂ − X at the observed entries, in the order of ``observations.values``."""
        _check_fit(factors, self.observations.shape, self.observations.dtype)
        return self._for(factors).masked_product(factors.left, factors.right, self._pattern) - self._target.by_row

    def value(self, factors: Factors) -> float:
        """The value at these factors: a sum over entries plus the penalty."""
        residual = self.residual(factors)
        weighted = residual if self._weights is None else self._weights.by_row * residual
        loss = 0.5 * float(np.sum(weighted * residual, dtype=np.float64))
        return loss + self._penalty(factors, factors.left, factors.right)[0] if self._penalised else loss

    def value_and_grad(self, factors: Factors) -> tuple[float, Factors]:
        """The value, and its gradient by every factor (as Factors)."""
        _check_fit(factors, self.observations.shape, self.observations.dtype)
        kernel = self._for(factors)
        whole = getattr(kernel, "value_and_grad", None)
        if whole is not None and factors.width <= kernels.NARROW:  # products of wide cores are BLAS's
            l2 = (self._row_l2, self._column_l2) if self._penalised else None
            return whole(factors, self._pattern, self._target, self._weights, l2, self._gathered)
        left, right = factors.left, factors.right
        loss, d_left, d_right = kernel.masked_residual_grad(
            left, right, self._pattern, self._target, self._weights, self._gathered
        )
        if self._penalised:
            penalty, more_left, more_right = self._penalty(factors, left, right)
            loss, d_left, d_right = loss + penalty, d_left + more_left, d_right + more_right
        return loss, factors.pull_back(d_left, d_right)

    @cached_property
    def homogeneous(self) -> MaskedLeastSquares:
        """The same problem with data of zero: its gradient is linear in X̂."""
        other = copy.copy(self)
        other._target = self._constant(0.0)
        return other

    def _constant(self, value: float) -> BothOrders:
        target = np.full(self.observations.n_observed, value, self.observations.dtype)
        return BothOrders(target, target)

    def line_grams(self, factors: Factors) -> tuple[NDArray[Any], NDArray[Any]]:
        """Of every line, the matrix of its own least squares problem with the other side of the model fixed.

        Returns
        -------
        (rows, k, k) array, (columns, k, k) array
            Σ_j w_ij v_j v_jᵀ + λ_i I over the entries of row i, with v_j the rows of `factors.right`; and the same of
            the columns, with `factors.left`.
        """
        _check_fit(factors, self.observations.shape, self.observations.dtype)
        left, right = factors.left, factors.right
        first, second = np.triu_indices(left.shape[1])
        ones = self._constant(-1.0)  # less a product of zero: residuals of one, which add up the other side

        def grams(l2: NDArray[Any], by_row: bool) -> NDArray[Any]:
            other = right if by_row else left
            products = other[:, first] * other[:, second]
            nothing = np.zeros((len(l2), products.shape[1]), products.dtype)
            sides = (nothing, products) if by_row else (products, nothing)
            sums = self._kernel.masked_residual_grad(sides[0], sides[1], self._pattern, ones, self._weights)
            result = np.empty((len(l2), left.shape[1], left.shape[1]), products.dtype)
            result[:, first, second] = result[:, second, first] = sums[1 if by_row else 2]
            return result + l2[:, None, None] * np.eye(left.shape[1], dtype=products.dtype)

        return grams(self._row_l2, True), grams(self._column_l2, False)

    def _penalty(self, factors: Factors, left: Any, right: Any) -> tuple[float, Any, Any]:
        """The penalty and its gradients by left and right; constant columns weigh nothing by pull_back's choice."""
        d_left, d_right = self._row_l2[:, None] * left, self._column_l2[:, None] * right
        value = 0.5 * float(np.vdot(d_left, left) + np.vdot(d_right, right))
        # The columns of ones that carry the other side's bias are no parameters.
        value -= 0.5 * float(self._row_l2.sum()) * (factors.column_bias is not None)
        value -= 0.5 * float(self._column_l2.sum()) * (factors.row_bias is not None)
        return value, d_left, d_right

    def _for(self, factors: Factors) -> kernels.Kernel:
        return self._wide_kernel if kernels.wide(int(factors.V.shape[1]), self._pattern) else self._kernel

    def sharing_cores(self, factors: Factors) -> AbstractContextManager[object]:
        return kernels.sharing_cores(factors.width)


class LeastSquares:
    """Least squares on a fully observed matrix: ½ ‖X̂ − X‖², the case in which the theory of compression is exact.

    No index is stored; X and the residual are the only arrays of the matrix' size.

    Parameters
    ----------
    matrix : (rows, columns) array
        float32 stays float32; all else becomes float64.

    Raises
    ------
    ValueError
        If it is not a matrix, is empty or holds values that are not finite.
    """

    curvature = 1.0

    def __init__(self, matrix: ArrayLike) -> None:
        self.matrix = _finite_matrix(matrix, "matrix")

    @cached_property
    def target_norm(self) -> float:
        """Spectral norm of the matrix."""
        return float(np.linalg.norm(self.matrix, 2))

    def value(self, factors: Factors) -> float:
        """½ ‖X̂ − X‖²."""
        residual = self._residual(factors)
        return 0.5 * float(np.vdot(residual, residual))

    def value_and_grad(self, factors: Factors) -> tuple[float, Factors]:
        """The value, and its gradient by every factor (as Factors)."""
        residual = self._residual(factors)
        return 0.5 * float(np.vdot(residual, residual)), _dense_pull_back(factors, residual)

    def _residual(self, factors: Factors) -> NDArray[Any]:
        _check_fit(factors, self.matrix.shape, self.matrix.dtype)
        residual = factors.left @ factors.right.T
        residual -= self.matrix
        return residual

    def sharing_cores(self, factors: Factors) -> AbstractContextManager[object]:
        return nullcontext()  # nothing but BLAS is at work


class LinearSensing:
    """Least squares on linear measurements of a matrix: ½ Σ (⟨A_i, X̂⟩ − y_i)².

    Forms X̂, a dense matrix.

    Parameters
    ----------
    A : (measurements, rows, columns) array, or (measurements, rows·columns) SciPy sparse matrix
        The measurement matrices A_i; sparse: each flattened row by row.
    y : (measurements,) array
        The measured values. float32 if they and A are float32, else float64.
    shape : (int, int), optional
        Rows and columns of the matrix; needed with sparse A only.

    Raises
    ------
    ValueError
        If the shapes do not fit, or values are not finite.
    """

    def __init__(self, A: Any, y: ArrayLike, shape: tuple[int, int] | None = None) -> None:
        if sparse.issparse(A):
            if shape is None:
                raise ValueError("A is sparse and no shape was given; say shape=(rows, columns)")
            self.shape = _checks.shape(shape)
            self._A = sparse.csr_array(A)
            _checks.finite(self._A.data, "A")
        else:
            dense = _checks.as_float(A, "A")
            if dense.ndim != 3 or 0 in dense.shape:
                raise ValueError(f"A has shape {dense.shape}; give (measurements, rows, columns), none of them 0")
            if shape is not None and tuple(shape) != dense.shape[1:]:
                raise ValueError(f"shape is {tuple(shape)} and A holds {dense.shape[1:]} matrices; leave shape out")
            _checks.finite(dense, "A")
            self.shape = (dense.shape[1], dense.shape[2])
            self._A = dense.reshape(len(dense), -1)
        if self._A.shape[1] != self.shape[0] * self.shape[1]:
            raise ValueError(
                f"A has {self._A.shape[1]} columns; a {self.shape[0]}×{self.shape[1]} matrix needs rows·columns"
            )
        self.y = _checks.as_float(y, "y")
        if self.y.shape != (self._A.shape[0],):
            raise ValueError(
                f"y has shape {self.y.shape} and A {self._A.shape[0]} measurements; give one value for each"
            )
        _checks.finite(self.y, "y")
        dtype = np.result_type(self._A.dtype, self.y.dtype)
        self._A, self.y = self._A.astype(dtype, copy=False), self.y.astype(dtype, copy=False)

    @cached_property
    def curvature(self) -> float:
        """Σ ‖A_i‖² over the number of entries: what ‖A(X)‖²/‖X‖² is on average."""
        squares = self._A.multiply(self._A).sum() if sparse.issparse(self._A) else np.vdot(self._A, self._A)
        return float(squares) / (self.shape[0] * self.shape[1])

    @cached_property
    def target_norm(self) -> float:
        """Spectral norm of Σ y_i A_i over the curvature."""
        return float(np.linalg.norm(self.back_projection, 2))

    @property
    def back_projection(self) -> NDArray[Any]:
        """(rows, columns) Σ y_i A_i over the curvature: about X, and what a start is made from."""
        return (self._A.T @ self.y).reshape(self.shape) / self.y.dtype.type(self.curvature)

    def value(self, factors: Factors) -> float:
        """½ Σ (⟨A_i, X̂⟩ − y_i)²."""
        residual = self._residual(factors)
        return 0.5 * float(residual @ residual)

    def value_and_grad(self, factors: Factors) -> tuple[float, Factors]:
        """The value, and its gradient by every factor (as Factors)."""
        residual = self._residual(factors)
        return 0.5 * float(residual @ residual), _dense_pull_back(factors, (self._A.T @ residual).reshape(self.shape))

    def _residual(self, factors: Factors) -> NDArray[Any]:
        _check_fit(factors, self.shape, self.y.dtype)
        return self._A @ (factors.left @ factors.right.T).reshape(-1) - self.y

    def sharing_cores(self, factors: Factors) -> AbstractContextManager[object]:
        return nullcontext()  # nothing but BLAS is at work


def _dense_pull_back(factors: Factors, gradient: NDArray[Any]) -> Factors:
    """The gradient by every factor from that by X̂ (rows, columns)."""
    return factors.pull_back(gradient @ factors.right, gradient.T @ factors.left)


def _finite_matrix(values: ArrayLike, name: str) -> NDArray[Any]:
    matrix = _checks.as_float(values, name)
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"{name} has shape {matrix.shape}; give a matrix with at least one row and one column")
    _checks.finite(matrix, name)
    return matrix


def _check_fit(factors: Factors, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Factors of the data's shape and dtype."""
    if factors.shape != tuple(shape):
        raise ValueError(
            f"the factors make a {factors.shape[0]}×{factors.shape[1]} matrix, the data are {shape[0]}×{shape[1]}"
        )
    dtypes = {array.dtype for array in factors.arrays}
    if dtypes != {dtype}:
        names = " and ".join(sorted(map(str, dtypes)))
        raise TypeError(
            f"the factors are {names} and the data {dtype}; make them one dtype, with "
            f"factors.map(lambda a: a.astype('{dtype}'))"
        )
