"""Bayesian factorisation on planted ratings: what has to be found, and what must not harm."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr
from test_bayesian import excess, ratings

from dmc.observations import Observations
from dmc.recommend import bayesian, bayesian_model, factor_posterior, noise_free
from dmc.solver.solution import Status


def of_unequal_users(low=0.1, high=2.0, seed=0, shape=(300, 200), share=0.2):
    """(all values without noise, observations, the noise of each row): a rank of two, half of the rows far noisier."""
    rng = np.random.default_rng(seed)
    m, n = shape
    truth = 3 + 0.4 * rng.standard_normal((m, 1)) + 0.5 * rng.standard_normal((m, 2)) @ rng.standard_normal((2, n))
    noise = np.exp(rng.uniform(np.log(low), np.log(high), m))
    rows, cols = np.nonzero(rng.random(shape) < share)
    values = truth[rows, cols] + noise[rows] * rng.standard_normal(len(rows))
    return truth, Observations.from_entries(rows, cols, values.astype(np.float32), shape), noise


def test_reliabilities_are_the_planted_ones_and_help(monkeypatch):
    truth, observations, noise = of_unequal_users()
    fit = bayesian.fit(observations)
    assert spearmanr(fit.rows.reliability, noise).statistic < -0.95
    # Then no row is other than the others.
    monkeypatch.setattr(factor_posterior, "TUNING", replace(factor_posterior.TUNING, reliability_entries=1e9))
    equal = bayesian.fit(observations)
    np.testing.assert_allclose(equal.rows.reliability, 1, atol=1e-3)
    assert excess(fit, truth) < 0.8 * excess(equal, truth)


def test_rows_that_are_alike_are_taken_for_alike():
    _, observations = ratings()
    fit = bayesian.fit(observations)
    assert 0.6 < fit.rows.reliability.min() < fit.rows.reliability.max() < 1.6
    # The noise of a typical row, and of the whole, is then the same.
    assert fit.unit / fit.precision**0.5 == pytest.approx(fit.noise, rel=0.03)


def test_half_of_the_rows_without_noise():
    rng = np.random.default_rng(1)
    truth, observations = ratings(noise=0, share=0.3)
    values = observations.values + (observations.rows % 2 == 0) * rng.standard_normal(len(observations.values))
    fit = bayesian.fit(observations.with_values(values.astype(np.float32)))
    off = np.sqrt(np.mean((fit.factors.dense() + fit.mean - truth) ** 2, axis=1))
    assert np.median(off[1::2]) < 0.1 < np.median(off[::2]) < 0.6
    assert fit.rows.reliability[1::2].min() > 3 * fit.rows.reliability[::2].max()


@pytest.mark.parametrize("bound", [1, 3, 40])
def test_rank_is_a_bound(bound):
    truth, observations = ratings(rank=4, noise=0.3)
    fit = bayesian.fit(observations, bound)
    assert fit.rank <= fit.factors.width <= bound
    assert fit.rank == min(bound, 4)
    best = {1: 1.0, 3: 0.6, 40: 0.15}[bound]
    assert excess(fit, truth) < best


@pytest.mark.parametrize(("shape", "share", "rank"), [((300, 200), 0.3, 3), ((400, 300), 0.06, 2), ((80, 60), 0.9, 5)])
def test_more_directions_never_hurt(shape, share, rank):
    truth, observations = ratings(shape, rank, share)
    few = excess(bayesian.fit(observations, rank), truth)
    for bound in (2 * rank, 40):
        assert excess(bayesian.fit(observations, bound), truth) < 1.005 * few


@pytest.mark.parametrize("width", [10, 30])
def test_a_width_far_too_large_does_not_hurt_either(width, monkeypatch):
    truth, observations = ratings(share=0.15)
    few = excess(bayesian.fit(observations), truth)
    monkeypatch.setattr(bayesian, "TUNING", replace(bayesian.TUNING, max_start_width=width))
    monkeypatch.setattr(bayesian, "TUNING", replace(bayesian.TUNING, min_start_width=width))
    fit = bayesian.fit(observations)
    assert (fit.rank, fit.factors.width) == (3, width)
    assert excess(fit, truth) < 1.01 * few


def test_one_weak_direction_does_not_end_the_growth(monkeypatch):
    """Of ten directions that are there one may be asleep: others are still looked for."""
    monkeypatch.setattr(bayesian, "TUNING", replace(bayesian.TUNING, min_start_width=10))  # and no wider
    truth, observations = ratings(rank=14, share=0.6)
    strengths = bayesian.strengths
    asked = []

    def one_weak(*given):
        found = strengths(*given)
        if not asked:
            found[-1] = 0.1
        asked.append(len(found))
        return found

    monkeypatch.setattr(bayesian, "strengths", one_weak)
    fit = bayesian.fit(observations)
    assert (asked[0], fit.rank) == (10, 14)
    assert excess(fit, truth) < 0.4


def test_two_weak_directions_of_ten_end_it(monkeypatch):
    monkeypatch.setattr(bayesian, "TUNING", replace(bayesian.TUNING, min_start_width=10))  # and no wider
    fit = bayesian.fit(ratings(rank=8, share=0.4)[1])
    assert (fit.rank, fit.factors.width) == (8, 10)


CLEAN = [(rank, kind) for rank in range(1, 6) for kind in range(8)]


def clean(rank, kind):
    """A planted matrix without noise and about 2.5 entries for each degree of freedom: (all values, observations)."""
    rng = np.random.default_rng(100 * rank + kind)
    m, n = [(60, 60), (120, 40), (40, 120), (90, 70)][kind % 4]
    U, V = rng.standard_normal((m, rank)), rng.standard_normal((n, rank))
    if kind >= 4:  # directions of unlike strength, factors that are not normal
        U, V = np.exp(0.5 * U) * 3.0 ** -np.arange(rank), np.sign(V) * V**2
    truth = 7 + U @ V.T
    freedom = (rank + 1) * (m + n - rank - 1) + n
    picked = rng.permutation(m * n)[: min(int(2.5 * freedom), m * n)]
    rows, cols = np.divmod(np.sort(picked), n)
    return truth, Observations.from_entries(rows, cols, truth[rows, cols].astype(np.float32), (m, n))


@pytest.mark.parametrize(("rank", "kind"), CLEAN)
def test_clean_ratings_are_completed(rank, kind):
    truth, observations = clean(rank, kind)
    rough = bayesian.fit(observations)
    assert rough.status is Status.CONVERGED
    assert rough.noise < 0.1 * rough.unit
    assert excess(noise_free.finish(rough, observations), truth) < 0.05 * truth.std()


def hostile(name):
    """Observations that are made to break a fit."""
    rng = np.random.default_rng(3)
    rows, cols = np.nonzero(rng.random((60, 40)) < 0.4)
    noisy = rng.standard_normal(len(rows))
    signal = rng.standard_normal(60)[rows] * rng.standard_normal(40)[cols] + 0.3 * noisy
    outlier = signal.copy()
    outlier[5] = 1e4
    values = {
        "noise": noisy,
        "one value": np.full(len(rows), 4.0),
        "huge offset": 1e6 + noisy,
        "tiny": 1e-6 * signal,
        "huge": 1e6 * signal,
        "outlier": outlier,
        "heavy tails": rng.standard_cauchy(len(rows)),
        "sorted": np.sort(signal),
        "rows alike": signal[cols],
        "columns alike": signal[rows],
        "two values": signal > 0,
        "one user differs": (rows == 7) + 0.0,
        "half constant": np.where(rows % 2, 5, np.round(3 + signal)),
    }
    if name in values:
        return Observations.from_entries(rows, cols, values[name].astype(np.float32), (60, 40))
    rows, cols, shape = {
        "two ratings": ([0, 1], [0, 1], (2, 2)),
        "one rating": ([0], [0], (1, 1)),
        "one user": ([0] * 50, range(50), (1, 50)),
        "one item": (range(50), [0] * 50, (50, 1)),
        "diagonal": (range(50), range(50), (50, 50)),
        "blocks": (*np.nonzero(np.kron(np.eye(5), np.ones((10, 8)))), (50, 40)),
        "triangle": (*np.nonzero(np.tri(30)), (30, 30)),
    }[name]
    return Observations.from_entries(rows, cols, noisy[: len(rows)].astype(np.float32), shape)


HOSTILE = """noise, one value, huge offset, tiny, huge, outlier, heavy tails, sorted, rows alike, columns alike,
two values, one user differs, half constant, two ratings, one rating, one user, one item, diagonal, blocks, triangle"""


@pytest.mark.parametrize("name", HOSTILE.replace("\n", " ").split(", "))
def test_hostile_ratings_are_fitted_without_a_warning(name):
    observations = hostile(name)
    fit = bayesian.fit(observations)
    spread = float(observations.values.std(dtype=np.float64))
    assert fit.status is Status.CONVERGED
    assert fit.noise <= max(1.001 * spread, 0.01)
    assert max(fit.errors) <= fit.unit
    assert 1 <= fit.precision <= bayesian_model.MAX_PRECISION
    predicted = fit.factors.at(observations.rows, observations.cols) + fit.mean
    assert np.std(predicted - observations.values) <= 1.001 * spread + 1e-6 * np.abs(observations.values).max()
    assert np.isfinite(fit.factors.dense()).all()


@pytest.mark.parametrize("seed", range(4))
def test_of_noise_alone_nothing_is_learnt(seed):
    rng = np.random.default_rng(seed)
    rows, cols = np.nonzero(rng.random((200, 150)) < 0.1)
    values = rng.standard_normal(len(rows)).astype(np.float32)
    fit = bayesian.fit(Observations.from_entries(rows, cols, values, (200, 150)))
    assert fit.rank == 0
    assert fit.noise == pytest.approx(1, rel=0.03)
    assert np.std(fit.factors.dense()) < 0.15  # free biases alone: √(350 / 3000) = .34


@pytest.mark.parametrize(("scale", "shift"), [(1e-6, 0.0), (1e6, 0.0), (2.0**-100, 0.0), (1.0, 1000.0)])
def test_units_do_not_matter(scale, shift):
    _, observations = ratings((100, 80), share=0.4)
    fit = bayesian.fit(observations)
    other = bayesian.fit(observations.with_values((observations.values * scale + shift).astype(np.float32)))
    assert other.rank == fit.rank
    assert other.noise == pytest.approx(scale * fit.noise, rel=1e-3)
    np.testing.assert_allclose(other.factors.dense() / scale, fit.factors.dense(), atol=0.01)


def test_after_so_many_sweeps_it_is_told_once_at_the_callers_line(monkeypatch):
    monkeypatch.setattr(bayesian, "TUNING", replace(bayesian.TUNING, max_sweeps=1))
    _, observations = ratings()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fit = bayesian.fit(observations)
    assert fit.status is Status.MAX_STEPS
    (warning,) = told
    assert "did not converge" in str(warning.message)
    assert warning.filename == __file__
