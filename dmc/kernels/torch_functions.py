"""The torch operators as functions that all of torch's derivatives know: backward, forward, and torch.func.

    masked_product(left, right, *pattern) -> (observed,)
    masked_sums(values, left, right, *pattern) -> (rows, k), (columns, k)
    masked_residual_grad(left, right, *pattern, target_by_row, target_by_column, weights_by_row?, weights_by_column?,
                         gathered?) -> loss, d_left, d_right

as in `torch_operators`, whose values these are. What torch.library makes of a backward formula, torch.func refuses, and
forward mode passes over with a derivative of zero (pytorch#168393, #170834, for torch 2.8 to 2.13); a
torch.autograd.Function with a context of its own serves both. torch.compile follows the operators instead, so that a
transform of torch.func within what is compiled is refused by torch.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function

from dmc.kernels import torch_operators
from dmc.kernels.torch_operators import N_PATTERN, Functions, one_by_one


def masked_product(left: Tensor, right: Tensor, *pattern: Tensor) -> Tensor:
    """(observed,) predictions left_i·right_j at the entries of a pattern; see the module."""
    if torch.compiler.is_compiling():
        return cast(Tensor, torch_operators.masked_product(left, right, *pattern))
    return cast(Tensor, _Product.apply(*_cast(left, right), *pattern))  # type: ignore[no-untyped-call]


def masked_sums(values: Tensor, left: Tensor, right: Tensor, *pattern: Tensor) -> tuple[Tensor, Tensor]:
    """(rows, k) sums Σ_j v_e right_j and (columns, k) sums Σ_i v_e left_i; see the module."""
    if torch.compiler.is_compiling():
        return cast(tuple[Tensor, Tensor], torch_operators.masked_sums(values, left, right, *pattern))
    return cast(tuple[Tensor, Tensor], _Sums.apply(*_cast(values, left, right), *pattern))  # type: ignore[no-untyped-call]


def masked_residual_grad(left: Tensor, right: Tensor, *rest: Tensor | str | None) -> tuple[Tensor, Tensor, Tensor]:
    """½ Σ w (left_i·right_j − target)² and its gradients by both sides; see the module."""
    rest = (*rest, *(None,) * (N_PATTERN + 5 - len(rest)))
    if torch.compiler.is_compiling():
        return cast(tuple[Tensor, Tensor, Tensor], torch_operators.masked_residual_grad(left, right, *rest))
    pattern, by_entry, gathered = rest[:N_PATTERN], rest[N_PATTERN:-1], rest[-1]
    found = _ResidualGrad.apply(*_cast(left, right), *pattern, *_cast(*by_entry), gathered)  # type: ignore[no-untyped-call]
    return cast(tuple[Tensor, Tensor, Tensor], found)


def _cast(*values: Any) -> tuple[Any, ...]:
    """Half precision as float32 under autocast, as the operators have it: what is kept has to be of their dtype."""
    return tuple(value.float() if _is_autocast_half(value) else value for value in values)


def _is_autocast_half(value: Any) -> bool:
    if not isinstance(value, Tensor) or value.dtype not in (torch.float16, torch.bfloat16):
        return False
    device = value.device.type
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


_FUNCTIONS = Functions(masked_product, masked_sums)


def _or_zeros(tangent: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if tangent is None else tangent


class _Product(Function):
    vmap = staticmethod(one_by_one(masked_product))

    @staticmethod
    def forward(*inputs: Tensor) -> Tensor:
        return cast(Tensor, torch_operators.masked_product(*inputs))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        torch_operators.keep_inputs(ctx, inputs, output)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, d_observed: Tensor) -> tuple[Tensor | None, ...]:
        return torch_operators.product_backward(ctx, d_observed, _FUNCTIONS)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        left, right, *pattern = ctx.saved_tensors
        along_left, along_right = _or_zeros(tangents[0], left), _or_zeros(tangents[1], right)
        return masked_product(along_left, right, *pattern) + masked_product(left, along_right, *pattern)


class _Sums(Function):
    vmap = staticmethod(one_by_one(masked_sums))

    @staticmethod
    def forward(*inputs: Tensor) -> tuple[Tensor, Tensor]:
        return cast(tuple[Tensor, Tensor], torch_operators.masked_sums(*inputs))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        torch_operators.keep_inputs(ctx, inputs, output)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, d_by_row: Tensor, d_by_column: Tensor) -> tuple[Tensor | None, ...]:
        return torch_operators.sums_backward(ctx, d_by_row, d_by_column, _FUNCTIONS)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor, Tensor]:
        values, left, right, *pattern = ctx.saved_tensors
        along_values = _or_zeros(tangents[0], values)
        along_left, along_right = _or_zeros(tangents[1], left), _or_zeros(tangents[2], right)
        by_row, by_column = masked_sums(along_values, left, right, *pattern)
        more_by_row, more_by_column = masked_sums(values, along_left, along_right, *pattern)
        return by_row + more_by_row, by_column + more_by_column


class _ResidualGrad(Function):
    vmap = staticmethod(one_by_one(masked_residual_grad))

    @staticmethod
    def forward(*inputs: Tensor | str | None) -> tuple[Tensor, Tensor, Tensor]:
        return cast(tuple[Tensor, Tensor, Tensor], torch_operators.masked_residual_grad(*inputs))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor | str | None, ...], output: tuple[Tensor, ...]) -> None:
        torch_operators.keep_gradients(ctx, inputs, output)
        ctx.save_for_forward(*inputs[:-1], *output[1:])

    @staticmethod
    def backward(
        ctx: Any, d_loss: Tensor | None, dd_left: Tensor | None, dd_right: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        return torch_operators.loss_backward(ctx, d_loss, dd_left, dd_right, _FUNCTIONS)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        torch_operators.refuse_differentiated_targets(tangent is not None for tangent in tangents[2:])
        left, right, *rest, d_left, d_right = ctx.saved_tensors
        along_left, along_right = _or_zeros(tangents[0], left), _or_zeros(tangents[1], right)
        along_loss = (d_left * along_left).sum() + (d_right * along_right).sum()
        second = torch_operators.hessian_product(left, right, tuple(rest), along_left, along_right, _FUNCTIONS)
        return along_loss, *second
