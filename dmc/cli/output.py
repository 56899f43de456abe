"""What commands share: how results reach a person or a program, and where files may be written."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from dmc._whole_file import refuse_unwritable, resolved
from dmc.cli.wording import STDIN, WrongUse

FIGURES = (".png", ".pdf", ".svg")
Json = Annotated[bool, typer.Option("--json", help="Print the results as one line of JSON.")]


def show(rows: Sequence[tuple[str, str]]) -> None:
    """Names and values, one below another."""
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        typer.echo(f"  {name:{width}}  {value}")


def show_json(found: Any) -> None:
    """One line of JSON; what is no number there (NaN, infinity) is null."""
    typer.echo(as_json(found))


def as_json(found: Any) -> str:
    """Valid JSON, which has neither NaN nor infinity."""
    try:
        return json.dumps(found, allow_nan=False)
    except ValueError:
        return json.dumps(_without_nan(found), allow_nan=False)


def _without_nan(found: Any) -> Any:
    if isinstance(found, float):
        return found if math.isfinite(found) else None
    if isinstance(found, dict):
        return {name: _without_nan(value) for name, value in found.items()}
    if isinstance(found, (list, tuple)):
        return [_without_nan(value) for value in found]
    return found


def check_output(path: Path | None, *read: Path | None) -> None:
    """Whether a file can be written there whole, before the work and not after it; see `dmc._whole_file`. It may take
    the place of none of those that are read."""
    if path is None:
        return
    if str(path) == STDIN:
        raise WrongUse("- is the standard input and cannot be written; give a path")
    refuse_unwritable(path)
    for other in read:
        if other is not None and str(other) != STDIN and resolved(other) == resolved(path):
            raise WrongUse(f"{other} is both read and written, and would be lost; give another path to -o")


def check_figure(path: Path | None) -> None:
    """Whether a figure can be drawn there, before the work and not after it."""
    check_output(path)
    if path is None:
        return
    if path.suffix.lower() not in FIGURES:
        raise WrongUse(f"{path.name} ends in {path.suffix or 'nothing'}; figures are written as .png, .pdf or .svg")
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError("figures need matplotlib, which is not installed; run: pip install 'dmc[plot]'")


def interactive() -> bool:
    """Progress bars are for people."""
    return sys.stderr.isatty()
