"""Several processes of a test, that talk over the loopback."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from typing import Any

from dmc.distributed.group import connected

TIMEOUT = 60.0


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def run_processes(size: int, target: Callable[..., Any], *args: Any) -> list[Any]:
    """What each of so many processes returns of `target(group, *args)`, a function of a module that can be imported."""
    port, context = free_port(), multiprocessing.get_context("spawn")
    with context.Pool(size) as pool:
        asked = [(rank, size, port, target, args) for rank in range(size)]
        return pool.starmap(_one, asked, chunksize=1)


def _one(rank: int, size: int, port: int, target: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    with connected(rank, size, "127.0.0.1", port, timeout=TIMEOUT) as group:
        return target(group, *args)
