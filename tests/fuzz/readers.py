"""Tables of every format, damaged and hostile: read, the same on every way, or refused in words with their path."""

from __future__ import annotations

import contextlib
import datetime
import gzip
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dmc._group import ALONE
from dmc.cli import gapped_table, ids
from dmc.distributed import sources
from dmc.distributed.ids import read_ids
from dmc.recommend.fitting import Columns
from dmc.recommend.tables import text_source
from dmc.recommend.tables.delimited import Fields
from dmc.recommend.tables.table import Table
from fuzz.targets import Fault, Tried

ASKED = ("user", "item", "rating", "timestamp")
FIELDS = [
    *("7", "8", "9", "12", "-3", "007", "7.0", "+7", "-0", "0", "4.5", ".5", "4.", "1e3", "1E-2", " 4", "4 ", "3"),
    *("", "ann", "bob", "a b", "é", "日本", "x" * 120, "99999999999999999999", "9223372036854775808", "2024-01-02"),
    *("٣", "１", "1_000", "1,5", "1e400", "nan", "inf", "0x10", "4\xa0", "NA", "true", "2024-01-02T08:30:00Z", "²"),
]
QUOTED = ['"a,b"', '"say ""x"""', '"two\nlines"', '""', '"7"', '"a::b"', '"a\tb"', '"x" y', 'a"b', '"', '"\r\n"']
TOKENS = [
    *(b'"', b",", b"\t", b";", b"|", b"::", b" ", b"\n", b"\r", b"\r\n", b"\n\n", b"\0", b"\xef\xbb\xbf", b"\xff\xfe"),
    *(b"\xe9", b"\xc2\x85", b"\xe2\x80\xa8", b"\x0c", b"\x1c", b"\x1f", b"\x1f\x8b", b"PAR1", b"{", b"}", b"[", b"]"),
    *(b"#", b"=", b"\xed\xa0\x80", b"\xc2\xa0", b'""', b'"\n', b'\n"', b"\\u0000", b"\\ud83d", b"NaN", b"1e999"),
    *(b"null", b"true", b"9" * 400, b"x" * 3000, b"user", b"rating", b"user,item,rating\n", b"-", b".", b"_", b"1_0"),
]
LEAVES = [1, 2, 7, 7.0, -0.0, 2**53 + 1, 2**64, 0.5, 1e300, True, None, "7", "x", "", "é", [1], {"a": 1}, "1_0", "٣"]

NO_LINE = re.compile("is empty|no rating|has no column|is UTF-|gzip|Parquet|columns named|differ by less than")

Outcome = tuple[Any, ...]


# --- how inputs are made


def mutated(rng: np.random.Generator, content: bytes, other: bytes) -> bytes:
    """A few changes of any kind; of one in five inputs none."""
    for _ in range(int(rng.integers(0, 5))):
        first, last = sorted(rng.integers(0, len(content) + 1, 2).tolist())
        last = min(last, first + int(rng.integers(1, 60)))
        kind = int(rng.integers(0, 6))
        if kind == 0 and first < len(content):  # a byte flips
            content = content[:first] + bytes([content[first] ^ (1 << int(rng.integers(8)))]) + content[first + 1 :]
        elif kind == 1:
            content = content[:first] + TOKENS[int(rng.integers(len(TOKENS)))] + content[first:]
        elif kind == 2:  # something is lost
            content = content[:first] + content[last:]
        elif kind == 3:  # or stands twice, or many times
            content = content[:last] + content[first:last] * int(rng.integers(1, 20)) + content[last:]
        elif kind == 4:
            content = content[:first]
        else:
            start = int(rng.integers(0, len(other) + 1))
            content = content[:first] + other[start : start + int(rng.integers(1, 80))] + content[last:]
    return content


def lines_of_fields(rng: np.random.Generator, columns: int | None = None) -> bytes:
    """Text by the grammar of delimited files, with a header or without."""
    delimiter = [",", ",", "\t", ";", "|", "::", " "][int(rng.integers(7))]
    width, end = columns or int(rng.integers(2, 6)), ["\n", "\n", "\r\n", "\r"][int(rng.integers(4))]
    pool = [FIELDS[i] for i in rng.integers(0, len(FIELDS), int(rng.integers(1, 8)))]
    if rng.random() < 0.3:
        pool.append(QUOTED[int(rng.integers(len(QUOTED)))])
    if rng.random() < 0.6:
        pool = [field for field in pool if field.isdigit()] or ["3", "4"]
    rows = [[pool[i] for i in rng.integers(0, len(pool), width)] for _ in range(int(rng.integers(0, 30)))]
    header = [[*ASKED, "more"][:width]] if rng.random() < 0.7 else []
    text = end.join(delimiter.join(row) for row in header + rows) + (end if rng.random() < 0.8 else "")
    return text.encode("utf-8", "surrogateescape")


