"""Rows that wait on disk come back bucket by bucket, in their order."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dmc.distributed import buckets
from dmc.distributed.buckets import N_BUCKETS, OF_BUCKET, Buckets


@contextmanager
def filled(parts: Any, pieces: int, folder: Path) -> Iterator[Buckets]:
    with Buckets(folder) as found:
        for rows in np.array_split(np.arange(len(parts)), pieces):
            found.add(pa.record_batch({"row": pa.array(rows)}), parts[rows])
        found.finish()
        yield found


@pytest.mark.parametrize("count", [1, 7, 10_000])
def test_rows_come_back_in_their_order(tmp_path: Path, count: int) -> None:
    parts = np.random.default_rng(0).integers(0, 1024, 500)
    with filled(parts, 4, tmp_path) as waiting:
        for some in (range(1), range(1, 20), range(20, N_BUCKETS)):
            batches = list(waiting.read(some, count))
            rows = np.concatenate([batch.column("row").to_numpy() for batch in batches])
            assert sorted(rows) == np.flatnonzero(np.isin(parts // OF_BUCKET, some)).tolist()
            assert (parts[rows] == np.concatenate([batch.column("part").to_numpy() for batch in batches])).all()
            assert all(batch.num_rows == count for batch in batches[:-1])
            of_bucket = parts[rows] // OF_BUCKET
            assert (np.diff(of_bucket * 1000 + rows) > 0).all()


def test_files_have_no_names(tmp_path: Path) -> None:
    with filled(np.arange(1024), 2, tmp_path) as waiting:
        assert list(tmp_path.iterdir()) == []
        assert sum(batch.num_rows for batch in waiting.read(range(N_BUCKETS), 100)) == 1024
        assert list(waiting.read(range(N_BUCKETS), 100)) == []


@pytest.mark.parametrize("buffering", [0, 1 << 16])
def test_a_full_disk(buffering: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(**_: Any) -> Any:
        return Path("/dev/full").open("w+b", buffering)

    monkeypatch.setattr(buckets.tempfile, "TemporaryFile", full)
    sentence = rf"rows cannot wait in {tmp_path} \(.*[Nn]o space left on device.*\); name a folder on a disk with room"
    with pytest.raises(OSError, match=sentence), filled(np.zeros(10, np.int64), 1, tmp_path):
        pass
