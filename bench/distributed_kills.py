"""Does a fit in several processes survive that any of them is killed, at any moment?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import _long_tail
import dmc
from _harness import main, record
from _launched import command, environment, told
from _long_tail import Size

SIZE, PROCESSES, KILLS, RESTARTS = Size(20_000, 3_000, 600_000), 3, 20, 3


@dataclass(frozen=True)
class Survival:
    """What became of a fit of which a process was killed.

    Attributes
    ----------
    finished : bool
        The command ended well.
    lives : int
        How often the processes were started; 1: it had ended before it was killed.
    lost : int
        Sweeps that had been done and were done again.
    noise : float
    """

    finished: bool
    lives: int
    lost: int
    noise: float


def started(folder: Path, data: Path) -> subprocess.Popen[bytes]:
    folder.mkdir()
    arguments = {"settings": {}, "checkpoint": str(folder / "checkpoint")}
    line = command(PROCESSES, told("fit", folder, [data], arguments), RESTARTS)
    return subprocess.Popen(line, env=environment(1), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def swept(folder: Path, life: int) -> list[int]:
    """The sweeps of the first process in one of its lives."""
    path = folder / f"course-0-{life}"
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def noise(folder: Path) -> float:
    return dmc.Recommender.load(folder / "model").noise_


def killed(folder: Path, data: Path, sweep: int, wait: float, victim: int) -> Survival:
    """A fit of which this process is killed so many seconds after this sweep; 0: after all processes have begun."""
    launcher = started(folder, data)
    pids = [folder / f"pid-{rank}-0" for rank in range(PROCESSES)]
    while launcher.poll() is None and not (all(map(told_whole, pids)) and len(swept(folder, 0)) >= sweep):
        time.sleep(0.002)
    time.sleep(wait)
    if launcher.poll() is None and not (folder / f"figures-{victim}.json").exists():
        os.kill(int(pids[victim].read_text()), signal.SIGKILL)
    finished = launcher.wait() == 0
    lives = len(list(folder.glob("pid-0-*")))
    before, after = swept(folder, 0), swept(folder, 1)
    lost = before[-1] - after[0] + 1 if before and after else 0
    return Survival(finished, lives, lost, noise(folder) if finished else float("nan"))


def told_whole(path: Path) -> bool:
    return path.exists() and path.read_text() != ""


def kills() -> None:
    """kill -9 of one of three processes at a random moment, 20 times: restarts, sweeps lost, the noise found."""
    train = _long_tail.split(_long_tail.ratings(SIZE), SIZE)[0]
    rng, found = np.random.default_rng(0), list[Survival]()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = folder / "ratings.parquet"
        _long_tail.write(train, data)
        whole = folder / "whole"
        if started(whole, data).wait():
            raise SystemExit("the fit of which no process is killed failed")
        expected, course = noise(whole), json.loads((whole / "figures-0.json").read_text())["course"]
        lasted = course[-1][2] / len(course)  # a sweep, or a share of the dealing
        while sum(one.lives > 1 or not one.finished for one in found) < KILLS:
            sweep, wait = int(rng.integers(len(course))), float(rng.uniform(0, lasted))
            victim = int(rng.integers(PROCESSES))
            found.append(killed(folder / f"kill-{len(found)}", data, sweep, wait, victim))
    hit = [one for one in found if one.lives > 1 or not one.finished]
    record(
        "distributed",
        f"kills | {PROCESSES} × 1",
        n=len(train["user"]),
        kills=len(hit),
        came_too_late=len(found) - len(hit),
        resumed_at_first_restart=sum(one.finished and one.lives == 2 for one in hit),
        resumed=sum(one.finished for one in hit),
        most_sweeps_lost=max(one.lost for one in hit),
        largest_noise_difference=max(abs(one.noise / expected - 1) for one in hit),
        sweeps=len(course),
        process_seconds=course[-1][2],
    )


RUNS = {"distributed-kills": kills}

if __name__ == "__main__":
    main(RUNS)
