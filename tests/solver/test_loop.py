"""Every ending of the loop, what it hands to callbacks, and what it keeps."""

import math
from functools import partial

import numpy as np
import pytest

from dmc._group import Group
from dmc.factors import Factors
from dmc.inputs import observe
from dmc.solver import initial, steps
from dmc.solver.loop import Run, solve, solve_phase
from dmc.solver.problem import MaskedLeastSquares
from dmc.solver.protocol import Problem
from dmc.solver.solution import Look, Status


class Bowl(Problem):
    """½ Σ a² over all the factors: descent with rate η multiplies each by 1 − η, so that all is known beforehand."""

    curvature = target_norm = 1.0

    def __init__(self, at_step=None, happens=None):
        self.calls, self.at_step, self.happens = 0, at_step, happens

    def value(self, factors):
        return 0.5 * sum(float((a * a).sum()) for a in factors.arrays)

    def value_and_grad(self, factors):
        self.calls += 1
        if self.calls - 1 == self.at_step:
            return self.happens(self.value(factors), factors)
        return self.value(factors), factors


START = Factors(np.ones((3, 2)), (), np.ones((2, 2)))
HALVE = steps.DiscrepantDescent(0.5)
SAME = steps.DiscrepantDescent(0.5, outer_ratio=0)


class Watch:
    """Remembers all that it sees; asks to stop at a step, or raises."""

    name = "watch"

    def __init__(self, stop_at=None, raises=None):
        self.seen, self.stop_at, self.raises = [], stop_at, raises

    def __call__(self, info):
        self.seen.append(info)
        if info.n_steps == self.stop_at and info.status is None:
            if self.raises is not None:
                raise self.raises
            return True
        return False

    @property
    def steps(self):
        return [info.n_steps for info in self.seen]


# --- endings


def test_converged():
    """The gradient halves with each step: 2⁻²⁰ of the first is reached after 20, looked at every 7."""
    solution = solve(Bowl(), START, HALVE, tol=2.0**-20, check_every=7)
    assert solution.status is Status.CONVERGED
    assert solution.n_steps == 21
    assert solution.value == pytest.approx(5 * 4.0**-21)
    assert solution.stopped_by is None
    np.testing.assert_allclose(solution.factors.U, 2.0**-21)


@pytest.mark.parametrize("check_every", [1, 4, 100])
def test_max_steps(check_every):
    problem = Bowl()
    solution = solve(problem, START, HALVE, max_steps=10, check_every=check_every)
    assert solution.status is Status.MAX_STEPS
    assert solution.n_steps == 10
    assert problem.calls == 11
    assert solution.value == pytest.approx(5 * 4.0**-10)  # of the last step, also where it is no multiple
    np.testing.assert_allclose(solution.factors.U, 2.0**-10)


def test_no_steps_evaluate_the_start():
    watch = Watch()
    solution = solve(Bowl(), START, HALVE, max_steps=0, callbacks=[watch])
    assert (solution.status, solution.n_steps, solution.value) == (Status.MAX_STEPS, 0, 5.0)
    assert solution.factors is START
    assert [info.status for info in watch.seen] == [None, Status.MAX_STEPS]


def test_a_value_of_exactly_zero_is_success():
    zero = START.map(np.zeros_like)
    solution = solve(Bowl(), zero, HALVE)
    assert (solution.status, solution.value, solution.n_steps) == (Status.CONVERGED, 0, 0)


def test_a_gradient_of_exactly_zero_is_the_end_too():
    """A saddle: from factors that are all zero no descent leads anywhere, whatever the value."""
    at = START.map(np.zeros_like)
    with pytest.warns(UserWarning, match="the gradient at the start is zero: no step moves it"):
        solution = solve(MaskedLeastSquares(observe(np.ones((3, 2)))), at, HALVE)
    assert (solution.status, solution.value, solution.n_steps) == (Status.CONVERGED, 3, 0)


def test_squares_that_are_rounded_to_zero_are_no_success():
    problem = MaskedLeastSquares(observe(np.full((3, 2), 1e-200)))
    with pytest.warns(UserWarning, match="squares as small as these are rounded to zero"):
        assert solve(problem, initial.spectral(problem.observations, 1).map(lambda a: a / 2), HALVE).n_steps == 0


