"""Side information: what a table knows of users or items besides their ratings, as numbers."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmc.recommend.table import Table
from dmc.recommend.vocabulary import is_missing

MAX_LEVELS = 100  # of a column of text, the commonest: each becomes an attribute


class SideInformation(NamedTuple):
    """Attributes of users and of items, each (known, attributes) float32; None where nothing was told."""

    users: NDArray[np.float32] | None = None
    items: NDArray[np.float32] | None = None


def attributes(source: Any, name: str) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """What a table knows of users or items, as numbers of average zero and standard deviation one.

    Parameters
    ----------
    source : data frame, mapping, or path of a file
        A row for each user or item: the column of ids, and columns of numbers or text.
    name : str
        The column of ids.

    Returns
    -------
    ids : (rows,) array
    attributes : (rows, attributes) float32
        A column of numbers or dates is one attribute, a missing one its average; one of text has one for each of its
        commonest values.

    Raises
    ------
    ValueError
        If an id occurs twice.
    """
    table = Table.open(source, (name,))
    ids = table.ids(name)
    if len(np.unique(ids)) < len(ids):
        known, counts = np.unique(ids, return_counts=True)
        raise ValueError(f"{name} {known[counts > 1][0].item()!r} has several rows of attributes; give one for each")
    columns = [column for other in table.names if other != name for column in _numeric(table.column(other))]
    matrix = np.zeros((len(ids), len(columns)), np.float32)
    for i, column in enumerate(columns):
        finite = np.isfinite(column)
        if finite.any() and column[finite].std() > 0:
            matrix[:, i] = np.where(finite, (column - column[finite].mean()) / column[finite].std(), 0)
    return ids, matrix[:, matrix.any(axis=0)]


def _numeric(values: NDArray[Any]) -> list[NDArray[Any]]:
    """A column as numbers; one of text as indicators of its commonest values."""
    try:
        return [_as_numbers(values)]
    except (TypeError, ValueError):
        text = np.asarray([str(value) for value in values])
        levels, counts = np.unique(text, return_counts=True)
        return [text == level for level in levels[np.argsort(-counts, kind="stable")][:MAX_LEVELS]]


def _as_numbers(values: NDArray[Any]) -> NDArray[np.float64]:
    """A column as numbers, NaN where one is missing: dates too, and what is text because it came from a file."""
    if values.dtype.kind in "mM":
        return np.where(np.isnat(values), np.nan, values.astype(np.int64).astype(np.float64))
    if values.dtype.kind in "UO":
        given = [math.nan if is_missing(value) or value == "" else value for value in values.tolist()]
        return np.asarray(given, object).astype(np.float64)
    return values.astype(np.float64)
