"""Files of every format give the same ratings; of what cannot be read, the line is named."""

import csv
import gzip
import io
import json
import os
import re
import sys
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings, strategies as st

from dmc import Recommender
from dmc.recommend.tables import text_source
from dmc.recommend.tables.delimited import ROWS, Fields
from dmc.recommend.tables.packed_column import WIDE
from dmc.recommend.tables.table import Table

COLUMNS = {"user": ["ann", "bob", "ann"], "item": [10, 7, 7], "rating": [4.0, 2.5, 5.0]}
LINES_OF_TEXT = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]
CSV = "user,item,rating\nann,10,4\nbob,7,2.5\nann,7,5\n"
JSON = "".join(json.dumps(line) + "\n" for line in LINES_OF_TEXT)


def assert_expected(path) -> None:
    table = Table.open(path)
    assert table.names == list(COLUMNS)
    assert table.ids("user").tolist() == COLUMNS["user"]
    assert table.ids("item").tolist() == COLUMNS["item"]
    assert table.ids("item").dtype == np.int64
    assert table.numbers("rating").tolist() == COLUMNS["rating"]
    assert set(table.with_column("prediction", np.ones(3))) == {*COLUMNS, "prediction"}


@pytest.mark.parametrize("name", ["r.parquet", "r.PQ", "r.jsonl", "r.ndjson", "r.json", "r.JSON", "r.csv", "r"])
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_formats_by_the_name(name, packed, tmp_path):
    path = tmp_path / (name + packed)
    if name.lower().endswith(("parquet", "pq")):
        if packed:
            pytest.skip("Parquet is packed inside")
        pq.write_table(pa.table(COLUMNS), path)
    else:
        content = (JSON if "." in name and "csv" not in name else CSV).encode()
        path.write_bytes(gzip.compress(content) if packed else content)
    assert_expected(path)
    assert_expected(str(path))


def test_a_folder_of_parquet(tmp_path):
    """As Spark writes it."""
    folder = tmp_path / "ratings.parquet"
    folder.mkdir()
    table = pa.table(COLUMNS)
    pq.write_table(table.slice(0, 1), folder / "part-0.parquet")
    pq.write_table(table.slice(1), folder / "part-1.parquet")
    assert_expected(folder)


def test_a_fit_is_the_same_from_every_format(tmp_path, rng):
    u, i = np.nonzero(rng.random((30, 20)) < 0.6)
    columns = {"user": u, "item": i, "rating": 1.0 + (u * i) % 5}
    pq.write_table(pa.table(columns), tmp_path / "r.parquet")
    rows = list(zip(*(values.tolist() for values in columns.values()), strict=True))
    (tmp_path / "r.csv").write_text("user,item,rating\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows))
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(dict(zip(columns, r, strict=True))) + "\n" for r in rows))
    fits = [Recommender().fit(tmp_path / f"r.{end}") for end in ("csv", "parquet", "jsonl")]
    for other in fits[1:]:
        np.testing.assert_array_equal(fits[0].predict(columns)["prediction"], other.predict(columns)["prediction"])


