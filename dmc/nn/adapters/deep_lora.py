"""Deep LoRA: low-rank updates of a model's dense layers, each a deep linear network from a small start."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from dmc import _checks, model_file
from dmc.nn.adapters import starts, storage
from dmc.nn.adapters.attachment import Attachment
from dmc.nn.adapters.dense_layers import DenseLayer, check_ranks, chosen, dense_layers
from dmc.nn.adapters.low_rank import AdaptedLayer, LowRankUpdate
from dmc.nn.adapters.watch import Watch


class DeepLoRA:
    """Low-rank adapters W + ΔW for the dense layers of any torch model, with ΔW = W_3·W_2·W_1 from a small start.

    Three layers from a small orthogonal start learn an update of a rank of about one, whatever their width `rank`,
    which therefore needs no search. With ``layers=2`` it is LoRA, from either of its usual starts, as a baseline; each
    needs a learning rate of its own.

    Attaching freezes the model's own parameters and wraps the adapted layers; `unload` puts the original layers back.

    Parameters
    ----------
    target_modules : str or list of str
        Which dense layers: the ends of their names (``["query", "value"]``), or one regular expression for the whole
        name. They are torch.nn.Linear, its subclasses, and GPT-2's Conv1D.
    rank : int
        Width r of the updates; at most the smaller side of each layer.
    layers : int
        Number of layers of ΔW: 3 or more; 2 is LoRA.
    start : {"orthogonal", "compressed", "kaiming", "normal"}
        "orthogonal": each layer is `scale` times a random matrix with orthonormal rows or columns. "compressed":
        factors in the subspace that the full-width network would move in, from the gradient of one batch; `rank` is
        even, half of the directions come from each side of the gradient, and there are `layers` r×r factors. With two
        layers also LoRA's: A uniform as peft draws it ("kaiming"), or standard normal ("normal"), and B = 0.
    scale : float
        Scale ε of the deep starts.
    alpha : float, optional
        ΔW is multiplied by alpha / rank; by default by 1.
    modules_to_save : list of str
        Ends of the names of modules that stay trainable themselves, and are saved with the adapter: a new head.
    name : str
        Name of this adapter, where a model has several; without dots.
    seed : int
        Seed of the start; use the same in every process.

    Attributes
    ----------
    model : torch.nn.Module
        What it is attached to; None before `attach` and after `unload`.
    updates : dict of str to module
        The `LowRankUpdate` of each adapted layer, by name, with the parameters V, cores and U.

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these, or the rank of the compressed start is odd.

    References
    ----------
    Yaras et al., "Compressible Dynamics in Deep Overparameterized Low-Rank Learning & Adaptation", ICML 2024
    (arXiv 2406.04112); Hu et al., "LoRA", ICLR 2022 (arXiv 2106.09685).

    Examples
    --------
    >>> import torch
    >>> from dmc.nn import DeepLoRA
    >>> model = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.ReLU(), torch.nn.Linear(30, 5))
    >>> adapter = DeepLoRA(["0", "2"], rank=4).attach(model)
    >>> optimizer = torch.optim.AdamW(adapter.parameter_groups(lr=3e-3), weight_decay=0)
    >>> model(torch.zeros(1, 20)).sum().backward()
    >>> optimizer.step()
    >>> sorted(adapter.state_dict())[:3]
    ['0.U', '0.V', '0.cores.0']
    >>> adapter.merge()
    >>> adapter.unload()
    >>> sorted(model.state_dict())
    ['0.bias', '0.weight', '2.bias', '2.weight']
    """

    def __init__(
        self,
        target_modules: str | Iterable[str],
        rank: int = 8,
        *,
        layers: int = 3,
        start: str = "orthogonal",
        scale: float = 1e-3,
        alpha: float | None = None,
        modules_to_save: Iterable[str] = (),
        name: str = "default",
        seed: int = 0,
    ) -> None:
        self.target_modules: str | list[str] = (
            target_modules if isinstance(target_modules, str) else list(target_modules)
        )
        self.rank: int = _checks.integer(rank, "rank", 1)
        self.layers: int = _checks.integer(layers, "layers", 2)
        self.start: str = _checks.choice(start, "start", (*starts.DEEP, *starts.OF_LORA))
        self.scale: float = _checks.real(scale, "scale", 0, open_ends=True)
        self.alpha: float | None = None if alpha is None else _checks.real(alpha, "alpha", 0, open_ends=True)
        if isinstance(modules_to_save, str):
            raise TypeError(f"modules_to_save is {modules_to_save!r}; give a list of names")
        self.modules_to_save: list[str] = list(modules_to_save)
        if not isinstance(name, str) or not name or "." in name or hasattr(nn.ModuleDict(), name):
            raise ValueError(
                f"name is {name!r}; give a word without dots that is not an attribute of torch.nn.ModuleDict"
            )
        self.name = name
        self.seed = seed
        if start in starts.OF_LORA and self.layers > 2:
            raise ValueError(
                f"start is {start!r}, LoRA's, and layers is {layers}; give layers=2, or a start of {starts.DEEP}"
            )
        if start == "compressed" and self.rank % 2:
            raise ValueError(
                f"rank is {rank} and the compressed start takes half of it from either side of a gradient; make it even"
            )
        self.model: nn.Module | None = None
        self.updates: dict[str, LowRankUpdate] = {}
        self._attachment: Attachment | None = None
        self._watch: Watch | None = None

    def __repr__(self) -> str:
        where = "not attached" if self.model is None else f"{_checks.count(len(self.updates), 'layer')} adapted"
        return f"DeepLoRA({self.name!r}: rank {self.rank}, {self.layers} layers, start {self.start!r}; {where})"

    @staticmethod
    def of(model: nn.Module) -> dict[str, DeepLoRA]:
        """Find the adapters of a model, or of a copy of it.

        Parameters
        ----------
        model : torch.nn.Module
            The model.

        Returns
        -------
        dict of str to DeepLoRA
            By name; empty if there are none.
        """
        attachment = Attachment.at(model)
        return {} if attachment is None else {k: v for k, v in attachment.adapters.items() if isinstance(v, DeepLoRA)}

    # --- coming and going

    def attach(self, model: nn.Module, loss: Callable[[], Tensor] | None = None) -> Self:
        """Wrap the chosen layers, freeze the model's own parameters, and become its active adapter.

        The output of the model stays the same (up to `scale` to the power of `layers`), and so does its mode.

        Parameters
        ----------
        model : torch.nn.Module
            Before it is wrapped in DistributedDataParallel, and before optimisers are made.
        loss : callable, optional
            For the compressed start, and needed there: returns the model's loss at one batch; called once.

        Returns
        -------
        DeepLoRA
            This object.

        Raises
        ------
        ValueError
            If a pattern matches no dense layer, the rank does not fit one, a layer is quantised or on the meta device,
            the model has an adapter of that name, a submodule or an enclosing module has one, or the gradient of the
            compressed start is zero.
        """
        model = self._to_attach_to(model)
        taken = chosen(dense_layers(model), self.target_modules)
        check_ranks(taken, self.rank)
        if (self.start == "compressed") != (loss is not None):
            raise ValueError(
                "the compressed start is made from the gradient of one batch; give loss=, a function that returns it"
                if loss is None
                else f"loss is given and start is {self.start!r}, which does not need it; leave it out"
            )
        rngs = dict(zip(taken, _checks.generator(self.seed, "seed").spawn(len(taken)), strict=True))
        found = {}

        def begin(name: str, gradient: Tensor | None = None) -> None:
            shape = taken[name].shape
            found[name] = starts.factors(self.start, shape, self.rank, self.layers, self.scale, rngs[name], gradient)

        if loss is None:
            for name in taken:
                begin(name)
        else:
            starts.first_gradients(taken, loss, begin)
        scaling = 1.0 if self.alpha is None else self.alpha / self.rank
        self._fix(model, taken, {name: LowRankUpdate(found[name], scaling) for name in taken})
        return self

    def _to_attach_to(self, model: nn.Module) -> nn.Module:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model is {type(model).__name__}; give a torch.nn.Module")
        if self.model is not None:
            raise ValueError(f"adapter {self.name!r} is attached already; unload it, or make another DeepLoRA")
        if isinstance(model, nn.parallel.DistributedDataParallel):
            raise ValueError(
                "the model is wrapped in DistributedDataParallel, which has already collected the parameters; attach "
                "before wrapping"
            )
        model = getattr(model, "_orig_mod", model)  # of torch.compile
        if self.name in self.of(model):
            raise ValueError(
                f"the model has an adapter {self.name!r} already; unload it, or give this one another name"
            )
        if Attachment.at(model) is None and any(isinstance(module, AdaptedLayer) for module in model.modules()):
            raise ValueError(
                "the model has layers that are adapted already, by an adapter of a module of it or around it; attach "
                "all adapters to one and the same module"
            )
        return model

    def _fix(self, model: nn.Module, taken: dict[str, DenseLayer], updates: dict[str, LowRankUpdate]) -> None:
        attachment = Attachment.at(model) or Attachment(model)
        for name, update in updates.items():
            weight = taken[name].layer.weight
            update.to(weight.device, torch.promote_types(weight.dtype, torch.float32))
        attachment.add(self, taken, updates)
        self.model, self.updates, self._attachment = model, updates, attachment
        norms = {name: float(of.layer.weight.detach().norm()) for name, of in taken.items()}
        self._watch = Watch(self.name, updates, norms)

    def unload(self) -> None:
        """Detach the adapter; after the last one, the model has its layers and their `requires_grad` as before.

        What is merged stays in the weights: call `unmerge` first to get the original model back. Modules to save keep
        what they have learnt.
        """
        self._attached.remove(self)
        self.model, self._attachment, self._watch = None, None, None

    def activate(self) -> None:
        """Make this the only active and trainable adapter of the model (merged ones stay in the weights)."""
        self._attached.activate(self.name)

    def deactivate(self) -> None:
        """Switch the adapter off, until `activate`."""
        if self.active:
            self._attached.activate(None)

    @property
    def active(self) -> bool:
        """Whether the model's output includes this adapter, and it is trained."""
        return self._attached.active == self.name

    def merge(self) -> None:
        """Add ΔW to the weights, which then cost the same as without an adapter; not for training.

        The original weights are kept until `unmerge` or `unload`, which takes twice the memory of the adapted layers
        meanwhile.

        Raises
        ------
        ValueError
            If it is merged already, or a layer's weight is not a plain parameter (torch's parametrisations).

        Warns
        -----
        UserWarning
            If weights in half precision lose most of an update by rounding.
        """
        if self.merged:
            raise ValueError(f"adapter {self.name!r} is merged already; unmerge it before you merge it again")
        self._attached.merge(self.name)

    def unmerge(self) -> None:
        """Remove ΔW from the weights, which are then the same parameters as before, to the last bit.

        Raises
        ------
        ValueError
            If it is not merged.
        """
        if not self.merged:
            raise ValueError(f"adapter {self.name!r} is not merged; there is nothing to take out of the weights")
        self._attached.unmerge(self.name)

    @property
    def merged(self) -> bool:
        """Whether ΔW is in the weights."""
        return self.name in self._attached.merged

    @property
    def _attached(self) -> Attachment:
        if self._attachment is None:
            raise ValueError(f"adapter {self.name!r} is not attached to a model; call attach first")
        return self._attachment

    # --- training

    def parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over all factors, without the modules to save.

        Yields
        ------
        torch.nn.Parameter
            Layer by layer.
        """
        for update in self.updates.values():
            yield from update.parameters()

    def parameter_groups(self, lr: float, outer_ratio: float = 1.0) -> list[dict[str, Any]]:
        """Make parameter groups with discrepant rates for any torch optimiser.

        Parameters
        ----------
        lr : float
            Rate of the r×r factors; with two layers there are none.
        outer_ratio : float
            Ratio γ: the rate of U and V is this times `lr`.

        Returns
        -------
        list of dict
            For the optimiser's constructor.
        """
        cores = [W for update in self.updates.values() for W in update.cores]
        outer = [side for update in self.updates.values() for side in (update.U, update.V)]
        groups: list[dict[str, Any]] = [{"params": outer, "lr": outer_ratio * lr}]
        return [{"params": cores, "lr": lr}, *groups] if cores else groups

    def singular_values(self) -> dict[str, Tensor]:
        """Compute the singular values of each layer's update, without forming it.

        Returns
        -------
        dict of str to (rank,) tensor
            By layer, float64, descending.
        """
        return {name: update.singular_values() for name, update in self.updates.items()}

    @property
    def n_parameters(self) -> int:
        """Number of entries of all factors."""
        return sum(p.numel() for p in self.parameters())

    # --- keeping

    def state_dict(self) -> dict[str, Tensor]:
        """Return the factors, by layer; nothing of the model.

        Returns
        -------
        dict of str to tensor
            Such as ``"encoder.query.U"``.
        """
        return {
            f"{name}.{key}": value
            for name, update in self.updates.items()
            for key, value in update.state_dict().items()
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Load factors.

        Parameters
        ----------
        state : dict of str to tensor
            From `state_dict` of an adapter with the same settings.

        Raises
        ------
        ValueError
            If there are others than this adapter's, or of other shapes.
        """
        storage.same(self.state_dict(), state, "state_dict")
        for name, update in self.updates.items():
            update.load_state_dict({key: state[f"{name}.{key}"] for key in update.state_dict()})
        if self.merged:
            self._attached.merge_anew()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the adapter, and the modules to save, in a safetensors file.

        The file also holds the names and shapes of the adapted layers, and a sample of their weights.

        Parameters
        ----------
        path : path
            Of the file.

        Warns
        -----
        UserWarning
            If numbers are not finite.
        """
        names = ("target_modules", "rank", "layers", "start", "scale", "alpha", "modules_to_save", "name")
        seed = int(self.seed) if isinstance(self.seed, (int, np.integer)) else None
        settings = {name: getattr(self, name) for name in names} | {"seed": seed}
        storage.write(path, settings, self.updates, self._attached)

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: nn.Module, *, name: str | None = None) -> Self:
        """Load a saved adapter and attach it to the model it was made for.

        Parameters
        ----------
        path : path
            Of the file.
        model : torch.nn.Module
            A model with the same layers.
        name : str, optional
            A name other than the saved one.

        Returns
        -------
        DeepLoRA
            Attached and active.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is not an adapter's file, is damaged, or is of another model; the message says what differs.

        Warns
        -----
        UserWarning
            If the layers' weights differ from those it was trained with, or numbers are not finite.
        """
        file = storage.read(path)
        with model_file.believed(path):
            cls(**file.settings)  # refuses what no adapter has
        adapter = cls(**{**file.settings, "name": name or file.settings["name"]})
        model = adapter._to_attach_to(model)
        layers = dense_layers(model)
        storage.check_model(file, model, layers)
        adapter._fix(model, {layer: layers[layer] for layer in file.shapes}, file.updates)
        storage.put_saved(file, model)
        return adapter
