"""Verdicts against planted answers and against the definitions."""

import json
import math

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from dmc import Recommender, evaluation, metrics
from dmc.recommend.evaluation import Biases, Popularity, baselines, evaluate, split

FRAMES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table, "dict": dict}


@pytest.fixture
def table(rng):
    """40 users with 1 to 30 items each, no pair twice, in any order."""
    counts = rng.integers(1, 31, 40)
    user = np.repeat([f"u{i}" for i in range(40)], counts)
    item = np.concatenate([rng.permutation(50)[:count] for count in counts])
    order = rng.permutation(len(user))
    return {
        "user": user[order],
        "item": item[order],
        "rating": rng.integers(1, 6, len(user)).astype(float),
        "timestamp": rng.permutation(len(user)),
    }


class Planted:
    """Predicts and recommends what it is told to."""

    columns_ = ("user", "item", "rating")

    def __init__(self, predicted, lists, n_items):
        self.predicted, self.lists, self.items_ = predicted, lists, range(n_items)

    def predict(self, table):
        pairs = zip(table["user"].tolist(), table["item"].tolist(), strict=True)
        return {"prediction": np.array([self.predicted[pair] for pair in pairs])}

    def recommend(self, users, n):
        pairs = [(user, item) for user in users["user"].tolist() for item in self.lists[user][:n]]
        return {"user": np.array([u for u, _ in pairs]), "item": np.array([i for _, i in pairs])}


def test_a_verdict_worked_by_hand():
    test = {"user": ["a", "a", "b", "b", "c"], "item": [1, 2, 1, 3, 4], "rating": [5, 2, 4, 4, 1]}
    predicted = {("a", 1): 4, ("a", 2): 2, ("b", 1): 4, ("b", 3): 2, ("c", 4): 1}
    found = evaluate(Planted(predicted, {"a": [9, 1], "b": [1, 3], "c": [4, 1]}, 8), test, n=2, relevant=4)
    # c likes nothing: no list of c's is asked for.
    best = 1 + 1 / np.log2(3)
    expected = {
        "rmse": 1.0,
        "mae": 3 / 5,
        "precision": (1 / 2 + 1) / 2,
        "recall": 1.0,
        "ndcg": (1 / np.log2(3) + best / best) / 2,
        "average_precision": (1 / 2 + 1) / 2,
        "coverage": 3 / 8,
        "reciprocal_rank": (1 / 2 + 1) / 2,
        "hit_rate": 1.0,
        "graded_ndcg": (1 / np.log2(3) + 1) / 2,
    }
    told = {"n": 2, "relevant": 4.0, "n_ratings": 5, "n_users": 2, "n_seen": 0, "n_unknown_users": 0}
    assert {name: getattr(found, name) for name in expected} == pytest.approx(expected)
    assert {name: getattr(found, name) for name in told} == told
    assert found.novelty is None  # it does not say who has what
    assert found.users.tolist() == ["a", "b"]
    assert found.per_user["average_precision"].tolist() == [1 / 2, 1]
    assert set(found.intervals) == set(expected) - {"coverage"}
    written = json.loads(json.dumps(found.asdict()))
    assert written["n_users"] == 2
    assert written["intervals"]["recall"] == [1, 1]
    assert list(written)[:7] == ["rmse", "mae", "precision", "recall", "ndcg", "average_precision", "coverage"]
    planted = Planted(predicted, {"a": [9, 1], "b": [1, 3]}, 8)
    assert evaluate(planted, test, 2, 4) == found
    assert evaluate(planted, test, 2, 4, confidence=None).intervals == {}


def test_relevant_is_the_mean_unless_said_and_may_be_nothing():
    planted = Planted({(1, 1): 3, (1, 2): 3}, {1: [1, 2]}, 2)
    test = {"user": [1, 1], "item": [1, 2], "rating": [2, 5]}
    found = evaluate(planted, test)
    assert (found.relevant, found.recall, found.ndcg) == (3.5, 1.0, pytest.approx(1 / np.log2(3)))
    with pytest.warns(UserWarning, match="no pair of the test has a rating of at least 6"):
        nothing = evaluate(planted, test, relevant=6)
    assert (nothing.n_users, nothing.precision, nothing.coverage) == (0, None, None)
    assert nothing.rmse is not None


def planted_ratings(rng):
    """Two kinds of users and of items, each user liking those of the own kind: biases see nothing of it."""
    pairs = np.argwhere(rng.random((120, 80)) < 0.4)
    alike = pairs.sum(axis=1) % 2 == 0
    rating = np.where(alike, 5.0, 1.0) + 0.1 * rng.standard_normal(len(pairs))
    return {"user": pairs[:, 0], "item": np.array([f"i{j}" for j in pairs[:, 1]]), "rating": rating}


