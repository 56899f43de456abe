"""Whatever table the ratings come in and whatever the ids are, the same entries; whatever is wrong, a sentence."""

import functools
import io
import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from dmc.recommend.tables.table import Table

USERS, ITEMS, RATINGS = ["ann", "bob", "ann"], [10, 7, 7], [4.0, 2.5, 5.0]
COLUMNS = {"user": USERS, "item": ITEMS, "rating": RATINGS}
FRAMES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table, "dict": dict}


@pytest.fixture
def write(tmp_path):
    def write(content: str | bytes):
        path = tmp_path / "ratings.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def assert_expected(table: Table) -> None:
    assert len(table) == 3
    assert table.ids("user").tolist() == USERS
    assert table.ids("item").tolist() == ITEMS
    assert table.ids("item").dtype == np.int64
    assert table.numbers("rating").tolist() == RATINGS
    assert table.numbers("rating").dtype == np.float32


# --- every source gives the same


@pytest.mark.parametrize("kind", FRAMES)
def test_tables_of_every_kind(kind):
    assert_expected(Table.open(FRAMES[kind](COLUMNS)))


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(COLUMNS, index=[5, 5, 9]),
        pd.DataFrame(COLUMNS).convert_dtypes(),
        pd.DataFrame(COLUMNS).astype({"user": "category", "item": "float64", "rating": "object"}),
        pd.DataFrame(COLUMNS).astype({"user": object, "item": object}),
        pl.DataFrame(COLUMNS, schema_overrides={"user": pl.Categorical, "item": pl.Int16}),
        pa.table({**COLUMNS, "user": pa.chunked_array([["ann"], ["bob", "ann"]]).dictionary_encode()}),
        {"user": np.array(USERS), "item": tuple(ITEMS), "rating": np.array(RATINGS, np.float16), "x": [None] * 3},
        {"user": pd.Series(USERS), "item": pl.Series(ITEMS), "rating": [b"4", b"2.5", b"5"]},
    ],
)
def test_columns_of_every_dtype(frame):
    assert_expected(Table.open(frame))


