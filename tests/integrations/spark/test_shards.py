"""A process of the fit: what it lacks, what it refuses, and its rows of the result."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("pyspark", reason="pyspark is not installed here; `make spark` runs these tests with it")

import pyarrow as pa

from dmc import _extensions
from dmc.integrations.spark import shards

SCHEMA = pa.schema(
    [("user", pa.int32()), ("item", pa.string()), ("features", pa.list_(pa.float32())), ("told", pa.string())]
)
SETTINGS = shards.Settings("user", "item", "rating", None, None, "explicit", "error", 0, None, 60.0)


class Alone:
    """A barrier of one task."""

    def partitionId(self) -> int:
        return 0

    def getTaskInfos(self) -> list:
        return [SimpleNamespace(address="here:1")]

    def allGather(self, said: str) -> list[str]:
        return [said]


def table(**columns: list) -> list[pa.RecordBatch]:
    given = {"user": [1, 1, 2, 3], "item": ["=7", "=a", "=7", "=a"], "rating": [1.0, 2.0, 4.0, 5.0]} | columns
    return [pa.RecordBatch.from_pydict(given)]


def test_rows_of_the_result() -> None:
    found = pa.Table.from_batches(shards.fit(Alone(), table(), SETTINGS, SCHEMA)).to_pylist()
    assert [row["user"] for row in found if row["user"] is not None] == [1, 2, 3]
    assert sorted(row["item"] for row in found if row["item"] is not None) == ["7", "a"]
    assert len({len(row["features"]) for row in found if row["features"]}) == 1
    assert sum(row["told"] is not None for row in found) == 1


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"rating": [1.0, None, 2.0, 3.0]}, "column 'rating' has rows without a value; leave them out: df.dropna"),
        ({"user": [1, None, 2, 3]}, "column 'user' has rows without a value"),
        ({"user": [1, 1, 1, 1], "item": ["=a"] * 4}, "3 ratings repeat a user and an item given before"),
        ({"rating": [1.0, np.nan, 2.0, 3.0]}, "1 missing or infinite rating"),
        ({"user": [], "item": [], "rating": []}, "no rating"),
    ],
    ids=["null rating", "null id", "duplicates", "nan", "nothing"],
)
def test_bad_input_is_told_in_a_row(columns: dict, said: str) -> None:
    [row] = pa.Table.from_batches(shards.fit(Alone(), table(**columns), SETTINGS, SCHEMA)).to_pylist()
    assert "ValueError" in row["told"]
    assert said in row["told"]


def test_warnings_of_the_fit_are_told() -> None:
    found = pa.Table.from_batches(shards.fit(Alone(), table(rating=[3.0] * 4), SETTINGS, SCHEMA)).to_pylist()
    assert "the ratings show no noise" in next(row["told"] for row in found if row["told"])


def test_what_a_worker_lacks(monkeypatch) -> None:
    assert shards.missing(2) == ""
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "has no PyTorch" in shards.missing(2)
    assert shards.missing(1) == ""
    monkeypatch.setattr(_extensions, "core", None)
    assert "has no compiled core of dmc" in shards.missing(1)


def test_the_loopback_is_for_one_machine_only(monkeypatch) -> None:
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    with shards._by_loopback(True):
        assert os.environ["GLOO_SOCKET_IFNAME"] in ("lo", "lo0")
    with shards._by_loopback(False):
        assert "GLOO_SOCKET_IFNAME" not in os.environ
