"""The compressed deep network as a torch module: a factorization of a matrix, to train inside any model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, DTypeLike
from torch import Tensor, nn

from dmc import _checks
from dmc.factors import Factors
from dmc.nn.masked_product import MaskedProduct
from dmc.observations import Observations
from dmc.solver import initial

__all__ = ["CompressedFactorization"]

# Of the factors at a start without data, as a share of their size in a matrix with entries of order 1. Chosen of .3 to
# 1.3 on planted 100×80 matrices of rank 3 (seeds 0–11, 200–211; SGD with momentum .9): above, fewer runs survive a rate
# of 1e-3; below, less is recovered of what was not observed.
OUTER_SIZE = 0.75


class CompressedFactorization(nn.Module):
    """X̂ = U · W_L ⋯ W_1 · Vᵀ (plus biases) with trainable factors: the compressed deep network.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the matrix.
    rank : int
        Upper bound of the rank; the factors are twice as wide, or as the smaller side of the matrix if that is less.
    depth : int
        Number of cores L.
    scale : float
        Size of the start. Without observations, the root mean square of X̂'s entries, in the units of the values: one
        hundredth of theirs is small enough to favour a low rank, and large enough for plain SGD to leave the start.
        With observations, the ε of `dmc.initial.compressed`: the cores are ε times the identity.
    seed : int or numpy.random.Generator
        The same seed gives the same start.
    biases : bool
        Whether each row and each column has a bias, zero at the start.
    observations : Observations, optional
        The known entries of the matrix: the start is then `dmc.initial.compressed`, in their dtype. By default U and V
        are random orthonormal columns and the cores identities, scaled to their size in a matrix with entries of order
        1, except for the middle core, which is small; float64 if that is torch's default dtype, else float32.

    Attributes
    ----------
    U : (rows, k) parameter
        Row factors.
    cores : list of (k, k) parameters
        In reading order, W_L first.
    V : (columns, k) parameter
        Column factors.
    row_bias, column_bias : (rows,) and (columns,) parameters, or None
        Biases, if there are any.

    Raises
    ------
    ValueError
        If the rank does not fit the shape, or the observations are of another shape.

    Notes
    -----
    The loss is a sum, so the largest stable rate falls with the size of the matrix: for plain gradient descent it is
    about 2/(p σ^(2 − 2/(L + 2))), with p the observed share and σ the largest singular value.

    For mini-batches, `at` predicts any pairs, and any torch loss can follow; see the second example. Gradients then
    pass through the rows and columns of the batch only: apart from the optimiser's step, the cost does not depend on
    the size of the matrix. A sum over a batch of b of n entries has b/n of the gradient of `loss`, on average.

    ``torch.func`` (functional_call, grad, jacrev, jvp, vmap, …) works with `forward`, and with `MaskedProduct`.

    Examples
    --------
    >>> import torch, dmc
    >>> observed = dmc.datasets.planted((60, 40), rank=2, observed=0.5).observations
    >>> plan, target = dmc.nn.MaskedProduct(observed), torch.tensor(observed.values).float()
    >>> model = dmc.nn.CompressedFactorization(observed.shape, rank=4)
    >>> optimiser = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    >>> for _ in range(300):
    ...     optimiser.zero_grad()
    ...     loss = model.loss(plan, target)
    ...     loss.backward()
    ...     optimiser.step()
    >>> loss.item() < 0.01 * 0.5 * target.square().sum().item()
    True

    The same in mini-batches of 256 pairs:

    >>> from torch.utils.data import DataLoader, TensorDataset
    >>> pairs = TensorDataset(torch.tensor(observed.rows), torch.tensor(observed.cols), target)
    >>> loader = DataLoader(pairs, 256, shuffle=True, generator=torch.Generator().manual_seed(0))
    >>> model = dmc.nn.CompressedFactorization(observed.shape, rank=4)
    >>> optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    >>> for _ in range(40):
    ...     for rows, cols, values in loader:
    ...         optimiser.zero_grad()
    ...         torch.nn.functional.mse_loss(model.at(rows, cols), values).backward()
    ...         optimiser.step()
    >>> model.loss(plan, target).item() < 0.05 * 0.5 * target.square().sum().item()
    True
    """

    def __init__(
        self,
        shape: tuple[int, int],
        rank: int,
        depth: int = 3,
        scale: float = 1e-2,
        seed: int | np.random.Generator = 0,
        biases: bool = False,
        observations: Observations | None = None,
    ) -> None:
        super().__init__()
        self.shape: tuple[int, int] = _checks.shape(shape)
        rank = _checks.rank(rank, self.shape)
        if observations is None:
            dtype = np.float64 if torch.get_default_dtype() == torch.float64 else np.float32
            start = _without_data(self.shape, min(2 * rank, *self.shape), depth, scale, seed, dtype)
        elif observations.shape != self.shape:
            raise ValueError(f"shape is {self.shape} and the observations are of {observations.shape}; make them equal")
        else:
            start = initial.compressed(observations, rank, depth, scale, seed)
        self.U, self.V = (nn.Parameter(torch.tensor(factor)) for factor in (start.U, start.V))
        self.cores: nn.ParameterList = nn.ParameterList(torch.tensor(W) for W in start.cores)
        self.row_bias: nn.Parameter | None
        self.column_bias: nn.Parameter | None
        self.row_bias, self.column_bias = (
            nn.Parameter(self.U.new_zeros(lines)) if biases else None for lines in self.shape
        )

    def extra_repr(self) -> str:
        """Describe shape and width, for ``print``.

        Returns
        -------
        str
            In one line.
        """
        return f"{self.shape[0]}×{self.shape[1]}, width {self.U.shape[1]}"

    def forward(self, plan: MaskedProduct) -> Tensor:
        """Predict the entries of a plan.

        Parameters
        ----------
        plan : MaskedProduct
            The positions.

        Returns
        -------
        (observed,) tensor
            In the order in which the entries were given to the plan.

        Raises
        ------
        TypeError
            If plan is not a module.
        """
        _check_plan(plan)
        return plan(*self.sides())

    def loss(self, plan: MaskedProduct, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Compute ½ Σ w (X̂ − target)² over the entries of a plan; see `MaskedProduct.loss`.

        Parameters
        ----------
        plan : MaskedProduct
            The positions.
        target : (observed,) tensor
            In the order in which the entries were given to the plan.
        weights : (observed,) tensor, optional
            Non-negative; by default all one.

        Returns
        -------
        () tensor
            The loss.

        Raises
        ------
        TypeError
            If plan is not a module.
        """
        _check_plan(plan)
        return plan.loss(*self.sides(), target, weights)

    def at(self, rows: Tensor | ArrayLike, cols: Tensor | ArrayLike) -> Tensor:
        """Predict any pairs, such as those of a mini-batch; differentiable.

        Parameters
        ----------
        rows, cols : (pairs,) integers
            Zero-based positions: tensors of int32 or int64 on the device of the parameters, or arrays or lists.

        Returns
        -------
        (pairs,) tensor
            X̂ at these positions.

        Raises
        ------
        IndexError
            If an index is out of range.
        ValueError
            If the lengths differ.
        """
        rows, cols = (
            a if isinstance(a, Tensor) else torch.tensor(np.asarray(a), device=self.U.device) for a in (rows, cols)
        )
        if rows.shape != cols.shape:
            raise ValueError(
                f"rows has shape {tuple(rows.shape)} and cols {tuple(cols.shape)}; give one of each a pair"
            )
        left = self.U.index_select(0, rows)
        for W in self.cores:
            left = left @ W
        predicted = (left * self.V.index_select(0, cols)).sum(1)
        if self.row_bias is None or self.column_bias is None:
            return predicted
        return predicted + self.row_bias.index_select(0, rows) + self.column_bias.index_select(0, cols)

    def factors(self) -> Factors:
        """Copy the trained factors into NumPy arrays.

        Returns
        -------
        Factors
            With arrays of its own.
        """

        def copied(parameter: Tensor | None) -> Any:
            return None if parameter is None else parameter.detach().cpu().numpy().copy()

        cores = [copied(W) for W in self.cores]
        return Factors(copied(self.U), cores, copied(self.V), copied(self.row_bias), copied(self.column_bias))

    def parameter_groups(self, lr: float, outer_ratio: float = 1.0) -> list[dict[str, Any]]:
        """Make parameter groups with discrepant rates for any torch optimiser, as in `dmc.steps.DiscrepantDescent`.

        Parameters
        ----------
        lr : float
            Rate of the cores.
        outer_ratio : float
            The rate of U, V and the biases is this times `lr`.

        Returns
        -------
        list of dict
            For the optimiser's constructor.
        """
        outer = [p for p in (self.U, self.V, self.row_bias, self.column_bias) if p is not None]
        groups: list[dict[str, Any]] = [{"params": outer, "lr": outer_ratio * lr}]
        return [{"params": list(self.cores), "lr": lr}, *groups] if len(self.cores) else groups

    def sides(self) -> tuple[Tensor, Tensor]:
        """Compute both sides of X̂ = left·rightᵀ; differentiable.

        Returns
        -------
        left : (rows, k) tensor
            U times the cores.
        right : (columns, k) tensor
            V. With biases both are two columns wider: the row's bias and ones, ones and the column's bias.
        """
        # In lines that torch.compile can follow; a slice of a ParameterList would wrap what functional_call put there.
        left: Tensor = self.U
        right: Tensor = self.V
        core: Tensor | None = None
        for W in self.cores:
            core = W if core is None else core @ W
        if core is not None:
            left = left @ core
        if self.row_bias is not None and self.column_bias is not None:
            ones = [side.new_ones(len(side), 1) for side in (left, right)]
            left = torch.cat([left, self.row_bias[:, None], ones[0]], 1)
            right = torch.cat([right, ones[1], self.column_bias[:, None]], 1)
        return left, right

    def dense(self) -> Tensor:
        """Form the whole matrix X̂; differentiable.

        Returns
        -------
        (rows, columns) tensor
            With biases.
        """
        left, right = self.sides()
        return left @ right.T

    def matmul(self, x: Tensor) -> Tensor:
        """Compute X̂ @ x without forming X̂; differentiable.

        Parameters
        ----------
        x : (columns,) or (…, columns, j) tensor
            Of the parameters' dtype, on their device.

        Returns
        -------
        (rows,) or (…, rows, j) tensor
            The product.

        Raises
        ------
        ValueError
            If x does not have one row for each column of X̂.
        """
        columns = x.shape[-2 if x.ndim > 1 else -1] if x.ndim else None
        if columns != self.shape[1]:
            raise ValueError(
                f"x has shape {tuple(x.shape)}; give ({self.shape[1]},) or (…, {self.shape[1]}, j): a row for each "
                f"column of the {self.shape[0]}×{self.shape[1]} matrix"
            )
        left, right = self.sides()
        return left @ (right.T @ x)


