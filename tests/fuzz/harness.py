"""Runs fuzz targets in child processes: crashes, hangs and large allocations are seen, and the run goes on."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from fuzz import worker
from fuzz.targets import Fault, Target, Tried, targets
from fuzz.worker import ANSWERED, ATTEMPT, JOB, N_PLACES, REFUSED, SINCE, WORKED, Job, Seen

__all__ = ["Fault", "Findings", "Target", "Tried", "run"]

HANG = 5.0  # seconds of a processor that an attempt may take
WAIT = 4  # times as many on the clock: of what waits for ever, on a machine that has much to do
PREPARATION = 300.0  # seconds until a worker's first attempt
LOOK = 0.2  # seconds between two looks at the workers
MAX_ENDED = 50  # workers that crashed or hung, after which there is nothing new to be learnt

_context = multiprocessing.get_context("spawn")  # fork would take a state along that no user has


@dataclass
class Findings:
    """What came of a run: counts, and the faults."""

    seed: int
    answered: int = 0
    refused: int = 0
    ended: int = 0  # workers that crashed or hung
    is_interrupted: bool = False
    faults: list[Seen] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def attempts(self) -> int:
        return self.answered + self.refused + len({(f.target, f.attempt) for f in self.faults if f.kind != "memory"})

    def __str__(self) -> str:
        told = [
            f"{self.attempts:,} inputs in {self.seconds:.0f} s: {self.answered:,} answered, {self.refused:,} refused "
            f"in words, {len(self.faults):,} faults" + ("; ended by Ctrl-C" if self.is_interrupted else "")
        ]
        kinds: dict[tuple[str, str], list[Seen]] = {}
        for fault in self.faults:
            kinds.setdefault((fault.target, re.sub(r"[\d.]+", "0", fault.kind)), []).append(fault)
        for (target, _), seen in kinds.items():
            repeats = ", ".join(str(f.attempt) for f in seen[:5])
            told.append(f"\n{target}: {seen[0].kind} ({len(seen):,} times: attempts {repeats})")
            told.append(f"  again: python -m fuzz {target} --seed {self.seed} --only {seen[0].attempt}")
            told += [f"  | {line}" for line in seen[0].details.strip().splitlines()[-12:]]
        return "\n".join(told)


class Worker:
    """A child process and what is known of it."""

    def __init__(self, jobs: list[Job], seed: int, folder: Path) -> None:
        self.jobs, self.seed, self.folder = jobs, seed, folder
        self.shared: Any = _context.RawArray("q", N_PLACES)
        self.is_done = False
        self.start((0, 0))

    def start(self, first: tuple[int, int]) -> None:
        """From (job, place in its attempts) on."""
        self.folder.mkdir(exist_ok=True)
        self.shared[SINCE] = 0
        self.started = time.monotonic()
        self.faults: Connection
        self.faults, ours = _context.Pipe(duplex=False)
        arguments = (self.jobs, first, self.seed, str(self.folder), self.shared, ours)
        self.process: SpawnProcess = _context.Process(target=worker.work, args=arguments, daemon=True)
        self.process.start()
        ours.close()

    def looked_at(self, findings: Findings) -> None:
        """Take in what it found; if it has crashed or hangs, note that and go on behind the attempt."""
        self._receive(findings)
        if self.is_done:
            return
        if not self.process.is_alive():
            self._receive(findings)
            if not self.is_done:
                self._ended(f"crash: {_ending(self.process.exitcode)}", findings)
            return
        since = self.shared[SINCE]
        passed = (time.monotonic_ns() - since) / 1e9 if since else 0.0
        if passed > HANG and (passed > WAIT * HANG or self._worked() > HANG):
            os.kill(self.process.pid, signal.SIGUSR1)  # for the trace
            time.sleep(LOOK)
            self._ended(f"hang: no end after {HANG:g} s", findings)
        elif not since and time.monotonic() - self.started > PREPARATION:
            self._ended("hang: no end of its preparation", findings)

    def _worked(self) -> float:
        """Seconds of a processor that the attempt has taken, as far as the system tells."""
        try:
            told = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        seconds = (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")
        return seconds - self.shared[WORKED] / 1e9

    def _receive(self, findings: Findings) -> None:
        try:
            while self.faults.poll():
                seen = self.faults.recv()
                if seen is None:
                    self.is_done = True
                else:
                    findings.faults.append(seen)
        except (EOFError, OSError):
            pass

    def _ended(self, kind: str, findings: Findings) -> None:
        self.stop()
        job, place = self.shared[JOB], self.shared[ATTEMPT]
        was_trying = bool(self.shared[SINCE])
        trace = (self.folder / "trace").read_text(errors="replace") if (self.folder / "trace").exists() else ""
        attempt = self.jobs[job].attempts[place] if was_trying else -1
        findings.faults.append(Seen(self.jobs[job].target, attempt, kind, trace))
        findings.ended += 1
        if findings.ended >= MAX_ENDED or not was_trying:  # what cannot even be prepared is not tried again
            self.is_done = True
        else:
            self.start((job, place + 1))

    def stop(self) -> None:
        self.process.kill()
        self.process.join()


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit status {code}"


def run(counts: dict[str, int], seed: int = 0, workers: int = 1, only: int | None = None) -> Findings:
    """Try so many inputs of each group ("readers"), shared by its targets, or of one target ("readers.json").

    Parameters
    ----------
    counts : dict
        Inputs by name.
    seed : int
        With the number of an attempt it determines the input.
    workers : int
        Processes beside each other.
    only : int, optional
        The number of the one attempt to make, to repeat a fault.

    Returns
    -------
    Findings
        After Ctrl-C of what was tried so far.
    """
    findings, begun = Findings(seed), time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    shares = _shares(counts, workers, only)
    at_work = [Worker(jobs, seed, folder / str(number)) for number, jobs in enumerate(shares) if jobs]
    try:
        while any(not w.is_done for w in at_work):
            wait([w.process.sentinel for w in at_work if not w.is_done], LOOK)
            for w in at_work:
                w.looked_at(findings)
    except KeyboardInterrupt:
        findings.is_interrupted = True
    finally:
        for w in at_work:
            w.stop()
        findings.answered, findings.refused = (sum(w.shared[p] for w in at_work) for p in (ANSWERED, REFUSED))
        findings.seconds = time.monotonic() - begun
        shutil.rmtree(folder, ignore_errors=True)
    return findings


def _shares(counts: dict[str, int], workers: int, only: int | None) -> list[list[Job]]:
    """Who tries what: each worker every so-manieth attempt of each target."""
    shares: list[list[Job]] = [[] for _ in range(1 if only is not None else workers)]
    for group, count in counts.items():
        found = targets(group)
        if repeated := [name for name, times in Counter(t.name for t in found).items() if times > 1]:
            raise ValueError(f"{group} has two targets by the name of {repeated[0]}")
        for number, target in enumerate(found):
            own = count // len(found) + (number < count % len(found))
            name = f"{group.partition('.')[0]}.{target.name}"
            for first, jobs in enumerate(shares):
                tried = range(first, own, workers) if only is None else range(only, only + 1)
                if len(tried):
                    jobs.append(Job(name, tried))
    return shares
