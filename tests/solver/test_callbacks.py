"""Who looks on, and when each of them says stop."""

import io
import math

import numpy as np
import pytest

from dmc import datasets
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.solver import callbacks, initial, steps
from dmc.solver.loop import solve
from dmc.solver.problem import MaskedLeastSquares
from dmc.solver.solution import Status, StepInfo

ONE = Factors(np.ones((1, 1)), (), np.ones((1, 1)))


def info(n_steps, value=1.0, ratio=0.5, seconds=0.0, factors=ONE, status=None, max_steps=100) -> StepInfo:
    return StepInfo(n_steps, max_steps, value, ratio, seconds, factors, status)


def first_stop(callback, infos) -> int | None:
    return next((i.n_steps for i in infos if callback(i)), None)


# --- History


def test_history_remembers_each_look_once():
    history = callbacks.History()
    for n, value in ((0, 3.0), (10, 2.0)):
        assert not history(info(n, value, 0.25, seconds=n / 10))
    assert not history(info(10, 2.0, status=Status.CONVERGED))
    assert history.records == [
        {"n_steps": 0, "value": 3.0, "gradient_ratio": 0.25, "seconds": 0.0},
        {"n_steps": 10, "value": 2.0, "gradient_ratio": 0.25, "seconds": 1.0},
    ]


# --- EarlyStopping

TRUTH = 10.0
HELD_OUT = Observations.from_entries([0], [0], [TRUTH])


def at_error(error: float) -> Factors:
    return Factors(np.full((1, 1), TRUTH + error), (), np.ones((1, 1)))


def looks(errors, ratio=0.5, every=10):
    return [info(every * i, ratio=ratio, factors=at_error(error)) for i, error in enumerate(errors)]


def test_early_stopping_measures_the_root_mean_square():
    held_out = Observations.from_entries([0, 1], [0, 1], [1.0, 5.0])
    f = Factors(np.array([[1.0], [2.0]]), (), np.array([[2.0], [1.0]]))  # 2 and 2 there
    assert callbacks.EarlyStopping(held_out).error(f) == pytest.approx(math.sqrt((1 + 9) / 2))


def test_early_stopping_stops_after_patience_and_keeps_the_best():
    seen = looks([5, 3, 2, 4, 4.5, 6, 7])
    watch = callbacks.EarlyStopping(HELD_OUT, patience=30)
    assert first_stop(watch, seen) == 50  # 30 steps after the best, at 20
    assert (watch.best_step, watch.best_error) == (20, pytest.approx(2))
    assert watch.best is seen[2].factors
    assert [step for step, _ in watch.errors] == [0, 10, 20, 30, 40, 50]
    np.testing.assert_allclose([error for _, error in watch.errors], [5, 3, 2, 4, 4.5, 6])


def test_early_stopping_is_not_kept_awake_by_crumbs():
    """Falls of less than the least change are kept as the best, but do not count as an improvement."""
    watch = callbacks.EarlyStopping(HELD_OUT, patience=30, min_change=0.01)
    assert first_stop(watch, looks([1 - 0.001 * i for i in range(20)])) == 30
    assert watch.best_step == 30


def test_early_stopping_lets_crumbs_add_up():
    """A slow fall that makes up the least change within the patience goes on."""
    watch = callbacks.EarlyStopping(HELD_OUT, patience=30, min_change=0.01)
    assert first_stop(watch, looks([0.99**i for i in range(20)])) is None


def test_early_stopping_does_not_count_while_the_gradient_grows():
    watch = callbacks.EarlyStopping(HELD_OUT, patience=30)
    assert first_stop(watch, looks([5] * 40, ratio=1.1)) is None
    later = [info(390 + i.n_steps, factors=i.factors) for i in looks([5] * 40)]
    assert first_stop(watch, later) == 420


def test_early_stopping_ignores_the_last_call():
    watch = callbacks.EarlyStopping(HELD_OUT, patience=1)
    watch(info(0, factors=at_error(3)))
    assert not watch(info(100, factors=at_error(1), status=Status.MAX_STEPS))
    assert watch.best_error == pytest.approx(3)


def test_early_stopping_outlasts_the_plateau_of_a_small_start():
    """The published start escapes its saddle after hundreds of steps in which nothing seems to happen."""
    observed = datasets.planted((40, 30), 1, 0.6).observations
    train, held_out = observed.split(0.2)
    watch = callbacks.EarlyStopping(held_out, patience=50)
    start = initial.compressed(train, 2, 3, 1e-2)
    step = steps.DiscrepantDescent(5e-3, outer_ratio=0.01)
    solution = solve(MaskedLeastSquares(train), start, step, max_steps=5000, callbacks=[watch])
    errors = dict(watch.errors)
    plateau = next(step for step, error in watch.errors if error < 0.9 * errors[0])
    assert plateau > 200  # far beyond the patience
    assert solution.n_steps > plateau
    assert watch.best_error < 0.1 * errors[0]


def test_early_stopping_refuses_bad_settings():
    with pytest.raises(ValueError, match="patience is 0"):
        callbacks.EarlyStopping(HELD_OUT, patience=0)
    with pytest.raises(ValueError, match="min_change is -1"):
        callbacks.EarlyStopping(HELD_OUT, min_change=-1)


# --- Stagnation


def values(sequence, first=0, every=10):
    return [info(first + every * i, value) for i, value in enumerate(sequence)]


def test_stagnation_stops_after_patience():
    assert first_stop(callbacks.Stagnation(30, 0.01), values([5, 4, 3, 3, 3, 3, 3])) == 50


