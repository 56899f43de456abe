"""The guide names every command and every option of the programs, with its default, and no other."""

import re
from pathlib import Path

import pytest
import typer

from dmc.cli import program
from dmc.distributed import __main__ as distributed

GUIDE = Path(__file__).parents[2] / "docs" / "guide"
PAGE = (GUIDE / "command-line.md").read_text()
COMMANDS = typer.main.get_command(program.app).commands


def section(command):
    """What the page says of a command."""
    return re.split(r"^## ", PAGE.split(f"\n## {command}\n")[1], flags=re.MULTILINE)[0]


def rows(text):
    """The names of options and the defaults in each row of the tables."""
    for row in text.splitlines():
        if row.startswith("| `-"):
            names, meaning = re.split(r"(?<!\\)\|", row)[1:3]
            told = re.search(r"\(defaults?: ([^)]*)\)", meaning)
            yield re.findall(r"(?<![\w-])--?[a-z][\w-]*", names), re.findall("`([^`]+)`", told[1]) if told else []


def test_every_command_has_a_section():
    named = re.findall(r"^## (\w+)$", PAGE, flags=re.MULTILINE)
    assert sorted(named) == sorted(COMMANDS)


def check(text, defaults):
    """Whether the tables name each option, and say its default; None where there is none to say."""
    assert sorted(name for names, _ in rows(text) for name in names) == sorted(defaults)
    for names, told in rows(text):
        written = dict.fromkeys(str(defaults[name]) for name in names if defaults[name] is not None)
        assert told == list(written), names


@pytest.mark.parametrize("command", COMMANDS)
def test_its_options_are_named_with_their_defaults(command):
    options = [option for option in COMMANDS[command].params if option.opts[0].startswith("-")]
    defaults = {name: None if option.is_flag else option.default for option in options for name in option.opts}
    defaults.pop("--help", None)
    check(section(command), defaults)


def test_the_options_of_several_machines_are_named():
    fit = distributed._parser()._subparsers._group_actions[0].choices["fit"]
    defaults = {name: action.default for action in fit._actions for name in action.option_strings}
    for name in ("-h", "--help"):
        del defaults[name]
    check((GUIDE / "several-machines.md").read_text(), defaults)
