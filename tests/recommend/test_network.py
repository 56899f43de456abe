"""The deep network on ratings: how its training ends, and what it keeps."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from test_recommender import interrupt_at, part, planted

import dmc
from dmc import Recommender, Status
from dmc.observations import Observations
from dmc.recommend import network
from dmc.recommend.network import NetworkSettings

TRAINING = NetworkSettings(rank=16, depth=3, l2=1.3, validation_fraction=0.1, device=None)


@pytest.fixture(scope="module")
def split():
    table = planted()
    test = np.random.default_rng(9).random(len(table["rating"])) < 0.15
    return part(table, ~test), part(table, test)


@pytest.fixture(scope="module")
def fitted(split):
    return Recommender(model="network", depth=3).fit(split[0])


def error_of(model, test):
    return dmc.metrics.rmse(model.predict(test)["prediction"], test["rating"])


def test_held_out_ratings_foretell_the_error(split, fitted):
    assert fitted.validation_rmse_ == pytest.approx(error_of(fitted, split[1]), rel=0.1)
    assert fitted.noise_ == fitted.validation_rmse_
    assert fitted.status_ is Status.COMPLETED  # the number of steps that held-out ratings say
    assert fitted.factors_.width == 16


@pytest.mark.parametrize("settings", [{"depth": 0}, {"depth": 1}, {"rank": 5}, {"rank": 60}, {"random_state": 7}])
def test_other_settings_are_as_good(settings, split, fitted):
    train, test = split
    other = Recommender(**{"model": "network", "depth": 3, **settings}).fit(train)
    assert error_of(other, test) < 1.1 * error_of(fitted, test)


def test_history(fitted):
    assert [set(h) for h in fitted.history_] == [{"n_steps", "validation_rmse"}] * len(fitted.history_)
    errors = [h["validation_rmse"] for h in fitted.history_]
    assert fitted.validation_rmse_ == min(errors)
    assert fitted.n_iter_ == fitted.history_[int(np.argmin(errors))]["n_steps"]


@pytest.mark.parametrize("looks_after_best", [-1, 4], ids=["while its length is sought", "while it is trained on all"])
def test_ctrl_c_keeps_the_best_so_far(looks_after_best, split, fitted):
    """In either phase the model is as good on new ratings as its history says."""
    train, test = split
    model = Recommender(model="network", depth=3, callbacks=[interrupt_at(len(fitted.history_) + looks_after_best)])
    with pytest.warns(UserWarning, match=r"interrupted after \d+ steps: the model holds the best so far") as caught:
        model.fit(train)
    assert caught[0].filename == __file__
    assert model.status_ is Status.STOPPED
    assert model.validation_rmse_ == pytest.approx(fitted.validation_rmse_)
    assert error_of(model, test) < 1.1 * error_of(fitted, test)


def test_a_callback_stops(split):
    model = Recommender(model="network", depth=3, callbacks=[dmc.callbacks.TimeLimit(0)]).fit(split[0])
    assert model.status_ is Status.STOPPED
    assert model.n_iter_ == 0


@pytest.mark.parametrize("count", [1, 2, 5, 25])
def test_few_ratings(count):
    table = {"user": [f"u{k % 3}" for k in range(count)], "item": list(range(count)), "rating": np.arange(count) % 5}
    model = Recommender(model="network", depth=3).fit(table)
    assert np.isnan(model.validation_rmse_)
    assert np.isfinite(model.noise_)
    assert np.isfinite(model.predict({"user": ["u0", "?"], "item": [0, 99]})["prediction"]).all()
    folded = model.fold_in({"user": ["u0", "new"], "item": [99, 0], "rating": [4.0, 1.0]})
    assert np.isfinite(folded.predict({"user": ["u0", "new"], "item": [0, 99]})["prediction"]).all()


def test_no_rating_can_be_held_out():
    """Each is the only one of its user and of its item."""
    table = {"user": np.arange(300), "item": np.arange(300), "rating": np.arange(300) % 5}
    model = Recommender(model="network", depth=3).fit(table)
    assert np.isnan(model.validation_rmse_)
    assert np.corrcoef(model.predict(table)["prediction"], table["rating"])[0, 1] > 0.9


@pytest.mark.parametrize("seed", range(4))
def test_the_final_training_does_not_end_on_a_spike(seed, split, monkeypatch):
    """Steps that raise the value a little pass: what is kept is the lowest of what was reached, not the last."""
    train, _ = split
    looks = []

    def look(info):
        if info.status is None:
            if looks and info.max_steps != looks[-1][2]:
                looks.clear()  # the last phase is the training on all ratings
            looks.append((info.value, info.factors, info.max_steps))

    monkeypatch.setattr(network, "TUNING", replace(network.TUNING, rate=0.1))
    rows, cols = (np.unique(train[name], return_inverse=True)[1] for name in ("user", "item"))
    observations = Observations.from_entries(rows, cols, train["rating"].astype(np.float32))
    trained = TRAINING.fit(observations, np.random.default_rng(seed), [look])
    lowest = min(looks, key=lambda seen: seen[0])[1].at(rows, cols) * train["rating"].std()
    np.testing.assert_allclose(trained.factors.at(rows, cols), lowest, atol=1e-4)
    assert trained.mean == pytest.approx(train["rating"].mean())


def held_out_course(seed, **tuning):
    """The errors along 250 steps of 300×200 ratings of rank 3 with noise, at width 64 with three cores."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((300, 3)) @ rng.standard_normal((3, 200)) / 3**0.5
    rows, cols = np.nonzero(rng.random((300, 200)) < 0.15)
    values = X[rows, cols] + 0.7 * rng.standard_normal(len(rows))
    ratings = Observations.from_entries(rows, cols, values.astype(np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "TUNING", replace(network.TUNING, patience=251, max_steps=250, **tuning))
        ends = [lambda info: info.n_steps >= 250]
        found = replace(TRAINING, rank=32).fit(ratings, np.random.default_rng(seed), ends)
    return np.array([error for _, error in found.errors])


@pytest.mark.parametrize("seed", [0, 1])
def test_what_was_reached_is_not_lost(seed):
    """Where gradients vanish Adam's steps, relative to the curvature, grow until they are unstable, and cores make the
    worst of it: at a constant rate the error comes to 1.3 times the lowest and more."""
    errors = held_out_course(seed)
    after = errors[int(np.argmin(errors)) :]
    assert after.max() < 1.05 * errors.min()
    assert after[-1] < 1.02 * errors.min()
    before = held_out_course(seed, rate=0.03, constant_steps=10**9, slack=1e30)
    assert before[int(np.argmin(before)) :].max() > 1.2 * before.min()
    assert errors.min() < 1.01 * before.min()


def test_a_step_that_raises_the_value_is_taken_back(split):
    """Whatever the rate, no look shows a value above the one before by more than the slack of a few steps."""
    train, _ = split
    values = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "TUNING", replace(network.TUNING, rate=3.0))
        rows, cols = (np.unique(train[name], return_inverse=True)[1] for name in ("user", "item"))
        observations = Observations.from_entries(rows, cols, train["rating"].astype(np.float32))
        looks = [lambda info: bool(values.append((info.max_steps, info.value)))]
        TRAINING.fit(observations, np.random.default_rng(0), looks)
    slack = (1 + network.TUNING.slack) ** network.TUNING.check_every
    for (phase, value), (next_phase, following) in pairwise(values):
        assert following <= value * slack or next_phase != phase
    assert min(value for _, value in values) < 0.5 * values[0][1]


