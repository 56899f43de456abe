"""Anyone's table: columns by name, and the same kind of table back. The only module that knows of data frames."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc._text_arrays import is_text
from dmc.recommend.tables import parquet, readers
from dmc.recommend.tables.foreign import (
    as_array,
    is_stream,
    is_table,
    joined,
    refuse_no_ids,
    shown,
    words_for_failure,
)
from dmc.recommend.tables.packed_column import PackedColumn
from dmc.recommend.tables.parquet import ParquetColumns
from dmc.recommend.tables.readers import HEADLESS, TextColumns
from dmc.recommend.tables.text_source import called, listed, name_of
from dmc.recommend.tables.times import as_times
from dmc.recommend.tables.vocabulary import Vocabulary, as_ids, parts, refuse

ROUNDING_LOSS = 0.01  # of the ratings' range: what rounding to float32 may take away
REMEDIES = {  # where a column of the usual name is not there
    "item": "name the column, as in item='itemId', or rename it",
    "rating": "for clicks, pass feedback='implicit'; for ratings, name the column, as in rating='stars', or rename it",
    "timestamp": "name the column, as in time='when', or rename it",
}
EQUAL = 1e-14  # of the largest rating: a smaller range is itself rounding


class Table:
    """Columns by name, whatever they came in; gives back the same kind with a column added.

    Made by `Table.open`.
    """

    def __init__(self, names: Sequence[str], source: Any, origin: str) -> None:
        self.names: list[str] = list(names)
        self._source = source
        self._origin = origin

    @classmethod
    def open(cls, source: Any, columns: Sequence[str] = HEADLESS, only: Collection[str] | None = None) -> Table:
        """Take a data frame (pandas, polars, pyarrow, …), a mapping from names to arrays, files, or what is read once.

        Parameters
        ----------
        source : data frame, mapping, str, path, stream, iterator or Table
            A Table is given back as it is. A lazy frame (polars, DuckDB) is collected. An iterator or a list gives
            frames or mappings, one after the other, with the same columns; a stream is an open file, of text or of
            bytes. A file is Parquet (.parquet; needs pyarrow; or a folder of such files), JSON lines (.jsonl, .ndjson
            or .json; one object a line) or text, one rating a line, fields separated by tabs, commas, semicolons, ``|``
            or ``::``; the latter two may be packed (.gz). Several files of one kind are named by a pattern, as in
            "ratings/*.parquet". If one of `columns` stands in the first line of text, that is a header; else, if the
            line holds numbers where ratings stand, the columns are taken for `columns` in this order.
        columns : sequence of str
            The names that will be asked for, each another.
        only : collection of str, optional
            Columns to keep of what is read here, if the table is not to be given back: a file larger than memory is
            read some lines at a time. A file of Parquet is read when a column is asked for, and not kept.

        Raises
        ------
        ValueError, TypeError, OSError
            If the file is not there, is empty, is cut off or cannot be understood, or `source` is none of these.
        ImportError
            If the file is Parquet and pyarrow is not installed.

        Examples
        --------
        >>> chunks = ({"user": [user], "item": [7]} for user in ("ann", "bob"))
        >>> Table.open(chunks).ids("user").tolist()
        ['ann', 'bob']
        """
        refuse_same_names(columns)
        if isinstance(source, Table):
            return source
        if isinstance(source, (str, os.PathLike)):
            return cls._of_files(Path(os.fsdecode(source)), columns, only)
        if isinstance(source, (bytes, bytearray, memoryview)):
            raise TypeError("the ratings are bytes; give the path of a file as text, or io.BytesIO of what is in one")
        if is_stream(source):
            texts = readers.read([source], columns, only)
            return cls(texts.names, texts, name_of(source))
        if isinstance(source, Mapping):
            return cls._of_mapping(source)
        if isinstance(source, Iterator) or (isinstance(source, (list, tuple)) and all(map(is_table, source[:1]))):
            return cls._of_pieces(iter(source), columns, only)
        return cls._of_frame(source, only)

    @classmethod
    def _of_mapping(cls, source: Mapping[Any, Any]) -> Table:
        names = list(map(str, source))
        if len(set(names)) < len(names):
            raise ValueError(_repeated(names, "the table"))
        arrays = {name: as_array(values, name) for name, values in zip(names, source.values(), strict=True)}
        if arrays:
            _checks.same_length(**arrays)
        return cls(names, arrays, "the table")

    @classmethod
    def _of_files(cls, path: Path, columns: Sequence[str], only: Collection[str] | None) -> Table:
        origin = f"the file {called(path)}"
        paths = [Path(name) for name in sorted(glob.glob(str(path)))] if glob.has_magic(str(path)) else []
        if os.path.exists(path) or not paths:  # a name may hold a bracket
            paths = [path]
        if not all(parquet.is_parquet(one) for one in paths):
            texts = readers.read(paths, columns, only)
            return cls(texts.names, texts, origin)
        files = ParquetColumns(path, paths if len(paths) > 1 or paths != [path] else ())
        if len(set(files.names)) < len(files.names):
            raise ValueError(_repeated(files.names, origin))
        return cls(files.names, files, origin)

    @classmethod
    def _of_frame(cls, source: Any, only: Collection[str] | None) -> Table:
        import narwhals as nw

        try:
            if hasattr(source, "__arrow_c_array__") and hasattr(source, "schema"):  # a batch of Arrow's
                source = nw.DataFrame.from_arrow(source, backend="pyarrow").to_native()
            frame = nw.from_native(source)
            names = frame.collect_schema().names()
        except TypeError:
            raise TypeError(
                f"the ratings are a {type(source).__name__}; give a data frame (pandas, polars, pyarrow), a mapping "
                "from column names to arrays, or the path of a file"
            ) from None
        except nw.exceptions.DuplicateError:
            given = list(getattr(source, "column_names", None) or source.columns)
            raise ValueError(_repeated(given, "the table")) from None
        if isinstance(frame, nw.LazyFrame):
            kept = names if only is None else [name for name in names if name in only]
            with words_for_failure("the lazy frame cannot be collected", "fix what it is made of"):
                frame = frame.select(kept).collect()
        return cls(names, frame, "the table")

    @classmethod
    def _of_pieces(cls, source: Iterator[Any], columns: Sequence[str], only: Collection[str] | None) -> Table:
        """Of all pieces one table, of the first one's kind."""
        tables: list[Table] = []
        for piece in source:
            table = cls.open(piece, columns)._kept(only)
            if tables and set(table.names) != set(tables[0].names):
                raise ValueError(
                    f"piece {len(tables) + 1} of the table has the columns {listed(table.names)}, the "
                    f"first one {listed(tables[0].names)}; give pieces of one kind"
                )
            tables.append(table)
        if not tables:
            raise ValueError("the iterator yields no table, or is exhausted; create it again")
        first = tables[0]
        if first._of_arrays:
            names = list(first._source)
            whole = {name: joined([table.column(name) for table in tables], name) for name in names}
            return cls(first.names, whole, "the table")
        import narwhals as nw

        names = first._source.columns
        with words_for_failure("the pieces of the table do not go together", "give frames of one kind and its types"):
            return cls(first.names, nw.concat([table._source.select(names) for table in tables]), "the table")

    def _kept(self, only: Collection[str] | None) -> Table:
        """With no column but these."""
        if only is None:
            return self
        kept = [name for name in self.names if name in only]
        source = {name: self._source[name] for name in kept} if self._of_arrays else self._source.select(kept)
        return Table(self.names, source, self._origin)

    def __len__(self) -> int:
        if isinstance(self._source, (ParquetColumns, TextColumns)):
            return self._source.count_rows()
        return len(next(iter(self._source.values()), ())) if isinstance(self._source, dict) else len(self._source)

    @property
    def _of_arrays(self) -> bool:
        return isinstance(self._source, Mapping)

    def require(self, names: Sequence[str], remedy: str) -> None:
        """Raise a ValueError with a remedy if one of these columns is not there."""
        missing = [name for name in names if name not in self.names]
        if missing:
            raise ValueError(f"{self._origin} has no column {missing[0]!r}, {_only(self.names)}; {remedy}")

    def column(self, name: str) -> NDArray[Any]:
        """(entries,) the values of a column."""
        self.require([name], REMEDIES.get(name, "name the column, as in user='userId', or rename it"))
        if self._of_arrays:
            return np.asarray(self._source[name])
        with words_for_failure(f"column {name!r} has no plain values", "convert it first"):
            values = np.asarray(self._source[name].to_numpy())
        if values.ndim != 1:
            raise ValueError(f"column {name!r} holds arrays {values.shape[1:]}; give one value for each entry")
        return values

    def where(self, row: int) -> str:
        """Where a row stands, as messages tell it: `line 7 of ratings.csv`, `row 3`."""
        if isinstance(self._source, TextColumns):
            return self._source.places.of(row)
        return f"row {row} of {self._source.origin}" if isinstance(self._source, ParquetColumns) else f"row {row}"

    @contextmanager
    def _told(self, name: str) -> Iterator[None]:
        """A block in which the values of a column are refused: with their place, or that of the column, in a file."""
        try:
            yield
        except (ValueError, TypeError) as error:
            sentence, kind = str(error), TypeError if isinstance(error, TypeError) else ValueError
        else:
            return
        if not isinstance(self._source, (TextColumns, ParquetColumns)):
            raise kind(sentence)
        placed = re.sub(r"(?<=the first in )row (\d+)(?=; )", lambda found: self.where(int(found[1])), sentence)
        column, there = f"column {name!r} ", self._origin.removeprefix("the file ")
        if placed == sentence and there not in sentence and sentence.startswith(column):
            placed = f"{column}of {there} {sentence.removeprefix(column)}"
        raise kind(placed)

    def ids(self, name: str) -> NDArray[Any]:
        """(entries,) the ids in a column: int64 if they are whole numbers, else text; none may be missing or empty.

        Raises
        ------
        ValueError
            If one is missing or empty, holds several things, or is text that no file of UTF-8 can hold.
        """
        packed = self._packed(name) if isinstance(self._source, TextColumns) else None
        if packed is not None:
            vocabulary, positions = self.learn(name)
            return vocabulary.ids[positions]
        given = self.column(name)
        with self._told(name):
            refuse_no_ids(given, name)
            ids = as_ids(given, name)
            if is_text(ids):
                refuse(ids == "", "empty", name)
        return ids

    def learn(self, name: str) -> tuple[Vocabulary, NDArray[Any]]:
        """The vocabulary of the ids in a column, and (entries,) the position of each, int32 while they fit.

        As ``Vocabulary.learn(table.ids(name))``; but of a file, the ids are never all in memory.
        """
        packed = self._packed(name)
        if packed is None:
            return Vocabulary.learn(self.ids(name))
        with self._told(name):
            vocabulary, positions = packed.learn(name)
            if vocabulary.ids[0] == "":  # who is not known would be a user like others
                refuse(positions == 0, "empty", name)
        return vocabulary, positions

    def _packed(self, name: str) -> PackedColumn | None:
        column: Any = None
        if isinstance(self._source, ParquetColumns) and name in self.names:
            column = self._source.packed(name)
        elif isinstance(self._source, TextColumns):
            column = self._source.packed.get(name)
        return column if isinstance(column, PackedColumn) and len(column) else None

    def times(self, name: str) -> NDArray[Any]:
        """(entries,) the times in a column as numbers or dates that can be sorted; none may be missing.

        Raises
        ------
        ValueError
            If one is missing, or is neither a number nor a date nor ISO 8601 text (which, without a time zone, is taken
            for UTC).
        """
        packed = self._packed(name) if isinstance(self._source, TextColumns) else None
        exact = None if packed is None else packed.floats(np.float64)
        if exact is not None:
            return exact
        values = self.column(name)
        with self._told(name):
            return as_times(values, name, self.where)

    def numbers(self, name: str, what: str = "rating") -> NDArray[np.float32]:
        """(entries,) the ratings in a column, or what else they are called; none may be missing."""
        packed = self._packed(name) if isinstance(self._source, TextColumns) else None
        exact = packed.floats() if packed is not None else None
        if exact is not None:
            return exact
        given = self._as_float(name)
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
            values = given.astype(np.float32, copy=False)
        missing = np.flatnonzero(~np.isfinite(values))
        if len(missing):
            raise ValueError(
                f"column {name!r} holds {_checks.count(len(missing), f'missing or infinite {what}')}, "
                f"the first in {self.where(missing[0])}; drop those rows"
            )
        if given.dtype != np.float32 and len(given):
            lost = max(float(np.abs(given[part] - values[part]).max()) for part in parts(len(given)))
            least, most = float(given.min()), float(given.max())
            with self._told(name):
                refuse_rounding(name, what, lost, least, most, float(given.mean()))
        return values

    def _as_float(self, name: str) -> NDArray[Any]:
        given = self.column(name)
        with self._told(name):
            try:
                return _checks.as_float(given, f"column {name!r}")
            except TypeError:
                if given.dtype.kind not in "OUS":
                    raise
        row = next(i for i, value in enumerate(given) if not _checks.is_number(value))
        what = f"column {name!r} holds {shown(given[row])} in {self.where(row)}"
        raise TypeError(f"{what}, which is not a number; convert or drop it first")

    def take(self, rows: NDArray[Any]) -> Any:
        """Some rows of the table, in the order asked for and in the table's own kind; from a file: a dict of arrays.

        Parameters
        ----------
        rows : (taken,) integers
        """
        if self._of_arrays:
            return {name: values[rows] for name, values in self._source.items()}
        return self._source[rows].to_native()

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

    def frame(self, columns: Mapping[str, NDArray[Any]]) -> Any:
        """Other columns in a data frame: of the table's own kind, or of pandas where the table is no frame."""
        if not self._of_arrays:
            return self.like(columns)
        import narwhals as nw

        try:
            return nw.from_dict(dict(columns), backend="pandas").to_native()
        except ImportError:
            raise ImportError(
                "output='frame' needs pandas, which is not installed; run: pip install pandas, or pass a data frame"
            ) from None


def refuse_same_names(columns: Sequence[str]) -> None:
    """Raise if two of the columns asked for are one."""
    if len(set(columns)) < len(columns):
        raise ValueError(f"the column names are {', '.join(map(repr, columns))}; give each its own column")


def refuse_rounding(name: str, what: str, lost: float, least: float, most: float, mean: float) -> None:
    """Raise if float32 takes away too much of numbers between some bounds, which move by up to `lost`."""
    spread = most - least
    if lost > ROUNDING_LOSS * spread > EQUAL * max(abs(least), abs(most)):
        remedy = f"take {least:.9g} off all of them" if abs(least) > spread else "multiply all of them"
        raise ValueError(
            f"column {name!r} holds {what}s around {mean:g} that differ by less than float32 resolves there (rounding "
            f"moves them by up to {lost:g}); {remedy}"
        )


def _only(names: Sequence[str]) -> str:
    return f"only {listed(names)}" if names else "nor any other"


def _repeated(names: Sequence[str], origin: str) -> str:
    name = next(name for name in names if names.count(name) > 1)
    return f"{origin} has {names.count(name)} columns named {shown(name)}; rename all but one"