def json_lines(rng: np.random.Generator) -> bytes:
    names = [*ASKED, "k", ""][: int(rng.integers(1, 7))]
    pool = [LEAVES[i] for i in rng.integers(0, len(LEAVES), int(rng.integers(1, 6)))]
    if rng.random() < 0.5:
        pool = [1, 2, "3", 4.5][: int(rng.integers(1, 5))]
    keep = rng.choice([0.7, 1.0])
    rows = [
        {name: pool[int(rng.integers(len(pool)))] for name in names if rng.random() < keep}
        for _ in range(int(rng.integers(1, 20)))
    ]
    return "\n".join(json.dumps(row, ensure_ascii=bool(rng.random() < 0.5)) for row in rows).encode()


# --- what comes of them


def outcome(ask: Callable[[], Any], origin: str) -> Outcome:
    """What an answer or a refusal is, whatever its table is called."""
    try:
        return "answered", ask()
    except (ValueError, TypeError, OSError) as error:
        said = str(error)
        if not (said and said.isprintable() and len(said) < 1500):
            raise Fault(f"refused, but not in one line of words: {type(error).__name__}: {said!r}") from error
        if origin not in said or "; " not in said:
            raise Fault(f"refused without the path ({origin}) or a remedy: {type(error).__name__}: {said!r}") from error
        return "refused", type(error).__name__, said.replace(f"the file {origin}", origin).replace(origin, "PATH")


def answers(make: Callable[[], Any], origin: str) -> Outcome:
    """What a table says of each of its columns."""
    opened = outcome(lambda: Table.open(make(), ASKED), origin)
    if opened[0] == "refused":
        return opened
    table = opened[1]

    def learnt(name: str) -> list[Any]:
        vocabulary, positions = table.learn(name)
        found = vocabulary.ids[positions].tolist()
        if found != table.ids(name).tolist():
            raise Fault(f"{name} is learnt as {found[:9]} and read as {table.ids(name).tolist()[:9]}")
        return found

    found = [outcome(lambda name=name: learnt(name), origin) for name in ASKED[:2]]
    found.append(outcome(lambda: repr(table.numbers("rating").tolist()), origin))
    found.append(outcome(lambda: repr(table.times("timestamp").tolist()), origin))
    return "answered", table.names, len(table), found


def same(first: Outcome, second: Outcome, what: str) -> None:
    if first != second:
        raise Fault(f"{what}: {str(first)[:600]} in place of {str(second)[:600]}")


def alike(first: Outcome, second: Outcome, what: str) -> None:
    """The same values; where one is refused, so is the other, perhaps for another of its faults."""
    if first[0] != second[0] or first[0] == "answered":
        same(first, second, what)


def is_answered(found: Outcome) -> bool:
    return found[0] == "answered" and any(one[0] == "answered" for one in found[-1])


def named(content: bytes, name: str) -> io.BytesIO:
    stream = io.BytesIO(content)
    stream.name = name
    return stream


class Dribbling(io.RawIOBase):
    """A stream that gives a few bytes at a time, as a socket may."""

    def __init__(self, content: bytes, name: str) -> None:
        self._rest, self.name = io.BytesIO(content), name

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._rest.read(min(size, 7) if size > 0 else size)


@contextlib.contextmanager
def small_blocks(rng: np.random.Generator) -> Iterator[None]:
    with mock.patch.object(text_source, "BLOCK", int(rng.choice([1, 3, 16, 100]))):
        yield


