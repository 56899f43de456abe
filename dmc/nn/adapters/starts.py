"""Starts of an adapter's factors: two of deep networks, two of LoRA."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from dmc.factors import Factors
from dmc.nn.adapters.dense_layers import DenseLayer, listed
from dmc.solver import initial

DEEP = ("orthogonal", "compressed")
OF_LORA = ("kaiming", "normal")


def factors(
    start: str,
    shape: tuple[int, int],
    rank: int,
    layers: int,
    scale: float,
    rng: np.random.Generator,
    gradient: Tensor | None,
) -> Factors:
    """Make the factors of an update of that shape, in float64, or in the gradient's dtype.

    Parameters
    ----------
    start : str
        "orthogonal": every layer is `scale` times a random semi-orthogonal matrix. "compressed": the outer factors span
        where the gradient will move the full-width network; every core is `scale` times the identity. "kaiming" and
        "normal": A is uniform between ±1/√n, or standard normal, and B zero.
    shape : (int, int)
        (m, n), outputs and inputs.
    rank, layers : int
    scale : float
        ε.
    rng : numpy.random.Generator
    gradient : (m, n) tensor
        ∂L/∂ΔW of one batch, for "compressed".
    """
    m, n = shape
    if gradient is not None:
        return initial.compressed(gradient, rank // 2, depth=layers, scale=scale, seed=rng)
    if start == "orthogonal":
        return initial.narrow(shape, rank, layers=layers, scale=scale, seed=rng)
    bound = 1 / math.sqrt(n)  # what torch.nn.Linear, and so peft, draws A from
    A = rng.uniform(-bound, bound, (n, rank)) if start == "kaiming" else rng.standard_normal((n, rank))
    return Factors(np.zeros((m, rank)), (), A)


def first_gradients(
    layers: dict[str, DenseLayer], loss: Callable[[], Tensor], use: Callable[[str, Tensor], None]
) -> None:
    """Pass ∂L/∂W, which is ∂L/∂ΔW, of one backward pass to `use`, layer by layer, one in memory at a time.

    Parameters
    ----------
    layers : dict of str to DenseLayer
    loss : callable
        Returns the loss of one batch.
    use : callable
        Takes a layer's name and its (outputs, inputs) gradient in float32 or float64.

    Raises
    ------
    TypeError
        If the loss is no number as a tensor.
    ValueError
        If a layer's gradient is zero, not finite, or does not exist.
    """
    made = [name for name, layer in layers.items() if layer.is_made]
    if made:
        raise ValueError(
            f"the weight of {listed(made)} is made from other parameters (torch.nn.utils.parametrize), so that it gets "
            "no gradient for the compressed start; remove the parametrisation, or use another start"
        )
    weights = {name: layer.layer.weight for name, layer in layers.items()}
    names_of: dict[nn.Parameter, list[str]] = {}  # layers may share a weight, and then its gradient
    for name, weight in weights.items():
        names_of.setdefault(weight, []).append(name)
    kept = [(weight, weight.requires_grad, weight.grad) for weight in names_of]
    refused: dict[str, list[str]] = {"is zero": [], "is not finite": []}
    reached: set[str] = set()

    def take_all(weight: nn.Parameter) -> None:
        assert weight.grad is not None
        gradient, weight.grad = weight.grad, None
        for name in names_of[weight]:
            take(name, gradient)

    def take(name: str, gradient: Tensor) -> None:
        reached.add(name)
        gradient = gradient.T if layers[name].transposed else gradient
        gradient = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
        if not bool(gradient.isfinite().all()):
            refused["is not finite"].append(name)
        elif not bool(gradient.any()):
            refused["is zero"].append(name)
        else:
            use(name, gradient)

    hooks = []
    try:
        for weight in names_of:
            weight.requires_grad_(True)
            weight.grad = None
            hooks.append(weight.register_post_accumulate_grad_hook(take_all))
        with torch.enable_grad():
            value = loss()
            if not isinstance(value, Tensor) or value.numel() != 1:
                what = f"a tensor of {value.numel()}" if isinstance(value, Tensor) else type(value).__name__
                raise TypeError(f"loss returned {what}; it has to return a tensor of one number")
            value.backward(inputs=list(names_of))
    finally:
        for hook in hooks:
            hook.remove()
        for weight, flag, gradient in kept:
            weight.requires_grad_(flag)
            weight.grad = gradient
    refused["does not exist"] = [name for name in weights if name not in reached]
    for fault, found in refused.items():
        names = [name for name in weights if name in found]  # not as the backward pass comes to them
        if names:
            raise ValueError(
                f"the gradient of the loss {fault} at {len(names)} of {len(weights)} layers ({listed(names)}): the "
                "compressed start is made from it; give a loss that depends on them (a head of zeros passes none)"
            )
