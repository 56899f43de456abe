"""Rows that wait on disk, apart by their parts: what is read once is dealt part by part."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc._group import N_PARTS
from dmc.distributed.arrow import ipc, pa

N_BUCKETS = 64
OF_BUCKET = N_PARTS // N_BUCKETS  # parts in each
BUFFER = 1 << 16  # bytes


class Buckets:
    """Files without names, which are gone when the process is, however it ends.

    Parameters
    ----------
    folder : path, optional
        On a disk with room for the rows; left out: where the system has its temporary files.
    """

    def __init__(self, folder: str | os.PathLike[str] | None) -> None:
        self._folder = Path(tempfile.gettempdir() if folder is None else folder)
        self._open = ExitStack()
        self._files: dict[int, Any] = {}
        self._writers: dict[int, Any] = {}

    def __enter__(self) -> Buckets:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # a full disk, which was told of, cannot take what is left to write either
            self._open.close()

    def add(self, batch: Any, parts: NDArray[np.int64]) -> None:
        """Some rows, of which (rows,) parts; they stay in their order."""
        bucket = (parts // OF_BUCKET).astype(np.uint8)
        order = np.argsort(bucket, kind="stable")
        ends = np.concatenate([[0], np.cumsum(np.bincount(bucket, minlength=N_BUCKETS))])
        ordered = batch.append_column("part", pa.array(parts.astype(np.int16))).take(pa.array(order))
        with self._words_for_a_full_disk():
            for i in np.flatnonzero(np.diff(ends)).tolist():
                self._writer(i, ordered.schema).write_batch(ordered.slice(ends[i], ends[i + 1] - ends[i]))

    def _writer(self, bucket: int, schema: Any) -> Any:
        if bucket not in self._writers:
            unnamed = tempfile.TemporaryFile(dir=self._folder, buffering=BUFFER)  # noqa: SIM115, as many are open
            file = self._open.enter_context(unnamed)
            self._files[bucket] = file
            self._writers[bucket] = ipc.new_stream(file, schema)
        return self._writers[bucket]

    def finish(self) -> None:
        """All rows were added."""
        with self._words_for_a_full_disk():
            for bucket, writer in self._writers.items():
                writer.close()
                self._files[bucket].seek(0)

    def read(self, buckets: Iterable[int], count: int) -> Iterator[Any]:
        """The rows of some buckets, so many at a time, as batches with their parts; the room that they took is given
        back."""
        waiting: list[Any] = []
        size = 0
        for batch in chain.from_iterable(map(self._batches, buckets)):
            waiting.append(batch)
            size += batch.num_rows
            while size >= count:
                table = pa.Table.from_batches(waiting)
                yield _joined(table.slice(0, count))
                waiting, size = table.slice(count).to_batches(), size - count
        if size:
            yield _joined(pa.Table.from_batches(waiting))

    def _batches(self, bucket: int) -> Iterator[Any]:
        if bucket in self._files:
            yield from ipc.open_stream(self._files[bucket])
            self._files.pop(bucket).close()

    @contextmanager
    def _words_for_a_full_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error).splitlines()[0]
            raise OSError(
                f"rows cannot wait in {self._folder} ({reason}); name a folder on a disk with room as scratch"
            ) from error


def _joined(table: Any) -> Any:
    return table.combine_chunks().to_batches()[0]
