"""The commands as a whole: help, version, completion, and what is loaded for them."""

import subprocess
import sys

import pytest

import dmc
from dmc.cli import program

NAMES = [command.__name__ for command in program.COMMANDS]
WRITE = {"fit", "update", "predict", "recommend", "similar", "complete", "report", "demo"}


@pytest.mark.parametrize("command", [[], *([name] for name in NAMES)])
def test_help(command, dmc_in):
    code, out, err = dmc_in(*command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: {' '.join(['dmc', *command])} ")
    if command:
        assert ("--output" in out) == (command[0] in WRITE)
        assert ("--json" in out) == (command[0] != "bench")
    else:
        assert all(f"  {name} " in out for name in NAMES)


def test_without_a_command_it_helps(dmc_in):
    assert dmc_in() == dmc_in("--help")


def test_version(dmc_in):
    assert dmc_in("--version") == (0, f"dmc {dmc.__version__}\n", "")


def test_completion(monkeypatch, capsys, dmc_in):
    """What a shell asks for when somebody presses the tabulator behind `dmc rec`."""
    for name, value in {"_DMC_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "dmc rec"}.items():
        monkeypatch.setenv(name, value)
    code, out, _ = dmc_in()
    assert code == 0
    assert "recommend" in out
    assert "predict" not in out


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_it_starts_light(argument):
    code = (
        "import sys; from dmc.cli.program import run; run(sys.argv[1:]);"
        "heavy = {'numpy', 'scipy', 'sklearn', 'numba', 'torch', 'pandas', 'polars', 'matplotlib', 'rich'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code, argument], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


@pytest.mark.filterwarnings("default")
def test_warnings_are_told_in_the_words_of_the_shell(monkeypatch, dmc_in):
    import warnings

    monkeypatch.setattr(dmc.kernels, "chosen", lambda: warnings.warn("slow; say rank=3", stacklevel=1) or "reference")
    code, _, err = dmc_in("doctor")
    assert (code, err) == (0, "dmc: slow; say --rank 3\n")


def test_errors_of_the_library_that_say_nothing_are_named(monkeypatch, dmc_in):
    def fail():
        raise MemoryError

    monkeypatch.setattr(dmc.kernels, "chosen", fail)
    assert dmc_in("doctor") == (1, "", "dmc: MemoryError\n")
