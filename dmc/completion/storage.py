"""A fitted completion in a file, and out of it."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from dmc import __version__, _contents, model_file
from dmc._contents import (
    Array,
    Sizes,
    any_of,
    below,
    columns_of_rows,
    covariance,
    finite,
    flag,
    flags,
    least,
    list_of,
    measured,
    one_of,
    or_none,
    pointers,
    positive,
    products_with,
    real,
    record,
    table_of,
    text,
    whole,
    within,
)
from dmc.completion.model import Model, in_units
from dmc.completion.scaling import Scaling
from dmc.completion.tables import Bounds, Labels
from dmc.factors import Factors
from dmc.identifiability import Identifiability
from dmc.observations import Observations
from dmc.pattern import Pattern, SparseIndex, read_only
from dmc.solver.solution import Status

KIND = "MatrixCompletion"
SETTINGS = (
    *("rank", "scale", "loss", "min_value", "max_value", "missing_values", "depth", "validation_fraction"),
    *("n_threads", "device", "verbose"),
)
NUMBERS = ("rank_", "scale_", "n_iter_", "history_", "held_out_rmse_", "residual_rms_", "n_features_in_")


LARGEST = float(np.finfo(np.float64).max)
HUGE = 1e100  # of factors, whose unit is taken out of them: squares of squares are finite
LABEL = any_of(text, flag, whole(-(1 << 64), 1 << 64), real(-LARGEST, LARGEST))
NUMBER = or_none(real(-math.inf, math.inf, nan=True))
HEADER = record(
    {
        "written_by": text,
        "settings": record(
            dict.fromkeys(SETTINGS, measured)
            | dict.fromkeys(("min_value", "max_value"), any_of(list_of(NUMBER), NUMBER))
            | {"missing_values": NUMBER, "rank": or_none(whole(1)), "depth": whole()}
            | {"n_threads": or_none(whole(1)), "random_state": or_none(whole(0, 10**1000))}
        ),
        "numbers": record(
            {
                "rank_": whole(),
                "scale_": one_of("none", "columns", "rows"),
                "n_iter_": whole(),
                "history_": list_of(table_of(measured)),
                "held_out_rmse_": or_none(real(0, LARGEST, nan=True)),
                "residual_rms_": real(0, LARGEST, nan=True),
                "n_features_in_": whole(1),
            }
        ),
        "status": one_of(*Status.__members__),
        "calibration": real(0, LARGEST),
        "unit": real(0, LARGEST, above=True),
        "rank": whole(),
        "names": list_of(text),
        "library": one_of(None, "pandas", "polars"),
        "columns": or_none(list_of(LABEL)),
        "index": or_none(list_of(LABEL)),
    }
)


def write(completion: Any, path: str | os.PathLike[str]) -> None:
    """A fitted `MatrixCompletion` into a file."""
    model_file.save(path, KIND, _arrays_of(completion), _header(completion))


def _arrays_of(completion: Any) -> dict[str, Any]:
    model, seen, factors = completion._model, completion._observations, completion._model.factors
    arrays = {
        "U": factors.U,
        "V": factors.V,
        "location": model.scaling.location,
        "spread": model.scaling.spread,
        "constant": model.scaling.constant,
        "noise": model.noise,
        "spreads": completion._spreads,
        "mean": model.mean,
        "covariance": model.covariance,
        "pointers": model.pattern.by_row.indptr,
        "indices": model.pattern.by_row.indices,
        "seen.pointers": seen.pattern.by_row.indptr,
        "seen.indices": seen.pattern.by_row.indices,
        "seen.values": seen.values,
        "low": completion._bounds.low,
        "high": completion._bounds.high,
        "column_errors": completion.column_errors_,
        "outliers": completion.outliers_,
        "row_blocks": completion.identifiability_.row_blocks,
        "column_blocks": completion.identifiability_.column_blocks,
    }
    optional = {"row_bias": factors.row_bias, "column_bias": factors.column_bias, "weights": model.weights}
    return arrays | {name: array for name, array in optional.items() if array is not None}


def _header(completion: Any) -> dict[str, Any]:
    seed, labels = completion.random_state, completion._labels
    return {
        "written_by": f"dmc {__version__}",
        "settings": {name: _plain(getattr(completion, name)) for name in SETTINGS}
        | {"random_state": int(seed) if isinstance(seed, (int, np.integer)) else None},
        "numbers": {name: getattr(completion, name) for name in NUMBERS},
        "status": completion.status_.name,
        "calibration": completion._model.calibration,
        "unit": completion._unit,
        "rank": completion.identifiability_.rank,
        "names": [str(name) for name in getattr(completion, "feature_names_in_", [])],
        "library": labels.library,
        "columns": _labels(labels.columns),
        "index": _labels(labels.index),
    }


def read(kind: Any, path: str | os.PathLike[str]) -> Any:
    """A `MatrixCompletion` out of a file."""
    arrays, header = model_file.load(path, KIND)
    with model_file.believed(path):
        HEADER("header", header)
        _check_labels(header, _contents.check_arrays(arrays, _table(header["numbers"]["scale_"])))
        _check_unit(header["unit"], arrays)
    completion = kind(**header["settings"])
    shape = len(arrays["U"]), len(arrays["V"])
    factors = Factors(arrays["U"], (), arrays["V"], arrays.get("row_bias"), arrays.get("column_bias"))
    side = header["numbers"]["scale_"]
    scaling = Scaling(side, arrays["location"], arrays["spread"], arrays["constant"].astype(bool))
    pattern = Pattern.of(shape, SparseIndex(arrays["pointers"], arrays["indices"]))
    prior = arrays["noise"], arrays["mean"], arrays["covariance"]
    completion._model = Model(factors, scaling, *prior, pattern, arrays.get("weights"), header["calibration"])
    completion._unit, completion._spreads = header["unit"], arrays["spreads"]
    completion.factors_ = in_units(factors, completion._unit).map(read_only)
    lines = SparseIndex(arrays["seen.pointers"], arrays["seen.indices"])
    completion._observations = Observations.from_lines(lines, arrays["seen.values"], shape)
    completion._bounds = Bounds(arrays["low"], arrays["high"])
    completion._labels = Labels(header["library"], header["columns"], header["index"])
    for name, value in header["numbers"].items():
        setattr(completion, name, value)
    completion.column_errors_, completion.outliers_ = arrays["column_errors"], arrays["outliers"]
    completion.status_ = Status[header["status"]]
    completion.identifiability_ = Identifiability(header["rank"], arrays["row_blocks"], arrays["column_blocks"])
    if header["names"]:
        completion.feature_names_in_ = np.asarray(header["names"], dtype=object)
    return completion


def _table(side: str) -> dict[str, Array]:
    """The arrays of a completion whose rows, columns or neither are scaled."""
    floats, lines = "f4 f8", "rows" if side == "rows" else "columns"
    coordinates = "width+1" if side == "rows" else "width"
    table = {
        "U": Array(floats, ("rows", "width"), (within(HUGE),)),
        "V": Array(floats, ("columns", "width"), (within(HUGE), products_with("U"))),
        "row_bias": Array(floats, ("rows",), (finite,), optional=side != "rows"),
        "column_bias": Array(floats, ("columns",), (finite,), optional=side != "columns"),
        "mean": Array("f8", (coordinates,), (within(HUGE),)),
        "covariance": Array("f8", (coordinates, coordinates), (covariance,)),
        "location": Array("f8", (lines,), (within(HUGE),)),
        "spread": Array("f8", (lines,), (positive,)),
        "constant": Array("b1", (lines,), (flags,)),
        "noise": Array("f8", (lines,), (least(0),)),
        "spreads": Array("f8", ("columns",), (least(0),)),
        "pointers": Array("i8", ("rows+1",), (pointers("fitted"),)),
        "indices": Array("i4 i8", ("fitted",), (columns_of_rows("pointers", "columns"),)),
        "weights": Array("f8", ("fitted",), (least(0),), optional=True),
        "seen.pointers": Array("i8", ("rows+1",), (pointers("seen"),)),
        "seen.indices": Array("i4 i8", ("seen",), (columns_of_rows("seen.pointers", "columns"),)),
        "seen.values": Array(floats, ("seen",), (finite,)),
        "low": Array("f8", ("columns",)),
        "high": Array("f8", ("columns",), (_bounds,)),
        "column_errors": Array("f8", ("columns",)),
        "outliers": Array("i8", ("outliers", 2), (_inside,)),
        "row_blocks": Array("i8", ("rows",), (_blocks,)),
        "column_blocks": Array("i8", ("columns",), (_blocks,)),
    }
    return table


def _bounds(array: Any, arrays: Any, sizes: Sizes) -> str | None:
    low = arrays["low"]
    good = bool(((array >= low) & (array > -math.inf) & (low < math.inf)).all())
    return None if good else "and 'low' are not bounds"


def _inside(array: Any, arrays: Any, sizes: Sizes) -> str | None:
    return below("rows")(array[:, 0], arrays, sizes) or below("columns")(array[:, 1], arrays, sizes)


def _blocks(array: Any, arrays: Any, sizes: Sizes) -> str | None:
    lines = {"lines": sizes["rows"] + sizes["columns"]}
    return below("lines", -1)(array, arrays, lines)


def _check_unit(unit: float, arrays: Any) -> None:
    """That what is predicted is finite in the data's units, too."""
    size = _contents.longest(arrays["U"]) * _contents.longest(arrays["V"])
    size += sum(float(abs(arrays[name]).max(initial=0)) for name in ("row_bias", "column_bias") if name in arrays)
    if not math.isfinite(size * unit):
        raise ValueError(f"its unit is {unit:g}, in which predictions are not finite")


def _check_labels(header: Any, sizes: Sizes) -> None:
    if header["numbers"]["n_features_in_"] != sizes["columns"]:
        raise ValueError(f"its n_features_in_ is {header['numbers']['n_features_in_']}, of {sizes['columns']} columns")
    for name, size in (("names", "columns"), ("columns", "columns"), ("index", "rows")):
        if header[name] and len(header[name]) != sizes[size]:
            raise ValueError(f"it has {len(header[name])} {name} for {sizes[size]} {size}")
    if header["library"] == "polars" and header["columns"] is None:
        raise ValueError("it has no names for the columns of its frame")


def _plain(value: Any) -> Any:
    """A setting as JSON holds it."""
    return np.asarray(value).tolist() if isinstance(value, (np.ndarray, np.generic, list, tuple)) else value


def _labels(values: Any) -> list[Any] | None:
    """Labels as JSON holds them; None if one of them is neither text nor a finite number."""
    if values is None:
        return None
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    kept = all(isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value)) for value in plain)
    return plain if kept else None
