"""Intervals against SciPy's bootstrap, and by how often they hold the truth; the paired test against all sign flips."""

import itertools

import numpy as np
import pytest

from dmc.recommend.judging import bootstrap


def mean_of(sums):
    return sums[..., :-1] / sums[..., -1:]


def with_ones(values):
    return np.stack([values, np.ones(len(values))], axis=1)


def bounds(values, confidence=0.95, n_resamples=1000, seed=0):
    drawing = bootstrap.settings(confidence, n_resamples, seed)
    return bootstrap.named(["mean"], with_ones(values), mean_of, drawing)["mean"]


def test_equal_scipys_bca(rng):
    """Of a skewed mean, where BCa, percentiles and the normal approximation differ; to the drawing's own noise."""
    from scipy import stats

    values = rng.exponential(size=40) ** 2
    found = bounds(values, 0.9, 200_000)
    expected = stats.bootstrap(
        (values,),
        np.mean,
        confidence_level=0.9,
        n_resamples=200_000,
        method="BCa",
        rng=1,
        vectorized=True,
        batch=10_000,
    ).confidence_interval
    width = expected.high - expected.low
    assert found == pytest.approx(tuple(expected), abs=0.01 * width)
    plain = np.quantile(np.random.default_rng(2).choice(values, (20_000, 40)).mean(axis=1), [0.05, 0.95])
    assert abs(plain[0] - expected.low) > 0.03 * width


def test_of_a_ratio_equal_scipys_bca(rng):
    """Root of summed squares over summed counts: what the RMSE of users with different numbers of ratings is."""
    from scipy import stats

    counts = rng.integers(1, 20, 60).astype(float)
    squares = counts * rng.exponential(size=60)

    def statistic(sums):
        return np.sqrt(sums[..., :1] / sums[..., 1:])

    drawing = bootstrap.settings(0.95, 100_000, 0)
    found = bootstrap.named(["rmse"], np.stack([squares, counts], axis=1), statistic, drawing)["rmse"]
    expected = stats.bootstrap(
        (squares, counts), lambda s, c, axis: np.sqrt(s.sum(axis) / c.sum(axis)), paired=True, rng=1,
        n_resamples=100_000, vectorized=True, batch=10_000,
    ).confidence_interval  # fmt: skip
    assert found == pytest.approx(tuple(expected), abs=0.01 * (expected.high - expected.low))


def test_intervals_hold_the_truth_as_often_as_they_say():
    """600 samples of 60 users whose recall is 0 more often than not: 90 % bounds hold its mean in about as many."""
    rng = np.random.default_rng(3)
    held = 0
    for seed in range(600):
        low, high = bounds(rng.binomial(4, 0.15, 60) / 4, 0.9, 400, seed)
        held += low <= 0.15 <= high
    assert 0.86 < held / 600 < 0.94


def test_a_seed_is_an_interval(rng):
    values = rng.random(50)
    assert bounds(values, seed=1) == bounds(values, seed=1) == bounds(values, seed=np.random.default_rng(1))
    assert bounds(values, seed=1) != bounds(values, seed=2)
    assert bounds(values, 0.5)[1] < bounds(values, 0.99)[1]


def test_what_has_no_spread():
    assert bounds(np.full(7, 0.25)) == (0.25, 0.25)
    assert bounds(np.zeros(7)) == (0, 0)
    low, high = bounds(np.array([0.0, 1.0]))
    assert 0 <= low < high <= 1
    assert bootstrap.named(["mean"], with_ones(np.ones(1)), mean_of, bootstrap.settings(0.9, 100, 0)) == {}
    assert bootstrap.named(["mean"], with_ones(np.ones(9)), mean_of, None) == {}


def test_p_values_equal_those_of_all_sign_flips(rng):
    differences = rng.standard_normal((11, 3)) + np.array([0, 0.3, 0.9])
    signs = np.array(list(itertools.product([-1, 1], repeat=11)))
    expected = (np.abs(signs @ differences) >= np.abs(differences.sum(axis=0)) * (1 - 1e-12)).mean(axis=0)
    found = bootstrap.sign_flip_test(differences, 20_000, rng)
    np.testing.assert_allclose(found, expected, atol=0.015)
    assert found[0] > 10 * found[2]


def test_p_values_are_uniform_where_there_is_no_difference(rng):
    found = bootstrap.sign_flip_test(rng.standard_t(3, (30, 400)), 999, rng)
    for level in (0.05, 0.2, 0.5):
        assert (found <= level).mean() == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 400))


def test_p_values_of_portions_and_of_no_difference(rng, monkeypatch):
    assert bootstrap.sign_flip_test(np.zeros((5, 2)), 99, rng).tolist() == [1, 1]
    differences = rng.standard_normal((20, 2)) + 0.5
    whole = bootstrap.sign_flip_test(differences, 5000, rng)
    monkeypatch.setattr(bootstrap, "PART", 50)
    np.testing.assert_allclose(bootstrap.sign_flip_test(differences, 5000, rng), whole, atol=0.03)


def test_refused():
    for arguments, message in (
        ((1.0, 100, 0), "confidence is 1; it has to be between 0 and 1"),
        ((0.9, 5, 0), "n_resamples is 5; it has to be at least 10"),
        ((0.9, 100, -1), "seed is -1"),
    ):
        with pytest.raises(ValueError, match=message):
            bootstrap.settings(*arguments)