# --- Parquet


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    pq.write_table(pa.table(COLUMNS), tmp_path / "r.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r"r.parquet is Parquet, which needs pyarrow; run: pip install pyarrow"):
        Table.open(tmp_path / "r.parquet")


def test_parquet_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*nope.parquet; check the path"):
        Table.open(tmp_path / "nope.parquet")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(ValueError, match=r"^.*cut.parquet cannot be read as Parquet \(.*\); write it again$"):
        Table.open(tmp_path / "cut.parquet")
    pq.write_table(pa.table([[1], [2]], names=["user", "user"]), tmp_path / "twice.parquet")
    with pytest.raises(ValueError, match=r"^[^\n]*twice.parquet[^\n]*$"):
        Table.open(tmp_path / "twice.parquet")


# --- JSON lines


@pytest.fixture
def opened(tmp_path):
    def open_(*lines):
        (tmp_path / "r.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogateescape")
        return Table.open(tmp_path / "r.jsonl")

    return open_


def test_json_keeps_huge_ids_and_the_difference_of_kinds(opened):
    huge = [2**53 + 1, 2**63, 2**64, -1, 2**53]
    assert opened(*(f'{{"user": {i}}}' for i in huge)).ids("user").tolist() == [str(i) for i in huge]
    assert opened('{"user": 7}', '{"user": "7"}', '{"user": 7.0}', '{"user": "x"}').ids("user").tolist() == [*"777x"]
    assert opened('{"user": 9007199254740993}', '{"user": 0.5}').ids("user").tolist() == ["9007199254740993", "0.5"]
    assert opened('{"user": "Am\\u00e9lie"}', '{"user": "日本"}').ids("user").tolist() == ["Amélie", "日本"]


def test_json_names_may_come_late_nest_and_be_missing(opened):
    table = opened('{"user": 1}', "", '{"item": 2, "user": 3, "more": {"a": [1]}}')
    assert table.names == ["user", "item", "more"]
    assert table.column("more").tolist() == [None, {"a": [1]}]
    with pytest.raises(ValueError, match=r"column 'item' holds 1 missing id, the first in line 1 of [^;]*r.jsonl; "):
        table.ids("item")
    late = opened(*['{"user": 1}'] * ROWS, '{"user": 2, "when": 5}')
    assert late.column("when").tolist() == [None] * ROWS + [5]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["", ""], "is empty; give one object a line"),
        (["{}"], "is empty; give one object a line"),
        (['{"user": 1}', "", '{"user": 2'], "line 3 of PATH is not a JSON object ("),
        (['{"user": 1}'] * (ROWS + 5) + ["{user: 1}"], f"line {ROWS + 6} of PATH is not a JSON object ("),
        (['[{"user": 1}]'], "line 1 of PATH is not a JSON object (a list); give one object a line"),
        (['{"user": 1}', "7"], "line 2 of PATH is not a JSON object (a int)"),
        (["[", '{"user": 1}', "]"], "line 1 of PATH is not a JSON object"),
        (['{"user": 1}, {"user": 2}'], "line 1 of PATH is not a JSON object (Extra data"),
        (['{"user": 1}], [{"user": 2}'], "line 1 of PATH is not a JSON object (Extra data"),
        (['{"user": "a', 'b"}'], "line 1 of PATH is not a JSON object"),
    ],
)
def test_json_that_cannot_be_read(lines, message, opened, tmp_path):
    with pytest.raises(ValueError, match=re.escape(message.replace("PATH", str(tmp_path / "r.jsonl")))) as caught:
        opened(*lines)
    assert "\n" not in str(caught.value)


# --- gzip


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-9], lambda b: b"user,item,rating\n1,2,3\n", lambda b: b[:20] + b[24:]]
)
def test_gzip_that_is_not_whole(damage, tmp_path, rng):
    text = CSV + "".join(f"ann,{i},3\n" for i in rng.permutation(5000))
    (tmp_path / "r.csv.gz").write_bytes(damage(gzip.compress(text.encode())))
    with pytest.raises(ValueError, match=r"r.csv.gz is not a complete gzip file; compress it again"):
        Table.open(tmp_path / "r.csv.gz")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(CSV.encode()), "is packed by gzip; give it as a file whose name ends in .gz"),
        (b"PAR1\x15\x04", "is Parquet; give it as a file whose name ends in .parquet"),
    ],
    ids=["gzip", "Parquet"],  # what is packed holds the time
)
def test_what_is_told_by_its_name_alone(content, message, tmp_path):
    (tmp_path / "r.csv").write_bytes(content)
    with pytest.raises(ValueError, match=f"r.csv {message}"):
        Table.open(tmp_path / "r.csv")
    with pytest.raises(ValueError, match=f"the stream {message}"):
        Table.open(io.BytesIO(content))


