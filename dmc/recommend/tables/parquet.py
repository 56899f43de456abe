"""The columns of a Parquet file, or of a folder of such files: each is read when it is asked for, and not kept."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc.recommend.tables.packed_column import PackedColumn
from dmc.recommend.tables.text_source import called, reason_of, worded

SUFFIXES = (".parquet", ".pq")
TEXTS = ("string", "large_string", "string_view")  # Arrow's names of its types
WHOLE = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32")


def is_parquet(path: Path) -> bool:
    """Whether it is named so, or a folder that such files are in."""
    return path.suffix.lower() in SUFFIXES or next(_walked(path), None) is not None


class ParquetColumns(Mapping[str, NDArray[Any]]):
    """Arrays by name, as a dict of them; but a hundred million ratings are never in memory beside what is made of them.

    Parameters
    ----------
    origin : path
        Of a file, or of a folder; as messages name it.
    paths : list of paths, optional
        Of several files in its place.

    Attributes
    ----------
    names : list of str
        In the order of the file, repeated ones too.

    Raises
    ------
    ValueError, FileNotFoundError
        If the file is not there or cannot be understood; the latter may only show when a column is read.
    ImportError
        If pyarrow is not installed.
    """

    def __init__(self, origin: Path, paths: Sequence[Path] = ()) -> None:
        files = list(paths) or files_in(origin) or [origin]
        for file in files:
            refuse_streams(file)
        try:
            from pyarrow import parquet
        except ImportError:
            raise ImportError(f"{called(origin)} is Parquet, which needs pyarrow; run: pip install pyarrow") from None
        self._path = origin
        self.origin: str = called(origin)
        source = [str(file) for file in files] if files != [origin] else origin
        with words_for_failure(origin):
            # pre_buffer would hold whole columns, packed
            self._files = parquet.ParquetDataset(source, pre_buffer=False, page_checksum_verification=True)
            self.names: list[str] = self._files.schema.names

    def __getitem__(self, name: str) -> NDArray[Any]:
        size, first = self.count_rows(), 0
        with words_for_failure(self._path):
            if size == 0:
                return np.asarray(self._files.read([name]).column(0).to_numpy())
            _checks.memory(8 * size, f"column {name!r} of {self.origin}", "read fewer rows")
            values: NDArray[Any] | None = None
            for part in self._parts(name):  # as one table they would stand in memory twice
                if values is None:
                    values = np.empty(size, part.dtype)
                elif part.dtype != values.dtype:  # values are missing in some parts only
                    values = values.astype(np.result_type(values, part))
                values[first : first + len(part)] = part
                first += len(part)
            refuse_loss(first, size)  # what is left of the array is no value of anybody's
        assert values is not None
        return values

    def _parts(self, name: str) -> Iterator[NDArray[Any]]:
        return (part.to_numpy(zero_copy_only=False) for part in self._batches(name))

    def _batches(self, name: str) -> Iterator[Any]:
        """The column as Arrow arrays, some rows each."""
        for file in self._files.fragments:
            for batch in file.to_batches(self._files.schema, [name], batch_readahead=1, fragment_readahead=0):
                yield batch.column(0)

    def packed(self, name: str) -> PackedColumn | None:
        """A column of whole numbers or texts, read some rows at a time; None if it is none, or has gaps."""
        column = PackedColumn()
        with words_for_failure(self._path):
            for part in self._batches(name):
                if part.null_count:
                    return None
                if len(part) == 0:
                    continue
                if not hasattr(part, "dictionary") and str(part.type) in TEXTS:
                    part = part.cast("large_string").dictionary_encode()  # views cannot be filtered
                if hasattr(part, "dictionary"):
                    if str(part.type.value_type) not in TEXTS or part.dictionary.null_count:
                        return None
                    codes = part.indices.to_numpy()
                    occurs = np.zeros(len(part.dictionary), bool)
                    occurs[codes] = True
                    texts = part.dictionary.filter(occurs).to_numpy(zero_copy_only=False).tolist()
                    if any("\0" in text for text in texts):  # no id; told by who looks at each
                        return None
                    column.add_codes(texts, (np.cumsum(occurs) - 1)[codes])
                elif str(part.type) in WHOLE:
                    column.add_numbers(part.to_numpy())
                else:
                    return None
            refuse_loss(len(column), self.count_rows())
        return column

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def count_rows(self) -> int:
        """Told by the files' footers."""
        with words_for_failure(self._path):
            return sum(fragment.count_rows() for fragment in self._files.fragments)


def refuse_loss(found: int, told: int) -> None:
    """Raise if pages held other rows than the footer tells of: Arrow takes a damaged page for the end."""
    if found != told:
        raise ValueError(f"it holds {found:,} rows, and its footer says {told:,}")


def refuse_streams(path: Path) -> None:
    """Raise if it is not there, or no file: Parquet is read from its end."""
    if "\0" in str(path):
        raise ValueError(f"the path {called(path)} holds a NUL byte; check the path")
    try:
        kind = os.stat(path).st_mode
    except OSError as error:
        raise worded(error, called(path)) from None
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        raise ValueError(f"{called(path)} is not a regular file, which Parquet needs; write it to a file first")


def files_in(folder: Path) -> list[Path]:
    """Those of a folder that are Parquet by name, beside whatever else is there; as Spark, without its hidden ones."""
    return sorted(_walked(folder))


def _walked(folder: Path) -> Iterator[Path]:
    """None if it is no folder; folders that may not be read are passed over, as are links to others."""
    if "\0" in str(folder):
        return
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name[0] not in "._"]
        for name in folders + files:
            if name[0] not in "._" and Path(name).suffix.lower() in SUFFIXES:
                yield Path(place, name)


@contextmanager
def words_for_failure(path: Path) -> Iterator[None]:
    """A block that reads a file or a folder of that name."""
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {called(path)}; check the path") from None
    except PermissionError:
        raise PermissionError(f"{called(path)} may not be read; check its permissions") from None
    except MemoryError as error:
        raise MemoryError(
            f"{called(path)} takes more memory than there is ({reason_of(error)}); read fewer rows, or write it again"
        ) from None
    except Exception as error:  # pyarrow raises of every kind: columns differ, a page is damaged, a type is not there
        raise ValueError(f"{called(path)} cannot be read as Parquet ({reason_of(error)}); write it again") from None
