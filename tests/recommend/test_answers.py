"""Answers as frames, dicts of arrays and records; names that would collide in them."""

import datetime
import decimal
import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from dmc import Recommender
from dmc.recommend import answers
from dmc.recommend.tables.table import Table

TABLE = {"user": np.array([4, 9]), "item": np.array(["a", "b"])}
NEW = {"prediction": np.array([1.5, np.nan], np.float32), "known": np.array([True, False])}


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    user, item = np.nonzero(rng.random((30, 20)) < 0.5)
    return Recommender(2).fit({"user": user, "item": item, "rating": rng.integers(1, 6, len(user))})


def test_records_are_what_json_takes_and_gives_back():
    found = answers.added_to(Table.open(TABLE), NEW, "records")
    assert found == [
        {"user": 4, "item": "a", "prediction": 1.5, "known": True},
        {"user": 9, "item": "b", "prediction": None, "known": False},
    ]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert [type(value) for value in found[0].values()] == [int, str, float, bool]


def test_any_column_of_the_table_becomes_plain():
    """Whatever came with the pairs: dates, missing values, NumPy's own numbers, lists, decimals."""
    columns = {
        "when": np.array(["2026-01-02T03:04", "NaT"], "datetime64[ns]"),
        "day": np.array([datetime.date(2026, 1, 2), None], object),
        "mixed": np.array([np.int64(7), np.float32("inf")], object),
        "tags": np.fromiter([["x", np.float64("nan")], [1]], object),
        "price": np.array([decimal.Decimal("1.25"), pd.NA], object),
        "small": np.array([0.5, np.inf], np.float16),
    }
    first, second = answers.given_back(Table.open({}), columns, "records")
    assert json.loads(json.dumps([first, second], allow_nan=False)) == [first, second]
    assert first["when"].startswith("2026-01-02T03:04:00")
    assert second["when"] is None
    assert (first["day"], second["day"]) == ("2026-01-02", None)
    assert (first["mixed"], second["mixed"]) == (7, None)
    assert type(first["mixed"]) is int
    assert (first["tags"], second["tags"]) == (["x", None], [1])
    assert (first["price"], second["price"]) == (1.25, None)
    assert (first["small"], second["small"]) == (0.5, None)


@pytest.mark.parametrize("kind", [dict, pd.DataFrame, pl.DataFrame, pa.table])
def test_frames_are_of_the_tables_kind_or_else_of_pandas(kind):
    source = Table.open(kind(TABLE))
    expected = pd.DataFrame if kind is dict else type(kind(TABLE))
    for found in (answers.added_to(source, NEW, "frame"), answers.given_back(source, NEW, "frame")):
        assert isinstance(found, expected)
    assert list(Table.open(answers.added_to(source, NEW, "frame")).names) == ["user", "item", "prediction", "known"]
    assert type(answers.added_to(source, NEW, None)) is type(kind(TABLE))
    arrays = answers.added_to(source, NEW, "dict")
    assert list(arrays) == ["user", "item", "prediction", "known"]
    for name, values in {**TABLE, **NEW}.items():
        np.testing.assert_array_equal(arrays[name], values)


@pytest.mark.parametrize(
    "ask",
    [
        lambda rec, **how: rec.recommend([3, "?"], 2, **how),
        lambda rec, **how: rec.similar_items([1, 2], 2, **how),
        lambda rec, **how: rec.similar_users(1, 2, **how),
        lambda rec, **how: rec.explain(3, 1, 3, **how),
        lambda rec, **how: rec.predict({"user": [1, 99], "item": [2, 3]}, **how),
    ],
)
def test_every_question_has_every_form_of_answer(ask, fitted):
    arrays = ask(fitted, output="dict")
    for name, values in ask(fitted).items():
        np.testing.assert_array_equal(values, arrays[name])
    pd.testing.assert_frame_equal(ask(fitted, output="frame"), pd.DataFrame(arrays))
    records = ask(fitted, output="records")
    assert json.loads(json.dumps(records, allow_nan=False)) == records
    assert records == [
        dict(zip(arrays, row, strict=True)) for row in zip(*(v.tolist() for v in arrays.values()), strict=True)
    ]
    with pytest.raises(ValueError, match="output is 'json'; choose one of 'frame', 'dict', 'records'"):
        ask(fitted, output="json")


@pytest.mark.parametrize("name", answers.RESERVED)
@pytest.mark.parametrize("told", ["user", "item", "rating"])
def test_columns_are_not_called_as_those_of_answers(name, told):
    table = {"user": [1, 2], "item": [1, 2], "rating": [1, 2]}
    table[name] = table.pop(told)
    message = f"the column of {told}s is called '{name}', like a column of the answers; rename it in the table"
    with pytest.raises(ValueError, match=message):
        Recommender().fit(table, **{told: name})
