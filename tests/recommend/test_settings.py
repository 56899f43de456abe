"""What a Recommender is told: refused where it would have no effect, and old ways that are deprecated."""

import re

import numpy as np
import pytest

from dmc import Recommender
from dmc.recommend import network
from dmc.recommend.settings import OF_NETWORKS, RecommenderSettings

TABLE = {"user": [1, 1, 2, 2, 3], "item": [1, 2, 1, 3, 3], "rating": [5.0, 3.0, 4.0, 1.0, 2.0]}
GIVEN = {"depth": 2, "l2": 1.3, "validation_fraction": 0.1, "device": "cuda"}


@pytest.mark.parametrize("name", OF_NETWORKS)
def test_what_only_a_network_heeds_is_refused(name):
    """Also where the value is a network's default: that it was given is what counts."""
    value = GIVEN[name]
    sentence = f"{name} is {value!r}, and model 'bayes' has no {name}; leave it out, or pass model='network'"
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        Recommender(model="bayes", **{name: value})
    assert getattr(Recommender(model="network", **{name: value}), name) == value


def test_a_network_is_named():
    rec = Recommender(model="network")
    tuned = network.TUNING
    assert (rec.depth, rec.l2, rec.validation_fraction) == (tuned.depth, tuned.l2, tuned.validation_fraction)
    assert (Recommender().model, Recommender().depth, Recommender().l2) == ("bayes", None, None)
    with pytest.raises(ValueError, match="model is 'svd'; choose one of 'bayes', 'network'"):
        Recommender(model="svd")


@pytest.mark.parametrize("given", [{"depth": 0}, {"device": "cpu"}])
def test_a_network_that_is_not_named_is_deprecated(given):
    (name,) = given
    with pytest.warns(
        DeprecationWarning, match=rf"^{name} is .*, which trains a network .*; pass model='network'$"
    ) as told:
        rec = Recommender(**given)
    assert told[0].filename == __file__
    assert rec.model == "network"
    rec._settings()  # and said once


@pytest.mark.parametrize("name", ["depth", "l2", "validation_fraction", "intervals"])
def test_preferences_have_no(name):
    sentence = f"feedback is 'implicit', whose preferences have no {name}; leave {name} out"
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        Recommender(feedback="implicit", **{name: {**GIVEN, "intervals": True}[name]})


def test_preferences_are_a_model_of_their_own():
    with pytest.raises(ValueError, match="model is 'bayes' and feedback 'implicit', which has its own model"):
        Recommender(feedback="implicit", model="bayes")
    assert RecommenderSettings(feedback="implicit", device="cuda").checked().device == "cuda"  # they do heed it


def test_what_is_set_later_is_checked_at_the_fit():
    rec = Recommender()
    rec.l2 = 2.0
    with pytest.raises(ValueError, match="l2 is 2"):
        rec.fit(TABLE)
    rec.l2, rec.rank = None, 0
    with pytest.raises(ValueError, match="rank is 0"):
        rec.fit(TABLE)


def test_checked_settings_stay_as_they_are():
    once = RecommenderSettings(rank=np.int64(4), model="network").checked()
    assert once.checked() == once
    assert once.kind == "network"
    assert once.network == network.NetworkSettings(4, 3, 1.3, 0.1, None)
    assert set(once.for_file()) == {
        "rank", "feedback", "model", "depth", "l2", "validation_fraction", "ensemble", "intervals", "random_state",
        "n_threads", "device", "verbose",
    }  # fmt: skip