@pytest.mark.parametrize("mode", ["rb", "rt"])
def test_a_stream_that_unpacks_is_not_unpacked_again(mode, tmp_path):
    path = tmp_path / "r.csv.gz"
    path.write_bytes(gzip.compress(CSV.encode()))
    with gzip.open(path, mode) as stream:
        assert Table.open(stream).column("user").tolist() == Table.open(path).column("user").tolist()


# --- text


@pytest.mark.parametrize("n", [1, ROWS - 1, ROWS, ROWS + 1, 3 * ROWS])
@pytest.mark.parametrize("header", [True, False])
def test_as_many_lines_as_there_are(n, header, tmp_path):
    """Lines are read some at a time: none is lost where one portion ends, nor after many blank ones."""
    lines = [f"u{i},{i},{i % 5}" for i in range(n)]
    blank = [""] * (2 * ROWS)
    text = "\n".join([*(["user,item,rating"] if header else []), *lines[: n // 2], *blank, *lines[n // 2 :]])
    (tmp_path / "r.csv").write_text(text)
    table = Table.open(tmp_path / "r.csv")
    assert table.column("user").tolist() == [f"u{i}" for i in range(n)]
    np.testing.assert_array_equal(table.ids("item"), np.arange(n))
    (tmp_path / "r.csv").write_text(text + "\nu,1")
    number = n + len(blank) + header + 1
    with pytest.raises(ValueError, match=f"line {number} of .* has 2 fields instead of 3"):
        Table.open(tmp_path / "r.csv")


def test_a_pipe_can_be_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=("\n" + CSV,))
    writer.start()
    assert_expected(tmp_path / "pipe")
    writer.join()


def test_a_long_text_does_not_give_every_line_its_room(tmp_path):
    review = "x" * 50 * WIDE
    lines = [f"u{i},{i},3,{review if i == ROWS else 'short'}" for i in range(3 * ROWS)]
    (tmp_path / "r.csv").write_text("user,item,rating,review\n" + "\n".join(lines))
    column = Table.open(tmp_path / "r.csv").column("review")
    assert column[ROWS] == review
    assert column[0] == column[-1] == "short"
    assert column.nbytes < len(column) * 4 * WIDE


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("userId,movieId\n1,10\n2,20\n", ["userId", "movieId"]),
        ("who,what\n1,10\n2,20\n", ["who", "what"]),
        ("who,what\nann,10\nbob,20\n", ["who", "what"]),
        ("User,Item\nann,x\nbob,y\n", ["User", "Item"]),
        ("user_id,book\nann,x\nbob,y\n", ["user_id", "book"]),
    ],
)
def test_a_header_of_other_names_is_not_taken_for_a_pair(text, names, tmp_path):
    (tmp_path / "pairs.csv").write_text(text)
    table = Table.open(tmp_path / "pairs.csv", ("user", "item"))
    assert table.names == names
    with pytest.raises(ValueError, match=rf"has no column 'user', only '{names[0]}', '{names[1]}'; name .*, or rename"):
        table.ids("user")


@pytest.mark.parametrize("text", ["ann,10\nbob,7\n", "ann,x\nbob,y\n", "7,x\n8,y\n", "ann,x\n", "1,2\n"])
def test_pairs_without_a_header_are_pairs(text, tmp_path):
    (tmp_path / "pairs.csv").write_text(text)
    table = Table.open(tmp_path / "pairs.csv", ("user", "item"))
    assert len(table) == text.count("\n")
    assert table.names == ["user", "item"]


# --- several files, and streams


@pytest.mark.parametrize("name", ["r{}.csv", "r{}.csv.gz", "r{}.jsonl", "r{}.parquet"])
def test_files_named_by_a_pattern(name, tmp_path):
    for number, part in enumerate((slice(0, 1), slice(1, 3))):
        path = tmp_path / name.format(number)
        columns = {key: values[part] for key, values in COLUMNS.items()}
        if path.suffix == ".parquet":
            pq.write_table(pa.table(columns), path)
            continue
        lines = CSV.splitlines(keepends=True)
        text = "".join([lines[0], *lines[1:][part]] if "csv" in name else JSON.splitlines(keepends=True)[part])
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    assert_expected(tmp_path / name.format("*"))
    Table.open(tmp_path / name.format("[01]"), only=("user",)).learn("user")


