"""Every callback under every fit that has callbacks, whichever way the fit ends."""

import io
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pytest

from dmc import Recommender, Status, callbacks, initial, steps
from dmc.completion.factor_analysis import Analysis, Entries
from dmc.observations import Observations
from dmc.recommend import bayesian, implicit, noise_free
from dmc.recommend.all_pairs import AllPairs
from dmc.recommend.factor_posterior import FactorPosterior
from dmc.recommend.network import NetworkSettings
from dmc.solver.loop import Run, solve
from dmc.solver.problem import MaskedLeastSquares


def ratings(noise=0.5, shape=(120, 60)):
    rng = np.random.default_rng(0)
    m, n = shape
    truth = 3 + rng.standard_normal((m, 2)) @ rng.standard_normal((2, n))
    rows, cols = np.nonzero(rng.random(shape) < 0.4)
    values = truth[rows, cols] + noise * rng.standard_normal(len(rows))
    return Observations.from_entries(rows, cols, values.astype(np.float32), shape)


def clicks():
    """Enough of them for a search: its fits are phases before the last."""
    observed = ratings(shape=(300, 80))
    chosen = observed.take(observed.values > 3)
    return chosen.with_values(np.ones(chosen.n_observed, np.float32))


class Ending(NamedTuple):
    status: Status
    stopped_by: str | None
    n_steps: int  # as the callbacks are told


def by_solve(looking_on):
    problem = MaskedLeastSquares(ratings())
    start = initial.gaussian(problem.observations.shape, 3, 0, 0.5, dtype=np.float32)
    found = solve(problem, start, steps.DiscrepantDescent(), max_steps=1000, tol=1e-3, callbacks=looking_on)
    return Ending(found.status, found.stopped_by, found.n_steps)


def by_bayes(looking_on):
    found = bayesian.fit(ratings(), callbacks=looking_on)
    return Ending(found.status, found.stopped_by, len(found.errors))


def by_bayes_on_a_sample(looking_on):
    tuned, bayesian.TUNING = bayesian.TUNING, replace(bayesian.TUNING, large=1_000, sample=900)
    try:
        return by_bayes(looking_on)
    finally:
        bayesian.TUNING = tuned


def by_clicks(looking_on):
    found = implicit.fit(clicks(), callbacks=looking_on)
    return Ending(found.status, found.stopped_by, found.n_iter)


def by_clicks_on_torch(looking_on):
    pytest.importorskip("torch")
    found = implicit.fit(clicks(), 4, callbacks=looking_on, device="cpu")
    return Ending(found.status, found.stopped_by, found.n_iter)


def by_network(looking_on):
    told = []
    settings = NetworkSettings(rank=2, depth=1, l2=1.3, validation_fraction=0.1, device=None)
    found = settings.fit(ratings(), np.random.default_rng(0), [told.append, *looking_on]).solution
    return Ending(found.status, found.stopped_by, told[-1].n_steps)


def by_factor_analysis(looking_on):
    analysis = Analysis(Entries.of(ratings(shape=(200, 8))), 2)
    with Run(looking_on) as run:
        run.phase(analysis.sweep, analysis.look, analysis.max_sweeps, planned=True)
    return Ending(run.status, run.stopped_by, run.n_steps)


@dataclass(frozen=True)
class Face:
    """A fit, how it ends by itself, and what makes its steps."""

    fit: Any
    status: Status
    step: tuple[Any, str]


FACES = {
    "solve": Face(by_solve, Status.CONVERGED, (steps.DiscrepantDescent, "__call__")),
    "Bayes": Face(by_bayes, Status.CONVERGED, (FactorPosterior, "update_posterior")),
    "Bayes, sample": Face(by_bayes_on_a_sample, Status.CONVERGED, (FactorPosterior, "update_posterior")),
    "clicks": Face(by_clicks, Status.CONVERGED, (AllPairs, "sweep")),
    "clicks, torch": Face(by_clicks_on_torch, Status.CONVERGED, (steps.AlternatingLeastSquares, "__call__")),
    "network": Face(by_network, Status.COMPLETED, (steps.Adam, "__call__")),
    "factor analysis": Face(by_factor_analysis, Status.CONVERGED, (Analysis, "sweep")),
}


@pytest.fixture(params=FACES)
def face(request):
    return FACES[request.param]