class Text:
    """Text read from a file, packed, as a stream, by either of the two ways to cut lines, in blocks of any size."""

    def __init__(self, name: str, suffix: str, make: Callable[[np.random.Generator], bytes]) -> None:
        self.name, self.path, self.make = name, f"table{suffix}", make

    def prepare(self, folder: Path) -> None:
        pass

    def attempt(self, rng: np.random.Generator) -> Tried:
        content = mutated(rng, self.make(rng), self.make(rng))
        Path(self.path).write_bytes(content)
        found = answers(lambda: Path(self.path), self.path)
        for refused in [found] if found[0] == "refused" else [one for one in found[3] if one[0] == "refused"]:
            if not re.search(r"\bline \d", refused[2]) and not NO_LINE.search(refused[2]):
                raise Fault(f"refused without a line: {refused[2]}")
        same(answers(lambda: named(content, self.path), self.path), found, "as a stream")
        same(answers(lambda: Dribbling(content, self.path), self.path), found, "as a slow stream")
        if not content.startswith(b"\x1f\x8b"):
            packed = Path(f"{self.path}.gz")
            packed.write_bytes(gzip.compress(content, 1))
            same(_renamed(answers(lambda: packed, str(packed))), _renamed(found), "packed")
        with mock.patch.object(Fields, "_read_plain", return_value=False):
            alike(answers(lambda: Path(self.path), self.path), found, "by the csv module")
        if content.startswith((b"user", b"{")):  # else a header is told by what stands below
            with small_blocks(rng):
                alike(answers(lambda: Path(self.path), self.path), found, "in small blocks")
        return Tried(is_answered(found), len(content))


def _renamed(found: Outcome) -> Outcome:
    """What is packed is told in other words."""
    if found[0] == "refused" and ("Parquet" in found[2] or "gzip" in found[2]):
        return "refused", found[1]
    return found


class Packed:
    """A damaged gzip file gives what was packed, or nothing."""

    name = "gzip"

    def prepare(self, folder: Path) -> None:
        rng = np.random.default_rng(0)
        self.text = b"user,item,rating\n" + b"".join(
            b"%d,%d,%d\n" % tuple(row) for row in rng.integers(0, 50, (200, 3))
        )
        half = len(self.text) // 2
        self.packed = [
            gzip.compress(self.text),
            gzip.compress(self.text[:half]) + gzip.compress(self.text[half:]),
            gzip.compress(self.text, 0),
        ]
        self.found = answers(lambda: named(self.text, "r.csv"), "r.csv")

    def attempt(self, rng: np.random.Generator) -> Tried:
        content = mutated(rng, self.packed[int(rng.integers(3))], self.packed[int(rng.integers(3))])
        Path("r.csv.gz").write_bytes(content)
        found = answers(lambda: Path("r.csv.gz"), "r.csv.gz")
        if found[0] == "answered" and content not in self.packed and found != self.found:
            whole = gzip.decompress(content)  # several members, each whole, are another table
            same(answers(lambda: named(whole, "r.csv"), "r.csv"), found, "unpacked")
        return Tried(is_answered(found), len(content) + len(self.text))


