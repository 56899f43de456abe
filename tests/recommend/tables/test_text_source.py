"""Bytes of files, pipes and streams: whole lines of bounded length, or one sentence that says what else it is."""

import errno
import gzip
import io
import itertools
import os
import re
import socket
import threading

import pytest
from hypothesis import given, settings, strategies as st

from dmc.recommend.tables import text_source
from dmc.recommend.tables.table import Table
from dmc.recommend.tables.text_source import blocks, called, opened

CSV = b"user,item,rating\nann,10,4\nbob,7,2.5\n"


class Stream(io.RawIOBase):
    """Gives these pieces, or raises what is among them; and knows how much was taken."""

    def __init__(self, pieces) -> None:
        self._pieces, self.taken = iter(pieces), 0

    def readable(self):
        return True

    def read(self, size=-1):
        if size == 0:
            return b""
        piece = next(self._pieces, b"")
        if isinstance(piece, BaseException):
            raise piece
        self.taken += len(piece) if isinstance(piece, bytes) else 0
        return piece


def refusal(source, *, of=(ValueError, TypeError, OSError)) -> str:
    with pytest.raises(of) as caught:
        Table.open(source, ("user", "item", "rating"))
    assert type(caught.value).__module__ == "builtins"
    sentence = str(caught.value)
    assert sentence.isprintable()
    assert "; " in sentence
    return sentence


# --- lines


@settings(deadline=None)
@given(
    content=st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"x", b"\xc2\x85", b"\x0c", b"\xe2\x80\xa8"])).map(
        b"".join
    ),
    block=st.sampled_from([1, 2, 3, 1 << 20]),
    piece=st.sampled_from([1, 2, 100]),
)
def test_blocks_are_the_content_and_end_where_lines_do(content, block, piece):
    pieces = [content[i : i + piece] for i in range(0, len(content), piece)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_source, "BLOCK", block)
        found = list(blocks(Stream(pieces), "r.csv"))
    assert b"".join(found) == content
    assert all(one.endswith((b"\n", b"\r")) for one in found[:-1])
    for one, other in itertools.pairwise(found):
        assert not (one.endswith(b"\r") and other.startswith(b"\n"))
    text = content.decode()
    assert list(text_source.lines(map(bytes.decode, found))) == list(io.StringIO(text, newline=""))
    assert sum(map(text_source.count_lines, found)) == len(re.findall("\r\n|\r|\n", text))


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
def test_an_endless_line_is_given_up(name, monkeypatch):
    monkeypatch.setattr(text_source, "MAX_LINE", 10_000)
    monkeypatch.setattr(text_source, "BLOCK", 1000)
    begun = CSV if name == "r.csv" else b'{"user": 1}\n' * 3
    stream = Stream(itertools.chain([begun, b"\r\n"], itertools.repeat(b"x" * 500)))
    stream.name = name
    assert refusal(stream) == (
        f"line 5 of {name} has more than 10,000 bytes; end lines with a line feed, or split the table into files of "
        "fewer columns"
    )
    assert stream.taken < 13_000


def test_a_line_may_have_as_many_bytes_as_that_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(text_source, "MAX_LINE", 10_000)
    for block in (7, 999, 5000):
        monkeypatch.setattr(text_source, "BLOCK", block)
        for extra in (0, 1):
            line = b"x" * (10_000 - 6 + extra) + b"y,10,4"
            (tmp_path / "r.csv").write_bytes(CSV + line + b"\n")
            if extra:
                assert "line 4 of" in refusal(tmp_path / "r.csv")
            else:
                assert len(Table.open(tmp_path / "r.csv")) == 3


def test_a_hundred_megabytes_in_a_line_take_neither_time_nor_room(tmp_path):
    with open(tmp_path / "r.csv", "wb") as file:  # a hole: it takes no room on the disk either
        file.write(CSV)
        file.truncate(100 << 20)
    assert refusal(tmp_path / "r.csv") == (
        f"line 4 of {tmp_path}/r.csv has more than 16,777,216 bytes; end lines with a line feed, or split the table "
        "into files of fewer columns"
    )


# --- gzip


def test_what_swells_is_bounded_as_other_lines_are(tmp_path, monkeypatch):
    monkeypatch.setattr(text_source, "MAX_LINE", 1 << 20)
    for name in ("r.csv.gz", "r.jsonl.gz"):
        (tmp_path / name).write_bytes(gzip.compress(b"x" * (20 << 20), 1))
        assert "line 1 of" in refusal(tmp_path / name)
    (tmp_path / "r.csv.gz").write_bytes(gzip.compress(b"\n" * (4 << 20), 1))
    assert "is empty" in refusal(tmp_path / "r.csv.gz")


def test_members_and_what_is_behind_them(tmp_path):
    path = tmp_path / "r.csv.gz"
    path.write_bytes(gzip.compress(CSV[:30]) + gzip.compress(CSV[30:]) + bytes(20))  # tapes are padded so
    assert Table.open(path).column("user").tolist() == ["ann", "bob"]
    for content in (gzip.compress(CSV) + b"more", gzip.compress(CSV)[:-3], gzip.compress(CSV)[:5], b"\x1f\x8b"):
        path.write_bytes(content)
        assert refusal(path) == f"{path} is not a complete gzip file; compress it again, or name it without .gz"
    path.write_bytes(gzip.compress(gzip.compress(CSV)))
    assert refusal(path) == f"{path} is packed by gzip twice; unpack it once"
    path.write_bytes(b"")
    assert "is empty" in refusal(path)


