"""`dmc.distributed fit` as several processes run it, each of which is told who it is, and what becomes of it."""

from __future__ import annotations

import io
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from processes import free_port

TIMEOUT = 20.0


class Ended(NamedTuple):
    """How a process ended."""

    status: int
    told: str
    printed: str


class Case(NamedTuple):
    """Arguments behind `fit`, those of the second process where it is told something else, and what hinders it."""

    arguments: Sequence[str]
    second: Sequence[str] | None = None
    hindered: str = ""  # a name of `HINDRANCES`
    timeout: float = TIMEOUT
    port: int | None = None


def ratings(m: int = 240, n: int = 40, per: int = 12, seed: int = 0) -> dict[str, Any]:
    """Of rank 2, with some noise."""
    rng = np.random.default_rng(seed)
    U, V = rng.standard_normal((m, 2)), rng.standard_normal((n, 2))
    users = np.repeat(np.arange(m), per)
    items = np.concatenate([rng.choice(n, per, replace=False) for _ in range(m)])
    values = 3 + (U[users] * V[items]).sum(axis=1) / 2 + 0.3 * rng.standard_normal(len(users))
    return {"user": users, "item": items, "rating": values.astype(np.float32)}


def written(folder: Path, table: Mapping[str, Any], n_files: int = 3) -> str:
    """A folder of Parquet files, the last of which is longer than the others."""
    folder.mkdir(parents=True)
    count = len(next(iter(table.values())))
    cuts = [0, *(count * (i + 1) // (2 * n_files) for i in range(n_files - 1)), count]
    for i, (a, b) in enumerate(pairwise(cuts)):
        pq.write_table(pa.table({name: column[a:b] for name, column in table.items()}), folder / f"{i}.parquet")
    return str(folder)


def run(size: int, cases: Mapping[str, Case]) -> dict[str, list[Ended]]:
    """How the processes end, in their order, case after case."""
    ports = {name: free_port() if case.port is None else case.port for name, case in cases.items()}
    with ProcessPoolExecutor(size, multiprocessing.get_context("spawn")) as pool:  # which tells of a process that dies
        found = list(pool.map(_one, range(size), [size] * size, [dict(cases)] * size, [ports] * size))
    return {name: [of_one[name] for of_one in found] for name in cases}


def _one(rank: int, size: int, cases: Mapping[str, Case], ports: Mapping[str, int]) -> dict[str, Ended]:
    os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "RANK": f"{rank}", "WORLD_SIZE": f"{size}"}
    return {name: ended(rank, case, ports[name]) for name, case in cases.items()}


def ended(rank: int, case: Case, port: int) -> Ended:
    """What `main` does in this very process."""
    from dmc.distributed.__main__ import main

    os.environ["MASTER_PORT"] = f"{port}"
    told, printed = io.StringIO(), io.StringIO()
    given = case.arguments if rank == 0 or case.second is None else case.second
    with ExitStack() as stack:
        stack.enter_context(redirect_stderr(told))
        stack.enter_context(redirect_stdout(printed))
        if case.hindered:
            stack.enter_context(HINDRANCES[case.hindered](rank))
        status = main(["fit", *given, "--timeout", f"{case.timeout:g}"])
    return Ended(status, told.getvalue(), printed.getvalue())


# --- what is wrong with a process


@contextmanager
def _without_torch(rank: int) -> Iterator[None]:
    if rank == 0:
        yield
        return
    with mock.patch.dict(sys.modules, {"torch": None, "torch.distributed": None}):
        yield


@contextmanager
def _without_core(rank: int) -> Iterator[None]:
    from dmc import _extensions

    if rank == 0:
        yield
        return
    with mock.patch.object(_extensions, "core", None), mock.patch.object(_extensions, "missing", "it is not there"):
        yield


@contextmanager
def _short_of_disk(rank: int, room: int) -> Iterator[None]:
    """No file of process 1 has more room than so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if rank == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def _without_folder(rank: int) -> Iterator[None]:
    """The checkpoint folder goes with the third snapshot that is to be kept in it."""
    import shutil

    from dmc.distributed.checkpoint import Checkpoint

    keep, n_kept = Checkpoint.keep, 0

    def vanishing(self: Checkpoint, name: str, snapshot: Any) -> None:
        nonlocal n_kept
        n_kept += 1
        if n_kept == 3 and rank == 0:
            shutil.rmtree(self.folder)
        keep(self, name, snapshot)

    with mock.patch.object(Checkpoint, "keep", vanishing):
        yield


@contextmanager
def _before_dealing(rank: int, act: Callable[[], object]) -> Iterator[None]:
    """The second process does something while the first one waits for it."""
    from dmc.distributed import recommender

    deal = recommender.deal

    def later(*args: Any) -> Any:
        if rank == 1:
            act()
        return deal(*args)

    with mock.patch.object(recommender, "deal", later):
        yield


def _ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests may have it ignored
    os.kill(os.getpid(), signal.SIGINT)


HINDRANCES = {
    "interrupted": lambda rank: _before_dealing(rank, _ctrl_c),
    "late": lambda rank: _before_dealing(rank, lambda: time.sleep(4)),
    "no torch": _without_torch,
    "no core": _without_core,
    "no scratch": lambda rank: _short_of_disk(rank, 1_000),
    "no room of the first": lambda rank: _short_of_disk(1 - rank, 8_000),
    "no room": lambda rank: _short_of_disk(rank, 8_000),
    "no folder": _without_folder,
}
