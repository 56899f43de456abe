"""Processes that are killed in the midst of a fit, and fits that go on where others were."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import life
import pytest
from fit_command import ratings, written

from dmc._group import ALONE, Group
from dmc.distributed.checkpoint import Checkpoint
from processes import free_port, run_processes

N_SEEDS = int(os.environ.get("DMC_FAULT_SEEDS", "3"))  # of fits to ratings, and of fits to clicks; 10 for the notes


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(tmp_path_factory.mktemp("ratings") / "data", ratings(3000, 300, 40))


def sweeps(folder: Path, k: int) -> dict[int, list[int]]:
    """The sweeps of the first process in the k-th fit, in each life."""
    found: dict[int, list[int]] = {}
    path = folder / "sweeps-0"
    for line in path.read_text().splitlines() if path.exists() else []:
        of_fit, of_life, step = map(int, line.split())
        if of_fit == k:
            found.setdefault(of_life, []).append(step)
    return found


def killed(folder: Path, k: int, job: Any, rng: random.Random) -> bool:
    """Kill a process somewhere in the k-th fit; False: it was over before that."""
    target, rank, wait = rng.randint(0, 9), rng.randint(0, 1), rng.uniform(0, 0.1)
    began = folder / f"checkpoint-{k}"
    while not began.exists() or sum(map(len, sweeps(folder, k).values())) < target:
        if (folder / f"{k}.json").exists():
            return False
        assert job.poll() is None
        time.sleep(0.005)
    time.sleep(wait)
    os.kill(int((folder / f"pid-{rank}").read_text()), signal.SIGKILL)
    return True


def test_a_killed_process_costs_a_sweep_at_most(tmp_path: Path, data: str) -> None:
    count = 2 * N_SEEDS
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "FATAL"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    launcher = ["torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", f"{count}", "--monitor-interval"]
    program = ["0.1", "--master-port", f"{free_port()}", life.__file__, str(tmp_path), data, f"{count}"]
    rng, at = random.Random(0), {}
    with (tmp_path / "log").open("w") as log:
        job = subprocess.Popen([sys.executable, "-m", *launcher, *program], env=environment, stdout=log, stderr=log)
        try:
            for k in range(count):
                if killed(tmp_path, k, job, rng):
                    at[k] = time.perf_counter()
                while not (tmp_path / f"{k}.json").exists():
                    assert job.poll() is None, (tmp_path / "log").read_text()
                    time.sleep(0.01)
            assert job.wait(120) == 0, (tmp_path / "log").read_text()
        finally:
            job.terminate()
            job.wait(40)
    assert len(at) > count // 2
    undisturbed = json.loads((tmp_path / "undisturbed.json").read_text())
    for k in range(count):
        lives = list(sweeps(tmp_path, k).values())
        assert len(lives) <= 2  # at the first restart
        lost = [before[-1] + 1 - after[0] for before, after in pairwise(lives)]
        assert all(one <= 1 for one in lost), (k, lives)
        value = json.loads((tmp_path / f"{k}.json").read_text())["value"]
        assert value == pytest.approx(undisturbed[k], rel=1e-8)


def stopped(group: Group, data: str, folder: Path, at: int) -> list[float]:
    """A fit to ratings and one to clicks, each ended behind some sweep; and what whole ones come to."""
    for k in range(2):
        life.fitted(group, data, k, f"{folder}/{k}", lambda info: info.n_steps >= at)
    return [life.value_of(life.fitted(group, data, k, None)) for k in range(2)]


def gone_on_with(group: Group, data: str, folder: Path) -> list[tuple[float, int]]:
    """What such fits come to, and their first sweep."""
    found = []
    for k in range(2):
        steps: list[int] = []
        value = life.value_of(life.fitted(group, data, k, f"{folder}/{k}", lambda info: steps.append(info.n_steps)))  # noqa: B023
        found.append((value, steps[0]))
    return found


def test_fits_go_on_with_another_number_of_processes(tmp_path: Path, data: str) -> None:
    expected = run_processes(2, stopped, data, tmp_path / "by two", 4)[0]
    for size in (1, 3):
        folder = shutil.copytree(tmp_path / "by two", tmp_path / f"by {size}")
        found = gone_on_with(ALONE, data, folder) if size == 1 else run_processes(size, gone_on_with, data, folder)[0]
        assert [value for value, _ in found] == pytest.approx(expected, rel=1e-6)
        assert [step for _, step in found] == [4, 4]


def dying(data: str, folder: Path, n_lists: int) -> None:
    """A fit whose process ends before its list of files is written for the n-th time."""
    point = Checkpoint._point

    def last(self: Checkpoint) -> None:
        nonlocal n_lists
        n_lists -= 1
        if not n_lists:
            os._exit(9)
        point(self)

    Checkpoint._point = last  # type: ignore[method-assign]
    life.fitted(ALONE, data, 0, f"{folder}")


def test_a_snapshot_that_was_not_named_does_not_count(tmp_path: Path, data: str) -> None:
    dead = multiprocessing.get_context("spawn").Process(target=dying, args=(data, tmp_path / "kept", 6))
    dead.start()
    dead.join(60)
    assert dead.exitcode == 9
    names = json.loads((tmp_path / "kept" / "LATEST.json").read_text())["names"]
    assert names["sweep"]["generation"] == 3  # behind the beginning, and the features
    files = {path.name for path in (tmp_path / "kept").iterdir()}
    assert len([name for name in files if name.startswith("sweep-4-")]) == 2
    steps: list[int] = []
    model = life.fitted(ALONE, data, 0, f"{tmp_path}/kept", lambda info: steps.append(info.n_steps))
    assert steps[0] == 3  # the look at which it was kept
    assert life.value_of(model) == pytest.approx(life.value_of(life.fitted(ALONE, data, 0, None)), rel=1e-8)
    left = {path.name for path in (tmp_path / "kept").iterdir()}
    assert not left & {name for name in files if name.startswith("sweep-")}  # what was not named is gone
    assert len(left) == 5  # the list, the features and the last sweep


def interrupted(group: Group, data: str) -> tuple[int, str]:
    """Ctrl-C in the second process, in the midst of its third sweep."""

    def ask(info: Any) -> None:
        if info.n_steps == 3 and info.status is None and group.rank == 1:
            os.kill(os.getpid(), signal.SIGINT)

    own = life.fitted(group, data, 0, None, ask).own_
    return own.n_iter_, own.status_.name


def test_an_interrupt_in_one_process_ends_all_behind_the_same_sweep(data: str) -> None:
    found = run_processes(2, interrupted, data)
    assert found == [(3, "STOPPED"), (3, "STOPPED")]


def stolen(group: Group, data: str, folder: Path) -> str:
    """A fit in whose midst another begins in the same folder."""

    def other(info: Any) -> None:
        if info.n_steps == 3 and group.rank == 0:
            life.fitted(ALONE, data, 0, f"{folder}")

    try:
        life.fitted(group, data, 0, f"{folder}", other)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def test_a_folder_is_of_the_fit_that_began_last(tmp_path: Path, data: str) -> None:
    first, second = run_processes(2, stolen, data, tmp_path / "kept")
    assert first == (
        f"ValueError: another fit has begun with the checkpoint folder {tmp_path}/kept; wait for it, or give each its "
        "own folder"
    )
    assert second == f"Elsewhere{first}"
    steps: list[int] = []
    life.fitted(ALONE, data, 0, f"{tmp_path}/kept", lambda info: steps.append(info.n_steps))
    assert steps == [9, 9]  # it was over: the last look, and the end


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("at", [1, 2, 5])
def test_a_search_among_clicks_that_goes_on_comes_to_the_same_bits(tmp_path: Path, data: str, at: int) -> None:
    def interrupt(info: Any) -> None:
        if info.n_steps >= at:
            raise Interrupted

    whole = life.fitted(ALONE, data, 1, f"{tmp_path}/whole")
    with pytest.raises(Interrupted):
        life.fitted(ALONE, data, 1, f"{tmp_path}/interrupted", interrupt)
    steps: list[int] = []
    resumed = life.fitted(ALONE, data, 1, f"{tmp_path}/interrupted", lambda info: steps.append(info.n_steps))
    assert steps[0] == at
    assert life.value_of(resumed) == life.value_of(whole)
