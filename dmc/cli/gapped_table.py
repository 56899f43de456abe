"""A table with gaps out of a file, for `dmc complete`: columns of numbers, where cells are missing, and of labels."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc.cli.wording import STDIN
from dmc.cli.writers import PARQUET
from dmc.recommend.tables import text_source
from dmc.recommend.tables.delimited import RowReader
from dmc.recommend.tables.foreign import shown

MISSING = frozenset(("", "na", "n/a", "#n/a", "nan", "null", "none", "?"))  # in small letters
DELIMITERS = ("\t", ",", ";", "|")
DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
DIGITS = 9  # of a cell that is known exactly
SOME = 1000  # rows read at a time


class Cells(NamedTuple):
    """Numbers (cells,) at rows and columns of numbers."""

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GappedTable:
    """Columns by name; those of numbers also as a matrix.

    Attributes
    ----------
    columns : dict of (rows,) arrays
        As they were: text out of text, whatever stands there out of Parquet.
    of_numbers : list of str
        The columns that are to be completed.
    values : (rows, of_numbers) float64
        NaN where nothing stands.
    lines : (rows,) int64 or None
        The line of the file at which each row ends.
    row_numbers : str or None
        A column that only numbers the rows, and so is none of those.
    """

    columns: dict[str, NDArray[Any]]
    of_numbers: list[str]
    values: NDArray[np.float64]
    lines: NDArray[np.int64] | None
    row_numbers: str | None

    def missing(self, placeholder: float | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns (missing,) where nothing stands, or the number that stands for it."""
        gaps = np.isnan(self.values)
        rows, cols = np.nonzero(gaps if placeholder is None else gaps | (self.values == placeholder))
        return rows.astype(np.int64, copy=False), cols.astype(np.int64, copy=False)

    def with_cells(self, cells: Cells) -> dict[str, NDArray[Any]]:
        """The columns with these cells in them, and all others as they were; as numbers, for files of such."""
        completed = self.values.copy()
        completed[cells.rows, cells.cols] = cells.values
        touched = set(cells.cols.tolist())
        found = dict(self.columns)
        for j, name in enumerate(self.of_numbers):
            if found[name].dtype.kind not in "iuf" or j in touched:  # whole numbers without gaps stay whole
                found[name] = completed[:, j]
        return found

    def with_cells_as_text(self, cells: Cells, errors: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """The same as text, each cell with the digits that the error of its column (of_numbers,) allows."""
        found = dict(self.columns)
        for j, name in enumerate(self.of_numbers):
            texts = found[name].astype(str).astype(object)
            here = cells.cols == j
            texts[cells.rows[here]] = [as_text(value, errors[j]) for value in cells.values[here].tolist()]
            found[name] = texts
        return found

    def only(self, cells: Cells) -> dict[str, NDArray[Any]]:
        """The labels, and of the numbers these cells alone; NaN elsewhere."""
        matrix = np.full(self.values.shape, np.nan)
        matrix[cells.rows, cells.cols] = cells.values
        return self.columns | {name: matrix[:, j] for j, name in enumerate(self.of_numbers)}

    def named(self, sentence: str) -> str:
        """A sentence of the library, with columns by name and rows by their line in the file."""

        def names(found: re.Match[str]) -> str:
            numbers = [int(number) for number in found[2].split(", ")]
            if max(numbers) >= len(self.of_numbers):
                return found[0]
            return f"column{found[1]} {', '.join(repr(self.of_numbers[number]) for number in numbers)}"

        sentence = re.sub(r"\bcolumn(s?) (\d+(?:, \d+)*)", names, sentence)
        lines = self.lines
        if lines is None:
            return sentence
        return re.sub(r"\brow (\d+)", lambda found: f"line {lines[int(found[1])]}", sentence)


def as_text(cell: float, error: float) -> str:
    """A number with as many decimals as let a tenth of its error show; NaN as nothing."""
    if not math.isfinite(cell):
        return ""
    decimals = 1 - math.floor(math.log10(error)) if 0 < error < math.inf else DIGITS
    return f"{cell:.{max(decimals, 0)}f}" if decimals < DIGITS else f"{cell:.{DIGITS}g}"


def read(path: Path, labels: Collection[str] = ()) -> GappedTable:
    """The table of a file: Parquet, or text with a header.

    Parameters
    ----------
    path : path
        ``-`` is the standard input, which holds text.
    labels : collection of str
        Columns that are kept as they are, whatever stands there. Columns without any number are so, too, and columns
        without a name.

    Raises
    ------
    ValueError, OSError
        If it is not there, or cannot be understood; if a column holds both numbers and text.
    ImportError
        If it is Parquet and pyarrow is not installed.
    """
    if path.suffix.lower() in PARQUET:
        columns, lines = _of_parquet(path), None
    else:
        columns, lines = _of_text(path)
    strange = next((name for name in labels if name not in columns), None)
    if strange is not None:
        raise ValueError(f"{_called(path)} has no column {strange!r}, only {text_source.listed(columns)}")
    numbers = {}
    for name, values in columns.items():
        found = None if name in labels or not name else _numbers(name, values, lines, _called(path))
        if found is not None:
            numbers[name] = found
    if not numbers:
        raise ValueError(f"{_called(path)} has no column of numbers; give a table with a header and numbers below it")
    first, row_numbers = next(iter(columns)), None
    if len(numbers) > 1 and first in numbers and _numbers_the_rows(numbers[first]):
        row_numbers = first
        del numbers[first]
    return GappedTable(columns, list(numbers), np.column_stack(list(numbers.values())), lines, row_numbers)


def _numbers_the_rows(values: NDArray[np.float64]) -> bool:
    """Whether a column is 0, 1, 2, … or 1, 2, 3, …: an index, on which nothing else depends."""
    return len(values) > 2 and values[0] in (0, 1) and bool((np.diff(values) == 1).all())


def _called(path: Path) -> str:
    return "standard input" if str(path) == STDIN else text_source.called(path)


def _of_parquet(path: Path) -> dict[str, NDArray[Any]]:
    from dmc.recommend.tables.table import Table

    table = Table.open(path)
    return {name: table.column(name) for name in table.names}


def _of_text(path: Path) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    """Columns of text by name, each cell as it is written, and the lines of the rows."""
    origin, numbers, rows = _called(path), list[int](), list[list[str]]()
    with text_source.opened(_source(path), by_content=True) as file:
        given = text_source.blocks(file, origin)
        head = next((block for block in given if block.strip()), b"")
        first = text_source.decoded(next((line for line in head.splitlines() if line.strip()), b""))
        delimiter = next((d for d in DELIMITERS if d in first), ",")
        reader = RowReader(map(text_source.decoded, chain([head], given)), delimiter, origin, spaces=True)
        while some := reader.some(SOME):
            names = rows[0] if rows else some[0][1]
            ragged = next(((number, row) for number, row in some if len(row) != len(names)), None)
            if ragged is not None:
                has = _checks.count(len(ragged[1]), "field")
                raise ValueError(f"line {ragged[0]} of {origin} has {has} instead of {len(names)}; fix that line")
            numbers += [number for number, _ in some]
            rows += [row for _, row in some]
    if len(rows) < 2:
        raise ValueError(f"{origin} has no row below its header; give a table with a header and numbers below it")
    names = [name.strip() for name in rows.pop(0)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{origin} has {names.count(twice)} columns named {shown(twice)}; rename all but one")
    columns = [np.fromiter(cells, object, len(rows)) for cells in zip(*rows, strict=True)]
    return dict(zip(names, columns, strict=True)), np.asarray(numbers[1:])


def _source(path: Path) -> Any:
    return getattr(sys.stdin, "buffer", sys.stdin) if str(path) == STDIN else path


def _numbers(
    name: str, values: NDArray[Any], lines: NDArray[np.int64] | None, origin: str
) -> NDArray[np.float64] | None:
    """(rows,) the numbers of a column, NaN where one is missing; None if it holds none but labels."""
    if lines is None:
        return values.astype(np.float64) if values.dtype.kind in "iuf" else None
    cells: Sequence[str] = [cell.strip() for cell in values]
    missing = [cell.lower() in MISSING for cell in cells]
    found = np.full(len(cells), np.nan)
    strange = -1
    all_plain = _checks.is_plain("".join(cells))  # a look at all of them costs less than one at each
    for i, cell in enumerate(cells):
        if missing[i]:
            continue
        try:
            found[i] = float(cell if all_plain or _checks.is_plain(cell) else "")  # nothing is no number
        except ValueError:
            strange = i if strange < 0 else strange
    if strange < 0:
        return found
    called = shown(name)
    told = f"column {called} holds {shown(cells[strange])} in line {lines[strange]} of {origin}"
    if not np.isnan(found).all():
        raise ValueError(f"{told}, which is not a number; fix it, or use --label {called} to keep the column as it is")
    if DECIMAL_COMMA.fullmatch(cells[strange]):
        raise ValueError(f"{told}; write numbers with a decimal point")
    return None