def test_the_recommender_finds_what_rivals_cannot(rng):
    train, test = split(planted_ratings(rng), "user", 0.25)
    found = evaluate(Recommender().fit(train), test, n=5, relevant=3)
    rivals = baselines(train, test, n=5, relevant=3)
    assert rivals["mean"].rmse == pytest.approx(2, rel=0.05)
    assert rivals["biases"].rmse > 1.8
    assert found.rmse < 0.5 * rivals["biases"].rmse
    # Of 56 unrated items 28 are liked, and 4 of these in the test part: 1 in 7 at best, 1 in 14 by chance.
    assert found.precision > 0.11
    for name in ("biases", "popularity"):
        assert found.precision > 1.5 * rivals[name].precision
        assert found.ndcg > 1.5 * rivals[name].ndcg
    assert {verdict.n_users for verdict in rivals.values()} == {found.n_users}


def test_baselines_equal_the_definitions(table):
    train, test = split(table, "user", 0.3)
    test = {**test, "user": np.append(test["user"][:-1], "stranger"), "item": np.append(test["item"][:-1], 999)}
    n, relevant = 4, 3.0
    found = baselines(train, test, n, relevant)
    ratings = train["rating"]
    actual = test["rating"]
    assert found["mean"].rmse == pytest.approx(metrics.rmse(np.full(len(actual), ratings.mean()), actual), rel=1e-6)
    assert found["mean"].precision is found["popularity"].rmse is None

    biases = Biases(train)
    assert found["biases"].rmse == pytest.approx(metrics.rmse(biases.predict(test)["prediction"], actual), rel=1e-6)
    items = np.unique(train["item"])
    of_item = dict(zip(items, biases.of_item, strict=False))

    # Lists: one user and one item at a time.
    counts = {item: int((train["item"] == item).sum()) for item in items}
    for name, worth in (("popularity", counts), ("biases", of_item)):
        order = sorted(items, key=lambda item: (-worth[item], -counts[item], item))
        good = actual >= relevant
        lists = {}
        for user in np.unique(test["user"][good]):
            seen = set(train["item"][train["user"] == user])
            lists[user] = [item for item in order if item not in seen][:n]
        pairs = tuple(zip(*((user, item) for user, own in lists.items() for item in own), strict=True))
        hit, n_relevant = metrics.hits(pairs, (test["user"][good], test["item"][good]))
        assert found[name].n_users == len(lists)
        assert found[name].precision == pytest.approx(metrics.precision(hit, n_relevant, n))
        assert found[name].ndcg == pytest.approx(metrics.ndcg(hit, n_relevant, n))
        assert found[name].coverage == pytest.approx(len(set(pairs[1])) / len(items))


def test_lists_do_not_depend_on_the_portions(table, monkeypatch):
    train, test = split(table, "user", 0.3)
    whole = baselines(train, test)
    monkeypatch.setattr("dmc.factors._core_takes", lambda *_: False)
    monkeypatch.setattr("dmc.factors.SCORES", 1)
    assert baselines(train, test) == whole


def test_columns_by_other_names_and_kinds(table, tmp_path):
    train, test = split(table)
    expected = baselines(train, test)
    names = {"user": "who", "item": "what", "rating": "stars"}
    for frame in FRAMES.values():
        renamed = [frame({names.get(name, name): values for name, values in part.items()}) for part in (train, test)]
        assert baselines(*renamed, **names) == expected


@pytest.mark.parametrize("by", ["random", "user", "time", "leave-last-out"])
def test_real_ratings_rank_as_is_known(by, data_folder):
    """MovieLens 100K: the factors beat the biases, and these the mean; time is the hardest split."""
    train, test = split(data_folder / "ml-100k" / "u1.base", by)
    found = evaluate(Recommender().fit(train), test)
    rivals = baselines(train, test)
    assert found.rmse < rivals["biases"].rmse < rivals["mean"].rmse
    assert found.ndcg > 0.05


