"""A fitted completion of a tensor in a file, and out of it."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from dmc import __version__, model_file
from dmc.completion.tensors.model import TensorModel, TubalModel, UnfoldedModel
from dmc.factors import Factors
from dmc.solver.solution import Status
from dmc.tubal.slices import SliceFactors
from dmc.tubal.transforms import FourierTube, OrthogonalTube, transform_of

KIND = "TensorCompletion"
SETTINGS = (
    *("rank", "tube", "min_value", "max_value", "missing_values", "depth", "validation_fraction"),
    *("n_threads", "verbose"),
)
NUMBERS = ("n_iter_", "history_", "held_out_rmse_", "candidate_errors_", "residual_rms_", "exact_")


def write(completion: Any, path: str | os.PathLike[str]) -> None:
    """A fitted `TensorCompletion` into a file."""
    model = completion._model
    arrays = {f"seen.{axis}": seen for axis, seen in enumerate(completion._seen)}
    arrays |= _tubal(model) if isinstance(model, TubalModel) else _unfolded(model)
    given = completion.transform
    if isinstance(given, FourierTube):
        given = given.name
    elif not isinstance(given, str):  # an unfolding has none of its own, but the settings do
        arrays["transform"] = given.matrix if isinstance(given, OrthogonalTube) else np.asarray(given, np.float64)
    seed = completion.random_state
    header = {
        "written_by": f"dmc {__version__}",
        "settings": {name: getattr(completion, name) for name in SETTINGS}
        | {"random_state": int(seed) if isinstance(seed, (int, np.integer)) else None},
        "transform": given if isinstance(given, str) else None,
        "numbers": {name: getattr(completion, name) for name in NUMBERS},
        "status": completion.status_.name,
        "shape": list(model.shape),
        "axis": model.tube if isinstance(model, TubalModel) else model.axis,
        "tubal": _name(model, given),
        "dtype": str(np.dtype(completion._dtype)),
    }
    model_file.save(path, KIND, arrays, header)


def _tubal(model: TubalModel) -> dict[str, Any]:
    arrays = {}
    for name, side in zip("UV", model.slices, strict=True):
        arrays[name] = np.ascontiguousarray(side.real)
        if np.iscomplexobj(side):
            arrays[f"{name}.imaginary"] = np.ascontiguousarray(side.imag)
    return arrays


def _name(model: TensorModel, given: Any) -> str | None:
    """Of the transform; "matrix" if it is in the file."""
    if isinstance(model, UnfoldedModel):
        return None
    return given if isinstance(given, str) else "matrix"


def _unfolded(model: UnfoldedModel) -> dict[str, Any]:
    factors = model.factors
    arrays = {"U": factors.U, "V": factors.V, "row_bias": factors.row_bias, "column_bias": factors.column_bias}
    return {name: array for name, array in arrays.items() if array is not None}


def read(kind: Any, path: str | os.PathLike[str]) -> Any:
    """A `TensorCompletion` out of a file."""
    arrays, header = model_file.load(path, KIND)
    given = header["transform"] if header["transform"] is not None else arrays.get("transform", "dft")
    completion = kind(**header["settings"], transform=given)
    completion._seen = [arrays[f"seen.{axis}"].astype(bool) for axis in range(3)]
    completion._dtype = np.dtype(header["dtype"])
    completion._describe(_model(arrays, header))
    for name, value in header["numbers"].items():
        setattr(completion, name, value)
    completion.status_ = Status[header["status"]]
    return completion


def _model(arrays: dict[str, Any], header: dict[str, Any]) -> TensorModel:
    first, second, third = header["shape"]
    shape, axis, name = (first, second, third), header["axis"], header["tubal"]
    if name is None:
        biases = arrays.get("row_bias"), arrays.get("column_bias")
        return UnfoldedModel(shape, axis, Factors(arrays["U"], (), arrays["V"], *biases))

    def side(of: str) -> Any:
        imaginary = arrays.get(f"{of}.imaginary")
        return arrays[of] if imaginary is None else arrays[of] + 1j * imaginary

    transform = transform_of(arrays["transform"] if name == "matrix" else name, shape[axis])
    return TubalModel(shape, axis, transform, SliceFactors(side("U"), side("V")))
