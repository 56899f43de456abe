"""Targets that fail in every way that the harness has to see: for its own test."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fuzz.targets import Fault, Tried


def work() -> None:
    until = time.process_time() + 30
    while time.process_time() < until:
        pass


class Broken:
    """Fails at one attempt in ten, each time in the same way."""

    def __init__(self, name: str, fail: Callable[[], None]) -> None:
        self.name, self.fail = name, fail
        self.attempts = 0

    def prepare(self, folder: Path) -> None:
        assert Path.cwd() == folder
        self.given = np.zeros(1000)

    def attempt(self, rng: np.random.Generator) -> Tried:
        number = int(rng.integers(10))
        if number == 0:
            self.fail()
        return Tried(answered=number < 5, size=self.given.nbytes)


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def take_memory() -> None:
    np.ones(120 << 20, np.uint8)


def answer_wrongly() -> None:
    raise Fault("17 instead of 16")


def refuse_wrongly() -> None:
    raise KeyError("users")


TARGETS = [
    Broken("crash", crash),
    Broken("hang", work),
    Broken("wait", lambda: time.sleep(60)),
    Broken("memory", take_memory),
    Broken("silent", answer_wrongly),
    Broken("exception", refuse_wrongly),
    Broken("sound", lambda: None),
]
