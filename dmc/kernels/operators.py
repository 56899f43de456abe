"""The kernel on torch tensors, on the processor or a GPU: compiled passes where they exist, else plain torch."""

from __future__ import annotations

from torch import Tensor

from dmc.factors import Array
from dmc.kernels import reference, torch_compiled, torch_operators
from dmc.pattern import BothOrders, Pattern


def masked_product(left: Array, right: Array, pattern: Pattern) -> Array:
    return torch_operators.masked_product(left, right, *torch_operators.pattern_tensors(pattern))


def weighted_sums(side: int, other: Tensor, pattern: Pattern, coefficients: Array | None = None) -> Array:
    pointers, indices = torch_operators.line_tensors(pattern, side)
    passes = torch_operators.passes_for(other, indices)
    if passes is None:
        return reference.weighted_sums(side, other, pattern, coefficients)
    return passes.sums(pointers, indices, other, coefficients)


def residual_gradient(
    side: int,
    own: Tensor,
    other: Tensor,
    pattern: Pattern,
    target: Array | None = None,
    weights: Array | None = None,
    gather_dtype: str | None = None,
) -> tuple[Array | float, Array]:
    """The loss stays on the device: reading it would wait for the device."""
    pointers, indices = torch_operators.line_tensors(pattern, side)
    passes = torch_operators.passes_for(own, indices)
    if passes is not None:
        loss, d_own = passes.gradient(pointers, indices, own, other, target, weights, gather_dtype, True)
        assert loss is not None  # it was asked for
        return loss, d_own
    if gather_dtype is not None:
        other = other.to(torch_compiled.HALVES[gather_dtype]).to(other.dtype)
    host_loss, gradient = reference.residual_gradient(side, own, other, pattern, target, weights)
    return own.new_tensor(host_loss), gradient


def residual_gradients(
    left: Array,
    right: Array,
    pattern: Pattern,
    target: BothOrders,
    weights: BothOrders | None = None,
    gather_dtype: str | None = None,
) -> tuple[Array | float, Array, Array]:
    """Both sides by the operator of torch.ops.dmc, whose second pass adds up no loss."""
    w = (None, None) if weights is None else weights
    tensors = torch_operators.pattern_tensors(pattern)
    return torch_operators.masked_residual_grad(left, right, *tensors, *target, *w, gather_dtype)
