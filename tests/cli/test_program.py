"""The commands as a whole: help, version, completion, and what is loaded for them."""

import subprocess
import sys

import pytest

import dmc
from command_line import clicks, last_json, write
from dmc.cli import program
from dmc.recommend.tables.table import Table

NAMES = [command.__name__ for command in program.COMMANDS]
WRITE = {"forget", "fit", "update", "predict", "recommend", "similar", "complete", "report", "demo"}


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


def test_errors_of_the_operating_system_are_sentences(monkeypatch, dmc_in):
    def fail():
        raise PermissionError(13, "Permission denied", "a/file")

    monkeypatch.setattr(dmc.kernels, "chosen", fail)
    assert dmc_in("doctor") == (1, "", "dmc: a/file cannot be used: permission denied\n")


def test_errors_of_the_library_that_say_nothing_are_named(monkeypatch, dmc_in):
    def fail():
        raise MemoryError

    monkeypatch.setattr(dmc.kernels, "chosen", fail)
    assert dmc_in("doctor") == (1, "", "dmc: MemoryError\n")


def test_from_clicks_to_lists_of_all_and_after_a_day_again(dmc_in, tmp_path):
    model, lists = tmp_path / "model", tmp_path / "lists.parquet"
    write(tmp_path / "clicks.csv", clicks(), "user,item")
    write(tmp_path / "day.csv", [("new", 3), ("new", 6), *((f"u{3 * a}", "fresh") for a in range(9))], "user,item")

    def of_all():
        assert dmc_in("recommend", model, "-n", "5", "-o", lists)[0] == 0
        table = Table.open(lists)
        return set(zip(table.ids("user").tolist(), map(str, table.ids("item").tolist()), strict=True))

    assert dmc_in("fit", tmp_path / "clicks.csv", "--feedback", "implicit", "-o", model)[0] == 0
    judged = last_json(dmc_in("evaluate", tmp_path / "clicks.csv", "--feedback", "implicit", "--json")[1])
    assert judged["recommender"]["ndcg"] > 1.5 * judged["popularity"]["ndcg"]
    before = of_all()
    assert len(before) == 5 * len({user for user, _ in clicks()})
    assert not before & {(user, str(item)) for user, item in clicks()}

    assert dmc_in("update", model, tmp_path / "day.csv")[0] == 0
    after = of_all()
    kind = [int(item) % 3 for user, item in after if user == "new" and item != "fresh"]
    assert kind.count(0) > len(kind) / 2  # like those who chose the same
    assert sum(item == "fresh" for _, item in after) > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_example_in_the_help_is_a_command_that_there_is(name, dmc_in):
    """Its options are those of the command, and so are the files that they read: all that is missing."""
    example = program.EXAMPLES[name].split()
    assert example[:2] == ["dmc", name]
    _, help_text, _ = dmc_in(name, "--help")
    assert " ".join(help_text.split()).endswith(f"Example: {program.EXAMPLES[name]}")
    options = [word for word in example if word.startswith("-")]
    assert all(f"{option} " in help_text or f"{option}," in help_text for option in options)


def test_the_list_of_commands_is_not_cut_off(dmc_in):
    _, help_text, _ = dmc_in("--help")
    assert "..." not in help_text.partition("Commands:")[2]
