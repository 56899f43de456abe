"""What comes out of the loop, as data: the status (its text is the message), the factors, the statistics."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from dmc.factors import Factors

Record = dict[str, Any]  # of a history: what was measured at one look, by name; numbers, and the phase's name


class Status(Enum):
    """How a run ended. The value is the message, with advice."""

    CONVERGED = "converged: no further step improves it by more than the tolerance"
    MAX_STEPS = "not converged within the largest number of steps; raise max_steps, loosen tol, or observe more entries"
    UNDETERMINED = (
        "converged, but the observed entries cannot determine the whole matrix at the rank found; observe more, "
        "or leave out what complete(unknown=numpy.nan) marks"
    )
    COMPLETED = "ran the planned number of steps"
    STOPPED = "stopped by a callback before it converged"
    NONFINITE = (
        "the value is no longer a finite number; take a smaller step (rate), a smaller start (scale), or scale the data"
    )
    FAILED = "ended by an error, which the caller gets; callbacks are told so that they can close what they opened"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class StepInfo:
    """What a callback sees at each look, every `check_every` steps, and once more at the end.

    Attributes
    ----------
    n_steps : int
        Steps taken so far, over all the phases of a fit.
    max_steps : int
        Steps at most, as far as is known: a fit of several phases, or one that takes directions in, may raise it.
    value : float
        At `factors`: the problem's value; of a Bayesian fit the noise, in the data's units.
    gradient_ratio : float
        Norm of the gradient over the largest at earlier looks; above 1 while it still grows. Of sweeps, which have no
        gradient, how far the last one moved, in the same way.
    seconds : float
        Wall-clock seconds since the loop began.
    factors : Factors
    status : Status or None
        How the run ended, at the last call; None before.
    """

    n_steps: int
    max_steps: int
    value: float
    gradient_ratio: float
    seconds: float
    factors: Factors
    status: Status | None = None


@dataclass(frozen=True)
class Solution:
    """The result of `solve`.

    Attributes
    ----------
    factors : Factors
        The last ones at which the value was finite.
    value : float
        The problem's value there.
    status : Status
    n_steps : int
        Steps taken.
    seconds : float
        Wall-clock seconds in the loop; setting up is not in it.
    stopped_by : str or None
        With STOPPED: the callback that asked for it, or "interrupt" for Ctrl-C.
    """

    factors: Factors
    value: float
    status: Status
    n_steps: int
    seconds: float
    stopped_by: str | None = None

    @property
    def message(self) -> str:
        """The status in words, with the callback that stopped the run, if one did."""
        return f"{self.status} ({self.stopped_by})" if self.stopped_by else str(self.status)
