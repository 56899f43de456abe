"""Anyone's table and ids <-> our row and column numbers. The only room that knows of data frames and rating files."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _checks

HEADLESS = (
    "user",
    "item",
    "rating",
    "timestamp",
)  # what the columns of a file without a header are taken for
DELIMITERS = ("::", "\t", ",", ";", "|")


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
        source : data frame, mapping, str or path
            A file is text, one rating a line, fields separated by tabs, commas, semicolons, ``|`` or ``::``. If one
            of `columns` stands in its first line, that is a header; else, if the line holds numbers where ratings
            stand, the columns are taken for `columns` in this order.
        columns : sequence of str
            The names that will be asked for.

        Raises
        ------
        ValueError, TypeError, OSError
            If the file is not there, is empty, is cut off or cannot be understood, or `source` is none of these.
        """
        if isinstance(source, (str, os.PathLike)):
            names, values = _read_file(Path(source), columns)
            return cls(names, dict(zip(names, values, strict=True)), f"the file {source}")
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
        return cls(frame.columns, frame, "the table")

    def __len__(self) -> int:
        if isinstance(self._source, dict):
            return len(next(iter(self._source.values()), ()))
        return len(self._source)

    def column(self, name: str) -> NDArray[Any]:
        """(entries,) the values of a column."""
        if name not in self.names:
            raise ValueError(
                f"{self._origin} has no column {name!r}, only {', '.join(map(repr, self.names))}; "
                "say which is meant, as in user='userId'"
            )
        return np.asarray(self._source[name] if isinstance(self._source, dict) else self._source[name].to_numpy())

    def ids(self, name: str) -> NDArray[Any]:
        """(entries,) the ids in a column: int64 if they are whole numbers, else text."""
        return as_ids(self.column(name), name)

    def numbers(self, name: str) -> NDArray[np.float32]:
        """(entries,) the ratings in a column; none may be missing."""
        values = _checks.as_float(self.column(name), f"column {name!r}")
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
            values = values.astype(np.float32)
        missing = np.flatnonzero(~np.isfinite(values))
        if len(missing):
            raise ValueError(
                f"column {name!r} holds {_checks.count(len(missing), 'missing or infinite rating')}, "
                f"the first in row {missing[0]}; drop those rows"
            )
        return values

    def with_column(self, name: str, values: NDArray[Any]) -> Any:
        """The table in its own kind, with one more column; from a file: a dict of arrays."""
        if isinstance(self._source, dict):
            return {**self._source, name: values}
        import narwhals as nw

        series = nw.new_series(name, values, backend=self._source.implementation)
        return self._source.with_columns(series).to_native()

    def like(self, columns: Mapping[str, NDArray[Any]]) -> Any:
        """Other columns in the table's own kind; from a file: a dict of arrays."""
        if isinstance(self._source, dict):
            return dict(columns)
        import narwhals as nw

        return nw.from_dict(dict(columns), backend=self._source.implementation).to_native()


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
    def learn(cls, ids: NDArray[Any]) -> tuple[Vocabulary, NDArray[np.int64]]:
        """The vocabulary of the ids that occur, and the line number of each."""
        known, lines = np.unique(ids, return_inverse=True)
        return cls(known), lines

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
    if values.dtype.kind in "iub" and (not len(values) or int(values.max()) <= np.iinfo(np.int64).max):
        return values.astype(np.int64)
    if values.dtype.kind in "fMmO":
        missing = np.asarray([_is_missing(value) for value in values], dtype=bool)
        if missing.any():
            raise ValueError(
                f"column {name!r} holds {_checks.count(int(missing.sum()), 'missing id')}, the first in row "
                f"{int(np.argmax(missing))}; drop those rows"
            )
    text = values if values.dtype.kind == "U" else np.asarray([_as_text(value) for value in values], dtype=str)
    try:  # whole numbers that came as text or as floats; "007" stays text
        numbers = text.astype(np.int64)
    except (ValueError, OverflowError):
        return text
    return numbers if np.array_equal(numbers.astype(str), text) else text


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
    return str(value)


def _as_column(values: Any, name: str) -> NDArray[Any]:
    if isinstance(values, (list, tuple)) and any(isinstance(v, int) and abs(v) > 2**53 for v in values):
        return np.asarray(values, dtype=object)  # whole numbers that a common dtype might round
    try:
        return np.asarray(values)
    except ValueError:
        raise ValueError(f"column {name} is not one value for each entry; give a one-dimensional array") from None


def _read_file(path: Path, columns: Sequence[str]) -> tuple[list[str], list[NDArray[Any]]]:
    """The columns of a text file, as text."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give a file of ratings")
    try:
        with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            first = next((line for line in file if line.strip()), "")
            file.seek(0)
            delimiter = next((d for d in DELIMITERS if d in first), " ")
            lines = (line.replace("::", "\t") for line in file) if delimiter == "::" else file
            one = "\t" if delimiter == "::" else delimiter
            reader = csv.reader(lines, delimiter=one, skipinitialspace=one != "\t", strict=True)
            rows = [(reader.line_num, row) for row in reader if row]
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}; check the path") from None
    except csv.Error as error:
        raise ValueError(f"{path} cannot be read as a table ({error}); give tab- or comma-separated text") from None
    if not rows or "\0" in first:
        reason = "is empty" if not rows else "is not text"
        raise ValueError(f"{path} {reason}; give one rating a line: user, item, rating")
    if _header(rows[0][1], columns):
        names = [name.strip() for name in rows.pop(0)[1]]
    else:
        guessed = [*columns, *HEADLESS[len(columns) :]]
        names = [guessed[i] if i < len(guessed) else f"column {i + 1}" for i in range(len(rows[0][1]))]
    if not rows:
        raise ValueError(f"{path} has a header and no rating; give one rating a line")
    for name in columns:
        if names.count(name) > 1:
            raise ValueError(f"{path} has {names.count(name)} columns named {name!r}; rename all but one")
    needed = [names.index(name) for name in columns[:3] if name in names]
    for number, row in rows:
        if len(row) != len(names) or any(row[i] == "" for i in needed):
            shown = {"\t": "tab", " ": "space"}.get(delimiter, delimiter)
            raise ValueError(
                f"line {number} of {path} has {_checks.count(sum(map(bool, row)), 'field')} in place of {len(names)} "
                f"(separated by {shown}); the file is cut off or mixes formats: mend or remove that line"
            )
    return names, [np.asarray(column) for column in zip(*(row for _, row in rows), strict=True)]


def _header(first: list[str], columns: Sequence[str]) -> bool:
    """Whether the first line names the columns: it has a name that was asked for, or no number for the rating."""
    fields = [field.strip() for field in first]
    if any(column in fields for column in columns):
        return True
    if len(fields) < 3:
        return False
    try:
        float(fields[2])
    except ValueError:
        return True
    return False
