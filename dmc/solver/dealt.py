"""Least squares on a matrix whose rows are dealt among processes: each has its own rows, all have every column."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device as where
from numpy.typing import ArrayLike

from dmc._arrays import Device
from dmc._group import Group
from dmc._locks import cached_property
from dmc.factors import Array, Factors
from dmc.observations import Observations
from dmc.pattern import COLUMNS, ROWS
from dmc.solver.problem import MaskedLeastSquares


class DealtLeastSquares(MaskedLeastSquares):
    """`MaskedLeastSquares` on the rows of all processes of a group.

    Each has the entries of its own rows, and factors whose U and row bias are of these; V, the cores and the column
    bias are whole, and the same everywhere. Value and gradient are sums over rows: each process makes those of its own,
    and one sum a step over the processes, of as many numbers as V, the cores and the column bias have and one more,
    makes them whole. All processes call the same methods in the same order.

    Parameters
    ----------
    observations : Observations
        The entries of this process' rows, which may be none, by all columns.
    group : Group
    weights, unobserved_weight, kernel, gather_dtype, device
        As of `MaskedLeastSquares`.
    l2 : float or pair of arrays
        λ of every row and column; or (λ (own rows,), μ (columns,)), the latter the same in all processes.

    Raises
    ------
    ValueError, ImportError
        As `MaskedLeastSquares`.
    """

    def __init__(
        self,
        observations: Observations,
        group: Group,
        weights: ArrayLike | None = None,
        l2: float | tuple[ArrayLike, ArrayLike] = 0.0,
        kernel: str | None = None,
        gather_dtype: str | None = None,
        device: Device = None,
        unobserved_weight: float = 0.0,
    ) -> None:
        super().__init__(observations, weights, l2, kernel, gather_dtype, device, unobserved_weight)
        self.group = group
        if group.rank > 0:  # the columns' penalty is one for all processes: the first adds it
            self._own_l2 = self.l2[ROWS], 0 * self.l2[COLUMNS]

    def to(self, device: Device) -> DealtLeastSquares:
        """The same problem on a device; itself, if it is there."""
        observations = self.observations.to(device)
        if observations is self.observations:
            return self
        return DealtLeastSquares(
            observations,
            self.group,
            self._given_weights,
            self.l2,
            self._kernel_name,
            self.gather_dtype,
            unobserved_weight=self.unobserved_weight,
        )

    @cached_property
    def _n_rows(self) -> int:
        """Of all processes."""
        return int(self.group.sum(self.observations.shape[0]))

    @cached_property
    def curvature(self) -> float:
        """Mean weight of an entry of the whole matrix; without weights, the share that was observed."""
        total = self.observations.n_observed if self.weights is None else float(self.weights.by_row.sum())
        size = self._n_rows * self.observations.shape[1]
        return float(self.group.sum(float(total))) / size + self.unobserved_weight

    @cached_property
    def rounding(self) -> float:
        """The value of residuals of one unit in the last place of the entries' typical size."""
        return float(self.group.sum(super().rounding))

    def counts(self, side: int) -> Array:
        """(own rows,) or (columns,) observed entries of each."""
        found = super().counts(side)
        return self.group.sum(found) if side == COLUMNS else found

    def value(self, factors: Factors) -> float:
        """The value at these factors."""
        return float(self.group.sum(super().value(factors)))

    def value_and_grad(self, factors: Factors) -> tuple[Array | float, Factors]:
        """The value, and its gradient by every factor (as Factors): own rows of U and of the row bias."""
        value, own = super().value_and_grad(factors)
        if self.group.size == 1:
            return value, own
        xp = array_namespace(own.V)
        shared = [a for a in own.arrays if a is not own.U and a is not own.row_bias]
        # One message for all gradients: each further one costs a round more. The value has one of its own, for it is
        # compared, and in float32 as good as no step would lower it.
        total = self.group.sum(xp.concat([a.reshape(-1) for a in shared]))
        value = self.group.sum(xp.asarray(value, dtype=xp.float64, device=where(own.V)).reshape(-1))[0]
        ends = np.cumsum([0, *(int(np.prod(a.shape)) for a in shared)]).tolist()
        parts = [total[i:j].reshape(a.shape) for (i, j), a in zip(pairwise(ends), shared, strict=True)]
        column_bias = None if own.column_bias is None else parts.pop()
        *cores, V = parts
        return value, Factors(own.U, cores, V, own.row_bias, column_bias)

    def side_gradient(self, factors: Factors, side: int) -> Array:
        """The gradient by one side of the model: by `left` (own rows, k) for ROWS, by `right` (columns, k)."""
        return self._whole(side, super().side_gradient(factors, side))

    def gradient_products(self, factors: Factors) -> Callable[[int, Array], Array]:
        """The gradient by X̂ without the penalty, of own rows by all columns, by its products with matrices; by the
        transpose of all rows together."""
        product = super().gradient_products(factors)
        return lambda side, vectors: self._whole(side, product(side, vectors))

    def packed_grams(self, side: int, other: Array) -> Array:
        """(own rows, k(k+1)/2) or (columns, k(k+1)/2) the matrix of each one's own least squares problem."""
        return self._whole(side, super().packed_grams(side, other))

    def average_gram(self, side: int, other: Array) -> Array:
        """(k, k) about what `grams` has of a row on average."""
        xp = array_namespace(other)
        gram, penalties = other.T @ other, self.l2[side]
        if side == COLUMNS:
            gram, penalty = self.group.sum(gram), xp.mean(penalties)
        else:
            penalty = self.group.sum(xp.sum(penalties)) / self._n_rows
        return self.curvature * gram + penalty * xp.eye(other.shape[1], dtype=other.dtype, device=where(other))

    def gram_products(self, factors: Factors, side: int) -> Callable[[Array], Array]:
        """The map of directions of one side to their products with the matrix of each of its rows, as `grams` has
        it."""
        product = super().gram_products(factors, side)
        return lambda direction: self._whole(side, product(direction))

    def _whole(self, side: int, own: Any) -> Any:
        """What own rows add to each column, of all processes; what is by row is whole as it is."""
        return self.group.sum(own) if side == COLUMNS else own
