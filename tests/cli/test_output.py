"""What commands share: names and values, JSON that every reader takes, places where a file cannot be written."""

import json

import pytest

from dmc.cli import output


def test_show_puts_the_values_below_one_another(capsys):
    output.show([("a", "1"), ("longer", "2")])
    assert capsys.readouterr().out == "  a       1\n  longer  2\n"


def test_json_has_no_nan(capsys):
    output.show_json({"rmse": float("nan"), "rows": [{"a": float("inf"), "b": (1, "NaN")}], "n": 2})
    shown = capsys.readouterr().out
    assert json.loads(shown, parse_constant=pytest.fail) == {
        "rmse": None,
        "rows": [{"a": None, "b": [1, "NaN"]}],
        "n": 2,
    }
    assert shown.count("\n") == 1


def test_check_output(tmp_path):
    output.check_output(None)
    output.check_output(tmp_path / "new")
    with pytest.raises(IsADirectoryError, match="is a folder; give the path of a file"):
        output.check_output(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere to save file in; make it first"):
        output.check_output(tmp_path / "nowhere" / "file")
