"""Ids in Arrow: as the vocabulary of a single process has them, and back from bytes."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dmc.distributed import ids
from dmc.distributed.ids import Distinct, read_ids, restored, stored
from dmc.recommend.tables.vocabulary import as_ids

COLUMNS = {
    "int32": pa.array([3, 1, 3], pa.int32()),
    "bool": pa.array([True, False, True]),
    "uint64": pa.array([2**64 - 1, 1, 2**64 - 1], pa.uint64()),
    "real": pa.array([1.5, 2.0, 1.5]),
    "text": pa.array(["b", "é", "b"]),
    "numbers in text": pa.array(["7.0", "12", "7.0"]),
    "category": pa.array(["b", "a", "b"]).dictionary_encode(),
    "bytes": pa.array([b"\xff", b"a", b"\xff"]),
    "date": pa.array([18262, 0, 18262], pa.date32()),
    "time": pa.array([18262 * 86400 + 1, 0, 18262 * 86400 + 1], pa.timestamp("s")),
}


@pytest.mark.parametrize("name", list(COLUMNS))
def test_ids_are_those_of_one_process(name: str) -> None:
    column = COLUMNS[name]
    expected = as_ids(ids.decoded(column).to_numpy(zero_copy_only=False), name)
    found = read_ids(column, name)
    assert found.spread(found.known).tolist() == expected.tolist()
    as_text = name not in ("int32", "bool")
    array = found.stored(as_text)
    assert restored(array, numbers=expected.dtype.kind != "U").tolist() == expected.tolist()
    assert array.type == (pa.binary() if as_text else pa.int64())


def test_numbers_stay_text_beside_words_of_another_process() -> None:
    array = stored(np.array([7, -3]), as_text=True)
    assert restored(array, numbers=False).tolist() == ["7", "-3"]
    assert restored(array, numbers=True).tolist() == [7, -3]
    assert restored(array[:0], numbers=False).dtype.kind == "U"


def test_ids_arrive_as_they_left() -> None:
    first, second = stored(np.array(["a", "é"]), True), stored(np.array(["b", "a"]), True)
    sent = [ids.ids_to_bytes(first), ids.ids_to_bytes(second[:0]), ids.ids_to_bytes(second)]
    assert restored(ids.ids_from_bytes(sent, pa.binary()), False).tolist() == ["a", "é", "b"]
    assert len(ids.ids_from_bytes(sent[1:2], pa.binary())) == 0


def test_different_ids_are_kept_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "FEW", 50)
    rng, found, given = np.random.default_rng(0), Distinct(), []
    sizes: list[Any] = []
    for _ in range(100):
        given.append(rng.integers(0, 200, 40))
        found.add(pa.array(given[-1]))
        sizes.append(found._size)
    assert sorted(found.all(pa.int64()).to_pylist()) == np.unique(given).tolist()
    assert max(sizes) < 300  # of 4,000 ids
    assert len(Distinct().all(pa.binary())) == 0
