"""docs/guide/command-line.md names every command and every option of the program, with its default, and no other."""

import re
from pathlib import Path

import pytest
import typer

from dmc.cli import program

PAGE = (Path(__file__).parents[2] / "docs" / "guide" / "command-line.md").read_text()
COMMANDS = typer.main.get_command(program.app).commands


def section(command):
    """What the page says of a command."""
    return re.split(r"^## ", PAGE.split(f"\n## {command}\n")[1], flags=re.MULTILINE)[0]


def rows(command):
    """The names of options and the defaults in each row of its table."""
    for row in section(command).splitlines():
        if row.startswith("| `-"):
            names, meaning = re.split(r"(?<!\\)\|", row)[1:3]
            told = re.search(r"\(defaults?: ([^)]*)\)", meaning)
            yield re.findall(r"(?<![\w-])--?[a-z][\w-]*", names), re.findall("`([^`]+)`", told[1]) if told else []


def test_every_command_has_a_section():
    named = re.findall(r"^## (\w+)$", PAGE, flags=re.MULTILINE)
    assert sorted(named) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_its_options_are_named_with_their_defaults(command):
    options = [option for option in COMMANDS[command].params if option.opts[0].startswith("-")]
    named = [name for names, _ in rows(command) for name in names]
    assert sorted(named) == sorted(name for option in options for name in option.opts if name != "--help")
    of_name = {name: option for option in options for name in option.opts}
    for names, told in rows(command):
        defaults = [of_name[name].default for name in names if not of_name[name].is_flag]
        written = [str(default) for default in dict.fromkeys(defaults) if default is not None]
        assert told == written, f"{names} of dmc {command}"
