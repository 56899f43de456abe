"""Ctrl-C while a fit is at work: heeded between two steps, where nothing is half done."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Interruption:
    """While it is open, the first Ctrl-C is noted, and a second one raises KeyboardInterrupt at once.

    Only in the main thread, and where nobody else takes Ctrl-C. One inside of another shares what that has noted.
    """

    def __init__(self) -> None:
        self._noted, self._took_over = False, False
        self._outer: Interruption | None = None

    @property
    def asked(self) -> bool:
        """Whether there was a Ctrl-C."""
        return self._noted or (self._outer is not None and self._outer.asked)

    def open(self) -> None:
        """From here on."""
        if threading.current_thread() is not threading.main_thread():
            return
        present = signal.getsignal(signal.SIGINT)
        outer = getattr(present, "__self__", None)
        if isinstance(outer, Interruption):
            self._outer = outer
        elif present is signal.default_int_handler:
            self._took_over = True
            signal.signal(signal.SIGINT, self.note)

    def close(self) -> None:
        """To here."""
        if self._took_over:
            self._took_over = False
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def note(self, number: int, frame: FrameType | None) -> None:
        """The handler of the signal."""
        if self._noted:
            raise KeyboardInterrupt
        self._noted = True
