"""A file from which a long fit goes on."""

import copy
import errno
import os
import pickle
import threading
from dataclasses import dataclass

import numpy as np
import pytest
from dmc.callbacks import Checkpoint, EarlyStopping, History, Lowest, Stagnation, TimeLimit
from dmc.rank_path import RankPath
from sklearn.base import clone

import dmc
from dmc import MaskedLeastSquares, MatrixCompletion, Status, datasets, initial, model_file, steps
from dmc.solver.loop import solve

OBSERVED = datasets.planted((40, 30), 3, 0.6).observations
OTHER = OBSERVED.with_values(OBSERVED.values * 2)
PROBLEM = MaskedLeastSquares(OBSERVED)
PLAIN, DEEP = (initial.gaussian((40, 30), 4, depth, 0.3) for depth in (0, 2))
ADAM = steps.Adam(constant_steps=10)


class Killed(Exception):
    """In the place of a kill."""


class Kill:
    def __init__(self, at):
        self.at = at

    def __call__(self, info):
        if info.status is None and info.n_steps >= self.at:
            raise Killed


class Noisy(dmc.Step):
    """A step of the user's, whose state is made of most of what can be kept."""

    @dataclass
    class Memory:
        rng: np.random.Generator
        seen: dict

    def init(self, problem, factors):
        return self.Memory(np.random.default_rng(5), {"count": 0, "rates": []})

    def __call__(self, factors, value, grad, state):
        rate = 0.02 * state.rng.random()
        state.seen["count"] += 1  # in place
        state.seen["rates"].append(rate)
        return factors.map(lambda a, g: a - rate * g, grad), state


STEPS = {
    "descent": (steps.DiscrepantDescent(), DEEP),
    "momentum": (steps.Momentum(steps.DiscrepantDescent()), PLAIN),
    "Adam": (ADAM, DEEP),
    "safeguarded": (steps.Backtracking(steps.Momentum(steps.Adam(0.5))), DEEP),
    "Gauss-Newton": (steps.Backtracking(steps.GaussNewton()), PLAIN),
    "alternating": (steps.AlternatingLeastSquares(), PLAIN),
    "scaled": (steps.Backtracking(steps.ScaledDescent()), PLAIN),
    "path": (RankPath(6), initial.spectral(OBSERVED, 1).scaled(0.3)),
    "own": (Noisy(), PLAIN),
}


def run(step, start, *looking_on, problem=PROBLEM, max_steps=30, **more):
    return solve(problem, start, step, max_steps=max_steps, tol=0, check_every=3, callbacks=looking_on, **more)


def killed(path, step, start, at=(4, 13, 20), seconds=0.0, looking_on=lambda: (), **more):
    """A fit that is killed some times, and then goes on to its end."""
    for one in at:
        with pytest.raises(Killed):
            run(step, start, *looking_on(), Kill(one), Checkpoint(path, seconds), **more)
    return run(step, start, *looking_on(), Checkpoint(path, seconds), **more)


