"""Ctrl-C while a fit is at work, at any moment."""

import random
import signal
import threading
import time

import numpy as np
import pytest

import dmc
from dmc.recommend import network
from dmc.recommend.network_snapshot import Course
from dmc.solver.interruption import Interruption
from dmc.solver.loop import Run

RNG = np.random.default_rng(0)
TABLE = np.where(RNG.random((40, 30)) < 0.5, RNG.standard_normal((40, 2)) @ RNG.standard_normal((2, 30)), np.nan)
USERS, ITEMS = np.nonzero(RNG.random((80, 50)) < 0.3)
RATINGS = {"user": USERS, "item": ITEMS, "rating": np.clip(np.round(3 + RNG.standard_normal(len(USERS))), 1, 5)}


@pytest.fixture(autouse=True)
def heeded():
    """As at a terminal: in the background a shell has Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt():
    signal.raise_signal(signal.SIGINT)


def test_the_first_is_noted_and_the_second_raises():
    interruption = Interruption()
    interruption.open()
    try:
        assert not interruption.asked
        interrupt()
        assert interruption.asked
        with pytest.raises(KeyboardInterrupt):
            interrupt()
    finally:
        interruption.close()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        interrupt()


def test_one_inside_shares_what_the_outer_one_has_noted():
    outer, inner = Interruption(), Interruption()
    outer.open()
    inner.open()
    interrupt()
    inner.close()
    assert outer.asked
    assert inner.asked
    assert signal.getsignal(signal.SIGINT) == outer.note
    outer.close()


def test_a_handler_of_somebody_elses_stays():
    calls = []
    before = signal.signal(signal.SIGINT, lambda *_: calls.append(1))
    try:
        with Run() as run:
            interrupt()
            run.phase(lambda: None, lambda: None, 3, planned=True)
        assert run.status is dmc.Status.COMPLETED
        assert calls == [1]
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_take_no_signals():
    found = []

    def fit():
        with Run() as run:
            run.phase(lambda: None, lambda: None, 3, planned=True)
        found.append(run.status)

    thread = threading.Thread(target=fit)
    thread.start()
    thread.join()
    assert found == [dmc.Status.COMPLETED]


def test_a_step_is_ended_before_the_run_is():
    steps = []

    def advance():
        steps.append("begun")
        if len(steps) == 5:
            interrupt()
        steps.append("ended")

    with Run() as run:
        run.phase(advance, lambda: None, 100)
        assert run.ended
        assert run.phase(advance, lambda: None, 100) is dmc.Status.STOPPED
    assert (run.n_steps, run.stopped_by, steps.count("begun")) == (3, "interrupt", steps.count("ended"))


def test_between_the_last_phase_and_the_end_it_is_told_too():
    with Run() as run:
        run.phase(lambda: None, lambda: None, 2, planned=True)
        interrupt()
    assert (run.status, run.stopped_by) == (dmc.Status.STOPPED, "interrupt")


def in_the_last_call(info):
    if info.status is not None:
        interrupt()


@pytest.mark.parametrize(
    "fit",
    [
        lambda callbacks: dmc.MatrixCompletion(2, callbacks=callbacks).fit(TABLE),
        lambda callbacks: dmc.Recommender(2, ensemble=2, callbacks=callbacks).fit(RATINGS),
        lambda callbacks: dmc.Recommender(2, model="network", callbacks=callbacks).fit(RATINGS),
        lambda callbacks: dmc.Recommender(2, feedback="implicit", callbacks=callbacks).fit(RATINGS),
    ],
)
def test_in_the_last_call_of_a_callback_it_is_told_too(fit):
    with pytest.warns(UserWarning, match="interrupted after"):
        assert fit([in_the_last_call]).status_ is dmc.Status.STOPPED


def test_where_nothing_was_begun_it_is_raised():
    with pytest.raises(KeyboardInterrupt), Run():
        interrupt()


def test_of_a_network_that_has_not_begun_it_is_raised(monkeypatch):
    def course(*given):
        interrupt()
        return Course(*given)

    monkeypatch.setattr(network, "Course", course)
    with pytest.raises(KeyboardInterrupt):
        dmc.Recommender(1, model="network").fit({"user": [1, 2], "item": [1, 2], "rating": [1.0, 2.0]})


def test_a_handler_that_was_put_in_place_meanwhile_stays():
    calls, replaced = [], []
    with Run() as run:
        replaced.append(signal.signal(signal.SIGINT, lambda *_: calls.append(1)))
        run.phase(lambda: None, lambda: None, 3, planned=True)
    try:
        interrupt()
        assert calls == [1]
        signal.signal(signal.SIGINT, replaced[0])  # ours, which is closed by now
        with pytest.raises(KeyboardInterrupt):
            interrupt()
        with Run() as run:
            interrupt()
            run.phase(lambda: None, lambda: None, 3, planned=True)
        assert run.status is dmc.Status.STOPPED
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_an_interpreter_that_gets_no_signals_can_fit():
    """As a second one in a process, whose first thread takes itself for the main one."""
    found = []

    def fit():
        threading.main_thread, real = threading.current_thread, threading.main_thread
        try:
            with Run() as run:
                run.phase(lambda: None, lambda: None, 3, planned=True)
            found.append(run.status)
        finally:
            threading.main_thread = real

    thread = threading.Thread(target=fit)
    thread.start()
    thread.join()
    assert found == [dmc.Status.COMPLETED]


def test_a_second_one_ends_the_fit_without_a_result():
    def advance():
        interrupt()
        interrupt()

    with pytest.raises(KeyboardInterrupt), Run() as run:
        run.phase(advance, lambda: None, 100)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class Alarm:
    """Ctrl-C after some time."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __enter__(self):
        self._before = signal.signal(signal.SIGALRM, lambda *_: interrupt())
        signal.setitimer(signal.ITIMER_REAL, self.seconds)

    def __exit__(self, *_):
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)


def of_table(model):
    return model.complete(), model.factors_.dense(), [model.rank_, model.n_iter_, model.residual_rms_]


def of_ratings(model):
    return model.user_factors, model.item_factors, [model.rank_, model.n_iter_, len(model.users_)]


FITS = {
    "matrix": (lambda: dmc.MatrixCompletion(2), lambda m: m.fit(TABLE), lambda m: m.fit(TABLE[::-1]), of_table),
    "ratings": (
        lambda: dmc.Recommender(intervals=True),
        lambda m: m.fit(RATINGS),
        lambda m: m.fit(RATINGS),
        of_ratings,
    ),
    "clicks": (
        lambda: dmc.Recommender(feedback="implicit"),
        lambda m: m.fit({name: RATINGS[name] for name in ("user", "item")}),
        lambda m: m.fit(RATINGS),
        of_ratings,
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FITS)
def test_at_any_moment(name):
    """A model is fitted, or as it was; and the next fit is what it would have been."""
    make, fit, before, told = FITS[name]
    rng, began = random.Random(1), time.perf_counter()
    expected = told(fit(make()))
    seconds, ends = time.perf_counter() - began, set()
    for i in range(8):
        model = make()
        known = told(before(model)) if i % 2 else None
        try:
            with Alarm(rng.uniform(0, seconds)):
                fit(model)
        except KeyboardInterrupt:
            ends.add("interrupt")
            if known is None:
                with pytest.raises((AttributeError, ValueError, RuntimeError)):
                    told(model)
            else:
                for ours, theirs in zip(told(model), known, strict=True):
                    np.testing.assert_array_equal(ours, theirs)
        else:
            ends.add(model.status_)
            assert all(np.isfinite(one).all() for one in told(model))
        for ours, theirs in zip(told(fit(model)), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert ends
