"""The course of a Bayesian fit: it begins on a sample or from a model, is looked at, and is ended."""

import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
from test_bayesian import excess, ratings, same_lines
from test_presence_features import communities

from dmc import kernels
from dmc.observations import Observations
from dmc.recommend import bayesian
from dmc.recommend.bayesian_model import VariationalFactorization
from dmc.recommend.factor_posterior import START_VARIANCE, FactorPosterior
from dmc.solver.solution import Status


@pytest.fixture
def sampled(monkeypatch):
    """Everything above 5,000 entries begins on about 4,000."""
    monkeypatch.setattr(bayesian, "LARGE", 5_000)
    monkeypatch.setattr(bayesian, "SAMPLE", 4_000)


def with_lone_lines(seed=0):
    """Planted ratings of a long tail: the last columns have an entry or two, so that a sample lacks some of them."""
    truth, observations = ratings((600, 150), share=0.15, seed=seed)
    rng = np.random.default_rng(seed)
    keep = (observations.cols < 100) | (rng.random(len(observations.cols)) < 0.02)
    rows, cols = observations.rows[keep], observations.cols[keep]
    return truth, Observations.from_entries(rows, cols, observations.values[keep], observations.shape)


# --- the sample


@pytest.mark.parametrize(
    "make",
    [lambda: ratings((600, 200)), with_lone_lines, lambda: communities(shape=(1500, 200))],
    ids=["planted", "long tail", "communities"],
)
def test_it_ends_where_the_whole_would(make, monkeypatch):
    truth, observations = make()
    whole = bayesian.fit(observations)
    monkeypatch.setattr(bayesian, "LARGE", 3_000)
    monkeypatch.setattr(bayesian, "SAMPLE", observations.n_observed // 3)
    fit = bayesian.fit(observations)
    assert fit.status is Status.CONVERGED
    assert (fit.rank, fit.factors.shape) == (whole.rank, observations.shape)
    assert fit.noise == pytest.approx(whole.noise, rel=0.01)
    assert excess(fit, truth) ** 2 + whole.noise**2 < 1.01**2 * (excess(whole, truth) ** 2 + whole.noise**2)


def test_rows_drawn_keep_all_of_their_entries(sampled, rng):
    _, observations = ratings((600, 200))
    chosen, some = bayesian._some_rows(observations, rng)
    assert 4_000 <= some.n_observed < 4_100
    assert (np.diff(chosen) > 0).all()
    dense, part = np.full(observations.shape, np.nan), np.full(some.shape, np.nan)
    dense[observations.rows, observations.cols] = observations.values
    part[some.rows, some.cols] = some.values
    np.testing.assert_array_equal(part, dense[chosen])


@pytest.mark.parametrize("shape", [(1, 9000), (2, 4500), (9000, 1)])
def test_a_sample_may_be_all_there_is(shape, sampled):
    m, n = shape
    rng = np.random.default_rng(0)
    rows, cols = np.divmod(np.arange(m * n), n)
    values = rng.standard_normal(m * n).astype(np.float32)
    fit = bayesian.fit(Observations.from_entries(rows, cols, values, shape))
    assert (fit.status, fit.factors.shape, fit.rank) == (Status.CONVERGED, shape, 0)


def test_a_sample_without_any_interaction_leaves_the_biases(sampled):
    truth, observations = ratings((600, 200), rank=0)
    fit = bayesian.fit(observations)
    assert fit.rank == 0
    assert excess(fit, truth) < 0.1


def test_attributes_are_known_to_the_sample_too(sampled):
    """New columns by their attributes, as well as without a sample."""
    rng = np.random.default_rng(0)
    m, n, cold = 600, 150, 30
    told = rng.standard_normal((n, 3)).astype(np.float32)
    told -= told.mean(axis=0)
    truth = 3 + 0.5 * told @ np.array([1, 0.5, 0]) + 0.5 * rng.standard_normal((m, 1)) * told[:, 2]
    rows, cols = np.nonzero((rng.random((m, n)) < 0.15) & (np.arange(n) >= cold))
    values = truth[rows, cols] + 0.3 * rng.standard_normal(len(rows))
    observations = Observations.from_entries(rows, cols, values.astype(np.float32), (m, n))
    fit = bayesian.fit(observations, attributes=(None, told))
    found = fit.factors.dense()[:, :cold] + fit.mean
    assert np.sqrt(np.mean((found - truth[:, :cold]) ** 2)) < 0.25 * truth[:, :cold].std()


def test_the_callbacks_see_the_sample_as_one_course_of_whole_models(sampled):
    truth, observations = ratings((600, 200))
    told = []
    fit = bayesian.fit(observations, callbacks=[told.append])
    assert [info.n_steps for info in told] == list(range(1, len(told) + 1))
    assert [info.value for info in told] == fit.errors
    assert [info.status for info in told] == [None] * (len(told) - 1) + [Status.CONVERGED]
    assert {info.factors.shape for info in told} == {observations.shape}
    assert all(0 <= info.gradient_ratio <= 1 for info in told)
    assert sorted(info.seconds for info in told) == [info.seconds for info in told]
    assert excess(replace(fit, factors=told[4].factors), truth) < truth.std()  # about the mean of all


def test_looking_on_changes_nothing(sampled):
    _, observations = ratings((600, 200))
    seen, alone = bayesian.fit(observations, callbacks=[lambda info: False]), bayesian.fit(observations)
    for ours, theirs in zip(seen.factors.arrays, alone.factors.arrays, strict=True):
        np.testing.assert_array_equal(ours, theirs)


# --- the end


def at(step, wish):
    """A callback that is through with it at a step: by true, or by Ctrl-C."""

    def callback(info):
        if info.n_steps == step and wish == "ctrl-c":
            raise KeyboardInterrupt
        return info.n_steps == step

    return callback


@pytest.mark.parametrize("begin", ["cold", "warm", "sample"])
@pytest.mark.parametrize("wish", ["true", "ctrl-c"])
@pytest.mark.parametrize("step", [1, 2, 5])
def test_whoever_ends_it_gets_a_whole_model(step, wish, begin, monkeypatch):
    truth, observations = ratings((600, 200))
    start = bayesian.fit(observations) if begin == "warm" else None
    if begin == "sample":
        monkeypatch.setattr(bayesian, "LARGE", 5_000)
        monkeypatch.setattr(bayesian, "SAMPLE", 4_000)
    if begin == "warm":
        monkeypatch.setattr(bayesian, "TOL", 0)  # it would be at home before
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fit = bayesian.fit(observations, callbacks=[at(step, wish)], start=start)
    assert [str(warning.message) for warning in told] == (
        [f"interrupted after {step} steps: the model holds the best so far"] if wish == "ctrl-c" else []
    )
    assert all(warning.filename == __file__ for warning in told)
    assert (fit.status, len(fit.errors), fit.factors.shape) == (Status.STOPPED, step, observations.shape)
    assert fit.n_fitted == observations.n_observed
    assert excess(fit, truth) < (truth.std() if step < 5 else 0.5 * truth.std())


@pytest.mark.parametrize("begin", ["cold", "sample"])
@pytest.mark.parametrize("n_sweeps", [0, 1, 4])
def test_ctrl_c_within_a_sweep(n_sweeps, begin, monkeypatch):
    truth, observations = ratings((600, 200))
    if begin == "sample":
        monkeypatch.setattr(bayesian, "LARGE", 5_000)
        monkeypatch.setattr(bayesian, "SAMPLE", 4_000)
    sweep, swept = bayesian._Run.sweep, []

    def interrupted(run):
        if len(swept) == n_sweeps:
            raise KeyboardInterrupt
        swept.append(run)
        sweep(run)

    monkeypatch.setattr(bayesian._Run, "sweep", interrupted)
    with pytest.warns(UserWarning, match=f"interrupted after {n_sweeps} steps") as told:
        fit = bayesian.fit(observations)
    assert len(told) == 1
    assert (fit.status, fit.factors.shape) == (Status.STOPPED, observations.shape)
    assert excess(fit, truth) < 1.1 * truth.std()


@pytest.mark.parametrize("call", [1, 2])
def test_ctrl_c_while_directions_join(call, monkeypatch):
    monkeypatch.setattr(bayesian, "START_WIDTH", 2)
    truth, observations = ratings(rank=6, share=0.4)
    wider, calls = FactorPosterior.wider, []

    def interrupted(side, by, rng, variance):
        if variance != START_VARIANCE:  # not the first ones
            calls.append(side)
            if len(calls) == call:
                raise KeyboardInterrupt
        return wider(side, by, rng, variance)

    monkeypatch.setattr(FactorPosterior, "wider", interrupted)
    with pytest.warns(UserWarning, match="interrupted"):
        fit = bayesian.fit(observations)
    assert (fit.status, fit.factors.width, fit.rank) == (Status.STOPPED, 2, 2)
    assert excess(fit, truth) < truth.std()


@pytest.mark.parametrize("second", ["ctrl-c", "nonfinite", "worse", "better"])
def test_a_second_start_replaces_the_first_only_if_it_is_better(second, monkeypatch):
    truth, observations = ratings()
    monkeypatch.setattr(bayesian, "MAX_SWEEPS", 3)
    ends, starts = bayesian._Run.to_the_end, []

    def end(run, callbacks):
        starts.append(run)
        ends(run, callbacks)
        if len(starts) == 1:
            return Status.MAX_STEPS
        run.errors[-1] = {"worse": 1e3, "ctrl-c": 1e3, "nonfinite": np.nan, "better": 1e-3}[second]
        return {"ctrl-c": Status.STOPPED, "nonfinite": Status.NONFINITE}.get(second, Status.MAX_STEPS)

    monkeypatch.setattr(bayesian._Run, "to_the_end", end)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fit = bayesian.fit(observations)
    assert fit.status is (Status.STOPPED if second == "ctrl-c" else Status.MAX_STEPS)
    assert len(told) == (second != "ctrl-c")
    assert fit.errors is starts[second == "better"].errors
    assert excess(fit, truth) < 0.4


# --- from a model


def stored(fit, observations):
    return VariationalFactorization.from_arrays(*fit.arrays(), observations)


@pytest.mark.parametrize("make", [ratings, communities])
@pytest.mark.parametrize("how", ["as it is", "stored", "pickled", "extended"])
def test_from_its_own_model_it_stays(how, make):
    _, observations = make()
    fit = bayesian.fit(observations)
    start = {
        "as it is": lambda: fit,
        "stored": lambda: stored(fit, observations),
        "pickled": lambda: pickle.loads(pickle.dumps(fit)),
        "extended": lambda: fit.extended(
            observations, *same_lines(observations), np.zeros(observations.shape[0], bool)
        ),
    }[how]()
    before = fit.factors.dense().copy()
    again = bayesian.fit(observations, start=start)
    assert again.status is Status.CONVERGED
    assert len(again.errors) < 12
    moved = np.sqrt(np.mean((again.factors.dense() - fit.factors.dense()) ** 2))
    assert moved < 0.02 * fit.noise * (1 if make is ratings else 4)  # weak directions turn among each other
    np.testing.assert_array_equal(fit.factors.dense(), before)


def extended_by(share, change=lambda values: values):
    """A model of some of the entries, extended by the others; all the entries."""
    truth, observations = ratings()
    first = np.random.default_rng(0).random(observations.n_observed) >= share
    some = Observations.from_entries(
        observations.rows[first], observations.cols[first], observations.values[first], observations.shape
    )
    observations = observations.with_values(change(observations.values))
    changed = np.ones(observations.shape[0], bool)
    return truth, observations, bayesian.fit(some).extended(observations, *same_lines(observations), changed)


@pytest.mark.parametrize(("share", "goes_on"), [(0.05, True), (0.15, True), (0.18, False), (0.5, False)])
def test_if_a_fifth_is_new_it_begins_anew(share, goes_on):
    truth, observations, start = extended_by(share)
    fit = bayesian.fit(observations, start=start)
    anew = bayesian.fit(observations)
    assert np.array_equal(fit.factors.dense(), anew.factors.dense()) is not goes_on
    assert excess(fit, truth) < 1.02 * excess(anew, truth)
    assert fit.n_fitted == observations.n_observed


@pytest.mark.parametrize("change", [lambda v: 100 * v, lambda v: v / 100, lambda v: v + 50], ids=["×", "÷", "+"])
def test_ratings_on_another_scale_begin_anew(change):
    truth, observations, start = extended_by(0.05, change)
    fit = bayesian.fit(observations, start=start)
    np.testing.assert_array_equal(fit.factors.dense(), bayesian.fit(observations).factors.dense())
    assert excess(fit, change(truth)) < 0.3 * change(truth).std()


def test_beginning_anew_it_keeps_what_else_is_known():
    _, observations = ratings()
    told = np.random.default_rng(0).standard_normal((observations.shape[0], 2)).astype(np.float32)
    start = replace(bayesian.fit(observations, attributes=(told, None)), n_fitted=10)
    fit = bayesian.fit(observations, start=start)
    np.testing.assert_array_equal(fit.rows.attributes, told)


def test_a_file_of_the_version_before_serves_folds_in_and_is_fitted_again():
    truth, observations = ratings()
    fit = bayesian.fit(observations)
    arrays, numbers = fit.arrays()
    del arrays["rows.reliability"], numbers["precision"], numbers["n_fitted"]
    old = VariationalFactorization.from_arrays(arrays, numbers, observations)
    np.testing.assert_array_equal(old.factors.dense(), fit.factors.dense())
    assert old.rows.reliability is None
    assert old.precision == pytest.approx((fit.unit / fit.noise) ** 2)
    folded = old.extended(observations, *same_lines(observations), np.ones(observations.shape[0], bool))
    assert excess(folded, truth) < 0.25
    items, own = np.arange(20), observations.values[:20]
    assert np.isfinite(old.vector(items, own)).all()
    assert np.isfinite(old.contributions(0, 3)).all()
    np.testing.assert_array_equal(
        bayesian.fit(observations, start=folded).factors.dense(), fit.factors.dense()
    )  # nobody knows how much it was fitted to


@pytest.mark.parametrize("begin", ["cold", "sample"])
def test_the_number_of_threads_changes_no_bit(begin, monkeypatch):
    if begin == "sample":
        monkeypatch.setattr(bayesian, "LARGE", 5_000)
        monkeypatch.setattr(bayesian, "SAMPLE", 4_000)
    _, observations = ratings((600, 200))
    found = []
    for n_threads in (1, 2, 3):
        with kernels.threads(n_threads):
            found.append(bayesian.fit(observations).factors.arrays)
    for other in found[1:]:
        for ours, theirs in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(ours, theirs)
