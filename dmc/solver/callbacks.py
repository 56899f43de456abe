"""Callbacks: objects that are called with a `StepInfo` during a run, and stop it by returning true."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from dmc import _checks
from dmc._group import ALONE, Group
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.solver.checkpoint import Checkpoint as Checkpoint
from dmc.solver.plateau import SHORT
from dmc.solver.solution import StepInfo, waiting

__all__ = [
    "Checkpoint",
    "EarlyStopping",
    "History",
    "Lowest",
    "Progress",
    "Stagnation",
    "TimeLimit",
]


class Remembering:
    """Base class of callbacks that continue with what they have recorded when a fit resumes from a `Checkpoint`."""

    remembers: tuple[str, ...] = ()

    def state_dict(self) -> dict[str, Any]:
        """Return what the callback has recorded, for a `Checkpoint`.

        Returns
        -------
        dict
            Attributes by name.
        """
        return {name: getattr(self, name) for name in self.remembers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with what another callback had recorded.

        Parameters
        ----------
        state : dict
            From `state_dict`.
        """
        vars(self).update({name: state[name] for name in self.remembers})


class Progress:
    """Show a progress bar on standard error: steps, value, and the estimated wait on the plateau of a small start.

    Parameters
    ----------
    label : str
        Shown left of the bar.
    file : text stream, optional
        Where to draw; by default standard error.

    Examples
    --------
    >>> import dmc
    >>> observed = dmc.datasets.planted((30, 20), rank=2, observed=0.6).observations
    >>> problem, start = dmc.MaskedLeastSquares(observed), dmc.initial.spectral(observed, rank=2)
    >>> bar = dmc.callbacks.Progress("completing")
    >>> dmc.solve(problem, start, dmc.steps.DiscrepantDescent(), callbacks=[bar]).status.name
    'CONVERGED'
    """

    name = "progress"

    def __init__(self, label: str = "fit", file: TextIO | None = None) -> None:
        self.label: str = label
        self.file: TextIO | None = file
        self._bar: Any = None
        self._asked, self._escape = 0, math.inf  # steps at the last estimate; the step at which it ends by that

    def __call__(self, info: StepInfo) -> bool:
        from tqdm import tqdm

        first = self._bar is None
        if first:
            self._bar = tqdm(total=info.max_steps, desc=self.label, unit="step", file=self.file, leave=False)
        self._bar.total = info.max_steps  # which grows, where a fit has several phases
        self._bar.set_postfix_str(f"value {info.value:.3g}{self._wait(info)}", refresh=first)
        self._bar.update(info.n_steps - self._bar.n)
        if info.status is not None:
            self._bar.close()
            self._bar = None
        return False

    def _wait(self, info: StepInfo) -> str:
        """What is told of a plateau: estimated once, and once more whenever twice as many steps were taken."""
        if info.plateau is None or info.n_steps < SHORT or info.status is not None:
            self._asked = 0
            return ""
        if not self._asked or info.n_steps >= 2 * self._asked or info.n_steps > self._escape:
            left, self._asked = info.plateau_steps, info.n_steps
            self._escape = -math.inf if left is None else info.n_steps + left
        return "" if self._escape < info.n_steps else f", {waiting(max(self._escape - info.n_steps, 1))}"


