"""Ratings beside their predictions: whose, and in which groups."""

from itertools import pairwise

import numpy as np
import pytest

from dmc import Recommender
from dmc.report.judged import BINS, bins, judge, own_ratings

TABLE = {
    "who": np.repeat(np.arange(12), 5),
    "what": np.tile(np.arange(5), 12),
    "stars": (np.arange(60) * 7 % 5).astype(np.float32),
}


@pytest.fixture(scope="module")
def model():
    return Recommender().fit(TABLE, "who", "what", "stars")


def test_the_models_own_ratings_come_back(model):
    for name, values in own_ratings(model).items():
        np.testing.assert_array_equal(values, TABLE[name])
    judged = judge(model, None)
    assert judged.own
    assert judged.named == "the model's own ratings"
    assert judged.lower is judged.upper is None
    np.testing.assert_array_equal(judged.popularity, 12)


def test_items_of_the_test_that_nobody_rated(model):
    judged = judge(model, {"who": [1, 2], "what": [3, 99], "stars": [1.0, 4.0]})
    assert not judged.own
    assert judged.popularity.tolist() == [12, 0]
    with pytest.raises(ValueError, match="there are no test ratings; give at least one"):
        judge(model, {"who": [], "what": [], "stars": []})


def test_bins_hold_every_rating_once_in_order(model):
    judged = judge(model, None)
    groups = bins(judged)
    assert 1 < len(groups) <= BINS
    np.testing.assert_array_equal(np.sort(np.concatenate(groups)), np.arange(60))
    ends = [(judged.predicted[group].min(), judged.predicted[group].max()) for group in groups]
    assert all(high < low for (_, high), (low, _) in pairwise(ends))
