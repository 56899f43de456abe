"""dmc compare: networks of several kinds and MatrixCompletion on the table of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import dmc
from dmc.cli.arguments import given
from dmc.cli.interrupts import told_of_interrupts
from dmc.cli.output import Json, check_figure, interactive, show_json
from dmc.cli.wording import WrongUse, check_share, in_shell_words, of_options


def compare(
    table: Annotated[Path, typer.Argument(help="CSV, TSV or Parquet file with a header. - reads standard input.")],
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="<column>", help="Column to leave out, such as a numeric id. Repeatable."),
    ] = None,
    missing_values: Annotated[
        float | None, typer.Option(help="Number that marks missing cells, such as -200, besides empty cells and NA.")
    ] = None,
    standardize: Annotated[
        bool, typer.Option("--standardize", help="Subtract each column's mean and divide by its spread.")
    ] = False,
    rank: Annotated[
        int | None, typer.Option(help="Upper bound of the rank. Default: 10, or less where cells are few.", min=1)
    ] = None,
    depth: Annotated[
        int | None, typer.Option(help="Inner factors, or layers, of the networks. Default: 3.", min=2)
    ] = None,
    contenders: Annotated[
        list[str] | None,
        typer.Option("--contender", metavar="<name>", help="Run only this contender, such as compressed. Repeatable."),
    ] = None,
    test_fraction: Annotated[float | None, typer.Option(help="Share of the cells to hold out. Default: 0.1.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Steps of each network at most. Default: 5,000.", min=1)] = None,
    time_limit: Annotated[float | None, typer.Option(help="Seconds for each contender at most. Default: 30.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the held-out cells and the starting points.", min=0)] = None,
    figure: Annotated[
        Path | None,
        typer.Option("--figure", help="File for a figure of held-out error by steps and seconds (.png, .pdf, .svg)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare deep networks and MatrixCompletion on a table.

    Shows steps, seconds, parameters and held-out error of each.
    """
    check_share(test_fraction, "--test-fraction")
    if time_limit is not None and not time_limit > 0:
        raise WrongUse(f"--time-limit is {time_limit:g}; give seconds above 0")
    check_figure(figure)
    found = _compared(
        table,
        label or (),
        **given(
            missing_values=missing_values,
            standardize=standardize,
            rank=rank,
            depth=depth,
            contenders=_names(contenders),
            test_fraction=test_fraction,
            max_steps=max_steps,
            time_limit=time_limit,
            random_state=seed,
        ),
    )
    if figure is not None:
        with told_of_interrupts():
            found.figure(figure)
    if as_json:
        show_json(
            {
                "rows": found.shape[0],
                "columns": found.shape[1],
                "n_train": found.n_train,
                "n_test": found.n_test,
                "held_out": found.drawn,
                "settings": found.settings,
                "mean": found.baseline,
                "standardized": found.standardized,
                "contenders": found.table,
                "figure": None if figure is None else str(figure),
            }
        )
        return
    typer.echo(in_shell_words(found))
    if figure is not None:
        typer.echo(f"\nfigure  {figure}")


def _names(contenders: list[str] | None) -> list[str] | None:
    if contenders is None:
        return None
    from dmc._checks import choice
    from dmc.comparison.side_by_side import CONTENDERS

    with of_options():
        return [choice(name, "--contender", CONTENDERS) for name in contenders]


def _compared(path: Path, labels: Any, **options: Any) -> Any:
    """The comparison; warnings and errors speak of the file's columns and lines."""
    from dmc.cli import gapped_table
    from dmc.cli.completing import names_of

    gapped = gapped_table.read(path, labels)
    if gapped.row_numbers is not None:
        typer.echo(f"dmc: column {gapped.row_numbers!r} numbers the rows, and is left out", err=True)
    with names_of(gapped), told_of_interrupts():
        return dmc.compare(gapped.values, verbose=interactive(), **options)
