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

    @property
    def unheeded(self) -> bool:
        """Whether there was one that is nobody else's to heed."""
        return self._noted

    def open(self) -> None:
        """From here on."""
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
        """To here. A handler that somebody has put in place meanwhile stays."""
        if self._took_over:
            self._took_over = False
            if signal.getsignal(signal.SIGINT) == self.note:
                signal.signal(signal.SIGINT, signal.default_int_handler)

    def note(self, number: int, frame: FrameType | None) -> None:
        """The handler of the signal; also after it was closed, if somebody had kept it, and put it back."""
        if self._noted or not self._took_over:
            raise KeyboardInterrupt
        self._noted = True
