"""What a fuzzer is made of, and where those of the project stand."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

GROUPS = ("binding", "readers", "loaders")  # modules of this package, each with its TARGETS


class Fault(AssertionError):
    """What an attempt raises where the product answered wrongly without a word, or refused in the wrong way."""


class Tried(NamedTuple):
    """What an attempt may return, to be counted and judged more sharply."""

    answered: bool = True  # or else refused in words
    size: int = 0  # bytes of the input: ten times as many, and 100 MB, may be allocated for it


class Target(Protocol):
    """One thing that takes foreign input. It lives in a process of its own, whose working folder is `folder`."""

    name: str

    def prepare(self, folder: Path) -> None:
        """Make the corpus, always the same one."""

    def attempt(self, rng: np.random.Generator) -> Tried | None:
        """Make one input and try it; quiet where the product answered well or refused in words.

        Raises
        ------
        Fault
            Where it did neither. Any other exception that gets here is a fault as well.
        """


def targets(group: str) -> list[Target]:
    """Those of a group ("readers"), or one of them ("readers.json")."""
    module, _, name = group.partition(".")
    found: list[Target] = importlib.import_module(f"fuzz.{module}").TARGETS
    chosen = [target for target in found if not name or target.name == name]
    if not chosen:
        raise ValueError(f"{group} is no target; choose of {', '.join(f'{module}.{t.name}' for t in found)}")
    return chosen


def is_there(group: str) -> bool:
    """Whether the group's module is part of this checkout."""
    return importlib.util.find_spec(f"fuzz.{group.partition('.')[0]}") is not None
