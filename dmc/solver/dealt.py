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
    """`MaskedLeastSquares` on a matrix whose rows are dealt among the processes of a group.

    Each process has the entries of its own rows, and factors whose U and row bias are those of its rows; V, the cores
    and the column bias are whole, and the same everywhere. Value and gradient are sums over rows: each process adds up
    its own, and one sum over the processes per step, of as many numbers as V, the cores and the column bias have and
    one more, completes them. All processes call the same methods in the same order.

    Parameters
    ----------
    observations : Observations
        The entries of this process' rows, of which there may be none; all columns.
    group : Group
        The processes, from `dmc.distributed.connected`.
    weights : (observed,) array, optional
        Weight of each entry, as in `MaskedLeastSquares`.
    l2 : float or pair of arrays
        Penalty λ of every row and column; or (λ (own rows,), μ (columns,)), the latter the same in all processes.
    kernel : {"native", "numba", "reference", "dense"}, optional
        As in `MaskedLeastSquares`.
    gather_dtype : {"bfloat16", "float16"}, optional
        As in `MaskedLeastSquares`.
    device : str, optional
        Where this process computes, as in `MaskedLeastSquares`.
    unobserved_weight : float
        Weight of the unobserved entries, as in `MaskedLeastSquares`.

    Raises
    ------
    ValueError, ImportError
        As `MaskedLeastSquares`.

    Examples
    --------
    In a single process it is `MaskedLeastSquares`; start the same program with torchrun to deal the rows:

    >>> import dmc
    >>> from dmc import distributed
    >>> observed = dmc.datasets.planted((30, 20), rank=2, observed=0.6).observations
    >>> with distributed.connected() as group:
    ...     problem = distributed.DealtLeastSquares(observed, group)
    ...     solution = dmc.solve(problem, dmc.initial.spectral(observed, rank=2), dmc.steps.DiscrepantDescent())
    >>> solution.status.name
    'CONVERGED'
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
        found = super().counts(side)
        return self.group.sum(found) if side == COLUMNS else found

    def value(self, factors: Factors) -> float:
        return float(self.group.sum(super().value(factors)))

    def value_and_grad(self, factors: Factors) -> tuple[Array | float, Factors]:
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
        return self._whole(side, super().side_gradient(factors, side))

    def gradient_products(self, factors: Factors) -> Callable[[int, Array], Array]:
        product = super().gradient_products(factors)
        return lambda side, vectors: self._whole(side, product(side, vectors))

    def packed_grams(self, side: int, other: Array) -> Array:
        return self._whole(side, super().packed_grams(side, other))

    def average_gram(self, side: int, other: Array) -> Array:
        xp = array_namespace(other)
        gram, penalties = other.T @ other, self.l2[side]
        if side == COLUMNS:
            gram, penalty = self.group.sum(gram), xp.mean(penalties)
        else:
            penalty = self.group.sum(xp.sum(penalties)) / self._n_rows
        return self.curvature * gram + penalty * xp.eye(other.shape[1], dtype=other.dtype, device=where(other))

    def gram_products(self, factors: Factors, side: int) -> Callable[[Array], Array]:
        product = super().gram_products(factors, side)
        return lambda direction: self._whole(side, product(direction))

    def _whole(self, side: int, own: Any) -> Any:
        """What own rows add to each column, of all processes; what is by row is whole as it is."""
        return self.group.sum(own) if side == COLUMNS else own
