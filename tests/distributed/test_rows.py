"""Batches in one form, and what is told of them beyond what stands in test_sources."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dmc.distributed.rows import Intake, judge
from dmc.recommend.fitting import Columns

COLUMNS = Columns("user", "item", "rating")
ALL = Columns("user", "item", "rating", "weight", "time")


def batch(**columns: Any) -> Any:
    given = {"user": [1, 2], "item": ["a", "b"], "rating": [3, 4], **columns}
    return pa.record_batch({name: pa.array(values) for name, values in given.items()})


def test_the_form_of_rows() -> None:
    intake = Intake(ALL, "explicit", 0)
    found = intake.take(batch(weight=[0.5, 1], time=np.array([5, 6], "M8[s]")))
    assert found is not None
    types = {name: str(column.type) for name, column in found.columns.items()}
    assert types == {"user": "int64", "item": "binary", "value": "float", "weight": "float", "time": "int64"}
    assert found.columns["time"].to_pylist() == [5, 6]
    assert found.users.known.tolist() == [1, 2]
    verdict = judge([intake.told()], ALL, "explicit")
    assert verdict == ({"user": False, "item": True}, {"user": True, "item": False}, True)


def test_counts_take_their_weights() -> None:
    intake = Intake(ALL._replace(time=None), "implicit", 0)
    found = intake.take(batch(weight=[0.5, 2]))
    assert found is not None
    assert found.columns["value"].to_pylist() == [1.5, 8]
    assert "weight" not in found.columns
    assert not judge([intake.told()], ALL, "implicit").weighted


def test_ids_are_text_if_one_process_has_a_word() -> None:
    told = []
    for items in (["7", "8"], ["x", "8"], []):
        intake = Intake(COLUMNS, "explicit", len(told))
        if items:
            intake.take(batch(item=items))
        told.append(intake.told())
    assert judge(told, COLUMNS, "explicit").numbers == {"user": True, "item": False}
    assert judge(told[::2], COLUMNS, "explicit").numbers == {"user": True, "item": True}


def test_faults_are_counted_over_processes_and_the_first_is_named() -> None:
    told = []
    for rank in range(3):
        intake = Intake(COLUMNS, "explicit", rank)
        assert intake.take(batch()) is not None
        for _ in range(rank):
            assert intake.take(batch(rating=[1.0, np.nan])) is None
        told.append(intake.told())
    sentence = "column 'rating' holds 3 missing or infinite ratings, the first in row 3 of process 1; drop those rows"
    with pytest.raises(ValueError, match=sentence):
        judge(told, COLUMNS, "explicit")


def test_rounding_is_judged_over_processes() -> None:
    told = []
    for value in (1e9, 1e9 + 1):  # in each process all are equal, and nothing is lost
        intake = Intake(COLUMNS, "explicit", 0)
        intake.take(batch(rating=[value, value]))
        told.append(intake.told())
    judge(told[:1], COLUMNS, "explicit")
    with pytest.raises(ValueError, match="ratings around 1e\\+09 that differ by less than float32 resolves"):
        judge(told, COLUMNS, "explicit")


def test_only_batches_are_taken() -> None:
    with pytest.raises(TypeError, match="the batches hold a dict; give Arrow record batches, such as"):
        Intake(COLUMNS, "explicit", 0).take({"user": [1]})


def test_a_column_that_stands_twice() -> None:
    twice = pa.RecordBatch.from_arrays([pa.array([1])] * 3, names=["user", "item", "item"])
    with pytest.raises(ValueError, match="a batch of process 2 has 2 columns 'item'"):
        Intake(COLUMNS, "explicit", 2).take(twice)
