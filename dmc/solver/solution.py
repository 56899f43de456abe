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
    """How a run ended. The value of each member is a message with advice.

    `CONVERGED` and `COMPLETED` are the good ends; with `MAX_STEPS`, `STOPPED` and `NONFINITE` the factors are the last
    valid ones; `UNDETERMINED` says that the observed entries do not fix the whole matrix.

    Examples
    --------
    >>> import dmc
    >>> print(dmc.Status.CONVERGED)
    converged: no further step improves it by more than the tolerance
    >>> observed = dmc.datasets.planted((20, 15), rank=1, observed=0.8).observations
    >>> start = dmc.initial.compressed(observed, rank=1)
    >>> solution = dmc.solve(dmc.MaskedLeastSquares(observed), start, dmc.steps.DiscrepantDescent())
    >>> solution.status is dmc.Status.CONVERGED
    True
    """

    CONVERGED = "converged: no further step improves it by more than the tolerance"
    MAX_STEPS = "not converged within the largest number of steps; raise max_steps, loosen tol, or observe more entries"
    UNDETERMINED = (
        "converged, but the observed entries cannot determine the whole matrix at the rank found; observe more, "
        "or leave out what complete(unknown=numpy.nan) marks"
    )
    COMPLETED = "ran the planned number of steps"
    STOPPED = "stopped by a callback before it converged"
    NONFINITE = (
        "the value is no longer a finite number; use a smaller step (rate), a smaller start (scale), or scale the data"
    )
    FAILED = "ended by an error, which the caller gets; callbacks see this status, to close what they opened"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class StepInfo:
    """What a callback of `dmc.solve` or of an estimator receives.

    Callbacks are called every `check_every` steps, and once more at the end. See `dmc.callbacks`.

    Parameters
    ----------
    n_steps : int
        Steps taken so far, over all phases of a fit.
    max_steps : int
        The largest number of steps, as far as is known: a fit of several phases, or one that adds directions, may raise
        it.
    value : float
        The problem's value at `factors`; in a Bayesian fit, the standard deviation of the noise in the data's units.
    gradient_ratio : float
        Norm of the gradient over the largest at earlier calls; above 1 while it still grows. In sweeps, which have no
        gradient, the size of the last change, compared in the same way.
    seconds : float
        Wall-clock seconds since the loop began.
    factors : Factors
        The present point.
    status : Status or None
        How the run ended, at the last call; None before.
    plateau : callable or None
        Internal; read `plateau_steps`.

    Examples
    --------
    A callback that stops the run when the loss is small enough:

    >>> import dmc
    >>> def small_enough(info):
    ...     return info.value < 1e-3
    >>> observed = dmc.datasets.planted((20, 15), rank=1, observed=0.8).observations
    >>> start = dmc.initial.compressed(observed, rank=1)
    >>> problem, step = dmc.MaskedLeastSquares(observed), dmc.steps.DiscrepantDescent()
    >>> dmc.solve(problem, start, step, callbacks=[small_enough]).stopped_by
    'small_enough'
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
        """Estimated steps until a small start escapes from its plateau, or None.

        None where the run is not on such a plateau, or no estimate can be made; see `dmc.plateau_steps`. On the plateau
        it costs about ten steps at each access.
        """
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


@dataclass(frozen=True, repr=False)
class Solution:
    """The result of `dmc.solve`.

    Parameters
    ----------
    factors : Factors
        The last factors at which the value was finite.
    value : float
        The problem's value there.
    status : Status
        How the run ended.
    n_steps : int
        Steps taken.
    seconds : float
        Wall-clock seconds in the loop, without the set-up.
    stopped_by : str or None
        With STOPPED: the callback that asked for it, or "interrupt" for Ctrl-C.
    plateau_steps : float or None
        With MAX_STEPS, where a small start has not escaped from its plateau: about how many more steps it would have
        taken (`dmc.plateau_steps`).

    Examples
    --------
    >>> import numpy as np
    >>> import dmc
    >>> observed, A, B = dmc.datasets.planted((40, 30), rank=2, observed=0.6)
    >>> start = dmc.initial.compressed(observed, rank=4)
    >>> solution = dmc.solve(dmc.MaskedLeastSquares(observed), start, dmc.steps.DiscrepantDescent())
    >>> solution.status.name, solution.factors.rank(tol=1e-3)
    ('CONVERGED', 2)
    >>> bool(np.allclose(solution.factors.dense(), A @ B.T, atol=1e-3))
    True
    """

    factors: Factors
    value: float
    status: Status
    n_steps: int
    seconds: float
    stopped_by: str | None = None
    plateau_steps: float | None = None

    def __repr__(self) -> str:
        name = self.status.name if self.stopped_by is None else f"{self.status.name} ({self.stopped_by})"
        ending = f"{name} after {self.n_steps:,} steps and {self.seconds:.3g} s"
        return f"Solution({self.factors!r}, value {self.value:.4g}, {ending})"

    @property
    def message(self) -> str:
        """The status in words, with the callback that stopped the run or the plateau on which it ended."""
        told = f"{self.status} ({self.stopped_by})" if self.stopped_by else str(self.status)
        return told if self.plateau_steps is None else f"{told}; {waiting(self.plateau_steps)}"
