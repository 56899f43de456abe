"""Problems that form the whole matrix: everything observed, or linear measurements of it."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from dmc import _arrays, _checks
from dmc._arrays import Array, Device
from dmc._locks import cached_property
from dmc.factors import Factors
from dmc.solver.protocol import Problem, check_fit, dot


class LeastSquares(Problem):
    """Least squares on a fully observed matrix, ½ ‖X̂ − X‖²: the case in which the theory of compression is exact.

    No index is stored; X and the residual are the only arrays of the matrix' size.

    Parameters
    ----------
    matrix : (rows, columns) array or torch tensor
        The matrix X. Kept in float32; all else becomes float64. A tensor is computed with on its device.

    Raises
    ------
    ValueError
        If it is not a matrix, is empty or holds values that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import dmc
    >>> X = np.outer([1.0, 2.0, 3.0], [1.0, -1.0])
    >>> problem, start = dmc.LeastSquares(X), dmc.initial.compressed(X, rank=1, depth=1)
    >>> dmc.solve(problem, start, dmc.steps.DiscrepantDescent()).factors.dense().round(3)
    array([[ 1., -1.],
           [ 2., -2.],
           [ 3., -3.]])
    """

    curvature = 1.0

    def __init__(self, matrix: ArrayLike) -> None:
        self.matrix: Array = finite_matrix(matrix, "matrix")

    @property
    def device(self) -> Device:
        return _arrays.of(self.matrix)

    def to(self, device: Device) -> LeastSquares:
        moved = copy.copy(self)
        moved.matrix = _arrays.place(self.matrix, _arrays.checked(device))
        return moved

    @cached_property
    def target_norm(self) -> float:
        """Spectral norm of the matrix."""
        return float(array_namespace(self.matrix).linalg.matrix_norm(self.matrix, ord=2))

    def value(self, factors: Factors) -> float:
        residual = self._residual(factors)
        return 0.5 * float(dot(residual, residual))

    def value_and_grad(self, factors: Factors) -> tuple[Array | float, Factors]:
        residual = self._residual(factors)
        return 0.5 * dot(residual, residual), _dense_pull_back(factors, residual)

    def _residual(self, factors: Factors) -> Array:
        check_fit(factors, self.matrix.shape, self.matrix)
        residual = factors.left @ factors.right.T
        residual -= self.matrix
        return residual


class LinearSensing(Problem):
    """Least squares on linear measurements of a matrix, ½ Σ (⟨A_i, X̂⟩ − y_i)².

    It forms X̂, a dense matrix. To start, pass `back_projection` to `dmc.initial`.

    Parameters
    ----------
    A : (measurements, rows, columns) array, or (measurements, rows·columns) SciPy sparse matrix
        The measurement matrices A_i; in a sparse matrix each is flattened row by row, and it stays on the host.
    y : (measurements,) array
        The measured values. Computed in float32 if they and A are float32, else in float64; on the device of A, if that
        is a torch tensor.
    shape : (int, int), optional
        Rows and columns of the matrix; needed with sparse A only.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns of the matrix.

    Raises
    ------
    ValueError
        If the shapes do not fit, or values are not finite.

    Examples
    --------
    Recover a 4×3 matrix of rank one from random measurements:

    >>> import numpy as np
    >>> import dmc
    >>> rng = np.random.default_rng(0)
    >>> A, X = rng.standard_normal((30, 4, 3)), np.outer([1.0, 2.0, 3.0, 4.0], [1.0, 0.0, -1.0])
    >>> problem = dmc.LinearSensing(A, np.einsum("ijk,jk->i", A, X))
    >>> start = dmc.initial.spectral(problem.back_projection, rank=1)
    >>> found = dmc.solve(problem, start, dmc.steps.DiscrepantDescent())
    >>> bool(np.allclose(found.factors.dense(), X, atol=1e-3))
    True
    """

    def __init__(self, A: Any, y: ArrayLike, shape: tuple[int, int] | None = None) -> None:
        device = _arrays.of(A) if _arrays.is_tensor(A) else None
        A, y = (_arrays.place(a, None) if _arrays.is_tensor(a) else a for a in (A, y))
        if sparse.issparse(A):
            if shape is None:
                raise ValueError("A is sparse and no shape was given; pass shape=(rows, columns)")
            self.shape: tuple[int, int] = _checks.shape(shape)
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
        self.y: NDArray[Any] = _checks.as_float(y, "y")
        if self.y.shape != (self._A.shape[0],):
            raise ValueError(
                f"y has shape {self.y.shape} and A {self._A.shape[0]} measurements; give one value for each"
            )
        _checks.finite(self.y, "y")
        dtype = np.result_type(self._A.dtype, self.y.dtype)
        self._A = self._A.astype(dtype, copy=False)
        self.y = _arrays.place(self.y.astype(dtype, copy=False), device)
        self._A = self._A if device is None else _arrays.place(self._A, device)

    @property
    def device(self) -> Device:
        return _arrays.of(self.y)

    def to(self, device: Device) -> LinearSensing:
        device = _arrays.checked(device)
        if device is not None and sparse.issparse(self._A):
            raise ValueError(f"A is sparse, which stays on the host, and device is {device!r}; give A.toarray()")
        moved = copy.copy(self)
        if device != self.device:
            moved._A, moved.y = _arrays.place(self._A, device), _arrays.place(self.y, device)
        return moved

    @cached_property
    def curvature(self) -> float:
        """Σ ‖A_i‖² over the number of entries: the mean of ‖A(X)‖²/‖X‖²."""
        squares = self._A.multiply(self._A).sum() if sparse.issparse(self._A) else dot(self._A, self._A)
        return float(squares) / (self.shape[0] * self.shape[1])

    @cached_property
    def target_norm(self) -> float:
        """Spectral norm of Σ y_i A_i over the curvature."""
        return float(array_namespace(self.y).linalg.matrix_norm(self.back_projection, ord=2))

    @property
    def back_projection(self) -> Array:
        """(rows, columns) array Σ y_i A_i over the curvature: an estimate of X to start from."""
        return (self._A.T @ self.y).reshape(self.shape) / self.curvature

    def value(self, factors: Factors) -> float:
        residual = self._residual(factors)
        return 0.5 * float(dot(residual, residual))

    def value_and_grad(self, factors: Factors) -> tuple[Array | float, Factors]:
        residual = self._residual(factors)
        return 0.5 * dot(residual, residual), _dense_pull_back(factors, (self._A.T @ residual).reshape(self.shape))

    def _residual(self, factors: Factors) -> Array:
        check_fit(factors, self.shape, self.y)
        return self._A @ (factors.left @ factors.right.T).reshape(-1) - self.y


def _dense_pull_back(factors: Factors, gradient: Array) -> Factors:
    """The gradient by every factor from that by X̂ (rows, columns)."""
    return factors.pull_back(gradient @ factors.right, gradient.T @ factors.left)


def finite_matrix(values: ArrayLike, name: str) -> Array:
    """A matrix of finite real numbers, of one row and one column at least; a tensor stays on its device."""
    device = _arrays.of(values) if _arrays.is_tensor(values) else None
    matrix = _checks.as_float(_arrays.place(values, None) if device else values, name)
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"{name} has shape {matrix.shape}; give a matrix with at least one row and one column")
    _checks.finite(matrix, name)
    return _arrays.place(matrix, device)
