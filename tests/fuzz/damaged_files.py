"""Damage to model files: bytes that are others, and files whose digest holds though what they hold is damaged."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from dmc import _container

Rng = np.random.Generator
JUNK: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 7, 1 << 31, 1 << 62, -(1 << 70), 10**300, 0.5, -1.5, 1e-320, 1e38, 1e308),
    *(float("nan"), float("inf"), float("-inf"), "", "x", "bayes", "NaN", "x" * 5000, "\0", "\ud800", "../../x"),
    *([], {}, [[]], [None], [1, 2, 3], {"a": 1}, [0.0] * 3, [["a", 1]]),
]
SPECIAL = [np.nan, np.inf, -np.inf, 0, -1, 1, 2, 1e30, -1e38, 3e38, 1e-40, 2**31 - 1, 2**31, -(2**31), 2**53, 2**62]
FOREIGN = [
    b"",
    b"PK\x03\x04" + bytes(60),
    b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }" + bytes(60),
    b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00cos\nsystem\n.",
    b"\x89PNG\r\n\x1a\n" + bytes(40),
    b"user,item,rating\n1,2,3\n",
    b"\xff" * 64,
    (8).to_bytes(8, "little") + b"{}      ",
    (1 << 62).to_bytes(8, "little") + b"{}",
    (40).to_bytes(8, "little") + b"[" * 40,
    (100_000).to_bytes(8, "little") + b"[" * 100_000,
    (90_000).to_bytes(8, "little") + b'{"a":[' + b"[]," * 29_997 + b"1]",
    (22).to_bytes(8, "little") + b'{"a":1e999,"a":NaN}   ',
]

# --- bytes


def flipped(raw: bytes, rng: Rng) -> bytes:
    found = bytearray(raw)
    for at in rng.integers(0, len(raw), int(rng.integers(1, 5))):
        found[at] ^= int(rng.integers(1, 256))
    return bytes(found)


def cut(raw: bytes, rng: Rng) -> bytes:
    return raw[: int(rng.integers(0, len(raw)))]


def longer(raw: bytes, rng: Rng) -> bytes:
    return raw + rng.bytes(int(rng.integers(1, 100)))


def blanked(raw: bytes, rng: Rng) -> bytes:
    """A block of zeros, as a disk leaves it."""
    begin = int(rng.integers(0, len(raw)))
    end = min(begin + int(rng.integers(1, 513)), len(raw))
    return raw[:begin] + bytes(end - begin) + raw[end:]


def moved(raw: bytes, rng: Rng) -> bytes:
    """Two blocks in each other's place."""
    a, b, c = sorted(int(i) for i in rng.integers(0, len(raw) + 1, 3))
    return raw[:a] + raw[b:c] + raw[a:b] + raw[c:]


BYTES: list[Callable[[bytes, Rng], bytes]] = [flipped, flipped, cut, longer, blanked, moved]

# --- what a file holds: everything that its digest does not tell


class Opened:
    """A file taken apart: its metadata, what its header says, and its arrays' numbers."""

    def __init__(self, raw: bytes) -> None:
        length = int.from_bytes(raw[:8], "little")
        self.told: dict[str, Any] = json.loads(raw[8 : 8 + length])
        self.metadata: dict[str, str] = self.told.pop("__metadata__")
        self.header: dict[str, Any] = json.loads(self.metadata["header"])
        data = raw[8 + length :]
        self.arrays = {
            name: np.frombuffer(data[slice(*of["data_offsets"])], _container.DTYPES[of["dtype"]]).reshape(of["shape"])
            for name, of in self.told.items()
        }

    def closed(self) -> bytes:
        """A file of the arrays, in a right container."""
        arrays = _container.ordered(self.arrays.items())
        told: dict[str, Any] = {}
        end = 0
        for name, array in arrays:
            told[name] = {"dtype": _container.NAMES[array.dtype], "shape": list(array.shape)}
            told[name]["data_offsets"] = [end, end + array.nbytes]
            end += array.nbytes
        metadata = self.metadata | {"header": json.dumps(self.header)}
        return sealed({"__metadata__": metadata, **told}, b"".join(array.tobytes() for _, array in arrays))


