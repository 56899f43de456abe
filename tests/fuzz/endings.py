"""Writers that are killed, interrupted, out of room, or beside others: always the old or the new file.

`python -m fuzz.endings` with tests/ on the path is the long form.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # what is forked below has no other threads

import numpy as np

from fuzz.long_fits import beside, long_fits
from fuzz.scenes import Scene, scenes, strangers, whole

ENDED_WELL, INTERRUPTED, REFUSED, WRONG = 0, 7, 8, 9  # how a child ends
PATIENCE = 60.0  # seconds, after which a child hangs
SMALL_DISK = 1 << 19  # bytes


class Child:
    """A fork that does something; how it ended, and what it said."""

    def __init__(self, work: Callable[[], None], on_interrupt: signal.Handlers | Callable[..., object]) -> None:
        self.said = tempfile.TemporaryFile()  # noqa: SIM115
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # Python's own part of a fork swallows exceptions
        self.pid = os.fork()
        if self.pid == 0:
            self._work(work, on_interrupt)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])

    def _work(self, work: Callable[[], None], on_interrupt: signal.Handlers | Callable[..., object]) -> None:
        status = WRONG
        try:
            signal.signal(signal.SIGINT, on_interrupt)
            for descriptor in (1, 2):
                os.dup2(self.said.fileno(), descriptor)
            status = _ended(work)
        finally:
            os._exit(status)

    def end(self, number: int | None = None) -> tuple[int, str]:
        """The status, or minus the signal, and what was said; after a signal, if one is given."""
        if number is not None:
            os.kill(self.pid, number)
        deadline = time.monotonic() + PATIENCE
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                return WRONG, f"it hung for {PATIENCE:g} s"
            time.sleep(0.001)
        self.said.seek(0)
        with self.said:
            return os.waitstatus_to_exitcode(status), self.said.read().decode(errors="replace")


def _ended(work: Callable[[], None]) -> int:
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        work()
        status = ENDED_WELL
    except KeyboardInterrupt:
        status = INTERRUPTED
    except OSError as error:
        print(error)
        status = REFUSED
    except BaseException:
        traceback.print_exc()
        status = WRONG
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def killed(scene: Scene, folder: Path, rng: random.Random) -> list[str]:
    """By SIGKILL, at a moment of many writings; the next one leaves no trace of it."""
    scene.written(folder, False)
    child = Child(lambda: scene.endless(folder), signal.SIG_DFL)
    time.sleep(rng.uniform(0, scene.span))
    status, said = child.end(signal.SIGKILL)
    wrong = whole(scene, folder)
    if status != -signal.SIGKILL:
        wrong.append(f"it had ended with {status} before: {said}")
    for again in (True, False):
        scene.written(folder, again)
        wrong += [
            f"{name} is {'the old' if again else 'the new'} file"
            for name in scene.files
            if _stays(scene, folder, name, again)
        ]
    return wrong + [f"{name} stays" for name in strangers(scene, folder)]


def _stays(scene: Scene, folder: Path, name: str, newer: bool) -> bool:
    return not name.startswith("item") and scene.of(folder / name) is not newer


def interrupted(scene: Scene, folder: Path, rng: random.Random) -> list[str]:
    """By Ctrl-C: a command dies of it, what is called in Python raises, or a fit ends with the best so far."""
    scene.written(folder, False)
    once = scene.best_so_far
    work = (lambda: scene.written(folder, True)) if once else (lambda: scene.endless(folder))
    child = Child(work, signal.SIG_DFL if scene.command else signal.default_int_handler)
    time.sleep(rng.uniform(0, scene.span))
    status, said = child.end(signal.SIGINT)
    allowed = {INTERRUPTED, -signal.SIGINT} if scene.command else {INTERRUPTED}
    wrong = whole(scene, folder)
    if status not in (allowed | {ENDED_WELL} if once else allowed) or "Traceback" in said:
        wrong.append(f"it ended with {status}: {said}")
    return wrong + [f"{name} stays" for name in strangers(scene, folder)]


def without_room(scene: Scene, folder: Path, rng: random.Random) -> list[str]:
    """The system lets no file grow beyond some size: all of the old files stay, and a sentence says why."""
    scene.written(folder, True)
    largest = max((folder / name).stat().st_size for name in scene.files)
    scene.written(folder, False)
    before = {name: (folder / name).read_bytes() for name in scene.files}
    limit = rng.randrange(largest)

    def work() -> None:
        sys.stdout.flush()
        resource.setrlimit(resource.RLIMIT_FSIZE, (max(limit, 4096), -1))  # what is said goes to a file, too
        scene.written(folder, True)

    status, said = Child(work, signal.SIG_DFL).end()
    wrong = [] if largest <= 4096 else _refusal(scene, folder, status, said, "allows no file that large")
    after = {name: (folder / name).read_bytes() for name in scene.files}
    wrong += [f"{name} is another file" for name in scene.files if status == REFUSED and after[name] != before[name]]
    return wrong + [f"{name} stays" for name in strangers(scene, folder)]


def _refusal(scene: Scene, folder: Path, status: int, said: str, why: str) -> list[str]:
    told = any(why in line and str(folder) in line for line in said.splitlines())
    if status == REFUSED and told and "Traceback" not in said:
        return []
    return [f"it ended with {status}, and not with a sentence that {why!r}: {said}"]


def on_a_full_disk(scene: Scene, folder: Path, rng: random.Random) -> list[str]:
    """A real one, on which all but a little room is taken."""
    scene.written(folder, False)
    before = {name: (folder / name).read_bytes() for name in scene.files}
    free = os.statvfs(folder)
    with open(folder / "filler", "wb") as filler:
        filler.write(bytes(max(free.f_bavail * free.f_frsize - rng.randrange(1, 10) * 4096, 0)))
    status, said = Child(lambda: scene.written(folder, True), signal.SIG_DFL).end()
    (folder / "filler").unlink()
    wrong = _refusal(scene, folder, status, said, "the disk is full") if status else []
    after = {name: (folder / name).read_bytes() for name in scene.files}
    wrong += [f"{name} is another file" for name in scene.files if status and after[name] != before[name]]
    return wrong + whole(scene, folder) + [f"{name} stays" for name in strangers(scene, folder)]


def beside_each_other(scene: Scene, folder: Path, seconds: float) -> list[str]:
    """Four writers and four readers of the same files: no false error, and each file whole whenever it is read."""
    scene.written(folder, False)
    end = time.monotonic() + seconds

    def write() -> None:
        while time.monotonic() < end:
            scene.written(folder, bool(random.getrandbits(1)))

    def read() -> None:
        while time.monotonic() < end:
            assert not (wrong := whole(scene, folder)), wrong

    children = [Child(work, signal.SIG_DFL) for work in (write,) * 4 + (read,) * 4]
    ends = [child.end() for child in children]
    wrong = [f"one ended with {status}: {said}" for status, said in ends if status != ENDED_WELL]
    return wrong + whole(scene, folder) + [f"{name} stays" for name in strangers(scene, folder)]


def tried(
    ending: Callable[[Scene, Path, random.Random], list[str]],
    all_scenes: list[Scene],
    count: int,
    seed: int,
    where: Path,
) -> int:
    """The number of endings after which something was wrong; what it was is printed."""
    begun, faults = time.monotonic(), 0
    for i in range(count):
        scene = all_scenes[i % len(all_scenes)]
        folder = where / f"{ending.__name__}-{i}"
        folder.mkdir()
        wrong = ending(scene, folder, random.Random(f"{seed} {ending.__name__} {i}"))
        faults += bool(wrong)
        for sentence in wrong:
            print(f"  {scene.name}, {ending.__name__} {i}: {sentence}")
        shutil.rmtree(folder)
    print(f"{ending.__name__}: {count} times, {faults} faults, {time.monotonic() - begun:.0f} s", flush=True)
    return faults


def killed_fits(count: int, seed: int, where: Path) -> int:
    """The number of fits that, killed and run again, came to another end or left something behind."""
    begun, faults = time.monotonic(), 0
    expected, seconds = {}, {}
    every = list(long_fits())[:count]
    for fit in every:
        for name in ("warm", "whole"):  # the first one loads what it needs
            (where / f"{fit.name}-{name}").mkdir()
            start = time.monotonic()
            expected[fit.name] = fit.fit(where / f"{fit.name}-{name}")
            seconds[fit.name] = time.monotonic() - start
    for i in range(count):
        fit, rng = every[i % len(every)], random.Random(f"{seed} fit {i}")
        folder = where / f"fit-{i}"
        folder.mkdir()
        for _ in range(2):  # what goes on may be killed, too
            child = Child(lambda fit=fit, folder=folder: fit.fit(folder), signal.SIG_DFL)
            time.sleep(rng.uniform(0, seconds[fit.name]))
            child.end(signal.SIGKILL)
        wrong = [] if np.array_equal(fit.fit(folder), expected[fit.name]) else ["it came to another end"]
        wrong += [f"{name} stays" for name in beside(fit, folder)]
        faults += bool(wrong)
        for sentence in wrong:
            print(f"  {fit.name}, killed_fits {i}: {sentence}")
        shutil.rmtree(folder)
    print(f"killed_fits: {count} times, {faults} faults, {time.monotonic() - begun:.0f} s", flush=True)
    return faults


def main(kills: int = 200, interrupts: int = 200, limits: int = 20, seconds: float = 60, seed: int = 0) -> int:
    """The number of faults."""
    with tempfile.TemporaryDirectory() as name:
        where = Path(name)
        every = list(scenes(where))
        faults = tried(killed, every, kills, seed, where)
        faults += killed_fits(kills // 5, seed, where)
        faults += tried(interrupted, every, interrupts, seed, where)
        faults += tried(without_room, every, limits, seed, where)
        for scene in every[:1]:
            (where / "together").mkdir()
            wrong = beside_each_other(scene, where / "together", seconds)
            faults += bool(wrong)
            print("".join(f"  {sentence}\n" for sentence in wrong), end="")
            print(f"beside_each_other: {seconds:g} s, {len(wrong)} faults", flush=True)
    return faults


def on_small_disk(where: Path, count: int, seed: int) -> int:
    """In a namespace of its own, whose root may mount a file system."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "none", str(where)], check=True)
    with tempfile.TemporaryDirectory() as name:
        return tried(on_a_full_disk, list(scenes(Path(name))), count, seed, where)


def full_disks(count: int, seed: int) -> int:
    """`on_small_disk`, where the system lets everybody make a namespace."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        print("on_a_full_disk: left out, as no disk can be mounted here")
        return 0
    with tempfile.TemporaryDirectory() as where:
        line = ["unshare", "-rm", sys.executable, "-m", "fuzz.endings", "--small-disk", where]
        return subprocess.run([*line, "--limits", str(count), "--seed", str(seed)], check=False).returncode


if __name__ == "__main__":
    parser = argparse.ArgumentParser("fuzz.endings", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--interrupts", type=int, default=200)
    parser.add_argument("--limits", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small-disk", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.small_disk is not None:
        sys.exit(min(on_small_disk(asked.small_disk, asked.limits, asked.seed), 1))
    found = main(asked.kills, asked.interrupts, asked.limits, asked.seconds, asked.seed)
    sys.exit(min(found + full_disks(asked.limits, asked.seed), 1))