class Watch:
    """Remembers what it is told; at a look with so many steps, or more, it is through with it."""

    name = "watch"

    def __init__(self, at=None, wish=True):
        self.told, self.at, self.wish = [], at, wish

    def __call__(self, info):
        self.told.append(info)
        if info.status is None and self.at is not None and info.n_steps >= self.at:
            if self.wish is not True:
                raise self.wish
            return True
        return False

    def check(self, status):
        """One last call, with the status, of the last point that was seen; and one count before."""
        *looks, last = self.told
        assert [info.status for info in self.told] == [None] * len(looks) + [status]
        counts = [info.n_steps for info in self.told]
        assert counts == sorted(counts)
        assert all(info.n_steps <= info.max_steps for info in looks)
        seconds = [info.seconds for info in self.told]
        assert seconds == sorted(seconds)
        assert {info.factors.shape for info in self.told} == {last.factors.shape}
        if looks:
            assert last.value == looks[-1].value


class OpenAndClosed(callbacks.Progress):
    """A bar that counts how often it was drawn, and put away."""

    def __init__(self):
        super().__init__("fit", io.StringIO())
        self.opened = self.closed = 0

    def __call__(self, info):
        before = self._bar
        super().__call__(info)
        self.opened += before is None
        self.closed += self._bar is None
        return False


# --- endings


def test_by_itself(face):
    watch, bar = Watch(), OpenAndClosed()
    found = face.fit([watch, bar])
    assert (found.status, found.stopped_by) == (face.status, None)
    watch.check(face.status)
    assert watch.told[-1].n_steps == found.n_steps
    assert (bar.opened, bar.closed) == (1, 1)


@pytest.mark.parametrize("at", [0, 3, 6])
def test_by_a_callback(face, at):
    watch, other, bar = Watch(at), Watch(), OpenAndClosed()
    found = face.fit([other, watch, bar])
    assert (found.status, found.stopped_by) == (Status.STOPPED, "watch")
    for looking_on in (watch, other):
        looking_on.check(Status.STOPPED)
    assert watch.told[-1].n_steps == watch.told[-2].n_steps >= at
    assert (bar.opened, bar.closed) == (1, 1)


@pytest.mark.parametrize("at", [0, 3, 6])
def test_by_ctrl_c_in_a_callback(face, at):
    watch, bar = Watch(at, KeyboardInterrupt()), OpenAndClosed()
    found = face.fit([bar, watch])
    assert (found.status, found.stopped_by) == (Status.STOPPED, "interrupt")
    watch.check(Status.STOPPED)
    assert bar._bar is None


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError()], ids=["Ctrl-C", "an error"])
@pytest.mark.parametrize("call", [1, 4])
def test_by_what_happens_in_a_step(face, call, error, monkeypatch):
    owner, name = face.step
    step, calls = getattr(owner, name), []

    def broken(*arguments, **more):
        calls.append(arguments)
        if len(calls) == call:
            raise error
        return step(*arguments, **more)

    monkeypatch.setattr(owner, name, broken)
    watch, bar = Watch(), OpenAndClosed()
    if isinstance(error, KeyboardInterrupt):
        assert face.fit([watch, bar])[:2] == (Status.STOPPED, "interrupt")
        watch.check(Status.STOPPED)
    else:
        with pytest.raises(ZeroDivisionError):
            face.fit([watch, bar])
        watch.check(Status.FAILED)
    assert bar._bar is None
    assert bar.opened == bar.closed == 1


def test_by_an_error_in_a_callback(face):
    broken, watch, bar = Watch(5, ZeroDivisionError()), Watch(), OpenAndClosed()
    with pytest.raises(ZeroDivisionError):
        face.fit([bar, watch, broken])
    watch.check(Status.FAILED)
    assert (bar.opened, bar.closed) == (1, 1)


def test_an_error_in_the_last_call_keeps_no_other_from_theirs(face):
    def broken(info):
        if info.status is not None:
            raise ZeroDivisionError

    watch, bar = Watch(), OpenAndClosed()
    with pytest.raises(ZeroDivisionError):
        face.fit([broken, watch, bar])
    watch.check(face.status)
    assert bar.closed == 1


