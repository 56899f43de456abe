"""Starts the processes of a fit, by torchrun where there are several, and waits for what they found."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

PROCESS = Path(__file__).with_name("_fit_process.py")
NONE: Mapping[str, str] = {}


class Ran(NamedTuple):
    """What came of it: wall-clock seconds of the whole command, and the figures of each process."""

    seconds: float
    each: list[dict[str, Any]]

    def most(self, name: str) -> Any:
        return max(figures[name] for figures in self.each)


def command(size: int, told: dict[str, Any], restarts: int = 0) -> list[str]:
    """The command line of so many processes."""
    if size == 1 and not restarts:
        return [sys.executable, str(PROCESS), json.dumps(told)]
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    settings = {"nproc-per-node": size, "master-addr": "127.0.0.1", "master-port": port, "max-restarts": restarts}
    options = [f"--{name}={value}" for name, value in settings.items()]
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        *options,
        "--monitor-interval=0.2",
        str(PROCESS),
        json.dumps(told),
    ]


def environment(threads: int) -> dict[str, str]:
    """Of processes of so many threads, that talk over the loopback."""
    path = os.pathsep.join([str(PROCESS.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    of_threads = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL")}
    return os.environ | of_threads | {"GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}


def told(task: str, folder: Path, files: Sequence[Path], arguments: dict[str, Any], **process: Any) -> dict[str, Any]:
    """What `_fit_process.py` is to do."""
    given = {"task": task, "folder": str(folder), "files": [str(path) for path in files], "arguments": arguments}
    return given | process


def run(
    size: int,
    threads: int,
    task: str,
    folder: Path,
    files: Sequence[Path],
    variables: Mapping[str, str] = NONE,
    **given: Any,
) -> Ran:
    """Run the task in so many processes; those that fail say why, and nothing is measured.

    Parameters
    ----------
    size, threads : int
        Processes, and the threads of each.
    task : str
        Of `_fit_process.TASKS`.
    folder : path
        New; for what comes of it.
    files : sequence of paths
    variables : mapping
        Further ones of the environment.
    **given
        "arguments" of the task; "address_space" in bytes, "timeout" in seconds, of each process.
    """
    folder.mkdir()
    began = time.perf_counter()
    line = command(size, told(task, folder, files, **({"arguments": {}} | given)))
    ended = subprocess.run(line, env=environment(threads) | variables, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if ended.returncode:
        raise SystemExit(f"{size} processes of {task} failed:\n{ended.stderr[-3000:]}")
    return Ran(seconds, [json.loads((folder / f"figures-{rank}.json").read_text()) for rank in range(size)])
