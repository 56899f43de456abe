"""The model file: safetensors with a JSON header; no pickle, versioned, and checked before it is believed."""

from __future__ import annotations

import json
import os
import stat
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dmc import _container
from dmc._container import DIGEST_AT, DIGITS, Head
from dmc._text_arrays import text_array
from dmc._whole_file import whole_file

FORMAT = "dmc"
VERSION = 5  # 3 names a recommender's model; 4 may go without ratings; 5 has a digest of every byte
OLDEST = 3  # that is read
FEATURES: frozenset[str] = frozenset()  # that a file may require of its reader, beyond its version
# Bytes of a file that is copied and checked even if it is to be mapped: it takes a hundredth of a second, and who cuts
# it short later does no harm.
SMALL = 1 << 24
PIECE = 1 << 20  # bytes read, or written, and taken into a digest at a time

Arrays = dict[str, NDArray[Any]]


def save(
    path: str | os.PathLike[str],
    kind: str,
    arrays: Mapping[str, NDArray[Any]],
    header: Mapping[str, Any],
    *,
    requires: Sequence[str] = (),
) -> None:
    """Write arrays and a header; the file appears whole or not at all. The same ones make the same bytes.

    Parameters
    ----------
    path : path
    kind : str
        What the file holds, such as "Recommender".
    arrays : mapping of str to array
        Numbers of any shape, or one-dimensional text.
    header : mapping
        What JSON can hold.
    requires : sequence of str
        What a reader has to know of; one that does not refuses the file by these names.

    Raises
    ------
    OSError
        If it cannot be written. The file that was there stays.
    """
    tensors = _container.ordered(_tensors(arrays))
    metadata = {"format": FORMAT, "version": str(VERSION), "kind": kind, "requires": json.dumps(list(requires))}
    head = _container.make_head(tensors, metadata | {"header": json.dumps(header)})
    at = slice(8 + DIGEST_AT, 8 + DIGEST_AT + DIGITS)
    checksum = zlib.crc32(head)
    for _, array in tensors:
        for piece in _pieces(array):
            checksum = zlib.crc32(piece, checksum)
    head[at] = _digits(checksum)
    with whole_file(path) as file:
        file.write(head)
        for _, array in tensors:
            for piece in _pieces(array):
                file.write(piece)


def _tensors(arrays: Mapping[str, NDArray[Any]]) -> Iterator[tuple[str, NDArray[Any]]]:
    for name, array in arrays.items():
        if array.dtype.kind in "UO":  # text as UTF-8 bytes, and where each piece ends
            pieces = [piece.encode("utf-8", "surrogateescape") for piece in array.tolist()]
            yield f"{name}.text", np.frombuffer(b"".join(pieces), np.uint8)
            yield f"{name}.ends", np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
        else:
            yield name, array.astype(array.dtype.newbyteorder("<"), copy=False)


def _pieces(array: NDArray[Any]) -> Iterator[memoryview]:
    """The bytes of an array in the order of its rows, some at a time: what lies otherwise is copied by the piece."""
    if array.flags.c_contiguous:
        flat = array.reshape(-1).view(np.uint8)
        yield from (flat[i : i + PIECE].data for i in range(0, len(flat), PIECE))
    elif array.ndim > 1 and array.nbytes > PIECE:
        for part in array:
            yield from _pieces(part)
    else:
        yield from _pieces(np.ascontiguousarray(array))


def _digits(checksum: int) -> bytes:
    return f"{checksum:0{DIGITS}x}".encode()


def load(
    path: str | os.PathLike[str], kind: str, *, mmap: bool = False, verify: bool = False
) -> tuple[Arrays, dict[str, Any]]:
    """Read arrays and header back.

    What the file says of its arrays is checked against its length before any is made, and all of its bytes against
    their digest (a CRC-32: it tells damage, and is no proof against forgers).

    Parameters
    ----------
    path : path
    kind : str
        What the file has to hold.
    mmap : bool
        Map the arrays of a file of more than 16 MiB from it, read-only, in place of reading them; their digest is then
        not taken. If such a file is cut short while it is mapped, the system ends the process (SIGBUS): put another
        file in its place, as `save` does, and never write into it.
    verify : bool
        Take the digest of a mapped file, too, which reads all of it.

    Returns
    -------
    arrays : dict of str to array
    header : dict

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a model of dmc, is damaged, holds another kind, or was written by a newer version.
    MemoryError
        If there is no room for its arrays.
    """
    path = Path(path)
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            head = _container.read_head(file, size)
        except ValueError as error:
            raise ValueError(f"{path} is not a model file, or is damaged ({error}); save the model again") from None
        version = _version(head.metadata, path)
        mapped = mmap and size > SMALL
        tensors, checksum = _mapped(file, head, verify) if mapped else _read(file, head, path)
    if checksum is not None and version < 5:
        checksum = _old_checksum(head, tensors)
    if checksum is not None and checksum != head.metadata["checksum"]:
        raise ValueError(f"{path} is damaged: its contents do not match their checksum; save the model again")
    if head.metadata["kind"] != kind:
        found = head.metadata["kind"]
        raise ValueError(f"{path} holds a {found}, not a {kind}; load it with dmc.{found}")
    with believed(path):
        header = _container.parsed(head.metadata["header"])
        if not isinstance(header, dict):
            raise ValueError("its header is not a JSON object")
        return _with_texts(tensors), header


@contextmanager
def believed(path: str | os.PathLike[str]) -> Iterator[None]:
    """A ValueError or TypeError inside says what is wrong with a file's contents, and gets its name and a remedy."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error}; save the model again") from None


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file, opened once: another one may be put in its place meanwhile. What is no file is not waited for."""
    try:
        number = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no model file {path}; check the path, or make one with save") from None
    except OSError as error:
        raise type(error)(f"{path} cannot be opened ({error.strerror}); give a file that can be read") from None
    mode = os.fstat(number).st_mode
    if not stat.S_ISREG(mode):
        os.close(number)
        what = "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"
        raise ValueError(f"{path} is not a model file, but {what}; give the path of a file")
    with open(number, "rb") as file:
        yield file