def test_overflow_is_an_error(monkeypatch, split, fitted):
    train, test = split
    before = fitted.predict(test)["prediction"]
    monkeypatch.setattr(network, "TUNING", replace(network.TUNING, start_scale=1e6))
    with pytest.raises(FloatingPointError, match="the fit failed: the value is no longer a finite number"):
        Recommender(model="network", depth=3).fit(train)
    fewer = part(train, train["user"] != train["user"][0])
    with pytest.raises(FloatingPointError):
        fitted.fit(fewer)
    np.testing.assert_array_equal(fitted.predict(test)["prediction"], before)  # as it was


def test_factors_beyond_the_caches_are_gathered_in_half_the_bytes_at_no_loss(monkeypatch):
    rng = np.random.default_rng(0)
    taste, style = rng.standard_normal((200, 2)), rng.standard_normal((60, 2))
    pairs = np.argwhere(rng.random((200, 60)) < 0.4)
    ratings = 3 + np.sum(taste[pairs[:, 0]] * style[pairs[:, 1]], axis=1) + rng.standard_normal(len(pairs)) / 2
    table = {"user": pairs[:, 0], "item": pairs[:, 1], "rating": ratings}
    near = Recommender(model="network", depth=3).fit(table)
    monkeypatch.setattr(network, "TUNING", replace(network.TUNING, gather_bytes=0))
    far = Recommender(model="network", depth=3).fit(table)
    assert far.validation_rmse_ != near.validation_rmse_  # it makes a difference …
    assert far.validation_rmse_ == pytest.approx(near.validation_rmse_, rel=0.05)  # as another seed would