def assert_same(found, expected):
    for ours, theirs in zip(found.factors.arrays, expected.factors.arrays, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    assert (found.value, found.n_steps, found.status) == (expected.value, expected.n_steps, expected.status)


@pytest.mark.parametrize("seconds", [0, 60])
@pytest.mark.parametrize("name", STEPS)
def test_a_killed_solve_ends_as_one_that_was_not(name, seconds, tmp_path):
    step, start = STEPS[name]
    assert_same(killed(tmp_path / "c", step, start, seconds=seconds), run(step, start))
    assert os.listdir(tmp_path) == ["c"]


@pytest.mark.parametrize("name", ["safeguarded", "path"])
def test_float32(name, tmp_path):
    step, start = STEPS[name]
    start = start.map(lambda a: a.astype(np.float32))
    problem = MaskedLeastSquares(OBSERVED.with_values(OBSERVED.values.astype(np.float32)))
    assert_same(killed(tmp_path / "c", step, start, problem=problem), run(step, start, problem=problem))


@pytest.mark.parametrize("name", ["safeguarded", "path"])
def test_tensors(name, tmp_path):
    pytest.importorskip("torch")
    step, start = STEPS[name]
    start, problem = start.to("cpu"), MaskedLeastSquares(OBSERVED, device="cpu")
    assert_same(killed(tmp_path / "c", step, start, problem=problem), run(step, start, problem=problem))


def test_callbacks_go_on_with_what_they_had_seen(tmp_path):
    made = []

    def looking_on():
        held_out = OBSERVED.take(np.arange(OBSERVED.n_observed) % 9 == 0)
        made.append((History(width=lambda f: f.width), EarlyStopping(held_out, 9), Lowest(), Stagnation(12)))
        return made[-1]

    more = {"max_steps": 300, "looking_on": looking_on}
    found = killed(tmp_path / "c", ADAM, DEEP, at=(4, 7, 12), **more)
    history, early, lowest, _ = made[-1]
    expected = run(ADAM, DEEP, *looking_on(), max_steps=300)
    whole, early_whole, lowest_whole, _ = made[-1]
    assert_same(found, expected)
    assert found.status is Status.STOPPED
    assert found.stopped_by == expected.stopped_by
    assert early.errors == early_whole.errors
    assert (early.mark, early.best_step, lowest.best_value) == (
        early_whole.mark,
        early_whole.best_step,
        lowest_whole.best_value,
    )
    for name in ("n_steps", "value", "width"):
        assert history.column(name).tolist() == whole.column(name).tolist()
    assert (np.diff(history.column("seconds")) >= 0).all()  # numbered through


def test_more_steps_go_on_from_where_fewer_ended(tmp_path):
    for max_steps in (9, 18, 30):
        found = run(ADAM, DEEP, Checkpoint(tmp_path / "c"), max_steps=max_steps)
        assert found.n_steps == max_steps
    assert_same(found, run(ADAM, DEEP))


def test_a_time_limit_counts_all_seconds(tmp_path):
    with pytest.raises(Killed):
        run(ADAM, DEEP, Kill(9), Checkpoint(tmp_path / "c", 0))
    arrays, header = model_file.load(tmp_path / "c", "Checkpoint")
    told = header["names"]["under way"]
    told[0] = told[0].replace('"reached": [9, 9, ', '"reached": [9, 9, 1000')
    model_file.save(tmp_path / "c", "Checkpoint", arrays, header)
    found = run(ADAM, DEEP, TimeLimit(1000), Checkpoint(tmp_path / "c"))
    assert (found.status, found.stopped_by, found.n_steps) == (Status.STOPPED, "time limit", 9)
    assert found.seconds > 1000


def test_the_last_look_is_kept_at_ctrl_c_and_the_fit_goes_on_from_there(tmp_path):
    def interrupt(info):
        if info.n_steps == 12 and info.status is None:
            raise KeyboardInterrupt

    found = run(ADAM, DEEP, interrupt, Checkpoint(tmp_path / "c"))
    assert (found.status, found.stopped_by, found.n_steps) == (Status.STOPPED, "interrupt", 12)
    looks = History()
    kept = Checkpoint(tmp_path / "c")
    assert_same(run(ADAM, DEEP, looks, kept), run(ADAM, DEEP))
    assert kept.resumed


# --- whose file it is


def test_a_fit_that_has_ended_has_its_result_at_once_and_gives_way_to_another(tmp_path):
    first = run(ADAM, DEEP, Checkpoint(tmp_path / "c"))
    looks, kept = History(), Checkpoint(tmp_path / "c")
    assert_same(run(ADAM, DEEP, looks, kept), first)
    assert kept.resumed
    assert len(looks.records) < 4
    other = Checkpoint(tmp_path / "c")
    assert_same(run(steps.Adam(), DEEP, other), run(steps.Adam(), DEEP))
    assert not other.resumed


def test_fewer_steps_than_were_taken_are_refused(tmp_path):
    run(ADAM, DEEP, Checkpoint(tmp_path / "c"))
    with pytest.raises(ValueError, match="is at step 30, and max_steps is 9; raise max_steps"):
        run(ADAM, DEEP, Checkpoint(tmp_path / "c"), max_steps=9)
    assert run(ADAM, DEEP, Checkpoint(tmp_path / "c"), max_steps=33).n_steps == 33


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"step": steps.Adam()}, "with step = Adam(rate=0.02"),
        ({"start": DEEP.scaled(2)}, "with start = "),
        ({"problem": MaskedLeastSquares(OTHER)}, "of other data"),
        ({"problem": MaskedLeastSquares(OBSERVED, l2=0.1)}, "of other data"),
        ({"device": "cpu"}, "with device = None, which is cpu here"),
    ],
)
def test_a_fit_that_has_not_ended_gives_way_to_no_other(more, named, tmp_path):
    if "device" in more:
        pytest.importorskip("torch")
    path = tmp_path / "c"
    with pytest.raises(Killed):
        run(ADAM, DEEP, Kill(9), Checkpoint(path, 0))
    before = path.read_bytes()
    given = {"step": ADAM, "start": DEEP} | more
    with pytest.raises(ValueError, match="belongs to an unfinished fit") as told:
        run(given.pop("step"), given.pop("start"), Checkpoint(path), **given)
    assert named in str(told.value)
    assert str(path) in str(told.value)
    assert path.read_bytes() == before
    assert_same(run(ADAM, DEEP, Checkpoint(path)), run(ADAM, DEEP))


