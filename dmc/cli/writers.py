"""Tables that are written in pieces: CSV, JSON lines or Parquet, by the file's suffix; a file appears whole or not."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import typer

from dmc._whole_file import whole_file
from dmc.cli.interrupts import told_of_interrupts
from dmc.cli.output import as_json, check_output, show_json
from dmc.cli.wording import WrongUse

Columns: TypeAlias = Mapping[str, Any]  # names and (rows,) arrays
Write: TypeAlias = Callable[[Columns], None]

DELIMITERS = {"": ",", ".csv": ",", ".txt": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson", ".json")
PARQUET = (".parquet", ".pq")
ROWS = 100_000  # turned into text at a time
_encode = json.JSONEncoder(default=str).encode  # json.dumps would make one for each row


def check_table_output(path: Path | None, *read: Path | None) -> None:
    """Whether a table can be written there, before the work and not after it; not in the place of those that are
    read."""
    if path is None or not written_through(path):
        check_output(path, *read)
    if path is None:
        return
    suffix = path.suffix.lower()
    if suffix not in (*DELIMITERS, *JSON_LINES, *PARQUET):
        raise WrongUse(f"{path.name} ends in {path.suffix}; tables are written as .csv, .tsv, .jsonl or .parquet")
    if suffix in PARQUET and importlib.util.find_spec("pyarrow") is None:
        raise ImportError("Parquet needs pyarrow, which is not installed; run: pip install pyarrow")


@contextmanager
def table_writer(output: Path | None, in_json: bool, name: str, **more: object) -> Iterator[Write]:
    """Gives a function that writes rows: columns of one length, as often as wanted, each time of the same names.

    Parameters
    ----------
    output : path or None
        A file, whose suffix tells its format; None is the screen, in CSV.
    in_json : bool
        Without `output`: one line of JSON in place of the CSV, with the rows as a list under `name`, behind what else
        is given. With it: one line that tells of the file.
    """
    if output is not None:
        with _opened(output) as file, _Counted(file, output.suffix.lower()) as counted:
            yield counted.write
        if in_json:
            show_json({**more, "output": str(output), "n_rows": counted.rows})
        return
    put = partial(typer.echo, nl=False)
    if not in_json:
        yield _Text(put, as_delimited).write
        return
    put(f"{as_json(more)[:-1]}{', ' if more else ''}{json.dumps(name)}: [")
    yield _Text(put, _as_json_list).write
    put("]}\n")


def written_through(output: Path) -> bool:
    """Whether rows go to a place at once: to a pipe or a device, which no file may replace."""
    if output.is_relative_to("/dev") and not output.is_relative_to("/dev/shm"):
        return True  # /dev/stdout may be a file, to which others go on writing
    return os.path.exists(output) and not (output.is_file() or output.is_dir())


@contextmanager
def _opened(output: Path) -> Iterator[BinaryIO]:
    """A file that appears whole or not at all, also on Ctrl-C; or what is written through."""
    if written_through(output):
        with open(output, "wb") as through:
            yield through
        return
    with told_of_interrupts(), whole_file(output) as file:
        yield file


class _Counted:
    """The rows of a file that is being written, and their number."""

    def __init__(self, file: BinaryIO, suffix: str) -> None:
        self.rows = 0
        self._parquet = _Parquet(file) if suffix in PARQUET else None
        encode = as_json_lines if suffix in JSON_LINES else partial(as_delimited, delimiter=DELIMITERS.get(suffix, ","))
        self._write = self._parquet.write if self._parquet is not None else _Text(file.write, encode).write

    def write(self, columns: Columns) -> None:
        self.rows += _length(columns)
        self._write(columns)

    def __enter__(self) -> _Counted:
        return self

    def __exit__(self, *of_error: object) -> None:
        if self._parquet is not None:
            self._parquet.close()


class _Text:
    """Rows as bytes, some at a time, so that the text of a large table is never there as a whole."""

    def __init__(self, put: Callable[[bytes], object], encode: Callable[[Columns, bool], bytes]) -> None:
        self._put, self._encode, self._first = put, encode, True

    def write(self, columns: Columns) -> None:
        for first in range(0, max(_length(columns), 1), ROWS):
            part = {name: values[first : first + ROWS] for name, values in columns.items()}
            self._put(self._encode(part, self._first))
            self._first = False


class _Parquet:
    def __init__(self, file: Any) -> None:
        self._file = file
        self._writer: Any = None  # until the first rows tell the types of the columns

    def write(self, columns: Columns) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        try:
            table = pa.table({name: pa.array(_for_arrow(values)) for name, values in columns.items()})
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{error.object!r} is not UTF-8 and Parquet holds no other text; write .csv, or recode the ratings"
            ) from None
        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _for_arrow(values: Any) -> Any:
    """Arrow's own conversion takes arrays of numbers, and of text only lists."""
    return values.tolist() if values.dtype.kind in "US" else values


def as_delimited(columns: Columns, first: bool, delimiter: str = ",") -> bytes:
    """Rows as CSV, below a header if they are the first; numbers to six digits, NaN as nothing."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    if first:
        writer.writerow(columns)
    writer.writerows(zip(*map(_as_fields, columns.values()), strict=True))
    return text.getvalue().encode("utf-8", "surrogateescape")  # ids of another encoding come back as they were


def _as_fields(values: Any) -> list[Any]:
    if values.dtype.kind == "f":
        return ["" if v != v else f"{v:.6g}" for v in values.tolist()]
    if values.dtype.kind == "b":
        return ["true" if v else "false" for v in values.tolist()]
    return values.astype(str).tolist() if values.dtype.kind in "mM" else values.tolist()


def as_json_lines(columns: Columns, first: bool = True) -> bytes:
    """Rows as JSON, one a line, with all digits; NaN and infinity as null."""
    return b"".join(_encode(row).encode() + b"\n" for row in _as_objects(columns))


def _as_json_list(columns: Columns, first: bool) -> bytes:
    """Rows as items of a list that others may follow, or precede."""
    items = ", ".join(_encode(row) for row in _as_objects(columns)).encode()
    return items if first or not items else b", " + items


def _as_objects(columns: Columns) -> Iterator[dict[str, Any]]:
    values = (_as_values(values) for values in columns.values())
    return (dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True))


def _as_values(values: Any) -> list[Any]:
    if values.dtype.kind == "f":
        return [v if math.isfinite(v) else None for v in values.tolist()]
    return values.astype(str).tolist() if values.dtype.kind in "mM" else values.tolist()


def _length(columns: Columns) -> int:
    return len(next(iter(columns.values()), ()))