# --- encodings


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
def test_wide_letters_are_to_be_recoded(encoding, name, tmp_path):
    text = CSV.decode() if name == "r.csv" else '{"user": 1, "item": 2, "rating": 3}\n'
    (tmp_path / name).write_bytes(text.encode(encoding))
    family = encoding[:6].upper()
    told = f"{tmp_path / name} is {family}; recode it to UTF-8, as with iconv -f {family} -t UTF-8"
    assert refusal(tmp_path / name) == told


def test_nul_is_told_by_its_line():
    stream = io.BytesIO(CSV + b"\r\na,1\0,2\n")
    told = "the stream is not text: line 5 holds a NUL byte; give text in UTF-8, or a file of Parquet by its name"
    assert refusal(stream) == told


def test_bytes_that_are_no_utf8_are_ids_as_they_stand(tmp_path):
    (tmp_path / "r.csv").write_bytes("user,item,rating\né,1,2\nè,1,3\né,2,2\n".encode("latin-1"))
    vocabulary, positions = Table.open(tmp_path / "r.csv").learn("user")
    assert [one.encode("utf-8", "surrogateescape") for one in vocabulary.ids] == [b"\xe8", b"\xe9"]
    assert positions.tolist() == [1, 0, 1]


def test_other_ends_of_lines_than_three_are_letters(tmp_path):
    (tmp_path / "r.csv").write_text("user,item,rating\na\x85b\u2028c,d\x0c\x1c,3\n", encoding="utf-8")
    table = Table.open(tmp_path / "r.csv")
    assert table.ids("user").tolist() == ["a\x85b\u2028c"]
    assert table.ids("item").tolist() == ["d\x0c\x1c"]


# --- what is no file


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/urandom", "/dev/full"])
def test_devices_are_no_tables(path):
    if not os.path.exists(path):
        pytest.skip(f"there is no {path} here")
    assert refusal(path) == f"{path} is a device; give a file or a pipe"


def test_nothing_is_empty():
    assert refusal(os.devnull) == f"{os.devnull} is empty; give one rating a line: user, item, rating"


def test_sockets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # their names have to be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        assert refusal("socket") == "socket is a socket; connect to it, and give what makefile() gives"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        writer = threading.Thread(target=lambda: (theirs.sendall(CSV), theirs.shutdown(socket.SHUT_WR)))
        writer.start()
        with ours.makefile("rb", buffering=0) as stream:
            assert Table.open(stream).column("user").tolist() == ["ann", "bob"]
        writer.join()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        with ours.makefile("rb") as stream:
            assert "is not blocking; make it so" in refusal(stream)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_header_is_told_the_same_however_bytes_come(size):
    text = b"who,what\nann,10\nbob,20\n"
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    assert Table.open(Stream(pieces), ("user", "item")).names == ["who", "what"]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("a\0b", r"the path 'a\x00b' holds a NUL byte; check the path"),
        ("a\nb", r"there is no file 'a\nb'; check the path, or give text itself as io.StringIO(text)"),
        ("x" * 300, "there is no file " + "x" * 100 + "…; check the path"),
        ("x" * 300 + ".parquet", "there is no file " + "x" * 100 + "…; check the path"),
        ("nope\t.parquet", r"there is no file 'nope\t.parquet'; check the path"),
        (b"r.csv", "the ratings are bytes; give the path of a file as text, or io.BytesIO of what is in one"),
    ],
)
def test_paths_that_are_none(path, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refusal(path) == told


def test_a_path_of_bytes_may_be_given_as_such_a_path(tmp_path, monkeypatch):
    class Bytes:
        def __fspath__(self):
            return b"r.csv"

    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.csv").write_bytes(CSV)
    assert len(Table.open(Bytes())) == 2


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), "r.csv may not be read; check its permissions"),
        (OSError(errno.ELOOP, "Too many links"), "r.csv cannot be read (Too many links); check it, and read it again"),
        (OSError(errno.EIO, "Input/output error"), "r.csv cannot be read (Input/output error); check it, and read"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory"), "there is no file r.csv; check the path"),
    ],
)
def test_what_the_system_refuses(failure, told, monkeypatch):
    def fail(*_):
        raise failure

    monkeypatch.setattr("builtins.open", fail)
    assert refusal("r.csv", of=OSError).startswith(told)


# --- streams


def test_streams_that_cannot_be_read(tmp_path):
    closed = io.BytesIO(CSV)
    closed.close()
    assert refusal(closed) == "the stream is closed; give an open one"
    assert refusal(Stream([b"us", 7])) == "the stream yields int when it is read; give a stream of bytes or of text"
    assert "is not blocking; make it so" in refusal(Stream([b"us", None]))
    reset = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
    told = "the stream cannot be read (Connection reset by peer); check it, and read it again"
    assert refusal(Stream([CSV, reset])) == told
    assert refusal(io.StringIO("user,item,rating\na\ud800,1,2\n")) == (
        r"the stream holds '\ud800', an unpaired surrogate; fix it, or give bytes"
    )
    with open(tmp_path / "r.csv", "w") as file:
        assert refusal(file) == f"{tmp_path}/r.csv is not open for reading; open it for reading"
    (tmp_path / "r.csv").write_bytes("é".encode("latin-1"))
    with open(tmp_path / "r.csv", encoding="utf-8") as text:
        assert "is not utf-8 (" in refusal(text)


def test_what_a_stream_of_the_users_raises_is_theirs():
    with pytest.raises(RuntimeError, match="mine"):
        Table.open(Stream([b"us", RuntimeError("mine")]))


def test_a_file_is_read_once_and_closed(tmp_path):
    path = tmp_path / "r.csv"
    path.write_bytes(CSV)
    with opened(path) as file:
        assert b"".join(blocks(file, called(path))) == CSV
    assert file.closed
