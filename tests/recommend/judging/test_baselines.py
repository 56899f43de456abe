"""Rivals against their definitions: ridge regression solved at once, counts, lists made one user at a time."""

import math

import numpy as np
import pytest

from dmc.recommend.judging.baselines import DAMPINGS, Biases, Popularity


@pytest.fixture
def ratings(rng):
    """Of 60 users and 40 items, with biases of both."""
    pairs = np.argwhere(rng.random((60, 40)) < 0.4)
    level, liked = rng.standard_normal(60), rng.standard_normal(40)
    exact = 3 + 0.6 * level[pairs[:, 0]] + 0.6 * liked[pairs[:, 1]]
    users = np.array([f"u{i}" for i in pairs[:, 0]])
    return {"user": users, "item": pairs[:, 1], "rating": exact + 0.8 * rng.standard_normal(len(pairs))}


@pytest.mark.parametrize("damping", [None, 2.0, 10.0])
def test_biases_are_the_minimum_of_the_damped_squares(damping, ratings):
    found = Biases(ratings, damping=damping)
    assert found.damping == (damping or found.damping)
    users, u = np.unique(ratings["user"], return_inverse=True)
    items, i = np.unique(ratings["item"], return_inverse=True)
    values = ratings["rating"].astype(np.float32).astype(float)
    design = np.zeros((len(values), len(users) + len(items)))
    design[np.arange(len(values)), u] = design[np.arange(len(values)), len(users) + i] = 1
    squares = design.T @ design + found.damping * np.eye(design.shape[1])
    expected = np.linalg.solve(squares, design.T @ (values - values.mean()))
    np.testing.assert_allclose(found.of_user[:-1], expected[: len(users)], atol=1e-3)
    np.testing.assert_allclose(found.of_item[:-1], expected[len(users) :], atol=1e-3)
    asked = {"user": np.array(["u3", "?"]), "item": np.array([5, 5])}
    wanted = values.mean() + expected[list(users).index("u3")] + expected[len(users) + 5], values.mean()
    assert found.predict(asked)["prediction"][0] == pytest.approx(np.clip(wanted[0], *found.range), abs=1e-3)
    assert found.predict(asked)["prediction"][1] == pytest.approx(wanted[1] + found.of_item[5])


@pytest.mark.parametrize("seed", range(5))
def test_biases_of_ratings_that_have_none_are_the_mean(seed):
    rng = np.random.default_rng(seed)
    pairs = np.argwhere(rng.random((200, 100)) < 0.05)
    noise = {"user": pairs[:, 0], "item": pairs[:, 1], "rating": rng.integers(1, 6, len(pairs))}
    found = Biases(noise)
    assert found.damping == math.inf
    assert np.ptp(found.predict(noise)["prediction"]) == 0


def test_damping_suits_the_ratings(rng):
    """Small biases under large noise are damped more than large ones under little."""

    def of(size, noise):
        pairs = np.argwhere(rng.random((150, 60)) < 0.3)
        exact = size * rng.standard_normal(150)[pairs[:, 0]] + size * rng.standard_normal(60)[pairs[:, 1]]
        rating = exact + noise * rng.standard_normal(len(pairs))
        return Biases({"user": pairs[:, 0], "item": pairs[:, 1], "rating": rating})

    assert of(1, 0.3).damping == DAMPINGS[0]
    assert 3 < of(0.3, 1.5).damping < math.inf


def test_one_fold_of_many_ratings_tells_as_much(ratings, monkeypatch):
    whole = Biases(ratings).damping
    monkeypatch.setattr("dmc.recommend.judging.baselines.FEW", 10)
    assert Biases(ratings).damping == whole != math.inf


@pytest.mark.parametrize("values", [[3.0], [3.0] * 9, [1.0, 5.0]])
def test_too_little_to_choose_by(values):
    size = len(values)
    found = Biases({"user": range(size), "item": [0] * size, "rating": values})
    assert found.damping == math.inf
    assert found.predict({"user": [0], "item": [0]})["prediction"] == pytest.approx(np.mean(values))


@pytest.mark.parametrize("kind", [Popularity, Biases])
def test_lists_equal_those_made_one_user_at_a_time(kind, ratings):
    found = kind(ratings)
    items = np.unique(ratings["item"])
    count = {item: int((ratings["item"] == item).sum()) for item in items}
    worth = count if kind is Popularity else dict(zip(items, found.of_item, strict=False))
    order = sorted(items, key=lambda item: (-worth[item], item))
    asked = np.array(["u7", "?", "u3"])
    given = found.recommend({"user": asked}, 6)
    for user in asked:
        seen = set(ratings["item"][ratings["user"] == user])
        assert given["item"][given["user"] == user].tolist() == [item for item in order if item not in seen][:6]


def test_popularity_of_clicks_counts_users_and_no_dislikes():
    log = {"user": [1, 1, 1, 2, 3, 4, 4], "item": ["a", "a", "a", "b", "b", "c", "d"], "rating": [1, 1, 1, 1, 1, -1, 2]}
    found = Popularity(log, feedback="implicit")
    assert found.items_.ids[found.ranking].tolist() == ["b", "a", "d", "c"]
    assert found.recommend({"user": np.array([4, 9])}, 9)["item"].tolist() == ["b", "a", "b", "a", "d", "c"]
    bare = Popularity({"user": [1, 2, 2], "item": [5, 5, 6]}, feedback="implicit")
    assert bare.items_.ids[bare.ranking].tolist() == [5, 6]


def test_of_equal_biases_the_more_popular_come_first():
    log = {"user": [1, 2, 3, 1], "item": ["b", "b", "a", "c"], "rating": [3, 3, 3, 3]}
    assert Biases(log).recommend({"user": np.array([9])}, 3)["item"].tolist() == ["b", "a", "c"]


def test_refused():
    with pytest.raises(ValueError, match="there are no training ratings; give at least one"):
        Popularity({"user": [], "item": []}, feedback="implicit")
    with pytest.raises(ValueError, match="the table has no column 'rating'"):
        Biases({"user": [1], "item": [1]})
    with pytest.raises(ValueError, match="feedback is 'clicks'; choose one of 'explicit', 'implicit'"):
        Popularity({"user": [1], "item": [1]}, feedback="clicks")
    with pytest.raises(ValueError, match="damping is 0"):
        Biases({"user": [1], "item": [1], "rating": [1]}, damping=0)


def test_they_are_printed_with_their_sizes():
    table = {"user": [1, 1, 2], "item": [1, 2, 1], "rating": [1, 2, 5]}
    assert repr(Popularity(table)) == "Popularity(2 users, 2 items)"
    assert repr(Biases(table)) == "Biases(2 users, 2 items)"
