"""What commands share: tables of names and values, rows as CSV or JSON, places where a file cannot be written."""

import json

import numpy as np
import pytest

from dmc.cli import output

COLUMNS = {"item": np.array(["a,b", 'c"d']), "score": np.float32([0.5, 1 / 3])}


def test_show_puts_the_values_below_one_another(capsys):
    output.show([("a", "1"), ("longer", "2")])
    assert capsys.readouterr().out == "  a       1\n  longer  2\n"


def test_write_is_csv_on_the_screen_or_in_a_file(tmp_path, capsys):
    expected = 'item,score\n"a,b",0.5000\n"c""d",0.3333\n'
    output.write(COLUMNS, None, False, "rows")
    assert capsys.readouterr().out == expected
    output.write(COLUMNS, tmp_path / "out.csv", False, "rows")
    assert capsys.readouterr().out == ""
    assert (tmp_path / "out.csv").read_text() == expected


def test_write_as_json_has_all_digits_and_what_else_is_told(capsys):
    output.write(COLUMNS, None, True, "rows", mean=2.5)
    found = json.loads(capsys.readouterr().out)
    assert found["mean"] == 2.5
    assert found["rows"] == [{"item": "a,b", "score": 0.5}, {"item": 'c"d', "score": float(np.float32(1 / 3))}]


def test_ids_of_another_encoding_come_back_as_they_were(tmp_path):
    output.write({"user": np.array([b"Am\xe9lie".decode("utf-8", "surrogateescape")])}, tmp_path / "out", False, "")
    assert (tmp_path / "out").read_bytes() == b"user\nAm\xe9lie\n"


def test_check_output(tmp_path):
    output.check_output(None)
    output.check_output(tmp_path / "new")
    with pytest.raises(IsADirectoryError, match="is a folder; give the path of a file"):
        output.check_output(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere to save file in; make it first"):
        output.check_output(tmp_path / "nowhere" / "file")


@pytest.mark.parametrize(
    ("library", "shell"),
    [
        ("say duplicates='last' or duplicates='mean'", "say --duplicates last or --duplicates mean"),
        ("as in user='userId', or rename it", "as in --user userId, or rename it"),
        ("no intervals; fit Recommender(intervals=True) to ratings", "no intervals; fit it with dmc fit --intervals"),
        ("there is no file a user='x", "there is no file a user='x"),
    ],
)
def test_remedies_are_for_the_shell(library, shell):
    assert output.in_shell_words(ValueError(library)) == shell
