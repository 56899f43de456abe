"""Ctrl-C and closed pipes: they end the program at once and without a word, but where something has to be saved."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


@contextmanager
def quiet_endings() -> Iterator[None]:
    """Ctrl-C (SIGINT) and a reader that has gone (SIGPIPE) end the program as they end others: no traceback, no word.

    An import that is interrupted by an exception may leave half a module, or hide what happened. A signal that is
    ignored, as under nohup, stays so.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGPIPE)}
    if before[signal.SIGINT] is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and so has nobody's wish to respect
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def told_of_interrupts() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt here: a fit ends with the best so far, a file that is half written is removed."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def die_of_interrupt() -> NoReturn:
    """End by the signal itself, which tells a shell to end its loop too; the status is 130 there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
    raise AssertionError("unreachable: the signal has ended the program")
