"""The columns of text: fields between delimiters, or a JSON object a line; packed by gzip or not; files or streams."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any

from numpy.typing import NDArray

from dmc._checks import is_number
from dmc.recommend.tables.delimited import Fields, RowReader
from dmc.recommend.tables.json_lines import Objects, Values
from dmc.recommend.tables.packed_column import PackedColumn
from dmc.recommend.tables.places import Places
from dmc.recommend.tables.text_source import blocks, called, count_lines, decoded, listed, name_of, opened

HEADLESS = ("user", "item", "rating", "timestamp")  # what the columns of a file without a header are taken for
DELIMITERS = ("::", "\t", ",", ";", "|")
JSON_LINES = (".jsonl", ".ndjson", ".json")
PEEK = 1000  # rows by which a header is told


class TextColumns(Mapping[str, NDArray[Any]]):
    """Arrays by name, as a dict of them; but they take the room of numbers, and are text only when asked for.

    Attributes
    ----------
    names : list of str
        Of all columns that there are, those that are not kept too.
    packed : dict of PackedColumn or Values
        The kept ones, in the order of the file; Values of what is not text alone, from JSON.
    places : Places
        Where the rows stand.
    """

    def __init__(self, names: list[str], packed: Mapping[str, PackedColumn | Values], places: Places) -> None:
        self.names: list[str] = names
        self.packed: Mapping[str, PackedColumn | Values] = packed
        self.places: Places = places

    def __getitem__(self, name: str) -> NDArray[Any]:
        column = self.packed[name]
        return column.text() if isinstance(column, PackedColumn) else column.array()

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
        origin = called(source) if isinstance(source, Path) else name_of(source)
        with opened(source) as file:
            given = blocks(file, origin)
            head = next(given, b"")
            given = chain([head] if head else [], given)
            is_json = _is_json(source, origin, head)
            if found is not None and isinstance(found, Objects) != is_json:
                raise ValueError(f"{origin} is of another kind than the files before it; give files of one kind")
            if is_json:
                objects = found if isinstance(found, Objects) else Objects(only, columns)
                objects.read(given, origin)
                found = objects
            else:
                found = _read_fields(given, origin, columns, only, found if isinstance(found, Fields) else None)
    assert found is not None
    return TextColumns(found.names, dict(found.packed), found.places)


def _is_json(source: Path | IO[Any], origin: str, head: bytes) -> bool:
    """Told by the name, or by the first letter of a stream that has none."""
    name = source.name if isinstance(source, Path) else origin
    suffixes = [suffix.lower() for suffix in Path(name).suffixes if suffix.lower() != ".gz"]
    if suffixes and suffixes[-1] in JSON_LINES:
        return True
    return not isinstance(source, Path) and not suffixes and head.lstrip().startswith(b"{")


def _read_fields(
    given: Iterator[bytes], origin: str, columns: Sequence[str], only: Collection[str] | None, before: Fields | None
) -> Fields:
    """The columns of delimited text, behind those of the files before."""
    head, n_lines = b"", 0
    while not head.strip() and (block := next(given, b"")):
        n_lines += count_lines(head)
        head = block
    first = decoded(next((line for line in head.splitlines() if line.strip()), b""))
    if not first:
        raise ValueError(f"{origin} is empty; give one rating a line: user, item, rating")
    delimiter = next((d for d in DELIMITERS if d in first), " ")
    following = next(given, b"")
    some = RowReader(iter([decoded(head)]), delimiter, origin, n_lines).first(PEEK, cut=bool(following))
    names = _name([fields for _, fields in some], columns)
    if names is None:
        n_header, header = some.pop(0)
        names = [name.strip() for name in header]
        head = b"".join(head.splitlines(keepends=True)[n_header - n_lines :])
        n_lines = n_header
    no_rows = ValueError(f"{origin} has a header and no rating; give one rating a line")
    if not some and not following:
        raise no_rows
    fields = _fields(names, delimiter, origin, columns, only, before)
    n_before = sum(map(len, fields.packed.values()))
    fields.read(chain([head] if head else [], [following] if following else [], given), n_lines)
    if fields.packed and sum(map(len, fields.packed.values())) == n_before:  # blank lines in the blocks to follow
        raise no_rows
    return fields


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
        shown, others = map(listed, (names, before.names))
        raise ValueError(f"{origin} has the columns {shown}, the files before it {others}; give files of one kind")
    needed = [names.index(name) for name in columns[:3] if name in names]
    return Fields(names, delimiter, origin, needed, packed, before.places if before else Places())


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
        return not is_number(fields[2])
    below = [row for row in rows[1:] if len(row) == len(fields)]
    return (
        bool(below)
        and not any(map(is_number, fields))
        and any(all(is_number(row[i]) for row in below) for i in range(len(fields)))
    )


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))
