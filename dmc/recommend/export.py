"""Ids and vectors for other programs, such as vector databases, in files of formats that these read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dmc._whole_file import whole_file

Write: TypeAlias = Callable[[BinaryIO], object]


def export(
    folder: str | os.PathLike[str], format: str, tables: Mapping[str, tuple[NDArray[Any], NDArray[Any]]]
) -> list[Path]:
    """Write ids and vectors by name for other programs: NumPy's files, or Parquet with columns "id" and "vector".

    Each file appears whole or not at all, and none is put in place before all are written.

    Parameters
    ----------
    folder : path
        Made, if it is not there.
    format : {"npy", "parquet"}
    tables : mapping
        From names, such as "user", to (n,) ids and (n, rank) vectors.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    OSError
        If they cannot be written; those that were there stay.
    ImportError
        If Parquet is asked for and pyarrow is not installed.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; give the path of a folder")
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    with ExitStack() as together:
        for name, (ids, vectors) in tables.items():
            if format == "npy":
                files = {f"{name}s.npy": _npy(ids), f"{name}_factors.npy": _npy(vectors)}
            else:
                files = {f"{name}s.parquet": _parquet(ids, vectors)}
            for path, write in ((folder / file, write) for file, write in files.items()):
                file = together.enter_context(whole_file(path))
                write(file)
                file.flush()  # what fails, as on a full disk, fails before the first of them is put in place
                os.fsync(file.fileno())
                written.append(path)
    return written


def _npy(array: NDArray[Any]) -> Write:
    """Not by `tofile`, whose error of a full disk has no number."""
    if array.dtype.kind == "O":
        raise ValueError(
            "one id is far longer than the others, so a NumPy file would be too large; pass format='parquet'"
        )
    return lambda file: np.save(SimpleNamespace(write=file.write), array, allow_pickle=False)


def _parquet(ids: NDArray[Any], vectors: NDArray[Any]) -> Write:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise ImportError("Parquet needs pyarrow, which is not installed; run: pip install pyarrow") from None
    vector = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(vectors).ravel()), vectors.shape[1])
    table = pa.table({"id": pa.array(ids.tolist()), "vector": vector})
    return lambda file: parquet.write_table(table, file)