@pytest.mark.parametrize(
    "text",
    [
        "user,item,rating\nann,10,4\nbob,7,2.5\nann,7,5\n",
        "user,item,rating\nann,10,4\nbob,7,2.5\nann,7,5",  # no line end at the end of the file
        "rating,when,item,user\n4,x,10,ann\n2.5,x,7,bob\n5,x,7,ann\n",
        "ann,10,4\nbob,7,2.5\nann,7,5\n",
        "ann\t10\t4\t881250949\nbob\t7\t2.5\t881250949\nann\t7\t5\t881250949\n",
        "ann::10::4::978300760\nbob::7::2.5::978300760\nann::7::5::978300760\n",
        "user::item::rating\nann::10::4\nbob::7::2.5\nann::7::5\n",
        "user;item;rating\nann;10;4\nbob;7;2.5\nann;7;5\n",
        "ann|10|4\nbob|7|2.5\nann|7|5\n",
        "ann 10 4\nbob 7 2.5\nann 7 5\n",
        "user,item,rating\n\nann,10,4\n\n\nbob,7,2.5\nann,7,5\n\n",
        "\nuser,item,rating\nann,10,4\nbob,7,2.5\nann,7,5\n",
        "user, item, rating\nann, 10, 4\nbob, 7, 2.5\nann, 7, 5\n",
        '"user","item","rating"\n"ann","10","4"\n"bob","7","2.5"\n"ann","7","5"\n',
        "user,item,rating,title\nann,10,4,\nbob,7,2.5,x\nann,7,5,\n",
        "title,user,item,rating\n,ann,10,4\nx,bob,7,2.5\n,ann,7,5\n",
        'user,item,rating,title\nann,10,4,"Good, the Bad, the Ugly"\nbob,7,2.5,"two\nlines"\nann,7,5,"a ""b"" c"\n',
    ],
    ids=[
        "header",
        "no last line end",
        "other order",
        "headless",
        "tsv",
        "::",
        ":: header",
        ";",
        "|",
        "space",
        "blank lines",
        "blank first line",
        "spaces after commas",
        "quotes",
        "empty field of no matter",
        "empty first field of no matter",
        "quoted commas and lines",
    ],
)
@pytest.mark.parametrize("bom", ["", "\ufeff"], ids=["", "bom"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_files(text, bom, end, write):
    assert_expected(Table.open(write((bom + text).replace("\n", end))))
    assert_expected(Table.open(str(write((bom + text).replace("\n", end)))))


def test_columns_by_other_names(write):
    for source in (write("u,m,stars\nann,10,4\n"), {"u": ["ann"], "m": [10], "stars": [4]}):
        table = Table.open(source, ("u", "m", "stars"))
        assert table.ids("u").tolist() == ["ann"]
        assert table.ids("m").tolist() == [10]
        assert table.numbers("stars").tolist() == [4]


def test_a_file_of_pairs(write):
    assert Table.open(write("ann,10\nbob,7\n"), ("user", "item")).ids("item").tolist() == [10, 7]
    # Whose ratings are asked for may leave them empty.
    assert Table.open(write("user,item,rating\nann,10,\nbob,7,\n"), ("user", "item")).ids("item").tolist() == [10, 7]


def test_ids_that_are_not_utf8_stay_apart(write):
    ids = Table.open(write("user,item,rating\nAm\xe9lie,1,2\nAm\xe8lie,1,3\n".encode("latin-1"))).ids("user")
    assert len(set(ids.tolist())) == 2


def test_megabytes_of_lines(write):
    n = 30_000
    table = Table.open(write("".join(f"{i % 700}\t{i % 999}\t{i % 5 + 1}\t0\n" for i in range(n))))
    assert len(table) == n
    np.testing.assert_array_equal(table.ids("user"), np.arange(n) % 700)
    np.testing.assert_array_equal(table.numbers("rating"), np.arange(n) % 5 + 1)


# --- what is read once: lazy frames, pieces, streams

PARTS = [{name: values[part] for name, values in COLUMNS.items()} for part in (slice(0, 1), slice(1, 3))]
ONCE = {
    "polars lazy": lambda: pl.LazyFrame(COLUMNS),
    "arrow table": lambda: pa.table(COLUMNS),
    "arrow batch": lambda: pa.table(COLUMNS).to_batches()[0],
    "arrow reader": lambda: pa.table(COLUMNS).to_reader(max_chunksize=2),
    "pandas pieces": lambda: (pd.DataFrame(part) for part in PARTS),
    "polars pieces": lambda: iter([pl.DataFrame(part) for part in PARTS]),
    "lazy pieces": lambda: iter([pl.LazyFrame(part) for part in PARTS]),
    "arrow pieces": lambda: iter([batch for part in PARTS for batch in pa.table(part).to_batches()]),
    "mappings": lambda: (part for part in PARTS),
}


@pytest.mark.parametrize("kind", ONCE)
@pytest.mark.parametrize("only", [None, ("user", "item", "rating")])
def test_what_is_read_once(kind, only):
    table = Table.open(ONCE[kind](), only=only)
    assert_expected(table)
    more = Table.open(table.with_column("prediction", np.ones(3)))
    assert more.names == [*COLUMNS, "prediction"]


@pytest.mark.parametrize("read", [pd.read_csv, functools.partial(pd.read_json, lines=True)], ids=["csv", "json"])
def test_the_pieces_that_pandas_reads(read):
    """Its readers have `read`, as streams do, and give frames."""
    text = pd.DataFrame(COLUMNS)
    text = text.to_csv(index=False) if read is pd.read_csv else text.to_json(orient="records", lines=True)
    with read(io.StringIO(text), chunksize=2) as pieces:
        assert_expected(Table.open(pieces))


def test_a_relation_of_duckdb():
    duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed; run: pip install duckdb")
    connection = duckdb.connect()
    connection.register("given", pa.table(COLUMNS | {"note": ["x"] * 3}))
    relation = connection.sql("select * from given")
    assert_expected(Table.open(relation))
    assert Table.open(relation, only=COLUMNS).column("user").tolist() == USERS


def test_of_a_lazy_frame_only_what_is_asked_for_is_made():
    def never(values: pl.Series) -> pl.Series:
        raise AssertionError("the note was made")

    lazy = pl.LazyFrame(COLUMNS).with_columns(note=pl.col("item").map_batches(never, return_dtype=pl.Int64))
    assert_expected(Table.open(lazy, only=COLUMNS))


def test_pieces_may_be_files_of_another_order():
    swapped = {name: PARTS[1][name] for name in reversed(COLUMNS)}
    assert_expected(Table.open(iter([PARTS[0], swapped])))
    assert_expected(Table.open(iter([pd.DataFrame(PARTS[0]), pd.DataFrame(swapped)])))


@pytest.mark.parametrize(
    ("pieces", "error", "message"),
    [
        ([], ValueError, "the iterator yields no table, or is exhausted; create it again"),
        ([5], TypeError, "the ratings are a int; give a data frame"),
        (
            [{"user": [1]}, {"item": [1]}],
            ValueError,
            "piece 2 of the table has the columns 'item', the first one 'user'",
        ),
    ],
)
def test_pieces_that_are_none(pieces, error, message):
    with pytest.raises(error, match=re.escape(message)):
        Table.open(iter(pieces))


# --- empty ids


@pytest.mark.parametrize("kind", [*FRAMES, "jsonl", "parquet"])
def test_empty_ids_are_refused(kind, tmp_path):
    """As in text, where a field is empty; else all whose id was not known would be one user."""
    columns, path = {"user": ["a", "", "b", ""], "item": [1, 2, 3, 4]}, tmp_path / f"gap.{kind}"
    if kind == "jsonl":
        pd.DataFrame(columns).to_json(path, orient="records", lines=True)
    elif kind == "parquet":
        pq.write_table(pa.table(columns), path)
    table = Table.open(path if kind in ("jsonl", "parquet") else FRAMES[kind](columns))
    for ask in (table.ids, table.learn):
        with pytest.raises(ValueError, match=r"column 'user' holds 2 empty ids, the first in (row 1|line 2)[^;]*; d"):
            ask("user")
        ask("item")


# --- times


@pytest.mark.parametrize(
    ("values", "order"),
    [
        ([3, 1, 2], [1, 2, 0]),
        (["3.5", "10", "2"], [2, 0, 1]),
        (np.array(["2024-03-01", "2023-01-01", "2024-01-01"], "M8[s]"), [1, 2, 0]),
        (["2024-03-01", "2024-03-01T00:00:00+01:00", "2024-02-01 12:00"], [2, 1, 0]),
    ],
)
def test_times_can_be_sorted(values, order):
    assert np.argsort(Table.open({"when": values}).times("when")).tolist() == order


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, np.nan], "column 'when' holds 1 missing time, the first in row 1; drop those rows"),
        (np.array(["NaT", "2024-01-01"], "M8[s]"), "column 'when' holds 1 missing time, the first in row 0"),
        (
            ["2024-01-01", "soon"],
            "column 'when' holds 'soon' in row 1, which is not a time; give numbers, dates or ISO",
        ),
        (["2024-01-01", ""], "column 'when' holds 1 missing time, the first in row 1; drop those rows"),
        (["7", "", "8"], "column 'when' holds 1 missing time, the first in row 1; drop those rows"),
        (["2024-01-01", np.nan], "column 'when' holds 1 missing time, the first in row 1; drop those rows"),
        (["7", "soon"], "column 'when' holds 'soon' in row 1, which is not a number, unlike others; give only numbers"),
    ],
)
def test_times_that_are_none(values, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Table.open({"when": values}).times("when")


# --- what is refused


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty; give one rating a line"),
        ("\n\n", "is empty; give one rating a line"),
        ("user,item,rating\n", "has a header and no rating"),
        ("user,item,rating\nann,10,4\nbob,7", "line 3 of PATH has 2 fields instead of 3 (separated by ,)"),
        ("user,item,rating\nann,10,4\nbob,", "line 3 of PATH has"),
        ("user,item,rating\nann,10,4\nb", "line 3 of PATH has 1 field instead of 3"),
        ("user,item,rating\nann,10,4\nbob,7,", "line 3 of PATH"),
        ("1\t2\t3\t881250949\n1\t3\t4", "line 2 of PATH has 3 fields instead of 4 (separated by tab)"),
        ("1::2::3::881250949\n1::3:", "line 2 of PATH has 2 fields instead of 4"),
        ("user,item,rating\n\n\nann,10,4\nbob,7\nann,7,5\n", "line 5 of PATH"),
        ('user,item,rating,title\nann,10,4,"x"\nbob,7,2,"y\nann,7,5,z\n', "PATH"),  # a quote that is never closed
        ('user,item,rating,title\nann,10,4,"x"\nbob,7,2,"y', "PATH"),
        ("user,item,rating\nann,10,4,5\n", "line 2 of PATH has 4 fields instead of 3"),
        ("user,user,item,rating\n1,2,3,4\n", "'user'"),  # which of the two?
        ("when,where,why,user,item,rating\n1,2,3,,10,4\n", "line 2 of PATH"),
        (bytes(range(256)) * 20, "is not text"),
        ("user,item,rating\n1,2,3\n".encode("utf-16"), "PATH is UTF-16; recode it to UTF-8, as with iconv"),
        (b"\x1f\x8b\x08\x00" + bytes(range(255, 0, -1)) * 9, "is packed by gzip"),
    ],
    ids=[
        "empty",
        "blank",
        "header only",
        "cut after 2 fields",
        "cut after a comma",
        "cut in the first field",
        "cut before the rating",
        "cut tsv",
        "cut ::",
        "line number after blank lines",
        "open quote",
        "cut in quotes",
        "a field too many",
        "a name twice",
        "no id",
        "binary",
        "utf-16",
        "gzip",
    ],
)
def test_files_that_cannot_be_read(content, message, write):
    path = write(content)
    with pytest.raises(ValueError, match=re.escape(message.replace("PATH", str(path)))) as caught:
        Table.open(path)
    assert str(path) in str(caught.value)