def test_refused(table):
    fitted = Recommender().fit(table)
    with pytest.raises(ValueError, match="n is 0"):
        evaluate(fitted, table, n=0)
    with pytest.raises(TypeError, match="relevant is 'good'; give a number"):
        evaluate(fitted, table, relevant="good")
    with pytest.raises(ValueError, match="the table has no column 'item'"):
        evaluate(fitted, {"user": [1], "rating": [1]})
    empty = {"user": [], "item": [], "rating": []}
    with pytest.raises(ValueError, match="there are no test ratings; give at least one"):
        evaluate(fitted, empty)
    with pytest.raises(ValueError, match="there are no training ratings; give at least one"):
        baselines(empty, table)
    with pytest.raises(ValueError, match="confidence is 1"):
        evaluate(fitted, table, confidence=1)


def test_the_public_module_has_all_names():
    for name in ("split", "evaluate", "baselines", "compare", "Evaluation", "Comparison", "Popularity", "Biases"):
        assert name in evaluation.__all__
    assert all(hasattr(evaluation, name) for name in evaluation.__all__)


# --- clicks


@pytest.fixture(scope="module")
def clicks():
    """Two kinds of users, who choose of two kinds of items; the recommender knows four fifths."""
    rng = np.random.default_rng(1)
    pairs = np.argwhere(rng.random((200, 60)) < 0.3)
    own = pairs[pairs.sum(axis=1) % 2 == 0]
    train, test = split({"user": own[:, 0], "item": own[:, 1]}, "user")
    return Recommender(2, feedback="implicit").fit(train), train, test


def test_clicks_without_counts(clicks):
    rec, train, test = clicks
    found = evaluate(rec, test)
    rivals = baselines(train, test, feedback="implicit")
    assert list(rivals) == ["popularity"]
    assert (found.rmse, found.mae, found.graded_ndcg, found.relevant) == (None, None, None, None)
    assert found.ndcg > 1.5 * rivals["popularity"].ndcg
    assert found.intervals["ndcg"][0] > rivals["popularity"].intervals["ndcg"][1]
    assert found.n_users == rivals["popularity"].n_users == len(np.unique(test["user"]))
    assert found.novelty > 0
    given = rec.recommend(found.users, 10)
    ranking = metrics.hits((given["user"], given["item"]), (test["user"], test["item"]))
    for name in ("precision", "recall", "ndcg", "average_precision", "reciprocal_rank", "hit_rate"):
        assert getattr(found, name) == getattr(metrics, name)(*ranking)
    of_item = {item: len(set(train["user"][train["item"] == item])) for item in np.unique(train["item"])}
    chosen = [of_item[item] for item in given["item"]]
    assert found.novelty == pytest.approx(metrics.novelty(given["user"], chosen, len(np.unique(train["user"]))))


def test_counts_are_grades_and_never_errors(clicks):
    rec, _, test = clicks
    plays = np.where(np.arange(len(test["user"])) % 10 == 0, 1000.0, 1.0)
    bare, found = evaluate(rec, test), evaluate(rec, {**test, "rating": plays})
    assert (found.rmse, found.mae) == (None, None)
    assert (found.n_users, found.ndcg, found.relevant) == (bare.n_users, bare.ndcg, None)
    given = rec.recommend(found.users, 10)
    graded = metrics.gains((given["user"], given["item"]), (test["user"], test["item"]), plays)
    assert found.graded_ndcg == pytest.approx(metrics.graded_ndcg(*graded))
    assert found.graded_ndcg != pytest.approx(found.ndcg, rel=0.01)
    many = evaluate(rec, {**test, "rating": plays}, relevant=2)
    assert many.relevant == 2
    assert many.n_users < found.n_users


def test_dislikes_are_never_relevant(clicks):
    rec, _, test = clicks
    disliked = np.arange(len(test["user"])) % 3 == 0
    found = evaluate(rec, {**test, "rating": np.where(disliked, -1.0, 1.0)})
    left = evaluate(rec, {name: values[~disliked] for name, values in test.items()})
    assert (found.n_users, found.recall, found.ndcg) == (left.n_users, left.recall, left.ndcg)
    assert found.graded_ndcg == pytest.approx(found.ndcg)


def test_events_that_repeat_are_no_misses(clicks):
    rec, train, test = clicks
    both = {name: np.concatenate([train[name][:50], values, values]) for name, values in test.items()}
    with pytest.warns(UserWarning, match=f"50 of {len(both['user']):,} test rows are pairs from the fit"):
        found = evaluate(rec, both)
    expected = evaluate(rec, test)
    assert found.n_seen == 50
    assert found.n_ratings == 2 * expected.n_ratings
    assert (found.recall, found.precision) == (expected.recall, expected.precision)