def sealed(told: dict[str, Any], data: bytes) -> bytes:
    """A file of this header and these numbers, with its right digest."""
    metadata = (
        {"checksum": "0" * _container.DIGITS} | told.get("__metadata__", {}) | {"checksum": "0" * _container.DIGITS}
    )
    text = json.dumps(
        {"__metadata__": metadata} | {k: v for k, v in told.items() if k != "__metadata__"}, separators=(",", ":")
    )
    raw = text.encode("utf-8", "surrogatepass")
    raw += b" " * (-(8 + len(raw)) % 64)
    head = len(raw).to_bytes(8, "little") + raw
    at = 8 + _container.DIGEST_AT
    return head[:at] + f"{zlib.crc32(head + data):08x}".encode() + head[at + _container.DIGITS :] + data


def of_header(raw: bytes, rng: Rng) -> bytes:
    """One value of the header is another, is missing, or is there twice."""
    opened = Opened(raw)
    places: list[tuple[Any, Any]] = []
    _places_in(opened.header, places)
    where, key = places[int(rng.integers(len(places)))]
    way = int(rng.integers(4))
    if way == 0:
        del where[key]
    elif way == 1 and isinstance(where, dict):
        where["more"] = JUNK[int(rng.integers(len(JUNK)))]
    elif way == 2 and type(where[key]) in (int, float):
        where[key] = where[key] * float(rng.choice([-1, 0.5, 2, 1e6, 1e30])) + float(rng.choice([0, 1, -1]))
    else:
        where[key] = JUNK[int(rng.integers(len(JUNK)))]
    return opened.closed()


def _places_in(value: Any, places: list[tuple[Any, Any]]) -> None:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        places.append((value, key))
        if not isinstance(value, list) or len(places) < 500:
            _places_in(value[key], places)


def of_array(raw: bytes, rng: Rng) -> bytes:
    """An array has other values, another shape or dtype, another name, or is missing."""
    opened = Opened(raw)
    name = str(rng.choice(sorted(opened.arrays)))
    array = opened.arrays[name]
    change = _CHANGES[int(rng.integers(len(_CHANGES)))]
    with np.errstate(all="ignore"):
        changed = change(array.copy(), rng)
    if changed is None:
        del opened.arrays[name]
    else:
        opened.arrays[name] = np.ascontiguousarray(changed)
    if rng.random() < 0.1:
        other = str(rng.choice(sorted(opened.arrays))) if opened.arrays else "x"
        opened.arrays[str(rng.choice([other, "unknown", f"{other}.text", "model.9.U"]))] = array
    return opened.closed()


def _values(array: np.ndarray, rng: Rng) -> np.ndarray:
    flat = array.reshape(-1)
    for at in rng.integers(0, max(len(flat), 1), int(rng.integers(1, 4)))[: len(flat)]:
        value = SPECIAL[int(rng.integers(len(SPECIAL)))]
        flat[at] = np.array([value], np.float64).astype(array.dtype)[0]
    return array


def _bits(array: np.ndarray, rng: Rng) -> np.ndarray:
    raw = array.reshape(-1).view(np.uint8)
    for at in rng.integers(0, max(len(raw), 1), int(rng.integers(1, 4)))[: len(raw)]:
        raw[at] ^= int(rng.integers(1, 256))
    return array


def _permuted(array: np.ndarray, rng: Rng) -> np.ndarray:
    return array[rng.permutation(len(array))] if array.ndim else array


def _other_length(array: np.ndarray, rng: Rng) -> np.ndarray:
    if not array.ndim or rng.random() < 0.5:
        return array[:-1] if array.ndim else array
    return np.concatenate([array, array[-1:]])


