"""The masked product as a torch module: the entries of a product of two factors at observed positions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from dmc import _checks
from dmc.observations import DuplicateEntries, Observations

try:
    import torch
except ImportError:
    raise ImportError("dmc.nn needs PyTorch, which is not installed; run: pip install 'dmc[torch]'") from None

from torch import Tensor, nn

from dmc.kernels.torch_functions import masked_product, masked_residual_grad
from dmc.kernels.torch_operators import pattern_tensors

__all__ = ["MaskedProduct"]


class MaskedProduct(nn.Module):
    """The entries of left·rightᵀ at observed positions, without the rest of the matrix; differentiable.

    It holds the positions, sorted both ways, as buffers: they move with ``.to()`` but stay out of ``state_dict``,
    because they are data and not learnt, so that a model trained on some entries can be loaded beside others.

    Parameters
    ----------
    observations : Observations
        Only the positions count. Predictions and targets are then in the order of ``observations.values``.

    See Also
    --------
    MaskedProduct.from_entries : From rows and columns, in their own order.

    Examples
    --------
    >>> import torch, dmc
    >>> plan = dmc.nn.MaskedProduct.from_entries(rows=[0, 2], cols=[1, 0])
    >>> left, right = torch.ones(3, 1, requires_grad=True), torch.tensor([[1.0], [5.0]])
    >>> plan(left, right).tolist()
    [5.0, 1.0]
    >>> plan.loss(left, right, target=torch.tensor([5.0, 3.0])).backward()
    >>> left.grad.flatten().tolist()
    [0.0, 0.0, -2.0]
    """

    row_pointers: Tensor
    column_indices: Tensor
    column_pointers: Tensor
    row_indices: Tensor
    column_order: Tensor
    place_of_given: Tensor | None
    given_at_place: Tensor | None

    def __init__(self, observations: Observations) -> None:
        super().__init__()
        if not isinstance(observations, Observations):
            raise TypeError(
                f"observations is {type(observations).__name__}; give dmc.Observations, as dmc.observe(X) makes "
                "them, or use MaskedProduct.from_entries(rows, cols, shape)"
            )
        self.shape: tuple[int, int] = observations.shape
        names = ("row_pointers", "column_indices", "column_pointers", "row_indices", "column_order")
        for name, tensor in zip(names, pattern_tensors(observations.pattern), strict=True):
            self.register_buffer(name, tensor, persistent=False)
        # Where the entries were given in another order than row by row: the way there, and the way back.
        self.register_buffer("place_of_given", None, persistent=False)
        self.register_buffer("given_at_place", None, persistent=False)

    @classmethod
    def from_entries(cls, rows: ArrayLike, cols: ArrayLike, shape: tuple[int, int] | None = None) -> MaskedProduct:
        """Make one for positions in any order, which predictions and targets keep.

        Parameters
        ----------
        rows, cols : (observed,) integers
            Zero-based positions, none of them twice; arrays, lists or tensors.
        shape : (int, int), optional
            Rows and columns of the matrix; by default just large enough for the largest indices.

        Returns
        -------
        MaskedProduct
            For these positions.

        Raises
        ------
        ValueError
            If there is none, an index is out of range, lengths differ, or a position occurs twice.
        TypeError
            If indices are not integers.
        """
        rows, cols = (a.detach().cpu().numpy() if isinstance(a, Tensor) else np.asarray(a) for a in (rows, cols))
        _checks.same_length(rows=rows, cols=cols)
        try:
            observed = Observations.from_entries(rows, cols, np.zeros(len(rows), np.float32), shape)
        except DuplicateEntries as error:
            remedy = "give each position once: torch.unique(torch.stack([rows, cols]), dim=1) has no repeats"
            raise DuplicateEntries(error.count, error.row, error.column, remedy) from None
        product = cls(observed)
        places = observed.locate(rows, cols)
        if (np.diff(places) < 0).any():
            product.place_of_given = torch.from_numpy(places)
            product.given_at_place = torch.from_numpy(np.argsort(places))
        return product

    @property
    def n_observed(self) -> int:
        """Number of observed entries."""
        return len(self.column_indices)

    def extra_repr(self) -> str:
        """Describe shape and number of entries, for ``print``.

        Returns
        -------
        str
            In one line.
        """
        return f"{self.shape[0]}×{self.shape[1]}, {self.n_observed:,} observed"

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Predict the observed entries.

        Parameters
        ----------
        left : (rows, k) tensor
            Row factors, float32 or float64, of any memory layout. Under autocast half precision is cast to float32.
        right : (columns, k) tensor
            Column factors, of the same dtype.

        Returns
        -------
        (observed,) tensor
            In the order in which the entries were given.

        Raises
        ------
        ValueError
            If the shapes do not fit, or tensors are on different devices.
        TypeError
            If one is not a tensor, or the dtypes differ, or are neither float32 nor float64.
        """
        _check_tensors(left=left, right=right)
        predicted = masked_product(left, right, *self._pattern)
        return predicted if self.place_of_given is None else predicted.index_select(0, self.place_of_given)

    def loss(self, left: Tensor, right: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Compute ½ Σ w (left_i·right_j − target)², a sum, together with its gradient: the backward pass costs nothing.

        Parameters
        ----------
        left : (rows, k) tensor
            Row factors, float32 or float64.
        right : (columns, k) tensor
            Column factors, of the same dtype.
        target : (observed,) tensor
            In the order in which the entries were given, of the same dtype.
        weights : (observed,) tensor, optional
            Non-negative; by default all one.

        Returns
        -------
        () tensor
            The loss.

        Raises
        ------
        ValueError
            If the shapes do not fit, tensors are on different devices, or target or weights require a gradient.
        TypeError
            If one is not a tensor, or the dtypes differ, or are neither float32 nor float64.
        """
        _check_tensors(left=left, right=right, target=target, weights=weights)
        full = torch.float32, torch.float64  # autocast takes care of others
        for name, given in (("target", target), ("weights", weights)):
            if given is None:
                continue
            if given.shape != self.column_indices.shape:
                raise ValueError(
                    f"{name} has shape {tuple(given.shape)}; give ({self.n_observed},), one for each observed entry"
                )
            if given.dtype != left.dtype and given.dtype in full and left.dtype in full:
                raise TypeError(f"left is {left.dtype} and {name} {given.dtype}; give both in one dtype")
        by_row, by_column = self._both_orders(target)
        w_by_row, w_by_column = (None, None) if weights is None else self._both_orders(weights)
        return masked_residual_grad(left, right, *self._pattern, by_row, by_column, w_by_row, w_by_column)[0]

    @property
    def _pattern(self) -> tuple[Tensor, ...]:
        return self.row_pointers, self.column_indices, self.column_pointers, self.row_indices, self.column_order

    def _both_orders(self, values: Tensor) -> tuple[Tensor, Tensor]:
        by_row = values if self.given_at_place is None else values.index_select(0, self.given_at_place)
        return by_row, by_row.index_select(0, self.column_order)


def _check_tensors(**given: Tensor | None) -> None:
    for name, value in given.items():
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(f"{name} is a {type(value).__name__}; give a torch tensor, such as torch.as_tensor({name})")