@pytest.mark.parametrize("stop_at", [0, 4])
def test_stopped_names_the_callback(stop_at):
    solution = solve(Bowl(), START, SAME, callbacks=[Watch(), Watch(stop_at)], check_every=2)
    assert (solution.status, solution.stopped_by, solution.n_steps) == (Status.STOPPED, "watch", stop_at)
    assert solution.message == f"{Status.STOPPED} (watch)"


def stop(info, flag=True):
    return flag


class Nameless:
    def __call__(self, info):
        return True


@pytest.mark.parametrize(
    ("callback", "name"), [(stop, "stop"), (Nameless(), "Nameless"), (partial(stop, flag=True), "partial")]
)
def test_a_callback_without_a_name_goes_by_its_own(callback, name):
    assert solve(Bowl(), START, SAME, callbacks=[callback]).stopped_by == name


def test_every_callback_is_asked_and_the_first_that_stops_is_named():
    watches = [Watch(), Watch(0), Watch(0), Watch()]
    watches[1].name, watches[2].name = "first", "second"
    assert solve(Bowl(), START, SAME, callbacks=watches).stopped_by == "first"
    assert all(watch.steps == [0, 0] for watch in watches)


def test_converged_wins_over_stopped():
    solution = solve(Bowl(), START, HALVE, tol=0.5**4, callbacks=[Watch(10)], check_every=10)
    assert (solution.status, solution.stopped_by) == (Status.CONVERGED, None)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["value", "gradient"])
def test_nonfinite_keeps_the_last_that_was_finite(bad, where):
    def breaks(value, factors):
        return (bad, factors) if where == "value" else (value, factors.map(lambda a: a * bad))

    watch = Watch()
    solution = solve(Bowl(20, breaks), START, HALVE, tol=0, callbacks=[watch], check_every=10)
    assert (solution.status, solution.n_steps) == (Status.NONFINITE, 20)
    assert solution.value == pytest.approx(5 * 4.0**-10)
    np.testing.assert_allclose(solution.factors.U, 2.0**-10)
    assert watch.steps == [0, 10, 20]
    assert watch.seen[-1].status is Status.NONFINITE
    assert watch.seen[-1].factors is solution.factors


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_start_that_is_not_finite(bad):
    at = Factors(START.U * bad, (), START.V)
    watch = Watch()
    solution = solve(MaskedLeastSquares(observe(np.ones((3, 2)))), at, HALVE, callbacks=[watch])
    assert (solution.status, solution.n_steps) == (Status.NONFINITE, 0)
    assert solution.factors is at
    assert [info.status for info in watch.seen] == [Status.NONFINITE]


@pytest.mark.parametrize("rate", [1e3, 1e100, 1e300])
@pytest.mark.parametrize("depth", [0, 3])
def test_divergence_ends_in_words_and_not_in_warnings(depth, rate):
    """`solve` never raises for a numerical outcome; under pytest a RuntimeWarning of NumPy would be one."""
    problem = MaskedLeastSquares(observe(np.random.default_rng(0).standard_normal((6, 5))))
    at = initial.gaussian((6, 5), 3, depth, scale=1.0)
    solution = solve(problem, at, steps.DiscrepantDescent(rate))
    assert solution.status is Status.NONFINITE
    assert np.isfinite(solution.value)
    assert all(np.isfinite(a).all() for a in solution.factors.arrays)


def test_a_gradient_that_exploded_and_came_back_is_no_convergence():
    """One wild look, above the value of the start, must not make every later gradient look small."""

    def explodes(value, factors):
        return 1e20 * value, factors.map(lambda a: 1e20 * a)

    class Steady(steps.Step):  # the path does not depend on the gradient
        def init(self, problem, factors):
            return None

        def __call__(self, factors, value, grad, state):
            return factors, state

    solution = solve(Bowl(10, explodes), START, Steady(), max_steps=50, check_every=10, tol=1e-8)
    assert solution.status is Status.MAX_STEPS


