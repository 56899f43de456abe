"""Ctrl-C during a fit, handled between two steps, where nothing is half done."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Interruption:
    """While it is open, the first Ctrl-C is recorded, and a second one raises KeyboardInterrupt at once.

    Only in the main thread, and where nobody else handles Ctrl-C. A nested one shares the record of the outer one.
    """

    def __init__(self) -> None:
        self._noted, self._took_over = False, False
        self._outer: Interruption | None = None

    @property
    def asked(self) -> bool:
        """Whether there was a Ctrl-C."""
        return self._noted or (self._outer is not None and self._outer.asked)

    @property
    def unheeded(self) -> bool:
        """Whether there was one that nobody else is going to handle."""
        return self._noted

    def open(self) -> None:
        """Begin to record."""
        if threading.current_thread() is not threading.main_thread():
            return
        present = signal.getsignal(signal.SIGINT)
        outer = getattr(present, "__self__", None)
        if isinstance(outer, Interruption) and outer._took_over:
            self._outer = outer
        elif isinstance(outer, Interruption) or present is signal.default_int_handler:
            self._took_over = True
            try:
                signal.signal(signal.SIGINT, self.note)
            except ValueError:  # an interpreter beside another one, which alone gets signals
                self._took_over = False

    def close(self) -> None:
        """End recording. A handler that was installed meanwhile stays."""
        if self._took_over:
            self._took_over = False
            if signal.getsignal(signal.SIGINT) == self.note:
                signal.signal(signal.SIGINT, signal.default_int_handler)

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal; also after closing, if somebody kept the handler and installed it again."""
        if self._noted or not self._took_over:
            raise KeyboardInterrupt
        self._noted = True
