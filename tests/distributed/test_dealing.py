"""Rows dealt to one, two or three processes: the same, together, as one process makes of the whole."""

import datetime
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from dealing_cases import COLUMNS, Case, Found, dealt, ratings, union, whole, write

from dmc._group import ALONE
from dmc.distributed import dealing
from dmc.recommend.fitting import Columns
from processes import run_processes

WEIGHTED = COLUMNS._replace(weight="weight")
TIMED = WEIGHTED._replace(time="timestamp")

TABLE, REPEATED = ratings(), ratings(repeats=True)
NAMES = np.array(["ann", "é", "日本", "7", "7.0", "07", "-3", "x" * 40, "a b", "Ω"])
TABLES: dict[str, tuple[Any, Columns, Any, Any]] = {  # the table, its columns, feedback and what repeats become
    "whole numbers": (TABLE, COLUMNS, "explicit", "error"),
    "text": (
        {
            **TABLE,
            "user": NAMES[TABLE["user"] % 8],
            "item": TABLE["item"].astype(str) + TABLE["user"].astype(str).astype(object) + "i",
        },
        COLUMNS,
        "explicit",
        "last",
    ),
    "numbers in text": (
        {**TABLE, "user": (TABLE["user"] // 10**15).astype(str), "item": np.char.add(TABLE["item"].astype(str), ".0")},
        COLUMNS,
        "explicit",
        "error",
    ),
    "real numbers": (
        {**TABLE, "user": TABLE["user"] / 10**15 / 2, "item": TABLE["item"].astype(float)},
        COLUMNS,
        "explicit",
        "error",
    ),
    "dates and bytes": (
        {
            **TABLE,
            "user": np.datetime64("2020-01-01", "s") + TABLE["user"] // 10**13,
            "item": TABLE["item"].astype("S"),
        },
        COLUMNS,
        "explicit",
        "error",
    ),
    "large and true": (
        {**TABLE, "user": TABLE["user"].view(np.uint64), "item": TABLE["item"] > 250},
        COLUMNS,
        "explicit",
        "mean",
    ),
    "few rows": ({name: column[:2] for name, column in TABLE.items()}, WEIGHTED, "explicit", "error"),
    "weights": (TABLE, WEIGHTED, "explicit", "error"),
    "mean": (REPEATED, COLUMNS, "explicit", "mean"),
    "mean, weighted": (REPEATED, WEIGHTED, "explicit", "mean"),
    "last": (REPEATED, WEIGHTED, "explicit", "last"),
    "latest": (REPEATED, TIMED, "explicit", "latest"),
    "latest date": (
        {**REPEATED, "timestamp": np.datetime64("2020-01-01", "us") + REPEATED["timestamp"]},
        TIMED,
        "explicit",
        "latest",
    ),
    "latest text": (
        {**REPEATED, "timestamp": np.char.add("2020-01-0", (1 + REPEATED["timestamp"]).astype(str))},
        TIMED,
        "explicit",
        "latest",
    ),
    "clicks": ({name: REPEATED[name] for name in ("user", "item")}, COLUMNS, "implicit", "error"),
    "counts": (REPEATED, WEIGHTED, "implicit", "error"),
    "categories": (
        {**TABLE, "user": pa.array(NAMES[TABLE["user"] % 8].tolist()).dictionary_encode()},
        COLUMNS,
        "explicit",
        "last",
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dealt")


@pytest.fixture(scope="module")
def cases(folder: Path) -> dict[str, Case]:
    found = {
        name: Case(write(folder / name, table), columns, feedback, duplicates)
        for name, (table, columns, feedback, duplicates) in TABLES.items()
    }
    order = np.random.default_rng(1).permutation(len(TABLE["user"]))
    shuffled = {name: column[order] for name, column in TABLE.items()}
    changed = {**TABLE, "rating": TABLE["rating"] + (np.arange(600) == 17)}
    found["shuffled"] = Case(write(folder / "shuffled", shuffled, (0.9,)))
    found["changed"] = Case(write(folder / "changed", changed))
    found["repeats"] = Case(write(folder / "repeats", REPEATED))
    found["batches of the last"] = Case({0: [], 1: [TABLE]})
    return found


@pytest.fixture(scope="module")
def by_size(cases: dict[str, Case]) -> Any:
    """What each process of so many gets of all cases, made once."""
    return cache(lambda size: [dealt(ALONE, cases)] if size == 1 else run_processes(size, dealt, cases))


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("name", list(TABLES))
def test_the_shares_are_the_whole(by_size: Any, name: str, size: int) -> None:
    table, columns, feedback, duplicates = TABLES[name]
    if name == "categories":
        table = {**table, "user": NAMES[TABLE["user"] % 8]}
    expected = whole(table, columns, "sum" if feedback == "implicit" else duplicates)
    found = [of[name] for of in by_size(size)]
    assert all(isinstance(one, Found) for one in found), found
    users, values, weights = union(found)
    assert users.dtype.kind == expected[0].dtype.kind
    assert users.tolist() == expected[0].tolist()
    assert found[0].items.tolist() == expected[1].tolist()
    observed = expected[2].to_scipy()
    assert (values.indptr == observed.indptr).all()
    assert (values.indices == observed.indices).all()
    assert (values.data == observed.data).all()
    if expected[2].weights is None:
        assert weights is None
    else:
        assert (weights.data == expected[2].weights).all()


@pytest.mark.parametrize("name", list(TABLES))
def test_a_digest_does_not_know_the_number_of_processes(by_size: Any, name: str) -> None:
    assert len({of[name].digest for size in (1, 2, 3) for of in by_size(size)}) == 1


def test_a_digest_knows_the_data_and_not_their_order(by_size: Any) -> None:
    (alone,) = by_size(1)
    assert alone["shuffled"].digest == alone["whole numbers"].digest
    others = ["changed", "weights", "numbers in text", "few rows"]
    assert len({alone[name].digest for name in [*others, "whole numbers"]}) == 5


@pytest.mark.parametrize("size", [2, 3])
def test_all_rows_may_come_to_one_process(by_size: Any, size: int) -> None:
    found = by_size(size)
    assert found[0]["batches of the last"].digest == found[0]["whole numbers"].digest


@pytest.mark.parametrize("size", [1, 2, 3])
def test_repeats_are_counted_over_all_processes(by_size: Any, size: int) -> None:
    found = [of["repeats"] for of in by_size(size)]
    assert found[0] == (
        "ValueError: 200 ratings repeat a user and an item given before; pass duplicates='last', duplicates='latest' "
        "(by time) or duplicates='mean'; for clicks, which are added up, pass feedback='implicit'"
    )
    assert all(one.startswith("Elsewhere") for one in found[1:])


def test_a_process_without_users_takes_part(by_size: Any) -> None:
    rows = [of["few rows"].values.shape[0] for of in by_size(3)]
    assert sorted(rows) == [0, 1, 1]


def test_the_largest_parts_are_dealt_first() -> None:
    counts = np.array([5, 0, 9, 4, 4])
    owner = dealing.owners(counts, 2)
    assert np.bincount(owner, counts, 2).tolist() == [13, 9]
    assert owner[[2, 0, 3, 4]].tolist() == [0, 1, 1, 0]


def test_buckets_go_together_while_no_process_sends_more_than_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dealing, "ROUND", 10)
    spans = dealing.spans(np.array([[4, 6, 1, 25, 0], [1, 1, 9, 0, 3]]))
    assert [(list(span.buckets), span.n_rounds) for span in spans] == [([0, 1], 1), ([2], 1), ([3], 3), ([4], 1)]


def test_many_rounds_give_the_same(by_size: Any, cases: dict[str, Case], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dealing, "ROUND", 7)
    for name in ("latest", "text"):
        few = dealt(ALONE, {name: cases[name]})[name]
        assert isinstance(few, Found)
        assert (few.values != by_size(1)[0][name].values).nnz == 0
        assert few.users.tolist() == by_size(1)[0][name].users.tolist()


def test_a_stop_leaves_nothing_behind(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def batches() -> Any:
        yield from pa.table({name: TABLE[name] for name in ("user", "item", "rating")}).to_batches()
        seen.append(os.listdir(tmp_path))
        raise KeyboardInterrupt

    n_open = len(os.listdir("/proc/self/fd"))
    with pytest.raises(KeyboardInterrupt):
        dealing.deal(batches(), COLUMNS, "explicit", "error", ALONE, tmp_path)
    assert len(os.listdir("/proc/self/fd")) == n_open
    assert os.listdir(tmp_path) == []
    assert seen == [[]]  # kill -9 would leave none either


def test_columns_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="the column names are 'id', 'id', 'rating'; give each its own column"):
        dealing.deal([], Columns("id", "id", "rating"), "explicit", "error", ALONE)


def test_a_column_of_times_belongs_to_the_latest() -> None:
    with pytest.raises(ValueError, match="time is 'timestamp' and duplicates 'last', which uses no times"):
        dealing.deal([], TIMED, "explicit", "last", ALONE)


def test_days_are_ids(tmp_path: Path) -> None:
    days = pa.array([datetime.date(2020, 1, 2), datetime.date(2020, 1, 1)])
    source = {0: [{"user": days, "item": ["a", "b"], "rating": [1.0, 2.0]}]}
    found = dealt(ALONE, {"days": Case(source)})["days"]
    assert isinstance(found, Found)
    assert sorted(found.users) == ["2020-01-01", "2020-01-02"]
