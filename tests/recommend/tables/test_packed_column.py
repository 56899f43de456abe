"""A packed column tells what its texts tell, however they came in pieces."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from dmc.recommend.tables import packed_column
from dmc.recommend.tables.packed_column import WIDE, PackedColumn
from dmc.recommend.tables.table import Table
from dmc.recommend.tables.vocabulary import Vocabulary, as_ids

ODD = [
    "7",
    "7.0",
    "007",
    "-7",
    "-0",
    "0",
    "0.0",
    "1e3",
    "1.50",
    "+7",
    " 7",
    "",
    "é",
    "日本",
    "٧",
    "nan",
    "\udce9",
    "7.",
]
HUGE = [str(n) for n in (2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64)]
TEXTS = st.lists(
    st.sampled_from([*ODD, *HUGE])
    | st.integers(-300, 300).map(str)
    | st.text(max_size=9).filter(lambda t: "\0" not in t),
    min_size=1,
    max_size=40,
)
NUMBERS = st.lists(st.integers(-(2**63), 2**63 - 1).map(str) | st.integers(0, 50).map("{}.0".format), min_size=1)


def packed(texts: list[str], size: int) -> PackedColumn:
    column = PackedColumn()
    for first in range(0, len(texts), size):
        column.add(texts[first : first + size])
    return column


@settings(deadline=None)
@given(texts=TEXTS | NUMBERS, size=st.integers(1, 7), large=st.sampled_from([1, 40, 1 << 25]))
def test_the_pieces_do_not_show(texts, size, large):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed_column, "LARGE", large)
        column = packed(texts, size)
    assert len(column) == len(texts)
    assert column.text().tolist() == texts
    expected, places = Vocabulary.learn(as_ids(np.asarray(texts), "user"))
    vocabulary, positions = column.learn("user")
    assert vocabulary.ids.tolist() == expected.ids.tolist()
    assert vocabulary.ids.dtype.kind == expected.ids.dtype.kind
    np.testing.assert_array_equal(positions, places)
    assert positions.dtype == np.int32


@pytest.mark.parametrize("limit", ["MAX_LEVELS", "SPAN"])
@settings(deadline=None)
@given(texts=TEXTS | NUMBERS, size=st.integers(1, 7))
def test_limits_do_not_show(limit, texts, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed_column, limit, 0)
        column = packed(texts, size)
        assert column.text().tolist() == texts
        expected, places = Vocabulary.learn(as_ids(np.asarray(texts), "user"))
        vocabulary, positions = column.learn("user")
    assert vocabulary.ids.tolist() == expected.ids.tolist()
    np.testing.assert_array_equal(positions, places)


@settings(deadline=None)
@given(
    texts=st.lists(
        st.integers(-9, 9).map(str) | st.sampled_from(["2.5", "1e1", " 3", "0.1", "-.5", "16777217"]), min_size=1
    ),
    size=st.integers(1, 7),
)
def test_numbers_are_those_of_the_texts(texts, size):
    found = packed(texts, size).floats()
    if found is None:  # float32 has not all of them
        assert "16777217" in texts
    else:
        np.testing.assert_array_equal(found, np.asarray(texts).astype(np.float64).astype(np.float32))


@pytest.mark.parametrize(
    "texts", [["1", "x"], ["1", ""], ["1", "nan"], ["2.5", "inf"], ["1.5", "1e39"], ["1e-50", "2e-50"]]
)
def test_what_is_to_be_asked_of_the_texts(texts):
    """Which one is wrong is told with its row by `Table.numbers`."""
    assert packed(texts, 1).floats() is None


def test_numbers_take_the_room_of_numbers():
    column = packed([str(n % 100) for n in range(5000)], 1000)
    assert sum(piece.nbytes for _, piece in column._pieces) == 5000
    words = packed([f"user number {n % 100}" for n in range(5000)], 1000)
    assert sum(piece.nbytes for _, piece in words._pieces) == 5000


def test_a_long_text_takes_no_other_entry_room():
    texts = ["short", "x" * 50 * WIDE, "7"]
    column = packed(texts, 1)
    assert column.text().tolist() == texts
    assert column.text().dtype == object


def test_a_column_of_which_hardly_a_text_occurs_twice(monkeypatch):
    monkeypatch.setattr(packed_column, "MAX_LEVELS", 20)
    texts = [f"2024-01-{n:05}é" for n in range(300)]
    column = packed(texts, 30)
    assert len(column.levels) < 200
    assert column.text().tolist() == texts
    assert column.learn("when")[0].ids.tolist() == texts


def test_ids_far_apart_are_sorted_in_parts(monkeypatch, rng):
    monkeypatch.setattr(packed_column, "PART", 7)
    ids = rng.integers(-(2**62), 2**62, 90)[rng.integers(0, 90, 2000)]
    vocabulary, positions = packed(ids.astype(str).tolist(), 13).learn("user")
    known, places = np.unique(ids, return_inverse=True)
    np.testing.assert_array_equal(vocabulary.ids, known)
    np.testing.assert_array_equal(positions, places)


def test_a_table_of_a_file_learns_as_one_of_arrays(tmp_path, rng):
    users, items = rng.integers(0, 40, 500), rng.integers(0, 9, 500)
    path = tmp_path / "r.csv"
    path.write_text("user,item,rating\n" + "".join(f"{u},x{i},3\n" for u, i in zip(users, items, strict=True)))
    for name, given_ids in (("user", users), ("item", np.char.add("x", items.astype(str)))):
        vocabulary, positions = Table.open(path).learn(name)
        expected, places = Table.open({name: given_ids}).learn(name)
        np.testing.assert_array_equal(vocabulary.ids, expected.ids)
        np.testing.assert_array_equal(positions, places)
