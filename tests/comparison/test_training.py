"""A contender's clock leaves out looks; the networks are what `dmc.initial` makes; limits and Ctrl-C end them."""

import time

import numpy as np
import pytest

import dmc
from dmc.comparison import training
from dmc.comparison.training import Clock, Limits, Settings, complete, networks, prepare, train
from dmc.comparison.trial_data import trial_data
from dmc.solver.solution import Status

SPEED = 1e10


@pytest.fixture(scope="module")
def data():
    return trial_data(dmc.datasets.planted((40, 30), 2, 0.5), None, None, 0.1, None, False, 0)


def limits(max_steps=2000, tol=1e-5, time_limit=60.0):
    return Limits(max_steps, tol, time_limit)


def of_kind(data, **changes):
    return networks(data, Settings(**({"rank": 3, "depth": 3, "scale": 1e-2, "seed": 4} | changes)))


def test_a_clock_can_be_stopped(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    clock = Clock()
    now[0] = 2.0
    with clock.stopped():
        now[0] = 12.0
    now[0] = 13.0
    assert clock.seconds == 3.0


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_sizes_are_those_of_the_starts(data, depth):
    for network in of_kind(data, depth=depth).values():
        start = network.start()
        size = network.size
        assert (start.n_parameters, start.shape, start.depth) == (size.n_parameters, (40, 30), size.depth)
        again = network.start()
        assert all((a == b).all() for a, b in zip(start.arrays, again.arrays, strict=True))


def test_looks_are_outside_the_clock_and_set_up_is_inside(data, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    network = of_kind(data)["compressed"]
    start = network.start()

    def slow_start():
        now[0] += 5.0
        return start

    def slow_look(self, factors):
        now[0] += 100.0
        return 0.5

    monkeypatch.setattr(type(data), "error", slow_look)
    slow = training.Network(network.name, network.size, slow_start)
    found = train(slow, data, limits(max_steps=20), SPEED, False)
    assert (found.seconds, found.n_steps) == (5.0, 20)
    np.testing.assert_array_equal(found.course, [[0, 5, 0.5], [10, 5, 0.5], [20, 5, 0.5]])


def test_the_course_is_that_of_solve(data):
    network = of_kind(data)["narrow"]
    found = train(network, data, limits(max_steps=30), SPEED, False)
    rule = dmc.steps.Backtracking(dmc.steps.DiscrepantDescent(training.RATE / data.problem.curvature))
    solution = dmc.solve(data.problem, network.start(), rule, max_steps=30, tol=0)
    assert found.held_out_error == pytest.approx(data.error(solution.factors))
    assert (found.status, found.converged) == (Status.MAX_STEPS, False)


def test_all_networks_find_a_planted_matrix(data):
    for name in ("compressed", "full width", "narrow"):
        found = train(of_kind(data)[name], data, limits(), SPEED, False)
        assert found.status is Status.CONVERGED, name
        assert found.held_out_error < 1e-3 * data.baseline, name
        assert (np.diff(found.course[:, 1]) >= 0).all()


def test_compressed_follows_full(data):
    """With both rates alike at unit size: at each look, while they escape and until they are down."""
    found = [train(of_kind(data)[name], data, limits(), SPEED, False) for name in ("compressed", "full width")]
    halves = [next(n for n, _, error in c.course if error < data.baseline / 2) for c in found]
    assert halves[0] == pytest.approx(halves[1], rel=0.1)


def test_the_time_limit_ends_it(data):
    found = train(of_kind(data)["compressed"], data, limits(max_steps=10**6, tol=0, time_limit=0.2), SPEED, False)
    assert (found.stopped_by, found.status) == ("time limit", Status.STOPPED)
    assert 0 < found.n_steps < 10**6
    assert f"(estimated from {found.n_steps:,} step" in found.ending


def test_slow_steps_are_looked_at_each(data):
    found = train(of_kind(data)["compressed"], data, limits(max_steps=3, time_limit=1e9), 1.0, False)
    assert found.course[:, 0].tolist() == [0, 1, 2, 3]


def test_what_is_too_slow_is_refused_before_it_is_made(data):
    network = of_kind(data)["compressed"]

    def never():
        raise AssertionError("made all the same")

    slow = training.Network(network.name, network.size, never)
    found = train(slow, data, limits(), 1.0, False)
    assert "estimated from 0 steps" in found.refusal
    assert (found.ending, found.n_steps) == ("not run", 0)


def test_ctrl_c_in_the_set_up_and_in_the_loop(data, monkeypatch):
    network = of_kind(data)["compressed"]

    def interrupted():
        raise KeyboardInterrupt

    early = train(training.Network("it", network.size, interrupted), data, limits(), SPEED, False)
    assert (early.stopped_by, early.ending, len(early.course)) == ("interrupt", "interrupted", 0)
    looks = []

    def error(self, factors):
        looks.append(0.5)
        if len(looks) == 3:
            raise KeyboardInterrupt
        return 0.5

    monkeypatch.setattr(type(data), "error", error)
    late = train(network, data, limits(), SPEED, False)
    assert (late.stopped_by, late.n_steps, len(late.course)) == ("interrupt", 20, 2)


def test_matrix_completion_gets_the_same_entries(data):
    found = complete(data, None, 0, 60, False)
    model = dmc.MatrixCompletion().fit(data.train)
    assert found.held_out_error == pytest.approx(
        dmc.metrics.rmse(model.predict(data.test.rows, data.test.cols), data.test.values)
    )
    assert (found.n_parameters, found.n_steps) == (model.factors_.n_parameters, model.n_iter_)
    assert found.converged


@pytest.mark.parametrize(("seconds", "why"), [(1e-9, "time limit"), (1e9, "interrupt")])
def test_matrix_completion_is_ended(data, seconds, why, monkeypatch):
    if why == "interrupt":

        def interrupt(self, info):
            if info.status is None:
                raise KeyboardInterrupt
            return False

        monkeypatch.setattr(training.TimeLimit, "__call__", interrupt)
        with pytest.warns(UserWarning, match="interrupted after"):
            found = complete(data, None, 0, seconds, False)
    else:
        found = complete(data, None, 0, seconds, False)
    assert (found.stopped_by, found.status, found.converged) == (why, Status.STOPPED, False)


def test_tensors_are_computed_on_where_they_are():
    torch = pytest.importorskip("torch")
    planted = dmc.datasets.planted((20, 15), 1, 0.6)
    X = np.full((20, 15), np.nan)
    X[planted.observations.rows, planted.observations.cols] = planted.observations.values
    given = [trial_data(x, None, None, 0.2, None, False, 0) for x in (X, torch.from_numpy(X))]
    assert given[1].problem.device == "cpu"
    for name in ("compressed", "full width"):
        errors = []
        for data in given:
            prepare(data)
            errors.append(train(of_kind(data)[name], data, limits(max_steps=30), SPEED, False).held_out_error)
        assert errors[1] == pytest.approx(errors[0], rel=1e-6)
    assert complete(given[1], None, 0, 60, False).held_out_error < 1e-9


def test_a_progress_bar_for_each(data, capsys):
    train(of_kind(data)["compressed"], data, limits(max_steps=10), SPEED, True)
    assert "compressed" in capsys.readouterr().err
