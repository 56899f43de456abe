"""The loop. There is one: it knows no algorithm, no kernel and no callback but what it is handed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from dmc import _arrays, _checks
from dmc._group import ALONE, Group
from dmc.factors import Array, Factors
from dmc.solver.arguments import check_arguments
from dmc.solver.plateau import LEARNT, steps_left, tell_of_start, told_if_waiting
from dmc.solver.problem import MaskedLeastSquares
from dmc.solver.protocol import Problem, Step, group_of
from dmc.solver.solution import Solution, Status, StepInfo

Callback = Callable[[StepInfo], object]

GAIN = 0.9  # of the last value: above it a step gains nothing, where only rounding is left


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


class Standing(NamedTuple):
    """Where a phase of `solve` stands at a look.

    Attributes
    ----------
    n_steps : int
        Of the phase.
    factors : Factors
    state : object
        The step rule's; None: it is made anew.
    scales : list of float
        By which the end is found.
    """

    n_steps: int
    factors: Factors
    state: Any
    scales: list[float]


class Run:
    """A run of one phase or of several: the clock, the count of steps, the callbacks, Ctrl-C, and the ending.

    ``with Run(callbacks) as run:`` and in it ``run.phase(advance, look, max_steps)``, as often as there are phases: the
    steps are numbered through, and once somebody asked for the end, phases to come end before they begin. Leaving the
    block, however that happens, calls every callback once more, with the status.

    Parameters
    ----------
    callbacks : sequence of callables
        Each is called with a `StepInfo` at every look; a true return value ends the run.
    group : Group
        The processes that take part: what a callback says in one of them holds for all.

    Attributes
    ----------
    n_steps, max_steps : int
        Steps taken, and those after which the phase ends; a phase may move its own end, while it lasts.
    status : Status or None
        How the last phase ended; None in a phase.
    stopped_by : str or None
        With STOPPED: the callback that asked for it, "interrupt" for Ctrl-C, or "another process".
    info : StepInfo or None
        What was told last, and is again at the end; whoever goes back to an earlier point puts that one here.
    seconds : float
        Wall-clock seconds, once it has ended.
    """

    def __init__(self, callbacks: Sequence[Callback] = (), group: Group = ALONE) -> None:
        self.callbacks, self.group = list(callbacks), group
        self.n_steps = self.max_steps = 0
        self.status: Status | None = None
        self.stopped_by: str | None = None
        self.info: StepInfo | None = None
        self.seconds = 0.0
        self._began = time.perf_counter()

    @property
    def ended(self) -> bool:
        """Whether no further phase is to come: somebody asked for the end, or the numbers overflowed."""
        return self.status in (Status.STOPPED, Status.NONFINITE)

    def phase(
        self,
        advance: Callable[[], object],
        look: Callable[[], Look | None],
        max_steps: int,
        *,
        check_every: int = 1,
        planned: bool = False,
        watches: Sequence[Callback] = (),
        taken: int = 0,
    ) -> Status:
        """Advance and look, until what is measured, somebody who looks on, or the number of steps says that it is over.

        Parameters
        ----------
        advance : callable
            One step.
        look : callable
            Measures the present point; None where there is nothing to tell yet.
        max_steps : int
            Steps of this phase.
        check_every : int
            Steps between two looks, the first before any step, the last at the last step.
        planned : bool
            Whether `max_steps` is what the phase is to take (COMPLETED), or a bound that it should not reach
            (MAX_STEPS).
        watches : sequence of callables
            Callbacks of this phase alone, with a count of its own; one that asks for the end ends the phase, as
            CONVERGED. They are not called at the end.
        taken : int
            Steps of this phase that were taken before, and are counted already.

        Returns
        -------
        Status
            Ctrl-C ends it as STOPPED.
        """
        if self.ended:
            assert self.status is not None
            return self.status
        first = self.n_steps - taken
        self.status, self.max_steps = None, first + max_steps
        with self.until_interrupted():
            while self.status is None:
                if (self.n_steps - first) % check_every == 0 or self.n_steps == self.max_steps:
                    self.status = self._shown(look(), first, watches)
                if self.status is None and self.n_steps >= self.max_steps:
                    self.status = Status.COMPLETED if planned else Status.MAX_STEPS
                if self.status is None:
                    advance()
                    self.n_steps += 1
        assert self.status is not None
        return self.status

    def _shown(self, seen: Look | None, first: int, watches: Sequence[Callback]) -> Status | None:
        """Show a point to all who look on; how the phase ends here, if it does."""
        if seen is None or seen.status is Status.NONFINITE:
            return None if seen is None else seen.status
        if not self.callbacks and not watches and self.group.size == 1:
            return seen.status
        seconds, factors = time.perf_counter() - self._began, seen.factors()
        measured = seen.value, seen.gradient_ratio, seconds, factors
        self.info = StepInfo(self.n_steps, self.max_steps, *measured, plateau=seen.plateau)
        asked = [callback for callback in self.callbacks if callback(self.info)]  # every one of them is called
        of_phase = replace(self.info, n_steps=self.n_steps - first, max_steps=self.max_steps - first)
        done = [watch for watch in watches if watch(of_phase)]
        n_asked, n_done = self.group.sum(np.array([len(asked), len(done)]))
        if seen.status is None and n_asked:
            self.stopped_by = _name(asked[0]) if asked else "another process"
            return Status.STOPPED
        return Status.CONVERGED if seen.status is None and n_done else seen.status

    @contextmanager
    def until_interrupted(self) -> Iterator[None]:
        """Ctrl-C in here ends the run, and the block, but not the program, unless that is one process of several."""
        try:
            yield
        except KeyboardInterrupt:
            self.status, self.stopped_by = Status.STOPPED, "interrupt"
            if self.group.size > 1:  # the others are somewhere else in their step, and would wait for this one
                raise

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt):
            self.status, self.stopped_by = Status.STOPPED, "interrupt"
        elif error is not None:
            self.status, self.stopped_by = Status.FAILED, None
        self.seconds = time.perf_counter() - self._began
        if self.info is None:
            return
        self.info = replace(self.info, n_steps=self.n_steps, seconds=self.seconds, status=self.status)
        try:
            with self.until_interrupted(), ExitStack() as calls:  # which makes each call, whatever the others raise
                for callback in reversed(self.callbacks):
                    calls.callback(callback, self.info)
        except Exception:
            if error is None:  # else that one is on its way already
                raise


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
        start escapes the gradient grows, so that the plateau is not taken for the end. Converged too when of a
        `MaskedLeastSquares` nothing is left but rounding (its `rounding`) and it falls no more.
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
        as STOPPED, with what was reached. Warns if it ends by `max_steps` (and `tol` is above 0) before a small start
        has escaped from its plateau, and if one of the start's value and gradient is zero and the other is not.

    Raises
    ------
    TypeError
        If one of them is not what it has to be: a problem, a start, a step, callbacks.
    ValueError, ImportError
        If there is no such device, or torch is not installed.
    MemoryError
        If the device has no room.
    """
    max_steps = _checks.integer(max_steps, "max_steps", 0)
    check_every = _checks.integer(check_every, "check_every", 1)
    tol = _checks.real(tol, "tol", 0)
    check_arguments(problem, start, step, callbacks)
    with Run(callbacks, group_of(problem)) as run:
        problem = problem if device is None else problem.to(device)
        found = solve_phase(run, problem, start, step, max_steps=max_steps, tol=tol, check_every=check_every)
    assert run.status is not None
    found = replace(found, status=run.status, seconds=run.seconds, stopped_by=run.stopped_by)
    if run.status is Status.CONVERGED and found.n_steps == 0 and tol < 1:
        tell_of_start(problem, found)
    # With tol=0 so many steps were wanted, whatever they reach.
    ended_early = run.status is Status.MAX_STEPS and tol > 0 and max_steps > 0
    return told_if_waiting(problem, start, found, step) if ended_early else found


