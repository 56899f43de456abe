"""The columns of text: fields between delimiters, or a JSON object a line; packed by gzip or not; files or streams."""

from __future__ import annotations

import csv
import gzip
import sys
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

from numpy.typing import NDArray

from dmc.recommend.tables.delimited import Fields, Row, blocks, decoded, rows
from dmc.recommend.tables.json_lines import Objects
from dmc.recommend.tables.packed_column import PackedColumn

HEADLESS = ("user", "item", "rating", "timestamp")  # what the columns of a file without a header are taken for
DELIMITERS = ("::", "\t", ",", ";", "|")
JSON_LINES = (".jsonl", ".ndjson", ".json")
PEEK = 1000  # rows by which a header is told
BOM = b"\xef\xbb\xbf"


class TextColumns(Mapping[str, NDArray[Any]]):
    """Arrays by name, as a dict of them; but they take the room of numbers, and are text only when asked for.

    Attributes
    ----------
    names : list of str
        Of all columns that there are, those that are not kept too.
    packed : dict of PackedColumn or (rows,) array
        The kept ones, in the order of the file; arrays of what is no text, from JSON.
    """

    def __init__(self, names: list[str], packed: Mapping[str, PackedColumn | NDArray[Any]]) -> None:
        self.names, self.packed = names, packed

    def __getitem__(self, name: str) -> NDArray[Any]:
        column = self.packed[name]
        return column.text() if isinstance(column, PackedColumn) else column

    def __iter__(self) -> Iterator[str]:
        return iter(self.packed)

    def __len__(self) -> int:
        return len(self.packed)

    def count_rows(self) -> int:
        return len(next(iter(self.packed.values()), ()))


def read(sources: Sequence[Path | IO[Any]], columns: Sequence[str], only: Collection[str] | None = None) -> TextColumns:
    """The columns of files or streams one after the other, in the order of their lines.

    Parameters
    ----------
    sources : sequence of paths or of streams (of text or of bytes)
        JSON lines if the name ends in .jsonl, .ndjson or .json (a stream without a name: if it begins with a brace),
        else fields between delimiters; unpacked if it ends in .gz.
    columns : sequence of str
        The names that will be asked for: users, items and then ratings may not be empty.
    only : collection of str, optional
        Columns to keep; all, if left out.

    Raises
    ------
    ValueError, OSError
        If a file is not there, is empty, is cut off or cannot be understood, or has other columns than the first.
    """
    found: Fields | Objects | None = None
    for source in sources:
        origin = str(source) if isinstance(source, Path) else name_of(source)
        with _opened(source, origin) as file:
            given = _without_mark(blocks(file))
            head = next(given, b"")
            _refuse_packed(head, origin)
            given = chain([head] if head else [], given)
            suffixes = [suffix.lower() for suffix in Path(origin).suffixes if suffix.lower() != ".gz"]
            unnamed = not isinstance(source, Path) and not suffixes
            is_json = (suffixes and suffixes[-1] in JSON_LINES) or (unnamed and head.lstrip().startswith(b"{"))
            if found is not None and isinstance(found, Objects) != bool(is_json):
                raise ValueError(f"{origin} is of another kind than the files before it; give files of one kind")
            if is_json:
                objects = found if isinstance(found, Objects) else Objects(only)
                objects.read(map(decoded, given), origin)
                found = objects
            else:
                found = _read_fields(given, origin, columns, only, found if isinstance(found, Fields) else None)
    assert found is not None
    return TextColumns(found.names, dict(found.packed))


@contextmanager
def _opened(source: Path | IO[Any], origin: str) -> Iterator[IO[bytes]]:
    """Its bytes, unpacked; what fails is told in a sentence, while it is read too."""
    try:
        if not isinstance(source, Path):
            binary: Any = _bytes_of(source)
            unpacks = isinstance(binary, (_Encoded, gzip.GzipFile))  # and has the name of the packed file
            if origin.endswith(".gz") and not unpacks:
                with gzip.open(binary, "rb") as unpacked:
                    yield unpacked
            else:
                yield binary
            return
        if source.is_dir():
            raise IsADirectoryError(f"{source} is a folder; give a file of ratings, or a folder of Parquet files")
        with gzip.open(source, "rb") if source.suffix.lower() == ".gz" else open(source, "rb") as file:
            yield file  # type: ignore[misc]
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {origin}; check the path") from None
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise ValueError(f"{origin} is not a whole gzip file; pack it again, or name it without .gz") from None


def _refuse_packed(head: bytes, origin: str) -> None:
    """What is told by its first bytes, and is read by its name alone."""
    for mark, kind, name in ((b"\x1f\x8b", "packed by gzip", ".gz"), (b"PAR1", "Parquet", ".parquet")):
        if head.startswith(mark):
            raise ValueError(f"{origin} is {kind}; give it as a file whose name ends in {name}")


