"""One side of the Bayesian fit: what may happen to its directions, and what it learns."""

from dataclasses import replace

import numpy as np
import pytest
from test_bayesian import ratings

from dmc.observations import Observations
from dmc.recommend import bayesian
from dmc.recommend.factor_posterior import SMALLEST, TUNING, reliability


@pytest.fixture
def sides():
    fit = bayesian.fit(ratings()[1])
    return fit.rows, fit.columns


def test_new_directions_stand_before_the_bias_and_leave_the_others_as_they_are(sides, rng):
    rows, _ = sides
    means, covariance, weights = rows.means.copy(), rows.covariance.copy(), rows.weights.copy()
    k = means.shape[1] - 1
    rows.add_directions(2, rng)
    kept = np.append(np.arange(k), k + 2)
    np.testing.assert_array_equal(rows.means[:, kept], means)
    np.testing.assert_array_equal(rows.covariance[np.ix_(kept, kept)], covariance)
    np.testing.assert_array_equal(rows.weights[:, kept], weights)
    assert (rows.covariance[k, k], rows.covariance[k, 0]) == (TUNING.start_variance, 0)
    assert not rows.weights[:, k : k + 2].any()


def test_turning_both_sides_leaves_the_model_and_its_biases(sides, rng):
    rows, columns = sides
    k = rows.means.shape[1] - 1
    product, biases = rows.means[:, :k] @ columns.means[:, :k].T, rows.means[:, k].copy()
    turn = rng.standard_normal((k, k))
    rows.rotate(turn)
    columns.rotate(np.linalg.inv(turn).T)
    np.testing.assert_allclose(rows.means[:, :k] @ columns.means[:, :k].T, product, atol=1e-3)
    np.testing.assert_array_equal(rows.means[:, k], biases)


def test_a_direction_turned_to_nothing_keeps_a_prior(sides):
    rows, columns = sides
    rows.rotate(np.zeros((rows.means.shape[1] - 1, 2)))
    assert np.linalg.eigvalsh(rows.covariance)[0] >= 0.99 * SMALLEST
    columns.rotate(np.zeros((columns.means.shape[1] - 1, 2)))
    assert np.isfinite(rows.update_posterior(columns, 1.0)).all()


def test_what_is_learnt_is_the_ridge_regression_of_the_means_on_the_features(sides):
    rows, _ = sides
    F, variances = rows.features.astype(float), rows.variances.copy()
    rows.update_prior()
    wanted = np.linalg.solve(F.T @ F + np.diag(1 / variances), F.T @ rows.means)
    np.testing.assert_allclose(rows.weights, wanted, rtol=1e-3, atol=1e-4)


# --- lines without entries


def with_newcomers(popular=0.0, seed=0, m=300, n=150, cold=30, noise=0.5):
    """(all values, observations, attributes of the columns): what a column is like, and who likes it, is told by them.

    `popular`: how much better than others those are rated that have many entries.
    """
    rng = np.random.default_rng(seed)
    told = rng.standard_normal((n, 4)).astype(np.float32)
    told -= told.mean(axis=0)
    taste = rng.standard_normal((m, 2))
    truth = 3 + 0.4 * rng.standard_normal((m, 1)) + 0.6 * taste @ told[:, :2].T + (0.5 + popular) * told[:, 2]
    seen = rng.random((m, n)) < 0.15 * np.exp(popular * told[:, 2])
    seen[:, :cold] = False
    rows, cols = np.nonzero(seen)
    values = truth[rows, cols] + noise * rng.standard_normal(len(rows))
    return truth, Observations.from_entries(rows, cols, values.astype(np.float32), (m, n)), told