def test_patterns_that_name_nothing_or_other_columns(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*\*.csv; check the path"):
        Table.open(tmp_path / "*.csv")
    (tmp_path / "a.csv").write_text(CSV)
    (tmp_path / "b.csv").write_text("user,book\nann,7\n")
    with pytest.raises(
        ValueError, match=r"b.csv has the columns 'user', 'book', the files before it 'user', 'item', 'ra"
    ):
        Table.open(tmp_path / "*.csv")
    (tmp_path / "b.csv").write_text("rating,item,user\n3,7,eve\n")
    assert Table.open(tmp_path / "*.csv").ids("user").tolist() == [*COLUMNS["user"], "eve"]
    (tmp_path / "c.jsonl").write_text(JSON)
    with pytest.raises(ValueError, match=r"c.jsonl is of another kind than the files before it; give files of one kin"):
        Table.open(tmp_path / "*")
    (tmp_path / "[1].csv").write_text(CSV)
    assert_expected(tmp_path / "[1].csv")


def test_a_folder_whose_folders_are_named_after_a_value(tmp_path):
    pq.write_to_dataset(
        pa.table({**COLUMNS, "year": [2023, 2024, 2023]}), tmp_path / "ratings", partition_cols=["year"]
    )
    table = Table.open(tmp_path / "ratings")
    found = zip(table.ids("user"), table.ids("item"), table.numbers("rating"), table.ids("year"), strict=True)
    rows = zip(*COLUMNS.values(), [2023, 2024, 2023], strict=True)
    assert set(found) == set(rows)


@pytest.mark.parametrize("text", [CSV, JSON, "\ufeff" + CSV, "\n" + JSON], ids=["csv", "json", "bom", "blank"])
def test_streams_are_read_as_files_are(text, tmp_path, monkeypatch):
    for stream in (io.StringIO(text), io.BytesIO(text.encode())):
        assert_expected(stream)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode()), encoding="ascii"))
    assert_expected(sys.stdin)
    (tmp_path / "r.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    with open(tmp_path / "r.csv.gz", "rb") as file:
        assert_expected(file)


def test_a_stream_is_named(monkeypatch):
    for text, message in (
        ("", "standard input is empty; give one rating a line"),
        ("user,item,rating\n,1,2\n", "the user in line 2 of standard input is empty; fill it in"),
        ("user,item,rating\na,1\n", "line 2 of standard input has 2 fields"),
        ('{"user": 1\n', "line 1 of standard input is not a JSON object"),
    ):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        with pytest.raises(ValueError, match=message):
            Table.open(sys.stdin)
    monkeypatch.setattr(sys, "stdin", io.StringIO("who,what\n1,2\n"))
    with pytest.raises(ValueError, match="standard input has no column 'user', only 'who', 'what'"):
        Table.open(sys.stdin).ids("user")


# --- an oracle: the csv module, and the rules that the documentation states

NUMBER = re.compile(
    r"[ \t\v\f\x1c-\x1f]*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?[ \t\v\f\x1c-\x1f]*", re.ASCII | re.IGNORECASE
)
WHOLE = re.compile("0|-?[1-9][0-9]*", re.ASCII)
CELLS = st.sampled_from(
    [
        *(
            "7",
            "8",
            "-3",
            "0",
            "-0",
            "007",
            "7.0",
            "+7",
            "7.",
            ".5",
            "4.5",
            "1e3",
            " 4",
            "4 ",
            "4\t",
            "1_000",
            "٣",
            "１",
        ),
        *(
            "1,5",
            "0x10",
            "1e400",
            "nan",
            "inf",
            "4\xa0",
            "²",
            "ann",
            "Ann ",
            "é",
            "a\x85b",
            "\u2028",
            "\x0c",
            "",
            "x" * 150,
        ),
        *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "9" * 30),
        *('say "x"', "a\nb", "a\r\nb", "a::b", "a\tb", "a;b", "\udce9", "NA", "True", "=1+1"),
    ]
)


