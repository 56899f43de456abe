"""Splits against what they promise, row by row; verdicts against planted answers and against the definitions."""

import datetime as dt
import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from dmc import Recommender, metrics
from dmc.recommend.evaluation import DAMPING, Evaluation, baselines, evaluate, split
from dmc.recommend.table import Table

FRAMES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table, "dict": dict}


@pytest.fixture
def table(rng):
    """40 users with 1 to 30 ratings, each row with a number of its own, times with ties, rows in any order."""
    user = np.repeat([f"u{i}" for i in range(40)], rng.integers(1, 31, 40))
    rng.shuffle(user)
    size = len(user)
    return {
        "user": user,
        "item": rng.integers(0, 50, size),
        "rating": rng.integers(1, 6, size).astype(float),
        "timestamp": 880_000_000 + rng.integers(0, size // 2, size),  # float32 would make them all one
        "number": np.arange(size),
    }


# --- splits


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("by", ["random", "user", "time"])
def test_a_split_parts_the_rows_and_keeps_their_kind_and_order(by, kind, table):
    source = FRAMES[kind](table)
    parts = split(source, by, 0.3)
    assert all(type(part) is type(source) for part in parts)
    opened = [Table.open(part) for part in parts]
    numbers = [part.column("number") for part in opened]
    assert sorted(np.concatenate(numbers).tolist()) == table["number"].tolist()
    for part, own in zip(opened, numbers, strict=True):
        assert part.names == list(table)
        assert (np.diff(own) > 0).all()
        for name, values in table.items():
            np.testing.assert_array_equal(part.column(name), values[own])


@pytest.mark.parametrize("by", ["random", "time"])
@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.9])
def test_a_split_has_the_share_asked_for(by, fraction, table):
    test = split(table, by, fraction)[1]
    assert len(test["number"]) == round(fraction * len(table["number"]))


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.99])
def test_by_user_everybody_gives_the_share_and_keeps_one(fraction, table):
    test = split(table, "user", fraction)[1]
    for user in np.unique(table["user"]):
        count = int((table["user"] == user).sum())
        assert (test["user"] == user).sum() == min(round(fraction * count), count - 1)


def test_by_user_which_ratings_go_is_drawn(table):
    """Over many seeds, each rating of a user goes as often as any other."""
    table = {"user": np.array([3] * 5 + [1] * 5), "number": np.arange(10)}
    gone = np.zeros(10)
    for seed in range(400):
        gone[split(table, "user", 0.4, seed)[1]["number"]] += 1
    assert gone.sum() == 400 * 4
    assert (np.abs(gone - 160) < 5 * np.sqrt(400 * 0.4 * 0.6)).all()


def test_by_time_the_latest_go_and_later_rows_of_one_time(table):
    test = split(table, "time", 0.25)[1]
    order = sorted(range(len(table["user"])), key=lambda row: (table["timestamp"][row], row))
    assert sorted(order[-len(test["number"]) :]) == test["number"].tolist()


TIMES = [dt.datetime(2020, 1, day, 12, 30, day) for day in (5, 1, 9, 3)]


@pytest.mark.parametrize(
    "when",
    [
        [t.isoformat() for t in TIMES],
        [t.date().isoformat() for t in TIMES],
        ["2020-01-05T00:00:00Z", "2020-01-01T00:00:00+00:00", "2020-01-09T01:00:00+02:00", "2020-01-08T22:00:00Z"],
        ["10", "9", "100", "11"],
        np.array(TIMES, "datetime64[s]"),
        np.array(TIMES, object),
        np.array([t.date() for t in TIMES], object),
        pd.Series(TIMES),
        pd.Series(TIMES).dt.tz_localize("Europe/Paris"),
        pl.Series(TIMES),
        pl.Series([t.date() for t in TIMES]),
        np.array([5, 1, 9, 3], "timedelta64[s]"),
    ],
)
def test_times_of_any_kind(when):
    assert split({"timestamp": when, "number": np.arange(4)}, "time", 0.25)[1]["number"].tolist() == [2]


def test_frames_with_times():
    for frame in (
        pd.DataFrame({"timestamp": pd.Series(TIMES).dt.tz_localize("UTC"), "number": range(4)}),
        pl.DataFrame({"timestamp": TIMES, "number": range(4)}),
        pa.table({"timestamp": TIMES, "number": range(4)}),
    ):
        assert Table.open(split(frame, "time", 0.25)[1]).column("number").tolist() == [2]


@pytest.mark.parametrize("by", ["random", "user"])
def test_a_seed_is_a_split(by, table):
    def numbers(seed):
        return split(table, by, 0.3, seed)[1]["number"].tolist()

    assert numbers(5) == numbers(5) == numbers(np.random.default_rng(5))
    assert numbers(5) != numbers(6)


