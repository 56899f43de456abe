"""Columns of Parquet, read one at a time, are what pyarrow reads at once; what goes wrong is told in a sentence."""

import os
import re
import weakref
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dmc.recommend.tables.parquet import ParquetColumns, words_for_failure
from dmc.recommend.tables.table import Table
from dmc.recommend.tables.vocabulary import Vocabulary

COLUMNS = {
    "int64": pa.array([2**62, -5, 7, 7], pa.int64()),
    "int32": pa.array([1, -2, 3, 4], pa.int32()),
    "uint64": pa.array([2**63 + 1, 2**63, 0, 1], pa.uint64()),
    "with nulls": pa.array([1, None, 3, None], pa.int64()),
    "float32": pa.array([0.5, 1, 2, 3], pa.float32()),
    "whole": pa.array([4.0, 1, 2, 3], pa.float64()),
    "text": pa.array(["a", "é", " ", "a much longer one"]),
    "text with nulls": pa.array(["a", None, "b", "b"]),
    "dictionary": pa.array(["x", "y", "x", "x"]).dictionary_encode(),
    "dictionary of numbers": pa.array([9, 8, 9, 9]).dictionary_encode(),
    "bool": pa.array([True, False, True, True]),
    "date": pa.array(np.array(["2024-01-02"] * 4, "M8[D]")),
    "time": pa.array(np.array(["2024-01-02T08:30"] * 4, "M8[us]")),
    "a.b": pa.array([1, 2, 3, 4], pa.int8()),
}


def write_file(path, table):
    pq.write_table(table, path, row_group_size=3)


def write_folder(path, table):
    """As Spark does, with an empty file in the middle and one that is no table."""
    path.mkdir()
    (path / "_SUCCESS").write_text("")
    for number, part in enumerate((table.slice(0, 1), table.slice(0, 0), table.slice(1))):
        pq.write_table(part, path / f"part-{number}.parquet")


@pytest.fixture(params=[write_file, write_folder])
def written(request, tmp_path):
    def write(table):
        request.param(tmp_path / "r.parquet", table)
        return tmp_path / "r.parquet"

    return write


@pytest.mark.parametrize("name", COLUMNS)
def test_every_column_is_as_pyarrow_reads_it(name, written):
    path = written(pa.table(COLUMNS))
    columns = ParquetColumns(path)
    expected = pq.read_table(path)[name].to_numpy()
    np.testing.assert_array_equal(columns[name], expected)
    assert columns[name].dtype == expected.dtype
    assert list(columns) == columns.names == list(COLUMNS)
    assert columns.count_rows() == len(Table.open(path)) == 4


def test_files_of_a_folder_may_hold_other_dtypes(tmp_path):
    for number, kind in enumerate((pa.int64(), pa.int32(), pa.int8())):
        ids = pa.array([number, 100 + number], kind)
        pq.write_table(pa.table({"user": ids}), tmp_path / f"{number}.parquet")
    np.testing.assert_array_equal(ParquetColumns(tmp_path)["user"], [0, 100, 1, 101, 2, 102])
    assert Table.open(tmp_path.rename(tmp_path.with_suffix(".pq"))).ids("user").tolist() == [0, 100, 1, 101, 2, 102]


