"""Adapter files, and the check that a model is the one an adapter was made for."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dmc import _contents, model_file
from dmc._contents import Array, any_of, list_of, or_none, real, record, table_of, text, whole
from dmc._warn import warn
from dmc.factors import Factors
from dmc.nn.adapters.attachment import Attachment
from dmc.nn.adapters.dense_layers import DenseLayer, listed
from dmc.nn.adapters.low_rank import AdaptedLayer, LowRankUpdate

KIND = "DeepLoRA"
SAMPLED = 16  # entries of each weight
# Relative distance of the samples above which weights are others: half precision moves them by .004, fine-tuning of all
# layers by a few hundredths, another pretraining by more than 1.
OTHER_WEIGHTS = 0.3
DIVERGED = 1e9  # in size: no weight is that large, and the product of a few such is beyond float32
LARGEST = float(np.finfo(np.float64).max)
HEADER = record(
    {
        "settings": record(
            {
                "target_modules": any_of(list_of(text), text),
                "rank": whole(1),
                "layers": whole(2),
                "start": text,
                "scale": real(0, LARGEST, above=True),
                "alpha": or_none(real(0, LARGEST, above=True)),
                "modules_to_save": list_of(text),
                "name": text,
            },
            {"seed": or_none(whole(0, 10**1000))},
        ),
        "made_for": table_of(
            record(
                {
                    "shape": list_of(whole(1), 2),
                    "factors": whole(2),
                    "sample": list_of(real(-math.inf, math.inf, nan=True), SAMPLED),
                }
            )
        ),
    }
)


@dataclass(frozen=True)
class AdapterFile:
    """The contents of a file.

    Attributes
    ----------
    path : path
    settings : dict
        The arguments of DeepLoRA.
    shapes : dict of str to (int, int)
        Of the layers that it was made for.
    samples : dict of str to list of float
        Of their weights.
    updates : dict of str to LowRankUpdate
    saved : dict of str to array
        Parameters and buffers of the modules to save.
    """

    path: str
    settings: dict[str, Any]
    shapes: dict[str, tuple[int, int]]
    samples: dict[str, list[float]]
    updates: dict[str, LowRankUpdate]
    saved: dict[str, NDArray[Any]]


def write(
    path: str | os.PathLike[str],
    settings: dict[str, Any],
    updates: Mapping[str, LowRankUpdate],
    attachment: Attachment,
) -> None:
    """Write an attached adapter."""
    arrays = {}
    for name, update in updates.items():
        for k, factor in enumerate((update.U, *update.cores, update.V)):
            arrays[f"{name}.{k}"] = _as_array(factor)
    for module_name, module in attachment.saved_modules(settings["modules_to_save"]).items():
        for key, value in module.state_dict().items():
            arrays[f"{module_name}.{key}.saved"] = _as_array(value)
    layers = {name: attachment.layers[name].module for name in updates}
    made_for = {
        name: {
            "shape": list(layer.shape),
            "factors": 2 + len(updates[name].cores),
            "sample": _sample(layer.own_weight),
        }
        for name, layer in layers.items()
        if isinstance(layer, AdaptedLayer)
    }
    _tell_infinite(arrays, f"adapter {settings['name']!r}")
    model_file.save(path, KIND, arrays, {"settings": settings, "made_for": made_for})


def read(path: str | os.PathLike[str]) -> AdapterFile:
    """Read a file; whether it suits a model is checked separately.

    Raises
    ------
    ValueError
        If it is no adapter's file, or its parts do not fit each other.
    """
    arrays, header = model_file.load(path, KIND)
    with model_file.believed(path):
        HEADER("header", header)
        found = _parsed(str(path), arrays, header["settings"], header["made_for"])
    _tell_infinite(arrays, f"the adapter in {path}")
    return found


def _parsed(path: str, arrays: dict[str, NDArray[Any]], settings: dict[str, Any], made_for: Any) -> AdapterFile:
    if not made_for:
        raise ValueError("it adapts no layer")
    saved = {key: array for key, array in arrays.items() if key.endswith(".saved")}
    factors = {key: array for key, array in arrays.items() if key not in saved}
    _contents.check_arrays(factors, _table(settings["rank"], made_for, len(factors)))
    scaling = 1.0 if settings["alpha"] is None else settings["alpha"] / settings["rank"]
    updates = {}
    for name, of in made_for.items():
        U, *cores, Vt = (factors[f"{name}.{k}"] for k in range(of["factors"]))
        updates[name] = LowRankUpdate(Factors(U, cores, Vt.T), scaling)
    shapes = {name: (of["shape"][0], of["shape"][1]) for name, of in made_for.items()}
    samples = {name: [float(entry) for entry in of["sample"]] for name, of in made_for.items()}
    return AdapterFile(
        path, settings, shapes, samples, updates, {key.removesuffix(".saved"): array for key, array in saved.items()}
    )


def _table(rank: int, made_for: Mapping[str, Any], n_arrays: int) -> dict[str, Array]:
    """The factors of the updates of all layers."""
    table: dict[str, Array] = {}
    for name, of in made_for.items():
        (m, n), last = of["shape"], of["factors"] - 1
        if last >= n_arrays:
            raise ValueError(f"it has {n_arrays} arrays, and {last + 1} factors for {name[:40]!r}")
        for k in range(last + 1):
            shape = m if k == 0 else rank, n if k == last else rank
            table[f"{name}.{k}"] = Array("f2 f4 f8", shape)
    return table


def check_model(file: AdapterFile, model: nn.Module, layers: Mapping[str, DenseLayer]) -> None:
    """Refuse a model of other names or shapes; warn of other weights.

    Raises
    ------
    ValueError
        What differs.
    """
    here: dict[str, tuple[int, ...]] = {name: layer.shape for name, layer in layers.items()}
    wanted: dict[str, tuple[int, ...]] = {**file.shapes, **{name: array.shape for name, array in file.saved.items()}}
    here |= {name: tuple(value.shape) for name, value in model.state_dict().items() if name in file.saved}
    differs = _differences(here, wanted, "the model")
    if differs:
        raise ValueError(f"{file.path} is an adapter of another model: {differs}; load it into the one it was made for")
    others = []
    for name, sample in file.samples.items():
        present = _sample(_own_weight(layers[name]))
        size = np.linalg.norm(sample)
        if np.linalg.norm(np.subtract(present, sample)) > OTHER_WEIGHTS * size:
            others.append(name)
    if others:
        warn(
            f"the weights of {len(others)} of the {len(file.shapes)} layers that the adapter in {file.path} was "
            f"trained beside are others here ({listed(others)}): load it beside the checkpoint that it was made for"
        )


def put_saved(file: AdapterFile, model: nn.Module) -> None:
    """Copy the modules to save into the model."""
    state = model.state_dict()
    with torch.no_grad():
        for name, array in file.saved.items():
            state[name].copy_(torch.from_numpy(array))


def same(present: Mapping[str, Tensor], given: Mapping[str, Tensor], what: str) -> None:
    """Refuse a mapping of tensors with other names or shapes."""
    here, wanted = ({name: tuple(value.shape) for name, value in of.items()} for of in (present, given))
    differs = _differences(here, wanted, "the adapter")
    missing = [name for name in here if name not in wanted]
    if missing:
        differs = f"{differs}, and {listed(missing)} missing in it" if differs else f"{listed(missing)} missing in it"
    if differs:
        raise ValueError(f"{what} is of another adapter: {differs}; give one of an adapter attached alike")


def _differences(here: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]], whose: str) -> str:
    absent = [name for name in wanted if name not in here]
    other = [
        f"{n}: {_times(wanted[n])} there, {_times(here[n])} here" for n in wanted if n in here and here[n] != wanted[n]
    ]
    told = []
    if absent:
        told.append(f"{len(absent)} of its {len(wanted)} names {whose} has not ({listed(absent)})")
    if other:
        told.append(f"{len(other)} of another shape ({listed(other)})")
    return " and ".join(told)


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a number"


def _own_weight(layer: DenseLayer) -> Tensor:
    if isinstance(layer.module, AdaptedLayer):
        return layer.module.own_weight
    weight: Tensor = layer.layer.weight
    return weight.T if layer.transposed else weight


def _sample(weight: Tensor) -> list[float]:
    """Entries of a weight, spread over it."""
    m, n = weight.shape
    places = torch.linspace(0, m * n - 1, SAMPLED, dtype=torch.float64).long()
    rows, columns = (at.to(weight.device) for at in (places // n, places % n))
    return weight.detach()[rows, columns].double().cpu().tolist()


def _tell_infinite(arrays: Mapping[str, NDArray[Any]], what: str) -> None:
    floats = [a for a in arrays.values() if a.dtype.kind == "f"]
    broken = sum(int(np.size(a) - (np.abs(a) < DIVERGED).sum()) for a in floats)
    if broken:
        whole = sum(np.size(a) for a in floats)
        warn(
            f"{broken:,} of the {whole:,} numbers of {what} are not finite, or above {DIVERGED:g}: training has "
            "diverged; train it again"
        )


def _as_array(value: Tensor) -> NDArray[Any]:
    value = value.detach().cpu()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
