"""The phases of a tensor's completion: each in the one loop, and what each ended with."""

from __future__ import annotations

import math
from collections.abc import Callable

from dmc.factors import Factors
from dmc.solver.kept_phases import Course
from dmc.solver.loop import Run
from dmc.solver.solution import Look, Record, Status


class TensorPhases:
    """The phases of one fit so far.

    Parameters
    ----------
    run : Run
        In whose block they have to be.

    Attributes
    ----------
    history : list of dict
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.history: list[Record] = []

    @property
    def ended(self) -> bool:
        """Whether the fit ends with what it has."""
        return self.run.ended

    def go(
        self,
        advance: Callable[[], object],
        measured: Callable[[], tuple[float, float, bool]],
        factors: Callable[[], Factors],
        max_steps: int,
        planned: bool = False,
        *,
        course: Course,
    ) -> int:
        """Advance until what is measured says that it is over; how many steps that were.

        Parameters
        ----------
        advance : callable
        measured : callable
            Value relative to that at zero, the gradient's or level's ratio, and whether the phase ends.
        factors : callable
            What callbacks are shown.
        max_steps : int
        planned : bool
            Whether so many are to be taken.
        course : Course
            What moves.
        """
        first = self.run.n_steps

        def look() -> Look:
            value, ratio, done = measured()
            status = Status.CONVERGED if done else None
            if not math.isfinite(value):
                status = Status.NONFINITE
            return Look(value, ratio, factors, status)

        self.run.phase(advance, look, max_steps, planned=planned, course=course)
        return self.run.n_steps - first

    def add(
        self, phase: str, candidate: str, width: int, n_steps: int, value: float, held_out_error: float | None
    ) -> None:
        """One line of the history."""
        self.history.append(
            {
                "phase": phase,
                "candidate": candidate,
                "width": width,
                "n_steps": n_steps,
                "value": value,
                "held_out_error": held_out_error,
                "seconds": self.run.elapsed,
            }
        )
