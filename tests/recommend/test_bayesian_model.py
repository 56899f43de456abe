"""A fitted Bayesian model, asked."""

import numpy as np
import pytest
from test_bayesian import ratings, same_lines
from test_bayesian_planted import of_unequal_users
from test_presence_features import communities

from dmc.observations import Observations
from dmc.recommend import bayesian
from dmc.recommend.bayesian_model import VariationalFactorization, scaled, strengths


def test_values_are_scaled_as_numpy_would():
    _, observations = ratings()
    mean, unit, values = scaled(observations)
    given = observations.values.astype(float)
    np.testing.assert_allclose((mean, unit), (given.mean(), given.std()), rtol=1e-6)
    np.testing.assert_allclose(values, (given - given.mean()) / given.std(), atol=1e-5)


def test_values_far_from_zero_are_told_from_the_mean_that_is_kept():
    """Else predictions are off by what float32 rounds away of the mean: here half of its steps of 1."""
    rng = np.random.default_rng(0)
    given = np.float32(1e7 + 1.5) + rng.integers(0, 20, 1000).astype(np.float32)
    observations = Observations.from_entries(*np.divmod(np.arange(1000), 40), given, (25, 40))
    mean, unit, values = scaled(observations)
    np.testing.assert_allclose(mean + unit * values.astype(float), given, rtol=0, atol=1e-5)


@pytest.mark.parametrize("make", [ratings, communities, lambda: of_unequal_users()[:2]])
def test_a_vector_is_what_folding_a_row_in_gives(make):
    _, observations = make()
    fit = bayesian.fit(observations)
    m, n = observations.shape
    cols = np.array([3, 20, 21, 90, 150])
    values = np.array([1, 5, 2, 2.5, 9], np.float32)
    whole = Observations.from_entries(
        np.append(observations.rows, np.full(5, m)),
        np.append(observations.cols, cols),
        np.append(observations.values, values),
        (m + 1, n),
    )
    row_of = np.append(np.arange(m), -1)
    folded = fit.extended(whole, row_of, np.arange(n), np.zeros(m + 1, bool))
    np.testing.assert_allclose(fit.vector(cols, values), folded.factors.left[m], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("row", [0, 7])
def test_contributions_add_up_to_the_prediction(row):
    _, observations, _ = of_unequal_users()
    fit = bayesian.fit(observations)
    fit = fit.extended(observations, *same_lines(observations), np.ones(observations.shape[0], bool))
    expected = fit.rows.features[row] @ fit.rows.weights
    for column in (0, 5, 100):
        z = fit.columns.means[column].astype(float)
        base = fit.unit * (z[:-1] @ expected[:-1] + expected[-1] + z[-1])
        told = base + fit.contributions(row, column).sum()
        assert told == pytest.approx(fit.factors.at(np.array([row]), np.array([column]))[0], abs=0.02)


def test_strengths_are_told_from_the_noise_as_random_matrices_are():
    """A direction planted at s times the strength at which it is lost; those of noise alone are below 1."""
    _, observations = ratings((400, 300), rank=2, share=0.2, noise=1.0)
    fit = bayesian.fit(observations)
    found = strengths(fit.rows, fit.columns, fit.precision)
    typical = (observations.shape[0] * observations.shape[1]) ** -0.25 / 0.2**0.5
    assert fit.factors.width == 6
    np.testing.assert_allclose(found[:2], 0.5 / typical, rtol=0.15)
    assert found[2:].max() < 0.3


def test_strengths_do_not_depend_on_how_directions_are_turned(rng):
    fit = bayesian.fit(ratings()[1])
    before = strengths(fit.rows, fit.columns, fit.precision)
    turn = rng.standard_normal((fit.factors.width, fit.factors.width))
    fit.rows.rotate(turn)
    fit.columns.rotate(np.linalg.inv(turn).T)
    np.testing.assert_allclose(strengths(fit.rows, fit.columns, fit.precision)[:3], before[:3], rtol=1e-3)


@pytest.mark.parametrize("settings", [{}, {"attributes": True}, {"bare": True}])
def test_stored_and_made_again_it_is_the_same_model(settings):
    _, observations = communities()
    attributes = np.ones((observations.shape[0], 1), np.float32) * np.linspace(-1, 1, observations.shape[0])[:, None]
    fit = bayesian.fit(observations, attributes=(attributes.astype(np.float32) if settings else None, None))
    if "bare" in settings:
        fit = VariationalFactorization.of(fit.factors, observations, fit.mean, fit.noise)
    arrays, numbers = fit.arrays()
    again = VariationalFactorization.from_arrays(arrays, numbers, observations)
    for ours, theirs in zip(again.factors.arrays, fit.factors.arrays, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)
    assert (again.precision, again.n_fitted, again.rank) == (fit.precision, fit.n_fitted, fit.rank)
    changed = np.ones(observations.shape[0], bool)
    for ours, theirs in zip(
        again.extended(observations, *same_lines(observations), changed).factors.arrays,
        fit.extended(observations, *same_lines(observations), changed).factors.arrays,
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