def test_strangers_are_counted(clicks):
    rec, _, test = clicks
    found = evaluate(rec, {"user": [*test["user"], -1, -2], "item": [*test["item"], 3, 4]})
    assert found.n_unknown_users == 2
    assert found.n_users == evaluate(rec, test).n_users + 2
    with pytest.warns(UserWarning, match="knows none of the 2 users"):
        assert evaluate(rec, {"user": [-1, -2], "item": [3, 4]}).n_unknown_users == 2
    with pytest.warns(UserWarning, match="knows none of the relevant items"):
        assert evaluate(rec, {"user": [1, 2], "item": ["x", "y"]}).recall == 0


# --- inputs that go wrong


def test_seen_ratings_do_not_flatter(table):
    train, test = split(table)
    rec = Recommender().fit(train)
    expected = evaluate(rec, test)
    mixed = {name: np.concatenate([values, train[name]]) for name, values in test.items()}
    with pytest.warns(UserWarning, match="errors on fitted ratings are too small"):
        found = evaluate(rec, mixed)
    assert (found.rmse, found.n_ratings, found.ndcg) == (expected.rmse, expected.n_ratings, expected.ndcg)


def test_the_fit_itself_judges_nothing(table):
    fitted = Recommender().fit(table)
    with pytest.warns(UserWarning, match=f"all {len(table['user'])} test rows are pairs from the fit, so nothing"):
        found = evaluate(fitted, table)
    assert (found.rmse, found.ndcg, found.relevant, found.intervals) == (None, None, None, {})
    assert (found.n_ratings, found.n_users, found.n_seen) == (0, 0, len(table["user"]))


def test_one_user_has_no_interval(table):
    train, test = split(table, "user")
    own = {name: values[test["user"] == test["user"][0]] for name, values in test.items()}
    found = evaluate(Popularity(train), own)
    assert (found.n_users, found.intervals) == (1, {})


def test_lists_longer_than_the_catalogue(table):
    train, test = split(table, "user")
    found = evaluate(Popularity(train), test, n=1000, relevant=1)
    assert found.recall == pytest.approx(1, abs=0.05)  # but for items that training does not have
    assert found.coverage > 0.9
    assert found.precision < 0.05


def test_constant_ratings_are_all_relevant(table):
    table["rating"][:] = 3.3
    train, test = split(table, "user")
    found = evaluate(Biases(train), test)
    assert found.n_users == len(np.unique(test["user"]))
    assert found.graded_ndcg == pytest.approx(found.ndcg)
    assert found.rmse == pytest.approx(0, abs=1e-9)


def test_users_to_whom_nothing_can_be_recommended():
    """Each has all known items; what is relevant is not known."""
    everything = {"user": [1, 1, 2, 2], "item": ["a", "b", "a", "b"]}
    with pytest.warns(UserWarning, match="knows none of the relevant items"):
        found = evaluate(Popularity(everything, feedback="implicit"), {"user": [1, 2], "item": ["x", "x"]})
    assert (found.recall, found.coverage, found.novelty) == (0, 0, None)


def test_ids_of_mixed_kinds(table):
    train, test = split(table, "user")
    expected = evaluate(Popularity(train), test)
    as_text = {**test, "item": test["item"].astype(str)}
    assert evaluate(Popularity(train), as_text) == expected
    odd = {**test, "item": np.array([*test["item"][:-1], "x"], object)}
    assert evaluate(Popularity(train), odd).n_ratings == expected.n_ratings


def test_ratings_below_0_are_no_grades(table):
    table["rating"] -= 6
    train, test = split(table, "user")
    found = evaluate(Biases(train), test)
    assert found.graded_ndcg is None
    assert found.ndcg > 0
    assert math.isfinite(found.rmse)


def test_an_evaluation_is_printed_as_a_table():
    table = {"user": ["a", "a", "b", "b"], "item": [1, 2, 1, 3], "rating": [5, 3, 4, 2]}
    found = evaluate(Popularity(table), {"user": ["a", "b"], "item": [3, 2], "rating": [3, 4]}, n=1)
    head, interval, *rows = repr(found).splitlines()
    assert head == "2 test rows, lists of 1 for 1 user with an item of at least 3.5"
    assert interval.split() == ["95", "%", "interval"]
    assert rows[0].split() == ["rmse", "0.5000", "0.5000", "…", "0.5000"]
    assert ["recall", "1.0000"] in [row.split()[:2] for row in rows]
    clicks = evaluate(Popularity(table, feedback="implicit"), {"user": ["a"], "item": [3]}, confidence=None)
    assert not any("rmse" in row or "…" in row for row in repr(clicks).splitlines())
