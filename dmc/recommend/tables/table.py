"""Anyone's table: columns by name, and the same kind of table back. The only module that knows of data frames."""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc._text_arrays import is_text
from dmc.recommend.tables import parquet, readers
from dmc.recommend.tables.packed_column import PackedColumn
from dmc.recommend.tables.parquet import ParquetColumns
from dmc.recommend.tables.readers import HEADLESS, TextColumns
from dmc.recommend.tables.vocabulary import Vocabulary, as_column, as_ids, is_missing, parts, refuse

ROUNDING_LOSS = 0.01  # of the ratings' range: what rounding to float32 may take away
EQUAL = 1e-14  # of the largest rating: a smaller range is itself rounding


class Table:
    """Columns by name, whatever they came in; gives back the same kind with a column added.

    Made by `Table.open`.
    """

    def __init__(self, names: Sequence[str], source: Any, origin: str) -> None:
        self.names, self._source, self._origin = list(names), source, origin

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
            return cls._of_files(Path(source), columns, only)
        if _is_stream(source):
            texts = readers.read([source], columns, only)
            return cls(texts.names, texts, readers.name_of(source))
        if isinstance(source, Mapping):
            arrays = {str(name): as_column(values, str(name)) for name, values in source.items()}
            if arrays:
                _checks.same_length(**arrays)
            return cls(list(arrays), arrays, "the table")
        if isinstance(source, Iterator) or (isinstance(source, (list, tuple)) and all(map(_is_table, source[:1]))):
            return cls._of_pieces(iter(source), columns, only)
        return cls._of_frame(source, only)

    @classmethod
    def _of_files(cls, path: Path, columns: Sequence[str], only: Collection[str] | None) -> Table:
        origin = f"the file {path}"
        paths = [Path(name) for name in sorted(glob.glob(str(path)))] if glob.has_magic(str(path)) else []
        if path.exists() or not paths:  # a name may hold a bracket
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
                    f"piece {len(tables) + 1} of the table has the columns {', '.join(map(repr, table.names))}, the "
                    f"first one {', '.join(map(repr, tables[0].names))}; give pieces of one kind"
                )
            tables.append(table)
        if not tables:
            raise ValueError("the iterator gives no piece of a table, or was used up before; make it again")
        first = tables[0]
        if first._of_arrays:
            names = list(first._source)
            joined = {name: np.concatenate([table.column(name) for table in tables]) for name in names}
            return cls(first.names, joined, "the table")
        import narwhals as nw

        names = first._source.columns
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
        self.require([name], "say which is meant, as in user='userId', or rename it")
        return np.asarray(self._source[name] if self._of_arrays else self._source[name].to_numpy())

    def ids(self, name: str) -> NDArray[Any]:
        """(entries,) the ids in a column: int64 if they are whole numbers, else text; none may be missing or empty."""
        packed = self._packed(name) if isinstance(self._source, TextColumns) else None
        if packed is not None:
            vocabulary, positions = self.learn(name)
            return vocabulary.ids[positions]
        ids = as_ids(self.column(name), name)
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
        if values.dtype.kind in "OUS":
            try:
                values = _checks.as_float(values, f"column {name!r}")
            except TypeError:
                _refuse_missing_times(np.asarray([value == "" or is_missing(value) for value in values], bool), name)
                values = np.array([_seconds(value, name) for value in _without_numbers(values, name)])
        _refuse_missing_times(np.isnat(values) if values.dtype.kind in "mM" else np.isnan(values), name)
        return values

    def numbers(self, name: str, what: str = "rating") -> NDArray[np.float32]:
        """(entries,) the ratings in a column, or what else they are called; none may be missing."""
        packed = self._packed(name) if isinstance(self._source, TextColumns) else None
        exact = packed.floats() if packed is not None else None
        if exact is not None:
            return exact
        given = _checks.as_float(self.column(name), f"column {name!r}")
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
            values = given.astype(np.float32, copy=False)
        missing = np.flatnonzero(~np.isfinite(values))
        if len(missing):
            raise ValueError(
                f"column {name!r} holds {_checks.count(len(missing), f'missing or infinite {what}')}, "
                f"the first in row {missing[0]}; drop those rows"
            )
        if given.dtype != np.float32 and len(given):
            lost = max(float(np.abs(given[part] - values[part]).max()) for part in parts(len(given)))
            least, most = float(given.min()), float(given.max())
            refuse_rounding(name, what, lost, least, most, float(given.mean()))
        return values

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
                "output='frame' needs pandas, which is not installed; run: pip install pandas, or ask with a frame"
            ) from None


def refuse_same_names(columns: Sequence[str]) -> None:
    """Raise if two of the columns asked for are one."""
    if len(set(columns)) < len(columns):
        raise ValueError(f"the columns asked for are {', '.join(map(repr, columns))}; name another one for each")


def refuse_rounding(name: str, what: str, lost: float, least: float, most: float, mean: float) -> None:
    """Raise if float32 takes away too much of numbers between some bounds, which move by up to `lost`."""
    spread = most - least
    if lost > ROUNDING_LOSS * spread > EQUAL * max(abs(least), abs(most)):
        remedy = f"take {least:.9g} off all of them" if abs(least) > spread else "multiply all of them"
        raise ValueError(
            f"column {name!r} holds {what}s around {mean:g} that differ by less than float32 tells apart there (they "
            f"move by up to {lost:g}); {remedy}"
        )


def _is_stream(source: Any) -> bool:
    """Whether it is an open file; a reader of frames, as of pandas with a chunksize, has `read` too, but no lines."""
    if isinstance(source, Iterator) and not hasattr(source, "readline"):
        return False
    return hasattr(source, "read") and not hasattr(source, "columns")


def _seconds(value: Any, name: str) -> float:
    """A date as seconds; without a time zone it is taken for UTC."""
    written = value.isoformat() if hasattr(value, "isoformat") else str(value)
    try:
        date = datetime.fromisoformat(written)
    except ValueError:
        raise ValueError(
            f"column {name!r} holds {written!r}, which is no time; give numbers, dates or ISO 8601 text"
        ) from None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def _refuse_missing_times(missing: NDArray[np.bool_], name: str) -> None:
    if missing.any():
        raise ValueError(
            f"column {name!r} holds {_checks.count(int(missing.sum()), 'missing time')}, the first in row "
            f"{int(np.argmax(missing))}; drop those rows"
        )


def _without_numbers(values: NDArray[Any], name: str) -> NDArray[Any]:
    """Times of which some are no numbers: all of them, if there is none; else it is not known what they count."""
    numbers = np.asarray([_checks.is_number(value) for value in values], dtype=bool)
    if numbers.any():
        row = int(np.argmin(numbers))
        raise ValueError(
            f"column {name!r} holds {str(values[row])!r} in row {row}, which is no number, as others are; give numbers "
            "alone, or dates or ISO 8601 text alone"
        )
    return values


def _is_table(piece: Any) -> bool:
    """Whether it is a frame, or a mapping of columns and not of one row's values."""
    if isinstance(piece, Mapping):
        return all(hasattr(values, "__len__") and not isinstance(values, str) for values in piece.values())
    return hasattr(piece, "columns")


def _only(names: Sequence[str]) -> str:
    return f"only {', '.join(map(repr, names))}" if names else "nor any other"


def _repeated(names: Sequence[str], origin: str) -> str:
    name = next(name for name in names if names.count(name) > 1)
    return f"{origin} has {names.count(name)} columns named {name!r}; rename all but one"