@pytest.mark.parametrize("name", ["Bayes", "Bayes, sample", "clicks"])
def test_by_numbers_that_are_no_longer_finite(name, monkeypatch):
    face = FACES[name]
    owner, method = face.step
    step, watch, bar = getattr(owner, method), Watch(), OpenAndClosed()

    def overflows(*arguments, **more):
        return step(*arguments, **more) * np.nan

    monkeypatch.setattr(owner, method, overflows)
    found = face.fit([watch, bar])
    assert found.status is Status.NONFINITE
    watch.check(Status.NONFINITE)
    assert all(np.isfinite(info.value) for info in watch.told)
    assert bar._bar is None


# --- each callback


def test_history_has_every_look(face):
    history, watch = callbacks.History(width=lambda factors: factors.width), Watch()
    found = face.fit([history, watch])
    looks = [info for info in watch.told if info.status is None]
    assert [record["n_steps"] for record in history.records] == [info.n_steps for info in looks]
    assert [record["value"] for record in history.records] == [info.value for info in looks]
    assert history.records[-1]["n_steps"] == found.n_steps  # the last step too
    assert np.isfinite(history.column("value").astype(float)).all()
    assert history.column("width").min() >= 1


def test_early_stopping_ends_every_fit(face):
    shapes = {by_factor_analysis: (200, 8), by_clicks: (300, 80), by_clicks_on_torch: (300, 80)}
    observed = ratings(shape=shapes.get(face.fit, (120, 60)))
    held_out = observed.take(np.arange(observed.n_observed) % 7 == 0)
    watch = callbacks.EarlyStopping(held_out, patience=1, min_change=0.9)
    found = face.fit([watch])
    assert (found.status, found.stopped_by) == (Status.STOPPED, "early stopping")
    assert watch.best is not None
    assert watch.best_error == min(error for _, error in watch.errors)
    assert watch.best_step <= found.n_steps


def test_stagnation_ends_every_fit(face):
    found = face.fit([callbacks.Stagnation(1, min_change=1.0)])
    assert (found.status, found.stopped_by) == (Status.STOPPED, "stagnation")


def test_a_time_limit_ends_every_fit_at_its_first_look(face):
    watch = Watch()
    found = face.fit([callbacks.TimeLimit(0), watch])
    assert (found.status, found.stopped_by) == (Status.STOPPED, "time limit")
    assert len(watch.told) == 2


def test_lowest_keeps_what_was_lowest(face):
    lowest, watch = callbacks.Lowest(), Watch()
    face.fit([lowest, watch])
    assert lowest.best_value == min(info.value for info in watch.told)
    assert lowest.best is not None


def test_the_bar_is_as_long_as_the_fit(face):
    lengths = []

    class Bar(callbacks.Progress):
        def __call__(self, info):
            super().__call__(info)
            if self._bar is not None:
                lengths.append((self._bar.n, self._bar.total, info.n_steps, info.max_steps))
            return False

    face.fit([Bar(file=io.StringIO())])
    assert all((n, total) == (n_steps, max_steps) for n, total, n_steps, max_steps in lengths)
    assert all(n <= total for n, total, *_ in lengths)


# --- what a user is told of it


def interrupt_at(step):
    def callback(info):
        if info.n_steps >= step and info.status is None:
            raise KeyboardInterrupt

    return callback


@pytest.mark.parametrize("settings", [{}, {"feedback": "implicit"}], ids=["ratings", "clicks"])
def test_ctrl_c_is_told_once_and_where_the_fit_was_called(settings):
    observed = clicks() if settings else ratings()
    table = {"user": observed.rows, "item": observed.cols, "rating": observed.values}
    with pytest.warns(UserWarning, match="interrupted") as told:
        model = Recommender(**settings, callbacks=[interrupt_at(3)]).fit(table)
    assert [str(warning.message) for warning in told] == ["interrupted after 3 steps: the model holds the best so far"]
    assert told[0].filename == __file__
    assert (model.status_, model.n_iter_) == (Status.STOPPED, 3)


def test_ctrl_c_in_the_finish_of_clean_ratings_keeps_the_model():
    observed = ratings(noise=0)
    rough = bayesian.fit(observed)
    watch = Watch(1, KeyboardInterrupt())
    fine = noise_free.finish(rough, observed, [watch])
    assert (fine.status, fine.stopped_by) == (Status.STOPPED, "interrupt")
    watch.check(Status.STOPPED)
