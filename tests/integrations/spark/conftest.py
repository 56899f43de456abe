"""One Spark for all of these tests: its start takes longer than most of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

try:
    import pyspark
except ImportError:
    pyspark = None

if pyspark is not None:  # before the Java machine starts, which hands them on to its workers
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable


@pytest.fixture(scope="session")
def spark() -> Iterator:
    """Two slots on this machine."""
    pytest.importorskip("pyspark", reason="pyspark is not installed here; `make spark` runs these tests with it")
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "2")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()
