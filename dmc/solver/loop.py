"""The loop. There is one: it knows no algorithm, no kernel and no callback but what it is handed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np

from dmc import _arrays, _checks
from dmc.factors import Factors
from dmc.solver.problem import Problem
from dmc.solver.solution import Solution, Status, StepInfo
from dmc.solver.steps import Step

Callback = Callable[[StepInfo], bool | None]


def solve(
    problem: Problem,
    start: Factors,
    step: Step,
    *,
    max_steps: int = 10_000,
    tol: float = 1e-8,
    callbacks: Sequence[Callback] = (),
    check_every: int = 10,
    device: str | None = None,
) -> Solution:
    """Minimise a problem from a start by a step rule.

    Parameters
    ----------
    problem : Problem
        For instance `MaskedLeastSquares`.
    start : Factors
        From `dmc.initial`, or your own; not changed. NumPy arrays or torch tensors, wherever they live.
    step : Step
        From `dmc.steps`.
    max_steps : int
        Steps at most; 0 evaluates the start.
    tol : float
        Converged when the norm of the gradient is at most `tol` times the largest seen. On the plateau before a small
        start escapes the gradient grows, so that the plateau is not taken for the end.
    callbacks : sequence of callables
        Each is called with a `StepInfo` every `check_every` steps, and once more at the end with the status; a true
        return value, before the end, stops the run.
    check_every : int
        Steps between two looks at the value: the only places where the host waits for a device, unless the step rule
        decides by the value itself (`Backtracking`, `GaussNewton`, `RankPath`).
    device : str, optional
        Where to compute: "cpu" or "cuda" by torch. Left out: where the problem's data are.

    Returns
    -------
    Solution
        Its factors are where the start was. Never raises for a numerical outcome: `status` tells. Ctrl-C ends the run
        as STOPPED, with what was reached.

    Raises
    ------
    ValueError, ImportError
        If there is no such device, or torch is not installed.
    MemoryError
        If the device has no room.
    """
    max_steps = _checks.integer(max_steps, "max_steps", 0)
    check_every = _checks.integer(check_every, "check_every", 1)
    tol = _checks.real(tol, "tol", 0)
    began = time.perf_counter()
    home = start.device
    problem = problem if device is None else problem.to(device)
    start = start.to(problem.device)
    largest = 0.0
    factors, status, stopped_by, n = start, None, None, 0
    info = StepInfo(0, max_steps, math.nan, 1.0, 0.0, start)
    ceiling = math.inf  # the start's value
    try:
        # An overflow is an outcome, told by the status.
        with (
            problem.sharing_cores(start),
            _arrays.words_for_full_memory(problem.device),
            np.errstate(over="ignore", invalid="ignore", divide="ignore"),
        ):
            state = step.init(problem, start)
            while status is None:
                value, grad = problem.value_and_grad(factors)
                if n % check_every == 0 or n == max_steps:
                    standing, level, slope = step.standing(factors, value, grad, state)
                    level, norm = float(level), _norm(slope)
                    if not (math.isfinite(level) and math.isfinite(norm)):
                        status = Status.NONFINITE
                        break
                    ratio = norm / (largest or norm) if norm > 0 else 0.0
                    # A gradient that explodes above the start's value must not make later ones look small.
                    ceiling = level if n == 0 else ceiling
                    largest = max(largest, norm) if level <= ceiling else largest
                    info = StepInfo(n, max_steps, level, ratio, time.perf_counter() - began, standing)
                    stopped_by = next((_name(c) for c in [c for c in callbacks if c(info)]), None)
                    status = _ending(level, ratio, tol, stopped_by, n, max_steps)
                if status is None:
                    factors, state = step(factors, value, grad, state)
                    n += 1
    except KeyboardInterrupt:
        status, stopped_by = Status.STOPPED, "interrupt"
    assert status is not None
    seconds = time.perf_counter() - began
    try:
        for callback in callbacks:
            callback(StepInfo(n, max_steps, info.value, info.gradient_ratio, seconds, info.factors, status))
    except KeyboardInterrupt:
        status, stopped_by = Status.STOPPED, "interrupt"
    factors, stopped_by = info.factors.to(home), stopped_by if status is Status.STOPPED else None
    return Solution(factors, info.value, status, n, seconds, stopped_by)


def _ending(value: float, ratio: float, tol: float, stopped_by: str | None, n: int, max_steps: int) -> Status | None:
    if value == 0 or ratio <= tol:
        return Status.CONVERGED
    if stopped_by is not None:
        return Status.STOPPED
    return Status.MAX_STEPS if n >= max_steps else None


def _norm(grad: Factors) -> float:
    return math.sqrt(sum(float((array * array).sum()) for array in grad.arrays))


def _name(callback: Callback) -> str:
    return str(getattr(callback, "name", None) or getattr(callback, "__name__", None) or type(callback).__name__)
