"""In a worker: one process of the fit, from its partition of the ratings to its rows of the result."""

from __future__ import annotations

import json
import os
import socket
import uuid
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dmc import _extensions
from dmc._group import Group
from dmc.distributed.group import LostProcess, connected
from dmc.integrations.spark.columns import MARK
from dmc.recommend.recommender import Recommender

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
    feedback: str
    duplicates: str
    seed: int
    checkpoint: str | None
    timeout: float
    name: str = field(default_factory=lambda: uuid.uuid4().hex)


def missing(size: int) -> str:
    """What this worker lacks for a fit of so many processes, as a sentence; empty if nothing."""
    lacks = ""
    if _extensions.core is None:
        lacks = f"no compiled core of dmc ({_extensions.missing}); {_extensions.REMEDY}"
    elif size > 1:
        try:
            import torch.distributed
        except ImportError:
            lacks = "no PyTorch, by which several processes talk; install 'dmc[spark]' there"
        else:
            lacks = "" if torch.distributed.is_available() else "a PyTorch without torch.distributed; install another"
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
    own, refused, lost, told = None, "", None, []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            with _met(context, settings.timeout) as group:
                own = fit_shard(whole(batches), group, settings)
        except LostProcess as error:
            lost = error
        except (ValueError, TypeError, OSError, ImportError, FloatingPointError) as error:
            refused = json.dumps({"error": type(error).__name__, "text": str(error)})
        told = [str(warning.message) for warning in caught if warning.category is UserWarning]
    of_all = [answer for answer in context.allGather(refused) if answer]
    rank, size = context.partitionId(), len(context.getTaskInfos())
    if of_all:
        if rank == 0:
            yield _telling(of_all[0], schema)
        return
    if lost is not None:
        raise lost
    assert own is not None
    if rank == 0:
        yield _telling(json.dumps(_of_all(own, told)), schema)
    yield from _rows(own.users_.ids, own.user_factors, "user", schema)
    share = slice(len(own.items_) * rank // size, len(own.items_) * (rank + 1) // size)
    yield from _rows(own.items_.ids[share], own.item_factors[share], "item", schema)


def whole(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches, in which no value may be missing."""
    for batch in batches:
        for name, values in zip(batch.schema.names, batch.columns, strict=True):
            if values.null_count:
                raise ValueError(
                    f"column {name!r} has rows without a value; leave them out: df.dropna(subset=[{name!r}])"
                )
        yield batch


def fit_shard(batches: Iterator[pa.RecordBatch], group: Group, settings: Settings) -> Any:
    """The own part of the model: all items, and own users."""
    # Until there is dmc.distributed.Recommender: every process gathers all, and hands out its share of the users.
    own = list(batches)
    sink = pa.BufferOutputStream()
    if own:
        with pa.ipc.new_stream(sink, own[0].schema) as writer:
            for batch in own:
                writer.write_batch(batch)
    pieces = group.gather(np.frombuffer(sink.getvalue(), np.uint8))
    tables = [pa.ipc.open_stream(pa.py_buffer(piece.tobytes())).read_all() for piece in pieces if len(piece)]
    if not tables:
        raise ValueError("the table holds no rating; give at least one")
    table = pa.concat_tables(tables)
    named: Any = {"rating": settings.rating} if settings.rating else {}
    feedback: Any = settings.feedback
    duplicates: Any = settings.duplicates
    rec = Recommender(settings.rank, feedback=feedback, random_state=settings.seed).fit(
        {name: table.column(name).to_numpy() for name in table.column_names},
        user=settings.user,
        item=settings.item,
        duplicates=duplicates,
        time=settings.time,
        **named,
    )
    mine = group.share(len(rec.users_))
    return SimpleNamespace(
        users_=SimpleNamespace(ids=rec.users_.ids[mine]),
        user_factors=rec.user_factors[mine],
        items_=rec.items_,
        item_factors=rec.item_factors,
        cold_start_factors_=rec.cold_start_factors_,
        mean_=rec.mean_,
        range_=rec.range_,
        rank_=rec.rank_,
        noise_=rec.noise_,
    )


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


def _of_all(own: Any, told: list[str]) -> dict[str, Any]:
    """What there is once, and not for each user or item."""
    user, item = own.cold_start_factors_
    return {
        "mean": own.mean_,
        "range": list(own.range_),
        "rank": own.rank_,
        "noise": own.noise_,
        "items": len(own.items_),
        "cold_start": {"user": user.tolist(), "item": item.tolist()},
        "warnings": told,
    }


def _telling(text: str, schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"told": text}], schema=schema)


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