def test_another_version_is_told(tmp_path, monkeypatch):
    with pytest.raises(Killed):
        run(ADAM, DEEP, Kill(9), Checkpoint(tmp_path / "c", 0))
    monkeypatch.setattr("dmc.solver.checkpoint._version", lambda: "99")
    with pytest.raises(ValueError, match=r"by dmc .*, and this is 99; finish it with that version, or remove the file"):
        run(ADAM, DEEP, Checkpoint(tmp_path / "c"))


@pytest.mark.parametrize("damage", ["cut", "flip", "text", "empty", "model"])
def test_what_is_no_checkpoint_is_told_and_stays(damage, tmp_path):
    path = tmp_path / "c"
    with pytest.raises(Killed):
        run(ADAM, DEEP, Kill(9), Checkpoint(path, 0))
    whole = path.read_bytes()
    spoilt = {
        "cut": whole[:-7],
        "flip": whole[:-50] + bytes([whole[-50] ^ 1]) + whole[-49:],
        "text": b"my thesis",
        "empty": b"",
    }
    if damage == "model":
        MatrixCompletion().fit(np.outer(np.arange(1.0, 9), np.arange(1.0, 7))).save(path)
    else:
        path.write_bytes(spoilt[damage])
    before = path.read_bytes()
    with pytest.raises(ValueError, match="is not a checkpoint, or is damaged; give another path, or remove it"):
        run(ADAM, DEEP, Checkpoint(path))
    assert path.read_bytes() == before


def test_crafted_headers_are_damage(tmp_path):
    path = tmp_path / "c"
    with pytest.raises(Killed):
        run(ADAM, DEEP, Kill(9), Checkpoint(path, 0))
    arrays, header = model_file.load(path, "Checkpoint")
    for name, value in (("names", []), ("names", {"under way": ["{}", {}, {}]}), ("settings", 3), ("finished", None)):
        crafted = {key: value if key == name else one for key, one in header.items()}
        model_file.save(path, "Checkpoint", arrays, crafted)
        if name == "finished":
            run(ADAM, DEEP, Checkpoint(path))
            continue
        with pytest.raises(ValueError, match="damaged"):
            run(ADAM, DEEP, Checkpoint(path))


@pytest.mark.parametrize("where", ["folder", "nowhere/c", "pipe", "nul\0", "long" * 99])
def test_paths_that_cannot_be_a_file(where, tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises((OSError, ValueError), match="checkpoint"):
        run(ADAM, DEEP, Checkpoint(tmp_path / where))


def test_a_link_stays_one_and_the_mode_too(tmp_path):
    (tmp_path / "real").mkdir()
    os.symlink(tmp_path / "real" / "c", tmp_path / "c")
    run(ADAM, DEEP, Checkpoint(tmp_path / "c"), max_steps=9)
    os.chmod(tmp_path / "c", 0o640)
    run(ADAM, DEEP, Checkpoint(tmp_path / "c"))
    assert os.path.islink(tmp_path / "c")
    assert os.stat(tmp_path / "c").st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path / "real") == ["c"]