def test_cut_anywhere_a_file_is_refused_or_whole_lines_are_read(write):
    """Of a file cut off at any byte, the lines read are lines of the whole, but for the end of a last rating."""
    whole = 'user,item,rating\nann,10,4.25\n"bob, jr",7,2.5\nann,7,5.0\n'
    lines = [["ann", "10", 4.25], ["bob, jr", "7", 2.5], ["ann", "7", 5.0]]
    read = 0
    for end in range(len(whole) + 1):
        try:
            table = Table.open(write(whole[:end]))
            found = list(zip(table.column("user"), table.column("item"), table.numbers("rating"), strict=True))
        except (ValueError, TypeError):
            continue
        read += 1
        complete = whole[:end].count("\n") - 1
        assert [list(line) for line in found[:complete]] == lines[:complete]
        assert len(found) - complete <= 1
    assert read > 3


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*nope.csv; check the path"):
        Table.open(tmp_path / "nope.csv")
    with pytest.raises(IsADirectoryError, match="is a folder; give a file, or a folder of Parquet files"):
        Table.open(tmp_path)


@pytest.mark.parametrize("source", [None, 5, [(1, 2, 3)], np.ones((3, 3)), pd.Series([1])])
def test_no_table(source):
    with pytest.raises(TypeError, match=f"the ratings are a {type(source).__name__}; give a data frame"):
        Table.open(source)


