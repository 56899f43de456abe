"""A network as it is served: who comes later is placed where the posterior says, also from files of old versions."""

import numpy as np
import pytest
from test_recommender import part, planted

import dmc
from dmc import Recommender
from dmc.recommend.network_model import GaussianPrior, NetworkModel


@pytest.fixture(scope="module")
def split():
    table = planted()
    test = np.random.default_rng(9).random(len(table["rating"])) < 0.15
    return part(table, ~test), part(table, test)


@pytest.fixture(scope="module")
def fitted(split):
    return Recommender(model="network").fit(split[0])


def test_priors_estimated_from_those_known_place_new_users(split, fitted):
    """A user's ratings under another name: nearly the same predictions as the network's own for that user."""
    train, test = split
    often = [u for u in np.unique(train["user"]) if np.sum(train["user"] == u) >= 30][:20]
    again = part(train, np.isin(train["user"], often))
    folded = fitted.fold_in({**again, "user": np.char.add("again ", again["user"])})
    asked = part(test, np.isin(test["user"], often))
    old, new = fitted.predict(asked), folded.predict({**asked, "user": np.char.add("again ", asked["user"])})
    assert dmc.metrics.rmse(new["prediction"], asked["rating"]) < 1.1 * dmc.metrics.rmse(
        old["prediction"], asked["rating"]
    )


def test_the_prior_is_that_of_the_vectors(fitted):
    """Mean and covariance of those who are known, and a little more, in ratings of any unit."""
    (model,) = fitted._state.fitted().models
    vectors = np.column_stack([model.factors.U, model.factors.row_bias]).astype(np.float64)
    np.testing.assert_allclose(model.rows.mean, vectors.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(model.rows.covariance, np.cov(vectors.T, ddof=0), atol=1e-5)
    scale = np.append(np.full(vectors.shape[1] - 1, 10.0), 100.0)  # ratings of a hundred times the unit
    other = GaussianPrior.estimated(vectors * scale, 100.0)
    np.testing.assert_allclose(
        other.covariance, GaussianPrior.estimated(vectors, 1.0).covariance * np.outer(scale, scale)
    )
    alone = model.served().dense()[-1, :-1]
    np.testing.assert_allclose(alone, model.factors.right @ np.append(model.rows.mean, 1), atol=1e-5)


def test_a_new_user_is_at_the_mean_of_the_posterior(fitted):
    """Ridge regression, written out: (Σ⁻¹ + τ XᵀX) b = Σ⁻¹ μ + τ Xᵀ (y − mean − c)."""
    (model,) = fitted._state.fitted().models
    cols, values = np.array([3, 8, 21, 40]), np.array([5.0, 1.0, 4.0, 2.5])
    X = np.column_stack([model.factors.V[cols], np.ones(4)]).astype(np.float64)
    of_prior = np.linalg.inv(model.rows.covariance)
    residual = values - model.mean - model.factors.column_bias[cols]
    expected = np.linalg.solve(
        of_prior + model.precision * X.T @ X, of_prior @ model.rows.mean + model.precision * X.T @ residual
    )
    np.testing.assert_allclose(model.vector(cols, values), np.append(expected, 1), rtol=1e-5)
    np.testing.assert_allclose(model.vector(cols[:0], values[:0]), np.append(model.rows.mean, 1), rtol=1e-9)


def test_there_and_back(fitted):
    observations, (model,) = fitted._state.fitted()
    again = NetworkModel.from_arrays(*model.arrays(), observations)
    np.testing.assert_array_equal(again.served().dense(), model.served().dense())
    cols, values = np.array([3, 8]), np.array([5.0, 1.0])
    np.testing.assert_array_equal(again.vector(cols, values), model.vector(cols, values))
    np.testing.assert_array_equal(again.contributions(2, 7), model.contributions(2, 7))
    assert (again.mean, again.noise, again.rank) == (model.mean, model.noise, model.rank)