def _version(metadata: Mapping[str, str], path: Path) -> int:
    """The format's version, of a file that this dmc reads."""
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} was not written by dmc; give a file that save or `dmc fit -o` wrote")
    told = metadata.get("version", "")
    version = int(told) if told.isascii() and told.isdecimal() and len(told) < DIGITS else None
    if version is None or version > VERSION:
        raise ValueError(
            f"{path} has format version {told[:DIGITS]} and this dmc reads up to {VERSION}; install a newer dmc"
        )
    if version < OLDEST:
        raise ValueError(
            f"{path} has format version {version}, of a dmc before its first release, and this one reads {OLDEST} to "
            f"{VERSION}; fit the model again"
        )
    if version > 4:
        _refuse_unknown_features(metadata.get("requires", ""), path)
    if not {"checksum", "kind", "header"} <= metadata.keys():
        raise ValueError(f"{path} is damaged: it does not say what it holds; save the model again")
    return version


def _refuse_unknown_features(told: str, path: Path) -> None:
    try:
        required = _container.parsed(told)
    except ValueError:
        required = None
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise ValueError(f"{path} is damaged: it does not say what it requires; save the model again")
    unknown = [name for name in required if name not in FEATURES]
    if unknown:
        names = ", ".join(repr(name[:80]) for name in unknown[:3])
        raise ValueError(f"{path} requires {names}, which this dmc does not know; install a newer dmc")


def _read(file: BinaryIO, head: Head, path: Path) -> tuple[Arrays, str]:
    """The arrays, each with memory of its own, and the digest of what was read."""
    arrays: Arrays = {}
    checksum = _of_head(head)
    try:
        for name, place in head.places.items():
            array: NDArray[Any] = np.empty(place.shape, place.dtype)
            for piece in _pieces(array):
                if file.readinto(piece) < len(piece):  # type: ignore[attr-defined]
                    raise ValueError(f"{path} was cut short while it was read; save the model again, beside this file")
                checksum = zlib.crc32(piece, checksum)  # while it is in the caches
            arrays[name] = array
    except MemoryError:
        size = sum(place.end - place.begin for place in head.places.values())
        raise MemoryError(
            f"{path} takes {size / 2**20:,.0f} MiB and there is no room for it; free memory, or load it with mmap=True"
        ) from None
    return arrays, _digits(checksum).decode()


def _mapped(file: BinaryIO, head: Head, verify: bool) -> tuple[Arrays, str | None]:
    """The arrays where they lie in the file, and the digest, if it is asked for."""
    whole = np.asarray(np.memmap(file, np.uint8, "r", offset=head.begin))
    arrays = {
        name: whole[place.begin : place.end].view(place.dtype).reshape(place.shape)
        for name, place in head.places.items()
    }
    if not verify:
        return arrays, None
    checksum = _of_head(head)
    for piece in _pieces(whole):
        checksum = zlib.crc32(piece, checksum)
    return arrays, _digits(checksum).decode()


def _of_head(head: Head) -> int:
    """The digest of the file up to the numbers, its own digits blank wherever the header says that they stand."""
    at = slice(DIGEST_AT, DIGEST_AT + DIGITS)
    told = head.metadata["checksum"].encode("utf-8", "surrogatepass")
    blank = head.raw[: at.start] + b"0" * DIGITS + head.raw[at.stop :] if head.raw[at] == told else head.raw
    return zlib.crc32(blank, zlib.crc32(len(blank).to_bytes(8, "little")))


def _old_checksum(head: Head, tensors: Arrays) -> str:
    """As versions 3 and 4 have it."""
    found = 0
    for key in ("format", "version", "kind", "header"):
        found = zlib.crc32(head.metadata[key].encode("utf-8", "surrogatepass"), found)
    for name in sorted(tensors):
        found = zlib.crc32(
            f"{name} {tensors[name].dtype} {tensors[name].shape}".encode("utf-8", "surrogatepass"), found
        )
        for piece in _pieces(tensors[name]):
            found = zlib.crc32(piece, found)
    return str(found)


def _with_texts(tensors: Arrays) -> Arrays:
    """The arrays, those of text decoded."""
    texts = [name.removesuffix(".text") for name in tensors if name.endswith(".text")]
    found = {
        name: array for name, array in tensors.items() if name.removesuffix(".text").removesuffix(".ends") not in texts
    }
    for name in texts:
        if name in tensors or f"{name}.ends" not in tensors:
            raise ValueError(f"{name[:80]!r} is not text")
        found[name] = _text(name, tensors[f"{name}.text"], tensors[f"{name}.ends"])
    return found


def _text(name: str, letters: NDArray[Any], ends: NDArray[Any]) -> NDArray[Any]:
    fits = letters.dtype == np.uint8 and ends.dtype == np.int64 and letters.ndim == ends.ndim == 1
    if not fits or (ends[-1] if len(ends) else 0) != len(letters) or (np.diff(ends, prepend=0) < 0).any():
        raise ValueError(f"the pieces of the text {name[:80]!r} do not follow each other")
    last = ends[np.diff(ends, prepend=0) > 0] - 1
    if (letters[last] == 0).any():
        raise ValueError(f"a piece of the text {name[:80]!r} ends with a NUL character")
    whole, places = letters.tobytes(), ends.tolist()
    return text_array(
        [whole[a:b].decode("utf-8", "surrogateescape") for a, b in zip([0, *places], places, strict=False)]
    )
