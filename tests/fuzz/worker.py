"""The process that makes the attempts: what it may take is bounded, and it says at each moment what it is trying."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import signal
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fuzz.targets import Target, Tried, targets

ROOM = 100 << 20  # bytes that any attempt may allocate
TIMES_THE_INPUT = 10
ADDRESS_SPACE = 16 << 30  # bytes: what is beyond is a MemoryError and not the end of the machine
OPEN_FILES = 256

# Places in the array that a worker shares with its parent.
JOB, ATTEMPT, SINCE, WORKED, ANSWERED, REFUSED = range(6)
N_PLACES = 6


class Job(NamedTuple):
    """Some attempts of a target, by number."""

    target: str  # "group.name"
    attempts: Sequence[int]  # a range, as a rule


class Seen(NamedTuple):
    """A fault."""

    target: str
    attempt: int
    kind: str  # what is equal is one finding
    details: str


def generator(seed: int, attempt: int) -> np.random.Generator:
    """The one source of chance in an attempt, so that its number repeats it."""
    return np.random.default_rng((seed, attempt))


def work(jobs: list[Job], first: tuple[int, int], seed: int, folder: str, shared: Any, faults: Connection) -> None:
    """Make the attempts from (job, place in its attempts) on; `shared` tells where this process is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    os.chdir(folder)
    trace = open("trace", "w")  # noqa: SIM115 - as long as the process lives
    faulthandler.enable(trace)
    faulthandler.register(signal.SIGUSR1, trace, all_threads=True)  # what the parent asks for before it ends a hang
    bound()
    peak = PeakMemory()
    prepared: dict[str, Target] = {}
    for number, job in enumerate(jobs[first[0] :], first[0]):
        shared[JOB], shared[SINCE] = number, 0
        target = prepared.setdefault(job.target, ready(job.target, Path(folder)))
        peak.forget()
        for place in range(first[1] if number == first[0] else 0, len(job.attempts)):
            shared[ATTEMPT], shared[WORKED], shared[SINCE] = place, time.process_time_ns(), time.monotonic_ns()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for seen in one(target, job, job.attempts[place], seed, peak, shared):
                    faults.send(seen)
    shared[SINCE] = 0
    faults.send(None)


def ready(name: str, folder: Path) -> Target:
    (target,) = targets(name)
    own = folder / name
    own.mkdir(exist_ok=True)
    os.chdir(own)
    target.prepare(own)
    return target


def bound() -> None:
    """What the process may take at most. AddressSanitizer maps terabytes, and only then has to be left alone."""
    if "libasan" not in os.environ.get("LD_PRELOAD", ""):
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, hard), hard))


def one(target: Target, job: Job, attempt: int, seed: int, peak: PeakMemory, shared: Any) -> Iterator[Seen]:
    """Make one attempt, and say what was wrong with it."""
    tried = Tried()
    try:
        tried = target.attempt(generator(seed, attempt)) or tried
    except Exception as error:
        kind = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        yield Seen(job.target, attempt, kind, "".join(traceback.format_exception(error)[-6:]))
    else:
        shared[ANSWERED if tried.answered else REFUSED] += 1
    taken = peak.taken()
    if taken > ROOM + TIMES_THE_INPUT * tried.size:
        told = f"{taken >> 20} MB were allocated for an input of {tried.size:,} bytes"
        yield Seen(job.target, attempt, "memory", told)
    if taken > ROOM // 4:
        peak.forget()


class PeakMemory:
    """How much memory was taken at the most since `forget`, by the high-water mark that Linux keeps, and lets reset."""

    def __init__(self) -> None:
        self._status = self._reset = None
        with contextlib.suppress(OSError):
            self._status = os.open("/proc/self/status", os.O_RDONLY)
            self._reset = os.open("/proc/self/clear_refs", os.O_WRONLY)
        self.forget()

    def forget(self) -> None:
        if self._reset is not None:
            os.write(self._reset, b"5")
        self._before = self._now()

    def taken(self) -> int:
        """Bytes."""
        return self._now() - self._before

    def _now(self) -> int:
        if self._status is None:
            return 0
        told = os.pread(self._status, 4096, 0)
        _, _, rest = told.partition(b"VmHWM:")
        return int(rest.split(None, 1)[0]) << 10 if rest else 0