def test_what_else_is_in_a_folder(tmp_path):
    for name in ("README.md", "._1.parquet", "_temporary/2.parquet", ".hidden/3.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("no table")
    pq.write_table(pa.table({"user": [7]}), tmp_path / "0.parquet")
    assert ParquetColumns(tmp_path)["user"].tolist() == [7]
    pq.write_table(pa.table({"user": [[1, 2]]}), tmp_path / "4.parquet")
    with pytest.raises(ValueError, match=r" cannot be read as Parquet \(.*int64.*\); write it again"):
        Table.open(tmp_path).ids("user")


def test_folders_named_after_a_value_are_a_column(tmp_path):
    path = tmp_path / "r.parquet"
    pq.write_to_dataset(pa.table({"user": [1, 2, 3], "year": ["2023", "2024", "2023"]}), path, partition_cols=["year"])
    columns = ParquetColumns(path)
    assert dict(zip(columns["user"].tolist(), columns["year"].tolist(), strict=True)) == {1: 2023, 3: 2023, 2: 2024}


def test_no_row(written):
    table = Table.open(written(pa.table(COLUMNS).slice(0, 0)))
    assert len(table) == len(table.ids("int64")) == len(table.numbers("float32")) == 0


@pytest.mark.parametrize("name", ["with nulls", "text with nulls"])
def test_missing_ids_are_refused(name, written):
    table = Table.open(written(pa.table(COLUMNS)))
    with pytest.raises(ValueError, match=f"column '{name}' holds [12] missing ids?, the first in row 1 of [^;]*; drop"):
        table.ids(name)


def test_missing_ratings_are_refused(written):
    table = Table.open(written(pa.table(COLUMNS)))
    with pytest.raises(
        ValueError, match="column 'with nulls' holds 2 missing or infinite ratings, the first in row 1 o"
    ):
        table.numbers("with nulls")


@pytest.mark.parametrize(
    "name",
    ["int64", "int32", "uint64", "float32", "whole", "text", "dictionary", "dictionary of numbers", "bool", "date"],
)
def test_ids_are_learnt_as_from_the_column(name, written):
    """Read some rows at a time, an id is the same."""
    table = Table.open(written(pa.table(COLUMNS)))
    vocabulary, positions = table.learn(name)
    expected, places = Vocabulary.learn(table.ids(name))
    assert vocabulary.ids.tolist() == expected.ids.tolist()
    np.testing.assert_array_equal(positions, places)


@pytest.mark.parametrize("name", ["with nulls", "text with nulls"])
def test_missing_ids_are_not_learnt(name, written):
    with pytest.raises(ValueError, match=f"column '{name}' holds [12] missing ids?, the first in row 1 of [^;]*; drop"):
        Table.open(written(pa.table(COLUMNS))).learn(name)


def test_a_column_is_not_kept(written):
    columns = ParquetColumns(written(pa.table(COLUMNS)))
    taken = weakref.ref(columns["int64"])
    assert taken() is None
    assert columns["int64"] is not columns["int64"]


def test_other_columns_are_never_looked_at(tmp_path):
    """Of a file with a broken column the others can be read; the broken one is told when it is asked for."""
    path, rng = tmp_path / "r.parquet", np.random.default_rng(0)
    columns = {"user": np.arange(1000), "note": rng.integers(0, 1 << 62, 1000), "nested": [{"x": 1}] * 1000}
    pq.write_table(pa.table(columns), path, use_dictionary=False)
    place = pq.ParquetFile(path).metadata.row_group(0).column(1).data_page_offset
    content = bytearray(path.read_bytes())
    content[place : place + 40] = bytes(range(215, 255))
    path.write_bytes(content)
    table = Table.open(path)
    np.testing.assert_array_equal(table.ids("user"), np.arange(1000))
    with pytest.raises(ValueError, match=r"^[^\n]*r.parquet cannot be read as Parquet \([^\n]*\); write it again$"):
        table.column("note")


def test_a_file_that_went_away(tmp_path):
    path = tmp_path / "r.parquet"
    pq.write_table(pa.table(COLUMNS), path)
    columns = ParquetColumns(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(f"there is no file {path}; check the path")):
        columns["int64"]


def test_a_name_twice(tmp_path):
    path = tmp_path / "r.parquet"
    pq.write_table(pa.table([[1], [2], [3]], names=["user", "item", "user"]), path)
    with pytest.raises(ValueError, match=f"^the file {path} has 2 columns named 'user'; rename all but one$"):
        Table.open(path)


def test_a_table_of_a_file_gives_lines_and_columns_back(written):
    table = Table.open(written(pa.table(COLUMNS)))
    taken = table.take(np.array([2, 0]))
    assert list(taken) == list(COLUMNS)
    assert taken["int64"].tolist() == [7, 2**62]
    more = table.with_column("prediction", np.ones(4))
    assert list(more) == [*COLUMNS, "prediction"]
    assert more["text"].tolist() == COLUMNS["text"].to_pylist()


def rest(path, **columns):
    pq.write_table(pa.table({"item": [1, 2], "rating": [3.0, 4.0]} | columns), path / "r.parquet")
    return Table.open(path / "r.parquet")


NESTED = {
    "list": pa.array([[1], [2, 3]]),
    "fixed list": pa.array([[1, 2], [2, 3]], pa.list_(pa.int64(), 2)),
    "struct": pa.array([{"a": 1}, {"a": 2}]),
    "map": pa.array([[("a", 1)], [("b", 2)]], pa.map_(pa.string(), pa.int64())),
}


@pytest.mark.parametrize("kind", NESTED)
def test_nested_columns_are_no_ids_ratings_or_times(kind, tmp_path):
    table = rest(tmp_path, user=NESTED[kind])
    for ask, told in ((table.ids, "in place of an id, the first in row 0 of "), (table.learn, "in place of an id")):
        with pytest.raises(ValueError, match=f"column 'user' holds .* {told}.*; give one for each entry"):
            ask("user")
    with pytest.raises(TypeError, match=r"column 'user' holds .* in row 0 of .*r.parquet, which is not a number"):
        table.numbers("user")
    with pytest.raises(ValueError, match=r"column 'user' holds .* in place of a time, the first in row 0"):
        table.times("user")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array(["a", "b"], pa.string_view()), ["a", "b"]),
        (pa.array(["a", "b"], pa.large_string()), ["a", "b"]),
        (pa.array([b"a", b"\xff"]), ["a", "\udcff"]),
        (pa.array([2**64 - 1, 1], pa.uint64()), ["18446744073709551615", "1"]),
        (pa.array(np.array([1, 2], np.float16)), [1, 2]),
        (pa.array([1, 2], pa.decimal128(9, 0)), [1, 2]),
        (pa.array([0, 86_400_000_000], pa.timestamp("us", "Europe/Berlin")), ["1970-01-01", "1970-01-02"]),  # of UTC
    ],
    ids=["views", "large text", "bytes", "unsigned", "half floats", "decimals", "zones"],
)
def test_ids_of_other_types(values, expected, tmp_path):
    table = rest(tmp_path, user=values)
    vocabulary, positions = table.learn("user")
    assert table.ids("user").tolist() == vocabulary.ids[positions].tolist() == expected


