"""Anyone's table and ids <-> our row and column numbers. The only room that knows of data frames."""

from __future__ import annotations

import datetime
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc.recommend import parquet, readers
from dmc.recommend.parquet import ParquetColumns
from dmc.recommend.readers import HEADLESS

TEXT = 1 << 30  # letters of the ids of a table, at most
TELLING = 0.01  # of the ratings' range: what rounding to float32 may take away
NOTHING = 1e-14  # of the largest rating: such a range is itself rounding
DIGITS = 18  # as many as always fit into int64
PART = 1 << 20  # entries looked at together: what is made of them on the way stays in the caches


class Table:
    """Columns by name, whatever they came in; gives back the same kind with a column added.

    Made by `Table.open`.
    """

    def __init__(self, names: Sequence[str], source: Any, origin: str) -> None:
        self.names, self._source, self._origin = list(names), source, origin

    @classmethod
    def open(cls, source: Any, columns: Sequence[str] = HEADLESS) -> Table:
        """Take a data frame (pandas, polars, pyarrow, …), a mapping from names to arrays, or a file.

        Parameters
        ----------
        source : data frame, mapping, str, path or Table
            A Table is given back as it is. A file is Parquet (.parquet; needs pyarrow), JSON lines (.jsonl, .ndjson or
            .json; one object a line) or text, one rating a line, fields separated by tabs, commas, semicolons, ``|`` or
            ``::``; the latter two may be packed (.gz). If one of `columns` stands in the first line of text, that is a
            header; else, if the line holds numbers where ratings stand, the columns are taken for `columns` in this
            order.
        columns : sequence of str
            The names that will be asked for, each another.

        Raises
        ------
        ValueError, TypeError, OSError
            If the file is not there, is empty, is cut off or cannot be understood, or `source` is none of these.
        ImportError
            If the file is Parquet and pyarrow is not installed.
        """
        if len(set(columns)) < len(columns):
            raise ValueError(f"the columns asked for are {', '.join(map(repr, columns))}; name another one for each")
        if isinstance(source, Table):
            return source
        if isinstance(source, (str, os.PathLike)):
            path, origin = Path(source), f"the file {source}"
            if path.suffix.lower() in parquet.SUFFIXES:
                files = ParquetColumns(path)
                if len(set(files.names)) < len(files.names):
                    raise ValueError(_repeated(files.names, origin))
                return cls(files.names, files, origin)
            names, values = readers.read(path, columns)
            return cls(names, dict(zip(names, values, strict=True)), origin)
        if isinstance(source, Mapping):
            arrays = {str(name): _as_column(values, str(name)) for name, values in source.items()}
            if arrays:
                _checks.same_length(**arrays)
            return cls(list(arrays), arrays, "the table")
        import narwhals as nw

        try:
            frame = nw.from_native(source, eager_only=True)
        except TypeError:
            raise TypeError(
                f"the ratings are a {type(source).__name__}; give a data frame (pandas, polars, pyarrow), a mapping "
                "from column names to arrays, or the path of a file"
            ) from None
        except nw.exceptions.DuplicateError:
            given = list(getattr(source, "column_names", None) or source.columns)
            raise ValueError(_repeated(given, "the table")) from None
        return cls(frame.columns, frame, "the table")

    def __len__(self) -> int:
        if isinstance(self._source, ParquetColumns):
            return self._source.count_rows()
        return len(next(iter(self._source.values()), ())) if isinstance(self._source, dict) else len(self._source)

    @property
    def _of_arrays(self) -> bool:
        return isinstance(self._source, Mapping)

    def column(self, name: str) -> NDArray[Any]:
        """(entries,) the values of a column."""
        if name not in self.names:
            raise ValueError(
                f"{self._origin} has no column {name!r}, {_only(self.names)}; "
                "say which is meant, as in user='userId', or rename it"
            )
        return np.asarray(self._source[name] if self._of_arrays else self._source[name].to_numpy())

    def ids(self, name: str) -> NDArray[Any]:
        """(entries,) the ids in a column: int64 if they are whole numbers, else text."""
        return as_ids(self.column(name), name)

    def numbers(self, name: str) -> NDArray[np.float32]:
        """(entries,) the ratings in a column; none may be missing."""
        given = _checks.as_float(self.column(name), f"column {name!r}")
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
            values = given.astype(np.float32, copy=False)
        missing = np.flatnonzero(~np.isfinite(values))
        if len(missing):
            raise ValueError(
                f"column {name!r} holds {_checks.count(len(missing), 'missing or infinite rating')}, "
                f"the first in row {missing[0]}; drop those rows"
            )
        if given.dtype != np.float32 and len(given):
            lost = max(float(np.abs(given[part] - values[part]).max()) for part in _parts(len(given)))
            least, most = float(given.min()), float(given.max())
            spread = most - least
            if lost > TELLING * spread > NOTHING * max(abs(least), abs(most)):
                remedy = f"take {least:.9g} off all of them" if abs(least) > spread else "multiply all of them"
                raise ValueError(
                    f"column {name!r} holds ratings around {given.mean():g} that differ by less than float32 tells "
                    f"apart there (they move by up to {lost:g}); {remedy}"
                )
        return values

    def take(self, lines: NDArray[Any]) -> Any:
        """Some lines of the table, in the order asked for and in the table's own kind; from a file: a dict of arrays.

        Parameters
        ----------
        lines : (taken,) integers
        """
        if self._of_arrays:
            return {name: values[lines] for name, values in self._source.items()}
        return self._source[lines].to_native()

    def with_column(self, name: str, values: NDArray[Any]) -> Any:
        """The table in its own kind, with one more column; from a file: a dict of arrays."""
        if self._of_arrays:
            return {**self._source, name: values}
        import narwhals as nw

        series = nw.new_series(name, values, backend=self._source.implementation)
        return self._source.with_columns(series).to_native()

    def like(self, columns: Mapping[str, NDArray[Any]]) -> Any:
        """Other columns in the table's own kind; from a file: a dict of arrays."""
        if self._of_arrays:
            return dict(columns)
        import narwhals as nw

        return nw.from_dict(dict(columns), backend=self._source.implementation).to_native()


