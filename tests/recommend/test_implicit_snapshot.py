"""A fit to clicks that goes on where it was."""

import numpy as np
import pytest
from remembering import Ended, Remembering, again
from spread_fits import planted

from dmc.recommend import implicit

DRAWN, _ = planted((300, 100), 9000, 5)
COUNTS = DRAWN.take(np.asarray(DRAWN.values) > 3)
COUNTS = COUNTS.with_values(np.ones(COUNTS.n_observed, np.float32))


def fit(keeper):
    return implicit.fit(COUNTS, seed=1, keeper=keeper)


@pytest.fixture(scope="module")
def whole():
    keeper = Remembering()
    return fit(keeper), keeper


@pytest.mark.parametrize("end_after", [1, 4, 6, 11, 16])
def test_it_ends_as_one_that_was_never_ended(end_after, whole):
    expected, keeper = whole
    assert keeper.count > 16
    found, kept = again(fit, end_after)
    assert (found.settings, found.n_iter, found.status) == (expected.settings, expected.n_iter, expected.status)
    assert [look["n_steps"] for look in found.history] == [look["n_steps"] for look in expected.history]
    ndcg = [[trial["ndcg"] for trial in of.searched] for of in (found, expected)]
    np.testing.assert_allclose(ndcg[0], ndcg[1], rtol=1e-6)
    predicted = [of.factors.dense() for of in (found, expected)]
    assert np.linalg.norm(predicted[0] - predicted[1]) < 1e-6 * np.linalg.norm(predicted[1])
    assert kept - keeper.count in (0, 1)  # the last sweep of a trial may be kept again, and none is made twice


def test_the_fit_behind_the_search_needs_no_trial_again(whole, monkeypatch):
    first = Remembering(end_after=whole[1].count - 2)
    with pytest.raises(Ended):
        fit(first)
    assert "best" not in first.kept["sweep"].arrays
    monkeypatch.setattr(implicit.Search, "_mean", None)  # which every trial asks for
    assert fit(first).n_iter == whole[0].n_iter