def test_stagnation_goes_on_while_the_value_falls():
    assert first_stop(callbacks.Stagnation(30, 0.01), values([0.98**i for i in range(50)])) is None
    assert first_stop(callbacks.Stagnation(30, 0.01), values([0.999**i for i in range(50)])) == 30


def test_stagnation_starts_afresh_with_each_run():
    watch = callbacks.Stagnation(30, 0.01)
    assert first_stop(watch, values([5, 4, 3, 3, 3, 3, 3])) == 50
    assert first_stop(watch, values([8, 7, 7, 7, 7, 7, 7])) == 40


def test_stagnation_refuses_bad_settings():
    with pytest.raises(ValueError, match="patience is 0"):
        callbacks.Stagnation(patience=0)
    with pytest.raises(ValueError, match="min_change is 2"):
        callbacks.Stagnation(min_change=2)


# --- TimeLimit


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

    monkeypatch.setattr("time.perf_counter", lambda: Clock.now)
    return Clock


def test_time_limit_counts_over_several_runs(clock):
    limit = callbacks.TimeLimit(10)
    assert not limit(info(0))
    clock.now += 6
    assert not limit(info(50, seconds=6))
    # A second run begins, its own seconds at zero.
    assert not limit(info(0))
    clock.now += 3.9
    assert not limit(info(50, seconds=3.9))
    clock.now += 0.2
    assert limit(info(60, seconds=4.1))


def test_time_limit_counts_what_the_run_took_before_the_first_call(clock):
    limit = callbacks.TimeLimit(10)
    assert limit(info(0, seconds=10.5))


def test_time_limit_of_nothing_stops_at_the_start(clock):
    solution = solve(problem(), start(), steps.DiscrepantDescent(), callbacks=[callbacks.TimeLimit(0)])
    assert (solution.status, solution.stopped_by, solution.n_steps) == (Status.STOPPED, "time limit", 0)


def test_time_limit_refuses_less_than_nothing():
    with pytest.raises(ValueError, match="seconds is -1"):
        callbacks.TimeLimit(-1)


# --- Progress


def problem() -> MaskedLeastSquares:
    return MaskedLeastSquares(datasets.planted((20, 10), 2, 0.6).observations)


def start() -> Factors:
    return initial.compressed(datasets.planted((20, 10), 2, 0.6).observations, 2)


def test_progress_writes_to_its_stream_alone(capsys):
    stream = io.StringIO()
    progress = callbacks.Progress("deep", stream)
    solve(problem(), start(), steps.DiscrepantDescent(), max_steps=20, callbacks=[progress])
    assert "deep" in stream.getvalue()
    assert "/20" in stream.getvalue()
    assert capsys.readouterr() == ("", "")


def test_progress_goes_to_standard_error(capsys):
    solve(problem(), start(), steps.DiscrepantDescent(), max_steps=20, callbacks=[callbacks.Progress()])
    out, err = capsys.readouterr()
    assert out == ""
    assert "fit" in err


def test_progress_never_stops_a_run_and_closes_with_it():
    stream = io.StringIO()
    progress = callbacks.Progress("deep", stream)
    assert not progress(info(0))
    assert not progress(info(10))
    assert not progress(info(10, status=Status.MAX_STEPS))
    once = stream.getvalue()
    # tqdm leaves the line empty: blanks between two returns of the carriage.
    assert once.endswith("\r")
    assert once.rstrip("\r").rpartition("\r")[2].strip() == ""
    # And another run gets another bar.
    assert not progress(info(0))
    assert "deep" in stream.getvalue()[len(once) :]
    progress(info(0, status=Status.MAX_STEPS))


def test_progress_shows_the_value_and_the_steps():
    stream = io.StringIO()
    progress = callbacks.Progress("deep", stream)
    progress(info(0, value=1.0))
    progress._bar.refresh()
    progress(info(40, value=0.125))
    progress._bar.refresh()
    assert "40/100" in stream.getvalue()
    assert "value 0.125" in stream.getvalue()
    progress(info(40, status=Status.CONVERGED))


def test_progress_closes_after_an_interrupt():
    stream = io.StringIO()
    progress = callbacks.Progress("deep", stream)

    def interrupt(seen):
        if seen.n_steps == 10 and seen.status is None:
            raise KeyboardInterrupt

    solution = solve(problem(), start(), steps.DiscrepantDescent(), callbacks=[progress, interrupt])
    assert solution.stopped_by == "interrupt"
    assert progress._bar is None


@pytest.mark.parametrize("name", ["Progress", "History", "EarlyStopping", "Stagnation", "TimeLimit"])
def test_each_has_a_name_that_a_message_can_use(name):
    assert getattr(callbacks, name).name == {"EarlyStopping": "early stopping", "TimeLimit": "time limit"}.get(
        name, name.lower()
    )


def test_history_remembers_measures():
    watch = callbacks.History(width=lambda factors: factors.width)
    for look in looks([3, 2, 1]):
        watch(look)
    np.testing.assert_array_equal(watch.column("width"), [look.factors.width for look in looks([3, 2, 1])])
    assert list(watch.column("n_steps")) == [0, 10, 20]


def test_lowest_keeps_what_was_lowest():
    watch = callbacks.Lowest()
    seen = [info(10 * i, value=value) for i, value in enumerate([3.0, 1.0, 2.0, math.nan])]
    assert not any(watch(look) for look in seen)
    assert watch.best is seen[1].factors
    assert watch.best_value == 1
