"""The dense layers of a model, and their choice by name patterns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from dmc import _checks
from dmc.nn.adapters.low_rank import AdaptedLayer, dense_shape

SHOWN = 8  # names in a message


@dataclass
class DenseLayer:
    """A dense layer of a model.

    Attributes
    ----------
    name : str
        Its name in the model, the first where it has several.
    module : Module
        The layer, or the AdaptedLayer in its place.
    places : list of (Module, str)
        Where it stands: parents, and its names there.
    """

    name: str
    module: nn.Module
    places: list[tuple[nn.Module, str]] = field(default_factory=list)

    @property
    def layer(self) -> Any:
        return self.module.layer if isinstance(self.module, AdaptedLayer) else self.module

    @property
    def transposed(self) -> bool:
        return _is_conv1d(self.layer)

    @property
    def shape(self) -> tuple[int, int]:
        """(outputs, inputs)"""
        return dense_shape(self.layer, self.transposed)

    @property
    def is_made(self) -> bool:
        """Whether the weight is made from other parameters at each use (torch.nn.utils.parametrize)."""
        return "weight" not in self.layer._parameters

    def put(self, module: nn.Module) -> None:
        """Put a module in its place."""
        for parent, name in self.places:
            setattr(parent, name, module)
        self.module = module


def dense_layers(model: nn.Module) -> dict[str, DenseLayer]:
    """All dense layers by name, quantised ones included.

    Raises
    ------
    ValueError
        If the model is a dense layer itself, which cannot be replaced inside of it.
    """
    if _is_dense(model):
        raise ValueError("the model is a dense layer itself; give one that contains it, as torch.nn.Sequential(layer)")
    found: dict[int, DenseLayer] = {}
    for name, module in modules_of(model):
        if _is_dense(module):
            parent, _, child = name.rpartition(".")
            layer = found.setdefault(id(module), DenseLayer(name, module))
            layer.places.append((model.get_submodule(parent), child))
    return {layer.name: layer for layer in found.values()}


def modules_of(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """All modules by all of their names; the parts of adapted layers do not count."""
    inside: tuple[str, ...] = ()
    for name, module in model.named_modules(remove_duplicate=False):
        if name.startswith(inside):
            continue
        if isinstance(module, AdaptedLayer):
            inside = (*inside, f"{name}.")
        yield name, module


def chosen(layers: dict[str, DenseLayer], patterns: str | Iterable[str]) -> dict[str, DenseLayer]:
    """The layers that `target_modules` names, by a regular expression for the whole name or a list of ends of names.

    Raises
    ------
    ValueError
        If one of the patterns matches no dense layer, or what it matches is quantised or has no weight yet.
    """
    if not layers:
        raise ValueError("the model has no dense layers (torch.nn.Linear); there is nothing to adapt")
    tests = {patterns: _expression(patterns)} if isinstance(patterns, str) else {end: _ending(end) for end in patterns}
    if not tests:
        raise ValueError(f"target_modules is empty; name dense layers: {_kinds(layers)}")
    for pattern, test in tests.items():
        if not any(test.fullmatch(name) for name in layers):
            raise ValueError(f"target_modules: {pattern!r} matches no dense layer; there are {_kinds(layers)}")
    taken = {name: of for name, of in layers.items() if any(test.fullmatch(name) for test in tests.values())}
    for name, of in taken.items():
        fault = _fault(of.layer)
        if fault:
            raise ValueError(f"{name} {fault}")
    return taken


def _expression(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"target_modules is {pattern!r}, which is not a regular expression ({error}); give one, or a list of names"
        ) from None


def _ending(name: object) -> re.Pattern[str]:
    if not isinstance(name, str):
        raise TypeError(f"target_modules holds {name!r}; give names of layers")
    return re.compile(rf"(.*\.)?{re.escape(name)}")


def _kinds(layers: dict[str, DenseLayer]) -> str:
    """`'query' (6 layers), 'key' (6 layers), 'pooler.dense'`: by the last part of their names that is not a number."""
    kinds: dict[str, list[str]] = {}
    for name in layers:
        parts = name.split(".")
        last = next((part for part in reversed(parts) if not part.isdigit()), "")
        kinds.setdefault(last or name, []).append(name)
    told = [f"{kind!r} ({len(names)} layers)" if len(names) > 1 else repr(names[0]) for kind, names in kinds.items()]
    return listed(told)


def listed(names: Iterable[str]) -> str:
    """List a few of many names."""
    every = list(names)
    more = len(every) - SHOWN
    return ", ".join(every[:SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _is_dense(module: nn.Module) -> bool:
    return isinstance(module, (nn.Linear, AdaptedLayer)) or _is_conv1d(module) or _is_packed(module)


def _is_conv1d(module: nn.Module) -> bool:
    """Whether it is transformers' dense layer with a transposed weight, as in GPT-2."""
    return type(module).__name__ == "Conv1D" and hasattr(module, "nf") and getattr(module, "weight", None) is not None


def _is_packed(module: nn.Module) -> bool:
    """Whether it is a quantised layer other than torch.nn.Linear: torch's own, GPTQ's, AWQ's."""
    weight = getattr(module, "weight", None)
    return "Linear" in type(module).__name__ and (callable(weight) or hasattr(module, "qweight"))


def _fault(layer: nn.Module) -> str:
    weight = getattr(layer, "weight", None)
    if isinstance(weight, nn.parameter.UninitializedParameter):
        return "has no weight yet (it is lazy); run the model once before"
    if isinstance(weight, torch.Tensor) and weight.is_meta:
        return "is on the meta device and has no values yet; load the model's weights first"
    floating = isinstance(weight, torch.Tensor) and weight.is_floating_point() and weight.element_size() > 1
    if _is_packed(layer) or not floating:
        kind = str(weight.dtype).removeprefix("torch.") if isinstance(weight, torch.Tensor) else type(layer).__name__
        return f"is quantised ({kind}); adapt the model before it is quantised, or leave this layer out"
    return ""


def check_ranks(layers: dict[str, DenseLayer], rank: int) -> None:
    """Refuse a rank above the smaller side of a layer."""
    small = {name: of.shape for name, of in layers.items() if min(of.shape) < rank}
    if small:
        name, (m, n) = min(small.items(), key=lambda item: min(item[1]))
        raise ValueError(
            f"rank is {rank} and {_checks.count(len(small), 'layer is', 'layers are')} smaller, such as {name} "
            f"({m}×{n}); give at most {min(m, n)}, or leave such layers out of target_modules"
        )
