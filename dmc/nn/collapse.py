"""Neural collapse of a torch model, layer by layer, by hooks on its modules and one pass over a loader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dmc import _checks
from dmc.collapse import ClassStatistics, Collapse
from dmc.nn.adapters.dense_layers import modules_of
from dmc.nn.adapters.low_rank import AdaptedLayer
from dmc.nn.evaluation_mode import evaluating

__all__ = ["collapse_by_layer"]

Pooling = str | Callable[[Tensor], Tensor]


def collapse_by_layer(
    model: nn.Module,
    loader: Iterable[Any],
    layers: Sequence[str] | None = None,
    *,
    classifier: str | None = None,
    pooling: Pooling = "flatten",
    n_classes: int | None = None,
) -> dict[str, Collapse]:
    """Measure neural collapse (NC1, NC2, NC3 and D) of each layer's output, without changing the model.

    The model runs once over the loader, in evaluation mode and without gradients; hooks pass each layer's output to a
    `dmc.diagnostics.ClassStatistics`, so that memory does not grow with the data.

    Parameters
    ----------
    model : torch.nn.Module
        The model.
    loader : iterable
        Of pairs (inputs, labels): inputs a tensor, a tuple (the model's arguments) or a dict (its keyword arguments),
        all moved to the device of the model's first parameter; labels (batch,) whole numbers.
    layers : sequence of str, optional
        Names as in ``model.named_modules()``. By default all modules without submodules (an adapted layer counts as
        one), in the order in which they run, except those whose output has no row for each sample.
    classifier : str, optional
        Name of the last linear layer. Its input is measured too, under ``NAME.input``, with NC3.
    pooling : {"flatten", "mean"} or callable
        How an output (batch, …) becomes (batch, k) features: flattened; averaged over positions, which are the axes
        after the second of (batch, channels, height, width) and the second of (batch, tokens, k); or by a function. NC1
        needs at most 4,096 features.
    n_classes : int, optional
        The number of classes, if more exist than occur.

    Returns
    -------
    dict of str to Collapse
        In the order in which the layers ran. A module that runs several times in a pass has an entry for each run, the
        second under ``NAME#2``.

    Raises
    ------
    ValueError
        If no layer has such a name, outputs cannot be made features, or features are not finite.
    TypeError
        If the loader does not yield pairs.

    Examples
    --------
    >>> import torch, dmc
    >>> _ = torch.manual_seed(0)
    >>> labels = torch.arange(60) % 3
    >>> inputs = torch.eye(3)[labels].repeat(1, 4) + 0.1 * torch.randn(60, 12)
    >>> model = torch.nn.Sequential(torch.nn.Linear(12, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    >>> found = dmc.nn.collapse_by_layer(model, [(inputs, labels)], classifier="2")
    >>> list(found)
    ['0', '1', '2.input', '2']
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is {type(model).__name__}; give a torch.nn.Module")
    modules = _chosen(model, layers)
    linear = None if classifier is None else _classifier(model, classifier)
    listener = _Listener(pooling, n_classes, strict=layers is not None)
    with evaluating(model), listener.listening(modules, classifier, linear):
        for batch in loader:
            inputs, labels = _parted(batch)
            listener.labels = labels
            call(model, inputs)
            listener.calls.clear()
    if not listener.statistics:
        raise ValueError(
            "nothing was measured: the loader is empty, or none of the layers ran; give data and layers that run"
        )
    asked = (*(layers or ()), *([] if classifier is None else [f"{classifier}.input"]))
    unheard = [name for name in asked if name not in listener.statistics]
    if unheard:
        raise ValueError(
            f"{unheard[0]!r} was not measured: the module did not run, or not with a first argument that has a row for "
            "each sample; choose modules that do"
        )
    weights = None if linear is None else linear.weight.detach().double().cpu().numpy()
    if weights is not None and isinstance(linear, AdaptedLayer) and linear.transposed:
        weights = weights.T
    return {
        name: _measured(name, statistics, weights if name == f"{classifier}.input" else None)
        for name, statistics in listener.statistics.items()
    }


class _Listener:
    """What the hooks share: the labels of the present batch, and the statistics so far."""

    def __init__(self, pooling: Pooling, n_classes: int | None, strict: bool) -> None:
        if not callable(pooling):
            _checks.choice(pooling, "pooling", ("flatten", "mean"))
        self.pooling, self.n_classes, self.strict = pooling, n_classes, strict
        self.labels = np.zeros(0)
        self.calls: dict[str, int] = {}
        self.statistics: dict[str, ClassStatistics] = {}
        self.left_out: set[str] = set()

    @contextmanager
    def listening(
        self, modules: Mapping[str, nn.Module], classifier: str | None, linear: nn.Module | None
    ) -> Iterator[None]:
        handles = []
        try:
            if linear is not None:
                handles.append(
                    linear.register_forward_pre_hook(lambda _, inputs: self.hear(f"{classifier}.input", inputs))
                )
            for name, module in modules.items():
                handles.append(module.register_forward_hook(self._hook(name)))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, name: str) -> Callable[..., None]:
        return lambda module, inputs, output: self.hear(name, output)

    def hear(self, name: str, output: Any) -> None:
        count = self.calls[name] = self.calls.get(name, 0) + 1
        name = name if count == 1 else f"{name}#{count}"
        if name in self.left_out:
            return
        features = output[0] if isinstance(output, (tuple, list)) and output else output
        n = len(self.labels)
        if not isinstance(features, Tensor) or features.ndim == 0 or len(features) != n:
            if self.strict or name in self.statistics:
                what = f"of shape {tuple(features.shape)}" if isinstance(features, Tensor) else type(features).__name__
                raise ValueError(
                    f"the output of layer {name!r} is {what} for {n} labels; choose layers with a row for each sample"
                )
            self.left_out.add(name)
            return
        statistics = self.statistics.get(name) or ClassStatistics(self.n_classes)
        try:
            statistics.update(pooled(features, self.pooling).detach().cpu().numpy(), self.labels)
        except (TypeError, ValueError) as error:
            raise type(error)(f"layer {name!r}: {error}") from None
        self.statistics[name] = statistics


def pooled(output: Tensor, pooling: Pooling) -> Tensor:
    """Pool an output to (batch, k) features."""
    output = output if output.dtype in (torch.float32, torch.float64) else output.float()
    if callable(pooling):
        features = pooling(output)
        if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(output):
            what = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise ValueError(f"pooling made {what} of {tuple(output.shape)}; let it return (batch, k)")
        return features
    if pooling == "mean" and output.ndim > 2:
        return output.mean(1) if output.ndim == 3 else output.flatten(2).mean(2)
    return output.flatten(1) if output.ndim > 1 else output[:, None]


def _chosen(model: nn.Module, layers: Sequence[str] | None) -> dict[str, nn.Module]:
    if layers is None:
        return _leaves(model)
    named = dict(modules_of(model))
    if isinstance(layers, str):
        raise TypeError(f"layers is {layers!r}; give a list of names")
    for name in layers:
        if name not in named:
            raise ValueError(f"layers holds {name!r}, which is not a module of the model; there are {some(named)}")
    return {name: named[name] for name in layers}


def _leaves(model: nn.Module) -> dict[str, nn.Module]:
    """Modules without submodules, by their first names; parametrisations do not count as layers."""
    found: dict[int, tuple[str, nn.Module]] = {}
    for name, module in modules_of(model):
        parts = [part for part, _ in module.named_children() if part != "parametrizations"]
        if (isinstance(module, AdaptedLayer) or not parts) and "parametrizations" not in name.split("."):
            found.setdefault(id(module), (name, module))
    return dict(found.values())


def _classifier(model: nn.Module, name: str) -> nn.Linear | AdaptedLayer:
    named = dict(modules_of(model))
    found = named.get(name)
    if not isinstance(found, (nn.Linear, AdaptedLayer)):
        linear = [other for other, module in named.items() if isinstance(module, (nn.Linear, AdaptedLayer))]
        raise ValueError(f"classifier is {name!r}, which is not a linear layer of the model; there are {some(linear)}")
    return found


def some(names: Iterable[str]) -> str:
    """List the first names, and say how many more there are."""
    listed = [repr(name) for name in names if name]
    more = f" and {len(listed) - 8} more" if len(listed) > 8 else ""
    return (", ".join(listed[:8]) + more) or "none"


def _parted(batch: Any) -> tuple[Any, Any]:
    """Split a batch into inputs and a (batch,) array of labels."""
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise TypeError(f"the loader yields {type(batch).__name__}; let it yield pairs (inputs, labels)")
    inputs, labels = batch
    labels = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if labels.ndim != 1:
        raise ValueError(f"labels have shape {labels.shape}; give one class for each sample, (batch,)")
    return inputs, labels


def call(model: nn.Module, inputs: Any) -> None:
    first = next(model.parameters(), None)
    device = None if first is None else first.device

    def moved(value: Any) -> Any:
        return value.to(device) if isinstance(value, Tensor) and device is not None else value

    if isinstance(inputs, Mapping):
        model(**{name: moved(value) for name, value in inputs.items()})
    elif isinstance(inputs, (tuple, list)):
        model(*map(moved, inputs))
    else:
        model(moved(inputs))


def _measured(name: str, statistics: ClassStatistics, weights: Any) -> Collapse:
    try:
        return statistics.measure(weights)
    except ValueError as error:
        raise ValueError(f"layer {name!r}: {error}") from None
