"""A network's training that goes on where it was."""

from dataclasses import replace

import numpy as np
import pytest
from remembering import Remembering, again
from spread_fits import planted

from dmc.recommend import network
from dmc.recommend.network import NetworkSettings
from dmc.solver import steps

RATINGS, _ = planted((200, 80), 4000, 5)


@pytest.mark.parametrize("end_after", [1, 2, 9, 15, 20])
@pytest.mark.parametrize("device", [None, "cpu"])
@pytest.mark.parametrize("depth", [0, 2])
def test_it_ends_as_one_that_was_never_ended(depth, device, end_after):
    how = NetworkSettings(3, depth, 1.3, 0.1, device)

    def fit(keeper):
        return how.fit(RATINGS, np.random.default_rng(1), (), keeper=keeper)

    keeper = Remembering()
    whole = fit(keeper)
    assert keeper.count > 20 or depth == 0
    found, kept = again(fit, end_after)
    assert found.errors == whole.errors
    assert found.solution.n_steps == whole.solution.n_steps
    for ours, theirs in zip(found.factors.arrays, whole.factors.arrays, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert kept <= keeper.count + 1  # the look at which it was ended, once more


@pytest.mark.parametrize("device", [None, "cpu"])
@pytest.mark.parametrize("end_after", [2, 3, 5, 8])
def test_where_steps_are_taken_back(end_after, device, monkeypatch):
    """At a rate so large that most are: what leads back is kept too."""
    monkeypatch.setattr(network, "TUNING", replace(network.TUNING, rate=10.0))
    how, refused = NetworkSettings(3, 2, 1.3, 0.1, device), []
    took_back = steps.Backtracking.accepted_point

    def accepted_point(self, factors, *others):
        found = took_back(self, factors, *others)
        refused.append(found[0] is not factors)
        return found

    monkeypatch.setattr(steps.Backtracking, "accepted_point", accepted_point)

    def fit(keeper):
        return how.fit(RATINGS, np.random.default_rng(1), (), keeper=keeper)

    whole = fit(Remembering())
    assert any(refused[1:9])
    found, _ = again(fit, end_after)
    assert found.errors == whole.errors
    for ours, theirs in zip(found.factors.arrays, whole.factors.arrays, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_of_too_few_ratings_none_are_held_out():
    few, _ = planted((20, 12), 30, 5)
    how = NetworkSettings(2, 1, 1.3, 0.1, None)

    def fit(keeper):
        return how.fit(few, np.random.default_rng(1), (), keeper=keeper)

    whole = fit(Remembering())
    found, _ = again(fit, 4)
    assert whole.errors == found.errors == []
    np.testing.assert_array_equal(found.factors.V, whole.factors.V)
