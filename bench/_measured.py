"""The line under every table: the command that repeats it, and where and when it was measured."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from _harness import load

Section = Callable[[], list[str]]

# Scripts that need packages beside dmc: the target of the Makefile that installs these and runs all, and where to.
ENVIRONMENTS = {
    **dict.fromkeys(("recommend", "sparse_ratings", "cold_items", "clicks"), ("bench-recommend", ".venv-bench")),
    **dict.fromkeys(("adapters", "skip_tuning"), ("bench-adapters", ".venv-adapters")),
    "spark_als": ("bench-spark", ".venv-spark"),
}


def repeated_by(*runs: str, of: dict[str, tuple[str, ...]], script: str = "") -> Callable[[Section], Section]:
    """Put that line under a table.

    `of` has, for each file of results, the beginnings of the cases that are in the table. `script`, one of
    ENVIRONMENTS, is given where a run needs an environment of its own.
    """

    def decorate(section: Section) -> Section:
        @wraps(section)
        def with_origin() -> list[str]:
            rows = [row for bench, starts in of.items() for row in load(bench) if row["case"].startswith(starts)]
            return [*section(), "", f"*{' '.join([command(runs, script), *where(rows)])}*"]

        return with_origin

    return decorate


def command(runs: tuple[str, ...], script: str) -> str:
    if not script:
        return f"To repeat: `dmc bench {' '.join(runs)}`."
    target, environment = ENVIRONMENTS[script]
    return f"To repeat: `make {target}`, or this alone: `{environment}/bin/python bench/{script}.py {' '.join(runs)}`."


def where(rows: list[dict[str, Any]]) -> list[str]:
    """Processor, dates and commits, as they are recorded with the results."""
    if not rows:
        return []
    machines = list(dict.fromkeys(f"{row['cores']} cores of an {_short(row['machine'])}" for row in rows))
    dates = sorted({row["date"] for row in rows})
    commits = list(dict.fromkeys(row["commit"].rstrip("+") for row in rows))
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    which = f"commit{'s' * (len(commits) > 1)} {', '.join(commits)}"
    if len(commits) > 4:
        which = f"{len(commits)} commits from {commits[0]} to {commits[-1]}"
    return [f"Measured on {' and on '.join(machines)}; {when}; {which}."]


def _short(machine: str) -> str:
    return machine.replace("(R)", "").replace(" Processor", "")


def not_yet() -> list[str]:
    """In place of a table whose results are not there; the line under it says what makes them."""
    return ["**Not measured yet.**"]


def table(*columns: str) -> list[str]:
    """The two lines that begin one."""
    head = f"| {' | '.join(columns)} |"
    return [head, "|---" * (head.count("|") - 1) + "|"]


def given(label: str) -> str:
    """A contender's label, in words for a reader."""
    return label.replace(", told rank ", ", given rank ")
