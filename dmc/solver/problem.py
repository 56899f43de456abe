"""What is minimised: half the sum (not the mean) of squares, over observed entries, all entries, or measurements."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from array_api_compat import array_namespace, device as where
from numpy.typing import ArrayLike

from dmc import _arrays, _checks, kernels
from dmc._arrays import Device
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.pattern import BothOrders


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

    @property
    def device(self) -> Device:
        """Where it computes, and factors have to be: None (NumPy), or torch's name of a device."""
        ...

    def to(self, device: Device) -> Problem:
        """The same problem on a device."""
        ...

    def value(self, factors: Factors) -> float: ...

    def value_and_grad(self, factors: Factors) -> tuple[Any, Factors]:
        """The value, a number that may still be on the device, and the gradient."""
        ...

    def sharing_cores(self, factors: Factors) -> AbstractContextManager[object]:
        """While it is open, BLAS and the kernel do not fight for the processor's cores."""
        ...


class MaskedLeastSquares:
    """Least squares on the observed entries of a matrix.

    With left and right the two sides of the model (X̂ = left·rightᵀ, see `Factors`) the value is

        ½ Σ_Ω w_ij (X̂_ij − X_ij)²  +  ½ w₀ Σ_{not in Ω} X̂_ij²  +  ½ Σ_i λ_i ‖left_i‖²  +  ½ Σ_j μ_j ‖right_j‖²

    The penalty acts on the two sides and not on the single factors: at any depth its minimum over all factorizations
    of one X̂ is the (weighted) nuclear norm, while cores that grow would escape a penalty on U and V alone. A bias
    counts as one more coordinate of its line.

    Parameters
    ----------
    observations : Observations
    weights : (observed,) array, optional
        Non-negative weight w of each entry, in the order of ``observations.values``; all one if left out.
    unobserved : float
        w₀, with which every entry that was not observed counts as a zero: for clicks and plays, where absence says a
        little too (Hu, Koren & Volinsky, 2008). All of them together cost two products of Gram matrices, as
        Σ_ij X̂_ij² = ⟨leftᵀ left, rightᵀ right⟩. Below the smallest weight.
    l2 : float or pair of arrays
        λ of every line, or (λ (rows,), μ (columns,)); in units of the data (data times a: l2 times a).
    kernel : {"native", "numba", "reference", "dense"}, optional
        The implementation of the masked product; if left out, the best available for the width.
    gathered : {"bfloat16", "float16"}, optional
        The form in which factors may be gathered entry by entry; if left out, their own. Half precision (float32 data
        only) halves the traffic where they exceed the cache. Each prediction is then off by about 2⁻⁹ of its terms
        (float16: 2⁻¹², while no number exceeds 65,504), and so is each residual, however small: enough for noisy data,
        not for an exact answer. A kernel that has no such form gathers in full.
    device : str, optional
        Where to compute: "cpu" or "cuda" by torch. Left out: where the observations are, by compiled code on the host
        if they are NumPy arrays.

    Raises
    ------
    ValueError
        If weights or penalties are negative, not finite or of the wrong length; if half precision is asked for with
        data that are not float32; if there is no such device.
    ImportError
        If a device is named and torch is not installed.
    """

    def __init__(
        self,
        observations: Observations,
        weights: ArrayLike | None = None,
        l2: float | tuple[ArrayLike, ArrayLike] = 0.0,
        kernel: str | None = None,
        gathered: str | None = None,
        device: Device = None,
        unobserved: float = 0.0,
    ) -> None:
        self.observations = observations = observations if device is None else observations.to(device)
        self._pattern = observations.pattern
        self._target = self._pattern.both_orders(observations.values)
        self._weights: BothOrders | None = None
        if weights is not None:
            self._weights = self._pattern.both_orders(
                self._non_negative(weights, "weights", observations.n_observed, "one for each observed entry")
            )
        self._unobserved = _checks.real(unobserved, "unobserved", 0)
        self._given_weights = None if self._weights is None else self._weights.by_row
        self._offset = 0.0
        if unobserved:
            self._count_zeros()
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
        self._kernel_name, self._kernel = kernel, kernels.select(kernel, self.device)
        self._gathered = gathered
        if gathered is not None:
            _checks.choice(gathered, "gathered", ("bfloat16", "float16"))
            if _arrays.numpy_dtype(observations.dtype) != np.float32:
                raise ValueError(f"gathered is {gathered!r} and the data are {observations.dtype}; make them float32")
        self._wide_kernel = self._kernel if kernel else kernels.select("dense", self.device)

    def _count_zeros(self) -> None:
        """An observed entry counts as a zero too, with weight w₀, among all entries: so its own term is to be
        w (X̂ − X)² − w₀ X̂² = (w − w₀) (X̂ − w X / (w − w₀))² + a constant."""
        xp, values = array_namespace(self.observations.values), self.observations.values
        weights = xp.ones_like(values) if self._weights is None else self._weights.by_row
        least = float(xp.min(weights)) if len(values) else math.inf
        if least <= self._unobserved:
            raise ValueError(
                f"unobserved is {self._unobserved:g} and the smallest weight {least:g}; weigh observed entries higher"
            )
        rest = weights - self._unobserved
        target = weights * values / rest
        self._weights, self._target = self._pattern.both_orders(rest), self._pattern.both_orders(target)
        self._offset = 0.5 * float(xp.sum(weights * values * (values - target), dtype=xp.float64))

    def _non_negative(self, values: ArrayLike, name: str, length: int, what: str) -> Any:
        # A copy: one order of the entries would follow what the caller writes to the array later, the other not.
        given = _arrays.place(values, None) if _arrays.is_tensor(values) else values
        array = _checks.as_float(given, name).astype(_arrays.numpy_dtype(self.observations.dtype))
        if array.shape != (length,):
            raise ValueError(f"{name}: shape {array.shape}; give ({length},), {what}")
        _checks.finite(array, name)
        if (array < 0).any():
            raise ValueError(f"{name}: the smallest is {array.min():g}; none may be negative")
        return _arrays.place(array, self.device)

    @property
    def device(self) -> Device:
        """Where it computes: None (NumPy on the host), or torch's name of a device."""
        return self.observations.device

    def to(self, device: Device) -> MaskedLeastSquares:
        """The same problem on a device; itself, if it is there.

        Parameters
        ----------
        device : str or None
            "cpu" or "cuda" by torch; None: NumPy on the host.
        """
        observations = self.observations.to(device)
        if observations is self.observations:
            return self
        l2 = self._row_l2, self._column_l2
        return MaskedLeastSquares(
            observations, self._given_weights, l2, self._kernel_name, self._gathered, unobserved=self._unobserved
        )

    @cached_property
    def curvature(self) -> float:
        """Mean weight of an entry of the whole matrix; without weights, the share that was observed."""
        total = self.observations.n_observed if self._weights is None else float(self._weights.by_row.sum())
        m, n = self.observations.shape
        return total / (m * n) + self._unobserved

    @cached_property
    def target_norm(self) -> float:
        """Spectral norm of the weighted observed matrix over its curvature."""
        weighted = self.observations
        if self._weights is not None:
            weighted = weighted.with_values(self._target.by_row * self._weights.by_row)
        return weighted.spectral_norm() / self.curvature if self.curvature > 0 else 0.0

    def residual(self, factors: Factors) -> Any:
        """(observed,) X̂ − X at the observed entries, in the order of ``observations.values``."""
        return self._predicted(factors) - self.observations.values

    def _predicted(self, factors: Factors) -> Any:
        check_fit(factors, self.observations.shape, self.observations.values)
        return self._for(factors).masked_product(factors.left, factors.right, self._pattern)

    def value(self, factors: Factors) -> float:
        """The value at these factors: a sum over entries plus the penalty."""
        residual = self._predicted(factors) - self._target.by_row
        weighted = residual if self._weights is None else self._weights.by_row * residual
        xp = array_namespace(residual)
        loss = 0.5 * float(xp.sum(weighted * residual, dtype=xp.float64))
        if self._unobserved:
            loss += float(self._zeros(factors.left, factors.right)[0])
        return loss + float(self._penalty(factors, factors.left, factors.right)[0]) if self._penalised else loss

    def _zeros(self, left: Any, right: Any) -> tuple[Any, Any, Any]:
        """The term of all entries as zeros, and its gradients by left and right."""
        of_left, of_right = left.T @ left, right.T @ right
        value = 0.5 * self._unobserved * dot(of_left, of_right) + self._offset
        return value, self._unobserved * (left @ of_right), self._unobserved * (right @ of_left)

    def value_and_grad(self, factors: Factors) -> tuple[Any, Factors]:
        """The value (on a device: a tensor without dimensions there), and its gradient by every factor (as Factors)."""
        check_fit(factors, self.observations.shape, self.observations.values)
        kernel = self._for(factors)
        whole = getattr(kernel, "value_and_grad", None)
        if (
            whole is not None and not self._unobserved and factors.width <= kernels.NARROW
        ):  # products of wide cores are BLAS's
            l2 = (self._row_l2, self._column_l2) if self._penalised else None
            return whole(factors, self._pattern, self._target, self._weights, l2, self._gathered)
        left, right = factors.left, factors.right
        loss, d_left, d_right = kernel.masked_residual_grad(
            left, right, self._pattern, self._target, self._weights, self._gathered
        )
        if self._penalised:
            penalty, more_left, more_right = self._penalty(factors, left, right)
            loss, d_left, d_right = loss + penalty, d_left + more_left, d_right + more_right
        if self._unobserved:
            zeros, more_left, more_right = self._zeros(left, right)
            loss, d_left, d_right = loss + zeros, d_left + more_left, d_right + more_right
        return loss, factors.pull_back(d_left, d_right)

    @cached_property
    def homogeneous(self) -> MaskedLeastSquares:
        """The same problem with data of zero: its gradient is linear in X̂."""
        other = copy.copy(self)
        other._target, other._offset = self._constant(0.0), 0.0
        return other

    def _constant(self, value: float) -> BothOrders:
        target = array_namespace(self.observations.values).full_like(self.observations.values, value)
        return BothOrders(target, target)

    def line_grams(self, factors: Factors) -> tuple[Any, Any]:
        """Of every line, the matrix of its own least squares problem with the other side of the model fixed.

        Returns
        -------
        (rows, k, k) array, (columns, k, k) array
            Σ_j w_ij v_j v_jᵀ + λ_i I over all entries of row i, with v_j the rows of `factors.right`; and the same of
            the columns, with `factors.left`.
        """
        check_fit(factors, self.observations.shape, self.observations.values)
        left, right = factors.left, factors.right
        width, xp = left.shape[1], array_namespace(left)
        first, second = (_arrays.place(a, self.device) for a in np.triu_indices(width))
        ones = self._constant(-1.0)  # less a product of zero: residuals of one, which add up the other side

        def grams(l2: Any, by_row: bool) -> Any:
            other = right if by_row else left
            products = other[:, first] * other[:, second]
            nothing = xp.zeros((len(l2), products.shape[1]), dtype=products.dtype, device=where(products))
            sides = (nothing, products) if by_row else (products, nothing)
            sums = self._kernel.masked_residual_grad(sides[0], sides[1], self._pattern, ones, self._weights)
            result = xp.empty((len(l2), width, width), dtype=products.dtype, device=where(products))
            result[:, first, second] = result[:, second, first] = sums[1 if by_row else 2]
            result += self._unobserved * (other.T @ other)
            return result + l2[:, None, None] * xp.eye(width, dtype=products.dtype, device=where(products))

        return grams(self._row_l2, True), grams(self._column_l2, False)

    def average_grams(self, factors: Factors) -> tuple[Any, Any]:
        """About what `line_grams` has for a row and for a column on average: (k, k) arrays."""
        left, right = factors.left, factors.right
        eye = array_namespace(left).eye(left.shape[1], dtype=left.dtype, device=where(left))

        def gram(other: Any, l2: Any) -> Any:
            return self.curvature * (other.T @ other) + array_namespace(other).mean(l2) * eye

        return gram(right, self._row_l2), gram(left, self._column_l2)

    def line_products(self, factors: Factors, side: int) -> Callable[[Any], Any]:
        """The map of (lines, k) directions of one side (0: rows, 1: columns) to their products with `line_grams`."""
        check_fit(factors, self.observations.shape, self.observations.values)
        other = (factors.right, factors.left)[side]
        l2 = (self._row_l2, self._column_l2)[side][:, None]
        zeros, gram, kernel = self._constant(0.0), self._unobserved * (other.T @ other), self._for(factors)

        def product(direction: Any) -> Any:
            left, right = (direction, other) if side == 0 else (other, direction)
            sums = kernel.masked_residual_grad(left, right, self._pattern, zeros, self._weights)[1 + side]
            return sums + l2 * direction + (direction @ gram if self._unobserved else 0)

        return product

    def _penalty(self, factors: Factors, left: Any, right: Any) -> tuple[Any, Any, Any]:
        """The penalty and its gradients by left and right; constant columns weigh nothing by pull_back's choice."""
        d_left, d_right = self._row_l2[:, None] * left, self._column_l2[:, None] * right
        value = 0.5 * (dot(d_left, left) + dot(d_right, right))
        # The columns of ones that carry the other side's bias are no parameters.
        value = value - 0.5 * self._l2_sums[0] * (factors.column_bias is not None)
        return value - 0.5 * self._l2_sums[1] * (factors.row_bias is not None), d_left, d_right

    @cached_property
    def _l2_sums(self) -> tuple[float, float]:
        return float(self._row_l2.sum()), float(self._column_l2.sum())

    def _for(self, factors: Factors) -> kernels.Kernel:
        return self._wide_kernel if kernels.wide(int(factors.V.shape[1]), self._pattern) else self._kernel

    def sharing_cores(self, factors: Factors) -> AbstractContextManager[object]:
        return kernels.sharing_cores(factors.width) if self.device is None else nullcontext()


def dot(a: Any, b: Any) -> Any:
    """Σ a b, in float64 but for what is lost within the sum of a float32 dot product."""
    xp = array_namespace(a)
    return xp.astype(xp.vecdot(a.reshape(-1), b.reshape(-1)), xp.float64)


def check_fit(factors: Factors, shape: tuple[int, ...], data: Any) -> None:
    """Factors of the data's shape, dtype and device."""
    if factors.shape != tuple(shape):
        raise ValueError(
            f"the factors make a {factors.shape[0]}×{factors.shape[1]} matrix, the data are {shape[0]}×{shape[1]}"
        )
    if factors.device != _arrays.of(data):
        here, there = ("the host (NumPy)" if d is None else d for d in (factors.device, _arrays.of(data)))
        raise ValueError(
            f"the factors are on {here} and the data on {there}; move them with factors.to({_arrays.of(data)!r})"
        )
    dtypes = {array.dtype for array in factors.arrays}
    if dtypes != {data.dtype}:
        names = " and ".join(sorted(map(str, dtypes)))
        raise TypeError(
            f"the factors are {names} and the data {data.dtype}; make them one dtype, with "
            f"factors.map(lambda a: a.astype('{data.dtype}'))"
        )