def name_of(stream: IO[Any]) -> str:
    """As messages name it."""
    if stream in (sys.stdin, getattr(sys.stdin, "buffer", None)):
        return "standard input"
    name = getattr(stream, "name", None)
    return name if isinstance(name, str) else "the stream"


def _bytes_of(stream: IO[Any]) -> Any:
    if stream is sys.stdin and hasattr(stream, "buffer"):  # which may hold bytes that are no UTF-8
        return stream.buffer
    return _Encoded(stream) if isinstance(stream.read(0), str) else stream


class _Encoded:
    """A stream of text as one of bytes."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        return self._stream.read(size).encode("utf-8", "surrogateescape")


def _without_mark(given: Iterator[bytes]) -> Iterator[bytes]:
    for block in islice(given, 1):
        yield block.removeprefix(BOM)
    yield from given


def _read_fields(
    given: Iterator[bytes], origin: str, columns: Sequence[str], only: Collection[str] | None, before: Fields | None
) -> Fields:
    """The columns of delimited text, behind those of the files before."""
    head, n_lines = b"", 0
    while not head.strip() and (block := next(given, b"")):
        n_lines += head.count(b"\n")
        head = block
    first = decoded(next((line for line in head.splitlines() if line.strip()), b""))
    if not first or "\0" in first:
        raise ValueError(
            f"{origin} {'is not text' if first else 'is empty'}; give one rating a line: user, item, rating"
        )
    delimiter = next((d for d in DELIMITERS if d in first), " ")
    following = next(given, b"")
    try:
        some = _some_rows(decoded(head), delimiter, cut=bool(following))
        names = _name([fields for _, fields in some], columns)
        if names is None:
            n_header, header = some.pop(0)
            names = [name.strip() for name in header]
            head = b"".join(head.splitlines(keepends=True)[n_header:])
            n_lines += n_header
        if not some and not following:
            raise ValueError(f"{origin} has a header and no rating; give one rating a line")
        fields = _fields(names, delimiter, origin, columns, only, before)
        fields.read(chain([head] if head else [], [following] if following else [], given), n_lines)
    except csv.Error as error:
        raise ValueError(f"{origin} cannot be read as a table ({error}); give tab- or comma-separated text") from None
    return fields


def _some_rows(text: str, delimiter: str, cut: bool) -> list[Row]:
    """The first rows of a text; it may end inside of one if it is cut."""
    some: list[Row] = []
    try:
        some.extend(islice(rows(iter([text]), delimiter), PEEK))
    except csv.Error:  # which comes again where it is not the cut's
        if not (some and cut):
            raise
    return some


def _fields(
    names: list[str],
    delimiter: str,
    origin: str,
    columns: Sequence[str],
    only: Collection[str] | None,
    before: Fields | None,
) -> Fields:
    """Where the columns of a file go: on to those of the files before."""
    for name in columns:
        if names.count(name) > 1:
            raise ValueError(f"{origin} has {names.count(name)} columns named {name!r}; rename all but one")
    packed = before.packed if before else {name: PackedColumn() for name in names if only is None or name in only}
    if before and set(names) != set(before.names):
        shown, others = (", ".join(map(repr, some)) for some in (names, before.names))
        raise ValueError(f"{origin} has the columns {shown}, the files before it {others}; give files of one kind")
    needed = [names.index(name) for name in columns[:3] if name in names]
    return Fields(names, delimiter, origin, needed, packed)


def _name(rows: list[list[str]], columns: Sequence[str]) -> list[str] | None:
    """What the columns are taken for if the first row is no header, and None if it is one."""
    if _header(rows, columns):
        return None
    guessed = [*columns, *HEADLESS[len(columns) :]]
    return [guessed[i] if i < len(guessed) else f"column {i + 1}" for i in range(len(rows[0]))]


def _header(rows: list[list[str]], columns: Sequence[str]) -> bool:
    """Whether the first of the rows names the columns.

    It does if it has a name that was asked for, or one like it (userId for user), or no number for the rating; where
    there are no ratings, if it holds no number above a column of numbers.
    """
    fields = [field.strip() for field in rows[0]]
    alike = {plain + end for plain in map(_plain, columns) for end in ("", "id")}
    if any(field in columns or _plain(field) in alike for field in fields):
        return True
    if len(fields) > 2:
        return not _is_number(fields[2])
    below = [row for row in rows[1:] if len(row) == len(fields)]
    return (
        bool(below)
        and not any(map(_is_number, fields))
        and any(all(_is_number(row[i]) for row in below) for i in range(len(fields)))
    )


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
