"""`python -m dmc` is `dmc`."""

import importlib.metadata
import json
import runpy
import subprocess
import sys

import pytest

import dmc


def python_m_dmc(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "dmc", *arguments], capture_output=True, text=True)


def test_it_is_the_command_line():
    done = python_m_dmc("doctor", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["dmc"] == dmc.__version__


def test_an_error_is_one_sentence(tmp_path):
    done = python_m_dmc("fit", str(tmp_path / "nope.csv"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == f"dmc: there is no file {tmp_path / 'nope.csv'}; check the path\n"


def test_run_as_a_module_it_calls_main(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["dmc", "--help"])
    with pytest.raises(SystemExit) as ending:
        runpy.run_module("dmc", run_name="__main__")
    assert ending.value.code == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in ("demo", "fit", "predict", "recommend", "doctor"))


def test_imported_it_does_nothing(capsys):
    runpy.run_module("dmc.__main__", run_name="dmc.__main__")
    assert capsys.readouterr() == ("", "")


def test_the_installed_command_is_the_same_function():
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="dmc")
    from dmc.cli.main import main

    assert script.load() is main
