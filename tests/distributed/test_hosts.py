"""Two hosts: network namespaces with a cable between them, which is measured, and cut."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import host
import numpy as np
import pytest
from fit_command import ratings, written

from dmc.distributed import Recommender

ADDRESSES = "10.213.7.1", "10.213.7.2"
HOSTS = [f"dmc-{os.getpid()}-{i}" for i in range(2)]
INTERFACES = [f"dmc{os.getpid() % 10_000_000}{end}" for end in "ab"]


def ip(*words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words], check=check, capture_output=True, text=True, timeout=20)


def connect() -> None:
    for name in HOSTS:
        ip("netns", "add", name)
    ip("link", "add", INTERFACES[0], "type", "veth", "peer", "name", INTERFACES[1])
    for name, interface, address in zip(HOSTS, INTERFACES, ADDRESSES, strict=True):
        ip("link", "set", interface, "netns", name)
        ip("-n", name, "addr", "add", f"{address}/24", "dev", interface)
        for each in ("lo", interface):
            ip("-n", name, "link", "set", each, "up")


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    try:
        connect()
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"network namespaces cannot be made here: {error}")
    else:
        yield HOSTS
    finally:
        for name in HOSTS:  # their interfaces go with them
            if Path(f"/run/netns/{name}").exists():
                ip("netns", "del", name)


def started(stack: ExitStack, tasks: str, data: str) -> list[subprocess.Popen[str]]:
    """A process on each host, that ends with the stack."""
    found = []
    for rank, (name, interface) in enumerate(zip(HOSTS, INTERFACES, strict=True)):
        environment = {"GLOO_SOCKET_IFNAME": interface, "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "FATAL"}
        environment["PYTHONPATH"] = os.pathsep.join(sys.path)
        program = [sys.executable, host.__file__, tasks, f"{rank}", ADDRESSES[0], "29500", interface, data]
        command = ["ip", "netns", "exec", name, *program]
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        job = subprocess.Popen(command, env=os.environ | environment, **pipes)
        stack.callback(job.wait, 20)
        stack.callback(job.kill)
        found.append(job)
    return found


def test_answers_and_bytes_on_the_wire(hosts: list[str], tmp_path: Path) -> None:
    data = written(tmp_path / "data", ratings(800, 2500, 60))
    with ExitStack() as stack:
        jobs = started(stack, "fit,solve", data)
        ended = [job.communicate(timeout=90) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], ended
    fits, steps = zip(*([json.loads(line) for line in told.splitlines()] for told, _ in ended), strict=True)
    assert fits[0]["noise"] == fits[1]["noise"] == pytest.approx(Recommender().fit(data).own_.noise_, rel=1e-5)
    for of_fit, of_steps in zip(fits, steps, strict=True):
        by_group, on_wire = np.array(of_fit["sweeps"]).T
        assert (by_group <= 1.1 * np.array(of_fit["moments"])).all()  # 2 (P − 1)/P times these
        assert on_wire.sum() <= 1.1 * by_group.sum()
        assert of_fit["whole"][1] <= 1.1 * of_fit["whole"][0]
        assert of_steps["whole"][0] <= 1.1 * of_steps["formula"]
        assert of_steps["whole"][1] <= 1.1 * of_steps["whole"][0]


def test_a_cut_cable_is_told_on_both_sides(hosts: list[str], tmp_path: Path) -> None:
    data = written(tmp_path / "data", ratings())
    with ExitStack() as stack:
        jobs = started(stack, "cut", data)
        first = jobs[0].stdout
        assert first is not None
        assert [first.readline().startswith("sweep") for _ in range(3)] == [True] * 3
        ip("-n", HOSTS[1], "link", "set", INTERFACES[1], "down")
        began = time.perf_counter()
        ended = [job.communicate(timeout=60) for job in jobs]
        seconds = time.perf_counter() - began
    for rank, (told, _) in enumerate(ended):
        lost = json.loads(told.splitlines()[-1])["lost"]
        assert lost.startswith(f"process {rank} of 2 lost its connection to another one (")
    assert seconds < host.TIMEOUT + 5
