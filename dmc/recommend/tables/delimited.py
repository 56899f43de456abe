"""Fields between delimiters, a block of lines at a time: plain ones are cut by NumPy, all others by the csv module."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc._locks import lock
from dmc.recommend.tables import text_source
from dmc.recommend.tables.packed_column import WIDE, PackedColumn
from dmc.recommend.tables.places import Places
from dmc.recommend.tables.text_source import count_lines, decoded, lines

ROWS = 1000  # that the csv module gives at a time: as lists of text, few enough to stay in the caches
DIGITS = 18  # as many as always fit into int64
QUOTE = ord('"')
ASCII = 128  # letters that are a byte each in UTF-8
TWO_COLONS = "\x1f"  # in their place where a delimiter has to be one letter: the separator of units, which no text has

Row = tuple[int, list[str]]  # the number of its line, and its fields
Offsets = NDArray[np.int64]


class _LongFields:
    """A block in which the csv module takes fields of any length: the bound, which is the process', is put back."""

    _lock: ClassVar[Any] = lock()
    _inside: ClassVar[int] = 0
    _before: ClassVar[int] = 0

    def __enter__(self) -> None:
        with self._lock:
            if _LongFields._inside == 0:
                _LongFields._before = csv.field_size_limit(text_source.MAX_LINE + 1)
            _LongFields._inside += 1

    def __exit__(self, *failure: object) -> None:
        with self._lock:
            _LongFields._inside -= 1
            if _LongFields._inside == 0:
                csv.field_size_limit(_LongFields._before)


class RowReader:
    """The rows that are not blank, with their line numbers, of texts of whole lines.

    Parameters
    ----------
    text : iterator of str
    delimiter : str
        A letter, or ``::``.
    origin : str
        The file, as messages name it.
    n_lines_before : int
        That stand above these in the file.
    spaces : bool
        Keep those behind a delimiter.
    """

    def __init__(
        self, text: Iterator[str], delimiter: str, origin: str, n_lines_before: int = 0, spaces: bool = False
    ) -> None:
        self._colons, self._origin, self._before = delimiter == "::", origin, n_lines_before
        self._line = 0  # of the last row that was read, from here on
        self._csv = csv.reader(
            lines(self._bounded(text)),
            delimiter=TWO_COLONS if self._colons else delimiter,
            skipinitialspace=not spaces and delimiter not in ("\t", "::"),
            strict=True,
        )
        self._rows = self._read()

    def __iter__(self) -> Iterator[Row]:
        return self._rows

    def some(self, count: int) -> list[Row]:
        """The next rows, at most so many."""
        with _LongFields():
            return list(islice(self._rows, count))

    def first(self, count: int, cut: bool) -> list[Row]:
        """The first rows, at most so many, of a text that may end inside of a row if it is cut."""
        found: list[Row] = []
        try:
            with _LongFields():
                found.extend(islice(self._rows, count))
        except ValueError:  # which comes again where it is not the cut's
            if not (found and cut):
                raise
        return found

    def _bounded(self, text: Iterator[str]) -> Iterator[str]:
        """The texts, while rows end in them."""
        begun, line = 0, -1
        for part in text:
            begun = begun + len(part) if line == self._line else len(part)
            line = self._line
            if begun > text_source.MAX_LINE + len(part):
                raise ValueError(self._what_is_open(f"does not close within {text_source.MAX_LINE:,} characters"))
            yield part.replace("::", TWO_COLONS) if self._colons else part

    def _read(self) -> Iterator[Row]:
        reader, before = self._csv, self._before
        try:
            for row in reader:
                self._line = line = reader.line_num
                if not row:
                    continue
                if self._colons:
                    row = [one.replace(TWO_COLONS, "::") if TWO_COLONS in one else one for one in row]
                yield before + line, row
        except csv.Error as error:
            raise ValueError(self._what_is_wrong(str(error))) from None

    def _what_is_open(self, how: str) -> str:
        return (
            f"the row in line {self._before + self._line + 1} of {self._origin} opens a quote that {how}; close it, or "
            "double the quotes that belong to a text"
        )

    def _what_is_wrong(self, error: str) -> str:
        if error == "unexpected end of data":
            return self._what_is_open("never closes")
        if error.startswith("field larger than"):
            return self._what_is_open(f"does not close within {text_source.MAX_LINE:,} characters")
        reason = "text after a closing quote" if "expected after" in error else error
        where = f"line {self._before + self._csv.line_num} of {self._origin}"
        return f"{where} cannot be read as fields ({reason}); fix that line, or give tab- or comma-separated text"


