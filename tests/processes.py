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
    asked = [pool.submit(_one, rank, size, port, TIMEOUT, target, args) for rank, pool in enumerate(_pools[:size])]
    try:
        return [_of(future) for future in asked]
    except BrokenProcessPool:
        _pools.clear()
        raise


def alone(rank: int, target: Callable[..., Any], *args: Any) -> Any:
    """The same of one of two processes, the other of which does not come."""
    return _pools[rank].submit(_one, rank, 2, free_port(), TIMEOUT, target, args).result()


def _of(future: Future[Any]) -> Any:
    return future.result(timeout=5 * TIMEOUT)


def _one(rank: int, size: int, port: int, timeout: float, target: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    with connected(rank, size, "127.0.0.1", port, timeout=timeout) as group:
        return target(group, *args)