def test_files_with_and_without_names(tmp_path, table):
    rows = list(zip(*(table[name].tolist() for name in ("user", "item", "rating", "timestamp")), strict=True))
    text = "".join(",".join(map(str, row)) + "\n" for row in rows)
    (tmp_path / "plain.csv").write_text(text)
    (tmp_path / "named.csv").write_text("who,what,stars,when\n" + text)
    for by in ("random", "user", "time"):
        expected = split(table, by)[1]["item"]
        np.testing.assert_array_equal(split(tmp_path / "plain.csv", by)[1]["item"].astype(int), expected)
        found = split(tmp_path / "named.csv", by, user="who", time="when")[1]["what"]
        np.testing.assert_array_equal(found.astype(int), expected)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"by": "date"}, ValueError, "by is 'date'; choose one of 'random', 'user', 'time'"),
        ({"test_fraction": 1.0}, ValueError, "test_fraction is 1"),
        ({"test_fraction": 1e-9}, ValueError, "split by random with test_fraction 1e-09 leave no test part"),
        ({"test_fraction": 1 - 1e-9}, ValueError, "leave no training part"),
        ({"seed": "x"}, TypeError, "seed is 'x'"),
        ({"by": "time", "time": "when"}, ValueError, "the table has no column 'when'"),
        (
            {"by": "time", "time": "user"},
            ValueError,
            "column 'user' holds 'u[0-9]+', which is no time; give numbers, d",
        ),
        ({"by": "user", "user": "who"}, ValueError, "the table has no column 'who'"),
    ],
)
def test_splits_refused(arguments, error, message, table):
    with pytest.raises(error, match=message):
        split(table, **arguments)


@pytest.mark.parametrize("when", [[1.0, np.nan], [1, None], np.array(["2020-01-01", "NaT"], "M8[D]")])
def test_missing_times_are_told(when):
    with pytest.raises(
        ValueError, match="column 'timestamp' holds 1 missing time, the first in row 1; drop those rows"
    ):
        split({"timestamp": when}, "time", 0.5)


def test_by_user_of_single_ratings_is_told():
    with pytest.raises(ValueError, match=r"3 ratings split by user with test_fraction 0\.2 leave no test part"):
        split({"user": [1, 2, 3]}, "user")


# --- verdicts


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
    assert found == Evaluation(
        rmse=pytest.approx(1.0),
        mae=pytest.approx(3 / 5),
        precision=pytest.approx((1 / 2 + 1) / 2),
        recall=1.0,
        ndcg=pytest.approx((1 / np.log2(3) + best / best) / 2),
        average_precision=pytest.approx((1 / 2 + 1) / 2),
        coverage=3 / 8,
        n=2,
        relevant=4.0,
        n_ratings=5,
        n_users=2,
    )
    assert json.loads(json.dumps(found.asdict()))["n_users"] == 2


def test_relevant_is_the_mean_unless_said_and_may_be_nothing():
    planted = Planted({(1, 1): 3, (1, 2): 3}, {1: [1, 2]}, 2)
    test = {"user": [1, 1], "item": [1, 2], "rating": [2, 5]}
    found = evaluate(planted, test)
    assert (found.relevant, found.recall, found.ndcg) == (3.5, 1.0, pytest.approx(1 / np.log2(3)))
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
    test = {**test, "user": np.append(test["user"][:-1], "stranger"), "item": np.append(test["item"][1:], 999)}
    n, relevant = 4, 3.0
    found = baselines(train, test, n, relevant)
    ratings = train["rating"]
    actual = test["rating"]
    assert found["mean"].rmse == pytest.approx(metrics.rmse(np.full(len(actual), ratings.mean()), actual), rel=1e-6)
    assert found["mean"].precision is found["popularity"].rmse is None

    # Biases: at the minimum of the damped squares (one large ridge regression, solved at once).
    users, u = np.unique(train["user"], return_inverse=True)
    items, i = np.unique(train["item"], return_inverse=True)
    design = np.zeros((len(ratings), len(users) + len(items)))
    design[np.arange(len(ratings)), u] = design[np.arange(len(ratings)), len(users) + i] = 1
    squares = design.T @ design + DAMPING * np.eye(design.shape[1])
    bias = np.linalg.solve(squares, design.T @ (ratings - ratings.mean()))
    of_user, of_item = dict(zip(users, bias, strict=False)), dict(zip(items, bias[len(users) :], strict=True))
    predicted = [
        np.clip(ratings.mean() + of_user.get(a, 0) + of_item.get(b, 0), ratings.min(), ratings.max())
        for a, b in zip(test["user"], test["item"], strict=True)
    ]
    assert found["biases"].rmse == pytest.approx(metrics.rmse(predicted, actual), rel=1e-4)

    # Lists: one user and one item at a time.
    counts = {item: int((train["item"] == item).sum()) for item in items}
    for name, worth in (("popularity", counts), ("biases", of_item)):
        order = sorted(items, key=lambda item: (-worth[item], item))
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


@pytest.mark.parametrize("by", ["random", "user", "time"])
def test_real_ratings_rank_as_is_known(by, data_folder):
    """MovieLens 100K: the factors beat the biases, and these the mean; time is the hardest split."""
    train, test = split(data_folder / "ml-100k" / "u1.base", by)
    found = evaluate(Recommender().fit(train), test)
    rivals = baselines(train, test)
    assert found.rmse < rivals["biases"].rmse < rivals["mean"].rmse
    assert found.ndcg > 0.05


def test_refused(table):
    fitted = Recommender().fit(table, duplicates="last")
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
