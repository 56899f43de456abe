"""The columns of a Parquet file, or of a folder of such files: each is read when it is asked for, and not kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SUFFIXES = (".parquet", ".pq")


class ParquetColumns(Mapping[str, NDArray[Any]]):
    """Arrays by name, as a dict of them; but a hundred million ratings are never in memory beside what is made of them.

    Parameters
    ----------
    path : path
        Of a file, or of a folder.

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

    def __init__(self, path: Path) -> None:
        try:
            from pyarrow import parquet
        except ImportError:
            raise ImportError(f"{path} is Parquet, which needs pyarrow; run: pip install pyarrow") from None
        self._path = path
        with _words_for_failure(path):
            self._files = parquet.ParquetDataset(path, pre_buffer=False)  # which would hold whole columns, packed
            self.names: list[str] = self._files.schema.names

    def __getitem__(self, name: str) -> NDArray[Any]:
        size, first = self.count_rows(), 0
        with _words_for_failure(self._path):
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
        for file in self._files.fragments:
            for batch in file.to_batches(self._files.schema, [name]):
                yield batch.column(0).to_numpy(zero_copy_only=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def count_rows(self) -> int:
        """Told by the files' footers."""
        with _words_for_failure(self._path):
            return sum(fragment.count_rows() for fragment in self._files.fragments)


@contextmanager
def _words_for_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}; check the path") from None
    except (ValueError, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(f"{path} cannot be read as Parquet ({reason}); write it again") from None