def solve_phase(
    run: Run,
    problem: Problem,
    start: Factors,
    step: Step,
    *,
    max_steps: int,
    tol: float = 1e-8,
    check_every: int = 10,
    planned: bool = False,
    watches: Sequence[Callback] = (),
    standing: Standing | None = None,
    keep: Callable[[Standing], object] | None = None,
) -> Solution:
    """`solve` as one phase of a run, whose callbacks look on; see `Run.phase` for `planned` and `watches`. `keep` gets
    where it stands at each look, before the watches see it; and with a `standing` it goes on from there."""
    taken = 0 if standing is None else standing.n_steps
    first, began, home = run.n_steps - taken, time.perf_counter(), start.device
    start = start.to(problem.device)
    descent = _Descent(problem, start, step, tol)
    if standing is not None:
        descent.stand(standing)
    if keep is not None:
        watches = [lambda info: keep(descent.standing(info.n_steps)) and False, *watches]
    run.info = run.info or StepInfo(0, max_steps, math.nan, 1.0, 0.0, start)  # if it ends before its first look
    # An overflow is an outcome, told by the status.
    with (
        problem.sharing_cores(start),
        _arrays.words_for_full_memory(problem.device),
        np.errstate(over="ignore", invalid="ignore", divide="ignore"),
    ):
        status = run.phase(
            descent.advance,
            descent.look,
            max_steps,
            check_every=check_every,
            planned=planned,
            watches=watches,
            taken=taken,
        )
    n_steps, seconds = run.n_steps - first, time.perf_counter() - began
    return Solution(descent.accepted.to(home), descent.value, status, n_steps, seconds, run.stopped_by)


