"""The bytes of text files and streams, unpacked, in blocks of whole lines; of bounded memory, whatever stands there."""

from __future__ import annotations

import errno
import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any

BLOCK = 1 << 20  # bytes read at a time: what is made of them on the way stays in the caches
MAX_LINE = 1 << 24  # bytes of a line, or of a row whose quoted fields hold line ends: a million columns of numbers fit
UTF8_MARK = b"\xef\xbb\xbf"
OTHER_MARKS = (
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
PACKED = ((b"\x1f\x8b", "packed by gzip", ".gz"), (b"PAR1", "Parquet", ".parquet"))
SHOWN = 100  # letters of a path in a message, or of a reason
NAMES = 20  # of columns in a message


def called(path: Path | str) -> str:
    """A path as messages name it: in one line, and not at any length."""
    text = str(path)
    if len(text) > SHOWN:
        text = f"{text[:SHOWN]}…"
    return text if text.isprintable() else repr(text)


def reason_of(error: Exception) -> str:
    """What a library says of a failure, in one line and without an end."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    first = first if first.isprintable() else ascii(first)[1:-1]
    return first if len(first) <= 2 * SHOWN else f"{first[: 2 * SHOWN]}…"


def listed(names: Iterable[object]) -> str:
    """Names of columns as messages tell them: the first of them, each not at any length."""
    found = list(names)
    some = [repr(name) if len(str(name)) <= SHOWN else f"{str(name)[:SHOWN]!r}…" for name in found[:NAMES]]
    return ", ".join(some) + (f" and {len(found) - NAMES:,} more" if len(found) > NAMES else "")


def name_of(stream: IO[Any]) -> str:
    """A stream as messages name it."""
    if stream in (sys.stdin, getattr(sys.stdin, "buffer", None)):
        return "standard input"
    name = getattr(stream, "name", None)
    return called(name) if isinstance(name, str) else "the stream"


@contextmanager
def opened(source: Path | IO[Any], by_content: bool = False) -> Iterator[IO[bytes]]:
    """Its bytes, unpacked; a file or pipe is opened once and read from its beginning to its end.

    Parameters
    ----------
    source : path or stream (of text or of bytes)
    by_content : bool
        Unpack what gzip packed whatever its name; else what is called .gz.

    Raises
    ------
    ValueError, OSError
        In a sentence, while it is read too: if it is not there, is a folder or a device, may not be read, is no whole
        gzip file, or is text in another encoding than a stream was opened with.
    """
    origin = called(source) if isinstance(source, Path) else name_of(source)
    with _words_for_failure(origin):
        if isinstance(source, Path):
            with _opened_file(source, origin) as file:
                yield from _unpacked(file, by_content, source.suffix.lower() == ".gz")
            return
        if getattr(source, "closed", False):
            raise ValueError(f"{origin} is closed; give an open one")
        binary = _bytes_of(source, origin)
        unpacks = isinstance(binary, (_Encoded, gzip.GzipFile))  # and has the name of the packed file
        yield from _unpacked(binary, False, origin.endswith(".gz") and not unpacks)


def _unpacked(file: Any, by_content: bool, is_packed: bool) -> Iterator[IO[bytes]]:
    """Once: the file, or what gzip packed into it."""
    if not (is_packed or (by_content and file.peek(2)[:2] == PACKED[0][0])):
        yield file
        return
    with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
        yield unpacked  # type: ignore[misc]


def _opened_file(path: Path, origin: str) -> IO[bytes]:
    """A file, a pipe or a terminal; no other device, which might never end."""
    if "\0" in str(path):
        raise ValueError(f"the path {origin} holds a NUL byte; check the path")
    if "\n" in str(path) and not path.exists():
        raise FileNotFoundError(f"there is no file {origin}; check the path, or give text itself as io.StringIO(text)")
    file = open(path, "rb")  # noqa: SIM115, given back open
    kind = os.fstat(file.fileno())
    if stat.S_ISBLK(kind.st_mode) or (stat.S_ISCHR(kind.st_mode) and not (file.isatty() or _is_null(kind))):
        file.close()
        raise ValueError(f"{origin} is a device; give a file or a pipe")
    return file


def _is_null(kind: os.stat_result) -> bool:
    return kind.st_rdev == os.stat(os.devnull).st_rdev


@contextmanager
def _words_for_failure(origin: str) -> Iterator[None]:
    """A block that opens and reads what is called so."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise ValueError(f"{origin} is not a complete gzip file; compress it again, or name it without .gz") from None
    except io.UnsupportedOperation:
        raise ValueError(f"{origin} is not open for reading; open it for reading") from None
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{origin} is not {error.encoding} ({error.reason}); open it with its encoding, or as bytes"
        ) from None
    except OSError as error:
        if error.errno is None and error.args:  # has its words
            raise
        raise worded(error, origin) from None


def worded(error: OSError, origin: str) -> OSError:
    """The same failure in a sentence."""
    if isinstance(error, FileNotFoundError) or error.errno in (errno.ENAMETOOLONG, errno.ENOTDIR):
        return FileNotFoundError(f"there is no file {origin}; check the path")
    if isinstance(error, IsADirectoryError):
        return IsADirectoryError(f"{origin} is a folder; give a file, or a folder of Parquet files")
    if isinstance(error, PermissionError):
        return PermissionError(f"{origin} may not be read; check its permissions")
    if error.errno in (errno.ENXIO, errno.EOPNOTSUPP):
        return OSError(f"{origin} is a socket; connect to it, and give what makefile() gives")
    return OSError(f"{origin} cannot be read ({error.strerror or type(error).__name__}); check it, and read it again")


