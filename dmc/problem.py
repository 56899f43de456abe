"""What is minimised: ½ Σ w (X̂ − X)² over the observed entries, a sum and not a mean, plus the l2 penalty."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
    kernel : {"native", "numba", "reference"}, optional
        The implementation of the masked product; the best available if left out.

    Raises
    ------
    ValueError
        If weights or penalties are negative, not finite or of the wrong length.
    """

    def __init__(
        self,
        observations: Observations,
        weights: ArrayLike | None = None,
        l2: float | tuple[ArrayLike, ArrayLike] = 0.0,
        kernel: str | None = None,
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

    def _non_negative(self, values: ArrayLike, name: str, length: int, what: str) -> NDArray[Any]:
        array = _checks.as_float(values, name).astype(self.observations.dtype, copy=False)
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
        self._check(factors)
        return self._kernel.masked_product(factors.left, factors.right, self._pattern) - self._target.by_row

    def value(self, factors: Factors) -> float:
        """The value at these factors: a sum over entries plus the penalty."""
        residual = self.residual(factors)
        weighted = residual if self._weights is None else self._weights.by_row * residual
        loss = 0.5 * float(np.sum(weighted * residual, dtype=np.float64))
        return loss + self._penalty(factors, factors.left, factors.right)[0] if self._penalised else loss

    def value_and_grad(self, factors: Factors) -> tuple[float, Factors]:
        """The value, and its gradient by every factor (as Factors)."""
        self._check(factors)
        left, right = factors.left, factors.right
        loss, d_left, d_right = self._kernel.masked_residual_grad(
            left, right, self._pattern, self._target, self._weights
        )
        if self._penalised:
            penalty, more_left, more_right = self._penalty(factors, left, right)
            loss, d_left, d_right = loss + penalty, d_left + more_left, d_right + more_right
        return loss, factors.pull_back(d_left, d_right)

    def _penalty(self, factors: Factors, left: Any, right: Any) -> tuple[float, Any, Any]:
        """The penalty and its gradients by left and right; constant columns weigh nothing by pull_back's choice."""
        d_left, d_right = self._row_l2[:, None] * left, self._column_l2[:, None] * right
        value = 0.5 * float(np.vdot(d_left, left) + np.vdot(d_right, right))
        # The columns of ones that carry the other side's bias are no parameters.
        value -= 0.5 * float(self._row_l2.sum()) * (factors.column_bias is not None)
        value -= 0.5 * float(self._column_l2.sum()) * (factors.row_bias is not None)
        return value, d_left, d_right

    def _check(self, factors: Factors) -> None:
        if factors.shape != self.observations.shape:
            m, n = self.observations.shape
            raise ValueError(f"the factors make a {factors.shape[0]}×{factors.shape[1]} matrix, the data are {m}×{n}")
        dtypes = {array.dtype for array in factors.arrays}
        if dtypes != {self.observations.dtype}:
            names = " and ".join(sorted(map(str, dtypes)))
            raise TypeError(
                f"the factors are {names} and the observations {self.observations.dtype}; make them one dtype, "
                f"with factors.map(lambda a: a.astype('{self.observations.dtype}'))"
            )

    def sharing_cores(self, factors: Factors) -> AbstractContextManager[object]:
        return kernels.sharing_cores(factors.width)
