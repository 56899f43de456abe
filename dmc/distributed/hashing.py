"""Numbers that ids are hashed to: the same in every process, on every machine, and in every version of this library."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc._group import N_PARTS
from dmc._text_arrays import is_text
from dmc.distributed.ids import as_bytes, read_ids
from dmc.recommend.tables.vocabulary import DIGITS, WHOLE

MOST = np.iinfo(np.int64)
PART = 1 << 20  # entries looked at together: what is made of them on the way stays in the caches

Hashes = NDArray[np.uint64]


def parts(array: Any) -> NDArray[np.int64]:
    """(n,) the part, from 0 to 1,023, that each id belongs to; 7, "7" and 7.0 are the same id.

    Parameters
    ----------
    array : (n,) pyarrow.Array of any type, or array of ids
        None may be missing.
    """
    if isinstance(array, np.ndarray):
        return parts_of(hashes(array))
    ids = read_ids(array, "ids")
    return ids.spread(parts_of(hashes(ids.known)))


def parts_of(hashed: Hashes) -> NDArray[np.int64]:
    """(n,) the part of each hash: its first bits."""
    return (hashed >> np.uint64(64 - (N_PARTS - 1).bit_length())).astype(np.int64)


def hashes(ids: NDArray[Any]) -> Hashes:
    """(n,) a hash of each id: of int64, or of text; text that is a whole number as it is written has that number's."""
    if not is_text(ids):
        return splitmix64(ids.astype(np.int64, copy=False).view(np.uint64))
    found = np.fromiter(map(zlib.crc32, as_bytes(ids)), np.uint64, len(ids))
    first = ids.astype("U1").view(np.uint32)
    for i in np.flatnonzero((first == ord("-")) | (first - np.uint32(ord("0")) <= 9)).tolist():
        if len(ids[i]) <= DIGITS + 2 and WHOLE.fullmatch(ids[i]) and MOST.min <= int(ids[i]) <= MOST.max:
            found[i] = int(ids[i]) % (1 << 64)
    return splitmix64(found)


def splitmix64(numbers: Hashes) -> Hashes:
    """(n,) numbers mixed so that each bit depends on all: the output of Steele, Lea and Flood's SplitMix64 (2014), each
    number taken for the state of the generator."""
    mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


class Digest:
    """A number for a set of entries, in whatever order and pieces they are added."""

    def __init__(self) -> None:
        self.sum: int = 0
        self.xor: int = 0

    def add(self, users: Hashes, items: Hashes, *numbers: NDArray[np.float32]) -> None:
        """Some entries: (entries,) the hashes of their users and items, and their values and weights."""
        mixed = splitmix64(users + np.uint64(0x9FB21C651E98DF25) * items)
        for given in numbers:
            bits = (given + np.float32(0)).view(np.uint32)  # minus zero is zero
            mixed = splitmix64(mixed ^ bits.astype(np.uint64))
        self.sum = (self.sum + int(mixed.sum(dtype=np.uint64))) % (1 << 64)
        self.xor ^= int(np.bitwise_xor.reduce(mixed, initial=np.uint64(0)))

    @property
    def numbers(self) -> Hashes:
        """(2,) what is known of it."""
        return np.array([self.sum, self.xor], np.uint64)

    def join(self, numbers: Hashes) -> None:
        """Add what another one knows."""
        self.sum = (self.sum + int(numbers[0])) % (1 << 64)
        self.xor ^= int(numbers[1])

    def __str__(self) -> str:
        return f"{self.sum:016x}{self.xor:016x}"
