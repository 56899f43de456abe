"""The columns of a Parquet file, or of a folder of such files: each is read when it is asked for, and not kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc.recommend.tables.packed_column import PackedColumn

SUFFIXES = (".parquet", ".pq")
TEXTS = ("string", "large_string", "string_view")  # Arrow's names of its types
WHOLE = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32")


def is_parquet(path: Path) -> bool:
    """Whether it is named so, or a folder that such files are in."""
    return path.suffix.lower() in SUFFIXES or (
        path.is_dir() and any(one.suffix.lower() in SUFFIXES for one in path.rglob("*"))
    )


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
        path, source = origin, [str(one) for one in paths or files_in(origin)] or origin
        try:
            from pyarrow import parquet
        except ImportError:
            raise ImportError(f"{path} is Parquet, which needs pyarrow; run: pip install pyarrow") from None
        self._path = path
        with words_for_failure(path):
            self._files = parquet.ParquetDataset(source, pre_buffer=False)  # which would hold whole columns, packed
            self.names: list[str] = self._files.schema.names

    def __getitem__(self, name: str) -> NDArray[Any]:
        size, first = self.count_rows(), 0
        with words_for_failure(self._path):
            if size == 0:
                return np.asarray(self._files.read([name]).column(0).to_numpy())
            values: NDArray[Any] | None = None
            for part in self._parts(name):  # as one table they would stand in memory twice
                if values is None:
                    values = np.empty(size, part.dtype)
                elif part.dtype != values.dtype:  # values are missing in some parts only
                    values = values.astype(np.result_type(values, part))
                values[first : first + len(part)] = part
                first += len(part)
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
                    part = part.dictionary_encode()
                if hasattr(part, "dictionary"):
                    if str(part.type.value_type) not in TEXTS or part.dictionary.null_count:
                        return None
                    codes = part.indices.to_numpy()
                    occurs = np.zeros(len(part.dictionary), bool)
                    occurs[codes] = True
                    texts = part.dictionary.filter(occurs).to_numpy(zero_copy_only=False).tolist()
                    column.add_codes(texts, (np.cumsum(occurs) - 1)[codes])
                elif str(part.type) in WHOLE:
                    column.add_numbers(part.to_numpy())
                else:
                    return None
        return column

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def count_rows(self) -> int:
        """Told by the files' footers."""
        with words_for_failure(self._path):
            return sum(fragment.count_rows() for fragment in self._files.fragments)


def files_in(folder: Path) -> list[Path]:
    """Those of a folder that are Parquet by name, beside whatever else is there; as Spark, without its hidden ones."""
    return sorted(
        path
        for path in (folder.rglob("*") if folder.is_dir() else ())
        if path.suffix.lower() in SUFFIXES and not any(part[0] in "._" for part in path.relative_to(folder).parts)
    )


@contextmanager
def words_for_failure(path: Path) -> Iterator[None]:
    """A block that reads a file or a folder of that name."""
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}; check the path") from None
    except (ValueError, TypeError, NotImplementedError, OSError) as error:  # the second and third: columns differ
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(f"{path} cannot be read as Parquet ({reason}); write it again") from None