LEVELS = 100  # of a column of text, the commonest: each becomes an attribute


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
    ids : (lines,) array
    attributes : (lines, attributes) float32
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
    columns = []
    for other in table.names:
        if other == name:
            continue
        values = table.column(other)
        try:
            columns.append(_as_numbers(values))
        except (TypeError, ValueError):
            text = np.asarray([str(value) for value in values])
            levels, counts = np.unique(text, return_counts=True)
            columns += [text == level for level in levels[np.argsort(-counts, kind="stable")][:LEVELS]]
    matrix = np.zeros((len(ids), len(columns)), np.float32)
    for i, column in enumerate(columns):
        finite = np.isfinite(column)
        if finite.any() and column[finite].std() > 0:
            matrix[:, i] = np.where(finite, (column - column[finite].mean()) / column[finite].std(), 0)
    return ids, matrix[:, matrix.any(axis=0)]


def _as_numbers(values: NDArray[Any]) -> NDArray[np.float64]:
    """A column as numbers, NaN where one is missing: dates too, and what is text because it came from a file."""
    if values.dtype.kind in "mM":
        return np.where(np.isnat(values), np.nan, values.astype(np.int64).astype(np.float64))
    if values.dtype.kind in "UO":
        given = [math.nan if _is_missing(value) or value == "" else value for value in values.tolist()]
        return np.asarray(given, object).astype(np.float64)
    return values.astype(np.float64)


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Ids and the numbers 0, 1, … that stand for them.

    Attributes
    ----------
    ids : (lines,) int64 or text
        Sorted; the id of line i is ids[i].
    """

    ids: NDArray[Any]

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def learn(cls, ids: NDArray[Any]) -> tuple[Vocabulary, NDArray[Any]]:
        """The vocabulary of the ids that occur, and the line number of each; int32 while they fit."""
        if ids.dtype.kind != "U":
            return cls._learn_numbers(ids)
        given = ids.tolist()  # text: hashing all of it and sorting what differs is quicker than sorting all of it
        known = np.sort(np.asarray(list(set(given)), dtype=str))
        number = {id: line for line, id in enumerate(known.tolist())}
        return cls(known), np.fromiter(map(number.__getitem__, given), _checks.index_dtype(len(known)), len(given))

    @classmethod
    def _learn_numbers(cls, ids: NDArray[np.int64]) -> tuple[Vocabulary, NDArray[Any]]:
        least, span = (int(ids.min()), int(ids.max()) - int(ids.min()) + 1) if len(ids) else (0, 1)
        if span > max(len(ids), 1):  # sorting takes less room
            known, lines = np.unique(ids, return_inverse=True)
            return cls(known), lines.astype(_checks.index_dtype(len(known)), copy=False)
        occurs = np.zeros(span, dtype=bool)  # a table of all numbers between: a tenth of the time of sorting
        for part in _parts(len(ids)):
            occurs[ids[part] - least] = True
        known = np.flatnonzero(occurs)
        number: NDArray[Any] = np.empty(span, _checks.index_dtype(len(known)))
        number[known] = np.arange(len(known))
        lines = np.empty(len(ids), number.dtype)
        for part in _parts(len(ids)):
            lines[part] = number[ids[part] - least]
        return cls(known + least), lines

    def extended(self, ids: NDArray[Any]) -> tuple[Vocabulary, NDArray[Any], NDArray[Any]]:
        """The vocabulary of these and more ids; the new line number of each old line, and that of each id."""
        known, more = self.ids, ids
        if (known.dtype.kind == "U") != (more.dtype.kind == "U"):
            known, more = known.astype(str), more.astype(str)
        whole, lines = Vocabulary.learn(np.concatenate([known, more]))
        return whole, lines[: len(known)], lines[len(known) :]

    def lines(self, ids: Any, name: str = "ids") -> NDArray[np.int64]:
        """(entries,) the line number of each id; −1 for one that is not known. 7 and "7" are the same id."""
        wanted = as_ids(_as_column(ids, name), name)
        known, order = self.ids, np.arange(len(self.ids))
        if (known.dtype.kind == "U") != (wanted.dtype.kind == "U"):
            known, wanted = known.astype(str), wanted.astype(str)
            order = np.argsort(known)
            known = known[order]
        places = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        return np.where(known[places] == wanted, order[places], -1)


def as_ids(values: NDArray[Any], name: str) -> NDArray[Any]:
    """Ids of any dtype as int64 if they are whole numbers, else as text; a missing one is refused."""
    if values.ndim != 1:
        raise ValueError(f"column {name!r} has shape {values.shape}; give one id for each entry")
    if values.dtype.kind in "iub" and (values.dtype != np.uint64 or not len(values) or int(values.max()) < 1 << 63):
        return values.astype(np.int64, copy=False)
    if values.dtype.kind == "O" and set(map(type, values)) == {str}:
        longest = max(values, key=len)
        if len(longest) * len(values) > TEXT:  # an array of text gives each the room of the longest
            raise ValueError(
                f"column {name!r} holds an id of {len(longest):,} letters ({longest[:20]!r}…); shorten the long ones"
            )
        values = values.astype(str)
    if values.dtype.kind == "f":
        _refuse(np.isnan(values), "missing", name)
        _refuse(np.isinf(values), "infinite", name)
    if values.dtype.kind in "MmO":
        _refuse(np.asarray([_is_missing(value) for value in values], dtype=bool), "missing", name)
        _refuse(np.asarray([_is_infinite(value) for value in values], dtype=bool), "infinite", name)
    if values.dtype.kind == "f" and (values == np.floor(values)).all() and (abs(values) < 2.0**63).all():
        return values.astype(np.int64)
    text = values if values.dtype.kind == "U" else np.asarray([_as_text(value) for value in values], dtype=str)
    numbers = _whole_numbers(text)  # that came as text or as floats
    return text if numbers is None else numbers


def _parts(count: int) -> Iterator[slice]:
    return (slice(first, first + PART) for first in range(0, count, PART))


def _refuse(wrong: NDArray[np.bool_], how: str, name: str) -> None:
    if wrong.any():
        raise ValueError(
            f"column {name!r} holds {_checks.count(int(wrong.sum()), f'{how} id')}, the first in row "
            f"{int(np.argmax(wrong))}; drop those rows"
        )


def _whole_numbers(text: NDArray[Any]) -> NDArray[np.int64] | None:
    """Texts as int64, if each is a whole number as it is written: "007" and "+7" are not."""
    if len(text) == 0:
        return text.astype(np.int64)
    width = max(text.dtype.itemsize // 4, 1)
    letters = np.ascontiguousarray(text, dtype=f"U{width}").view(np.uint32).reshape(-1, width)
    sign = letters[:, 0] == ord("-")
    length = (letters != 0).sum(axis=1)
    if (length - sign).max() > DIGITS:
        try:
            numbers = text.astype(np.int64)
        except (ValueError, OverflowError):
            return None
        return numbers if np.array_equal(numbers.astype(str), text) else None
    digits = letters - np.uint32(ord("0"))  # anything else wraps around to far above 9
    first = digits[np.arange(len(digits)), np.minimum(sign, width - 1)]
    if (length == sign).any() or (first > 9).any() or ((first == 0) & ((length > sign + 1) | sign)).any():
        return None
    numbers = np.zeros(len(text), np.int64)
    for place in range(width):
        here = (place < length) & ((place > 0) | ~sign)
        if (here & (digits[:, place] > 9)).any():
            return None
        numbers = np.where(here, 10 * numbers + digits[:, place], numbers)
    return np.where(sign, -numbers, numbers)


def _is_infinite(value: Any) -> bool:
    return isinstance(value, (float, np.floating)) and math.isinf(value)


def _is_missing(value: Any) -> bool:
    """None, NaN, NaT or pandas' NA, which alone is neither equal to itself nor different."""
    try:
        return value is None or bool(value != value)
    except TypeError:
        return True