def test_one_fit_at_a_time(tmp_path):
    told, inside, go_on = [], threading.Event(), threading.Event()

    def wait(info):
        inside.set()
        go_on.wait(60)

    thread = threading.Thread(target=run, args=(ADAM, DEEP, wait, Checkpoint(tmp_path / "c")))
    thread.start()
    inside.wait(60)
    try:
        run(ADAM, DEEP, Checkpoint(tmp_path / "c"))
    except ValueError as error:
        told.append(str(error))
    go_on.set()
    thread.join()
    assert "another fit is using the checkpoint" in told[0]
    assert run(ADAM, DEEP, Checkpoint(tmp_path / "c")).n_steps == 30


# --- what goes wrong while it runs


def test_a_full_disk_costs_no_fit(tmp_path, monkeypatch):
    save, calls = model_file.save, []

    def full(*arguments, **more):
        calls.append(arguments)
        if len(calls) in (1, 2, 12):
            raise OSError(errno.ENOSPC, "No space left on device")
        save(*arguments, **more)

    monkeypatch.setattr(model_file, "save", full)
    with pytest.warns(UserWarning, match=r"c cannot be written \(No space left on device\); the fit continues") as told:
        found = run(ADAM, DEEP, Checkpoint(tmp_path / "c", 0))
    assert len(told) == 3  # the last one at the end
    assert {one.filename for one in told} == {__file__}
    assert_same(found, run(ADAM, DEEP))
    assert len(calls) == 12
    kept = Checkpoint(tmp_path / "c")
    run(ADAM, DEEP, kept)
    assert kept.resumed  # written, once there was room


def test_what_cannot_be_kept_is_told_at_the_start(tmp_path):
    class Closed(dmc.Step):
        def init(self, problem, factors):
            return threading.Lock()

        def __call__(self, factors, value, grad, state):
            return factors, state

    class InItself(dmc.Step):
        count = 0

        def __call__(self, factors, value, grad, state):
            self.count += 1
            return factors.map(lambda a, g: a - 0.01 * g / self.count, grad), state

    looks = History()
    with pytest.raises(TypeError, match=r"the state of Closed holds a lock at \[1\], which a checkpoint cannot"):
        run(Closed(), DEEP, looks, Checkpoint(tmp_path / "c"))
    assert not looks.records
    with pytest.raises(TypeError, match="InItself changes its own attributes"):
        run(InItself(), DEEP, Checkpoint(tmp_path / "c", 0))


def test_a_callback_whose_memory_cannot_be_kept_is_told_at_the_start(tmp_path):
    history = History(odd=lambda factors: object())
    with pytest.raises(TypeError, match=r"the state_dict\(\) of History holds an object"):
        run(ADAM, DEEP, history, Checkpoint(tmp_path / "c", 0))


# --- as an object


def test_copies_and_pickles_are_of_the_settings():
    kept = Checkpoint("c", 5)
    for other in (copy.deepcopy(kept), pickle.loads(pickle.dumps(kept))):
        assert repr(other) == repr(kept) == "Checkpoint('c', seconds=5)"
    model = clone(MatrixCompletion(callbacks=[kept]))
    assert repr(model.callbacks[0]) == repr(kept)


@pytest.mark.parametrize("seconds", [-1, float("nan"), "x"])
def test_seconds_are_a_number(seconds):
    with pytest.raises((ValueError, TypeError), match="seconds"):
        Checkpoint("c", seconds)


def test_it_says_so_where_it_has_no_part():
    info = type("Info", (), {"status": None})()
    with pytest.raises(ValueError, match="this fit keeps no checkpoints"):
        Checkpoint("c")(info)
    with pytest.raises(ValueError, match="callbacks holds 2 checkpoints; give one"):
        run(ADAM, DEEP, Checkpoint("c"), Checkpoint("d"))


def test_a_path_that_becomes_a_pipe_and_a_disk_that_becomes_read_only_cost_no_fit(tmp_path, monkeypatch):
    def no_more(info):
        if not (tmp_path / "c").exists():
            os.mkfifo(tmp_path / "c")
            monkeypatch.setattr(os, "unlink", refused)

    def refused(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    with pytest.warns(UserWarning, match="c cannot be written .*the fit continues"):
        found = run(ADAM, DEEP, Checkpoint(tmp_path / "c"), no_more)
    assert_same(found, run(ADAM, DEEP))
