"""Arguments that several commands take, and where they lead: files, the standard input, columns."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from dmc.cli.wording import STDIN, WrongUse

INPUT = "Text, JSON lines or Parquet; - is the standard input."

UserColumn = Annotated[str, typer.Option("--user", help="Column of the users.")]
ItemColumn = Annotated[str, typer.Option("--item", help="Column of the items.")]
RatingColumn = Annotated[str, typer.Option("--rating", help="Column of the ratings, or of counts of clicks.")]
WeightColumn = Annotated[str | None, typer.Option("--weight", help="Column of weights above 0; left out: all alike.")]
TimeColumn = Annotated[str | None, typer.Option("--time", help="Column of times; timestamp if left out.")]
Feedback = Annotated[
    Literal["explicit", "implicit"],
    typer.Option("--feedback", help="Ratings, or clicks, plays and purchases, which need no column of ratings."),
]
Rank = Annotated[int | None, typer.Option("--rank", min=1, help="Directions at most; found if left out.")]
Duplicates = Annotated[
    Literal["error", "mean", "last", "latest"],
    typer.Option(help="Of repeated ratings: the last in the file, or the latest by --time. Clicks add up."),
]
UserFeatures = Annotated[
    Path | None, typer.Option("--user-features", help="Table with the column of users, and what is known of each.")
]
ItemFeatures = Annotated[
    Path | None, typer.Option("--item-features", help="Table with the column of items, and what is known of each.")
]
CheckpointFile = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        help="A file that a long fit is kept in: killed, or ended by Ctrl-C, the same command goes on from it.",
    ),
]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads to use; all cores if left out.")]
Model = Annotated[Path, typer.Argument(help="A model that `dmc fit -o` saved.")]
Titles = Annotated[
    Path | None, typer.Option("--titles", help="File with an item's id and title in each line, such as u.item.")
]
TableOutput = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="File to write in place of the screen: .csv, .tsv, .jsonl or .parquet."),
]


def source(path: Path) -> Any:
    """What a table is read from: a path, or the standard input for -."""
    return getattr(sys.stdin, "buffer", sys.stdin) if str(path) == STDIN else path


def opened(path: Path, columns: tuple[str | None, ...], *, whole: bool = False) -> Any:
    """The `dmc.recommend.tables.table.Table` of a file: of these columns, or whole. None is a column without a name."""
    from dmc.recommend.tables.table import Table

    names = [name for name in columns if name is not None]
    return Table.open(source(path), names, None if whole else names)


def features(path: Path | None, column: str) -> Any:
    """The table of what is known of the ids in a column, or None."""
    return None if path is None else opened(path, (column,), whole=True)


def refuse_stdin_twice(*paths: Path | str | None) -> None:
    """The standard input can be read once."""
    if sum(str(path) == STDIN for path in paths) > 1:
        raise WrongUse("- is given for several tables, and the standard input is one; give files for the others")


def given(**options: Any) -> dict[str, Any]:
    """The options that were given; for the others the library has its own defaults."""
    return {name: value for name, value in options.items() if value is not None}


def keeping(checkpoint: Path | None) -> list[Any]:
    """The callbacks of a fit that is kept in a file, and says so when it goes on from there."""
    if checkpoint is None:
        return []
    from dmc.solver.checkpoint import Checkpoint

    kept, told = Checkpoint(checkpoint), list[bool]()

    def tell(info: Any) -> None:
        if kept.resumed and not told:
            told.append(True)
            typer.echo(f"dmc: the fit goes on from {checkpoint}", err=True)

    return [kept, tell]
