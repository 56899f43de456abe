"""The bookkeeping of one fit over all its phases."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from dmc.solver.loop import Callback
from dmc.solver.solution import Status


class Journal:
    """The bookkeeping of one fit over all its phases, whoever runs them."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks = list(callbacks)
        self.history: list[dict[str, Any]] = []
        self.n_steps = 0
        self.status = Status.CONVERGED
        self.stopped_by: str | None = None
        self._began = time.perf_counter()

    @property
    def ended(self) -> bool:
        """Whether the fit is to end with what it has: somebody asked for it, or it overflowed."""
        return self.status in (Status.STOPPED, Status.NONFINITE)

    def conclude(self, status: Status, stopped_by: str | None = None) -> None:
        """How a phase ended. That somebody asked for the end stays, whatever would come after."""
        if not self.ended:
            self.status, self.stopped_by = status, stopped_by

    def note(self, phase: str, width: int, n_steps: int, value: float, held_out_error: float | None) -> None:
        """A phase has ended."""
        self.n_steps += n_steps
        seconds = time.perf_counter() - self._began
        self.history.append(
            {
                "phase": phase,
                "width": width,
                "n_steps": n_steps,
                "value": value,
                "held_out_error": held_out_error,
                "seconds": seconds,
            }
        )