def expected_ids(texts: list[str]) -> list:
    """Whole numbers as they are written; "7.0" is 7; if one of them is anything else, all are text."""
    short = [text[:-2] if text.endswith(".0") and WHOLE.fullmatch(text[:-2]) else text for text in texts]
    if all(WHOLE.fullmatch(text) and -(2**63) <= int(text) < 2**63 for text in short):
        return [int(text) for text in short]
    return short


def expected_numbers(texts: list[str]) -> list[float] | None:
    if not all(NUMBER.fullmatch(text) for text in texts):
        return None
    with np.errstate(over="ignore"):
        values = np.asarray([float(text) for text in texts]).astype(np.float32)
    return values.tolist() if np.isfinite(values).all() else None


def found_in(table) -> tuple:
    """Ids learnt and ids read, and ratings; what is refused is None."""
    vocabulary, positions = table.learn("item")
    assert vocabulary.ids[positions].tolist() == table.ids("item").tolist()
    try:
        return table.ids("item").tolist(), table.numbers("rating").tolist()
    except (ValueError, TypeError) as error:
        return table.ids("item").tolist(), None if "differ by less than" not in str(error) else "rounded"


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(st.tuples(CELLS.filter(bool), CELLS.filter(bool)), min_size=1, max_size=8),
    repeats=st.sampled_from([1, 3]),
    delimiter=st.sampled_from([",", "\t", ";", "|", "::"]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    block=st.sampled_from([5, 64, 1 << 20]),
)
def test_every_way_to_a_table_gives_what_the_rules_say(rows, repeats, delimiter, end, quoting, block, tmp_path_factory):
    """Cut by NumPy or by the csv module, from a file, packed, a stream of bytes or text, or a dict: one meaning."""
    rows = [("7", *row) for row in rows] * repeats
    if any(letter in cell for row in rows for cell in row for letter in "\r\n"):
        quoting = csv.QUOTE_ALL  # the csv module of Python 3.11 quotes the ends of lines that it writes, and no others
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter[0], lineterminator=end, quoting=quoting)
    writer.writerows([("user", "item", "rating"), *rows])
    content = text.getvalue()
    if delimiter == "::":
        content = "".join(
            "::".join('"' + cell.replace('"', '""') + '"' for cell in row) + end
            for row in [("user", "item", "rating"), *rows]
        )
    if quoting == csv.QUOTE_MINIMAL and delimiter not in (
        "\t",
        "::",
    ):  # spaces behind a delimiter are none of a field's
        rows = [tuple(cell.lstrip(" ") if '"' not in cell else cell for cell in row) for row in rows]
    expected = expected_ids([row[1] for row in rows]), expected_numbers([row[2] for row in rows])
    packed = content.encode("utf-8", "surrogateescape")
    path = tmp_path_factory.getbasetemp() / "oracle.csv"
    path.write_bytes(packed)
    path.with_suffix(".csv.gz").write_bytes(gzip.compress(packed, 1))
    columns = {name: [row[i] for row in rows] for i, name in enumerate(("user", "item", "rating"))}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_source, "BLOCK", block)
        ways = [path, path.with_suffix(".csv.gz"), io.BytesIO(packed), io.StringIO(content, newline=""), columns]
        found = [found_in(Table.open(way)) for way in ways]
        patch.setattr(Fields, "_read_plain", lambda *_: False)
        found.append(found_in(Table.open(path)))
    assert found == [found[0]] * len(found)
    assert found[0][0] == expected[0]
    assert found[0][1] in (expected[1], "rounded")


def test_nothing_but_blank_lines_below_a_header(tmp_path):
    """Wherever a block of them ends."""
    (tmp_path / "table.csv").write_bytes(b"user,item,rating\r\r")
    with pytest.raises(ValueError, match=r"table.csv has a header and no rating; give one rating a line"):
        Table.open(tmp_path / "table.csv")
