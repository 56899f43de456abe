"""Tables with gaps, out of text and Parquet."""

import gzip
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from dmc.cli import gapped_table
from dmc.cli.gapped_table import Cells
from dmc.recommend.tables import text_source

TEXT = 'name,x,"a note",y\n"A, B",1.50,,NA\nC, 2 ,"said ""no""",-3e1\n\nD,?,"two\nlines",0\n'


def read(text, tmp_path, labels=(), name="table.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return gapped_table.read(path, labels)


def test_numbers_and_labels(tmp_path):
    table = read(TEXT, tmp_path)
    assert table.of_numbers == ["x", "y"]
    np.testing.assert_array_equal(table.values, [[1.5, np.nan], [2, -30], [np.nan, 0]])
    assert table.columns["a note"].tolist() == ["", 'said "no"', "two\nlines"]
    assert table.lines.tolist() == [2, 3, 6]
    assert table.row_numbers is None


def test_cells_go_in_and_all_else_stays_as_it_was(tmp_path):
    table = read(TEXT, tmp_path)
    cells = Cells(*table.missing(None), np.array([1.23456, -7.0]))
    assert [array.tolist() for array in cells[:2]] == [[0, 2], [1, 0]]
    found = table.with_cells_as_text(cells, np.array([np.nan, 0.05]))
    assert found["x"].tolist() == ["1.50", " 2 ", "-7"]
    assert found["y"].tolist() == ["1.235", "-3e1", "0"]
    assert found["name"].tolist() == ["A, B", "C", "D"]
    assert table.with_cells(cells)["y"].tolist() == [1.23456, -30, 0]
    assert table.columns["y"].tolist() == ["NA", "-3e1", "0"]
    np.testing.assert_array_equal(table.only(cells)["x"], [np.nan, np.nan, -7])


def test_a_number_may_stand_for_what_is_missing(tmp_path):
    rows, cols = read("x,y\n-200,1\n2,\n", tmp_path).missing(-200)
    assert (rows.tolist(), cols.tolist()) == ([0, 1], [0, 1])


@pytest.mark.parametrize(
    ("cell", "error", "expected"),
    [
        (12.34567, 0.2, "12.35"),
        (12.34567, 30, "12"),
        (1234567.8, 1e3, "1234568"),
        (0.000012345678, np.nan, "1.2345678e-05"),
        (0.1234567890123, 1e-14, "0.123456789"),
        (np.nan, 1, ""),
    ],
)
def test_cells_have_the_digits_that_they_are_known_to(cell, error, expected):
    assert gapped_table.as_text(cell, error) == expected


def test_a_column_that_numbers_the_rows_is_a_label(tmp_path):
    table = read("id,x,y\n1,5,\n2,6,2\n3,7,3\n", tmp_path)
    assert (table.row_numbers, table.of_numbers) == ("id", ["x", "y"])
    assert read("x,id\n5,1\n6,2\n8,3\n", tmp_path).row_numbers is None  # but only where an index stands
    assert read("id\n1\n2\n3\n", tmp_path).of_numbers == ["id"]


def test_an_index_without_a_name_is_a_label(tmp_path):
    assert read(",x\n10,5\n20,6\n", tmp_path).of_numbers == ["x"]


def test_delimiters_and_packed_files(tmp_path):
    assert read("x\ty\n1\t2\n", tmp_path).of_numbers == ["x", "y"]
    assert read("x;y\n1;2\n", tmp_path).of_numbers == ["x", "y"]
    assert read(gzip.compress(b"x,y\n1,2\n"), tmp_path).of_numbers == ["x", "y"]


def test_sentences_of_the_library_name_columns_and_lines(tmp_path):
    table = read(TEXT, tmp_path)
    assert table.named("at row 1, column 1") == "at line 3, column 'y'"
    assert table.named("columns 0, 1 and 2 more; 3 rows") == "columns 'x', 'y' and 2 more; 3 rows"
    assert table.named("column 17") == "column 17"


def test_the_standard_input(stdin):
    stdin("x,y\n1,2\n")
    assert gapped_table.read(Path("-")).values.tolist() == [[1, 2]]
    stdin(b"PAR1....")
    with pytest.raises(ValueError, match=r"standard input is Parquet; give it as a file whose name ends"):
        gapped_table.read(Path("-"))


def test_gzip_that_is_not_whole(tmp_path):
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n" * 99)[:-9])
    with pytest.raises(ValueError, match=r"t\.csv\.gz is not a complete gzip file; compress it again"):
        gapped_table.read(tmp_path / "t.csv.gz")


def test_parquet(tmp_path):
    path = tmp_path / "table.parquet"
    columns = {"name": ["a", None], "n": pa.array([1, 2]), "x": pa.array([1.5, None], pa.float32())}
    pyarrow.parquet.write_table(pa.table(columns), path)
    table = gapped_table.read(path)
    assert (table.of_numbers, table.lines) == (["n", "x"], None)
    cells = Cells(*table.missing(None), np.array([0.25]))
    assert table.with_cells(cells)["n"].dtype == np.int64
    assert table.with_cells(cells)["x"].tolist() == [1.5, 0.25]
    assert table.with_cells_as_text(cells, np.array([0, 0.1]))["x"].tolist() == ["1.5", "0.25"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no row below its header"),
        ("x,y\n", "has no row below its header; give a table with a header and numbers below it"),
        ("x,x\n1,2\n", "has 2 columns named 'x'; rename all but one"),
        ("x,y\n1,2\n3\n", "line 3 of .* has 1 field instead of 2; fix that line"),
        (
            "x,y\n1,2\n3,bad\n",
            "column 'y' holds 'bad' in line 3 of .*, which is not a number; .*, or use --label 'y'",
        ),
        ("x;y\n1,5;2\n2,5;3\n", "column 'x' holds '1,5' in line 2 of .*; write numbers with a decimal point"),
        ("x,y\na,b\n", "has no column of numbers"),
        ("x\0y\n1,2\n", "is not text: line 1 holds a NUL byte; give text in UTF-8"),
    ],
)
def test_tables_that_cannot_be_used(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read(text, tmp_path)


def test_a_column_of_numbers_and_text_may_be_kept_as_a_label(tmp_path):
    assert read("x,y\n1,2\n3,bad\n", tmp_path, ["y"]).of_numbers == ["x"]
    with pytest.raises(ValueError, match="has no column 'z', only 'x', 'y'"):
        read("x,y\n1,2\n", tmp_path, ["z"])


@pytest.mark.parametrize("cell", ["1_000", "٣", "１", "4\xa0,", "0x10"])
def test_what_only_python_takes_for_a_number_is_text(cell, tmp_path):
    with pytest.raises(ValueError, match=r"column 'y' holds '.*' in line 3 of .*table.csv, which is not a"):
        read(f'x,y\n1,2\n3,"{cell}"\n', tmp_path)


def test_spaces_around_numbers_are_none_of_them(tmp_path):
    np.testing.assert_array_equal(read("x,y\n1, 2 \n3,\t4\n", tmp_path).values, [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'x,y\n1,2\n3,"4\n5,6\n', "the row in line 3 of PATH opens a quote that never closes; close it"),
        (b"x,y\n1,2\n" + b"x" * 2000, "line 3 of PATH has more than 1,000 bytes; end lines with a line feed"),
        (gzip.compress(bytes(100_000)), "line 1 of PATH has more than 1,000 bytes; end lines"),
        (gzip.compress(gzip.compress(b"x,y\n1,2\n")), "PATH is packed by gzip twice; unpack it"),
        ("x,y\n1,2\n".encode("utf-16"), "PATH is UTF-16; recode it to UTF-8"),
        (b"x,y\n1,2\n3,\0\n", "PATH is not text: line 3 holds a NUL byte"),
        (b"x,y\r1,2\r3\r", "line 3 of PATH has 1 field instead of 2; fix that line"),
        (b"x\x85z,y\n\xe2\x80\xa8,2\n3,a\n", "column 'y' holds 'a' in line 3 of PATH, which is not a number"),
    ],
    ids=["quote", "long", "bomb", "packed twice", "UTF-16", "NUL", "returns", "separators"],
)
def test_damaged_tables_are_told_by_their_line(content, told, tmp_path, monkeypatch):
    monkeypatch.setattr(text_source, "MAX_LINE", 1000)
    monkeypatch.setattr(text_source, "BLOCK", 100)
    with pytest.raises(ValueError, match="csv") as caught:
        read(content, tmp_path)
    assert str(caught.value).startswith(told.replace("PATH", str(tmp_path / "table.csv")))


def test_a_table_out_of_a_pipe(tmp_path):
    reader, writer = os.pipe()
    os.write(writer, gzip.compress(b"x,y\n1,2\n"))
    os.close(writer)
    assert gapped_table.read(Path(f"/dev/fd/{reader}")).values.tolist() == [[1, 2]]
    os.close(reader)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/urandom"])
def test_devices_are_no_tables(path):
    with pytest.raises(ValueError, match=f"{path} is a device; give a file or a pipe"):
        gapped_table.read(Path(path))
