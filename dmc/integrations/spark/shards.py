"""In a worker: one process of the fit, from its partition of the ratings to its rows of the result."""

from __future__ import annotations

import json
import os
import socket
import traceback
import uuid
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dmc import _extensions
from dmc._group import Group
from dmc.distributed.agreement import ElsewhereError
from dmc.distributed.group import LostProcess, connected
from dmc.distributed.recommender import Recommender
from dmc.integrations.spark.columns import MARK
from dmc.recommend.fitting import Duplicates
from dmc.recommend.recommender import Recommender as Own
from dmc.recommend.settings import Feedback

# Errors that the driver raises as they are.
TOLD: dict[str, type[Exception]] = {
    of.__name__: of for of in (ValueError, TypeError, OSError, ImportError, FileNotFoundError, FloatingPointError)
}
ROWS = 1 << 16  # of the result, in a batch


@dataclass(frozen=True)
class Settings:
    """What a fit is told, the same in every task.

    Attributes
    ----------
    user, item : str
        Names of the columns.
    rating, time : str or None
    rank : int or None
    feedback, duplicates : str
    seed : int
    checkpoint : str or None
    timeout : float
    name : str
        Of this fit alone: Spark would give the kept result of another one that is told the same of a table of the same
        name, whatever became of that.
    """

    user: str
    item: str
    rating: str | None
    time: str | None
    rank: int | None
    feedback: Feedback
    duplicates: Duplicates
    seed: int
    checkpoint: str | None
    timeout: float
    name: str = field(default_factory=lambda: uuid.uuid4().hex)


def missing(size: int) -> str:
    """What this worker lacks for a fit of so many processes, as a sentence; empty if nothing."""
    lacks = ""
    if _extensions.core is None:
        lacks = f"no compiled core of dmc ({_extensions.missing}); {_extensions.REMEDY}"
    elif size > 1 and find_spec("torch") is None:
        lacks = "no PyTorch, through which processes communicate; install 'dmc[spark]' there"
    return f"the worker on {socket.gethostname()} has {lacks}" if lacks else ""


