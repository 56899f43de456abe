"""What commands share: how results reach a person or a program, and where files may be written."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from dmc.cli.wording import STDIN, WrongUse

Json = Annotated[bool, typer.Option("--json", help="End with one line of JSON, for machines.")]


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


def check_output(path: Path | None) -> None:
    """Whether a file can be written there, before the work and not after it."""
    if path is None:
        return
    if str(path) == STDIN:
        raise WrongUse("- is the standard input, and no file to write; give a path")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the path of a file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to save {path.name} in; make it first")


def check_model_output(path: Path | None) -> None:
    """`check_output` for a model, which is written whole and put in place: a device such as /dev/stdout would go."""
    check_output(path)
    if path is not None and path.exists() and not path.is_file():
        raise OSError(f"{path} is not a regular file, and a model can be saved nowhere else; give the path of one")


def interactive() -> bool:
    """Progress bars are for people."""
    return sys.stderr.isatty()
