"""What comes out of the loop, as data: the status (its text is the message), the factors, the statistics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from dmc.factors import Factors

Record = dict[str, Any]  # of a history: what was measured at one look, by name; numbers, and the phase's name


def waiting(n_steps: float) -> str:
    """In words that a small start has not escaped, and in how many steps, to two digits, it will."""
    number = f"{float(f'{n_steps:.2g}'):,.0f}" if n_steps < 1e9 else f"{n_steps:.0e}"
    return f"on the plateau of a small start; about {number} more {'step' if number == '1' else 'steps'}"


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
    plateau : callable or None
        Without arguments; see `plateau_steps`.
    """

    n_steps: int
    max_steps: int
    value: float
    gradient_ratio: float
    seconds: float
    factors: Factors
    status: Status | None = None
    plateau: Callable[[], float | None] | None = field(default=None, repr=False, compare=False)

    @property
    def plateau_steps(self) -> float | None:
        """About how many steps a small start has still to wait (see `dmc.plateau_steps`); None where it does not sit on
        its plateau, or that cannot be told. Costs about ten steps at each look on the plateau."""
        return None if self.plateau is None else self.plateau()


@dataclass(frozen=True)
class Look:
    """What a phase measured at its present point.

    Attributes
    ----------
    value, gradient_ratio : float
        As in `StepInfo`.
    factors : callable
        Without arguments; returns the `Factors`. Called at once, and only if somebody looks on.
    status : Status or None
        How the phase ends here, by what was measured; None: it goes on. A point that is NONFINITE is shown to nobody.
    plateau : callable or None
        As in `StepInfo`.
    """

    value: float
    gradient_ratio: float
    factors: Callable[[], Factors]
    status: Status | None = None
    plateau: Callable[[], float | None] | None = None


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
    plateau_steps : float or None
        With MAX_STEPS, of `solve`: about how many more steps a small start would have taken to escape, if it has not
        (`dmc.plateau_steps`).
    """

    factors: Factors
    value: float
    status: Status
    n_steps: int
    seconds: float
    stopped_by: str | None = None
    plateau_steps: float | None = None

    @property
    def message(self) -> str:
        """The status in words, with the callback that stopped the run, if one did, or the plateau that it ended on."""
        told = f"{self.status} ({self.stopped_by})" if self.stopped_by else str(self.status)
        return told if self.plateau_steps is None else f"{told}; {waiting(self.plateau_steps)}"
