"""Fields between delimiters, a block of lines at a time: plain ones are cut by NumPy, all others by the csv module."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import IO

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc.recommend.tables.packed_column import WIDE, PackedColumn

BLOCK = 1 << 20  # bytes read at a time: what is made of them on the way stays in the caches
ROWS = 1000  # that the csv module gives at a time: as lists of text, few enough to stay in the caches
DIGITS = 18  # as many as always fit into int64
QUOTE = ord('"')
ASCII = 128  # letters that are a byte each in UTF-8

Row = tuple[int, list[str]]  # the number of its line, and its fields
Places = NDArray[np.int64]


def blocks(file: IO[bytes]) -> Iterator[bytes]:
    """The bytes of a file in blocks of whole lines, the last of which may lack its end."""
    rest = b""
    while block := file.read(BLOCK):
        end = block.rfind(b"\n") + 1
        if end:
            yield rest + block[:end]
            rest = block[end:]
        else:
            rest += block
    if rest:
        yield rest


def decoded(block: bytes) -> str:
    """Its text; bytes that are not UTF-8 stay apart."""
    return block.decode("utf-8", "surrogateescape")


def rows(text: Iterator[str], delimiter: str, n_lines_before: int = 0) -> Iterator[Row]:
    """The rows that are not blank, with their line numbers, of texts of whole lines."""
    lines = chain.from_iterable(io.StringIO(part, newline="") for part in text)
    letter = "\t" if delimiter == "::" else delimiter  # the reader takes a single one
    reader = csv.reader(
        (line.replace("::", "\t") for line in lines) if delimiter == "::" else lines,
        delimiter=letter,
        skipinitialspace=letter != "\t",
        strict=True,
    )
    return ((n_lines_before + reader.line_num, row) for row in reader if row)


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
    """

    names: list[str]
    delimiter: str
    origin: str
    needed: list[int]
    packed: dict[str, PackedColumn]

    def read(self, given: Iterator[bytes], n_lines: int) -> None:
        """All blocks of a file behind its header, which has so many lines."""
        for block in given:
            n_before, n_lines = n_lines, n_lines + block.count(b"\n")
            if self._read_plain(block):
                continue
            if b'"' in block:  # what is in quotes may reach into the next block
                self._read_rows(rows(map(decoded, chain([block], given)), self.delimiter, n_before), iter(()))
                return
            below = rows(map(decoded, given), self.delimiter, n_lines)
            self._read_rows(rows(iter([decoded(block)]), self.delimiter, n_before), below)

    def _read_rows(self, given: Iterator[Row], below: Iterator[Row]) -> None:
        """Some rows; those below them are counted if a field is empty."""
        while some := list(islice(given, ROWS)):
            if {len(row) for _, row in some} != {len(self.names)}:
                raise ValueError(self._what_is_ragged(some))
            fields = list(zip(*(row for _, row in some), strict=True))  # column by column
            for i in self.needed:
                if "" in fields[i]:
                    raise ValueError(self._what_is_empty(i, chain(some, given, below)))
            for name, column in self.packed.items():
                column.add(fields[self.names.index(name)])

    def _what_is_ragged(self, some: Sequence[Row]) -> str:
        """Tells of the first row that has another number of fields."""
        number, row = next((n, row) for n, row in some if len(row) != len(self.names))
        shown = {"\t": "tab", " ": "space"}.get(self.delimiter, self.delimiter)
        return (
            f"line {number} of {self.origin} has {_checks.count(sum(map(bool, row)), 'field')} in place of "
            f"{len(self.names)} (separated by {shown}); the file is cut off or mixes formats: mend or remove that line"
        )

    def _what_is_empty(self, column: int, left: Iterator[Row]) -> str:
        """Tells of the first row where a column is empty, and in how many it is."""
        empty = [number for number, row in left if row[column : column + 1] == [""]]
        where = f"the {self.names[column]} in line {empty[0]} of {self.origin} is empty"
        if len(empty) == 1:
            return f"{where}; fill it in, or remove that line"
        return f"{where}, and so it is in {_checks.count(len(empty) - 1, 'line')} below; fill it in, or remove those"

    def _read_plain(self, block: bytes) -> bool:
        """Take a block if no line is special in any way: what is in quotes is a field, and has no other quote."""
        if self.delimiter == "::":
            block = block.replace(b"::", b"\t")
        letter = "\t" if self.delimiter == "::" else self.delimiter
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n")
        if not block.endswith(b"\n"):
            block += b"\n"
        special = [b"\r", b"\0", b"\n\n"] + ([] if letter == "\t" else [letter.encode() + b" ", b"\n "])
        if block[:1] in b"\n " or any(one in block for one in special):
            return False
        buffer = np.frombuffer(block + bytes(WIDE), np.uint8)
        cuts = np.flatnonzero((buffer == ord(letter)) | (buffer == ord("\n")))
        if len(cuts) % len(self.names):
            return False
        ends = cuts.reshape(-1, len(self.names))
        last = buffer[ends] == ord("\n")
        if last[:, :-1].any() or not last[:, -1].all():
            return False
        starts = np.append(0, cuts[:-1] + 1).reshape(ends.shape)
        if n_quotes := block.count(b'"'):
            quoted = (buffer[starts] == QUOTE) & (buffer[ends - 1] == QUOTE) & (ends - starts > 1)
            if n_quotes != 2 * np.count_nonzero(quoted):
                return False
            starts, ends = starts + quoted, ends - quoted
        if any((starts[:, i] == ends[:, i]).any() for i in self.needed):
            return False
        for name, column in self.packed.items():
            i = self.names.index(name)
            _add(column, block, buffer, np.ascontiguousarray(starts[:, i]), ends[:, i] - starts[:, i])
        return True


def _add(column: PackedColumn, block: bytes, buffer: NDArray[np.uint8], starts: Places, lengths: Places) -> None:
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


def _whole_numbers(buffer: NDArray[np.uint8], starts: Places, lengths: Places, width: int) -> NDArray[np.int64] | None:
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