def _bytes_of(stream: IO[Any], origin: str) -> Any:
    if stream is sys.stdin and hasattr(stream, "buffer"):  # which may hold bytes that are no UTF-8
        return stream.buffer
    return _Encoded(stream, origin) if isinstance(stream.read(0), str) else stream


class _Encoded:
    """A stream of text as one of bytes."""

    def __init__(self, stream: IO[str], origin: str) -> None:
        self._stream, self._origin = stream, origin

    def read(self, size: int) -> bytes:
        text = self._stream.read(size)
        try:
            return text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{self._origin} holds {text[error.start]!r}, an unpaired surrogate; fix it, or give bytes"
            ) from None


def blocks(file: IO[bytes], origin: str) -> Iterator[bytes]:
    """Blocks of whole lines, the last of which may lack its end; without the mark of UTF-8 before the first.

    A line ends with "\\n", "\\r\\n" or "\\r", and nowhere else.

    Raises
    ------
    ValueError
        If a line has more than `MAX_LINE` bytes, or the text is UTF-16 or UTF-32, is packed (twice), or holds NUL.
    """
    is_first = True
    for n_before, block in _whole_lines(file, origin):
        if is_first:
            block = block.removeprefix(UTF8_MARK)
            _refuse_by_mark(block, origin, isinstance(file, gzip.GzipFile))
            is_first = False
        if b"\0" in block:
            raise ValueError(_what_holds_nul(block, n_before, origin))
        if block:
            yield block


def _whole_lines(file: IO[bytes], origin: str) -> Iterator[tuple[int, bytes]]:
    """Blocks, and the lines before each."""
    begun: list[bytes] = []
    n_begun = n_lines = 0
    while block := _read(file, origin):
        end = (block.rfind(b"\n") + 1) or (block.rfind(b"\r", 0, -1) + 1)  # "\n" may follow a last "\r"
        first = min(
            (place for place in (block.find(b"\n"), block.find(b"\r", 0, -1)) if place >= 0), default=len(block)
        )
        if n_begun + first > MAX_LINE:
            raise ValueError(too_long(n_lines + 1, origin))
        begun.append(block[:end] if end else block)
        n_begun += len(begun[-1])
        if end:
            whole = b"".join(begun)
            yield n_lines, whole
            n_lines += count_lines(whole)
            begun, n_begun = [block[end:]], len(block) - end
    if n_begun:
        yield n_lines, b"".join(begun)


def _read(file: IO[bytes], origin: str) -> bytes:
    """A whole block, whatever pieces it comes in; less at the end."""
    pieces: list[bytes] = []
    size = 0
    while size < BLOCK:
        piece = file.read(BLOCK - size)
        if piece is None:
            raise ValueError(f"{origin} is not blocking; make it so, as with setblocking(True)")
        if not isinstance(piece, (bytes, bytearray, memoryview)):
            kind = type(piece).__name__
            raise TypeError(f"{origin} yields {kind} when it is read; give a stream of bytes or of text")
        if not piece:
            break
        pieces.append(bytes(piece))
        size += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def count_lines(block: bytes) -> int:
    """The lines that end in a block."""
    count = block.count(b"\n")
    if b"\r" in block:
        count += block.count(b"\r") - block.count(b"\r\n")
    return count


def too_long(line: int, origin: str) -> str:
    """What is told of a line beyond the bound."""
    return (
        f"line {line} of {origin} has more than {MAX_LINE:,} bytes; end lines with a line feed, or split the table "
        "into files of fewer columns"
    )


def _refuse_by_mark(head: bytes, origin: str, unpacked: bool) -> None:
    """What is told by its first bytes."""
    for mark, encoding in OTHER_MARKS:
        if head.startswith(mark):
            raise ValueError(_what_to_recode(origin, encoding))
    for mark, kind, name in PACKED:
        if head.startswith(mark) and unpacked:
            raise ValueError(f"{origin} is {kind} twice; unpack it once")
        if head.startswith(mark):
            raise ValueError(f"{origin} is {kind}; give it as a file whose name ends in {name}")
    if head[:4].count(0) >= 2 and head[:4].strip(b"\0"):  # letters of two or four bytes
        raise ValueError(_what_to_recode(origin, "UTF-32" if head[:4].count(0) == 3 else "UTF-16"))


def _what_to_recode(origin: str, encoding: str) -> str:
    return f"{origin} is {encoding}; recode it to UTF-8, as with iconv -f {encoding} -t UTF-8"


def _what_holds_nul(block: bytes, n_before: int, origin: str) -> str:
    line = n_before + count_lines(block[: block.index(b"\0")]) + 1
    return f"{origin} is not text: line {line} holds a NUL byte; give text in UTF-8, or a file of Parquet by its name"


def decoded(block: bytes) -> str:
    """Its text; bytes that are not UTF-8 stay apart."""
    return block.decode("utf-8", "surrogateescape")


def lines(text: Iterator[str]) -> Iterator[str]:
    """The lines, with their ends, of texts of whole lines: as `blocks` and the csv module see them, unlike
    `str.splitlines`."""
    return chain.from_iterable(io.StringIO(part, newline="") for part in text)
