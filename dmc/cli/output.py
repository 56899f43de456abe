"""What commands share: how results reach a person or a program, and where files may be written."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import ArrayLike

Json = Annotated[bool, typer.Option("--json", help="End with one line of JSON, for machines.")]


# What the library says of its parameters, as the shell has them.
OPTIONS = re.compile(r"\b(user|item|rating|duplicates|model)='([^']*)'")
PHRASES = {"fit Recommender(intervals=True) to ratings": "fit it with dmc fit --intervals"}


def in_shell_words(message: object) -> str:
    """A sentence of the library, its remedy being one for the shell."""
    sentence = OPTIONS.sub(r"--\1 \2", str(message))
    for phrase, ours in PHRASES.items():
        sentence = sentence.replace(phrase, ours)
    return sentence


def show(rows: Sequence[tuple[str, str]]) -> None:
    """Names and values, one below another."""
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        typer.echo(f"  {name:{width}}  {value}")


def write(columns: Mapping[str, ArrayLike], output: Path | None, as_json: bool, name: str, **more: object) -> None:
    """Columns as CSV to a file or the screen; as JSON: a list of rows under `name`, after what else is given."""
    rows = list(zip(*(np.asarray(values).tolist() for values in columns.values()), strict=True))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([f"{v:.4f}" if isinstance(v, float) else v for v in row] for row in rows)
    content = text.getvalue().encode("utf-8", "surrogateescape")  # ids of another encoding come back as they were
    if output is not None:
        output.write_bytes(content)
    if as_json:
        typer.echo(json.dumps({**more, name: [dict(zip(columns, row, strict=True)) for row in rows]}))
    elif output is None:
        typer.echo(content, nl=False)


def check_output(path: Path | None) -> None:
    """Whether a file can be written there, before the work and not after it."""
    if path is None:
        return
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the path of a file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to save {path.name} in; make it first")


def interactive() -> bool:
    """Progress bars are for people."""
    return sys.stderr.isatty()
