"""Anyone's table: columns by name, and the same kind of table back. The only module that knows of data frames."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc.recommend import parquet, readers
from dmc.recommend.parquet import ParquetColumns
from dmc.recommend.readers import HEADLESS
from dmc.recommend.vocabulary import as_column, as_ids, parts

ROUNDING_LOSS = 0.01  # of the ratings' range: what rounding to float32 may take away
EQUAL = 1e-14  # of the largest rating: a smaller range is itself rounding


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
            return cls._of_file(Path(source), columns)
        if isinstance(source, Mapping):
            arrays = {str(name): as_column(values, str(name)) for name, values in source.items()}
            if arrays:
                _checks.same_length(**arrays)
            return cls(list(arrays), arrays, "the table")
        return cls._of_frame(source)

    @classmethod
    def _of_file(cls, path: Path, columns: Sequence[str]) -> Table:
        origin = f"the file {path}"
        if path.suffix.lower() not in parquet.SUFFIXES:
            names, values = readers.read(path, columns)
            return cls(names, dict(zip(names, values, strict=True)), origin)
        files = ParquetColumns(path)
        if len(set(files.names)) < len(files.names):
            raise ValueError(_repeated(files.names, origin))
        return cls(files.names, files, origin)

    @classmethod
    def _of_frame(cls, source: Any) -> Table:
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
            lost = max(float(np.abs(given[part] - values[part]).max()) for part in parts(len(given)))
            least, most = float(given.min()), float(given.max())
            spread = most - least
            if lost > ROUNDING_LOSS * spread > EQUAL * max(abs(least), abs(most)):
                remedy = f"take {least:.9g} off all of them" if abs(least) > spread else "multiply all of them"
                raise ValueError(
                    f"column {name!r} holds ratings around {given.mean():g} that differ by less than float32 tells "
                    f"apart there (they move by up to {lost:g}); {remedy}"
                )
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


def _only(names: Sequence[str]) -> str:
    return f"only {', '.join(map(repr, names))}" if names else "nor any other"


def _repeated(names: Sequence[str], origin: str) -> str:
    name = next(name for name in names if names.count(name) > 1)
    return f"{origin} has {names.count(name)} columns named {name!r}; rename all but one"
