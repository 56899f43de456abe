"""Data that cannot be dealt, and the sentence that is told of each; {} stands for the folder of all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from dealing_cases import COLUMNS, Case, ratings, write

TABLE = {name: ratings()[name] for name in ("user", "item", "rating")}
N = len(TABLE["user"])
WRONG = np.arange(N) % 200 == 150  # rows 150, 350 and 550, in several files
WEIGHTED, TIMED = COLUMNS._replace(weight="weight"), COLUMNS._replace(time="time")
ONE = {"user": [1], "item": [2], "rating": [3.0]}


def bad_data(folder: Path) -> dict[str, tuple[Case, str]]:
    """Each with its sentence, from its beginning."""
    cases = {**bad_files(folder), **bad_types(folder), **bad_ids(folder), **bad_numbers(folder)}
    return {name: (case, SENTENCES[name].replace("{}", str(folder))) for name, case in cases.items()}


def shards(folder: Path, *tables: dict[str, Any]) -> str:
    folder.mkdir()
    for i, table in enumerate(tables):
        pq.write_table(pa.table(table), folder / f"{i}.parquet")
    return str(folder)


def bad_files(folder: Path) -> dict[str, Case]:
    (folder / "empty").mkdir()
    torn = Path(shards(folder / "torn", ONE, ONE)) / "1.parquet"
    torn.write_bytes(torn.read_bytes()[:-20])
    spoilt = Path(write(folder / "spoilt", TABLE, (), compression="zstd")) / "part-0.parquet"
    whole = bytearray(spoilt.read_bytes())
    whole[40:400] = bytes(360)
    spoilt.write_bytes(whole)
    return {
        "no such folder": Case(folder / "gone"),
        "no path": Case([]),
        "an empty folder": Case(folder / "empty"),
        "files without rows": Case(shards(folder / "none", {name: column[:0] for name, column in TABLE.items()})),
        "no batches": Case({}),
        "a torn file": Case(torn.parent),
        "a spoilt file": Case(spoilt.parent),
        "no scratch": Case({0: [ONE]}, scratch=str(folder / "none such")),
    }


def bad_types(folder: Path) -> dict[str, Case]:
    return {
        "a shard lacks a column": Case(shards(folder / "lacking", ONE, {"user": [1], "rating": [2]})),
        "all lack a column": Case(shards(folder / "all lacking", {"user": [1], "movie": [2]})),
        "no rating": Case(shards(folder / "no rating", {"user": [1], "item": [2]})),
        "mixed ids": Case(shards(folder / "mixed", ONE, ONE, {**ONE, "user": ["x"]})),
        "mixed ratings": Case(shards(folder / "mixed ratings", ONE, {**ONE, "rating": ["3"]})),
        "mixed batches": Case({0: [ONE], 1: [{**ONE, "item": [2.5]}]}),
        "mixed times": Case({0: [timed(["7"]), timed(["2020-01-01"])]}, TIMED, duplicates="latest"),
        "ratings in text": Case(shards(folder / "text", {**ONE, "rating": ["3"]})),
        "nested ids": Case({0: [{**ONE, "item": [{"id": 2}]}]}),
        "repeats": Case({0: [ONE, ONE]}),
    }


def timed(times: list[Any]) -> dict[str, Any]:
    return {**ONE, "time": times}


def changed(folder: Path, name: str, values: Any, *args: Any, **kwargs: Any) -> Case:
    """The table with wrong values in three rows of a column."""
    column = TABLE.get(name, np.ones(N)).tolist()
    column = [values if wrong else right for right, wrong in zip(column, WRONG, strict=True)]
    return Case(write(folder, {**TABLE, name: column}), *args, **kwargs)


def bad_ids(folder: Path) -> dict[str, Case]:
    text, gaps = TABLE["item"].astype(str), np.where(WRONG, None, TABLE["item"].astype(str))
    return {
        "missing ids": changed(folder / "missing", "user", None),
        "missing real ids": Case(write(folder / "missing real", {**TABLE, "item": np.where(WRONG, np.nan, 7)})),
        "missing text ids": Case(write(folder / "missing text", {**TABLE, "item": gaps.tolist()})),
        "infinite ids": Case(write(folder / "infinite", {**TABLE, "item": np.where(WRONG, np.inf, 7)})),
        "empty ids": Case(write(folder / "empty ids", {**TABLE, "item": np.where(WRONG, "", text).tolist()})),
    }


def bad_numbers(folder: Path) -> dict[str, Case]:
    moved = {**TABLE, "rating": 1e9 + TABLE["rating"]}
    return {
        "missing ratings": changed(folder / "missing ratings", "rating", None),
        "ratings too large": changed(folder / "large", "rating", 1e300),
        "ratings rounded": Case(write(folder / "rounded", moved)),
        "weights below 0": changed(folder / "weights", "weight", -1.5, WEIGHTED),
        "infinite weights": changed(folder / "infinite weights", "weight", np.inf, WEIGHTED),
        "counts of 0": changed(folder / "counts", "rating", 0.0, feedback="implicit"),
        "missing times": changed(folder / "times", "time", None, TIMED, duplicates="latest"),
    }


SENTENCES = {
    "no such folder": "FileNotFoundError: there is no file or folder {}/gone; check the path, which all processes have",
    "no path": "ValueError: there is no path of data; give a Parquet file or a folder of such files",
    "an empty folder": "FileNotFoundError: the folder {}/empty holds no Parquet file (*.parquet); check the path",
    "files without rows": "ValueError: the table holds no rating; give at least one",
    "no batches": "ValueError: the table holds no rating; give at least one",
    "a torn file": "ValueError: {}/torn/1.parquet cannot be read as Parquet (",
    "a spoilt file": "ValueError: {}/spoilt/part-0.parquet cannot be read as Parquet (",
    "no scratch": "OSError: rows cannot wait in {}/none such (No such file or directory); name a folder on a disk with",
    "a shard lacks a column": "ValueError: {}/lacking/1.parquet has no column 'item', which {}/lacking/0.parquet has; "
    "write all files with the same columns",
    "all lack a column": "ValueError: {}/all lacking/0.parquet has no column 'item', only 'user', 'movie'; name "
    "the column, as in user='userId', or rename it",
    "no rating": "ValueError: a batch of {}/no rating/0.parquet has no column 'rating' (its columns are 'user', "
    "'item'); name the column",
    "mixed ids": "ValueError: column 'user' holds whole numbers in {}/mixed/0.parquet and text in "
    "{}/mixed/2.parquet; write all files with one type",
    "mixed ratings": "ValueError: column 'rating' holds numbers in {}/mixed ratings/0.parquet and text in",
    "mixed batches": "ValueError: column 'item' holds whole numbers in the rows of process 0 and real numbers in those "
    "of process 1; give all in one type",
    "mixed times": "ValueError: column 'time' holds numbers in text in the rows of process 0 and dates in text in",
    "ratings in text": "TypeError: column 'rating' of {}/text/0.parquet holds text, where numbers belong; convert it",
    "nested ids": "TypeError: column 'item' of process 0 holds struct<id: int64>, where each row needs a single value;",
    "repeats": "ValueError: 1 rating repeats a user and an item given before; pass",
    "missing ids": "ValueError: column 'user' holds 3 missing ids, the first in row 30 of "
    "{}/missing/part-2.parquet; drop those rows",
    "missing real ids": "ValueError: column 'item' holds 3 missing ids, the first in row 30 of",
    "missing text ids": "ValueError: column 'item' holds 3 missing ids, the first in row 30 of",
    "infinite ids": "ValueError: column 'item' holds 3 infinite ids, the first in row 30 of",
    "empty ids": "ValueError: column 'item' holds 3 empty ids, the first in row 30 of",
    "missing ratings": "ValueError: column 'rating' holds 3 missing or infinite ratings, the first in row 30 of",
    "ratings too large": "ValueError: column 'rating' holds 3 missing or infinite ratings, the first in row 30 of",
    "ratings rounded": "ValueError: column 'rating' holds ratings around 1e+09 that differ by less than float32",
    "weights below 0": "ValueError: column 'weight' holds 3 weights not above 0, the first in row 30 of "
    "{}/weights/part-2.parquet; drop the rows that should not count",
    "infinite weights": "ValueError: column 'weight' holds 3 missing or infinite weights, the first in row 30 of",
    "counts of 0": "ValueError: column 'rating' holds 3 counts of 0, the first in row 30 of {}/counts/part-2.parquet; "
    "leave out",
    "missing times": "ValueError: column 'time' holds 3 missing times, the first in row 30 of",
}
