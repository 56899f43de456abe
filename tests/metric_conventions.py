"""The table of docs/guide/metrics.md, cell by cell: what each says, as a formula, and lists to try it on."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

PAGE = Path(__file__).parent.parent / "docs" / "guide" / "metrics.md"
N = 4
CATALOGUE = "abcdefghijklmnopqrst"
LISTS = {"ann": "abcde", "bob": "fga", "cat": "abc"}  # best first; dan gets none
GRADES = {  # what is relevant, and how much
    "ann": {"b": 3, "e": 5, "x": 1},
    "bob": {"f": 2, "a": 4, "p": 5, "q": 1, "r": 1, "s": 3, "t": 2},  # more than N
    "cat": {"z": 2},
    "dan": {"a": 1},
}
FITTED = {"ann": "pq", "bob": "bcd", "cat": "de", "dan": "bcd"}  # what each had before: a, f and g nobody


class Case(NamedTuple):
    """One user's list, and what is relevant."""

    given: str
    grades: dict[str, int]
    n: int = N

    def gain(self, worth: Callable[[int], float], discount: Callable[[int], float]) -> float:
        """Discounted gain over that of the best list."""
        given = [worth(self.grades[item]) if item in self.grades else 0 for item in self.given[: self.n]]
        best = sorted(map(worth, self.grades.values()), reverse=True)[: self.n]
        gains = [sum(g * discount(p) for p, g in enumerate(places, 1)) for places in (given, best)]
        return gains[0] / gains[1]

    @property
    def places(self) -> list[int]:
        return [p for p, item in enumerate(self.given[: self.n], 1) if item in self.grades]

    @property
    def precisions(self) -> float:
        return sum(hits / p for hits, p in enumerate(self.places, 1))


def _over(a: float, b: float) -> float:
    return a / b if b else math.nan


def _clipped(p: int) -> float:
    return 1 / max(math.log2(p), 1)


def _usual(p: int) -> float:
    return 1 / math.log2(p + 1)


def _bits(case: Case) -> float:
    counts = [sum(item in had for had in FITTED.values()) for item in case.given[: case.n]]
    return float(np.mean([-math.log2(max(c, 1) / len(FITTED)) for c in counts])) if counts else math.nan


# What a cell says, for one user.
FORMULAS: dict[str, Callable[[Case], float]] = {
    "hits / n": lambda c: len(c.places) / c.n,
    "hits / (items recommended, at most n)": lambda c: _over(len(c.places), min(len(c.given), c.n)),
    "hits / relevant": lambda c: len(c.places) / len(c.grades),
    "hits / (relevant, at most n)": lambda c: len(c.places) / min(len(c.grades), c.n),
    "1 if there is a hit": lambda c: float(bool(c.places)),
    "1 / p of the first hit": lambda c: 1 / c.places[0] if c.places else 0,
    "Σ precision at hits / (relevant, at most n)": lambda c: c.precisions / min(len(c.grades), c.n),
    "Σ precision at hits / relevant": lambda c: c.precisions / len(c.grades),
    "Σ precision at hits / (relevant, at most the items recommended)": lambda c: _over(
        c.precisions, min(len(c.grades), len(c.given), c.n)
    ),
    "Σ 1 / log₂(p + 1) over hits, / the best list's": lambda c: c.gain(lambda g: 1, _usual),
    "Σ 1 / max(log₂ p, 1) over hits, / the best list's": lambda c: c.gain(lambda g: 1, _clipped),
    "Σ 1 / log₂(p + 1) over hits, / that of n hits": lambda c: (
        sum(map(_usual, c.places)) / sum(map(_usual, range(1, c.n + 1)))
    ),
    "Σ grade / log₂(p + 1), / the best list's": lambda c: c.gain(lambda g: g, _usual),
    "Σ grade / max(log₂ p, 1), / the best list's": lambda c: c.gain(lambda g: g, _clipped),
    "Σ (2^grade − 1) / log₂(p + 1), / the best list's": lambda c: c.gain(lambda g: 2**g - 1, _usual),
    "mean of −log₂ of the share of users who have the item": _bits,
}
OF_ALL = "share of the catalogue in any list"


def cells(library: str) -> dict[str, str]:
    """What the first table of the page says of a library (or "here"), by the measure; without what it has not."""
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    head = rows[0]
    assert head == ["`dmc.metrics`", "here", "ranx", "LensKit", "RecTools"]
    end = next(k for k, row in enumerate(rows) if row[0] == "a user …")
    found = {row[0]: row[head.index(library)].strip() for row in rows[2:end]}
    return {measure: cell for measure, cell in found.items() if cell != "–"}


def expected(cell: str) -> dict[str, float]:
    """What the formula in a cell gives for each user."""
    return {user: FORMULAS[cell](Case(LISTS.get(user, ""), grades)) for user, grades in GRADES.items()}


def check(cell: str, figures: dict[str, float]) -> None:
    """That a library's figures, of each user, are those of the formula in its cell, and of no other of the page."""
    wanted = expected(cell)
    np.testing.assert_allclose([figures[user] for user in wanted], list(wanted.values()), rtol=1e-12, err_msg=cell)
    for other in FORMULAS.keys() - {cell}:
        values = list(expected(other).values())
        assert not np.allclose([figures[user] for user in wanted], values, equal_nan=True), f"{cell} and {other} agree"
