"""dmc complete: the gaps of a table filled in."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import dmc
from dmc.cli.arguments import CheckpointFile, Rank, TableOutput, Threads, given, keeping
from dmc.cli.interrupts import told_of_interrupts
from dmc.cli.output import Json, interactive, show
from dmc.cli.wording import WrongUse
from dmc.cli.writers import PARQUET, check_table_output, table_writer

if TYPE_CHECKING:
    from dmc.cli.gapped_table import Cells, GappedTable

Bounds = list[str] | None
SHOWN = 20  # columns and outliers on the screen


def complete(
    table: Annotated[Path, typer.Argument(help="CSV, TSV or Parquet file with a header. - reads standard input.")],
    output: TableOutput = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="<column>", help="Column to keep as it is, such as a numeric id. Repeatable."),
    ] = None,
    missing_values: Annotated[
        float | None, typer.Option(help="Number that marks missing cells, such as -200, besides empty cells and NA.")
    ] = None,
    least: Annotated[
        Bounds,
        typer.Option(
            "--min", metavar="<bound>", help="Lower bound of all columns, or of one: COLUMN=VALUE. Repeatable."
        ),
    ] = None,
    most: Annotated[Bounds, typer.Option("--max", metavar="<bound>", help="Upper bound, likewise.")] = None,
    rank: Rank = None,
    robust: Annotated[
        bool, typer.Option("--robust", help="Leave grossly wrong cells out of the fit, and list them.")
    ] = False,
    leave_unknown: Annotated[
        bool, typer.Option("--leave-unknown", help="Leave cells empty that the others cannot determine.")
    ] = False,
    std: Annotated[
        Path | None, typer.Option("--std", help="File for the standard deviations of the filled cells.")
    ] = None,
    threads: Threads = None,
    checkpoint: CheckpointFile = None,
    as_json: Json = False,
) -> None:
    """Fill in the missing cells of a table of numbers.

    Observed cells and columns of text stay as they are.
    """
    if std is not None and std == output:
        raise WrongUse(f"-o and --std are both {std}; give another file for one of them")
    for path in (output, std):
        check_table_output(path, checkpoint)
    from dmc._checks import is_number
    from dmc.cli import gapped_table

    gapped = gapped_table.read(table, label or ())
    if gapped.row_numbers is not None:
        typer.echo(f"dmc: column {gapped.row_numbers!r} numbers the rows, and is kept as a label", err=True)
    if all(map(is_number, gapped.columns)):
        typer.echo(f"dmc: the first line, {', '.join(gapped.columns)}, is taken for the names of the columns", err=True)
    bounds = {
        "min_value": _bounds(least, gapped, "--min", float("-inf")),
        "max_value": _bounds(most, gapped, "--max", float("inf")),
    }
    where = gapped.missing(missing_values)
    if not len(where[0]):
        typer.echo("dmc: no cell is missing; the table is written unchanged", err=True)
        _write(gapped, None, None, output, as_json)
        return
    model = dmc.MatrixCompletion(
        rank,
        loss="robust" if robust else "squared",
        n_threads=threads,
        verbose=interactive(),
        callbacks=keeping(checkpoint),
        **given(missing_values=missing_values, **bounds),
    )
    with names_of(gapped), told_of_interrupts():
        model.fit(gapped.values)
        cells, deviations = _filled(model, where, leave_unknown, std is not None)
    if deviations is not None and std is not None:
        with table_writer(std, False, "std") as write:
            write(gapped.only(deviations))
    _write(gapped, model, cells, output, as_json)


def _write(table: GappedTable, model: Any, cells: Cells | None, output: Path | None, as_json: bool) -> None:
    """The completed table, or the table as it was, and what there is to say of it."""
    figures = _figures(model, table, cells)
    as_numbers = output is not None and output.suffix.lower() in PARQUET
    if cells is None:
        columns = table.columns
    else:
        columns = table.with_cells(cells) if as_numbers else table.with_cells_as_text(cells, model.column_errors_)
    with table_writer(output, as_json, "completed", **figures) as write:
        write(columns)
    if output is not None and not as_json:
        _show(figures, output)


def _bounds(said: Bounds, table: GappedTable, option: str, none: float) -> list[float] | None:
    """One bound for each column, from VALUE and COLUMN=VALUE."""
    if not said:
        return None
    bounds = dict.fromkeys(table.of_numbers, none)
    for one in sorted(said, key=lambda one: "=" in one):  # what is said of all columns comes first
        name, _, value = one.rpartition("=")
        try:
            number = float(value)
        except ValueError:
            raise WrongUse(f"{option} is {one!r}; give a number, or COLUMN=NUMBER") from None
        if name and name not in bounds:
            raise ValueError(
                f"{option} names the column {name!r}; the columns of numbers are {_quoted(table.of_numbers)}"
            )
        bounds |= {name: number} if name else dict.fromkeys(bounds, number)
    return list(bounds.values())


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


@contextmanager
def names_of(table: GappedTable) -> Iterator[None]:
    """Warnings and errors speak of the file's columns and lines, where the library counts those of a matrix."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        try:
            yield
        except (ValueError, TypeError) as error:
            raise type(error)(table.named(str(error))) from None
        finally:
            sentences = [(table.named(str(warning.message)), warning.category) for warning in told]
    for sentence, category in sentences:
        warnings.warn(sentence, category, stacklevel=3)


