"""Four ways to fine-tune a pretrained torch model: linear probe, one layer, a skip connection, everything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from dmc import _checks
from dmc._warn import warn
from dmc.nn.collapse import Pooling, call, pooled, some
from dmc.nn.evaluation_mode import evaluating, run_in_evaluation_mode

__all__ = ["FullTuning", "LayerTuning", "LinearProbe", "SkipConnectionTuning"]

_MARK = "_dmc_tuning"  # the model's attribute while it is tuned
_PROJECTION = "skip_projection"  # the model's parameter meanwhile


class LinearProbe:
    """Fine-tune only the head of a pretrained model.

    Parameters
    ----------
    head : str
        Name of the last module, as in ``model.named_modules()``.

    See Also
    --------
    SkipConnectionTuning : What the four ways share, and a whole training.

    Examples
    --------
    >>> import torch, dmc
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> tuning = dmc.nn.LinearProbe("2").attach(model)
    >>> optimiser = torch.optim.Adam(tuning.parameters())
    >>> tuning.n_parameters, round(tuning.share, 2)
    (18, 0.2)
    """

    def __init__(self, head: str) -> None:
        self.head = head
        self.model: nn.Module | None = None
        self._before: dict[str, Tensor] = {}
        self._required_grad: dict[str, bool] = {}
        self._handles: list[Any] = []

    @property
    def _names(self) -> list[str]:
        """Names of the modules that are trained."""
        return [self.head]

    # --- coming and going

    def attach(self, model: nn.Module) -> Self:
        """Freeze the model except for what is trained.

        Parameters
        ----------
        model : torch.nn.Module
            On its device, before it is wrapped in DistributedDataParallel, and before optimisers are made. Frozen batch
            normalisation keeps its running statistics, in train mode too.

        Returns
        -------
        LinearProbe
            This object.

        Raises
        ------
        ValueError
            If a module is not there or has no parameters, or the model or this object is attached already.

        Warns
        -----
        UserWarning
            If what is trained is tied to what is to stay frozen.
        """
        self._check(model)
        self.model = model
        setattr(model, _MARK, self)
        self._required_grad = {name: p.requires_grad for name, p in model.named_parameters()}
        self._before = {name: value.detach().clone() for name, value in self._own().items()}
        model.requires_grad_(False)
        for name in self._names:
            model.get_submodule(name).requires_grad_(True)
        trained = {id(m) for name in self._names for m in model.get_submodule(name).modules()}
        for module in model.modules():
            if id(module) not in trained and getattr(module, "running_mean", None) is not None:
                self._handles += run_in_evaluation_mode(module)
        self._tell_of_tied()
        return self

    def unload(self) -> None:
        """Put the model back as it was before: weights, `requires_grad`, hooks.

        Copy `state_dict` first if you want to keep what was learnt.
        """
        model, own = self._attached, self._own()
        if own.keys() != self._before.keys():
            raise ValueError(
                f"{min(own.keys() ^ self._before.keys())!r} was added or removed since attach; first remove whatever "
                "replaced layers of the model, such as an adapter"
            )
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(self._before[name])
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(self._required_grad[name])
            parameter.grad = None
        for handle in self._handles:
            handle.remove()
        delattr(model, _MARK)
        self.model, self._handles, self._before = None, [], {}

    def _check(self, model: nn.Module) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model is {type(model).__name__}; give a torch.nn.Module")
        if isinstance(model, nn.parallel.DistributedDataParallel):
            raise ValueError(
                "the model is wrapped in DistributedDataParallel, which has already collected the parameters; attach "
                "before wrapping"
            )
        if self.model is not None:
            raise ValueError(f"this {type(self).__name__} is attached already; unload it, or make another")
        if hasattr(model, _MARK):
            raise ValueError(f"the model is being tuned by a {type(getattr(model, _MARK)).__name__}; unload that first")
        named = dict(model.named_modules())
        for name in self._names:
            if name not in named:
                raise ValueError(f"{name!r} is not a module of the model; there are {some(named)}")
            if not any(True for _ in named[name].parameters()):
                raise ValueError(f"{name or 'the model'!r} has no parameters to train; choose a module that has")

    def _tell_of_tied(self) -> None:
        """Warn of tied parameters, which are trained wherever they occur."""
        own = {id(value) for value in self._own().values()}
        named = self._attached.named_parameters(remove_duplicate=False)
        elsewhere = [name for name, p in named if id(p) in own and name not in self._own()]
        if elsewhere:
            warn(
                f"{', '.join(elsewhere)} is the same parameter as one of {', '.join(self._names)}, and so is trained "
                "too; untie them with a separate parameter there if it should stay as it is"
            )

    @property
    def _attached(self) -> nn.Module:
        if self.model is None:
            raise ValueError(f"this {type(self).__name__} is not attached to a model; call attach first")
        return self.model

    # --- what is trained

    def parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over what is trained, for an optimiser.

        Returns
        -------
        iterator of torch.nn.Parameter
            The parameters that require a gradient.
        """
        return (p for p in self._attached.parameters() if p.requires_grad)

    @property
    def n_parameters(self) -> int:
        """How many numbers are trained."""
        return sum(p.numel() for p in self.parameters())

    @property
    def share(self) -> float:
        """The share of the model's parameters that is trained."""
        return self.n_parameters / sum(p.numel() for p in self._attached.parameters())

    def state_dict(self) -> dict[str, Tensor]:
        """Return what is trained and nothing else, by the names of the model's own `state_dict`.

        Returns
        -------
        dict of str to tensor
            Not copied: clone them to keep them.
        """
        return {name: value.detach() for name, value in self._own().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load what was trained elsewhere.

        Parameters
        ----------
        state : dict of str to tensor
            From `state_dict` of an object with the same modules.

        Raises
        ------
        ValueError
            If the names or shapes are others than those of `state_dict`.
        """
        here = self.state_dict()
        for name in sorted(set(here) ^ set(state)):
            where = "is missing" if name in here else "belongs to nothing that is trained here"
            raise ValueError(
                f"state: {name!r} {where}; give the state_dict of a {type(self).__name__} of the same modules"
            )
        for name, value in state.items():
            if value.shape != here[name].shape:
                raise ValueError(
                    f"state: {name!r} has shape {tuple(value.shape)} and the model's {tuple(here[name].shape)}; "
                    "give that of a model of the same size"
                )
        with torch.no_grad():
            for name, value in state.items():
                here[name].copy_(value)

    def _own(self) -> dict[str, Tensor]:
        """Parameters and buffers of the modules that are trained."""
        model, prefixes = self._attached, tuple(f"{name}." if name else "" for name in self._names)
        return {name: value for name, value in model.state_dict(keep_vars=True).items() if name.startswith(prefixes)}


class FullTuning(LinearProbe):
    """Fine-tune every parameter of a pretrained model.

    See Also
    --------
    SkipConnectionTuning : What the four ways share, and a whole training.

    Examples
    --------
    >>> import torch, dmc
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> dmc.nn.FullTuning().attach(model).share
    1.0
    """

    def __init__(self) -> None:
        super().__init__("")


class LayerTuning(LinearProbe):
    """Fine-tune one layer and the head of a pretrained model.

    Parameters
    ----------
    layer : str
        Name of the layer: any module, such as one block of a transformer.
    head : str
        Name of the last module.

    See Also
    --------
    SkipConnectionTuning : What the four ways share, and a whole training.

    Examples
    --------
    >>> import torch, dmc
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> sorted(dmc.nn.LayerTuning("0", head="2").attach(model).state_dict())
    ['0.bias', '0.weight', '2.bias', '2.weight']
    """

    def __init__(self, layer: str, head: str) -> None:
        super().__init__(head)
        self.layer = layer

    @property
    def _names(self) -> list[str]:
        return [self.layer, self.head]

    def _check(self, model: nn.Module) -> None:
        super()._check(model)
        if f"{self.layer}.".startswith(f"{self.head}.") or f"{self.head}.".startswith(f"{self.layer}."):
            raise ValueError(
                f"layer {self.layer!r} and head {self.head!r} are one inside the other; choose two that are not"
            )


class SkipConnectionTuning(LayerTuning):
    """Fine-tune one intermediate layer and the head, with a skip connection from the layer to the head.

    The layer's output is added to the input of the head. This lets the features collapse onto their classes by training
    a single layer, at a share of the parameters of full tuning. It is not always better than the layer alone: compare
    it with `LinearProbe`, `LayerTuning` and `FullTuning`, which have the same interface.

    Parameters
    ----------
    layer : str
        Name of the layer, as in ``model.named_modules()``. If its output is a tuple, the first element counts.
    head : str
        Name of the last module, whose first argument are the features.
    pooling : {"flatten", "mean"} or callable
        How the layer's output takes the shape of the features, where it has more dimensions: see `collapse_by_layer`.
        For a head on the first token, ``lambda output: output[:, 0]``.

    Attributes
    ----------
    projection : torch.nn.Linear or None
        Between the layer's output and the features, if their widths differ.

    Raises
    ------
    ValueError
        If `pooling` is none of these.

    References
    ----------
    X. Li et al., "Principled and efficient transfer learning of deep models via neural collapse", 2022 (arXiv
    2212.12206).

    Examples
    --------
    >>> import torch, dmc
    >>> _ = torch.manual_seed(0)
    >>> body = [layer for _ in range(3) for layer in (torch.nn.Linear(8, 8), torch.nn.ReLU())]
    >>> model = torch.nn.Sequential(*body, torch.nn.Linear(8, 2))
    >>> tuning = dmc.nn.SkipConnectionTuning("2", head="6").attach(model)
    >>> sorted(tuning.state_dict())
    ['2.bias', '2.weight', '6.bias', '6.weight']
    >>> x, y = torch.randn(64, 8), torch.arange(64) % 2
    >>> x[:, 0] += 3 * y
    >>> optimiser = torch.optim.Adam(tuning.parameters(), lr=1e-2)
    >>> for _ in range(200):
    ...     optimiser.zero_grad()
    ...     loss = torch.nn.functional.cross_entropy(model(x), y)
    ...     loss.backward()
    ...     optimiser.step()
    >>> loss.item() < 0.3
    True
    >>> learnt = {name: value.clone() for name, value in tuning.state_dict().items()}
    >>> tuning.unload()
    >>> tuning.attach(model).load_state_dict(learnt)
    """

    def __init__(self, layer: str, head: str, pooling: Pooling = "mean") -> None:
        super().__init__(layer, head)
        if not callable(pooling):
            _checks.choice(pooling, "pooling", ("flatten", "mean"))
        self.pooling = pooling
        self.projection: nn.Linear | None = None
        self._output: Tensor | None = None

    def attach(self, model: nn.Module, inputs: Any = None) -> Self:
        """Freeze the model except for what is trained, and connect the layer to the head.

        Parameters
        ----------
        model : torch.nn.Module
            As in `LinearProbe.attach`.
        inputs : tensor, tuple or dict, optional
            One batch, as the model takes it: needed where the layer is not as wide as the features. A linear projection
            between them, without bias and orthogonal at the start (by torch's generator), is then trained too.

        Returns
        -------
        SkipConnectionTuning
            This object.

        Raises
        ------
        ValueError
            As in `LinearProbe.attach`; if the layer's output does not fit the features.
        """
        super().attach(model)
        layer, head = (model.get_submodule(name) for name in (self.layer, self.head))
        self._handles += [layer.register_forward_hook(self._keep), head.register_forward_pre_hook(self._add)]
        if inputs is not None:
            try:
                self._connect(model, inputs, head)
            except BaseException:
                self.unload()
                raise
        return self

    def unload(self) -> None:
        model, projection = self._attached, self.projection
        super().unload()
        if projection is not None:
            delattr(model, _PROJECTION)
        self.projection, self._output = None, None

    def _own(self) -> dict[str, Tensor]:
        own = super()._own()
        if self.projection is not None:
            own[_PROJECTION] = self.projection.weight
        return own

    def __getstate__(self) -> dict[str, Any]:
        """Leave the output of the last pass, which may be part of a graph, out of copies."""
        return {**vars(self), "_output": None}

    def _connect(self, model: nn.Module, inputs: Any, head: nn.Module) -> None:
        """Run the model once, and put a projection between widths that differ."""
        seen: list[tuple[Tensor, Tensor]] = []
        handle = head.register_forward_pre_hook(lambda _, given: seen.append(self._both(given[0])), prepend=True)
        self._handles.pop().remove()  # the addition, which would refuse
        try:
            with evaluating(model):
                call(model, inputs)
        finally:
            handle.remove()
            self._handles.append(head.register_forward_pre_hook(self._add))
        output, features = seen[-1]
        self._output = None
        if output.shape[:-1] != features.shape[:-1]:
            raise ValueError(self._misfit(output, features))
        if output.shape != features.shape:
            width, wanted = output.shape[-1], features.shape[-1]
            projection = nn.Linear(width, wanted, bias=False, device=features.device, dtype=features.dtype)
            nn.init.orthogonal_(projection.weight)
            # The model's too, which then is moved, counted, and spread over processes, with it.
            setattr(model, _PROJECTION, projection.weight)
            self._before[_PROJECTION], self._required_grad[_PROJECTION] = projection.weight.detach().clone(), True
            self.projection = projection

    def _keep(self, module: nn.Module, given: Any, output: Any) -> None:
        self._output = output[0] if isinstance(output, (tuple, list)) else output

    def _both(self, features: Any) -> tuple[Tensor, Tensor]:
        """The layer's output, pooled if it has more dimensions than the features; and the features."""
        if self._output is None:
            raise ValueError(f"head {self.head!r} ran before layer {self.layer!r}; choose a layer that comes before it")
        output = self._output
        if output.ndim > features.ndim == 2:
            output = pooled(output, self.pooling).to(output.dtype)
        return output, features

    def _add(self, module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        if not given:
            raise ValueError(
                f"head {self.head!r} is called with keyword arguments only; let the model pass the features as first "
                "argument"
            )
        output, features = self._both(given[0])
        self._output = None
        if torch.is_grad_enabled() and not output.requires_grad:
            warn(
                f"the output of layer {self.layer!r} carries no gradient, so nothing trains it through the skip "
                "connection: it ran under no_grad or in a checkpoint with use_reentrant=True; use use_reentrant=False"
            )
        if self.projection is not None:
            output = self.projection(output)
        if output.shape != features.shape:
            raise ValueError(self._misfit(output, features))
        return features + output, *given[1:]

    def _misfit(self, output: Tensor, features: Tensor) -> str:
        fits = output.shape[:-1] == features.shape[:-1]
        remedy = "give inputs to attach, for a projection" if fits else "give pooling"
        shapes = tuple(output.shape), tuple(features.shape)
        return f"layer {self.layer!r} puts out {shapes[0]} and head {self.head!r} takes {shapes[1]}; {remedy}"