def fit(context: Any, batches: Iterable[pa.RecordBatch], settings: Settings, schema: pa.Schema) -> Iterator[Any]:
    """Fit together with the other tasks of the barrier stage.

    Bad input is told in a row of the result, as to raise would have Spark try the stage again. Where a process was
    lost it shall: the error is raised.

    Parameters
    ----------
    context : pyspark.BarrierTaskContext
    batches : of the own partition
    settings : Settings
    schema : pyarrow.Schema
        Of the result: "user", "item" (of which one is null), "features", and "told", JSON in a row of its own.

    Yields
    ------
    pyarrow.RecordBatch
    """
    own, answers = _attempt(context, batches, settings)
    rank, size = context.partitionId(), len(answers)
    errors = [answer["refused"] for answer in answers if answer["refused"]]
    if errors:
        if rank == 0:
            yield _telling(errors[0], schema)
        return
    if not isinstance(own, Own):
        raise own
    if rank == 0:
        said = dict.fromkeys(message for answer in answers for message in answer["warned"])
        yield _telling(_of_all(own) | {"warnings": list(said)}, schema)
    yield from _rows(own.users_.ids, own.user_factors, "user", schema)
    share = slice(len(own.items_) * rank // size, len(own.items_) * (rank + 1) // size)
    yield from _rows(own.items_.ids[share], own.item_factors[share], "item", schema)


def _attempt(context: Any, batches: Iterable[pa.RecordBatch], settings: Settings) -> tuple[Any, list[dict[str, Any]]]:
    """The own part of the model, or the error that there is none; and what all processes say of theirs."""
    refused: dict[str, str] | None = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        own: Own | Exception
        try:
            with _met(context, settings.timeout) as group:
                own = fit_shard(batches, group, settings)
        except (LostProcess, ElsewhereError) as error:
            own = error
        except Exception as error:
            own, refused = error, described(error)
        warned = [str(warning.message) for warning in caught if warning.category is UserWarning]
    said = context.allGather(json.dumps({"refused": refused, "warned": warned}))
    return own, [json.loads(one) for one in said]


def whole(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches, in which no value may be missing."""
    for batch in batches:
        for name, values in zip(batch.schema.names, batch.columns, strict=True):
            if values.null_count:
                raise ValueError(
                    f"column {name!r} has rows without a value; leave them out: df.dropna(subset=[{name!r}])"
                )
        yield batch


def fit_shard(batches: Iterable[pa.RecordBatch], group: Group, settings: Settings) -> Own:
    """The own part of the model: all items, and own users."""
    named = {} if settings.rating is None else {"rating": settings.rating}
    scratch = os.environ.get("SPARK_LOCAL_DIRS", "").split(",")[0] or None  # where Spark's own rows wait
    return (
        Recommender(settings.rank, feedback=settings.feedback, random_state=settings.seed)
        .fit(
            whole(batches), settings.user, settings.item, duplicates=settings.duplicates, time=settings.time,
            group=group, checkpoint=settings.checkpoint, scratch=scratch, **named
        )
        .own_
    )  # fmt: skip


@contextmanager
def _met(context: Any, timeout: float) -> Iterator[Group]:
    """The group of all tasks: the first one offers a port, and a word by which those of one attempt know each other."""
    rank, hosts = context.partitionId(), [task.address.rpartition(":")[0] for task in context.getTaskInfos()]
    with socket.socket() as found:
        found.bind(("", 0))
        offer = f"{found.getsockname()[1]} {uuid.uuid4().int % 2**31}" if rank == 0 else ""
    port, life = context.allGather(offer)[0].split()
    alone = len(set(hosts)) == 1
    with (
        _by_loopback(alone),
        connected(
            rank, len(hosts), "127.0.0.1" if alone else hosts[0], int(port), timeout=timeout, life=int(life)
        ) as group,
    ):
        yield group


@contextmanager
def _by_loopback(alone: bool) -> Iterator[None]:
    """On one machine gloo need not find out which of its names others can reach."""
    before = os.environ.get("GLOO_SOCKET_IFNAME")
    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    if not alone or before is not None or loopback is None:
        yield
        return
    os.environ["GLOO_SOCKET_IFNAME"] = loopback
    try:
        yield
    finally:
        del os.environ["GLOO_SOCKET_IFNAME"]


def described(error: Exception) -> dict[str, str]:
    """An error for the driver: its class and sentence where it is one of those that users are told; else all of it."""
    if type(error).__name__ in TOLD:
        return {"error": type(error).__name__, "text": str(error)}
    return {"error": "RuntimeError", "text": "".join(traceback.format_exception(error))}


def _of_all(own: Own) -> dict[str, Any]:
    """What there is once, and not for each user or item."""
    user, item = own.cold_start_factors_
    return {
        "mean": own.mean_,
        "range": list(own.range_),
        "rank": own.rank_,
        "noise": own.noise_,
        "items": len(own.items_),
        "cold_start": {"user": user.tolist(), "item": item.tolist()},
    }


def _telling(told: dict[str, Any], schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"told": json.dumps(told)}], schema=schema)


def _rows(ids: Any, vectors: Any, side: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    kind = schema.field(side).type
    for start in range(0, len(ids), ROWS):
        some, features = pa.array(ids[start : start + ROWS]), vectors[start : start + ROWS]
        if pa.types.is_string(some.type):
            some = pc.utf8_slice_codeunits(some, len(MARK))
        columns = {field.name: pa.nulls(len(some), field.type) for field in schema}
        columns[side] = some.cast(kind)
        columns["features"] = lists(features)
        yield pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def lists(matrix: Any) -> pa.ListArray:
    """(rows,) a list of float32 for each row of a matrix."""
    rows, k = matrix.shape
    flat = pa.array(np.ascontiguousarray(matrix, np.float32).reshape(-1))
    return pa.ListArray.from_arrays(pa.array(np.arange(rows + 1, dtype=np.int32) * np.int32(k)), flat)
