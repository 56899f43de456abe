"""Splits against what they promise, row by row."""

import datetime as dt
import doctest

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from dmc.recommend.judging import splitting
from dmc.recommend.judging.splitting import WAYS, split
from dmc.recommend.tables.table import Table

FRAMES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table, "dict": dict}
IN_TWO = [by for by in WAYS if by != "folds"]


@pytest.fixture
def table(rng):
    """40 users with 1 to 30 items each, no pair twice, rows with a number of their own, times with ties, any order."""
    counts = rng.integers(1, 31, 40)
    user = np.repeat([f"u{i}" for i in range(40)], counts)
    item = np.concatenate([rng.permutation(50)[:count] for count in counts])
    order = rng.permutation(len(user))
    user, item, size = user[order], item[order], len(user)
    return {
        "user": user,
        "item": item,
        "rating": rng.integers(1, 6, size).astype(float),
        "timestamp": 880_000_000 + rng.integers(0, size // 2, size),  # float32 would make them all one
        "number": np.arange(size),
    }


@pytest.fixture
def repeating(table, rng):
    """The same with most pairs more than once, at other times."""
    rows = rng.integers(0, len(table["user"]), 3 * len(table["user"]))
    again = {name: values[rows] for name, values in table.items()}
    size = len(rows)
    return {**again, "timestamp": rng.integers(0, size // 2, size), "number": np.arange(size)}


def pairs_of(part):
    return set(zip(np.asarray(part["user"]).tolist(), np.asarray(part["item"]).tolist(), strict=True))


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("by", IN_TWO)
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
    table = {"user": np.array([3] * 5 + [1] * 5), "item": np.arange(10), "number": np.arange(10)}
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
    table = {"user": [1, 1, 1, 2], "item": range(4), "timestamp": when, "number": np.arange(4)}
    assert split(table, "time", 0.25)[1]["number"].tolist() == [2]
    assert split(table, "leave-last-out")[1]["number"].tolist() == [2]


def test_frames_with_times():
    ids = {"user": [7] * 4, "item": list(range(4)), "number": list(range(4))}
    for frame in (
        pd.DataFrame({"timestamp": pd.Series(TIMES).dt.tz_localize("UTC"), **ids}),
        pl.DataFrame({"timestamp": TIMES, **ids}),
        pa.table({"timestamp": TIMES, **ids}),
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
    for by in IN_TWO:
        expected = split(table, by)[1]["item"]
        np.testing.assert_array_equal(split(tmp_path / "plain.csv", by)[1]["item"].astype(int), expected)
        found = split(tmp_path / "named.csv", by, user="who", item="what", time="when")[1]["what"]
        np.testing.assert_array_equal(found.astype(int), expected)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"by": "date"}, ValueError, "by is 'date'; choose one of 'random', 'user', 'time', 'leave-last-out', 'folds'"),
        ({"test_fraction": 1.0}, ValueError, "test_fraction is 1"),
        ({"test_fraction": 1e-9}, ValueError, "split by random with test_fraction 1e-09 leave no test part"),
        ({"test_fraction": 1 - 1e-9}, ValueError, "leave no training part"),
        ({"seed": "x"}, TypeError, "seed is 'x'"),
        ({"by": "time", "time": "when"}, ValueError, "the table has no column 'when'"),
        ({"by": "time", "time": "user"}, ValueError, "'user', 'item', 'rating', 'user'; give each its own column"),
        (
            {"by": "leave-last-out", "time": "kind"},
            ValueError,
            "column 'kind' holds 'a' in row 0, which is not a time",
        ),
        ({"by": "folds", "n_folds": 1}, ValueError, "n_folds is 1; it has to be at least 2"),
        ({"by": "folds", "n_folds": 10**6}, ValueError, "split into 1000000 folds leave one without a test part"),
        ({"item": "what"}, ValueError, "the table has no column 'what'"),
        ({"by": "user", "user": "who"}, ValueError, "the table has no column 'who'"),
    ],
)
def test_splits_refused(arguments, error, message, table):
    with pytest.raises(error, match=message):
        split({**table, "kind": ["a"] * len(table["user"])}, **arguments)


@pytest.mark.parametrize("when", [[1.0, np.nan], [1, None], np.array(["2020-01-01", "NaT"], "M8[D]")])
def test_missing_times_are_told(when):
    with pytest.raises(
        ValueError, match="column 'timestamp' holds 1 missing time, the first in row 1; drop those rows"
    ):
        split({"user": [1, 2], "item": [3, 4], "timestamp": when}, "time", 0.5)


