"""One Spark for all of these tests: its start takes longer than most of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import numpy as np
import pytest

import dmc

try:
    import pyspark
except ImportError:
    pyspark = None
else:  # before the Java machine starts, which hands them on to its workers
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable

FAR = 5_000_000_000  # no int holds such a user's id
SPELT = ["7", "007", "7.0", "+7", "a.b", "", "ø"]  # of the first items: none of them is another one


@pytest.fixture(scope="session")
def spark() -> Iterator:
    """Two slots on this machine, where a task may fail and be run again."""
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[2,4]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "2")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


@pytest.fixture(scope="session")
def item_ids(ratings) -> np.ndarray:
    """(items,) the text that stands for each of the numbers in `ratings`."""
    count = len(np.unique(ratings["item"]))
    return np.array([*SPELT, *(f"film {i}" for i in range(count - len(SPELT)))], dtype=object)


@pytest.fixture(scope="session")
def frame(spark, ratings, item_ids):
    """`ratings` with users beyond the range of int, and items of text."""
    import pandas as pd

    position = np.unique(ratings["item"], return_inverse=True)[1]
    table = {"user": ratings["user"] + FAR, "item": item_ids[position], "rating": ratings["rating"]}
    return spark.createDataFrame(pd.DataFrame(table)).persist()


@pytest.fixture(scope="session")
def alone(ratings, item_ids) -> dmc.Recommender:
    """The same fit, without Spark, in one process; its items are those ids with the mark of a text."""
    import pyarrow as pa

    from dmc.distributed import Recommender
    from dmc.integrations.spark.columns import MARK

    position = np.unique(ratings["item"], return_inverse=True)[1]
    items = [MARK + id for id in item_ids[position]]
    rows = {"user": ratings["user"] + FAR, "item": items, "rating": ratings["rating"].astype(np.float32)}
    return Recommender().fit([pa.RecordBatch.from_pydict(rows)]).own_


@pytest.fixture(scope="session")
def model(frame):
    """What two processes fit together."""
    from dmc.integrations.spark import Recommender

    return Recommender(numProcesses=2).fit(frame)
