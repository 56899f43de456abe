"""Ratings beside their predictions, lists beside what was chosen: whose, and in which groups."""

from itertools import pairwise

import numpy as np
import pytest

from dmc import Recommender
from dmc.report import judged
from dmc.report.judged import BINS

TABLE = {
    "who": np.repeat(np.arange(12), 5),
    "what": np.tile(np.arange(5), 12),
    "stars": (np.arange(60) * 7 % 5).astype(np.float32),
}


@pytest.fixture(scope="module")
def model():
    return Recommender().fit(TABLE, "who", "what", "stars")


def test_the_models_own_ratings_come_back(model):
    for name, values in judged.own_table(model).items():
        np.testing.assert_array_equal(values, TABLE[name])
    found = judged.ratings(model, None)
    assert found.own
    assert found.named == "the model's own ratings"
    assert found.lower is found.upper is None
    np.testing.assert_array_equal(found.popularity, 12)
    np.testing.assert_array_equal(found.users, TABLE["who"])


def test_items_of_the_test_that_nobody_rated(model):
    found = judged.ratings(model, judged.test_set(model, {"who": [1, 2], "what": [98, 99], "stars": [1.0, 4.0]}))
    assert not found.own
    assert found.popularity.tolist() == [0, 0]
    assert found.users.tolist() == [0, 1]
    with pytest.raises(ValueError, match="there are no test ratings; give at least one"):
        judged.test_set(model, {"who": [], "what": [], "stars": []})


def test_pairs_that_were_fitted_are_left_out_with_a_warning(model):
    test = {"who": [1, 2, 3], "what": [98, 2, 3], "stars": [1.0, 4.0, 2.0]}
    with pytest.warns(UserWarning, match="2 of 3 test rows are pairs from the fit"):
        tests = judged.test_set(model, test)
    assert tests.n_seen == 2
    assert judged.ratings(model, tests).actual.tolist() == [1.0]
    assert judged.rows_of(tests, graded=True)["stars"].tolist() == [1.0]
    assert list(judged.rows_of(tests, graded=False)) == ["who", "what"]
    with (
        pytest.warns(UserWarning, match="all 60 test rows"),
        pytest.raises(ValueError, match="no test rows are left; give ratings of pairs that are not in"),
    ):
        judged.test_set(model, TABLE)


def test_lists_are_what_the_model_recommends():
    clicks = {"who": TABLE["who"][::2], "what": TABLE["what"][::2]}
    model = Recommender(4, feedback="implicit").fit(clicks, "who", "what")
    users = judged.some_users(model)
    np.testing.assert_array_equal(users, np.arange(12))
    found = judged.lists(model.recommend, model, users)
    given = model.recommend(users, judged.LISTED)
    np.testing.assert_array_equal(users[found.to], given["who"])
    np.testing.assert_array_equal(model.items_.ids[found.items], given["what"])


def test_bins_hold_every_rating_once_in_order(model):
    found = judged.ratings(model, None)
    groups = judged.bins(found)
    assert 1 < len(groups) <= BINS
    np.testing.assert_array_equal(np.sort(np.concatenate(groups)), np.arange(60))
    ends = [(found.predicted[group].min(), found.predicted[group].max()) for group in groups]
    assert all(high < low for (_, high), (low, _) in pairwise(ends))


def test_groups_of_counts():
    counts = np.array([0, 1, 2, 3, 9, 10, 2999, 3000, 200_000])
    found = {name: counts[here].tolist() for name, here in judged.by_count(counts)}
    assert found == {
        "0": [0], "1–2": [1, 2], "3–9": [3, 9], "10–29": [10], "1,000–2,999": [2999], "3,000–9,999": [3000],
        "100,000+": [200_000],
    }  # fmt: skip
