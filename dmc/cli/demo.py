"""`dmc demo`: a photograph, a table with gaps and ratings, each judged on what was hidden from the fit."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from dmc.cli.interrupts import told_of_interrupts
from dmc.cli.output import Json, check_figure, show_json


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to draw the picture.")] = Path("dmc-demo.png"),
    as_json: Json = False,
) -> None:
    """Fill in a photograph and a table, and recommend from ratings.

    Each result is checked against what was hidden.
    """
    check_figure(output)
    from dmc import plots
    from dmc.cli import demo_parts

    began = time.perf_counter()
    with redirect_stdout(sys.stderr) if as_json else nullcontext():  # standard output is then for a program
        parts = {name: of() for name, of in demo_parts.PARTS.items()}
        with told_of_interrupts():
            plots.panels([diagram for part in parts.values() for diagram in part.diagrams], output)
        seconds = time.perf_counter() - began
        typer.echo(f"\nAll of it took {seconds:.0f} seconds; the picture is {output}")
    if as_json:
        show_json({name: part.found for name, part in parts.items()} | {"figure": str(output), "seconds": seconds})
