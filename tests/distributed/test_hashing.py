"""Hashes that must never change: checkpoints and models of several processes are laid out by them."""

import decimal
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dmc._group import N_PARTS
from dmc.distributed import hashing

WORDS = ["ann", "é", "日本", "07", "+7", "-0", "7.5", "", "12a", "99999999999999999999", "９"]


def reference(number: int) -> int:
    """SplitMix64 in Python's whole numbers, as its authors write it."""
    z = (number + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def crc32(data: bytes) -> int:
    """The sum of ISO 3309, bit by bit."""
    found = 0xFFFFFFFF
    for byte in data:
        found ^= byte
        for _ in range(8):
            found = (found >> 1) ^ (0xEDB88320 * (found & 1))
    return found ^ 0xFFFFFFFF


def test_the_first_number_of_the_generator_is_the_published_one() -> None:
    assert int(hashing.splitmix64(np.zeros(1, np.uint64))[0]) == 0xE220A8397B1DCDAF


def test_whole_numbers() -> None:
    ids = np.array([0, 7, -7, 2**62, np.iinfo(np.int64).min, np.iinfo(np.int64).max])
    assert hashing.hashes(ids).tolist() == [reference(int(id) % 2**64) for id in ids]
    assert hashing.parts(ids).tolist() == [reference(int(id) % 2**64) >> 54 for id in ids]


def test_text() -> None:
    expected = [reference(crc32(word.encode())) for word in WORDS]
    assert hashing.hashes(np.array(WORDS)).tolist() == expected
    assert hashing.parts(pa.array(WORDS)).tolist() == [one >> 54 for one in expected]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([7, -12, 0], pa.int8()),
        pa.array([7, 2**64 - 12, 0], pa.uint64()),
        pa.array([7.0, -12.0, 0.0], pa.float32()),
        pa.array(["7", "-12", "0"]),
        pa.array(["7.0", "-12", "0.0"], pa.large_string()),
        pa.array(["7", "-12", "0"], pa.string_view()),
        pa.array(["7", "-12", "0"]).dictionary_encode(),
        pa.array([b"7", b"-12", b"0"]),
        pa.array([decimal.Decimal(7), decimal.Decimal(-12), decimal.Decimal(0)]),
    ],
    ids=lambda column: str(column.type),
)
def test_a_number_is_the_same_id_in_any_type(column: Any) -> None:
    expected = hashing.parts(np.array([7, -12, 0]))
    known = [0, 2] if column.type == pa.uint64() else [0, 1, 2]
    assert hashing.parts(column)[known].tolist() == expected[known].tolist()
    other = pa.concat_arrays([column, column])  # beside an id that makes text of the column
    assert hashing.parts(other)[3:].tolist() == hashing.parts(column).tolist()


def test_a_number_is_the_same_id_among_words() -> None:
    mixed = hashing.parts(pa.array(["7", "x", "-12", "7.0"]))
    assert mixed[[0, 2, 3]].tolist() == hashing.parts(np.array([7, -12, 7])).tolist()


def test_neighbours_spread_evenly() -> None:
    counts = np.bincount(hashing.parts(np.arange(100 * N_PARTS)), minlength=N_PARTS)
    assert len(counts) == N_PARTS
    assert 50 < counts.min() <= counts.max() < 150


def test_nothing() -> None:
    for empty in (pa.array([], pa.int64()), pa.array([], pa.string()), np.zeros(0, "U1"), np.zeros(0, np.int64)):
        assert hashing.parts(empty).tolist() == []


def digest(entries: list[tuple[int, str, float]], cut: int = 0) -> hashing.Digest:
    found = hashing.Digest()
    for some in (entries[:cut], entries[cut:]):
        if some:
            users, items, values = zip(*some, strict=True)
            found.add(hashing.hashes(np.array(users)), hashing.hashes(np.array(items)), np.array(values, np.float32))
    return found


def test_a_digest_knows_entries_and_not_their_order() -> None:
    entries = [(user, f"i{item}", user / (item + 1)) for user in range(9) for item in range(5)]
    expected = str(digest(entries))
    shuffled = random.Random(0).sample(entries, len(entries))
    assert str(digest(shuffled, 11)) == expected
    joined = digest(shuffled[:20])
    joined.join(digest(shuffled[20:]).numbers)
    assert str(joined) == expected
    user, item, value = entries[3]
    for other in ((user + 1, item, value), (user, "i4!", value), (user, item, value + 1e-6)):
        assert str(digest([*entries[:3], other, *entries[4:]])) != expected
    assert str(digest(entries * 2)) != expected
    assert str(digest([(1, "a", 0.0)])) == str(digest([(1, "a", -0.0)]))
    assert str(digest([])) == "0" * 32


def test_a_digest_tells_which_value_is_whose() -> None:
    assert str(digest([(1, "a", 2.0), (2, "b", 3.0)])) != str(digest([(1, "a", 3.0), (2, "b", 2.0)]))
    assert str(digest([(1, "2", 5.0)])) != str(digest([(2, "1", 5.0)]))