def test_a_column_asked_for_twice_is_told():
    with pytest.raises(ValueError, match="the column names are 'item', 'item', 'rating'; give each its own"):
        Table.open(COLUMNS, ("item", "item", "rating"))


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame([[1, 2, 3]], columns=["user", "item", "user"]),
        pa.table([[1], [2], [3]], names=["user", "item", "user"]),
    ],
    ids=["pandas", "pyarrow"],
)
def test_frames_with_a_name_twice_are_told_in_one_sentence(frame):
    with pytest.raises(ValueError, match=r"^the table has 2 columns named 'user'; rename all but one$"):
        Table.open(frame)


@pytest.mark.parametrize("kind", FRAMES)
def test_a_missing_column_names_those_there_are(kind):
    table = Table.open(FRAMES[kind]({"userId": [1], "movie": [2]}))
    with pytest.raises(ValueError, match="the table has no column 'user', only 'userId', 'movie'; name the column"):
        table.column("user")


def test_a_missing_column_of_a_file(write):
    path = write("userId,movieId,score\n1,2,3\n")
    with pytest.raises(ValueError, match=r"the file .*ratings.txt has no column 'user', only 'userId', 'movieId', 'sc"):
        Table.open(path).column("user")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user": [1, 2], "item": [1]}, "user has 2, item has 1"),
        ({"user": "ann"}, "user has shape (); give a one-dimensional array"),
        ({"user": [[1, 2], [3, 4]]}, "user has shape (2, 2)"),
        ({"user": [[1, 2], [3]]}, "user"),
    ],
)
def test_mappings_that_are_no_table(columns, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Table.open(columns)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (["good", "2"], TypeError, "column 'rating' holds 'good' in row 0, which is not a number"),
        (["", "2"], TypeError, "column 'rating' holds ''"),
        ([1, np.nan, np.nan], ValueError, "column 'rating' holds 2 missing or infinite ratings, the first in row 1"),
        ([1, None], ValueError, "column 'rating' holds 1 missing or infinite rating, the first in row 1; drop"),
        ([np.inf, 1], ValueError, "column 'rating' holds 1 missing or infinite rating, the first in row 0"),
        ([1.0, 1e39], ValueError, "column 'rating' holds 1 "),  # beyond float32
        (np.array(["2020-01-01"], "M8[D]"), TypeError, "column 'rating' has dtype datetime64[D]; give real numbers"),
        ([1j], TypeError, "column 'rating' has dtype complex128"),
        ([100000001, 100000005], ValueError, "(rounding moves them by up to 3); take 100000001 off all of them"),
        ([1e-50, 2e-50], ValueError, "ratings around 1.5e-50 that differ by less than float32 resolves there"),
    ],
)
def test_ratings_that_are_none(values, error, message):
    with pytest.raises(error, match=re.escape(message)):
        Table.open({"rating": values}).numbers("rating")


