"""What may look on while the solver runs: each takes a `StepInfo` and returns true to stop the run."""

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


class Remembering:
    """Goes on with what it has seen, where a fit goes on from a `Checkpoint`."""

    remembers: tuple[str, ...] = ()

    def state_dict(self) -> dict[str, Any]:
        """What it has seen."""
        return {name: getattr(self, name) for name in self.remembers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with what another one had seen."""
        vars(self).update({name: state[name] for name in self.remembers})


class Progress:
    """A progress bar on standard error: steps and value; and on the plateau before a small start escapes, how long yet.

    Parameters
    ----------
    label : str
        Shown left of the bar.
    file : text stream, optional
        Where to draw; standard error if left out.
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
    """Remembers the course of a run.

    Parameters
    ----------
    **measures : callables
        Further things to remember, by name: each takes the `Factors` and returns what to keep.

    Attributes
    ----------
    records : list of dict
        One for each look: "n_steps", "value", "gradient_ratio", "seconds", and the measures.
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
        """(looks, …) one remembered thing over the run."""
        return np.asarray([record[name] for record in self.records])


class Lowest(Remembering):
    """Keeps the factors at which the value was lowest; for steps that do not only descend, such as Adam's.

    Attributes
    ----------
    best : Factors or None
    best_value : float
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
    """Stops when the error on held-out entries has not fallen for a while, and keeps the best factors.

    Patience does not count while the gradient still grows: a small start sits on a plateau before it escapes, and that
    is not the end.

    Parameters
    ----------
    held_out : Observations
        Entries that the problem does not see, in the same units as its own.
    patience : int
        Steps without an improvement after which to stop.
    min_change : float
        Relative fall of the error that counts as an improvement.
    group : Group
        The processes that have held-out entries, each of its own rows; the error is that of all.

    Attributes
    ----------
    best : Factors or None
        The factors with the smallest error.
    best_error : float
        Their root mean squared error on the held-out entries.
    best_step : int
        The step at which they were seen.
    errors : list of (int, float)
        Step and error at each look.
    mark : (int, float)
        Step and error of the last improvement that counts.
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
        """Root mean squared error of factors on the held-out entries, which count by their weights."""
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
    """Stops when the value has not fallen for a while: the end of a run whose residual does not go to zero.

    As with `EarlyStopping`, patience does not count while the gradient still grows.

    Parameters
    ----------
    patience : int
        Steps without an improvement after which to stop.
    min_change : float
        Relative fall of the value that counts as an improvement.
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
    """Stops after so many seconds, counted from its first call: it may watch several runs in a row.

    Parameters
    ----------
    seconds : float
        Wall-clock seconds.
    """

    name = "time limit"

    def __init__(self, seconds: float) -> None:
        self.seconds: float = _checks.real(seconds, "seconds", 0)
        self._began: float | None = None

    def __call__(self, info: StepInfo) -> bool:
        if self._began is None:
            self._began = time.perf_counter() - info.seconds
        return time.perf_counter() - self._began >= self.seconds