class Parquet:
    """Damaged files of many types: read, the same by one process and by one of several, or refused in words."""

    name = "parquet"

    def prepare(self, folder: Path) -> None:
        n = 60
        rng = np.random.default_rng(0)
        whole = {"user": rng.integers(0, 9, n), "item": rng.integers(0, 9, n), "rating": rng.random(n)}
        texts = pa.array([f"u{i}" for i in whole["user"]])
        kinds: list[dict[str, Any]] = [
            {},
            {"user": texts},
            {"user": texts.dictionary_encode(), "timestamp": pa.array(np.arange(n), pa.timestamp("us", "UTC"))},
            {"item": pa.array([[1], [2, 3], None] * (n // 3)), "rating": whole["rating"].astype(np.float16)},
            {"item": pa.array([{"a": 1}] * n), "user": pa.array([b"\xff", b"ab"] * (n // 2))},
            {"rating": pa.array([1, None] * (n // 2)), "user": pa.array(whole["user"], pa.uint64())},
        ]
        self.files = []
        for number, kind in enumerate(kinds):
            for more in ({"compression": "none", "write_page_checksum": True}, {"row_group_size": 25}):
                sink = io.BytesIO()
                pq.write_table(pa.table({**whole, **kind}), sink, version=["1.0", "2.6"][number % 2], **more)
                self.files.append(sink.getvalue())

    def attempt(self, rng: np.random.Generator) -> Tried:
        content, other = (self.files[int(rng.integers(len(self.files)))] for _ in range(2))
        content = self._in_footer(rng, content) if rng.random() < 0.4 else mutated(rng, content, other)
        Path("r.parquet").write_bytes(content)
        found = answers(lambda: Path("r.parquet"), "r.parquet")
        dealt = outcome(self._dealt, "r.parquet")
        if found[0] == "answered" and dealt[0] == "answered" and found[3][0][0] == "answered" and found[2]:
            same(("answered", list(map(str, found[3][0][1]))), dealt, "dealt")
        return Tried(is_answered(found), len(content))

    def _in_footer(self, rng: np.random.Generator, content: bytes) -> bytes:
        """Flips where a file tells of itself: counts, types, places."""
        size = int.from_bytes(content[-8:-4], "little")
        found = bytearray(content)
        for place in rng.integers(len(content) - 8 - size, len(content) - 8, int(rng.integers(1, 4))):
            found[place] ^= 1 << int(rng.integers(8))
        return bytes(found)

    def _dealt(self) -> list[str]:
        batches = list(sources.batches("r.parquet", Columns(*ASKED[:3]), ALONE))
        found = [read_ids(batch.column("user"), "user of r.parquet; ") for batch in batches if batch.num_rows]
        return [str(id) for ids in found for id in ids.spread(ids.known).tolist()]


class Gapped:
    """Tables with gaps, as `dmc complete` reads them: packed or not."""

    name = "gapped"

    def prepare(self, folder: Path) -> None:
        pass

    def attempt(self, rng: np.random.Generator) -> Tried:
        content = mutated(rng, lines_of_fields(rng), lines_of_fields(rng))
        Path("t.csv").write_bytes(content)
        found = outcome(lambda: self._read("t.csv"), "t.csv")
        if not content.startswith(b"\x1f\x8b"):
            Path("u.csv").write_bytes(gzip.compress(content, 1))
            same(_renamed(outcome(lambda: self._read("u.csv"), "u.csv")), _renamed(found), "packed")
        return Tried(found[0] == "answered", len(content))

    def _read(self, path: str) -> tuple[list[str], str]:
        table = gapped_table.read(Path(path))
        return table.of_numbers, repr(table.values.tolist())


class Ids:
    """Lists of ids: a file, and the same through the standard input."""

    name = "ids"

    def prepare(self, folder: Path) -> None:
        pass

    def attempt(self, rng: np.random.Generator) -> Tried:
        content = mutated(rng, lines_of_fields(rng, int(rng.integers(1, 3))), lines_of_fields(rng))
        Path("ids.txt").write_bytes(content)
        found = outcome(lambda: ids.in_file("ids.txt", "user").tolist(), "ids.txt")
        with mock.patch("sys.stdin", io.TextIOWrapper(io.BytesIO(content))):
            piped = outcome(lambda: ids.in_file("-", "user").tolist(), "standard input")
        if not content.lstrip().startswith(b"{"):  # which is JSON, of a stream without a name
            same(piped, found, "through a pipe")
        return Tried(found[0] == "answered", len(content))


class Frames:
    """The same columns as a dict, and as frames of three libraries, of whatever stands in them."""

    name = "frames"

    def prepare(self, folder: Path) -> None:
        pass

    def attempt(self, rng: np.random.Generator) -> Tried:
        import pandas as pd
        import polars as pl

        size = int(rng.integers(0, 6))
        columns = {name: self._column(rng, size) for name in ASKED}
        found = [self._answers(lambda: columns)]
        for make in (pd.DataFrame, lambda c: pl.DataFrame(c, strict=False), pa.table):
            try:
                frame = make(columns)
            except Exception:  # its library does not hold it
                continue
            found.append(self._answers(lambda frame=frame: frame))
        return Tried(any(map(is_answered, found)), 1000)

    def _answers(self, make: Callable[[], Any]) -> Outcome:
        return answers(make, "")

    def _column(self, rng: np.random.Generator, size: int) -> Sequence[Any]:
        more = [
            float("nan"),
            b"a\0",
            "a\0",
            "\ud83d",
            float("inf"),
            10**400,
            (1, 2),
            np.float32(2),
            datetime.datetime(2024, 1, 2),
        ]
        pool = [*LEAVES, *more] if rng.random() < 0.6 else [1, 2, 3]
        pool = [pool[i] for i in rng.integers(0, len(pool), int(rng.integers(1, 4)))]
        values = [pool[i] for i in rng.integers(0, len(pool), size)]
        if rng.random() < 0.3:
            found = np.empty(size, object)
            found[:] = values
            return np.ma.array(found, mask=rng.random(size) < 0.3) if rng.random() < 0.5 else found
        return values


TARGETS = [
    Text("delimited", ".csv", lines_of_fields),
    Text("json", ".jsonl", json_lines),
    Packed(),
    Parquet(),
    Gapped(),
    Ids(),
    Frames(),
]
