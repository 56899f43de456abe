"""What a recommender's file has to hold, for each kind of model; see `dmc._contents`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _contents
from dmc._contents import (
    LARGEST,
    NOTHING,
    Array,
    Arrays,
    Field,
    Property,
    Sizes,
    any_of,
    ascending,
    columns_of_rows,
    finite,
    flag,
    flags,
    least,
    list_of,
    measured,
    moderate,
    one_of,
    or_none,
    other_than_zero,
    pointers,
    positive,
    positive_definite,
    products_with,
    real,
    record,
    table_of,
    text,
    whole,
    within,
    word,
)
from dmc.solver.solution import Status

MOST_SEED = 10**1000
SETTINGS = record(
    {
        "rank": or_none(whole(1)),
        "feedback": one_of("explicit", "implicit"),
        "model": one_of("bayes", "network", None),
        "depth": or_none(whole()),
        "l2": or_none(real(0)),
        "validation_fraction": or_none(real(0, 0.5)),
        "ensemble": whole(1),
        "intervals": flag,
    },
    {  # which files of versions before have not
        "random_state": or_none(whole(0, MOST_SEED)),
        "n_threads": or_none(whole(1)),
        "device": or_none(word),
        "verbose": flag,
    },
)
COLUMN = record(
    {
        "name": text,
        "levels": or_none(list_of(text)),
        "separator": text,
        "means": list_of(real(-math.inf, math.inf)),
        "deviations": list_of(real(0, math.inf)),
    }
)
OF_PREFERENCES = {"unobserved": real(0, 1e9), "ridge": real(0, 1e9), "power": real(0, 10)}
OF_PREFERENCES |= {"searched": list_of(table_of(measured)), "n_searched": whole()}
OF_SIDES = {f"{side}.center": real() for side in ("rows", "columns")}
OF_SIDES |= {f"{side}.spread": real(0, above=True) for side in ("rows", "columns")}
SQUARED = 1e100  # of what is in the unit of ratings (float32), squared, or of its inverse
MOST_FACTOR = 1e19  # of factors whose products are ratings
OF_RATINGS = {"mean": real(), "noise": real(0), "rank": whole(), "precision": real(0, above=True)}
MODELS: Mapping[str, Field] = {
    "bayes": record({**OF_RATINGS, "unit": real(0, above=True), "n_fitted": whole(), **OF_SIDES}),
    "network": record(OF_RATINGS | {"precision": real(0, SQUARED, above=True)}),
    "implicit": record(OF_PREFERENCES),
}
RANKING = any_of(
    record({"rating_weight": real(0), "width": whole(), "preferences": record(OF_PREFERENCES)}),
    record({}, {"rating_weight": real(0)}),
)


def check(arrays: Arrays, header: Mapping[str, Any], *, trusted: bool, shared: Sizes = NOTHING) -> dict[str, int]:
    """Check that arrays and header are those of a recommender.

    Parameters
    ----------
    arrays, header
        As `dmc.model_file.load` gives them.
    trusted : bool
        Whether what mapped arrays hold is left unread.
    shared : mapping of str to int
        Sizes that it has in common with others.

    Returns
    -------
    dict of str to int
        The sizes.

    Raises
    ------
    ValueError
        What is wrong.
    """
    with_ratings = "seen.pointers" in arrays
    _check_header(header, with_ratings)
    kind = header["settings"]["model"] or "implicit"
    table = _served(kind, with_ratings, "intervals.scale" in arrays)
    of_ranking = header.get("ranking", {})
    if of_ranking:
        table |= RANKED
        if with_ratings and "width" not in of_ranking:
            raise ValueError("its list scores do not say how wide its preferences are")
    rows = "users" if with_ratings else 0
    for i in range(len(header["models"])):
        table |= {f"model.{i}.{name}": array for name, array in ARRAYS[kind](f"{i}.", rows).items()}
    sizes = _contents.check_arrays(arrays, table, shared, trusted=trusted)
    if not sizes["items"] or sizes["served"] < 2:
        raise ValueError("it has no items")
    if "width" in of_ranking and sizes["ranked"] != of_ranking["width"] + 1 + sizes["served"]:
        raise ValueError("its list scores have another width than their parts")
    _check_features(header, sizes, kind)
    return sizes


def _check_header(header: Mapping[str, Any], with_ratings: bool) -> None:
    record({"settings": SETTINGS})("header", {name: header[name] for name in header.keys() & {"settings"}})
    settings = header["settings"]
    if (settings["model"] is None) != (settings["feedback"] == "implicit"):
        raise ValueError("its settings.model is not one for its settings.feedback")
    fields = {
        "written_by": text,
        "settings": SETTINGS,
        "models": list_of(MODELS[settings["model"] or "implicit"]),
        "columns": list_of(text, 3),
        "weight": or_none(text),
        "mean": real(),
        "noise": real(0, nan=True),
        "range": list_of(real(-math.inf, math.inf), 2),
        "rank": whole(),
        "encodings": list_of(or_none(list_of(COLUMN)), 2),
        "status": one_of(*Status.__members__),
        "n_iter": whole(),
        "validation_rmse": real(0, math.inf, nan=True),
        "history": list_of(table_of(measured)),
    }
    optional: dict[str, Field] = {"ranked": flag, "ranking": RANKING}
    if not with_ratings:
        fields["n_observed"] = whole(1)
    record(fields, optional)("header", header)
    if not header["models"]:
        raise ValueError("it holds no model")
    if len(set(header["columns"])) < 3:
        raise ValueError("two of its columns have one name")
    lowest, highest = header["range"]
    if (
        not lowest <= highest
        or math.inf in (lowest, -highest)
        or (settings["feedback"] == "explicit" and not math.isfinite(highest - lowest))
    ):
        raise ValueError("its range does not go from the lowest rating to the highest")


def _check_features(header: Mapping[str, Any], sizes: Sizes, kind: str) -> None:
    """That each attribute of users and items has a column of features, and each feature of a prior what it is of."""
    for side, told in zip(("rows", "columns"), header["encodings"], strict=True):
        for column in told or ():
            n = 1 if column["levels"] is None else len(column["levels"])
            if not len(column["means"]) == len(column["deviations"]) == n:
                raise ValueError(f"its column of features {column['name'][:40]!r} has not one mean for each attribute")
        wanted = sum(deviation > 0 for column in told or () for deviation in column["deviations"])
        for i in range(len(header["models"])):
            found = sizes.get(f"{i}.{side}.attributes", 0 if told is None else wanted)
            if found != wanted:
                raise ValueError(f"model {i} has {found} attributes of {side}, and its features make {wanted}")
            if kind == "bayes" and sizes[f"{i}.{side}.features"] != 2 + found + sizes[f"{i}.{side}.loadings"]:
                raise ValueError(f"model {i} has weights of other features of {side} than it has")


def _served(kind: str, with_ratings: bool, with_intervals: bool) -> dict[str, Array]:
    """What is served of any model, and the ratings, or their numbers."""
    table = {
        "users": Array("text i8", ("users",), (ascending,)),
        "items": Array("text i8", ("items",), (ascending,)),
        "left": Array("f4", ("users+1", "served")),
        "right": Array("f4", ("items+1", "served"), (products_with("left"),)),
    }
    if with_intervals:
        table |= INTERVALS
    if with_ratings:
        of_value: tuple[Property, ...] = (finite, other_than_zero) if kind == "implicit" else (finite,)
        return table | {
            "seen.pointers": Array("i8", ("users+1",), (pointers("entries"),)),
            "seen.indices": Array("i4 i8", ("entries",), (columns_of_rows("seen.pointers", "items"),)),
            "ratings": Array("f4", ("entries",), of_value),
            "weights": Array("f4", ("entries",), (positive,), optional=True),
        }
    if with_intervals:
        table |= {f"counts.{side}": Array("i8", (side,), (least(0),)) for side in ("users", "items")}
    return table


def _groups_ascend(residuals: NDArray[Any], arrays: Arrays, sizes: Sizes) -> str | None:
    ends = arrays["intervals.pointers"]
    falls = np.flatnonzero(residuals[1:] < residuals[:-1]) + 1
    good = bool((np.diff(ends) >= 2).all()) and bool(np.isin(falls, ends).all())
    return None if good else "are not residuals in ascending order in each group"


def _not_descending(array: NDArray[Any], arrays: Arrays, sizes: Sizes) -> str | None:
    return None if len(array) and bool((array[1:] >= array[:-1]).all()) else "is not in ascending order"


INTERVALS = {
    "intervals.scale": Array("f8", (3,), (least(0),)),
    "intervals.centres": Array("f8", ("groups",), (finite, _not_descending)),
    "intervals.pointers": Array("i8", ("groups+1",), (pointers("residuals"),)),
    "intervals.residuals": Array("f8", ("residuals",), (finite, _groups_ascend)),
}
RANKED = {
    "ranking.left": Array("f4", ("users+1", "ranked")),
    "ranking.right": Array("f4", ("items+1", "ranked"), (products_with("ranking.left"),)),
    "ranking.rows.cold": Array("b1", ("users",), (flags,), optional=True),
    "ranking.columns.cold": Array("b1", ("items",), (flags,), optional=True),
}


UNITS = within(1e6)  # of what is in units of the ratings' standard deviation
PREFERENCE = within(1e4)  # of factors whose products are about 1: with larger ones rounding hides the ridge


def _of_bayes(own: str, rows: str | int) -> dict[str, Array]:
    table: dict[str, Array] = {}
    for side, count, others in (("rows", rows, "items"), ("columns", "items", rows)):
        features, unknowns = f"{own}{side}.features", f"{own}unknowns"
        table |= {
            f"{side}.means": Array("f4", (count, unknowns), (UNITS,)),
            f"{side}.covariance": Array("f8", (unknowns, unknowns), (positive_definite(LARGEST),)),
            f"{side}.weights": Array("f8", (features, unknowns), (UNITS,)),
            f"{side}.variances": Array("f8", (features,), (least(0),)),
            f"{side}.loadings": Array("f4", (others, f"{own}{side}.loadings"), (UNITS,)),
            f"{side}.attributes": Array("f4", (count, f"{own}{side}.attributes"), (moderate,)),
            f"{side}.reliability": Array("f8", (count,), (positive,), optional=True),
        }
    return table


def _of_network(own: str, rows: str | int) -> dict[str, Array]:
    table: dict[str, Array] = {}
    for side, count, factor, bias in (("rows", rows, "U", "row_bias"), ("columns", "items", "V", "column_bias")):
        table |= {
            factor: Array("f4", (count, f"{own}width"), (within(MOST_FACTOR),)),
            bias: Array("f4", (count,), (finite,)),
            f"{side}.mean": Array("f8", (f"{own}width+1",), (finite,)),
            f"{side}.covariance": Array("f8", (f"{own}width+1", f"{own}width+1"), (positive_definite(SQUARED),)),
        }
    return table


def _of_preferences(own: str, rows: str | int) -> dict[str, Array]:
    table = {
        "U": Array("f4", (rows, f"{own}width"), (PREFERENCE,)),
        "V": Array("f4", ("items", f"{own}width"), (PREFERENCE,)),
        "average": Array("f4", (f"{own}width",), (PREFERENCE,), optional=True),
    }
    for side, count in (("rows", rows), ("columns", "items")):
        attributes = f"{own}{side}.attributes"
        table[f"{side}.attributes"] = Array("f4", (count, attributes), (moderate,), optional=True)
        table[f"{side}.cold"] = Array("b1", (count,), (flags,), optional=True)
    return table


ARRAYS = {"bayes": _of_bayes, "network": _of_network, "implicit": _of_preferences}
