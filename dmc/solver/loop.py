"""The one loop. It knows no algorithm, kernel or callback except those passed to it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from types import TracebackType

import numpy as np

from dmc import _arrays, _checks, _memory
from dmc._group import ALONE, Group
from dmc._keeper import Fit, Keeping, keeper_among, refuse_keeping
from dmc.factors import Factors
from dmc.solver import fingerprint
from dmc.solver.arguments import check_arguments
from dmc.solver.descent import Descent, Standing
from dmc.solver.interruption import Interruption
from dmc.solver.kept_phases import Course, KeptPhases, Reached
from dmc.solver.plateau import tell_of_start, told_if_waiting
from dmc.solver.protocol import Problem, Step, group_of
from dmc.solver.solution import Look, Solution, Status, StepInfo

Callback = Callable[[StepInfo], object]


class Run:
    """A run of one or several phases: the clock, the count of steps, the callbacks, Ctrl-C, and the ending.

    Write ``with Run(callbacks) as run:`` and in it ``run.phase(advance, look, max_steps)`` for each phase: the count of
    steps continues, and once the end was asked for, later phases end before they begin. Leaving the block, however that
    happens, calls every callback once more, with the status.

    Parameters
    ----------
    callbacks : sequence of callables
        Each is called with a `StepInfo` at every look; a true return value ends the run.
    group : Group
        The processes that take part: a callback that stops the run in one of them stops it in all.
    kept : KeptPhases, optional
        The phases of an earlier process, and where those of this one are kept.

    Attributes
    ----------
    n_steps, max_steps : int
        Steps taken, and the number after which the phase ends; a phase may change it while it lasts.
    status : Status or None
        How the last phase ended; None in a phase.
    stopped_by : str or None
        With STOPPED: the callback that asked for it, "interrupt" for Ctrl-C, or "another process".
    info : StepInfo or None
        What callbacks saw last, and see again at the end; code that returns to an earlier point puts that here.
    seconds : float
        Wall-clock seconds, once it has ended.
    """

    def __init__(
        self, callbacks: Sequence[Callback] = (), group: Group = ALONE, kept: KeptPhases | None = None
    ) -> None:
        self.callbacks: list[Callback] = list(callbacks)
        self.group: Group = group
        self._kept = kept or KeptPhases()
        self.n_steps: int = 0
        self.max_steps: int = 0
        self.status: Status | None = None
        self.stopped_by: str | None = None
        self.info: StepInfo | None = None
        self.seconds: float = 0.0
        self._began = time.perf_counter()
        self._interruption = Interruption()

    @property
    def ended(self) -> bool:
        """Whether no further phase will run: it was asked to end, or the numbers overflowed."""
        return self._interruption.asked or self.status in (Status.STOPPED, Status.NONFINITE)

    @property
    def watched(self) -> bool:
        """Whether there are callbacks besides those that only keep the run."""
        return any(not isinstance(callback, Keeping) for callback in self.callbacks)

    @property
    def elapsed(self) -> float:
        """Wall-clock seconds since it began, without those between two processes."""
        return time.perf_counter() - self._began

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
        course: Course | None = None,
        keep: Callable[[int], object] | None = None,
    ) -> Status:
        """Advance and look, until the measurements, a callback or the number of steps end the phase.

        Parameters
        ----------
        advance : callable
            One step.
        look : callable
            Measures the present point; None if there is nothing to report yet.
        max_steps : int
            Steps of this phase.
        check_every : int
            Steps between two looks, the first before any step, the last at the last step.
        planned : bool
            Whether the phase is meant to take `max_steps` (COMPLETED), or they are a bound that it should not reach
            (MAX_STEPS).
        watches : sequence of callables
            Callbacks of this phase alone, with a count of its own; one that returns true ends the phase as CONVERGED.
            They are not called at the end.
        taken : int
            Steps of this phase that were taken and counted earlier.
        course : Course, optional
            What moves, if its state may have been kept: the phase then resumes from there.
        keep : callable, optional
            Used instead: called with the steps of this phase before callbacks see a point.

        Returns
        -------
        Status
            Ctrl-C ends it as STOPPED.
        """
        if self.ended:
            return self._stopped_before()
        found = None if course is None else self._kept.reached(course, watches)
        if found is not None:
            if found.taken > max_steps:
                raise ValueError(
                    f"the checkpoint is at step {found.taken}, and max_steps is {max_steps}; raise max_steps, or "
                    "remove the file"
                )
            self.go_on(found.n_steps, found.seconds)
            taken = found.taken
        first = self.n_steps - taken
        self.status, self.max_steps = None, first + max_steps
        if found is not None and found.status is not None:
            self.status = Status[found.status]
            return self.status
        with self.until_interrupted():
            while self.status is None:
                on_grid = (self.n_steps - first) % check_every == 0
                if course is not None and on_grid:
                    last = self.n_steps == self.max_steps or self._interruption.asked
                    self._kept.stands(course, watches, partial(self._reached, first), last)
                if on_grid or self.n_steps == self.max_steps or self._interruption.asked:
                    self.status = self._shown(look(), first, watches, keep)
                self._end_if_asked()
                if self.status is None and self.n_steps >= self.max_steps:
                    self.status = Status.COMPLETED if planned else Status.MAX_STEPS
                if self.status is None:
                    advance()
                    self.n_steps += 1
        assert self.status is not None
        if course is not None and self.status is not Status.STOPPED:
            self._kept.over(course, watches, partial(self._reached, first))
        return self.status

    def go_on(self, n_steps: int, seconds: float) -> None:
        """Continue the count of steps and seconds of another process."""
        self.n_steps, self._began = n_steps, time.perf_counter() - seconds

    def _reached(self, first: int) -> Reached:
        status = None if self.status is None else self.status.name
        return Reached(self.n_steps, self.n_steps - first, self.elapsed, status)

    def _stopped_before(self) -> Status:
        self._end_if_asked()
        assert self.status is not None
        return self.status

    def _end_if_asked(self) -> None:
        """End as STOPPED if Ctrl-C was recorded."""
        if self._interruption.asked and self.status is not Status.NONFINITE:
            self.status, self.stopped_by = Status.STOPPED, "interrupt"

    def _shown(
        self, seen: Look | None, first: int, watches: Sequence[Callback], keep: Callable[[int], object] | None
    ) -> Status | None:
        """Call the callbacks at a point, and return how the phase ends there, if it does."""
        if seen is None or seen.status is Status.NONFINITE:
            return None if seen is None else seen.status
        if keep is not None:
            keep(self.n_steps - first)
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
        """Let Ctrl-C end the run and the block, but not the program, unless that is one process of several."""
        try:
            yield
        except KeyboardInterrupt:
            self.status, self.stopped_by = Status.STOPPED, "interrupt"
            if self._interruption.asked:  # already: this is the second one
                raise
            if self.group.size > 1:  # the others are somewhere else in their step, and would wait for this one
                raise

    def __enter__(self) -> Run:
        self._interruption.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt):
            self.status, self.stopped_by = Status.STOPPED, "interrupt"
        elif error is not None:
            self.status, self.stopped_by = Status.FAILED, None
        try:
            self._close(error)
            if error is None and self.status is not None:
                self._end_if_asked()
        finally:
            self._interruption.close()
        if error is None and self._interruption.unheeded and self.stopped_by != "interrupt":
            raise KeyboardInterrupt

    def _close(self, error: BaseException | None) -> None:
        """Make the last calls."""
        if error is None and self.status is not None:
            self._end_if_asked()
        self.seconds = self.elapsed
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


@_memory.in_words
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
        Such as `MaskedLeastSquares`.
    start : Factors
        From `dmc.initial`, or your own; not changed. NumPy arrays or torch tensors, wherever they live.
    step : Step
        From `dmc.steps`.
    max_steps : int
        The largest number of steps; 0 evaluates the start.
    tol : float
        Converged when the norm of the gradient is at most `tol` times the largest seen. On the plateau before a small
        start escapes the gradient grows, so the plateau does not count as the end. A `MaskedLeastSquares` has also
        converged when its residual is rounding error (its `rounding`) and no longer falls.
    callbacks : sequence of callables
        Each is called with a `StepInfo` every `check_every` steps, and once more at the end with the status; a true
        return value, before the end, stops the run.
    check_every : int
        Steps between two looks at the value. Only there does the host wait for a device, unless the step rule decides
        by the value itself (`Backtracking`, `GaussNewton`, `RankPath`).
    device : str, optional
        Where to compute: "cpu" or "cuda" by torch. By default where the problem's data are.

    Returns
    -------
    Solution
        With factors where the start was. Numerical outcomes are reported by its `status`, never raised. Ctrl-C ends the
        run as STOPPED, with what was reached; a second one raises KeyboardInterrupt.

    Raises
    ------
    TypeError
        If a problem, start, step or callback is not one.
    ValueError, ImportError
        If there is no such device, or torch is not installed.
    MemoryError
        If the device has no room.

    Warns
    -----
    UserWarning
        If the run ends by `max_steps` (and `tol` is above 0) before a small start has escaped from its plateau, or if
        one of the start's value and gradient is zero and the other is not.

    Examples
    --------
    Complete a 40×30 matrix of rank 2 from 60 % of its entries; the rank given is an upper bound only:

    >>> import dmc
    >>> observed, A, B = dmc.datasets.planted((40, 30), rank=2, observed=0.6)
    >>> start = dmc.initial.compressed(observed, rank=4)
    >>> solution = dmc.solve(dmc.MaskedLeastSquares(observed), start, dmc.steps.DiscrepantDescent())
    >>> solution.status.name, solution.factors.rank(tol=1e-3)
    ('CONVERGED', 2)
    >>> error = solution.factors.dense() - A @ B.T
    >>> bool(abs(error).max() < 1e-3)
    True
    """
    max_steps = _checks.integer(max_steps, "max_steps", 0)
    check_every = _checks.integer(check_every, "check_every", 1)
    tol = _checks.real(tol, "tol", 0)
    check_arguments(problem, start, step, callbacks)
    if group_of(problem).size > 1:
        refuse_keeping(callbacks, "a problem that is dealt among processes", "leave the Checkpoint out")
    with (
        keeper_among(callbacks, partial(_identity, problem, start, step, check_every, device)) as keeper,
        Run(callbacks, group_of(problem), KeptPhases(keeper, open_end=True)) as run,
    ):
        problem = problem if device is None else problem.to(device)
        found = solve_phase(run, problem, start, step, max_steps=max_steps, tol=tol, check_every=check_every)
        if run.status is not Status.STOPPED or run.stopped_by != "interrupt":
            keeper.finish()
    assert run.status is not None
    found = replace(found, status=run.status, seconds=run.seconds, stopped_by=run.stopped_by)
    if run.status is Status.CONVERGED and found.n_steps == 0 and tol < 1:
        tell_of_start(problem, found)
    # With tol=0 so many steps were wanted, whatever they reach.
    ended_early = run.status is Status.MAX_STEPS and tol > 0 and max_steps > 0
    return told_if_waiting(problem, start, found, step) if ended_early else found