def _as_text(value: Any) -> str:
    """An id as text, so that 7, 7.0 and "7" are the same."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    if isinstance(value, np.datetime64):
        return _as_date(str(value))
    if isinstance(value, datetime.date):  # and times, those of pandas too
        return _as_date(value.isoformat())
    return str(value)


def _as_date(text: str) -> str:
    """A date, the same whatever type and precision it came in; with the time of day if that is not midnight."""
    day, _, clock = text.partition("T")
    if len(clock) < 8:
        clock = f"{clock or '00'}:00:00"[:8]
    elif "." in clock and "+" not in clock and "-" not in clock:
        clock = clock.rstrip("0").rstrip(".")
    return day if clock == "00:00:00" else f"{day}T{clock}"


def _as_column(values: Any, name: str) -> NDArray[Any]:
    if isinstance(values, (list, tuple)) and any(isinstance(v, int) and abs(v) > 2**53 for v in values):
        return np.asarray(values, dtype=object)  # whole numbers that a common dtype might round
    try:
        return np.asarray(values)
    except ValueError:
        raise ValueError(f"column {name} is not one value for each entry; give a one-dimensional array") from None


def _only(names: Sequence[str]) -> str:
    return f"only {', '.join(map(repr, names))}" if names else "nor any other"


def _repeated(names: Sequence[str], origin: str) -> str:
    name = next(name for name in names if names.count(name) > 1)
    return f"{origin} has {names.count(name)} columns named {name!r}; rename all but one"