def test_by_user_of_single_ratings_is_told():
    with pytest.raises(ValueError, match=r"3 ratings split by user with test_fraction 0\.2 leave no test part"):
        split({"user": [1, 2, 3], "item": [1, 1, 1]}, "user")
    with pytest.raises(ValueError, match="3 ratings of 2 pairs split by leave-last-out leave no test part: no user"):
        split({"user": [1, 2, 2], "item": [1, 1, 1], "timestamp": [1, 2, 3]}, "leave-last-out")
    with pytest.raises(ValueError, match="4 ratings of 1 pair split by random"):
        split({"user": [1] * 4, "item": [1] * 4}, test_fraction=0.5)
    with pytest.raises(ValueError, match="0 ratings split by random"):
        split({"user": [], "item": []})


# --- repeats, one at a time, folds


@pytest.mark.parametrize("by", IN_TWO)
@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_repeats_of_a_pair_stay_together(by, fraction, repeating):
    train, test = split(repeating, by, fraction)
    assert not pairs_of(train) & pairs_of(test)
    assert sorted([*train["number"], *test["number"]]) == repeating["number"].tolist()
    if by in ("random", "time"):
        largest = np.unique(np.stack([repeating["user"], repeating["item"].astype(str)]), axis=1, return_counts=True)
        assert abs(len(test["user"]) - fraction * len(repeating["user"])) <= largest[1].max() / 2 + 1
    if by == "user":
        for user in np.unique(repeating["user"]):
            n_train, n_test = (len({i for u, i in pairs_of(part) if u == user}) for part in (train, test))
            assert n_train >= 1
            assert n_test == min(round(fraction * (n_train + n_test)), n_train + n_test - 1)


def test_no_training_row_is_later_than_what_it_is_judged_by(repeating):
    train, test = split(repeating, "time", 0.2)
    latest = {}
    for user, item, when in zip(test["user"], test["item"], test["timestamp"], strict=True):
        latest[user, item] = max(latest.get((user, item), when), when)
    assert train["timestamp"].max() <= min(latest.values())


def test_the_last_of_each_user(table, repeating):
    for log in (table, repeating):
        train, test = split(log, "leave-last-out")
        expected = set()
        for user in np.unique(log["user"]):
            own = np.flatnonzero(log["user"] == user)
            last = max(own, key=lambda row: (log["timestamp"][row], row))
            if len(set(log["item"][own])) > 1:
                expected.add((user, log["item"][last]))
        assert pairs_of(test) == expected
        assert set(train["user"]) == set(log["user"])


@pytest.mark.parametrize("n_folds", [2, 5])
def test_each_row_is_in_the_test_part_of_one_fold(n_folds, table, repeating):
    for log, slack in ((table, 1), (repeating, 10)):
        folds = split(log, "folds", n_folds=n_folds)
        assert len(folds) == n_folds
        assert sorted(np.concatenate([test["number"] for _, test in folds])) == log["number"].tolist()
        for train, test in folds:
            assert not pairs_of(train) & pairs_of(test)
            assert sorted([*train["number"], *test["number"]]) == log["number"].tolist()
            assert abs(len(test["number"]) - len(log["number"]) / n_folds) <= slack
        again = split(log, "folds", n_folds=n_folds)
        assert all((a["number"] == b["number"]).all() for (_, a), (_, b) in zip(folds, again, strict=True))


def test_clicks_of_two_columns(tmp_path):
    (tmp_path / "clicks.csv").write_text("".join(f"{u},{i}\n" for u in range(9) for i in range(5)) * 2)
    train, test = split(tmp_path / "clicks.csv", "user")
    assert len(train["user"]) == 72
    assert len(test["item"]) == 18
    with pytest.raises(ValueError, match="has no column 'timestamp', only 'user', 'item'"):
        split(tmp_path / "clicks.csv", "time")


def test_ids_of_mixed_kinds_are_one_pair():
    train, test = split(
        {"user": ["a", "a", "a", "a"], "item": [1, "1", 2, "2"], "timestamp": [1, 4, 2, 3]}, "time", 0.5
    )
    assert {str(i) for i in test["item"]} == {"1"}
    assert {str(i) for i in train["item"]} == {"2"}


def test_examples():
    assert doctest.testmod(splitting).failed == 0