def test_interrupt_in_a_callback():
    watch = Watch(10, KeyboardInterrupt())
    solution = solve(Bowl(), START, HALVE, tol=0, callbacks=[watch])
    assert (solution.status, solution.stopped_by, solution.n_steps) == (Status.STOPPED, "interrupt", 10)
    np.testing.assert_allclose(solution.factors.U, 2.0**-10)
    assert watch.seen[-1].status is Status.STOPPED
    assert "interrupt" in solution.message


@pytest.mark.parametrize(("at_step", "kept"), [(0, 0), (25, 20)])
def test_interrupt_in_the_problem(at_step, kept):
    def interrupts(value, factors):
        raise KeyboardInterrupt

    solution = solve(Bowl(at_step, interrupts), START, HALVE, tol=0)
    assert (solution.status, solution.stopped_by, solution.n_steps) == (Status.STOPPED, "interrupt", at_step)
    np.testing.assert_allclose(solution.factors.U, 2.0**-kept)


def test_a_step_that_forgets_its_state_is_refused():
    class Stateless(steps.Step):
        def __call__(self, factors, value, grad, state):
            return factors

    with pytest.raises(TypeError, match="Stateless returned Factors; a step returns the next factors and"):
        solve(Bowl(), START, Stateless())


def test_other_errors_are_not_swallowed():
    with pytest.raises(ZeroDivisionError):
        solve(Bowl(), START, HALVE, callbacks=[Watch(0, ZeroDivisionError())])


# --- what callbacks see


@pytest.mark.parametrize(
    ("max_steps", "check_every", "seen"),
    [
        (30, 10, [0, 10, 20, 30, 30]),
        (25, 10, [0, 10, 20, 25, 25]),
        (3, 1, [0, 1, 2, 3, 3]),
        (4, 10, [0, 4, 4]),
    ],
)
def test_when_callbacks_are_called(max_steps, check_every, seen):
    watch = Watch()
    solution = solve(Bowl(), START, HALVE, tol=0, max_steps=max_steps, check_every=check_every, callbacks=[watch])
    assert watch.steps == seen
    *before, last = watch.seen
    assert {info.status for info in before} == {None}
    assert last.status is solution.status
    assert {info.max_steps for info in watch.seen} == {max_steps}


def test_what_callbacks_see():
    watch, problem = Watch(), Bowl()
    solution = solve(problem, START, HALVE, max_steps=20, tol=0, check_every=5, callbacks=[watch])
    for info in watch.seen:
        assert info.value == pytest.approx(problem.value(info.factors))
        assert info.gradient_ratio == pytest.approx(0.5**info.n_steps)
        np.testing.assert_allclose(info.factors.U, 0.5**info.n_steps)
    seconds = [info.seconds for info in watch.seen]
    assert seconds == sorted(seconds)
    assert watch.seen[-1].seconds == solution.seconds


def test_the_ratio_is_to_the_largest_gradient_seen():
    """On a plateau it grows: that is no convergence, whatever the first gradient was."""

    class Plateau(Bowl):
        def value_and_grad(self, factors):
            return 1 / self.value(factors), factors

    watch = Watch()

    class Climb(steps.Step):
        def init(self, problem, factors):
            return 0

        def __call__(self, factors, value, grad, state):
            return factors.map(lambda a: a * (2 if state < 10 else 0.5)), state + 1

    solve(Plateau(), START, Climb(), max_steps=15, tol=1e-3, check_every=5, callbacks=[watch])
    assert [info.gradient_ratio for info in watch.seen[:-1]] == [1, 2.0**5, 2.0**5, 0.5**5]


def test_the_start_is_not_changed():
    at = initial.gaussian((6, 5), 3, 2, scale=0.5)
    copies = [a.copy() for a in at.arrays]
    solve(MaskedLeastSquares(observe(np.ones((6, 5)))), at, steps.DiscrepantDescent(), max_steps=20)
    for a, copy in zip(at.arrays, copies, strict=True):
        np.testing.assert_array_equal(a, copy)


