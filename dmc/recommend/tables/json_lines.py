"""The columns of JSON, an object a line: the names of any object; None where an object has no such name."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc.recommend.tables.packed_column import PackedColumn
from dmc.recommend.tables.places import Places
from dmc.recommend.tables.text_source import count_lines, decoded, lines, reason_of

ROWS = 1000  # read at a time
BLANK = " \t\r\n"  # around a value, as JSON has it
SHOWN = 80  # letters of a reason in a message
NO_LETTER = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")  # surrogates beside these stand for bytes
ESCAPED = re.compile(r"\\u(0000|[dD][89a-fA-F])")  # what may be no letter
MARK = "\N{REPLACEMENT CHARACTER}"

Line = tuple[int, str]  # its number, and what stands there
Some = tuple[NDArray[np.int64] | None, list[Any]]  # values of a name, and the objects that have it; None: each of some


class Values:
    """A column that is not text alone: values of some rows, and None in all others.

    Attributes
    ----------
    pieces : list of (int, None or (values,) int64, values)
        The first row of a piece; which rows from there on it has, if not each; and what stands there.
    size : int
        Rows of the column.
    """

    def __init__(self) -> None:
        self.pieces: list[tuple[int, NDArray[np.int64] | None, NDArray[Any] | PackedColumn]] = []
        self.size = 0

    def __len__(self) -> int:
        return self.size

    def array(self) -> NDArray[Any]:
        """(rows,) numbers or truth values if all are such, else objects."""
        pieces = [
            (first, rows, values.text() if isinstance(values, PackedColumn) else values)
            for first, rows, values in self.pieces
        ]
        if sum(len(values) for _, _, values in pieces) == self.size:  # without gaps
            kinds = {values.dtype.kind for _, _, values in pieces}
            if kinds == {"b"} or kinds <= {"i", "f"}:
                return np.concatenate([values for _, _, values in pieces])
        found = np.full(self.size, None, object)
        for first, rows, values in pieces:
            found[slice(first, first + len(values)) if rows is None else first + rows] = values.astype(object)
        return found


class Objects:
    """The columns of JSON lines, packed while they are text, and else as arrays of some rows each.

    Parameters
    ----------
    only : collection of str, optional
        Columns to keep; all, if left out.
    exact : collection of str
        Columns where text is refused that no file of UTF-8 holds: NUL, or an escape such as "\\ud83d" alone. In others
        a mark stands in its place.

    Attributes
    ----------
    places : Places
        Where the objects stand.
    """

    def __init__(self, only: Collection[str] | None, exact: Collection[str] = ()) -> None:
        self._only, self._exact, self._size = only, exact, 0
        self.places: Places = Places()
        self._columns: dict[str, PackedColumn | Values] = {}

    @property
    def names(self) -> list[str]:
        """Of all columns, in the order met."""
        return list(self._columns)

    def read(self, given: Iterator[bytes], origin: str) -> None:
        """All rows of a file, of blocks of whole lines."""
        n_lines = 0
        for block in given:
            text = decoded(block)
            plain = _plain(text, self._exact)
            if plain is None:
                self._read_lines(text, origin, n_lines)
            else:
                for first in range(0, len(plain), ROWS):
                    self._add(plain[first : first + ROWS])
                self.places.add(origin, n_lines + 1, len(plain))
            n_lines += count_lines(block)
        if not self._columns:
            raise ValueError(f'{origin} is empty; give one object a line: {{"user": 7, "item": "x", "rating": 4}}')

    def _read_lines(self, text: str, origin: str, n_before: int) -> None:
        """Lines of which one is special, or wrong."""
        numbered = ((n, line.strip(BLANK)) for n, line in enumerate(lines(iter([text])), n_before + 1))
        filled = ((n, line) for n, line in numbered if line and not line.isspace())
        while some := list(islice(filled, ROWS)):
            self._add([_parsed(line, origin, self._exact) for line in some])
            self.places.add_each(origin, [number for number, _ in some])

    def _add(self, objects: list[dict[str, Any]]) -> None:
        for name, (rows, values) in _by_name(objects).items():
            column = self._columns.setdefault(name, PackedColumn())
            if self._only is not None and name not in self._only:
                continue
            if isinstance(column, PackedColumn):
                if len(column) == self._size and rows is None and set(map(type, values)) == {str}:
                    column.add(values)
                    continue
                self._columns[name] = column = _mixed(column)
            column.pieces.append((self._size, rows, _as_values(values)))
        self._size += len(objects)

    @property
    def packed(self) -> dict[str, PackedColumn | Values]:
        """The columns that are kept, by name."""
        found: dict[str, PackedColumn | Values] = {}
        for name, column in self._columns.items():
            if self._only is not None and name not in self._only:
                continue
            if not isinstance(column, PackedColumn) or len(column) < self._size:
                column = _mixed(column)
                column.size = self._size
            found[name] = column
        return found


def _mixed(column: PackedColumn | Values) -> Values:
    """A column that goes on with what is no text, or with gaps."""
    if isinstance(column, Values):
        return column
    found = Values()
    if len(column):
        found.pieces.append((0, None, column))
    return found


def _by_name(objects: Sequence[dict[str, Any]]) -> dict[str, Some]:
    """The values of some objects by their names, in the order met; in the time of as many values as there are."""
    names = dict.fromkeys(chain.from_iterable(objects))
    if all(len(one) == len(names) for one in objects):
        return {name: (None, [one[name] for one in objects]) for name in names}
    rows: dict[str, list[int]] = {name: [] for name in names}
    values: dict[str, list[Any]] = {name: [] for name in names}
    for row, one in enumerate(objects):
        for name, value in one.items():
            rows[name].append(row)
            values[name].append(value)
    return {name: (None if len(rows[name]) == len(objects) else np.asarray(rows[name]), values[name]) for name in names}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, of which no name may stand twice: which of them counts is not said anywhere."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it has {names.count(twice)} values of {twice[:SHOWN]!r}")
    return found


_STRICT = json.JSONDecoder(object_pairs_hook=_once)  # takes twice the time
_scan: Any = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


def _flat(text: str) -> list[dict[str, Any]] | None:
    """The objects, when each line is one that neither nests nor has "{" in its texts; else None.

    Read all at once: a brace begins each line and stands nowhere else, so that no object reaches into the next line.
    """
    text = text.removesuffix("\n")
    count = text.count("{")
    if not text.startswith("{") or text.count("\n{") + 1 != count or text.count("\n") + 1 != count:
        return None
    found: list[dict[str, Any]] = json.loads("[" + text.replace("\n", ",\n") + "]")
    return found if len(found) == count and not _may_repeat(text, sum(map(len, found))) else None


def _may_repeat(text: str, names: int) -> bool:
    """Whether names of so many may stand twice in objects: the colons behind them may be more, those in texts not told
    apart. Such a colon follows a quote or a blank."""
    return text.count(":") > names and sum(text.count(before + ":") for before in '" \t\r\n') > names


def _each(text: str) -> list[dict[str, Any]] | None:
    """The objects of lines one by one; None if one is special."""
    found: list[dict[str, Any]] = []
    place, scan = 0, _scan
    while place < len(text):
        value, end = scan(text, place)
        if type(value) is not dict or end != (text.find("\n", place) + 1 or len(text) + 1) - 1:
            return None
        if scan is _scan and _may_repeat(text[place:end], len(value)):
            scan = _STRICT.raw_decode  # of this one and, as they are alike, of those below
            continue
        found.append(value)
        place = end + 1
    return found


def _plain(text: str, exact: Collection[str]) -> list[dict[str, Any]] | None:
    """The objects of lines that hold one each, from their first letter to their last; None if one is special."""
    text = text.replace("\r\n", "\n")
    try:
        found = _flat(text)
        if found is None:
            found = _each(text)
        if found is not None and ESCAPED.search(text):
            found = [_marked(value, exact) for value in found]
    except (ValueError, RecursionError, StopIteration):
        return None
    return found if "\r" not in text else None


def _parsed(line: Line, origin: str, exact: Collection[str]) -> dict[str, Any]:
    """The object of a line; NaN is read as Python writes it, and as missing as null."""
    number, text = line
    try:
        value, end = _STRICT.raw_decode(text)
        if end < len(text):
            reason = f"Extra data at letter {len(text) - len(text[end:].lstrip(BLANK)) + 1}"
        elif not isinstance(value, dict):
            reason = f"a {type(value).__name__}"
        else:
            return _marked(value, exact) if ESCAPED.search(text) else value
    except json.JSONDecodeError as error:
        reason = f"{error.msg} at letter {error.pos + 1}"
    except ValueError as error:
        reason = reason_of(error)
    except RecursionError:
        reason = "it nests too deep"
    raise ValueError(
        f"line {number} of {origin} is not a JSON object ({reason}); give one object a line, or fix that line"
    )


def _marked(value: dict[str, Any], exact: Collection[str]) -> dict[str, Any]:
    """An object with a mark in the place of escapes that are no letters; refused where that would be another id."""
    if any(map(NO_LETTER.search, value)):
        raise ValueError("a name has NUL or an unpaired surrogate")
    for name in exact:
        if isinstance(value.get(name), str) and NO_LETTER.search(value[name]):
            raise ValueError(f"its {name[:SHOWN]} has NUL or an unpaired surrogate")
    return {name: NO_LETTER.sub(MARK, one) if isinstance(one, str) else one for name, one in value.items()}


def _as_values(values: list[Any]) -> NDArray[Any]:
    """Numbers and truth values as such; all else as objects, whole numbers too that a common dtype might round."""
    kinds = set(map(type, values))
    if kinds == {bool} or (kinds <= {int, float} and not any(type(v) is int and abs(v) > 2**53 for v in values)):
        return np.asarray(values)
    return np.fromiter(values, object, len(values))