@dataclass
class Fields:
    """The columns of delimited text, packed while it is read.

    Attributes
    ----------
    names : list of str
        Of the columns of the file.
    delimiter, origin : str
        What stands between fields; the file, as messages name it.
    needed : list of int
        Columns where no field may be empty.
    packed : dict of PackedColumn
        The columns that are kept, by name.
    places : Places
        Where the rows stand.
    """

    names: list[str]
    delimiter: str
    origin: str
    needed: list[int]
    packed: dict[str, PackedColumn]
    places: Places = field(default_factory=Places)

    def __post_init__(self) -> None:
        number = {name: i for i, name in reversed(list(enumerate(self.names)))}
        self._kept = [(number[name], column) for name, column in self.packed.items()]

    def read(self, given: Iterator[bytes], n_lines: int) -> None:
        """All blocks of a file behind its header, which has so many lines."""
        for block in given:
            n_before, n_lines = n_lines, n_lines + count_lines(block)
            if not block.strip(b"\r\n") or self._read_plain(block, n_before):
                continue
            if b'"' in block:  # what is in quotes may reach into the next block
                self._read_rows(self._rows(chain([block], given), n_before), iter(()))
                return
            self._read_rows(self._rows(iter([block]), n_before), self._rows(given, n_lines))

    def _rows(self, given: Iterator[bytes], n_lines: int) -> RowReader:
        return RowReader(map(decoded, given), self.delimiter, self.origin, n_lines)

    def _read_rows(self, given: RowReader, below: Iterable[Row]) -> None:
        """Some rows; those below them are counted if a field is empty."""
        while some := given.some(ROWS):
            if {len(row) for _, row in some} != {len(self.names)}:
                raise ValueError(self._what_is_ragged(some))
            fields = list(zip(*(row for _, row in some), strict=True))  # column by column
            for i in self.needed:
                if "" in fields[i]:
                    raise ValueError(self._what_is_empty(i, chain(some, given, below)))
            for i, column in self._kept:
                column.add(fields[i])
            self.places.add_each(self.origin, [number for number, _ in some])

    def _what_is_ragged(self, some: Sequence[Row]) -> str:
        """Tells of the first row that has another number of fields."""
        number, row = next((n, row) for n, row in some if len(row) != len(self.names))
        shown = {"\t": "tab", " ": "space"}.get(self.delimiter, self.delimiter)
        return (
            f"line {number} of {self.origin} has {_checks.count(len(row), 'field')} instead of "
            f"{len(self.names)} (separated by {shown}); the file is cut off or mixes formats: fix or remove that line"
        )

    def _what_is_empty(self, column: int, left: Iterator[Row]) -> str:
        """Tells of the first row where a column is empty, and in how many it is."""
        with _LongFields():
            empty = [number for number, row in left if row[column : column + 1] == [""]]
        where = f"the {self.names[column]} in line {empty[0]} of {self.origin} is empty"
        if len(empty) == 1:
            return f"{where}; fill it in, or remove that line"
        return f"{where}, and so it is in {_checks.count(len(empty) - 1, 'line')} below; fill it in, or remove those"

    def _read_plain(self, block: bytes, n_before: int) -> bool:
        """Take a block if no line is special in any way: what is in quotes is a field, and has no other quote."""
        letter = self.delimiter
        if letter == "::":
            if TWO_COLONS.encode() in block:
                return False
            block, letter = block.replace(b"::", TWO_COLONS.encode()), TWO_COLONS
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n")
        if not block.endswith(b"\n"):
            block += b"\n"
        special = [b"\r", b"\n\n"] + ([] if letter in ("\t", TWO_COLONS) else [letter.encode() + b" ", b"\n "])
        if block[:1] in b"\n " or any(one in block for one in special):
            return False
        buffer = np.frombuffer(block + bytes(WIDE), np.uint8)
        cut = self._cut(block, buffer, ord(letter))
        if cut is None:
            return False
        starts, ends = cut
        for i, column in self._kept:
            _add(column, block, buffer, np.ascontiguousarray(starts[:, i]), ends[:, i] - starts[:, i])
        self.places.add(self.origin, n_before + 1, len(starts))
        return True

    def _cut(self, block: bytes, buffer: NDArray[np.uint8], letter: int) -> tuple[Offsets, Offsets] | None:
        """(rows, columns) where fields start and end in a block, without their quotes; None if a line is special."""
        cuts = np.flatnonzero((buffer == letter) | (buffer == ord("\n")))
        if len(cuts) % len(self.names):
            return None
        ends = cuts.reshape(-1, len(self.names))
        last = buffer[ends] == ord("\n")
        if last[:, :-1].any() or not last[:, -1].all():
            return None
        starts = np.append(0, cuts[:-1] + 1).reshape(ends.shape)
        if n_quotes := block.count(b'"'):
            quoted = (buffer[starts] == QUOTE) & (buffer[ends - 1] == QUOTE) & (ends - starts > 1)
            if n_quotes != 2 * np.count_nonzero(quoted):
                return None
            starts, ends = starts + quoted, ends - quoted
        if any((starts[:, i] == ends[:, i]).any() for i in self.needed):
            return None
        return starts, ends


def _add(column: PackedColumn, block: bytes, buffer: NDArray[np.uint8], starts: Offsets, lengths: Offsets) -> None:
    """The fields of a column in a block: where each starts in the buffer, and its bytes."""
    width = int(lengths.max())
    numbers = _whole_numbers(buffer, starts, lengths, width)
    if numbers is not None:
        return column.add_numbers(numbers)
    if 0 < width <= WIDE:
        letters = np.zeros((len(starts), width), np.uint32)
        for place in range(width):
            np.copyto(letters[:, place], buffer[starts + place], where=place < lengths)
        if letters.max() < ASCII:
            return column.add_words(letters.view(f"U{width}").ravel().tolist())
    ends = (starts + lengths).tolist()
    column.add([decoded(block[a:b]) for a, b in zip(starts.tolist(), ends, strict=True)])


def _whole_numbers(
    buffer: NDArray[np.uint8], starts: Offsets, lengths: Offsets, width: int
) -> NDArray[np.int64] | None:
    """As `vocabulary.whole_numbers`, of fields of at most so many bytes; None if one is none, or may not fit."""
    first = buffer[starts]
    signed = first == ord("-")
    if signed.any():
        starts, lengths = starts + signed, lengths - signed
        first = buffer[starts]
    if width > DIGITS or lengths.min() == 0 or ((first == ord("0")) & ((lengths > 1) | signed)).any():
        return None
    numbers = np.zeros(len(starts), np.int64)
    for place in range(width):
        inside = place < lengths
        digits = buffer[starts + place] - np.uint8(ord("0"))  # anything else wraps around to above 9
        if (inside & (digits > 9)).any():
            return None
        numbers = np.where(inside, 10 * numbers + digits, numbers)
    return np.where(signed, -numbers, numbers)