def _filled(model: Any, where: tuple[Any, Any], leave_unknown: bool, deviations: bool) -> tuple[Cells, Cells | None]:
    """What goes into the missing cells, and their standard deviations if asked for; NaN for what cannot be known."""
    import numpy as np

    from dmc.cli.gapped_table import Cells

    found = model.predict(*where, return_std=deviations)
    values, spreads = found if deviations else (found, None)
    if leave_unknown:
        values = np.where(model.identifiability_.known(*where), values, np.nan)
    return Cells(*where, values), None if spreads is None else Cells(*where, spreads)


def _figures(model: Any, table: GappedTable, cells: Cells | None) -> dict[str, Any]:
    n_rows, n_columns = table.values.shape
    sizes = {"rows": n_rows, "columns_of_numbers": n_columns}
    if cells is None:
        return {**sizes, "filled": 0}
    left = int((cells.values != cells.values).sum())
    return {
        **sizes,
        "filled": len(cells.values) - left,
        "left_empty": left,
        "rank": model.rank_,
        "held_out_rmse": model.held_out_rmse_,
        "column_errors": dict(zip(table.of_numbers, model.column_errors_.tolist(), strict=True)),
        "outliers": len(model.outliers_),
        "outlier_cells": [_cell(table, row, col) for row, col in model.outliers_.tolist()],
        "status": model.status_.name,
    }


def _cell(table: GappedTable, row: int, col: int) -> dict[str, Any]:
    """Where a cell is in the file, and what it holds."""
    place = {"row": row} if table.lines is None else {"line": int(table.lines[row])}
    return {**place, "column": table.of_numbers[col], "value": float(table.values[row, col])}


def _show(figures: dict[str, Any], output: Path) -> None:
    """The figures one below the other; of columns and outliers the first ones."""
    errors, outliers = figures.get("column_errors", {}), figures.get("outlier_cells", [])
    rows = [
        (name.replace("_", " ").replace("held out", "held-out"), _figure(value))
        for name, value in figures.items()
        if name not in ("column_errors", "outlier_cells") and (name != "held_out_rmse" or len(errors) > SHOWN)
    ]
    rows.append(("table", str(output)))
    rows += [(f"error of {name}", _figure(error)) for name, error in list(errors.items())[:SHOWN]]
    for cell in outliers[:SHOWN]:
        place, at = next(iter(cell.items()))
        rows.append((f"outlier in {place} {at}", f"{cell['column']} = {_figure(cell['value'])}"))
    show(rows)
    if max(len(errors), len(outliers)) > SHOWN:
        typer.echo(f"  (the first {SHOWN} columns and outliers; --json has all)")


def _figure(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
