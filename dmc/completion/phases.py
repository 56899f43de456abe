"""The phases of a fit: what each ended with, and all of them in their order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dmc._keeper import Fit
from dmc.factors import Factors
from dmc.solver import fingerprint
from dmc.solver.loop import Run
from dmc.solver.solution import Record, Status


@dataclass(frozen=True, eq=False)
class Phase:
    """What a phase ended with.

    Attributes
    ----------
    name : str
        "path", "polish", "final" or "factor analysis".
    factors : Factors
    status : Status
        COMPLETED where it had so many steps as were planned.
    n_steps : int
    value : float
        Relative to that at zero; of factor analysis the share of noise.
    held_out_error : float or None
        Root mean square error on held-out entries.
    """

    name: str
    factors: Factors
    status: Status
    n_steps: int
    value: float
    held_out_error: float | None = None

    @property
    def ended(self) -> bool:
        """Whether no other phase is to come: somebody asked for the end, or it overflowed."""
        return self.status in (Status.STOPPED, Status.NONFINITE)


def identity(estimator: Any, *data: Any) -> Fit:
    """Which fit it is, for a checkpoint: an estimator's settings, but for where and how it is watched, and its data."""
    apart = ("callbacks", "verbose", "n_threads")
    settings = {name: value for name, value in estimator.get_params(deep=False).items() if name not in apart}
    told = {"fit": type(estimator).__name__} | {name: fingerprint.told(value) for name, value in settings.items()}
    return Fit(told, fingerprint.digest(*data))


class Phases:
    """The phases of one fit so far, whoever ran them: all of one run, in whose block they have to be.

    Parameters
    ----------
    run : Run
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.history: list[Record] = []

    def add(self, phase: Phase) -> Phase:
        """The phase, which has ended."""
        self.history.append(
            {
                "phase": phase.name,
                "width": phase.factors.width,
                "n_steps": phase.n_steps,
                "value": phase.value,
                "held_out_error": phase.held_out_error,
                "seconds": self.run.elapsed,
            }
        )
        return phase

    @property
    def ended(self) -> bool:
        """Whether the fit ends with what it has."""
        return self.run.ended