def _other_shape(array: np.ndarray, rng: Rng) -> np.ndarray:
    ways = [array.T, array.reshape(-1), array[None], array.reshape(*array.shape, 1), array[:0] if array.ndim else array]
    return ways[int(rng.integers(len(ways)))]


def _other_dtype(array: np.ndarray, rng: Rng) -> np.ndarray:
    dtype = list(_container.DTYPES.values())[int(rng.integers(len(_container.DTYPES)))]
    if rng.random() < 0.5 and array.nbytes % np.dtype(dtype).itemsize == 0:
        return array.reshape(-1).view(dtype)
    return array.astype(dtype)


def _constant(array: np.ndarray, rng: Rng) -> np.ndarray:
    array[...] = np.array([SPECIAL[int(rng.integers(len(SPECIAL)))]], np.float64).astype(array.dtype)[0]
    return array


_CHANGES: list[Callable[[np.ndarray, Rng], np.ndarray | None]] = [
    *(_values, _values, _values, _bits, _bits, _permuted, _other_length, _other_shape, _other_dtype, _constant),
    lambda array, rng: None,
]


def of_container(raw: bytes, rng: Rng) -> bytes:
    """The header says something else of an array, or of the file, than what is there."""
    opened = Opened(raw)
    told: dict[str, Any] = {"__metadata__": dict(opened.metadata), **opened.told}
    data = raw[8 + int.from_bytes(raw[:8], "little") :]
    if rng.random() < 0.3:
        name = str(rng.choice(["format", "version", "kind", "requires", "header", "new"]))
        value = [None, "", "1", "4", "6", "x", "[]", "{}", '["sparse"]', "[1]", "²", "Recommender", 3, {}]
        told["__metadata__"][name] = value[int(rng.integers(len(value)))]
        if told["__metadata__"][name] is None:
            del told["__metadata__"][name]
        return sealed(told, data)
    name = str(rng.choice(sorted(opened.told)))
    of = told[name] = dict(told[name])
    field = str(rng.choice(["dtype", "shape", "data_offsets", "all", "gone", "twice"]))
    numbers = [-1, 0, 1, 8, len(data), 1 << 31, 1 << 63, 1 << 70, None, "8", 1.5, True]
    if field == "dtype":
        of[field] = str(rng.choice([*_container.DTYPES, "BF16", "F8_E4M3", "", "object"]))
    elif field in ("shape", "data_offsets"):
        of[field] = [*of[field]] or [0]
        of[field][int(rng.integers(len(of[field])))] = numbers[int(rng.integers(len(numbers)))]
    elif field == "all":
        told[name] = JUNK[int(rng.integers(len(JUNK)))]
    elif field == "gone":
        del told[name]
    else:
        told[f"{name}2"] = dict(of)
    return sealed(told, data)


def of_text(raw: bytes, rng: Rng) -> bytes:
    """Ids that are text: other ends, other letters, a very long one, two alike."""
    opened = Opened(raw)
    texts = sorted(name.removesuffix(".ends") for name in opened.arrays if name.endswith(".ends"))
    if not texts:
        return of_array(raw, rng)
    name = str(rng.choice(texts))
    ends = opened.arrays[f"{name}.ends"].tolist()
    whole = opened.arrays[f"{name}.text"].tobytes()
    pieces = [whole[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    if pieces:
        junk = [b"", b"\0", b"a\0", b"\xff\xfe", b"\xed\xa0\x80", b"~" * 300_000, pieces[0], "é".encode() * 9]
        pieces[int(rng.integers(len(pieces)))] = junk[int(rng.integers(len(junk)))]
    if rng.random() < 0.5:
        pieces = sorted(pieces)
    opened.arrays[f"{name}.text"] = np.frombuffer(b"".join(pieces), np.uint8)
    opened.arrays[f"{name}.ends"] = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    return opened.closed()


CRAFTED: list[Callable[[bytes, Rng], bytes]] = [of_header, of_header, of_array, of_array, of_container, of_text]