class History(Remembering):
    """Record the course of a run.

    Parameters
    ----------
    **measures : callables
        More quantities to record, by name: each function takes the `Factors` and returns what to keep.

    Attributes
    ----------
    records : list of dict
        One for each call: "n_steps", "value", "gradient_ratio", "seconds", and the measures.

    Examples
    --------
    >>> import dmc
    >>> observed = dmc.datasets.planted((30, 20), rank=2, observed=0.6).observations
    >>> problem, start = dmc.MaskedLeastSquares(observed), dmc.initial.spectral(observed, rank=2)
    >>> history = dmc.callbacks.History(rank=lambda factors: factors.rank(tol=0.01))
    >>> _ = dmc.solve(problem, start, dmc.steps.ScaledDescent(), max_steps=20, tol=0, callbacks=[history])
    >>> history.column("n_steps"), history.column("rank")
    (array([ 0, 10, 20]), array([2, 2, 2]))
    >>> bool((history.column("value")[1:] < history.column("value")[:-1]).all())
    True
    """

    name = "history"
    remembers: tuple[str, ...] = ("records",)

    def __init__(self, **measures: Callable[[Factors], Any]) -> None:
        self.measures = measures
        self.records: list[dict[str, Any]] = []

    def __call__(self, info: StepInfo) -> bool:
        if info.status is None:
            record = {name: getattr(info, name) for name in ("n_steps", "value", "gradient_ratio", "seconds")}
            self.records.append(record | {name: measure(info.factors) for name, measure in self.measures.items()})
        return False

    def column(self, name: str) -> NDArray[Any]:
        """Collect one recorded quantity over the run.

        Parameters
        ----------
        name : str
            Such as "value", or the name of a measure.

        Returns
        -------
        (calls, …) array
            Its values in order.
        """
        return np.asarray([record[name] for record in self.records])


class Lowest(Remembering):
    """Keep the factors with the lowest value, for step rules that do not always descend, such as Adam.

    Attributes
    ----------
    best : Factors or None
        The factors with the lowest value so far.
    best_value : float
        The value there.

    Examples
    --------
    >>> import dmc
    >>> observed = dmc.datasets.planted((30, 20), rank=2, observed=0.6).observations
    >>> problem, start = dmc.MaskedLeastSquares(observed), dmc.initial.spectral(observed, rank=2)
    >>> lowest = dmc.callbacks.Lowest()
    >>> solution = dmc.solve(problem, start, dmc.steps.Adam(), max_steps=100, tol=0, callbacks=[lowest])
    >>> lowest.best_value <= solution.value
    True
    """

    name = "lowest"
    remembers: tuple[str, ...] = ("best", "best_value")

    def __init__(self) -> None:
        self.best: Factors | None = None
        self.best_value: float = math.inf

    def __call__(self, info: StepInfo) -> bool:
        if info.value < self.best_value:
            self.best = info.factors
            self.best_value = info.value
        return False


class EarlyStopping(Remembering):
    """Stop when the error on held-out entries no longer falls, and keep the best factors.

    Patience does not count while the gradient still grows: the plateau of a small start is not the end.

    Parameters
    ----------
    held_out : Observations
        Entries that the problem does not use, in the same units.
    patience : int
        Steps without an improvement after which to stop.
    min_change : float
        Relative fall of the error that counts as an improvement.
    group : Group
        Processes that have held-out entries, each of its own rows; the error is that of all. By default there is one.

    Attributes
    ----------
    best : Factors or None
        The factors with the smallest error.
    best_error : float
        Their root mean squared error on the held-out entries.
    best_step : int
        The step of these factors.
    errors : list of (int, float)
        Step and error at each call.
    mark : (int, float)
        Step and error of the last improvement that counts.

    Examples
    --------
    >>> import dmc
    >>> train, held_out = dmc.datasets.planted((40, 30), rank=2, observed=0.5, noise=0.5).observations.split(0.2)
    >>> problem, start = dmc.MaskedLeastSquares(train), dmc.initial.spectral(train, rank=8)
    >>> stopping = dmc.callbacks.EarlyStopping(held_out, patience=50)
    >>> solution = dmc.solve(problem, start, dmc.steps.DiscrepantDescent(), callbacks=[stopping])
    >>> solution.stopped_by, stopping.best_step < solution.n_steps
    ('early stopping', True)
    """

    name = "early stopping"
    remembers: tuple[str, ...] = ("best", "best_error", "best_step", "errors", "mark")

    def __init__(
        self, held_out: Observations, patience: int = 50, min_change: float = 1e-3, group: Group = ALONE
    ) -> None:
        self.held_out: Observations = held_out
        self.group: Group = group
        self.patience: int = _checks.integer(patience, "patience", 1)
        self.min_change: float = _checks.real(min_change, "min_change", 0, 1)
        self.best: Factors | None = None
        self.best_error: float = math.inf
        self.best_step: int = 0
        self.errors: list[tuple[int, float]] = []
        self.mark: tuple[int, float] = (0, math.inf)

    def __call__(self, info: StepInfo) -> bool:
        if info.status is not None:
            return False
        error = self.error(info.factors)
        self.errors.append((info.n_steps, error))
        if error < self.best_error:
            self.best = info.factors
            self.best_error = error
            self.best_step = info.n_steps
        if info.gradient_ratio > 1 or error < self.mark[1] * (1 - self.min_change):
            self.mark = info.n_steps, error
        return info.n_steps - self.mark[0] >= self.patience

    def error(self, factors: Factors) -> float:
        """Compute the root mean squared error of factors on the held-out entries, by their weights.

        Parameters
        ----------
        factors : Factors
            Of the predictions.

        Returns
        -------
        float
            In the units of the held-out values.
        """
        self.held_out = self.held_out.to(factors.device)  # once
        difference = factors.at(self.held_out.rows, self.held_out.cols) - self.held_out.values
        xp = array_namespace(difference)
        squares, weights = xp.astype(difference, xp.float64) ** 2, self.held_out.weights
        if weights is None:
            total, of = float(xp.sum(squares)), float(len(squares))
        else:
            total, of = float(xp.sum(weights * squares)), float(xp.sum(weights))
        total, of = self.group.sum(np.array([total, of]))
        return math.sqrt(total / of)


