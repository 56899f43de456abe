"""The verdict says what the figures do, also where the model is not better."""

import numpy as np
import pytest

from dmc import Recommender
from dmc.recommend.evaluation import Difference
from dmc.report import judged, rivals, verdict


def told(model, test):
    tests = judged.test_set(model, test)
    ratings = judged.ratings(model, tests) if model.feedback == "explicit" else None
    lists = judged.lists(model.recommend, model, tests.listed)
    return verdict.of_test(model, tests, rivals.beside(model, tests, "rating" in test, ratings, lists))


def halves(found, share=0.4):
    first = np.random.default_rng(1).random(len(found["user"])) < share
    return [{name: values[which] for name, values in found.items()} for which in (~first, first)]


@pytest.fixture(scope="module")
def planted():
    """Ratings of two tastes, in which users have rated what is of theirs."""
    rng = np.random.default_rng(0)
    users, items = np.nonzero(rng.random((80, 60)) < np.where((np.arange(80)[:, None] + np.arange(60)) % 2, 0.5, 0.05))
    alike = (users // 2 + items // 2) % 2
    ratings = 2 + 2 * alike + rng.integers(0, 2, len(users))
    return halves({"user": users, "item": items, "rating": ratings})


@pytest.fixture(scope="module")
def noise():
    """Ratings and choices by chance."""
    rng = np.random.default_rng(2)
    users, items = np.unique(rng.integers(0, [50, 40], (700, 2)), axis=0).T
    return halves({"user": users, "item": items, "rating": rng.integers(1, 6, len(users))})


def test_better_than_all(planted):
    train, test = planted
    found = told(Recommender(3).fit(train), test)
    assert found.lead == "Better than simple baselines, in errors and in lists."
    assert not found.warns
    assert "% less than the mean (" in found.text
    assert "% less than biases of users and items (" in found.text
    assert "95 % interval of the difference: −" in found.text
    clicks = told(Recommender(3, feedback="implicit").fit(train), {name: test[name] for name in ("user", "item")})
    assert clicks.lead == "Better than popularity."
    assert "RMSE" not in clicks.text
    assert clicks.text.startswith("Its lists of 10 find ")


def test_not_better(noise):
    train, test = noise
    found = told(Recommender().fit(train), test)
    assert found.warns
    assert "the errors of the mean" in found.lead
    assert found.lead.startswith(("Worse than", "Not clearly better than"))
    clicks = told(Recommender(feedback="implicit").fit(train), test)
    assert clicks.lead == "Not clearly better than the lists by popularity."
    assert clicks.warns


def test_what_few_users_show_is_not_sure(planted):
    train, test = planted
    model = Recommender(3).fit(train)
    two = {name: values[test["user"] < 2] for name, values in test.items()}
    found = told(model, two)
    assert found.warns
    assert found.lead.startswith("Not clearly better than the errors of the mean")
    one = {name: values[test["user"] < 1] for name, values in test.items()}
    assert (
        told(model, one).lead == "The test has a single user, which is too few for a comparison with simple baselines."
    )


def test_what_is_left_out_and_who_is_not_known(planted):
    train, test = planted
    model = Recommender(3).fit(train)
    mixed = {name: np.concatenate([test[name], train[name][:7]]) for name in test}
    mixed["item"] = np.concatenate([mixed["item"], [901, 902]])
    mixed["user"] = np.concatenate([mixed["user"], [0, 999]])
    mixed["rating"] = np.concatenate([mixed["rating"], [3, 3]])
    with pytest.warns(UserWarning, match="7 of"):
        found = told(model, mixed)
    assert "Left out: 7 test ratings are of pairs that the model was fitted to." in found.text
    assert "1 test rating is of users it does not know. 2 test ratings are of items it does not know." in found.text


@pytest.mark.parametrize(
    ("low", "high", "p_value", "expected"),
    [(0.1, 0.2, 0.001, True), (-0.2, -0.1, 0.001, False), (-0.1, 0.2, 0.4, None), (0.1, 0.2, 0.5, None)],
)
def test_surely_above(low, high, p_value, expected):
    assert verdict.surely_above(Difference(0, 0, (low + high) / 2, low, high, p_value)) is expected


def test_without_a_test(planted):
    model = Recommender(3).fit(planted[0])
    found = verdict.of_own_ratings(model, judged.ratings(model, None))
    assert found.warns
    assert f"judged by the {model.n_observed_:,} ratings that it was fitted to" in found.text
    trials = [
        {"rank": 4, "ridge": 0.1, "ndcg": 0.2, "noise": 0.01},
        {"rank": 4, "ridge": 0.2, "ndcg": 0.31234, "noise": 1e-4},
    ]
    found = verdict.of_own_clicks(model, trials)
    assert "an NDCG of up to 0.312, which is a little too good, being the best of 2 settings" in found.text
    assert "NDCG" not in verdict.of_own_clicks(model, []).text
