"""Linear regression by a product of factors, from inputs X to outputs Y: what the law of parsimony is about."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import ArrayLike, NDArray

from dmc import _arrays, _checks
from dmc._arrays import Array, Device
from dmc._locks import cached_property
from dmc._warn import warn
from dmc.factors import Factors
from dmc.solver.dense_problems import finite_matrix
from dmc.solver.protocol import Problem, check_fit, dot

MAX_CONDITION = 1e6  # of X Xᵀ: a gradient by a direction this much smaller is within the usual tolerance at once


class LinearRegression(Problem):
    """Least squares of outputs on inputs, ½ ‖W X − Y‖², with the matrix W = X̂ of the factors.

    With whitened inputs, X Xᵀ = I, and Y Xᵀ of low rank, training from an orthogonal start follows the law of parsimony
    exactly (`dmc.diagnostics.parsimony`, `predicted_rho`); with other inputs the picture is similar. The cost of a step
    does not grow with the number of samples: the part of Y that no linear function of the inputs reaches is a constant.

    Parameters
    ----------
    X : (inputs, samples) array or torch tensor
        One column for each sample.
    Y : (outputs, samples) array or torch tensor
        One column for each sample. Computed in float32 if it and X are float32, else in float64; on the device of X, if
        that is a tensor.
    whiten : bool
        Whether to replace X by (X Xᵀ)^(−1/2) X.

    Attributes
    ----------
    shape : (int, int)
        Of W: outputs and inputs.
    whitening : (inputs, inputs) array or None
        (X Xᵀ)^(−1/2) with `whiten`: the fitted W maps an input x to W @ whitening @ x.

    Raises
    ------
    ValueError
        If X and Y are not matrices of as many samples, hold values that are not finite, or X is to be whitened and its
        rows are linearly dependent.

    Warns
    -----
    UserWarning
        If X Xᵀ is so ill-conditioned that descent will not learn its small directions.

    References
    ----------
    C. Yaras, P. Wang, W. Hu, Z. Zhu, L. Balzano, Q. Qu, "The law of parsimony in gradient descent for learning deep
    linear networks", 2023 (arXiv 2306.01154).

    Examples
    --------
    >>> import numpy as np, dmc
    >>> rng = np.random.default_rng(0)
    >>> X, of_rank_one = rng.standard_normal((8, 50)), np.outer(np.ones(8), rng.standard_normal(8)) / 8
    >>> problem = dmc.LinearRegression(X, of_rank_one @ X, whiten=True)
    >>> start = dmc.initial.orthogonal(problem.shape, layers=3, scale=0.05)
    >>> found = dmc.solve(problem, start, dmc.steps.DiscrepantDescent(0.01)).factors
    >>> bool(np.allclose(found.dense() @ problem.whitening, of_rank_one, atol=1e-3))
    True
    """

    def __init__(self, X: ArrayLike, Y: ArrayLike, whiten: bool = False) -> None:
        X, Y = finite_matrix(X, "X"), finite_matrix(Y, "Y")
        device = _arrays.of(X)
        inputs, outputs = _arrays.place(X, None), _arrays.place(Y, None)
        if inputs.shape[1] != outputs.shape[1]:
            hint = ", with one column for each sample: X.T, Y.T" if len(inputs) == len(outputs) else ""
            raise ValueError(
                f"X has {_checks.count(inputs.shape[1], 'column')} and Y {outputs.shape[1]:,}; give as many samples "
                f"in both{hint}"
            )
        self.shape: tuple[int, int] = len(outputs), len(inputs)
        dtype = np.result_type(inputs, outputs)
        wide = inputs.astype(np.float64), outputs.astype(np.float64)
        basis, target, rest, whitening = _reduced(*wide, whiten)
        self._rest = rest
        self._basis, self._target = (_arrays.place(a.astype(dtype, copy=False), device) for a in (basis, target))
        self.whitening: Array | None = None
        if whitening is not None:
            self.whitening = _arrays.place(whitening.astype(dtype, copy=False), device)

    @property
    def device(self) -> Device:
        return _arrays.of(self._target)

    def to(self, device: Device) -> LinearRegression:
        device, moved = _arrays.checked(device), copy.copy(self)
        moved._basis, moved._target = (_arrays.place(a, device) for a in (self._basis, self._target))
        moved.whitening = None if self.whitening is None else _arrays.place(self.whitening, device)
        return moved

    @cached_property
    def curvature(self) -> float:
        """The largest eigenvalue of X Xᵀ, which bounds safe step sizes; 1 if X is whitened."""
        return float(array_namespace(self._basis).linalg.matrix_norm(self._basis, ord=2)) ** 2

    @cached_property
    def target_norm(self) -> float:
        """Spectral norm of Y Xᵀ over the curvature."""
        products = self._target @ self._basis.T
        norm = float(array_namespace(products).linalg.matrix_norm(products, ord=2))
        return norm / self.curvature if self.curvature > 0 else 0.0

    def value(self, factors: Factors) -> float:
        residual = self._residual(factors)[0]
        return 0.5 * float(dot(residual, residual)) + self._rest

    def value_and_grad(self, factors: Factors) -> tuple[Any, Factors]:
        residual, seen = self._residual(factors)
        gradient = factors.pull_back(residual @ seen.T, self._basis @ (residual.T @ factors.left))
        return 0.5 * dot(residual, residual) + self._rest, gradient

    def _residual(self, factors: Factors) -> tuple[Array, Array]:
        """(outputs, q) the residual, and (k, q) what the right side of the model makes of the inputs."""
        check_fit(factors, self.shape, self._target)
        seen = factors.right.T @ self._basis
        return factors.left @ seen - self._target, seen


def _reduced(
    X: NDArray[np.float64], Y: NDArray[np.float64], whiten: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], float, NDArray[np.float64] | None]:
    """(inputs, q) T and (outputs, q) Z such that ½‖W X − Y‖² = ½‖W T − Z‖² + a number; that number; (X Xᵀ)^(−1/2)."""
    n_inputs, n_samples = X.shape
    if not whiten and n_samples <= n_inputs:
        return X, Y, 0.0, None
    whitening = None
    if whiten:
        P, s, Qt = np.linalg.svd(X, full_matrices=False)
        rank = int((s > max(X.shape) * np.finfo(np.float64).eps * s[0]).sum())
        if rank < n_inputs:
            raise ValueError(
                f"X has {_checks.count(n_inputs, 'row')} and rank {rank}, and cannot be whitened; drop rows that "
                "depend on others, or leave whiten out"
            )
        whitening, Q, T = (P / s) @ P.T, (P @ Qt).T, np.eye(n_inputs)
    else:
        Q, R = np.linalg.qr(X.T)
        T = R.T
        _tell_of_small_directions(np.linalg.svd(R, compute_uv=False), max(X.shape))
    Z = Y @ Q
    return T, Z, 0.5 * float(np.sum((Y - Z @ Q.T) ** 2)), whitening


def _tell_of_small_directions(s: NDArray[np.float64], longest: int) -> None:
    """Warn where descent ends before it has learnt what the inputs vary little in."""
    small = (s < s[0] / MAX_CONDITION**0.5) & (s > longest * np.finfo(np.float64).eps * s[0])
    if small.any():
        condition = (s[0] / s[small][-1]) ** 2
        warn(
            f"X Xᵀ has a condition number of {condition:.0e}: descent converges along its large directions and leaves "
            f"{_checks.count(int(small.sum()), 'small one')} of {len(s)} unlearnt; subtract the mean of each row of "
            "X and divide by its spread, or pass whiten=True"
        )