class Stagnation(Remembering):
    """Stop when the value no longer falls, for runs whose residual does not go to zero.

    As with `EarlyStopping`, patience does not count while the gradient still grows.

    Parameters
    ----------
    patience : int
        Steps without an improvement after which to stop.
    min_change : float
        Relative fall of the value that counts as an improvement.

    Examples
    --------
    >>> import dmc
    >>> observed = dmc.datasets.planted((30, 20), rank=3, observed=0.6).observations
    >>> problem, start = dmc.MaskedLeastSquares(observed), dmc.initial.spectral(observed, rank=2)
    >>> stagnation = dmc.callbacks.Stagnation(patience=20, min_change=1e-4)
    >>> dmc.solve(problem, start, dmc.steps.ScaledDescent(), callbacks=[stagnation]).stopped_by
    'stagnation'
    """

    name = "stagnation"
    remembers: tuple[str, ...] = ("_mark",)

    def __init__(self, patience: int = 50, min_change: float = 1e-6) -> None:
        self.patience: int = _checks.integer(patience, "patience", 1)
        self.min_change: float = _checks.real(min_change, "min_change", 0, 1)
        self._mark = (0, math.inf)

    def __call__(self, info: StepInfo) -> bool:
        if info.gradient_ratio > 1 or info.n_steps == 0 or info.value < self._mark[1] * (1 - self.min_change):
            self._mark = info.n_steps, info.value
        return info.n_steps - self._mark[0] >= self.patience


class TimeLimit:
    """Stop after a number of seconds, counted from the first call, over several runs if it watches several.

    Parameters
    ----------
    seconds : float
        Wall-clock seconds.

    Examples
    --------
    >>> import dmc
    >>> observed = dmc.datasets.planted((30, 20), rank=2, observed=0.6).observations
    >>> problem, start = dmc.MaskedLeastSquares(observed), dmc.initial.spectral(observed, rank=2)
    >>> solution = dmc.solve(problem, start, dmc.steps.ScaledDescent(), callbacks=[dmc.callbacks.TimeLimit(0)])
    >>> solution.status.name, solution.stopped_by
    ('STOPPED', 'time limit')
    """

    name = "time limit"

    def __init__(self, seconds: float) -> None:
        self.seconds: float = _checks.real(seconds, "seconds", 0)
        self._began: float | None = None

    def __call__(self, info: StepInfo) -> bool:
        if self._began is None:
            self._began = time.perf_counter() - info.seconds
        return time.perf_counter() - self._began >= self.seconds
