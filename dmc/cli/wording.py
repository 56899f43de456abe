"""Sentences of the library in the shell's words: its remedies are parameters of Python, the shell's are options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

STDIN = "-"  # in place of a file to read


class WrongUse(Exception):
    """Options that do not go together, or name what cannot be: the exit status is 2."""


@contextmanager
def of_options() -> Iterator[None]:
    """What the library refuses here are options, and no data."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise WrongUse(in_shell_words(error)) from None


def check_share(value: float | None, option: str) -> None:
    """A share or probability: neither 0 nor 1."""
    if value is not None and not 0 < value < 1:
        raise WrongUse(f"{option} is {value:g}; it has to be between 0 and 1 (exclusive)")


# Parameters of the library whose options have another name.
RENAMED = {"n_threads": "threads", "min_value": "min", "max_value": "max", "known_time": "time", "by": "split"}
PARAMETERS = (
    *("user", "item", "rating", "weight", "time", "duplicates", "feedback", "model", "rank", "depth", "ensemble"),
    *(
        "device",
        "unknown",
        "format",
        "missing_values",
        "n_threads",
        "min_value",
        "max_value",
        "n_folds",
        "relevant",
        "by",
    ),
)
_VALUE = r"(?:'([^']*)'|(-?[\d.]+(?:e[+-]?\d+)?))"
OPTIONS = re.compile(rf"\b({'|'.join(PARAMETERS)})={_VALUE}")
PHRASES = (
    (r"fit Recommender\(intervals=True\) to ratings", "fit it with dmc fit --intervals"),
    (r"intervals=True", "--intervals"),
    (
        r"name the column, as in (--\w+ \w+), or rename it",
        r"rename it, or name the column in the fit, as in \1",
    ),
    (r"loss='robust'", "--robust"),
    (r"standardize=True", "--standardize"),
    (r"leave [\w -]+ out of contenders", "name the others with --contender"),
    (r"complete\(unknown=np\.nan\)", "--leave-unknown"),
    (r"filter_already_liked_items=False", "--include-rated"),
    (r"or make one with save", "or make one with dmc fit -o"),
    (r"save or `dmc fit -o` wrote", "`dmc fit -o` wrote"),
    (r"\bthe test part of dmc\.evaluation\.split", "the part that dmc evaluate --split holds out"),
    (r"load it with dmc\.\w+", "give one that dmc fit -o wrote"),
    (r"\bmin_value and max_value\b", "--min and --max"),
    (
        r"(?<!')\b(min_value|max_value|missing_values|n_threads|test_fraction|user_features|item_features|max_steps|time_limit)\b",
        None,
    ),
    (r"leave (intervals|model|depth|weight|device|rank|ensemble|time) out", r"leave --\1 out"),
    (r"(?<=\bgive )a data frame \(.*?\), a mapping .* or the path of a file", "the path of a file"),
    (r"replace by NaN what is missing", "leave the cells empty that are missing"),
    (r"\bX (?=holds|is\b|has\b|\()", "the table "),
    (r"\boccur in X\b", "occur in the table"),
)


def in_shell_words(message: object) -> str:
    """A sentence of the library, its remedy being one for the shell.

    Examples
    --------
    >>> from dmc.cli.wording import in_shell_words
    >>> in_shell_words("1 rating repeats a user and an item; pass duplicates='last' or duplicates='mean'")
    '1 rating repeats a user and an item; pass --duplicates last or --duplicates mean'
    """
    sentence = OPTIONS.sub(_option, str(message))
    for phrase, ours in PHRASES:
        sentence = re.sub(phrase, ours if ours is not None else _name, sentence)
    return sentence


def _option(found: re.Match[str]) -> str:
    name, text, number = found.groups()
    if (name, text) == ("loss", "robust"):
        return "--robust"
    return f"--{RENAMED.get(name, name).replace('_', '-')} {text if number is None else number}"


def _name(found: re.Match[str]) -> str:
    return f"--{RENAMED.get(found[0], found[0]).replace('_', '-')}"
