"""In which form answers are given: as the table asked with, as a frame, as arrays, or as what JSON can hold."""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc.recommend.tables.table import Table
from dmc.recommend.tables.vocabulary import is_missing

Output = Literal["frame", "dict", "records"]
Unknown = Literal["mean", "error", "nan"]  # what becomes of users and items that are not known
Columns = Mapping[str, NDArray[Any]]
RESERVED = ("prediction", "known", "lower", "upper", "similar", "similarity", "contribution")  # of answers


def refuse_reserved(columns: Sequence[str]) -> None:
    """Raise a ValueError if a column of users, items or ratings is called as one of an answer would be.

    Parameters
    ----------
    columns : sequence of str
        Of users, items and ratings, before others.
    """
    for told, name in zip(("user", "item", "rating"), columns, strict=False):
        if name in RESERVED:
            raise ValueError(
                f"the column of {told}s is called {name!r}, like a column of the answers; rename it in the table, and "
                f"pass {told}='{told}'"
            )


def given_back(source: Table, columns: Columns, output: Output | None) -> Any:
    """New columns in the form that is asked for; left open: in the kind of the table that was asked with."""
    if output is None:
        return source.like(columns)
    _checks.choice(output, "output", ("frame", "dict", "records"))
    if output == "frame":
        return source.frame(columns)
    return dict(columns) if output == "dict" else _records(columns)


def added_to(source: Table, columns: Columns, output: Output | None) -> Any:
    """The same with the columns of the table before them."""
    if output is None:
        given: Any = source
        for name, values in columns.items():
            given = Table.open(given).with_column(name, values)
        return given
    theirs = {name: source.column(name) for name in source.names}
    return given_back(source, {**theirs, **columns}, output)


def _records(columns: Columns) -> list[dict[str, Any]]:
    """Row by row, of nothing but str, int, float, bool, list and None."""
    plain = [_plain_column(values) for values in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*plain, strict=True)]


def _plain_column(values: NDArray[Any]) -> list[Any]:
    if values.dtype.kind in "biuU":
        return values.tolist()
    if values.dtype.kind == "f" and np.isfinite(values).all():
        return values.tolist()
    return [_plain(value) for value in values]  # NumPy's own scalars: a list would make integers of nanoseconds


def _plain(value: Any) -> Any:
    """What is missing or not finite becomes None, which JSON has for it; dates and all else become text."""
    if isinstance(value, np.generic) and value.dtype.kind not in "mM":
        value = value.item()
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(inner) for inner in value]
    if is_missing(value) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, decimal.Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, datetime.date) else str(value)
