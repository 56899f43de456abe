"""What completion minimises: half the sum (not the mean) of squares over the observed entries of a matrix."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
from array_api_compat import array_namespace, device as where
from numpy.typing import ArrayLike

from dmc import _arrays, _checks, kernels
from dmc._arrays import Device
from dmc._group import ALONE, Group
from dmc._locks import cached_property
from dmc.factors import Array, Factors
from dmc.observations import Observations
from dmc.pattern import COLUMNS, ROWS, BothOrders, Pattern, read_only
from dmc.solver import row_solve
from dmc.solver.protocol import Problem, check_finite, check_fit, dot


class MaskedLeastSquares(Problem):
    """Least squares on the observed entries of a matrix.

    With left and right the two sides of the model (X̂ = left·rightᵀ, see `Factors`) the value is

        ½ Σ_Ω w_ij (X̂_ij − X_ij)²  +  ½ w₀ Σ_{not in Ω} X̂_ij²  +  ½ Σ_i λ_i ‖left_i‖²  +  ½ Σ_j μ_j ‖right_j‖²

    The penalty acts on the two sides and not on the single factors: at any depth its minimum over all factorizations of
    one X̂ is the (weighted) nuclear norm, whereas a penalty on U and V alone could be avoided by growing the cores. A
    bias counts as one more coordinate of its row or column.

    Parameters
    ----------
    observations : Observations
        The observed entries X_ij, (i, j) in Ω.
    weights : (observed,) array, optional
        Non-negative weight w of each entry, in the order of ``observations.values``; by default those of the
        observations, or all one.
    l2 : float or pair of arrays
        Penalty λ of every row and column, or (λ (rows,), μ (columns,)); in units of the data: if you scale the data by
        a, scale `l2` by a.
    kernel : {"native", "numba", "reference", "dense"}, optional
        The implementation of the masked product; by default the best available for the width.
    gather_dtype : {"bfloat16", "float16"}, optional
        Dtype in which factors may be gathered entry by entry; by default their own. Half precision (float32 data only)
        halves the memory traffic where they exceed the cache. Each prediction, and each residual, is then off by about
        2⁻⁹ of its terms (float16: 2⁻¹², while no number exceeds 65,504): enough for noisy data, not for an exact
        answer. A kernel that has no such form gathers in full.
    device : str, optional
        Where to compute: "cpu" or "cuda" by torch. By default where the observations are, which is compiled code on the
        host for NumPy arrays.
    unobserved_weight : float
        Weight w₀ with which every unobserved entry counts as a zero: for clicks and plays, where absence says a little
        too (Hu, Koren & Volinsky, 2008). All of them together cost two products of Gram matrices, as Σ_ij X̂_ij² =
        ⟨leftᵀ left, rightᵀ right⟩. It has to be below the smallest weight.
    gathered : {"bfloat16", "float16"}, optional
        Old name of `gather_dtype`; deprecated.
    unobserved : float, optional
        Old name of `unobserved_weight`; deprecated.

    Attributes
    ----------
    pattern : Pattern
        The observed positions.
    target, weights : BothOrders
        Targets and weights of the observed entries' own terms, in both orders; weights None: all one. With
        `unobserved_weight`, what is left of them beside the term of all entries.
    l2 : pair of arrays
        Penalties λ (rows,) and μ (columns,).

    Raises
    ------
    ValueError
        If values are not finite; if weights or penalties are negative, not finite or of the wrong length; if half
        precision is asked for with data that are not float32; if there is no such device.
    ImportError
        If a device is named and torch is not installed.

    Examples
    --------
    >>> import dmc
    >>> observed = dmc.datasets.planted((30, 20), rank=2, observed=0.6, noise=0.1).observations
    >>> problem = dmc.MaskedLeastSquares(observed, l2=1.0)
    >>> start = dmc.initial.spectral(observed, rank=2)
    >>> solution = dmc.solve(problem, start, dmc.steps.DiscrepantDescent())
    >>> solution.status.name
    'CONVERGED'
    >>> problem.residual(solution.factors).shape == observed.values.shape
    True
    """

    group: Group = ALONE

    def __init__(
        self,
        observations: Observations,
        weights: ArrayLike | None = None,
        l2: float | tuple[ArrayLike, ArrayLike] = 0.0,
        kernel: str | None = None,
        gather_dtype: str | None = None,
        device: Device = None,
        unobserved_weight: float = 0.0,
        *,
        gathered: str | None = None,
        unobserved: float | None = None,
    ) -> None:
        gather_dtype = _checks.renamed("gathered", gathered, "gather_dtype", gather_dtype)
        unobserved_weight = _checks.renamed("unobserved", unobserved, "unobserved_weight", unobserved_weight)
        self.observations: Observations = observations if device is None else observations.to(device)
        check_finite(self.observations.values)
        self.pattern: Pattern = self.observations.pattern
        self.l2: tuple[Array, Array] = self._checked_penalties(l2)
        self._own_l2 = self.l2  # those whose terms this process adds up
        self._penalised = any(bool(penalty.any()) for penalty in self.l2)
        weights = self.observations.weights if weights is None else weights
        self._given_weights = None if weights is None else self._checked_weights(weights)
        self.unobserved_weight: float = _checks.real(unobserved_weight, "unobserved_weight", 0)
        own_weights, own_target, self._offset = self._own_terms()
        self.weights: BothOrders | None = None if own_weights is None else self._kept(own_weights)
        self.target: BothOrders = self._kept(own_target)
        self.gather_dtype: str | None = self._checked_gather_dtype(gather_dtype)
        self._kernel_name, self._kernel = kernel, kernels.select(kernel, self.device)
        self._wide_kernel = self._kernel if kernel else kernels.select("dense", self.device)

    def _kept(self, values: Array) -> BothOrders:
        return BothOrders(*map(read_only, self.pattern.both_orders(values)))

    def _own_terms(self) -> tuple[Array | None, Array, float]:
        """Weights and targets of the observed entries' own terms, and what these lack to the value.

        Where every entry counts as a zero of weight w₀, an observed one does too, so that its own term is
        w (X̂ − X)² − w₀ X̂² = (w − w₀) (X̂ − w X / (w − w₀))² + a constant.
        """
        xp, values = array_namespace(self.observations.values), self.observations.values
        if not self.unobserved_weight:
            return self._given_weights, values, 0.0
        weights = xp.ones_like(values) if self._given_weights is None else self._given_weights
        least = float(xp.min(weights)) if len(values) else math.inf
        if least <= self.unobserved_weight:
            raise ValueError(
                f"unobserved_weight is {self.unobserved_weight:g} and the smallest weight {least:g}; weigh observed "
                "entries higher"
            )
        own = weights - self.unobserved_weight
        target = weights * values / own
        return own, target, 0.5 * float(xp.sum(weights * values * (values - target), dtype=xp.float64))

    def _checked_weights(self, weights: ArrayLike) -> Array:
        return self._non_negative(weights, "weights", self.observations.n_observed, "one for each observed entry")

    def _checked_penalties(self, l2: float | tuple[ArrayLike, ArrayLike]) -> tuple[Array, Array]:
        m, n = self.observations.shape
        if isinstance(l2, (tuple, list)) and len(l2) == 2:
            of_rows, of_columns = l2
        elif np.ndim(l2) == 0:
            of_rows, of_columns = np.full(m, l2), np.full(n, l2)
        else:
            raise ValueError(f"l2 has shape {np.shape(l2)}; give a number, or a pair of arrays (rows, columns)")
        return (
            self._non_negative(of_rows, "l2 of the rows", m, "one for each row"),
            self._non_negative(of_columns, "l2 of the columns", n, "one for each column"),
        )

    def _checked_gather_dtype(self, gather_dtype: str | None) -> str | None:
        if gather_dtype is not None:
            _checks.choice(gather_dtype, "gather_dtype", ("bfloat16", "float16"))
            dtype = self.observations.dtype
            if _arrays.numpy_dtype(dtype) != np.float32:
                raise ValueError(f"gather_dtype is {gather_dtype!r} and the data are {dtype}; make them float32")
        return gather_dtype

    def _non_negative(self, values: ArrayLike, name: str, length: int, what: str) -> Array:
        # A copy: one order of the entries would follow what the caller writes to the array later, the other not.
        given = _arrays.place(values, None) if _arrays.is_tensor(values) else values
        array = _checks.as_float(given, name).astype(_arrays.numpy_dtype(self.observations.dtype))
        return read_only(_arrays.place(_checks.non_negative(array, name, (length,), what), self.device))

    @property
    def device(self) -> Device:
        return self.observations.device

    def to(self, device: Device) -> MaskedLeastSquares:
        observations = self.observations.to(device)
        if observations is self.observations:
            return self
        return MaskedLeastSquares(
            observations,
            self._given_weights,
            self.l2,
            self._kernel_name,
            self.gather_dtype,
            unobserved_weight=self.unobserved_weight,
        )

    def counts(self, side: int) -> Array:
        """Count the observed entries of each row or column.

        Parameters
        ----------
        side : int
            ``ROWS`` (0) or ``COLUMNS`` (1).

        Returns
        -------
        (rows,) or (columns,) integers
            The counts.
        """
        return self.pattern.column_counts if side == COLUMNS else self.pattern.row_counts

    @cached_property
    def curvature(self) -> float:
        """Mean weight of an entry of the whole matrix; without weights, the observed share."""
        total = self.observations.n_observed if self.weights is None else float(self.weights.by_row.sum())
        m, n = self.observations.shape
        return total / (m * n) + self.unobserved_weight

    @cached_property
    def target_norm(self) -> float:
        """Spectral norm of the weighted observed matrix over its curvature."""
        weighted = self.observations
        if self.weights is not None:
            weighted = weighted.with_values(self.target.by_row * self.weights.by_row)
        return weighted.spectral_norm(self.group) / self.curvature if self.curvature > 0 else 0.0

    @cached_property
    def rounding(self) -> float:
        """The value if every residual were one unit in the last place of a typical entry."""
        xp, size = array_namespace(self.target.by_row), self.target.by_row
        weighted = size if self.weights is None else self.weights.by_row * size
        eps = float(xp.finfo(self.observations.dtype).eps)
        return 0.5 * eps**2 * float(xp.sum(weighted * size, dtype=xp.float64))

    def residual(self, factors: Factors) -> Array:
        """Compute X̂ − X at the observed entries.

        Parameters
        ----------
        factors : Factors
            Of X̂.

        Returns
        -------
        (observed,) array
            In the order of ``observations.values``.
        """
        return self._predicted(factors) - self.observations.values

    def _predicted(self, factors: Factors) -> Array:
        check_fit(factors, self.observations.shape, self.observations.values)
        return self._for(factors).masked_product(factors.left, factors.right, self.pattern)

    def _weighted_residual(self, factors: Factors) -> tuple[Array, Array]:
        """(observed,) residual of the own terms, and the same times the weights."""
        residual = self._predicted(factors) - self.target.by_row
        return residual, residual if self.weights is None else self.weights.by_row * residual

    def value(self, factors: Factors) -> float:
        residual, weighted = self._weighted_residual(factors)
        xp = array_namespace(residual)
        loss = 0.5 * float(xp.sum(weighted * residual, dtype=xp.float64))
        if self.unobserved_weight:
            loss += float(self._zeros(factors.left, factors.right)[0])
        return loss + float(self._penalty(factors, factors.left, factors.right)[0]) if self._penalised else loss

    def _zeros(self, left: Array, right: Array) -> tuple[Array, Array, Array]:
        """The term of all entries as zeros, and its gradients by left and right."""
        of_left, of_right = left.T @ left, right.T @ right
        value = 0.5 * self.unobserved_weight * dot(of_left, of_right) + self._offset
        return value, self.unobserved_weight * (left @ of_right), self.unobserved_weight * (right @ of_left)

    def value_and_grad(self, factors: Factors) -> tuple[Array | float, Factors]:
        check_fit(factors, self.observations.shape, self.observations.values)
        kernel = self._for(factors)
        whole = getattr(kernel, "value_and_grad", None)
        # Products of wide cores are BLAS's.
        if whole is not None and not self.unobserved_weight and factors.width <= kernels.NARROW:
            l2 = self._own_l2 if self._penalised else None
            value, gradient = whole(factors, self.pattern, self.target, self.weights, l2, self.gather_dtype)
            return value, gradient
        left, right = factors.left, factors.right
        loss, d_left, d_right = kernels.residual_gradients(
            kernel, left, right, self.pattern, self.target, self.weights, self.gather_dtype
        )
        if self._penalised:
            penalty, more_left, more_right = self._penalty(factors, left, right)
            loss, d_left, d_right = loss + penalty, d_left + more_left, d_right + more_right
        if self.unobserved_weight:
            zeros, more_left, more_right = self._zeros(left, right)
            loss, d_left, d_right = loss + zeros, d_left + more_left, d_right + more_right
        return loss, factors.pull_back(d_left, d_right)

    def side_gradient(self, factors: Factors, side: int) -> Array:
        """Compute the gradient with respect to one side of the model.

        Parameters
        ----------
        factors : Factors
            Where.
        side : int
            ``ROWS`` (0) for `Factors.left`, ``COLUMNS`` (1) for `Factors.right`.

        Returns
        -------
        (rows, k) or (columns, k) array
            The gradient.
        """
        check_fit(factors, self.observations.shape, self.observations.values)
        own, other = (factors.left, factors.right) if side == ROWS else (factors.right, factors.left)
        w = None if self.weights is None else self.weights[side]
        kernel, target = self._for(factors), self.target[side]
        gradient = kernel.residual_gradient(side, own, other, self.pattern, target, w, self.gather_dtype)[1]
        return gradient + self._quadratic(side, own, other)

    def _quadratic(self, side: int, own: Array, other: Array) -> Array:
        """(rows, k) what the penalty and the term of all entries add to a gradient, or to a product, of one side."""
        terms = self._own_l2[side][:, None] * own
        return terms + self.unobserved_weight * (own @ (other.T @ other)) if self.unobserved_weight else terms

    def gradient_products(self, factors: Factors) -> Callable[[int, Array], Array]:
        """Wrap the gradient with respect to X̂, without the penalty, as a linear operator.

        Parameters
        ----------
        factors : Factors
            Where.

        Returns
        -------
        callable
            Called with (ROWS, (columns, b) array) it returns its product, (rows, b); with (COLUMNS, (rows, b) array)
            that of the transpose, (columns, b).
        """
        both = self.pattern.both_orders(self._weighted_residual(factors)[1])
        sides = factors.left, factors.right

        def product(side: int, vectors: Array) -> Array:
            sums = self._kernel.weighted_sums(side, vectors, self.pattern, both[side])
            if self.unobserved_weight:
                sums = sums + self.unobserved_weight * (sides[side] @ (sides[1 - side].T @ vectors))
            return sums

        return product

    def packed_grams(self, side: int, other: Array) -> Array:
        """Compute the matrix of each row's least squares problem with the other side of the model fixed.

        Parameters
        ----------
        side : int
            ``ROWS`` (0), or ``COLUMNS`` (1) for the problems of the columns.
        other : (columns, k) or (rows, k) array
            Vectors v_j of the other side: `Factors.right`, or `Factors.left`.

        Returns
        -------
        (rows, k(k+1)/2) array
            The upper triangles, row by row, of Σ_j w_ij v_j v_jᵀ + λ_i I over the entries of row i.
        """
        if other.shape[0] != self.pattern.shape[1 - side]:
            m, n = self.pattern.shape
            raise ValueError(f"the other side has {other.shape[0]} vectors and the data are {m}×{n}; give one for each")
        xp, k = array_namespace(other), int(other.shape[1])
        products = xp.concat([other[:, i : i + 1] * other[:, i:] for i in range(k)] or [other], axis=1)
        w = None if self.weights is None else self.weights[side]
        grams = self._kernel.weighted_sums(side, products, self.pattern, w)
        if self.unobserved_weight:
            gram = self.unobserved_weight * (other.T @ other)
            grams = grams + xp.concat([gram[i, i:] for i in range(k)] or [gram[:, 0]])
        if self._penalised:
            grams[:, row_solve.diagonal(k)] += self._own_l2[side][:, None]
        return grams

    def grams(self, side: int, other: Array) -> Array:
        """Compute the matrices of `packed_grams` in full.

        Parameters
        ----------
        side : int
            ``ROWS`` (0), or ``COLUMNS`` (1) for the problems of the columns.
        other : (columns, k) or (rows, k) array
            Vectors of the other side.

        Returns
        -------
        (rows, k, k) array
            Σ_j w_ij v_j v_jᵀ + λ_i I for each row i.
        """
        return row_solve.unpacked(self.packed_grams(side, other), other.shape[1])

    def average_gram(self, side: int, other: Array) -> Array:
        """Approximate the mean of `grams` over the rows, cheaply.

        Parameters
        ----------
        side : int
            ``ROWS`` (0), or ``COLUMNS`` (1) for the problems of the columns.
        other : (columns, k) or (rows, k) array
            Vectors of the other side.

        Returns
        -------
        (k, k) array
            The curvature times Σ_j v_j v_jᵀ, plus the mean penalty times the identity.
        """
        xp = array_namespace(other)
        eye = xp.eye(other.shape[1], dtype=other.dtype, device=where(other))
        return self.curvature * (other.T @ other) + xp.mean(self.l2[side]) * eye

    def gram_products(self, factors: Factors, side: int) -> Callable[[Array], Array]:
        """Wrap the matrices of `grams` as an operator on one side, without forming them.

        Parameters
        ----------
        factors : Factors
            Where.
        side : int
            ``ROWS`` (0), or ``COLUMNS`` (1) for the problems of the columns.

        Returns
        -------
        callable
            Maps (rows, k) directions to their products with each row's matrix.
        """
        check_fit(factors, self.observations.shape, self.observations.values)
        other, kernel = factors.right if side == ROWS else factors.left, self._for(factors)
        w = None if self.weights is None else self.weights[side]

        def product(direction: Array) -> Array:
            sums = kernel.residual_gradient(side, direction, other, self.pattern, None, w)[1]
            return sums + self._quadratic(side, direction, other)

        return product

    def _penalty(self, factors: Factors, left: Array, right: Array) -> tuple[Array, Array, Array]:
        """The penalty and its gradients by left and right; constant columns weigh nothing by pull_back's choice."""
        d_left, d_right = self._own_l2[ROWS][:, None] * left, self._own_l2[COLUMNS][:, None] * right
        value = 0.5 * (dot(d_left, left) + dot(d_right, right))
        # The columns of ones that carry the other side's bias are no parameters.
        value = value - 0.5 * self._l2_sums[0] * (factors.column_bias is not None)
        return value - 0.5 * self._l2_sums[1] * (factors.row_bias is not None), d_left, d_right

    @cached_property
    def _l2_sums(self) -> tuple[float, float]:
        return float(self._own_l2[ROWS].sum()), float(self._own_l2[COLUMNS].sum())

    def kernel_for(self, width: int) -> kernels.Kernel:
        """Choose the kernel for factors of a given width.

        Parameters
        ----------
        width : int
            Inner dimension.

        Returns
        -------
        Kernel
            The one named when the problem was made, or the faster one for this width.
        """
        return self._wide_kernel if kernels.wide(width, self.pattern) else self._kernel

    def _for(self, factors: Factors) -> kernels.Kernel:
        return self.kernel_for(int(factors.V.shape[1]))

    def sharing_cores(self, factors: Factors) -> AbstractContextManager[object]:
        return kernels.sharing_cores(factors.width) if self.device is None else nullcontext()
