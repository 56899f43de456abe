"""Ids on the command line, or in files of them: one a line, or a column of a table."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dmc.cli.wording import STDIN

if TYPE_CHECKING:
    from dmc.recommend.tables.vocabulary import Vocabulary

DELIMITERS = ("\t", ",", ";", "|", "::")
TABLES = (".parquet", ".pq", ".jsonl", ".ndjson", ".json", ".gz")
NO_DELIMITER = "\x1f"  # a whole line is the id, spaces and all


def listed(given: Sequence[str] | None, column: str, known: Vocabulary | None, option: str) -> Any:
    """(ids,) those that were given, and those in the files that were given among them; None if nothing was.

    Parameters
    ----------
    given : sequence of str or None
        Ids, and paths of files; - is the standard input.
    column : str
        Of a table that has several.
    known : Vocabulary or None
        What the ids have to be among: it is an error if none is, and told if some are not.
    option : str
        What the shell calls it.
    """
    if given is None:
        return None
    import numpy as np

    from dmc.recommend.tables.vocabulary import as_ids

    parts = [_of_one(one, column) for one in given]
    ids = parts[0] if len(parts) == 1 else as_ids(np.concatenate([part.astype(str) for part in parts]), column)
    if known is not None:
        _check(ids, known.positions(ids) < 0, column, option)
    return ids


def _of_one(given: str, column: str) -> Any:
    path = Path(given)
    is_file = given == STDIN or (path.exists() and not path.is_dir())  # a pipe is one: --items <(cut -f1 log)
    return in_file(given, column) if is_file else named([given], column)


def named(given: Sequence[str], column: str) -> Any:
    """(ids,) what was given, taken for ids whatever files there are."""
    import numpy as np

    from dmc.recommend.tables.vocabulary import as_ids

    return as_ids(np.asarray(given), column)


def _check(ids: Any, unknown: Any, column: str, option: str) -> None:
    count, first = int(unknown.sum()), ids[unknown][:1].tolist()
    if count == len(ids):
        which = (
            f"{column} {first[0]!r} is neither known nor a file" if count == 1 else f"none of {count:,} ids is known"
        )
        raise ValueError(f"{option}: {which}; give ids of the fit, or the path of a file of them")
    if count:
        typer.echo(f"dmc: {option}: {count:,} of {len(ids):,} ids, such as {first[0]!r}, are not known", err=True)


def in_file(path: str, column: str) -> Any:
    """(ids,) in a file: each line is an id where the first has no delimiter; else a table with that column.

    Raises
    ------
    ValueError, OSError
        If it is not there, is empty or cannot be understood.
    """
    from dmc.recommend.tables.table import Table

    if path != STDIN and Path(path).suffix.lower() in TABLES:
        return Table.open(Path(path), (column,)).ids(column)
    content = _content(path)
    first = next((line for line in content.splitlines() if line.strip()), b"")
    if any(delimiter.encode() in first for delimiter in DELIMITERS):
        stream = io.BytesIO(content)
        stream.name = "standard input" if path == STDIN else path  # as messages call it
        return Table.open(stream, (column,)).ids(column)
    return _one_a_line(content, path, column)


def _content(path: str) -> bytes:
    """Read once: a pipe has nothing more the second time."""
    from dmc.recommend.tables import text_source

    source = getattr(sys.stdin, "buffer", sys.stdin) if path == STDIN else Path(path)
    try:
        with text_source.opened(source) as file:
            return b"".join(text_source.blocks(file, _called(path)))
    except IsADirectoryError:
        raise IsADirectoryError(f"{_called(path)} is a folder; give a file of ids, one a line") from None


def _called(path: str) -> str:
    from dmc.recommend.tables import text_source

    return "standard input" if path == STDIN else text_source.called(path)


def _one_a_line(content: bytes, path: str, column: str) -> Any:
    import numpy as np

    from dmc.recommend.tables.delimited import RowReader
    from dmc.recommend.tables.text_source import decoded
    from dmc.recommend.tables.vocabulary import as_ids

    rows = RowReader(iter([decoded(content)]), NO_DELIMITER, _called(path)).some(len(content))
    found = [row[0].strip() for _, row in rows if row[0].strip()]
    if found[:1] == [column]:
        found = found[1:]
    if not found:
        raise ValueError(f"{_called(path)} holds no ids; give one a line")
    return as_ids(np.asarray(found), column)