@pytest.mark.parametrize("values", [[0.1] * 9, [0.3, 0.1 + 0.2], [1, 10**9], [4e6 + 0.5, 4e6 + 1], []])
def test_ratings_that_float32_tells_apart(values):
    np.testing.assert_allclose(Table.open({"rating": np.array(values)}).numbers("rating"), values, rtol=1e-7)


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow"])
def test_missing_ratings_of_frames(kind):
    with pytest.raises(ValueError, match="column 'rating' holds 1 missing or infinite rating, the first in row 1"):
        Table.open(FRAMES[kind]({"rating": [1, None, 3]})).numbers("rating")


# --- ids


@pytest.mark.parametrize("ids", [[1, None, 3], ["a", None, "c"]], ids=["numbers", "text"])
@pytest.mark.parametrize(
    "frame", [pd.DataFrame, lambda columns: pd.DataFrame(columns).convert_dtypes(), pl.DataFrame, pa.table]
)
def test_missing_ids_of_frames(frame, ids):
    with pytest.raises(ValueError, match="column 'user' holds 1 missing id, the first in row 1"):
        Table.open(frame({"user": ids})).ids("user")


# --- and back


@pytest.mark.parametrize("kind", FRAMES)
def test_take_gives_lines_in_the_tables_own_kind(kind):
    source = FRAMES[kind](COLUMNS)
    result = Table.open(source).take(np.array([2, 0]))
    assert type(result) is type(source)
    taken = Table.open(result)
    assert taken.names == list(COLUMNS)
    assert [taken.column(name).tolist() for name in COLUMNS] == [["ann", "ann"], [7, 10], [5.0, 4.0]]


