"""Bounds that were learnt from held-out ratings: they hold as often as they say, for each kind of pair."""

import numpy as np
import pytest

from dmc.recommend.intervals import Calibration, HeldOut, _window

ENDS = (1.0, 5.0)


def ratings(rng, n, ends=ENDS):
    """Predictions whose errors have standard deviation² .3 + 1/(1 + ratings of the user), cut at the ends."""
    of_user, of_item = rng.integers(0, 30, n), rng.integers(0, 300, n)
    predicted = rng.uniform(ends[0] + 0.2, ends[1] - 0.2, n)
    error = np.sqrt(0.3 + 1 / (1.0 + of_user)) * rng.standard_normal(n)
    return HeldOut(predicted, np.clip(predicted + error, *ends), of_user, of_item)


def held(calibration, new, probability):
    bounds = calibration.bounds(new.predicted, new.of_user, new.of_item, probability)
    lower, upper = (np.clip(bound, *ENDS) for bound in bounds)
    return (lower <= new.actual) & (new.actual <= upper), lower, upper


@pytest.mark.parametrize("probability", [0.5, 0.8, 0.9, 0.98])
def test_bounds_hold_for_every_prediction_and_every_number_of_ratings(probability):
    rng = np.random.default_rng(0)
    inside, lower, upper = held(Calibration.learn(ratings(rng, 20_000), ENDS), new := ratings(rng, 40_000), probability)
    assert inside.mean() == pytest.approx(probability, abs=0.015)
    for part in np.array_split(np.argsort(new.predicted), 5):
        assert inside[part].mean() == pytest.approx(probability, abs=0.04)
    for few in (new.of_user < 2, new.of_user > 20):
        assert inside[few].mean() == pytest.approx(probability, abs=0.04)
    assert (lower <= new.predicted).all()
    assert (new.predicted <= upper).all()


def test_one_width_for_all_does_not():
    """What the groups and the scale are for."""
    rng = np.random.default_rng(0)
    old, new = ratings(rng, 20_000), ratings(rng, 40_000)
    sizes = np.sort(np.abs(old.actual - old.predicted)).astype(np.float64)
    residuals = np.concatenate([[ENDS[0] - ENDS[1]], -sizes[::-1], sizes, [ENDS[1] - ENDS[0]]])
    same = Calibration(np.array([1.0, 0, 0]), np.zeros(1), np.array([0, len(residuals)]), residuals)
    inside, lower, upper = held(same, new, 0.9)
    assert inside.mean() == pytest.approx(0.9, abs=0.01)
    assert inside[new.of_user < 2].mean() < 0.85
    middle = np.abs(new.predicted - 3) < 0.2
    assert np.ptp((upper - lower)[middle]) < 1e-9


def test_the_scale_of_a_pair_is_found():
    rng = np.random.default_rng(1)
    scale = Calibration.learn(ratings(rng, 50_000, (-100.0, 100.0)), (-100.0, 100.0)).scale
    np.testing.assert_allclose(scale, [0.3, 1.0, 0.0], atol=0.06)


def test_little_known_pairs_have_wider_bounds():
    calibration = Calibration.learn(ratings(np.random.default_rng(0), 5000), (-100.0, 100.0))
    lower, upper = calibration.bounds(np.full(4, 3.0), np.array([0, 1, 10, 1000]), np.full(4, 50), 0.9)
    assert (np.diff(upper - lower) < 0).all()


@pytest.mark.parametrize(("n", "groups"), [(1, 1), (20, 1), (399, 1), (500, 1), (600, 2), (1200, 5), (90_000, 10)])
def test_few_ratings_make_few_groups(n, groups):
    rng = np.random.default_rng(n)
    found = Calibration.learn(ratings(rng, n), ENDS)
    assert len(found.centres) == groups
    assert (np.diff(found.centres) > 0).all()
    inside, *_ = held(found, ratings(rng, 2000), 0.9)
    assert inside.mean() > 0.75 if n > 1 else inside.all()  # of one residual nothing can be said: the whole scale


def test_bounds_are_continuous_in_the_prediction():
    calibration = Calibration.learn(ratings(np.random.default_rng(0), 20_000), ENDS)
    predicted = np.linspace(1, 5, 4001)
    known = np.full(4001, 5)
    for bound in calibration.bounds(predicted, known, known, 0.9):
        assert np.abs(np.diff(bound)).max() < 0.02


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9, 0.95])
@pytest.mark.parametrize("seed", range(4))
def test_a_window_holds_the_next_one(seed, probability):
    """Of exchangeable numbers: on average over many samples, whatever the distribution."""
    rng = np.random.default_rng(seed)
    draw = [rng.standard_normal, lambda n: rng.exponential(size=n) - 1, rng.standard_cauchy, lambda n: -rng.random(n)]
    inside = []
    for _ in range(3000):
        *old, new = draw[seed](40)
        low, high = _window(np.concatenate([[-1e9], np.sort(old), [1e9]]), probability)
        assert low <= 0 <= high
        inside.append(low <= new <= high)
    wanted = probability if seed < 3 else 0  # bounds contain 0, where nothing may be
    assert np.mean(inside) > wanted - 0.05  # the shortest of five: a little less than any one of them
    if seed < 3 and probability > 0.2:
        assert np.mean(inside) < probability + 0.03


def test_a_window_is_the_shortest_of_some():
    values = np.concatenate([[-10.0], -np.arange(9, 0, -1.0), [0.0], np.arange(1, 10) / 100, [20.0]])
    # 19 residuals: 10 steps of 20, which may begin at place 0, 2, 5, 8 or 10.
    assert _window(values, 0.5) == (-2.0, 0.08)
    low, high = _window(values, 0.999)  # of 19 residuals none of a thousand can be told
    assert low < -1e6 < 1e6 < high


def test_exact_predictions_have_no_width():
    exact = HeldOut(np.linspace(1, 5, 100), np.linspace(1, 5, 100), np.ones(100), np.ones(100))
    lower, upper = Calibration.learn(exact, ENDS).bounds(np.full(3, 3.3), np.zeros(3), np.zeros(3), 0.8)
    np.testing.assert_array_equal(lower, 3.3)
    np.testing.assert_array_equal(upper, 3.3)


def test_there_and_back():
    found = Calibration.learn(ratings(np.random.default_rng(0), 5000), ENDS)
    asked = np.linspace(1, 5, 9), np.arange(9), np.arange(9)[::-1]
    for a, b in zip(
        found.bounds(*asked, 0.8), Calibration.from_arrays(found.arrays()).bounds(*asked, 0.8), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("wrong", [0, 1, -0.1, 90])
def test_probabilities_that_are_none(wrong):
    with pytest.raises(ValueError, match="interval is"):
        Calibration.learn(ratings(np.random.default_rng(0), 500), ENDS).bounds(
            np.ones(1), np.ones(1), np.ones(1), wrong
        )
