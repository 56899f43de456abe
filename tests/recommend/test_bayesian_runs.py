"""The course of a Bayesian fit: it begins anew or from a model, is looked at, and is ended."""

import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
from test_bayesian import excess, ratings, same_lines
from test_presence_features import communities

from dmc import kernels
from dmc.observations import Observations
from dmc.recommend import bayesian, factor_posterior
from dmc.recommend.bayesian_model import VariationalFactorization
from dmc.recommend.factor_posterior import FactorPosterior
from dmc.solver.solution import Status

# --- the end


def at(step, wish):
    """A callback that is through with it at a step: by true, or by Ctrl-C."""

    def callback(info):
        if info.n_steps == step and info.status is None and wish == "ctrl-c":
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
        monkeypatch.setattr(bayesian, "TUNING", replace(bayesian.TUNING, large=5_000))
        monkeypatch.setattr(bayesian, "TUNING", replace(bayesian.TUNING, sample=4_000))
    if begin == "warm":
        monkeypatch.setattr(bayesian, "TUNING", replace(bayesian.TUNING, tol=0))  # it would be at home before
    told = []
    fit = bayesian.fit(observations, callbacks=[told.append, at(step, wish)], start=start)
    assert fit.stopped_by == ("interrupt" if wish == "ctrl-c" else "callback")
    assert [info.status for info in told] == [None] * step + [Status.STOPPED]
    assert (fit.status, len(fit.errors), fit.factors.shape) == (Status.STOPPED, step, observations.shape)
    assert fit.n_fitted == observations.n_observed
    assert excess(fit, truth) < (truth.std() if step < 5 else 0.5 * truth.std())


@pytest.mark.parametrize("begin", ["cold", "sample"])
@pytest.mark.parametrize("n_sweeps", [0, 1, 4])
def test_ctrl_c_within_a_sweep(n_sweeps, begin, monkeypatch):
    truth, observations = ratings((600, 200))
    if begin == "sample":
        monkeypatch.setattr(bayesian, "TUNING", replace(bayesian.TUNING, large=5_000))
        monkeypatch.setattr(bayesian, "TUNING", replace(bayesian.TUNING, sample=4_000))
    sweep, swept = bayesian._Fit.sweep, []

    def interrupted(run):
        if len(swept) == n_sweeps:
            raise KeyboardInterrupt
        swept.append(run)
        sweep(run)

    monkeypatch.setattr(bayesian._Fit, "sweep", interrupted)
    told = []
    fit = bayesian.fit(observations, callbacks=[told.append])
    assert (fit.stopped_by, len(fit.errors)) == ("interrupt", n_sweeps)
    assert [info.status for info in told] == [None] * n_sweeps + [Status.STOPPED]
    assert {info.factors.shape for info in told} == {observations.shape}
    assert (fit.status, fit.factors.shape) == (Status.STOPPED, observations.shape)
    assert excess(fit, truth) < 1.1 * truth.std()


@pytest.mark.parametrize("call", [1, 2])
def test_ctrl_c_while_directions_join(call, monkeypatch):
    monkeypatch.setattr(bayesian, "TUNING", replace(bayesian.TUNING, max_start_width=2))
    truth, observations = ratings(rank=6, share=0.4)
    wider, calls = FactorPosterior.with_directions, []

    def interrupted(side, by, rng, variance):
        if variance != factor_posterior.TUNING.start_variance:  # not the first ones
            calls.append(side)
            if len(calls) == call:
                raise KeyboardInterrupt
        return wider(side, by, rng, variance)

    monkeypatch.setattr(FactorPosterior, "with_directions", interrupted)
    fit = bayesian.fit(observations)
    assert fit.stopped_by == "interrupt"
    assert (fit.status, fit.factors.width, fit.rank) == (Status.STOPPED, 2, 2)
    assert excess(fit, truth) < truth.std()


@pytest.mark.parametrize("second", ["ctrl-c", "nonfinite", "worse", "better"])
def test_a_second_start_replaces_the_first_only_if_it_is_better(second, monkeypatch):
    truth, observations = ratings()
    monkeypatch.setattr(bayesian, "TUNING", replace(bayesian.TUNING, max_sweeps=3))
    ends, starts = bayesian._Fit.to_the_end, []

    def end(fit):
        starts.append(fit)
        ends(fit)
        if len(starts) == 1:
            fit.run.status = Status.MAX_STEPS
        else:
            fit.errors[-1] = {"worse": 1e3, "ctrl-c": 1e3, "nonfinite": np.nan, "better": 1e-3}[second]
            endings = {"ctrl-c": Status.STOPPED, "nonfinite": Status.NONFINITE}
            fit.run.status = endings.get(second, Status.MAX_STEPS)
        return fit.run.status

    monkeypatch.setattr(bayesian._Fit, "to_the_end", end)
    looks = []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fit = bayesian.fit(observations, callbacks=[looks.append])
    n_steps = [len(start.errors) for start in starts]
    assert [info.n_steps for info in looks] == [*range(1, sum(n_steps) + 1), sum(n_steps)]  # counted through
    assert [info.status for info in looks] == [None] * sum(n_steps) + [fit.status]  # and told of one end
    if second != "better":  # of the model that is handed out
        assert looks[-1].value == looks[n_steps[0] - 1].value
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
        monkeypatch.setattr(bayesian, "TUNING", replace(bayesian.TUNING, large=5_000))
        monkeypatch.setattr(bayesian, "TUNING", replace(bayesian.TUNING, sample=4_000))
    _, observations = ratings((600, 200))
    found = []
    for n_threads in (1, 2, 3):
        with kernels.threads(n_threads):
            found.append(bayesian.fit(observations).factors.arrays)
    for other in found[1:]:
        for ours, theirs in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(ours, theirs)
