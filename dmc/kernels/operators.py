"""The waist on torch tensors, by the operators of torch.ops.dmc: on the processor, or on a GPU."""

from __future__ import annotations

from typing import Any

from dmc.kernels import torch_operators
from dmc.pattern import BothOrders, Pattern


def masked_product(left: Any, right: Any, pattern: Pattern) -> Any:
    return torch_operators.masked_product(left, right, *torch_operators.pattern_tensors(pattern))


def masked_residual_grad(
    left: Any,
    right: Any,
    pattern: Pattern,
    target: BothOrders,
    weights: BothOrders | None = None,
    gathered: str | None = None,
) -> tuple[Any, Any, Any]:
    """The loss stays on the device: to read it is to wait for the device."""
    w = (None, None) if weights is None else weights
    tensors = torch_operators.pattern_tensors(pattern)
    return torch_operators.masked_residual_grad(left, right, *tensors, *target, *w, gathered)
