"""A layer's low-rank update, and the module that stands in for an adapted layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dmc.factors import Factors

# ‖ΔW‖ / ‖W‖, or a change of it, below which the output is what it was: float32 resolves no less.
NEGLIGIBLE = 1e-6


class LowRankUpdate(nn.Module):
    """A low-rank update ΔW = s · U · W_L ⋯ W_1 · Vᵀ of one m×n layer with trainable factors; without cores, LoRA's BA.

    Computes in the dtype of its factors, also under autocast: products of three factors at ε = 1e-3, and their
    gradients, are below what half precision can hold.

    Parameters
    ----------
    factors : Factors
        U (m, r), cores (r, r), V (n, r); NumPy arrays or tensors.
    scaling : float
        s.

    Attributes
    ----------
    V : (r, n) parameter
        As it is applied first: transposed.
    cores : list of (r, r) parameters
        In reading order, W_L first.
    U : (m, r) parameter
    """

    def __init__(self, factors: Factors, scaling: float) -> None:
        super().__init__()
        # Cores that start as the same array are to be parameters of their own.
        self.V = nn.Parameter(torch.as_tensor(factors.V).T.clone(memory_format=torch.contiguous_format))
        self.cores: nn.ParameterList = nn.ParameterList(torch.as_tensor(W).clone() for W in factors.cores)
        self.U = nn.Parameter(torch.as_tensor(factors.U).clone())
        self.scaling = scaling

    def extra_repr(self) -> str:
        return f"{len(self.U)}×{self.V.shape[1]}, width {len(self.V)}"

    def forward(self, x: Tensor) -> Tensor:
        """(…, n) -> (…, m), in the dtype of the factors."""
        z = functional.linear(x.to(self.V.dtype), self.V)
        core = self._core()
        if core is not None:
            z = functional.linear(z, core)
        if self.scaling != 1:
            z = z * self.scaling
        return functional.linear(z, self.U)

    def dense(self) -> Tensor:
        """Form the update as an (m, n) tensor."""
        core = self._core()
        left = self.U if core is None else self.U @ core
        return self.scaling * left @ self.V

    @torch.no_grad()
    def singular_values(self) -> Tensor:
        """(r,) singular values, float64, descending, without forming the update; NaN where a factor is not finite."""
        core = self._core()
        left, right = (torch.linalg.qr(side.double())[1] for side in (self.U, self.V.T))
        inner = left @ right.T if core is None else left @ core.double() @ right.T
        if not bool(inner.isfinite().all()):
            return torch.full_like(inner[0], torch.nan)
        return torch.linalg.svdvals(self.scaling * inner)

    def _core(self) -> Tensor | None:
        if not len(self.cores):
            return None
        core: Tensor = self.cores[0]
        for W in self.cores[1:]:
            core = core @ W
        return core


class AdaptedLayer(nn.Module):
    """The module in place of an adapted dense layer: its output plus that of the active update.

    Code that reads `weight` instead of calling the module (attention's output projection, fused paths) gets W + ΔW.

    Parameters
    ----------
    layer : torch.nn.Linear, or another with such a weight
    transposed : bool
        Whether the weight is (inputs, outputs), as that of GPT-2's Conv1D.
    """

    def __init__(self, layer: nn.Module, transposed: bool) -> None:
        super().__init__()
        self.layer: Any = layer
        self.transposed = transposed
        self.updates: nn.ModuleDict = nn.ModuleDict()
        self.active: str | None = None
        self.merged: tuple[str, ...] = ()
        self.training: bool = layer.training
        self._own_weight: nn.Parameter | None = None  # while others are merged into it

    def forward(self, input: Tensor) -> Tensor:  # the name that torch.nn.Linear has for it
        out: Tensor = self.layer(input)
        update = self._answering
        if update is None:
            return out
        if not torch.is_autocast_enabled(input.device.type):
            return out + update(input).to(out.dtype)
        with torch.autocast(input.device.type, enabled=False):
            return out + update(input).to(out.dtype)

    @property
    def weight(self) -> Tensor:
        """The effective weight, W + ΔW."""
        weight: Tensor = self.layer.weight
        update = self._answering
        return weight if update is None else weight + self._oriented(update).to(weight.dtype)

    @property
    def bias(self) -> Tensor | None:
        bias: Tensor | None = self.layer.bias
        return bias

    @property
    def in_features(self) -> int:
        return self.shape[1]

    @property
    def out_features(self) -> int:
        return self.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """(outputs, inputs)"""
        return dense_shape(self.layer, self.transposed)

    @property
    def own_weight(self) -> Tensor:
        """(outputs, inputs) the layer's weight without what is merged into it."""
        weight: Tensor = self.layer.weight if self._own_weight is None else self._own_weight
        return weight.T if self.transposed else weight

    @property
    def _answering(self) -> Any:
        """The active update, unless it is merged into the weight."""
        if self.active is None or self.active not in self.updates or self.active in self.merged:
            return None
        return self.updates[self.active]

    def activate(self, name: str | None) -> None:
        """Make this update the only active one that requires gradients; None: none."""
        self.active = name
        for other, update in self.updates.items():
            update.requires_grad_(other == name)

    @torch.no_grad()
    def merge(self, names: tuple[str, ...]) -> float:
        """Merge exactly the updates of these names into the weight.

        The layer's own weight is kept meanwhile, so that it comes back to the last bit.

        Returns
        -------
        float
            The share of the updates, in the Frobenius norm, that rounding to half precision took.
        """
        present = self.layer.weight
        own = present if self._own_weight is None else self._own_weight
        if own.device != present.device or own.dtype != present.dtype:  # the model was moved meanwhile
            own.data = own.data.to(present.device, present.dtype)
        self.merged = names
        self.layer.weight, self._own_weight = (self._with(own, names), own) if names else (own, None)
        return self._rounded_away() if names and own.element_size() < 4 else 0.0

    def _rounded_away(self) -> float:
        """The share lost; 0 for updates too small to count in any precision, as before training."""
        own = self._own_weight
        assert own is not None
        total = sum(self._oriented(self.updates[name]) for name in self.merged)
        assert isinstance(total, Tensor)
        size, kept = float(total.norm()), self.layer.weight.to(total.dtype) - own.to(total.dtype)
        if not size > NEGLIGIBLE * float(own.to(total.dtype).norm()):
            return 0.0
        return float((kept - total).norm()) / size

    @torch.no_grad()
    def remove(self, name: str) -> None:
        """Remove an update; if it is merged, it becomes part of the layer's own weight."""
        if name in self.merged:
            assert self._own_weight is not None
            self._own_weight = self._with(self._own_weight, (name,))
            self.merge(tuple(other for other in self.merged if other != name))
        del self.updates[name]

    def _with(self, weight: nn.Parameter, names: tuple[str, ...]) -> nn.Parameter:
        """Make a new parameter with these updates, because the old one may be tied to a layer elsewhere."""
        changes = [self._oriented(self.updates[name]) for name in names]
        total = sum(changes, start=weight.to(changes[0].dtype))
        return nn.Parameter(total.to(weight.dtype), requires_grad=weight.requires_grad)

    def _oriented(self, update: Any) -> Tensor:
        change: Tensor = update.dense()
        return change.T if self.transposed else change


def dense_shape(layer: Any, transposed: bool) -> tuple[int, int]:
    """(outputs, inputs) of a dense layer."""
    m, n = layer.weight.shape
    return (n, m) if transposed else (m, n)