@pytest.mark.parametrize("with_reliability", [True, False])
def test_newcomers_stand_where_least_squares_over_the_entries_put_them(with_reliability):
    """By NumPy: one equation for each entry, one unknown for each direction and attribute."""
    _, observations, told = with_newcomers(m=80, n=50, cold=10)
    fit = bayesian.fit(observations, attributes=(None, told))
    rows, columns = fit.rows, fit.columns
    if not with_reliability:
        rows = replace(rows, reliability=None)
    old, known = np.flatnonzero(columns.counts), columns.means.copy()
    columns.means[columns.counts == 0] = np.nan
    columns.place_cold_starts(rows)
    np.testing.assert_array_equal(columns.means[old], known[old])

    j = np.repeat(np.arange(50), columns.counts)
    A = np.column_stack([np.ones(50), told]).astype(float)
    A /= np.sqrt(np.mean(A[j] ** 2, axis=0))  # every entry counts the same
    of = rows.means[columns.index.indices].astype(float)
    x = np.column_stack([of[:, :-1], np.ones(len(of))])
    weight = np.sqrt(rows.reliability[columns.index.indices] if with_reliability else np.ones(len(of)))
    equations = weight[:, None] * (x[:, :, None] * A[j][:, None, :]).reshape(len(j), -1)
    typical = np.mean(columns.counts[j])  # entries of a line, as an entry meets it
    ridge = np.sqrt(TUNING.cold_start_ridge * A.shape[1] * typical) * np.eye(equations.shape[1])
    targets = np.append(weight * (columns.values - of[:, -1]), np.zeros(len(ridge)))
    W = np.linalg.lstsq(np.vstack([equations, ridge]), targets, rcond=None)[0].reshape(x.shape[1], -1)
    np.testing.assert_allclose(columns.means[:10], A[:10] @ W.T, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("popular", [0.0, 0.8])
def test_newcomers_are_predicted_by_their_attributes(popular):
    truth, observations, told = with_newcomers(popular)
    fit = bayesian.fit(observations, attributes=(None, told))
    found = fit.factors.dense()[:, :30] + fit.mean

    def off(predicted):
        return np.sqrt(np.mean((predicted - truth[:, :30]) ** 2))

    sums = np.bincount(observations.rows, observations.values, minlength=300)
    users_means = sums / np.maximum(np.bincount(observations.rows, minlength=300), 1)
    assert off(found) < 0.45 * off(users_means[:, None])
    # Their level too: not that of all the others.
    np.testing.assert_allclose(found.mean(axis=0), truth[:, :30].mean(axis=0), atol=0.35)


def test_attributes_that_tell_nothing_put_newcomers_at_the_average_of_the_entries():
    truth, observations, _ = with_newcomers(0.8)
    told = np.random.default_rng(9).standard_normal((150, 3)).astype(np.float32)
    fit = bayesian.fit(observations, attributes=(None, told))
    found = fit.factors.dense()[:, :30].mean(axis=0)
    assert abs(found.mean()) < 0.2  # the mean of all entries is zero
    assert observations.values.mean() > truth.mean() + 0.3  # which that of all columns is not


@pytest.mark.parametrize("kind", ["constant", "doubled", "huge", "tiny", "more than lines"])
def test_attributes_of_any_kind_are_borne(kind):
    truth, observations, told = with_newcomers(m=80, n=50, cold=10)
    told = {
        "constant": np.zeros_like(told),
        "doubled": np.hstack([told, told]),
        "huge": 1e4 * told,
        "tiny": 1e-4 * told,
        "more than lines": np.hstack([told, np.random.default_rng(0).standard_normal((50, 70)).astype(np.float32)]),
    }[kind]
    fit = bayesian.fit(observations, attributes=(None, told))
    found = fit.factors.dense()[:, :10] + fit.mean
    assert np.sqrt(np.mean((found - truth[:, :10]) ** 2)) < 1.2 * truth[:, :10].std()


def test_newcomers_on_both_sides():
    truth, observations, told = with_newcomers()
    m, n = observations.shape
    rows = Observations.from_entries(observations.rows + 5, observations.cols, observations.values, (m + 5, n))
    rng = np.random.default_rng(0)
    fit = bayesian.fit(rows, attributes=(rng.standard_normal((m + 5, 2)).astype(np.float32), told))
    assert np.isfinite(fit.factors.dense()).all()
    found = fit.factors.dense()[5:, :30] + fit.mean
    assert np.sqrt(np.mean((found - truth[:, :30]) ** 2)) < 0.5 * truth[:, :30].std()


@pytest.mark.parametrize("known", [12, 25, 60])
def test_attributes_of_noise_do_not_carry_newcomers_away(known):
    """As many attributes as there are lines to learn them from, or more: then nobody is told apart by them."""
    rng = np.random.default_rng(known)
    m, n = 100, known + 40
    rows, cols = np.nonzero((rng.random((m, n)) < 0.3) & (np.arange(n) < known))
    own = rng.standard_normal(n)
    values = (own[cols] + rng.standard_normal(len(rows))).astype(np.float32)
    told = rng.standard_normal((n, 30)).astype(np.float32)
    fit = bayesian.fit(Observations.from_entries(rows, cols, values, (m, n)), attributes=(None, told))
    found = fit.factors.dense()[:, known:]
    assert np.sqrt(np.mean((found - own[known:]) ** 2)) < 1.35 * own[known:].std()


# --- reliability


@pytest.mark.parametrize("noise", [0.1, 1.0, 10.0])
def test_reliability_is_the_mean_of_a_gamma_posterior(noise):
    """By a sum over a grid: prior Gamma(worth / 2, worth / 2) of the precision, normal errors."""
    precision, count = 2.0, 30
    errors = count * noise**2
    grid = np.linspace(1e-4, 20, 200_000)
    log = (TUNING.reliability_entries / 2 - 1) * np.log(grid) - TUNING.reliability_entries / 2 * grid
    log += count / 2 * np.log(grid) - grid * precision * errors / 2
    weight = np.exp(log - log.max())
    assert reliability(errors, count, precision) == pytest.approx((grid * weight).sum() / weight.sum(), rel=1e-3)


def test_a_line_without_entries_is_as_reliable_as_all():
    assert reliability(0.0, 0, 5.0) == 1


def test_lines_are_updated_as_all_of_them_would_be(sides):
    """`fold_in` of every line once more: what `update_posterior` tells with the other side taken for certain."""
    rows, columns = sides
    some, precision = replace(rows, means=rows.means.copy(), reliability=rows.reliability.copy()), 4.0
    which = np.zeros(len(rows.means), bool)
    which[::3] = True
    some.fold_in(which, columns, precision)
    whole = replace(rows, reliability=np.ones(len(rows.means)))
    whole.update_posterior(replace(columns), precision, learn_reliability=True)
    whole.update_posterior(replace(columns), precision)
    np.testing.assert_allclose(some.means[which], whole.means[which], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(some.reliability[which], whole.reliability[which], rtol=1e-5)
    np.testing.assert_array_equal(some.means[~which], rows.means[~which])
    np.testing.assert_array_equal(some.reliability[~which], rows.reliability[~which])
