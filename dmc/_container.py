"""The container of a model file, that of safetensors: nothing is made of it before all its lengths fit the file.

The length of a JSON header in 8 bytes, the header, and the arrays' numbers in a row. The header names each array with
its dtype, its shape, and where its numbers begin and end.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

DTYPES = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
}
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
MOST_HEADER = 100_000_000  # bytes, as safetensors has it
MOST_DIMENSIONS = 32
ALIGNED = 64  # bytes: where the numbers begin, so that a mapped file's are aligned for any processor
METADATA = "__metadata__"
# Lists and objects of a header, of which each takes twenty times the room of its two letters.
FREE_BRACKETS, LETTERS_A_BRACKET = 1 << 16, 8
DIGITS = 8  # of the digest
DIGEST_AT = len(f'{{"{METADATA}":{{"checksum":"')  # in the header, of which it is the first value


class Place(NamedTuple):
    """Of an array in a file.

    Attributes
    ----------
    dtype : numpy.dtype
    shape : tuple of int
    begin, end : int
        Bytes, from where the numbers begin.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    end: int


class Head(NamedTuple):
    """What stands before the numbers.

    Attributes
    ----------
    metadata : dict of str to str
    places : dict of str to Place
        In the order of the numbers.
    raw : bytes
        The header as it stands there.
    """

    metadata: dict[str, str]
    places: dict[str, Place]
    raw: bytes

    @property
    def begin(self) -> int:
        """Byte of the file where the numbers begin."""
        return 8 + len(self.raw)


def read_head(file: Any, size: int) -> Head:
    """The head of an open binary file of so many bytes.

    Raises
    ------
    ValueError
        What is wrong with it.
    """
    first = file.read(8)
    length = int.from_bytes(first, "little")
    if len(first) < 8 or not 2 <= length <= size - 8:
        raise ValueError("it ends inside its header")
    if length > MOST_HEADER:
        raise ValueError(f"its header takes {length:,} bytes, and at most {MOST_HEADER:,} are read")
    raw = file.read(length)
    if len(raw) < length:
        raise ValueError("it ends inside its header")
    told = parsed(raw)
    if not isinstance(told, dict):
        raise ValueError("its header names no arrays")
    metadata = told.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata are not text")
    places = {name: _place(name, of, size) for name, of in told.items()}
    return Head(metadata, _in_order(places, size - 8 - length), raw)


def parsed(raw: bytes | str) -> Any:
    """What JSON says, if nothing in it is named twice, and it is nested no more than its length explains.

    Raises
    ------
    ValueError
    """
    try:
        text = raw.decode() if isinstance(raw, bytes) else raw
    except UnicodeDecodeError:
        raise ValueError("its header is not UTF-8") from None
    if text.count("[") + text.count("{") > FREE_BRACKETS + len(text) // LETTERS_A_BRACKET:
        raise ValueError("its header is made of empty lists")
    try:
        return json.loads(text, object_pairs_hook=_each_once)
    except RecursionError:
        raise ValueError("its header is nested too deep") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"its header is not JSON: {error}") from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("its header has a duplicate name")
    return found


def _place(name: str, told: Any, most: int) -> Place:
    if not isinstance(told, dict) or told.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"its header does not describe {name[:80]!r}")
    dtype, shape, ends = told["dtype"], told["shape"], told["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"{name[:80]!r} has the unknown dtype {str(dtype)[:20]!r}")
    if not _are_whole(shape, most) or len(shape) > MOST_DIMENSIONS or not _are_whole(ends, most) or len(ends) != 2:
        raise ValueError(f"{name[:80]!r} has an impossible shape or offset")
    found = Place(np.dtype(DTYPES[dtype]), tuple(shape), *ends)
    if math.prod(shape) * found.dtype.itemsize != found.end - found.begin:
        raise ValueError(f"{name[:80]!r} has another number of bytes than its shape {str(shape)[:80]} takes")
    if found.begin % found.dtype.itemsize:
        raise ValueError(f"{name[:80]!r} is not aligned")
    return found


def _are_whole(numbers: Any, most: int) -> bool:
    return isinstance(numbers, list) and all(type(number) is int and 0 <= number <= most for number in numbers)


def _in_order(places: Mapping[str, Place], size: int) -> dict[str, Place]:
    """By where they begin, if they follow each other and fill all of the file behind the header."""
    ordered = dict(sorted(places.items(), key=lambda of: (of[1].begin, of[1].end)))
    end = 0
    for name, place in ordered.items():
        if place.begin != end:
            raise ValueError(f"{name[:80]!r} does not begin where the array before it ends")
        end = place.end
    if end != size:
        raise ValueError(f"it has {size:,} bytes after its header, and its arrays take {end:,}")
    return ordered


def ordered(arrays: Iterable[tuple[str, NDArray[Any]]]) -> list[tuple[str, NDArray[Any]]]:
    """Named arrays in the order of a file: those of wide dtypes first, so that each is aligned, and by name."""
    return sorted(arrays, key=lambda of: (-of[1].dtype.itemsize, of[0]))


def make_head(arrays: Iterable[tuple[str, NDArray[Any]]], metadata: Mapping[str, str]) -> bytearray:
    """The bytes before the numbers of `ordered` arrays, the same for the same arrays and metadata; the digest is zeros.

    Raises
    ------
    ValueError
        If the header is longer than what is read.
    """
    told: dict[str, Any] = {METADATA: {"checksum": "0" * DIGITS, **metadata}}
    end = 0
    for name, array in arrays:
        begin, end = end, end + array.nbytes
        told[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [begin, end]}
    raw = json.dumps(told, separators=(",", ":")).encode()
    raw += b" " * (-(8 + len(raw)) % ALIGNED)
    if len(raw) > MOST_HEADER:
        raise ValueError(
            f"what is saved beside the arrays takes {len(raw):,} bytes, and at most {MOST_HEADER:,} are read"
        )
    return bytearray(len(raw).to_bytes(8, "little") + raw)
