"""Arguments that several commands take, and where they lead: files, the standard input, columns."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from dmc.cli.wording import STDIN, WrongUse

INPUT = "Text, JSON lines or Parquet; - reads standard input."

UserColumn = Annotated[str, typer.Option("--user", help="Column of user ids.")]
ItemColumn = Annotated[str, typer.Option("--item", help="Column of item ids.")]
RatingColumn = Annotated[str, typer.Option("--rating", help="Column of ratings, or of counts.")]
WeightColumn = Annotated[
    str | None, typer.Option("--weight", help="Column of weights above 0. Default: equal weights.")
]
TimeColumn = Annotated[str | None, typer.Option("--time", help="Column of times. Default: timestamp.")]
Feedback = Annotated[
    Literal["explicit", "implicit"],
    typer.Option("--feedback", help="Ratings (explicit), or clicks, plays or purchases (implicit)."),
]
Rank = Annotated[
    int | None, typer.Option("--rank", min=1, help="Upper bound of the rank. Default: found from the data.")
]
Duplicates = Annotated[
    Literal["error", "mean", "last", "latest"],
    typer.Option(
        help="What to do with repeated ratings: keep the last in the file, or the latest by --time. Clicks add up."
    ),
]
UserFeatures = Annotated[
    Path | None, typer.Option("--user-features", help="Table of user features, with the column of user ids.")
]
ItemFeatures = Annotated[
    Path | None, typer.Option("--item-features", help="Table of item features, with the column of item ids.")
]
CheckpointFile = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        help="File for the state of a long fit: after a crash or Ctrl-C, the same command resumes from it.",
    ),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Number of threads. Default: OMP_NUM_THREADS, or one per processor.")
]
Model = Annotated[Path, typer.Argument(help="Model file that `dmc fit -o` wrote.")]
Titles = Annotated[
    Path | None, typer.Option("--titles", help="File of item titles: an id and a title on each line, such as u.item.")
]
TableOutput = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="File to write (.csv, .tsv, .jsonl or .parquet) instead of the screen."),
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
        raise WrongUse("- (standard input) is given for several tables; give files for all but one")


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
            typer.echo(f"dmc: the fit resumes from {checkpoint}", err=True)

    return [kept, tell]