def _check_plan(plan: nn.Module) -> None:
    """A compiled plan is a module too, but no `MaskedProduct`."""
    if not isinstance(plan, nn.Module):
        raise TypeError(f"plan is {type(plan).__name__}; make one of the positions: dmc.nn.MaskedProduct(observations)")


def _without_data(
    shape: tuple[int, int], width: int, depth: int, scale: float, seed: int | np.random.Generator, dtype: DTypeLike
) -> Factors:
    """A start where nothing is known but the shape: all factors but the middle core are near their final size.

    Their product, to which the middle core's gradient is proportional, does not vanish then, at any depth; and the core
    starts small, which is what favours a low rank.
    """
    depth = _checks.integer(depth, "depth", 0)
    scale = _checks.real(scale, "scale", 0, open_ends=True)
    final = (shape[0] * shape[1] / width) ** 0.5  # a singular value of X̂, where its entries are of order 1
    start = initial.narrow(shape, width, 2, 1.0, seed, dtype)
    number = start.U.dtype.type  # of the factors' dtype
    if depth == 0:
        return start.map(lambda factor: factor * number((scale * final) ** 0.5))
    size = OUTER_SIZE * final ** (1 / (depth + 2))
    sizes = [size] * depth
    sizes[depth // 2] = scale * final / size ** (depth + 1)
    with np.errstate(over="ignore", invalid="ignore"):
        cores = [number(of_core) * np.eye(width, dtype=dtype) for of_core in sizes]
    if not np.isfinite(cores[depth // 2]).all():
        raise ValueError(f"scale is {scale}, beyond what {np.dtype(dtype)} holds; give about 1/100 of the values' size")
    return Factors(start.U * number(size), cores, start.V * number(size))