@pytest.mark.parametrize("kind", FRAMES)
def test_with_column_gives_the_same_kind_back(kind):
    source = FRAMES[kind](COLUMNS)
    prediction = np.array([1, 2, 3], np.float32)
    result = Table.open(source).with_column("prediction", prediction)
    assert type(result) is type(source)
    assert list(result if kind == "dict" else Table.open(result).names) == [*COLUMNS, "prediction"]
    again = Table.open(result)
    assert_expected(again)
    np.testing.assert_array_equal(again.column("prediction"), prediction)
    assert again.column("prediction").dtype == np.float32
    assert "prediction" not in Table.open(source).names  # what was given is not changed


def test_with_column_of_a_file_gives_arrays(write):
    result = Table.open(write("1\t2\t3\n")).with_column("prediction", np.ones(1))
    assert {name: values.tolist() for name, values in result.items()} == {
        "user": ["1"],
        "item": ["2"],
        "rating": ["3"],
        "prediction": [1],
    }


@pytest.mark.parametrize("index", [[10, 20, 30], [1, 1, 0], list("xyz")])
def test_with_column_keeps_a_pandas_index(index):
    frame = pd.DataFrame(COLUMNS, index=index)
    result = Table.open(frame).with_column("prediction", np.array([1.0, 2.0, 3.0]))
    assert list(result.index) == index
    assert result["prediction"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("kind", FRAMES)
def test_like(kind):
    source = FRAMES[kind](COLUMNS)
    result = Table.open(source).like({"a": np.array(["x", "y"]), "b": np.array([1, 2])})
    assert type(result) is type(source)
    assert Table.open(result).column("a").tolist() == ["x", "y"]
    assert Table.open(result).column("b").tolist() == [1, 2]


def test_a_table_without_any_column():
    with pytest.raises(ValueError, match="the table has no column 'user', nor any other; name the column"):
        Table.open({}).ids("user")


# --- files larger than memory

FIT_IN_LITTLE_ROOM = """
import resource, sys, dmc

def fit(path):
    return dmc.Recommender(1).fit(path)

fit(sys.argv[1])  # loads what a fit loads
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize")) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + (int(sys.argv[3]) << 20),) * 2)
print(len(fit(sys.argv[2]).users_))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the address space is told and limited as Linux does")
def test_a_file_is_fitted_in_little_more_room_than_its_entries_take(tmp_path, rng):
    """1,400,000 ratings, 40 MiB of text, which take 22 MiB sorted by row and by column, and took 320 to fit."""
    write = functools.partial(pa_csv.write_csv, write_options=pa_csv.WriteOptions(quoting_style="none"))
    pairs = rng.choice(20_000 * 1_000, 1_400_000, replace=False)
    columns = {"user": 9_000_000 + 7 * (pairs // 1_000), "item": 1_000_000 + 13 * (pairs % 1_000)}
    columns |= {"rating": rng.integers(1, 11, len(pairs)) / 2, "timestamp": 10**9 + pairs}
    write(pa.table(columns), tmp_path / "large.csv")
    write(pa.table({name: values[:2000] for name, values in columns.items()}), tmp_path / "small.csv")
    command = [sys.executable, "-W", "ignore", "-c", FIT_IN_LITTLE_ROOM, tmp_path / "small.csv", tmp_path / "large.csv"]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # each takes address space
    run = subprocess.run([*command, "110"], capture_output=True, text=True, env=os.environ | threads)
    assert run.stdout.split() == ["20000"], run.stderr


def test_a_list_of_frames_is_one_table():
    pieces = [pd.DataFrame({"user": [1], "item": ["a"]}), pd.DataFrame({"user": [2], "item": ["b"]})]
    for given in (pieces, [dict(piece) for piece in pieces], tuple(pieces)):
        assert Table.open(given).ids("item").tolist() == ["a", "b"]
    for strange in ([], [1, 2], [{"user": 1, "item": "a"}], ["user,item"]):
        with pytest.raises((TypeError, ValueError), match=r"give a data frame|yields no table"):
            Table.open(strange)