def test_the_cores_are_shared_for_the_loop_and_given_back():
    events = []

    class Context:
        def __enter__(self):
            events.append("open")

        def __exit__(self, *_):
            events.append("close")

    problem = Bowl(3, lambda value, factors: (_ for _ in ()).throw(ZeroDivisionError()))
    problem.sharing_cores = lambda factors: Context()
    with pytest.raises(ZeroDivisionError):
        solve(problem, START, HALVE, callbacks=[lambda info: events.append(info.status)])
    assert events == ["open", None, "close", Status.FAILED]


def test_the_same_run_twice_gives_the_same_to_the_bit():
    observed = observe(
        np.random.default_rng(0).standard_normal((30, 20)), np.random.default_rng(1).random((30, 20)) < 0.5
    )
    found = [
        solve(
            MaskedLeastSquares(observed),
            initial.compressed(observed, 3, seed=4),
            steps.DiscrepantDescent(),
            max_steps=100,
        )
        for _ in range(2)
    ]
    for a, b in zip(*(solution.factors.arrays for solution in found), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"max_steps": -1}, ValueError, "max_steps is -1; it has to be at least 0"),
        ({"max_steps": 1e3}, TypeError, "max_steps is 1000.0"),
        ({"check_every": 0}, ValueError, "check_every is 0; it has to be at least 1"),
        ({"tol": -1e-3}, ValueError, "tol is -0.001"),
        ({"tol": math.nan}, ValueError, "tol is nan"),
    ],
)
def test_bad_settings(settings, error, said):
    with pytest.raises(error, match=said):
        solve(Bowl(), START, HALVE, **settings)


# --- a run of several phases


class Count:
    """A phase that counts down; its look says so."""

    def __init__(self, left, ends=None):
        self.left, self.ends = left, ends

    def step(self):
        self.left -= 1

    def look(self):
        return Look(float(self.left), 0.5, lambda: START, self.ends if self.left == 0 else None)


def test_phases_are_counted_through_and_told_of_one_end():
    watch, first, second = Watch(), Count(3, Status.CONVERGED), Count(9)
    with Run([watch]) as run:
        assert run.phase(first.step, first.look, 10) is Status.CONVERGED
        assert run.n_steps == 3
        assert run.phase(second.step, second.look, 4, check_every=2, planned=True) is Status.COMPLETED
    assert watch.steps == [0, 1, 2, 3, 3, 5, 7, 7]
    assert [info.status for info in watch.seen] == [None] * 7 + [Status.COMPLETED]
    assert [info.max_steps for info in watch.seen] == [10] * 4 + [7] * 4
    assert (run.status, run.stopped_by, run.info) == (Status.COMPLETED, None, watch.seen[-1])


def test_whoever_ends_a_run_ends_its_phases_to_come():
    watch, later = Watch(2), Count(5)
    with Run([watch]) as run:
        first = Count(5)
        assert run.phase(first.step, first.look, 10) is Status.STOPPED
        assert run.phase(later.step, later.look, 10) is Status.STOPPED
    assert (later.left, run.stopped_by, watch.steps) == (5, "watch", [0, 1, 2, 2])


def test_a_watch_ends_its_phase_alone_by_a_count_of_its_own():
    outer, inner, phase = Watch(), Watch(2), Count(9)
    with Run([outer]) as run:
        for _ in range(2):
            assert run.phase(phase.step, phase.look, 5, watches=[inner]) is Status.CONVERGED
    assert inner.steps == [0, 1, 2] * 2
    assert {info.max_steps for info in inner.seen} == {5}
    assert outer.steps == [0, 1, 2, 2, 3, 4, 4]
    assert (run.n_steps, run.stopped_by) == (4, None)


def test_a_phase_may_move_its_own_end():
    phase = Count(9)
    run = Run()

    def look():
        if run.n_steps == 2:
            run.max_steps = 6
        return phase.look()

    assert run.phase(phase.step, look, 3) is Status.MAX_STEPS
    assert run.n_steps == 6


def test_where_there_is_nothing_to_tell_nobody_is_told():
    watch, phase = Watch(), Count(9)
    with Run([watch]) as run:
        run.phase(phase.step, lambda: phase.look() if phase.left < 8 else None, 3)
    assert watch.steps == [2, 3, 3]


def test_factors_are_made_for_those_who_look_on_only():
    def never():
        raise AssertionError

    phase = Count(3)
    assert Run().phase(phase.step, lambda: Look(1.0, 1.0, never), 3) is Status.MAX_STEPS


