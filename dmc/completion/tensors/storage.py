"""A fitted completion of a tensor in a file, and out of it."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from dmc import __version__, _contents, model_file
from dmc._contents import (
    Array,
    finite,
    flag,
    flags,
    list_of,
    measured,
    one_of,
    or_none,
    products_with,
    real,
    record,
    table_of,
    text,
    whole,
    within,
)
from dmc.completion.tensors.model import TensorModel, TubalModel, UnfoldedModel
from dmc.factors import Factors
from dmc.solver.solution import Status
from dmc.tubal.slices import SliceFactors
from dmc.tubal.transforms import NAMES, FourierTube, OrthogonalTube, transform_of

KIND = "TensorCompletion"
SETTINGS = (
    *("rank", "tube", "min_value", "max_value", "missing_values", "depth", "validation_fraction"),
    *("n_threads", "verbose"),
)
NUMBERS = ("n_iter_", "history_", "held_out_rmse_", "candidate_errors_", "residual_rms_", "exact_")


LARGEST = float(np.finfo(np.float64).max)
HUGE = 1e154  # of factors, whose products are finite
NUMBER = or_none(real(-math.inf, math.inf, nan=True))
HEADER = record(
    {
        "written_by": text,
        "settings": record(
            dict.fromkeys(SETTINGS, measured)
            | dict.fromkeys(("min_value", "max_value"), NUMBER)
            | {"missing_values": NUMBER, "rank": or_none(whole(1)), "depth": whole()}
            | {"n_threads": or_none(whole(1)), "random_state": or_none(whole(0, 10**1000))}
        ),
        "transform": one_of(*NAMES, None),
        "numbers": record(
            {
                "n_iter_": whole(),
                "history_": list_of(measured),
                "held_out_rmse_": or_none(real(0, LARGEST, nan=True)),
                "candidate_errors_": table_of(real(0, math.inf, nan=True)),
                "residual_rms_": real(0, LARGEST, nan=True),
                "exact_": flag,
            }
        ),
        "status": one_of(*Status.__members__),
        "shape": list_of(whole(1), 3),
        "axis": whole(0, 2),
        "tubal": one_of(None, "matrix", *NAMES),
        "dtype": one_of("float32", "float64"),
    }
)


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
    with model_file.believed(path):
        HEADER("header", header)
        _contents.check_arrays(arrays, _table(header))
        model = _model(arrays, header)
    completion = kind(**header["settings"], transform=header["transform"] or arrays["transform"])
    completion._seen = [arrays[f"seen.{axis}"] for axis in range(3)]
    completion._dtype = np.dtype(header["dtype"])
    completion._describe(model)
    for name, value in header["numbers"].items():
        setattr(completion, name, value)
    completion.status_ = Status[header["status"]]
    return completion


def _table(header: dict[str, Any]) -> dict[str, Array]:
    """The arrays of a model of this header."""
    floats, shape, axis, tubal = "f4 f8", header["shape"], header["axis"], header["tubal"]
    table = {f"seen.{i}": Array("b1", (shape[i],), (flags,)) for i in range(3)}
    if header["transform"] is None:
        table["transform"] = Array("f8", ("tube", "tube"), (finite,))
    elif tubal == "matrix":
        raise ValueError("it has no matrix for its transform")
    first, second = (shape[i] for i in range(3) if i != axis)
    if tubal is None:
        return table | {
            "U": Array(floats, (first * second, "width"), (within(HUGE),)),
            "V": Array(floats, (shape[axis], "width"), (within(HUGE), products_with("U"))),
            "row_bias": Array(floats, (first * second,), (finite,), optional=True),
            "column_bias": Array(floats, (shape[axis],), (finite,), optional=True),
        }
    slices = shape[axis] // 2 + 1 if tubal == "dft" else shape[axis]
    for part in ("", ".imaginary") if tubal == "dft" else ("",):
        table[f"U{part}"] = Array(floats, (slices, first, "width"), (within(HUGE),))
        table[f"V{part}"] = Array(floats, (slices, second, "width"), (within(HUGE), products_with(f"U{part}")))
    return table


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