class _Descent:
    """Factors on their way down a problem: how they move, and what is measured."""

    def __init__(self, problem: Problem, start: Factors, step: Step, tol: float) -> None:
        self.problem, self.step, self.tol = problem, step, tol
        self.factors = self.accepted = start
        self.value = math.nan  # at the accepted point: the last that counts, and is finite
        self._state: Any = None
        self._at: tuple[Array | float, Factors] | None = None  # value and gradient at the factors, once they are known
        self._largest, self._ceiling = 0.0, math.nan
        self._before = math.inf  # the value at the last look
        self._at_look: tuple[Factors, Any, list[float]] = start, None, []  # what that began with

    def _value_and_grad(self) -> tuple[Any, Factors]:
        if self._at is None:
            self._at = self.problem.value_and_grad(self.factors)
        return self._at

    @cached_property
    def _rounding(self) -> float:
        """Where it can be told: a problem of one's own need not know it."""
        return self.problem.rounding if isinstance(self.problem, MaskedLeastSquares) else 0.0

    def advance(self) -> None:
        self.factors, self._state = self.step(self.factors, *self._value_and_grad(), self._state)
        self._at = None

    def standing(self, n_steps: int) -> Standing:
        """What the last look, at this step, began with."""
        return Standing(n_steps, *self._at_look)

    def stand(self, at: Standing) -> None:
        """Go on from there."""
        self.factors = at.factors
        self._state = self.step.init(self.problem, at.factors) if at.state is None else at.state
        self._largest, self._ceiling, self._before = at.scales

    def look(self) -> Look:
        self._at_look = self.factors, self._state, [self._largest, self._ceiling, self._before]
        first = math.isnan(self._ceiling)
        if first:
            self._state = self.step.init(self.problem, self.factors)
        accepted, value, grad = self.step.accepted_point(self.factors, *self._value_and_grad(), self._state)
        value, norm = float(value), _norm(grad, group_of(self.problem))
        if not (math.isfinite(value) and math.isfinite(norm)):
            return Look(value, norm, lambda: accepted, Status.NONFINITE)
        ratio = norm / (self._largest or norm) if norm > 0 else 0.0
        # A gradient that explodes above the start's value must not make later ones look small.
        self._ceiling = value if first else self._ceiling
        self._largest = max(self._largest, norm) if value <= self._ceiling else self._largest
        self.accepted, self.value = accepted, value
        # Down at rounding steps go on while they gain, for small singular values; then they would only stir it.
        matched = self._rounding >= value > GAIN * self._before
        self._before = value
        converged = value == 0 or ratio <= self.tol or matched
        plateau = partial(steps_left, self.problem, accepted, self.step) if value > LEARNT * self._ceiling else None
        return Look(value, ratio, lambda: accepted, Status.CONVERGED if converged else None, plateau)


def _norm(grad: Factors, group: Group) -> float:
    """Of the gradient by the rows of all processes; the first alone adds the rest, which all of them have."""
    squares = np.array([float((array * array).sum()) for array in grad.arrays])
    if group.rank > 0:
        squares[[array is not grad.U and array is not grad.row_bias for array in grad.arrays]] = 0
    return math.sqrt(sum(group.sum(squares).tolist()))


def _name(callback: Callback) -> str:
    return str(getattr(callback, "name", None) or getattr(callback, "__name__", None) or type(callback).__name__)