def _identity(problem: Problem, start: Factors, step: Step, check_every: int, device: str | None) -> Fit:
    """The identity of the fit. More steps, or another tolerance, continue the same fit."""
    settings = {
        "fit": "solve",
        "problem": type(problem).__name__,
        "start": f"{start!r} {fingerprint.told(start.arrays)}",
        "step": fingerprint.told(step),
        "check_every": check_every,
        "device": device,
    }
    return Fit(settings, fingerprint.of_problem(problem, start))


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
    """Run `solve` as one phase of a run, with its callbacks; see `Run.phase` for `planned` and `watches`. `keep` gets
    the state at each look, before the watches see it; with a `standing` it resumes from there.
    """
    taken = 0 if standing is None else standing.n_steps
    first, began, home = run.n_steps - taken, time.perf_counter(), start.device
    start = start.to(problem.device)
    descent = Descent(problem, start, step, tol)
    if standing is not None:
        descent.go_on(standing)
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
            course=descent if keep is None else None,
            keep=None if keep is None else lambda n_steps: keep(descent.at_look(n_steps)),
        )
    n_steps, seconds = run.n_steps - first, time.perf_counter() - began
    return Solution(descent.accepted.to(home), descent.value, status, n_steps, seconds, run.stopped_by)


def _name(callback: Callback) -> str:
    return str(getattr(callback, "name", None) or getattr(callback, "__name__", None) or type(callback).__name__)
