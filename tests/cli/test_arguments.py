"""Arguments that several commands take."""

from pathlib import Path

import pytest

from dmc.cli import arguments
from dmc.cli.wording import WrongUse


def test_columns_without_a_name_are_not_asked_for(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2\n")
    table = arguments.opened(path, ("b", None))
    assert table.ids("b").tolist() == [2]
    assert arguments.opened(path, ("b",), whole=True).ids("a").tolist() == [1]
    assert arguments.features(None, "a") is None
    assert arguments.features(path, "a").names == ["a", "b"]


def test_the_standard_input_is_one():
    arguments.refuse_stdin_twice(Path("-"), None, "file")
    with pytest.raises(WrongUse, match=r"- \(standard input\) is given for several tables"):
        arguments.refuse_stdin_twice(Path("-"), None, "-")


def test_given_leaves_the_librarys_defaults():
    assert arguments.given(weight=None, time="when", depth=0) == {"time": "when", "depth": 0}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("fit - -o {}/new --json", "n_observed"),
        ("update model - -o {}/new --json", "n_new_observed"),
        ("predict model - --json", "predictions"),
        ("evaluate - --json", "recommender"),
        ("evaluate --model model --test - --json", "recommender"),
        ("report model --test - -o {}/page.html --json", "rmse"),
        ("complete - --label user --json", "completed"),
    ],
)
def test_every_table_may_be_the_standard_input(command, expected, dmc_in, files, stdin, tmp_path):
    stdin((files / ("test.csv" if "--test" in command else "train.csv")).read_bytes())
    code, out, err = dmc_in(*command.format(tmp_path).split())
    assert code == 0, err
    assert f'"{expected}"' in out
