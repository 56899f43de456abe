"""What the adapters of a model share: its wrapped layers, which adapter is active, and the model as it was before."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from torch import nn

from dmc._warn import warn
from dmc.nn.adapters.dense_layers import DenseLayer, listed, modules_of
from dmc.nn.adapters.low_rank import AdaptedLayer, LowRankUpdate

# Of an update, the share that rounding to the weight's dtype may take before it is told.
MOSTLY_LOST = 0.5
_NAME = "_dmc_adapters"  # the model's attribute: a copy of the model finds its own adapters by it


class Adapter(Protocol):
    """What an attachment needs to know of an adapter."""

    name: str
    modules_to_save: list[str]


class Attachment:
    """All adapters of one model; it exists as long as there is one.

    Parameters
    ----------
    model : Module
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.adapters: dict[str, Adapter] = {}
        self.layers: dict[str, DenseLayer] = {}  # those that are wrapped
        self.active: str | None = None
        self.merged: tuple[str, ...] = ()
        # By all names: a tied weight that stays merged is a parameter of its own afterwards.
        self._required_grad = {n: p.requires_grad for n, p in model.named_parameters(remove_duplicate=False)}

    @staticmethod
    def at(model: nn.Module) -> Attachment | None:
        found: Attachment | None = getattr(model, _NAME, None)
        return found

    def add(self, adapter: Adapter, taken: dict[str, DenseLayer], updates: dict[str, LowRankUpdate]) -> None:
        """Wrap layers that are not wrapped yet, freeze, and make the adapter the active one.

        Raises
        ------
        ValueError
            If a module to save is not there, is adapted itself, or is another adapter's.
        """
        self._check_saved(adapter.modules_to_save, taken)
        if not self.adapters:
            self.model.requires_grad_(False)
            setattr(self.model, _NAME, self)
        for name, layer in taken.items():
            if not isinstance(layer.module, AdaptedLayer):
                layer.put(AdaptedLayer(layer.layer, layer.transposed))
                self.layers[name] = layer
            _wrapper(layer).updates[adapter.name] = updates[name]
        self.adapters[adapter.name] = adapter
        self.activate(adapter.name)

    def saved_modules(self, ends: Iterable[str]) -> dict[str, nn.Module]:
        """The modules whose names end in these.

        Raises
        ------
        ValueError
            If there is none of a name.
        """
        found: dict[str, nn.Module] = {}
        for end in ends:
            named = {n: m for n, m in modules_of(self.model) if n and (n == end or n.endswith(f".{end}"))}
            if not named:
                there = listed(repr(name) for name, _ in self.model.named_children())
                raise ValueError(
                    f"modules_to_save: {end!r} is not a module of the model; its top-level modules are {there}"
                )
            found |= named
        return found

    def _check_saved(self, ends: Iterable[str], taken: Iterable[str]) -> None:
        found = self.saved_modules(ends)
        both = _around(found, (*taken, *self.layers))
        if both:
            raise ValueError(f"{both[0]} is a module to save and has layers to adapt; leave it out of one of the two")
        for other in self.adapters.values():
            theirs = self.saved_modules(other.modules_to_save)
            both = _around(theirs, taken)
            if both:
                raise ValueError(
                    f"{both[0]} is a module to save of adapter {other.name!r} and has layers to adapt; leave those out "
                    "of target_modules, or unload that adapter"
                )
            shared = set(found) & set(theirs)
            if shared:
                raise ValueError(
                    f"{min(shared)} is trained with adapter {other.name!r} already, and there is one of it; leave it "
                    "out of modules_to_save, or unload that adapter"
                )

    def activate(self, name: str | None) -> None:
        """Make this adapter the only active and trainable one; None: none."""
        self.active = name
        for layer in self.layers.values():
            _wrapper(layer).activate(name)
        for other in self.adapters.values():
            for module in self.saved_modules(other.modules_to_save).values():
                module.requires_grad_(other.name == name)

    def merge(self, name: str) -> None:
        made = [layer.name for layer in self.layers.values() if layer.is_made]
        if made:
            raise ValueError(
                f"the weight of {listed(made)} is made from other parameters (torch.nn.utils.parametrize), so that "
                "nothing can be added to it; remove the parametrisation before you merge"
            )
        self._merge((*self.merged, name))

    def unmerge(self, name: str) -> None:
        self._merge(tuple(other for other in self.merged if other != name))

    def merge_anew(self) -> None:
        """Merge again after factors have changed."""
        self._merge(self.merged)

    def _merge(self, names: tuple[str, ...]) -> None:
        self.merged = names
        lost = []
        for layer in self.layers.values():
            wrapper = _wrapper(layer)
            if wrapper.merge(tuple(name for name in names if name in wrapper.updates)) > MOSTLY_LOST:
                lost.append(layer.name)
        if lost:
            dtype = str(self.layers[lost[0]].layer.weight.dtype).removeprefix("torch.")
            warn(
                f"{len(lost)} of {len(self.layers)} layers ({listed(lost)}) lose most of their update by rounding: it "
                f"is smaller than what {dtype} resolves beside their weights; unmerge, or merge the model in float32"
            )

    def remove(self, adapter: Adapter) -> None:
        """Detach an adapter; what is merged stays in the weights."""
        if self.active == adapter.name:
            self.activate(None)
        for layer in list(self.layers.values()):
            wrapper = _wrapper(layer)
            if adapter.name not in wrapper.updates:
                continue
            wrapper.remove(adapter.name)
            if not wrapper.updates:
                layer.put(wrapper.layer)
                del self.layers[layer.name]
        self.merged = tuple(name for name in self.merged if name != adapter.name)
        del self.adapters[adapter.name]
        if not self.adapters:
            delattr(self.model, _NAME)
            for name, parameter in self.model.named_parameters():
                parameter.requires_grad_(self._required_grad.get(name, parameter.requires_grad))


def _around(modules: Iterable[str], layers: Iterable[str]) -> list[str]:
    """The modules that are, or contain, one of the layers."""
    layers = list(layers)
    return [name for name in modules if any(f"{layer}.".startswith(f"{name}.") for layer in layers)]


def _wrapper(layer: DenseLayer) -> AdaptedLayer:
    assert isinstance(layer.module, AdaptedLayer)
    return layer.module
