"""The columns of a file of ratings: fields between delimiters, or a JSON object a line; packed by gzip or not."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from dmc import _checks

HEADLESS = ("user", "item", "rating", "timestamp")  # what the columns of a file without a header are taken for
DELIMITERS = ("::", "\t", ",", ";", "|")
JSON_LINES = (".jsonl", ".ndjson", ".json")
ROWS = 1000  # read at a time: as lists of text, few enough to stay in the caches
WIDE = 100  # letters: a column with longer texts (titles, reviews) does not give every row the room of the longest

Columns = tuple[list[str], list[NDArray[Any]]]
Row = tuple[int, list[str]]  # the number of its line, and its fields


def read(path: Path, columns: Sequence[str]) -> Columns:
    """Names and values of a file's columns, in the order of its lines.

    Parameters
    ----------
    path : path
        JSON lines if it ends in .jsonl, .ndjson or .json, else fields between delimiters; unpacked if it ends in .gz.
    columns : sequence of str
        The names that will be asked for: users, items and then ratings may not be empty.

    Returns
    -------
    names : list of str
    values : list of (rows,) arrays
        Text; from JSON whatever stands there.

    Raises
    ------
    ValueError, OSError
        If the file is not there, is empty, is cut off or cannot be understood.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give a file of ratings")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes[-1:] == [".gz"]
    text: dict[str, Any] = {"newline": "", "encoding": "utf-8-sig", "errors": "surrogateescape"}
    read_lines = _read_objects if suffixes and suffixes[-2 if packed else -1 :][0] in JSON_LINES else _read_fields
    try:
        with gzip.open(path, "rt", **text) if packed else open(path, **text) as file:
            return read_lines(file, path, columns)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}; check the path") from None
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise ValueError(f"{path} is not a whole gzip file; pack it again, or name it without .gz") from None


def _read_fields(file: TextIO, path: Path, columns: Sequence[str]) -> Columns:
    """The columns of delimited text, as text."""
    delimiter, first, lines = _sniff(file)
    rows = _rows(lines, delimiter)
    try:
        some = list(islice(rows, ROWS))
        if not some or "\0" in first:
            reason = "is empty" if not some else "is not text"
            raise ValueError(f"{path} {reason}; give one rating a line: user, item, rating")
        names = _name([fields for _, fields in some], columns)
        if names is None:
            names = [name.strip() for name in some.pop(0)[1]]
        some = some or list(islice(rows, ROWS))
        if not some:
            raise ValueError(f"{path} has a header and no rating; give one rating a line")
        for name in columns:
            if names.count(name) > 1:
                raise ValueError(f"{path} has {names.count(name)} columns named {name!r}; rename all but one")
        needed = [names.index(name) for name in columns[:3] if name in names]
        parts: list[list[NDArray[Any]]] = []
        while some:
            fields = list(zip(*(row for _, row in some), strict=False))  # column by column
            if {len(row) for _, row in some} != {len(names)} or any("" in fields[i] for i in needed):
                raise ValueError(_what_is_ragged(some, len(names), needed, path, delimiter))
            parts.append([_as_text(values) for values in fields])
            some = list(islice(rows, ROWS))
    except csv.Error as error:
        raise ValueError(f"{path} cannot be read as a table ({error}); give tab- or comma-separated text") from None
    return names, [_join(column) for column in zip(*parts, strict=True)]


def _sniff(file: TextIO) -> tuple[str, str, Iterator[str]]:
    """The delimiter, the first line that is not blank, and all lines: a pipe cannot be read twice."""
    head, first = [], ""
    while not first and (line := file.readline()):
        head.append(line)
        first = line if line.strip() else ""
    return next((d for d in DELIMITERS if d in first), " "), first, chain(head, file)


