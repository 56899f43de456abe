"""Several processes of a test, that talk over the loopback; they stay for tests to come, as a start takes seconds."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from dmc.distributed.group import connected

TIMEOUT = 60.0
_pools: list[ProcessPoolExecutor] = []  # of one process each


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def run_processes(size: int, target: Callable[..., Any], *args: Any) -> list[Any]:
    """What each of so many processes returns of `target(group, *args)`, a function of a module that can be imported."""
    while len(_pools) < size:
        _pools.append(ProcessPoolExecutor(1, multiprocessing.get_context("spawn")))
    port = free_port()
    asked = [pool.submit(_one, rank, size, port, target, args) for rank, pool in enumerate(_pools[:size])]
    try:
        return [_of(future) for future in asked]
    except BrokenProcessPool:
        _pools.clear()
        raise


def _of(future: Future[Any]) -> Any:
    return future.result(timeout=5 * TIMEOUT)


def _one(rank: int, size: int, port: int, target: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    with connected(rank, size, "127.0.0.1", port, timeout=TIMEOUT) as group:
        return target(group, *args)
