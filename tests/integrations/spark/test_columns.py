"""Columns of a DataFrame that can be used, and those that cannot."""

from __future__ import annotations

import datetime

import pytest

pytest.importorskip("pyspark", reason="pyspark is not installed here; `make spark` runs these tests with it")

from pyspark.sql import functions as F
from pyspark.sql.types import LongType, StringType

from dmc.integrations.spark import columns

NAMED = (("user", "userCol"), ("item", "itemCol"))


@pytest.fixture(scope="module")
def table(spark):
    return spark.range(3).select(
        F.col("id").cast("short").alias("user"),
        F.concat(F.lit("0"), F.col("id")).alias("item"),
        F.col("id").cast("decimal(5,2)").alias("rating"),
        F.lit(datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC)).alias("at"),
        F.lit(datetime.date(1970, 1, 2)).alias("day"),
        (F.col("id") / 2).alias("half"),
        F.lit("x").alias("a.b c"),
    )


def test_what_the_fit_reads(table) -> None:
    read = columns.selected(table, NAMED, "rating", "at", clicks=False)
    assert read.schema.simpleString() == "struct<user:bigint,item:string,rating:float,at:bigint>"
    assert [tuple(row) for row in read.orderBy("user").collect()] == [
        (i, f"={'0'}{i}", float(i), 1_577_923_200_000_000) for i in range(3)
    ]


def test_times_of_any_kind(table) -> None:
    days, halves = (columns.selected(table, NAMED, "rating", name, clicks=False) for name in ("day", "half"))
    assert days.schema["day"].dataType == LongType()
    assert [row["half"] for row in halves.orderBy("user").collect()] == [0.0, 0.5, 1.0]
    with pytest.raises(TypeError, match="column 'item' has type string; cast the times to timestamp"):
        columns.selected(table, (("user", "userCol"), ("a.b c", "itemCol")), "rating", "item", clicks=False)


def test_clicks_have_no_column_of_ratings(table) -> None:
    assert columns.selected(table, NAMED, "", None, clicks=True).columns == ["user", "item"]
    with pytest.raises(ValueError, match="ratingCol is '', which is for implicitPrefs=True alone"):
        columns.selected(table, NAMED, "", None, clicks=False)


def test_names_with_dots_and_spaces(table) -> None:
    read = columns.selected(table, (("user", "userCol"), ("a.b c", "itemCol")), "rating", None, clicks=False)
    assert read.columns == ["user", "a.b c", "rating"]
    assert read.first()["a.b c"] == "=x"


@pytest.mark.parametrize(
    ("ids", "rating", "said"),
    [
        ((("who", "userCol"), NAMED[1]), "rating", "userCol is 'who', and the columns are user, item, rating, at"),
        ((("half", "userCol"), NAMED[1]), "rating", "'half' has type double, and ids are whole numbers or text; cast"),
        (NAMED, "at", "column 'at' has type timestamp; cast the ratings to float"),
        (NAMED, "stars", "ratingCol is 'stars', and the columns are"),
        (NAMED, "item", "itemCol and ratingCol are both 'item'; name two columns"),
    ],
    ids=["no such column", "ids of another type", "ratings of another type", "no ratings", "one column twice"],
)
def test_columns_that_cannot_be_used(table, ids, rating: str, said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        columns.selected(table, ids, rating, None, clicks=False)


def test_ids_of_the_other_kind_than_those_fitted(table) -> None:
    columns.fits(table, "user", "userCol", LongType())  # a short finds itself among longs
    with pytest.raises(TypeError, match="'user' has type smallint, and the ids of the model string; cast the column"):
        columns.fits(table, "user", "userCol", StringType())