def test_ctrl_c_between_two_phases_is_told_and_goes_on_to_the_caller():
    watch, phase = Watch(), Count(3)

    def interrupted():
        with Run([watch]) as run:
            run.phase(phase.step, phase.look, 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert watch.seen[-1].status is Status.STOPPED
    with Run([watch]) as run:
        with run.until_interrupted():
            raise KeyboardInterrupt
        assert run.ended
    assert (run.status, run.stopped_by) == (Status.STOPPED, "interrupt")


def test_ctrl_c_in_the_last_call_is_an_ending_too():
    def impatient(info):
        if info.status is not None:
            raise KeyboardInterrupt

    watch = Watch()
    solution = solve(Bowl(), START, HALVE, max_steps=3, callbacks=[impatient, watch])
    assert (solution.status, solution.stopped_by) == (Status.STOPPED, "interrupt")
    assert watch.seen[-1].status is Status.MAX_STEPS  # as it was when it was called


def test_an_error_is_not_hidden_by_another_in_the_last_call():
    def broken(info):
        if info.status is not None:
            raise ValueError

    with pytest.raises(ZeroDivisionError):
        solve(Bowl(), START, HALVE, callbacks=[broken, Watch(0, ZeroDivisionError())])


def test_solves_are_phases_of_a_run():
    watch = Watch()
    with Run([watch]) as run:
        first = solve_phase(run, Bowl(), START, HALVE, max_steps=4, tol=0, check_every=2)
        second = solve_phase(run, Bowl(), first.factors, HALVE, max_steps=2, tol=0, check_every=2, planned=True)
    assert (first.status, first.n_steps) == (Status.MAX_STEPS, 4)
    assert (second.status, second.n_steps) == (Status.COMPLETED, 2)
    assert watch.steps == [0, 2, 4, 4, 6, 6]
    np.testing.assert_allclose(second.factors.U, 2.0**-6)


# --- where nothing is left but rounding


class Approach(steps.Step):
    """Halves the way to a point, and so quarters the value, down to a value; from there on it moves no more."""

    def __init__(self, point, least):
        self.point, self.least = point, least

    def __call__(self, factors, value, grad, state):
        return (steps.partway(factors, self.point, 0.5) if value > self.least else factors), state


def approached(least, rounding):
    """How a run ends whose steps gain nothing below `least`, where rounding alone may leave `rounding`."""
    exact = initial.gaussian((6, 5), 2, 0, scale=1.0)
    problem = MaskedLeastSquares(observe(exact.dense()))
    problem.rounding = rounding
    start = Factors(2 * exact.U, (), exact.V)
    return solve(problem, start, Approach(exact, least), max_steps=12, tol=0, check_every=1)


def test_a_run_ends_where_only_rounding_is_left_and_steps_gain_nothing():
    found = approached(least=1e-4, rounding=1e-3)
    assert found.status is Status.CONVERGED
    assert found.value <= 1e-4


def test_above_rounding_steps_that_gain_nothing_are_no_end():
    assert approached(least=1e-4, rounding=1e-6).status is Status.MAX_STEPS


def test_at_rounding_steps_that_gain_go_on():
    found = approached(least=0, rounding=1e-3)
    assert found.status is Status.MAX_STEPS
    assert found.value < 1e-5


class OneOfTwo(Group):
    """As if another process said the same as this one."""

    size = 2


def test_ctrl_c_ends_the_program_where_other_processes_wait() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Run(group=OneOfTwo()) as run:
        run.phase(interrupt, lambda: None, 3)
    assert (run.status, run.stopped_by) == (Status.STOPPED, "interrupt")


def test_several_processes_agree_even_where_one_has_no_callbacks() -> None:
    told = []

    class Another(OneOfTwo):
        def sum(self, array):
            told.append(array.tolist())
            return array + np.array([1, 0])

    with Run(group=Another()) as run:
        status = run.phase(lambda: None, lambda: Look(1.0, 1.0, lambda: None), 3)
    assert (status, run.stopped_by, told) == (Status.STOPPED, "another process", [[0, 0]])
