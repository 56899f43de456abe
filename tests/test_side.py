"""One side of the Bayesian fit: what may happen to its directions, and what it learns."""

import numpy as np
import pytest

from dmc import bayesian
from dmc.side import SMALLEST, START_VARIANCE
from test_bayesian import ratings


@pytest.fixture
def sides():
    fit = bayesian.fit(ratings()[1])
    return fit.rows, fit.columns


def test_new_directions_stand_before_the_bias_and_leave_the_others_as_they_are(sides, rng):
    rows, _ = sides
    means, covariance, weights = rows.means.copy(), rows.covariance.copy(), rows.weights.copy()
    k = means.shape[1] - 1
    rows.widen(2, rng)
    kept = np.append(np.arange(k), k + 2)
    np.testing.assert_array_equal(rows.means[:, kept], means)
    np.testing.assert_array_equal(rows.covariance[np.ix_(kept, kept)], covariance)
    np.testing.assert_array_equal(rows.weights[:, kept], weights)
    assert (rows.covariance[k, k], rows.covariance[k, 0]) == (START_VARIANCE, 0)
    assert not rows.weights[:, k : k + 2].any()


def test_turning_both_sides_leaves_the_model_and_its_biases(sides, rng):
    rows, columns = sides
    k = rows.means.shape[1] - 1
    product, biases = rows.means[:, :k] @ columns.means[:, :k].T, rows.means[:, k].copy()
    turn = rng.standard_normal((k, k))
    rows.turn(turn)
    columns.turn(np.linalg.inv(turn).T)
    np.testing.assert_allclose(rows.means[:, :k] @ columns.means[:, :k].T, product, atol=1e-3)
    np.testing.assert_array_equal(rows.means[:, k], biases)


def test_a_direction_turned_to_nothing_keeps_a_prior(sides):
    rows, columns = sides
    rows.turn(np.zeros((rows.means.shape[1] - 1, 2)))
    assert np.linalg.eigvalsh(rows.covariance)[0] >= 0.99 * SMALLEST
    columns.turn(np.zeros((columns.means.shape[1] - 1, 2)))
    assert np.isfinite(rows.update(columns, 1.0)).all()


def test_what_is_learnt_is_the_ridge_regression_of_the_means_on_the_features(sides):
    rows, _ = sides
    F, variances = rows.features.astype(float), rows.variances.copy()
    rows.learn()
    wanted = np.linalg.solve(F.T @ F + np.diag(1 / variances), F.T @ rows.means)
    np.testing.assert_allclose(rows.weights, wanted, rtol=1e-3, atol=1e-4)