def test_text_that_an_array_would_cut_off_is_no_id(tmp_path):
    for values in (["a", "a\0"], [b"a", b"a\0"]):
        table = rest(tmp_path, user=values)
        for ask in (table.ids, table.learn):
            with pytest.raises(ValueError, match="which ends in NUL or has an unpaired surrogate, the first in row 1"):
                ask("user")


def test_pages_with_checksums_are_checked(tmp_path):
    path = tmp_path / "r.parquet"
    table = pa.table({"user": np.arange(1000), "item": np.arange(1000)})
    pq.write_table(table, path, use_dictionary=False, compression="none", write_page_checksum=True)
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"r.parquet cannot be read as Parquet \(.*CRC checksum.*\); write it again"):
        Table.open(path).learn("user")


def test_rows_that_a_footer_tells_of_and_nobody_finds(tmp_path, monkeypatch):
    table = rest(tmp_path, user=[1, 2])
    monkeypatch.setattr(ParquetColumns, "count_rows", lambda _: 3)
    for ask in (table.column, table.learn):
        with pytest.raises(ValueError, match=r"\(it holds 2 rows, and its footer says 3\); write it again"):
            ask("user")
    monkeypatch.setattr(ParquetColumns, "count_rows", lambda _: 1 << 60)
    with pytest.raises(MemoryError, match=r"column 'user' of .*r.parquet would take 8,589,934,592 GiB and"):
        table.column("user")


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.parquet")
    for source in (tmp_path / "pipe.parquet", tmp_path):
        with pytest.raises(ValueError, match=r"pipe.parquet is not a regular file, which Parquet needs; write it to"):
            Table.open(source)


@pytest.mark.parametrize(
    ("failure", "kind", "told"),
    [
        (pa.ArrowKeyError("x"), ValueError, "cannot be read as Parquet (x); write it again"),
        (pa.ArrowException("two\nlines."), ValueError, "cannot be read as Parquet (two); write it again"),
        (pa.ArrowSerializationError("\x0f"), ValueError, r"cannot be read as Parquet (\x0f); write it again"),
        (
            pa.ArrowMemoryError("malloc of size 7 failed"),
            MemoryError,
            "takes more memory than there is (malloc",
        ),
        (PermissionError(13, "no"), PermissionError, "may not be read; check its permissions"),
    ],
)
def test_no_exception_of_arrow_gets_out(failure, kind, told):
    with pytest.raises(kind) as caught, words_for_failure(Path("r.parquet")):
        raise failure
    assert type(caught.value) is kind
    assert str(caught.value).startswith(f"r.parquet {told}")
