"""The columns of JSON, an object a line: the names of any object; None where an object has no such name."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterator, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc.recommend.tables.packed_column import PackedColumn

ROWS = 1000  # read at a time

Line = tuple[int, str]  # its number, and what stands there


class Objects:
    """The columns of JSON lines, packed while they are text, and else as arrays of some rows each.

    Parameters
    ----------
    only : collection of str, optional
        Columns to keep; all, if left out.

    Attributes
    ----------
    names : list of str
        Of all columns, in the order met.
    """

    def __init__(self, only: Collection[str] | None) -> None:
        self._only, self._size = only, 0
        self.names: list[str] = []
        self._columns: dict[str, PackedColumn | list[NDArray[Any]]] = {}

    def read(self, text: Iterator[str], origin: str) -> None:
        """All rows of a file, of texts of whole lines."""
        lines = chain.from_iterable(io.StringIO(part, newline="") for part in text)
        numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
        while some := list(islice(numbered, ROWS)):
            self._add(_parse(some, origin))
        if not self.names:
            raise ValueError(f'{origin} is empty; give one object a line: {{"user": 7, "item": "x", "rating": 4}}')

    def _add(self, objects: list[dict[str, Any]]) -> None:
        for name in dict.fromkeys(chain.from_iterable(objects)):
            if name not in self._columns:
                self.names.append(name)
                self._columns[name] = [_as_values([None] * self._size)] if self._size else PackedColumn()
        for name, column in self._columns.items():
            if self._only is None or name in self._only:
                self._columns[name] = _joined(column, [one.get(name) for one in objects])
        self._size += len(objects)

    @property
    def packed(self) -> dict[str, PackedColumn | NDArray[Any]]:
        """The columns that are kept, by name."""
        return {
            name: column if isinstance(column, PackedColumn) else _concatenated(column)
            for name, column in self._columns.items()
            if self._only is None or name in self._only
        }


def _joined(column: PackedColumn | list[NDArray[Any]], values: list[Any]) -> PackedColumn | list[NDArray[Any]]:
    """A column with some more values, packed as long as all are texts."""
    if isinstance(column, PackedColumn):
        if set(map(type, values)) == {str}:
            column.add(values)
            return column
        column = [column.text()] if len(column) else []
    column.append(_as_values(values))
    return column


def _concatenated(pieces: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Pieces as one array: of numbers if all are, else of objects."""
    if {piece.dtype.kind for piece in pieces} <= {"i", "f"}:
        return np.concatenate(pieces)
    return np.concatenate([piece.astype(object) for piece in pieces])


def _parse(lines: list[Line], origin: str) -> list[dict[str, Any]]:
    """The objects of some lines; many at once, and one by one only to find which cannot be read."""
    try:
        objects = json.loads("[" + ",".join(line for _, line in lines) + "]")
        if len(objects) == len(lines) and set(map(type, objects)) == {dict}:
            return objects
    except (ValueError, RecursionError):
        pass
    for number, line in lines:
        try:
            one = json.loads(line)
            reason = "" if isinstance(one, dict) else f"a {type(one).__name__}"
        except (ValueError, RecursionError) as error:
            reason = str(error)
        if reason:
            raise ValueError(
                f"line {number} of {origin} is not a JSON object ({reason}); give one object a line, or mend that line"
            )
    raise ValueError(f"{origin} has several JSON objects on a line; give one object a line")


def _as_values(values: list[Any]) -> NDArray[Any]:
    """Numbers as such; all else as objects, whole numbers too that a common dtype might round."""
    if set(map(type, values)) <= {int, float} and not any(type(v) is int and abs(v) > 2**53 for v in values):
        return np.asarray(values)
    return np.fromiter(values, object, len(values))