def _rows(lines: Iterator[str], delimiter: str) -> Iterator[Row]:
    """The rows that are not blank, with their line numbers."""
    letter = "\t" if delimiter == "::" else delimiter  # the reader takes a single one
    reader = csv.reader(
        (line.replace("::", "\t") for line in lines) if delimiter == "::" else lines,
        delimiter=letter,
        skipinitialspace=letter != "\t",
        strict=True,
    )
    return ((reader.line_num, row) for row in reader if row)


def _name(rows: list[list[str]], columns: Sequence[str]) -> list[str] | None:
    """What the columns are taken for if the first row is no header, and None if it is one."""
    if _header(rows, columns):
        return None
    guessed = [*columns, *HEADLESS[len(columns) :]]
    return [guessed[i] if i < len(guessed) else f"column {i + 1}" for i in range(len(rows[0]))]


def _what_is_ragged(rows: list[Row], width: int, needed: list[int], path: Path, delimiter: str) -> str:
    """Tells of the first row that has another number of fields, or an empty one where a value is needed."""
    number, row = next((n, row) for n, row in rows if len(row) != width or any(row[i] == "" for i in needed))
    shown = {"\t": "tab", " ": "space"}.get(delimiter, delimiter)
    return (
        f"line {number} of {path} has {_checks.count(sum(map(bool, row)), 'field')} in place of {width} (separated by "
        f"{shown}); the file is cut off or mixes formats: mend or remove that line"
    )


def _header(rows: list[list[str]], columns: Sequence[str]) -> bool:
    """Whether the first of the rows names the columns.

    It does if it has a name that was asked for, or one like it (userId for user), or no number for the rating; where
    there are no ratings, if it holds no number above a column of numbers.
    """
    fields = [field.strip() for field in rows[0]]
    alike = {plain + end for plain in map(_plain, columns) for end in ("", "id")}
    if any(field in columns or _plain(field) in alike for field in fields):
        return True
    if len(fields) > 2:
        return not _is_number(fields[2])
    below = [row for row in rows[1:] if len(row) == len(fields)]
    return (
        bool(below)
        and not any(map(_is_number, fields))
        and any(all(_is_number(row[i]) for row in below) for i in range(len(fields)))
    )


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _read_objects(file: TextIO, path: Path, columns: Sequence[str]) -> Columns:
    """The columns of JSON lines: the names of any object; None where an object has no such name."""
    found: dict[str, list[Any]] = {}
    numbered = ((number, line) for number, line in enumerate(file, 1) if line.strip())
    n_before = 0
    while lines := list(islice(numbered, ROWS)):
        objects = _parse(lines, path)
        for name in dict.fromkeys(chain.from_iterable(objects)):
            found.setdefault(name, [None] * n_before)
        n_before += len(objects)
        for name, values in found.items():
            values += [one.get(name) for one in objects]
    if not found:
        raise ValueError(f'{path} is empty; give one object a line: {{"user": 7, "item": "x", "rating": 4}}')
    return list(found), [_as_values(values) for values in found.values()]


def _parse(lines: list[tuple[int, str]], path: Path) -> list[dict[str, Any]]:
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
                f"line {number} of {path} is not a JSON object ({reason}); give one object a line, or mend that line"
            )
    raise ValueError(f"{path} has several JSON objects on a line; give one object a line")


def _as_values(values: list[Any]) -> NDArray[Any]:
    """Text and numbers as such; all else as objects, whole numbers too that a common dtype might round."""
    kinds = set(map(type, values))
    if kinds == {str}:
        return _as_text(values)
    if kinds <= {int, float} and not any(type(v) is int and abs(v) > 2**53 for v in values):
        return np.asarray(values)
    objects = np.empty(len(values), object)
    objects[:] = values
    return objects


def _as_text(values: Sequence[str]) -> NDArray[Any]:
    return np.asarray(values, dtype=object if max(map(len, values)) > WIDE else str)


def _join(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    if any(part.dtype == object for part in parts):
        parts = [part.astype(object) for part in parts]
    return np.concatenate(parts)
