"""The fit as one barrier stage: all of its tasks run at the same time, and are one process of it each."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import ArrayType, DataType, FloatType, StringType, StructField, StructType

from dmc._warn import warn
from dmc.integrations.spark.columns import column
from dmc.integrations.spark.shards import TOLD, Settings

# While the stage is planned and runs: partitions stay as they were asked for; and batches of this size bound the memory
# of a process, which takes them one after the other.
SESSION = {"spark.sql.adaptive.enabled": "false", "spark.sql.execution.arrow.maxRecordsPerBatch": str(1 << 18)}
_one_fit = threading.Lock()  # two at a time would wait for each other's slots, and mix the session's settings


def fit(ratings: DataFrame, types: tuple[DataType, DataType], settings: Settings, size: int) -> tuple[DataFrame, Any]:
    """Fit in so many tasks.

    Behind the stage stands an exchange: were it the last one of its job, Spark would fail where a worker is lost, and
    not try again.

    Parameters
    ----------
    ratings : DataFrame
        As `columns.selected` makes it.
    types : pair of DataType
        Of the ids of users and of items.
    settings : Settings
    size : int

    Returns
    -------
    factors : DataFrame
        Columns "user", "item" (one of them null) and "features". Computed, and kept: in the checkpoint directory of
        the Spark context where one is set, else in memory and on disk.
    told : dict
        What there is once.

    Raises
    ------
    ValueError, TypeError, OSError, ImportError, FloatingPointError
        What one of the processes said.
    """
    schema = StructType(
        [
            StructField("user", types[0]),
            StructField("item", types[1]),
            StructField("features", ArrayType(FloatType())),
            StructField("told", StringType()),
        ]
    )
    session = ratings.sparkSession
    with _one_fit, _session_settings(session):
        task = _task(settings, size, to_arrow_schema(schema))
        # By user, for any other way would sort the rows first, so that a repeated task gets the same.
        spread = ratings.repartition(size, column(settings.user))
        found = spread.mapInArrow(task, schema, barrier=True)
        found = found.repartition(size, "user", "item").persist()
        try:
            told = _told(found)
        except BaseException:
            found.unpersist()
            raise
        if session.sparkContext.getCheckpointDir() is not None:
            kept = found.checkpoint()
            found.unpersist()
            found = kept
    return found.where(column("told").isNull()).drop("told"), told


def _task(settings: Settings, size: int, schema: Any) -> Callable[[Iterable[Any]], Iterator[Any]]:
    """What a task runs. It goes to the workers by value, so that it can tell of one where there is no dmc."""
    given = vars(settings)

    def run(batches: Iterable[Any]) -> Iterator[Any]:
        import json
        import socket

        import pyarrow as pa
        from pyspark import BarrierTaskContext

        context = BarrierTaskContext.get()
        if len(context.getTaskInfos()) < size:
            # An executor was lost later, and Spark wants its part of the factors again. A task that fails makes it run
            # all of the stage.
            raise RuntimeError("a part of a fit cannot be repeated alone")
        try:
            from dmc.integrations.spark import shards

            lacks = shards.missing(size)
        except ImportError as error:
            lacks = f"the worker on {socket.gethostname()} has no {error.name}; install 'dmc[spark]' there"
        lacks = next((said for said in context.allGather(lacks) if said), "")
        if not lacks:
            yield from shards.fit(context, batches, shards.Settings(**given), schema)
        elif context.partitionId() == 0:
            told = json.dumps({"error": "ImportError", "text": lacks})
            yield pa.RecordBatch.from_pylist([{"told": told}], schema=schema)

    return run


def _told(found: DataFrame) -> dict[str, Any]:
    """What the first process told of all, by the action that runs the fit, and fills what is kept."""
    found.count()
    rows = found.where(column("told").isNotNull()).select("told").collect()
    if not rows:  # Spark saw that the table is empty, and ran nothing
        raise ValueError("the table holds no rating; give at least one")
    told: dict[str, Any] = json.loads(rows[0][0])
    if "error" in told:
        raise TOLD.get(told["error"], RuntimeError)(told["text"])
    for message in told.pop("warnings"):
        warn(message)
    return told


@contextmanager
def _session_settings(session: SparkSession) -> Iterator[None]:
    before = {name: session.conf.get(name, None) for name in SESSION}
    try:
        for name, value in SESSION.items():
            session.conf.set(name, value)
        yield
    finally:
        for name, value in before.items():
            if value is None:
                session.conf.unset(name)
            else:
                session.conf.set(name, value)
