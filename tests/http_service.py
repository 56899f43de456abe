"""examples/service.py in processes of its own, asked over the loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from example_scripts import EXAMPLES


class Client:
    """One connection, kept: one worker answers all of it."""

    def __init__(self, port: int) -> None:
        self.connection = HTTPConnection("127.0.0.1", port, timeout=60)

    def get(self, path: str, **query: Any) -> tuple[int, Any]:
        return self._asked("GET", f"{path}?{urlencode(query)}")

    def post(self, path: str, **body: Any) -> tuple[int, Any]:
        return self._asked("POST", path, json.dumps(body), {"Content-Type": "application/json"})

    def _asked(self, *request: Any) -> tuple[int, Any]:
        self.connection.request(*request)
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())

    def close(self) -> None:
        self.connection.close()


@contextmanager
def service(model: Path, workers: int, look_seconds: float = 0.02) -> Iterator[int]:
    """The port of a running service, which is ended with the block."""
    environment = os.environ | {
        "DMC_MODEL": str(model),
        "DMC_LOOK_SECONDS": str(look_seconds),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(EXAMPLES.parent), *sys.path[1:]]),
    }
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        # asyncio does so with sockets of its own; without, each answer waits 40 ms for an acknowledgement.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        port, handle = listening.getsockname()[1], listening.fileno()
        command = [sys.executable, "-m", "uvicorn", "service:app", "--app-dir", str(EXAMPLES), "--fd", str(handle)]
        command += ["--workers", str(workers), "--log-level", "warning"]
        server = subprocess.Popen(command, pass_fds=[handle], env=environment)
    try:
        deadline = time.monotonic() + 60
        while len({ask_health(port)["worker"] for _ in range(20)}) < workers:
            assert server.poll() is None, "the service ended by itself"
            assert time.monotonic() < deadline, "the workers do not start"
            time.sleep(0.1)
        yield port
    finally:
        server.terminate()
        server.wait(timeout=30)


def ask_health(port: int) -> dict[str, Any]:
    """What one of the workers says of itself."""
    client = Client(port)
    try:
        status, found = client.get("/health")
    finally:
        client.close()
    assert status == 200
    return found
