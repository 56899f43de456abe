"""Predictions and lists of Arrow arrays, against the plain formula."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("pyspark", reason="pyspark is not installed here; `make spark` runs these tests with it")

import pyarrow as pa

from dmc.integrations.spark import answers
from dmc.integrations.spark.shards import lists

TOLD = {"mean": 3.0, "range": [1.0, 5.0], "cold_start": None}
COLD = TOLD | {"cold_start": {"user": [0.5, 1.0, 0.0], "item": [1.0, 0.25, 2.0]}}


@pytest.fixture
def sides() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((7, 3)).astype(np.float32), rng.standard_normal((5, 3)).astype(np.float32)


def with_null(matrix: np.ndarray, row: int) -> pa.Array:
    """Lists of the rows, one of which is null."""
    return pa.array([None if i == row else values.tolist() for i, values in enumerate(matrix)], pa.list_(pa.float32()))


def test_predictions_of_pairs(sides) -> None:
    users, items = sides[0][:5], sides[1]
    [found] = answers.predictions([(with_null(users, 1), with_null(items, 3))], TOLD)
    expected = np.clip(3 + np.sum(users * items, axis=1), 1, 5)
    expected[[1, 3]] = np.nan
    np.testing.assert_allclose(found.to_numpy(), expected, rtol=1e-6)


def test_who_is_not_known_gets_what_is_expected(sides) -> None:
    users, items = sides[0][:5].copy(), sides[1].copy()
    [found] = answers.predictions([(with_null(users, 1), with_null(items, 3))], COLD)
    users[1], items[3] = COLD["cold_start"]["user"], COLD["cold_start"]["item"]
    np.testing.assert_allclose(found.to_numpy(), np.clip(3 + np.sum(users * items, axis=1), 1, 5), rtol=1e-6)
    nobody = pa.nulls(2, pa.list_(pa.float32()))
    [found] = answers.predictions([(nobody, nobody)], COLD)
    np.testing.assert_allclose(found.to_numpy(), [3 + 0.5 + 0.25] * 2)
    [found] = answers.predictions([(nobody, nobody)], TOLD)
    assert np.isnan(found.to_numpy()).all()


def test_a_slice_of_an_array(sides) -> None:
    matrix, rows = answers.vectors(with_null(sides[0], 2)[1:4])
    np.testing.assert_array_equal(matrix, sides[0][[1, 3]])
    assert rows.tolist() == [0, -1, 1]


def batch(ids: list, matrix: np.ndarray) -> pa.RecordBatch:
    typed = pa.array(ids) if ids else pa.array(ids, pa.int64())
    return pa.RecordBatch.from_arrays([typed, lists(matrix)], names=["id", "features"])


@pytest.mark.parametrize("n", [1, 3, 9])
def test_best_items(sides, n: int) -> None:
    users, items = sides
    names = [f"i{j}" for j in range(5)]
    table = SimpleNamespace(value=pa.Table.from_batches([batch(names, items)]))
    [found] = answers.best_items([batch(list(range(7)), users)], table, n, TOLD, ("u", "i"))
    scores = users @ items.T
    for row, of_user in zip(scores, found.to_pylist(), strict=True):
        order = np.argsort(-row)[:n]
        assert [pair["i"] for pair in of_user["recommendations"]] == [names[j] for j in order]
        ratings = [pair["rating"] for pair in of_user["recommendations"]]
        np.testing.assert_allclose(ratings, np.clip(3 + row[order], 1, 5), rtol=1e-6)


@pytest.mark.parametrize("together", [1, 2, 100])
def test_best_users_of_a_partition_whatever_is_looked_at_together(sides, together: int, monkeypatch) -> None:
    monkeypatch.setattr(answers, "USERS", together)
    users, items = sides
    table = SimpleNamespace(value=pa.Table.from_batches([batch(list("abcde"), items)]))
    parts = [batch(list(range(a, b)), users[a:b]) for a, b in ((0, 1), (1, 1), (1, 5), (5, 7))]
    [found] = answers.best_users(parts, table, 3, ("u", "i"))
    for row, of_item in zip(items @ users.T, found.to_pylist(), strict=True):
        order = np.argsort(-row)[:3]
        assert [pair["u"] for pair in of_item["recommendations"]] == order.tolist()
        np.testing.assert_allclose([pair["rating"] for pair in of_item["recommendations"]], row[order], rtol=1e-5)
    assert list(answers.best_users([], table, 3, ("u", "i"))) == []
