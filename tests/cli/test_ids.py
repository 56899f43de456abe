"""Ids on the command line and in files of them."""

import os

import numpy as np
import pytest

from dmc.cli import ids
from dmc.recommend.tables import text_source
from dmc.recommend.tables.vocabulary import Vocabulary

KNOWN = Vocabulary(np.array([1, 2, 3]))
NAMES = Vocabulary(np.array(["a b", "c,d", "é"]))


def listed(*given, known=None, **more):
    return ids.listed(list(given), "item", known, "--items", **more).tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1\n2\n", [1, 2]),
        ("item\n\n 2 \n", [2]),
        ("a b\nc d\n", ["a b", "c d"]),
        ('"c,d"\n', ["c,d"]),
        ("item,weight\n3,1\n2,1\n", [3, 2]),
        ("\ufeffé\n", ["é"]),
    ],
    ids=["lines", "a header and blanks", "spaces", "quoted", "a table", "a mark of UTF-8"],
)
def test_ids_of_a_file(text, expected, tmp_path, stdin):
    (tmp_path / "ids.txt").write_text(text)
    assert listed(str(tmp_path / "ids.txt")) == expected


def test_ids_of_the_standard_input(stdin):
    stdin("a b\nc\n")
    assert listed("-") == ["a b", "c"]


def test_ids_and_files_of_them_together(tmp_path):
    (tmp_path / "ids.txt").write_text("1\n2\n")
    assert listed("3", str(tmp_path / "ids.txt"), "01") == ["3", "1", "2", "01"]
    assert listed("3", str(tmp_path / "ids.txt")) == [3, 1, 2]
    assert ids.listed(None, "item", KNOWN, "--items") is None


def test_who_is_not_known_is_told(tmp_path, capsys):
    (tmp_path / "ids.txt").write_text("1\n8\n9\n")
    assert listed(str(tmp_path / "ids.txt"), known=KNOWN) == [1, 8, 9]
    assert capsys.readouterr().err == "dmc: --items: 2 of 3 ids, such as 8, are not known\n"
    (tmp_path / "ids.txt").write_text("8\n9\n")
    with pytest.raises(ValueError, match="--items: none of 2 ids is known; give ids of the fit, or the path of a file"):
        listed(str(tmp_path / "ids.txt"), known=KNOWN)
    with pytest.raises(ValueError, match=r"--items: item 'nope\.txt' is neither known nor a file"):
        listed("nope.txt", known=NAMES)
    assert listed("a b", known=NAMES) == ["a b"]


def test_what_is_named_as_a_folder_is_an_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ann").mkdir()
    assert listed("ann", "") == ["ann", ""]


def test_ids_out_of_a_pipe(tmp_path):
    """As a shell gives it for <(...)."""
    reader, writer = os.pipe()
    os.write(writer, b"1\n2\n")
    os.close(writer)
    assert listed(f"/dev/fd/{reader}") == [1, 2]
    os.close(reader)


def test_files_that_cannot_be_used(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file nope\.txt; check the path"):
        ids.in_file("nope.txt", "item")
    with pytest.raises(IsADirectoryError, match="is a folder; give a file of ids, one a line"):
        ids.in_file(str(tmp_path), "item")
    (tmp_path / "ids.txt").write_text("item\n")
    with pytest.raises(ValueError, match=r"ids.txt holds no ids; give one a line"):
        listed(str(tmp_path / "ids.txt"))


def test_ids_of_a_parquet_file(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet

    pyarrow.parquet.write_table(pa.table({"other": ["x"], "item": [5]}), tmp_path / "ids.parquet")
    assert listed(str(tmp_path / "ids.parquet")) == [5]


def test_a_table_out_of_a_pipe():
    """It is read once: a second time nothing would be there."""
    reader, writer = os.pipe()
    os.write(writer, b"name,item\nx,1\ny,2\n")
    os.close(writer)
    assert listed(f"/dev/fd/{reader}") == [1, 2]
    os.close(reader)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'1\n"2\n3\n', "the row in line 2 of PATH opens a quote that never closes; close it"),
        (b"1\n" + b"x" * 2000, "line 2 of PATH has more than 1,000 bytes; end lines with a line feed"),
        (b"1\n2\0\n", "PATH is not text: line 2 holds a NUL byte"),
        ("1\n2\n".encode("utf-16-le"), "PATH is UTF-16; recode it to UTF-8"),
        (b"\x1f\x8b\x08", "PATH is packed by gzip; give it as a file whose name ends in .gz"),
        (b"item,x\n1,2\n3\n", "line 3 of PATH has 1 field instead of 2"),
    ],
    ids=["quote", "long", "NUL", "UTF-16", "packed", "ragged"],
)
def test_damaged_lists_are_told_by_their_line(content, told, tmp_path, monkeypatch):
    monkeypatch.setattr(text_source, "MAX_LINE", 1000)
    monkeypatch.setattr(text_source, "BLOCK", 100)
    (tmp_path / "ids.txt").write_bytes(content)
    with pytest.raises(ValueError, match="ids") as caught:
        ids.in_file(str(tmp_path / "ids.txt"), "item")
    assert str(caught.value).startswith(told.replace("PATH", str(tmp_path / "ids.txt")))


def test_lines_end_where_lines_of_tables_do(tmp_path):
    (tmp_path / "ids.txt").write_text("a\x85b\u2028c\r\nd\x0ce\r", encoding="utf-8", newline="")
    assert listed(str(tmp_path / "ids.txt")) == ["a\x85b\u2028c", "d\x0ce"]
