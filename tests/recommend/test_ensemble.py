"""Several models behind one recommender: their average, and what a fit leaves behind that does not end."""

import numpy as np
import pytest
from test_recommender import part, planted

from dmc import Recommender
from dmc.recommend.bayesian import VariationalFactorization
from dmc.recommend.ensemble import range_of, served


@pytest.fixture(scope="module")
def split():
    table = planted()
    test = np.random.default_rng(9).random(len(table["rating"])) < 0.15
    return part(table, ~test), part(table, test)


def test_what_is_served_is_the_average_of_the_models(split):
    rec = Recommender(ensemble=3).fit(split[0])
    members = rec._state.fitted().models
    assert [type(member) for member in members] == [VariationalFactorization] * 3
    each = np.stack([member.served().dense() for member in members])
    np.testing.assert_allclose(served(members).dense(), each.mean(axis=0), atol=1e-5)
    assert each.std(axis=0).max() > 1e-4  # they do differ


def test_the_range_is_that_of_the_ratings(split):
    rec = Recommender().fit(split[0])
    assert range_of(rec.observations_) == rec.range_ == (split[0]["rating"].min(), split[0]["rating"].max())


def test_a_fit_that_fails_leaves_the_one_before_as_it_was(split):
    rec, begun = Recommender().fit(split[0]), []

    def fails_in_the_second_model(info):
        begun.extend([info] * (info.n_steps == 1))
        if len(begun) == 2:
            raise RuntimeError("no more")

    told, predicted = (rec.status_, rec.n_iter_, rec.history_), rec.predict(split[1])["prediction"]
    rec.ensemble, rec.callbacks = 2, [fails_in_the_second_model]
    with pytest.raises(RuntimeError, match="no more"):
        rec.fit(split[1])
    assert (rec.status_, rec.n_iter_, rec.history_) == told
    np.testing.assert_array_equal(rec.predict(split[1])["prediction"], predicted)
