"""Whatever the model, it answers what is asked of it, and comes back out of arrays."""

import numpy as np
import pytest
from test_recommender import part, planted

from dmc import Recommender
from dmc.recommend import models

SETTINGS = {"bayes": {}, "network": {"model": "network"}, "implicit": {"feedback": "implicit"}}


@pytest.fixture(scope="module", params=SETTINGS)
def fitted(request):
    rec = Recommender(rank=4, **SETTINGS[request.param]).fit(part(planted(), slice(4000)))
    observations, (model,) = rec._state.fitted()
    assert isinstance(model, models.KINDS[request.param])
    return request.param, model, observations


def test_what_a_fit_tells_of_itself(fitted):
    kind, model, _ = fitted
    assert model.n_iter > 0
    assert model.rank <= 4
    assert np.isnan(model.noise) == (kind == "implicit")
    assert np.isfinite(model.validation_rmse) == (kind == "network")
    assert all(isinstance(look, dict) for look in model.history)


def test_what_is_served_has_a_row_for_those_who_are_not_known(fitted):
    _, model, observations = fitted
    m, n = observations.shape
    served = model.served()
    assert served.shape == (m + 1, n + 1)
    np.testing.assert_allclose(served.dense()[:-1, :-1], model.factors.dense(), atol=1e-5)


def test_a_user_alone_is_a_new_row(fitted):
    """`vector` and `extended` place a user alike, and reasons add up to what is told of that user."""
    _, model, observations = fitted
    m, n = observations.shape
    row = int(np.argmax(observations.pattern.row_counts))
    at = observations.rows == row
    cols, values = observations.cols[at], observations.values[at]
    more = observations.from_entries(
        np.append(observations.rows, np.full(len(cols), m)),
        np.append(observations.cols, cols),
        np.append(observations.values, values),
        (m + 1, n),
    )
    extended = model.extended(more, np.append(np.arange(m), -1), np.arange(n), np.zeros(m + 1, bool))
    found = extended.factors.at(np.full(n, m), np.arange(n))
    right = model.served().right[:-1]
    np.testing.assert_allclose(right @ model.vector(cols, values), found, atol=2e-3)
    np.testing.assert_array_equal(extended.factors.U[:m], model.factors.U)
    shares = [extended.contributions(m, column).sum() for column in range(5)]
    nothing = right[:5] @ model.vector(cols[:0], values[:0])
    expected = found[:5] if np.isnan(model.noise) else found[:5] - nothing
    if not isinstance(model, models.VariationalFactorization):  # whose expectation goes by who was rated, too
        np.testing.assert_allclose(shares, expected, atol=2e-3)


def test_out_of_arrays(fitted):
    kind, model, observations = fitted
    again = models.read(kind, *model.arrays(), observations)
    np.testing.assert_array_equal(again.served().dense(), model.served().dense())
    np.testing.assert_array_equal(again.contributions(3, 5), model.contributions(3, 5))
    assert (again.mean, again.rank) == (model.mean, model.rank)
