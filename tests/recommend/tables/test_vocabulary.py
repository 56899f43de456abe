"""Ids of any kind and the positions that stand for them: the same for the same id, whatever it comes in."""

import datetime
import tracemalloc

import numpy as np
import pandas as pd
import polars as pl
import pytest

from dmc.recommend.tables import vocabulary as vocabularies
from dmc.recommend.tables.table import Table
from dmc.recommend.tables.vocabulary import Vocabulary, as_column, as_ids

DAY, HOUR = "2024-01-02", "2024-01-02T08:30"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([3, 1, 2], [3, 1, 2]),
        (np.array([3, 900_000_000_000], np.uint64), [3, 900_000_000_000]),
        ([-5, 0], [-5, 0]),
        ([2.0, 7.0], [2, 7]),
        (["3", "10"], [3, 10]),
        (["a", "b"], ["a", "b"]),
        (["007", "7"], ["007", "7"]),
        (["7", "x"], ["7", "x"]),
        (np.array([7, "7", "x"], object), ["7", "7", "x"]),
        (np.array([7, 7.0, "7", "x"], object), ["7", "7", "7", "x"]),
        ([7.0, 7.5], ["7", "7.5"]),
        (["7.0", "12.0"], [7, 12]),
        (["7.0", "x", "7"], ["7", "x", "7"]),
        (["1.50", "007.0", "-0.0", "1e3", ".0", "-.0", "x.0", "7.00", "0.0", "-12.0"], None),
        (["12345678901234567890.0", "3"], ["12345678901234567890", "3"]),
        (np.array([7, "8.0", 9.0], object), [7, 8, 9]),
        (np.array([-7.0, 2.0**53], np.float32), [-7, 2**53]),
        ([7.0, 2.0**63], ["7", str(2**63)]),
        (["", "é", "日本"], ["", "é", "日本"]),
        ([b"ab", b"c"], ["ab", "c"]),
        ([], []),
    ],
)
def test_ids_are_whole_numbers_or_text(given, expected):
    if expected is None:
        expected = [*given[:-2], "0", "-12"]
    ids = as_ids(np.asarray(given), "user")
    assert ids.tolist() == expected
    assert ids.dtype.kind in "iU"


HUGE = [1, 2**63, 2**63 + 1, 2**63 + 2]


@pytest.mark.parametrize(
    "users",
    [
        HUGE,
        [-1, *HUGE],
        [*HUGE, 2**70],
        np.array(HUGE, np.uint64),
        np.array(HUGE, object),
        pd.Series(HUGE, dtype="uint64"),
        pl.Series(HUGE, dtype=pl.UInt64),
        [str(i) for i in HUGE],
        [2**53, 2**53 + 1, 2**62 + 1],
    ],
)
def test_huge_ids_are_never_rounded_into_one(users):
    """Hashes fill 64 bits; as floats, neighbours would become one user without a word."""
    ids = Table.open({"user": users}).ids("user")
    assert ids.astype(str).tolist() == [str(i) for i in users]
    known, lines = Vocabulary.learn(ids)
    assert len(known) == len(users)
    np.testing.assert_array_equal(known.positions(users), lines)


@pytest.mark.parametrize(
    "users",
    [
        np.array(["a", None, None], object),
        np.array(["a", np.nan, None], object),
        np.array([1.0, np.nan, np.nan]),
        np.array(["a", pd.NA, pd.NA], object),
        np.array([1, pd.NA, pd.NA], object),
        np.array(["2020-01-01", "NaT", "NaT"], "M8[D]"),
        np.array([1, pd.NaT, pd.NaT], object),
    ],
)
def test_missing_ids_are_refused_with_their_number(users):
    with pytest.raises(ValueError, match="column 'user' holds 2 missing ids, the first in row 1; drop those rows"):
        as_ids(users, "user")


@pytest.mark.parametrize(
    "users", [np.array([1.0, np.inf, -np.inf]), np.array([1, np.inf, np.float32(-np.inf)], object)], ids=["f", "O"]
)
def test_infinite_ids_are_refused(users):
    with pytest.raises(ValueError, match="column 'user' holds 2 infinite ids, the first in row 1; drop those rows"):
        as_ids(users, "user")
    assert as_ids(np.array(["inf", "nan"]), "user").tolist() == ["inf", "nan"]  # names like any other


@pytest.mark.parametrize("digits", [1, 5, 17, 18, 19, 20, 25])
def test_texts_are_whole_numbers_just_when_python_writes_them_so(digits, rng):
    """Against Python's own int and str, one text at a time, at every length and its edge."""
    edge = 10**digits
    texts = [str(v) for v in (edge, edge - 1, 1 - edge, -edge, 2**63 - 1, -(2**63), 2**63, 0, 7)]
    texts += ["0" * digits, "-0", "-", "", "+7", "1 ", " 1", "1_0", "-07", "1-", "٧", "1.", "x", "1" * digits + "x"]
    for text in texts:
        for beside in ("7", "-12"):
            try:
                whole = str(int(text)) == text and -(2**63) <= int(text) < 2**63
            except ValueError:
                whole = False
            expected = [int(text), int(beside)] if whole else [text, beside]
            assert as_ids(np.array([text, beside]), "user").tolist() == expected


def vocabulary(ids) -> Vocabulary:
    return Vocabulary.learn(as_ids(np.asarray(ids), "user"))[0]


@pytest.mark.parametrize("ids", [[5, 3, 3, 1000, -2], ["b", "a", "b", ""], [10, 9, 100], ["x10", "x9", "7"]])
def test_vocabulary_numbers_what_occurs(ids):
    known, lines = Vocabulary.learn(as_ids(np.asarray(ids), "user"))
    assert len(known) == len(set(ids))
    assert known.ids[lines].tolist() == ids
    assert sorted(set(lines.tolist())) == list(range(len(known)))
    np.testing.assert_array_equal(known.positions(ids), lines)
    # As text, numbers sort differently: 10 before 9.
    np.testing.assert_array_equal(known.positions([str(i) for i in ids]), lines)


@pytest.mark.parametrize(
    "learned", [[7, 10], ["7", "10"], [7.0, 10.0], ["7.0", "10.0"], ["7.0", "x"], ["7", "x"], [7.0, 7.5], ["7", "007"]]
)
@pytest.mark.parametrize("asked", [7, "7", "7.0", 7.0, np.int8(7), np.float32(7), np.int64(7)])
def test_seven_is_seven(learned, asked):
    known = vocabulary(learned)
    (line,) = known.positions([asked])
    assert str(known.ids[line]) == "7"


@pytest.mark.parametrize("learned", [[7], ["7"], [7.0], ["7", "x"]])
@pytest.mark.parametrize("asked", ["007", " 7", "7 ", "+7", "7_0", "", 8, -7, 7.5, 2**64, "x7", "٧"])
def test_other_ids_are_not_known(learned, asked):
    np.testing.assert_array_equal(vocabulary(learned).positions([asked]), [-1])


def test_lists_of_several_kinds():
    np.testing.assert_array_equal(vocabulary([1, 2, 3]).positions([1, 2.0, "3"]), [0, 1, 2])
    assert as_ids(as_column([2.0**70, "a"], "user"), "user").tolist() == [str(2**70), "a"]


def test_the_same_id_twice_is_one():
    known, positions = Vocabulary.learn(as_ids(np.array(["1", "1.0", "2.0"]), "user"))
    assert known.ids.tolist() == [1, 2]
    assert positions.tolist() == [0, 0, 1]


def test_known_and_unknown_together():
    np.testing.assert_array_equal(vocabulary(["a", "b"]).positions(["z", "b", "0", "a"]), [-1, 1, -1, 0])
    np.testing.assert_array_equal(vocabulary([5, 9]).positions(["z", "9", "5"]), [-1, 1, 0])
    np.testing.assert_array_equal(vocabulary(["a"]).positions([]), [])


@pytest.mark.parametrize(
    ("learned", "more", "whole"),
    [
        ([5, 9], [7, 5, 1, 7], [1, 5, 7, 9]),
        (["b", "x"], ["a", "x", "c"], ["a", "b", "c", "x"]),
        ([5, 10], ["a", "10", ""], ["", "10", "5", "a"]),  # numbers become text, and sort as text
        (["7", "x"], [7, 10, -1], ["-1", "10", "7", "x"]),
        ([5, 9], [], [5, 9]),
        ([5, 9], [9.0, 2.0], [2, 5, 9]),
        ([5, 9], [9.0, 2.5], ["2.5", "5", "9"]),
        (["a"], ["a much longer one"], ["a", "a much longer one"]),
        ([2**62], [-(2**62)], [-(2**62), 2**62]),
    ],
    ids=str,
)
def test_extended(learned, more, whole):
    known = vocabulary(learned)
    before = known.ids.copy()
    extended, old, new = known.extended(as_ids(np.asarray(more), "user"))
    assert extended.ids.tolist() == whole
    assert (len(old), len(new)) == (len(known), len(more))
    assert [str(i) for i in extended.ids[old]] == [str(i) for i in known.ids]
    np.testing.assert_array_equal(extended.positions(more), new)
    np.testing.assert_array_equal(extended.positions(known.ids), old)
    np.testing.assert_array_equal(known.ids, before)
    assert len(set(old.tolist())) == len(old)


def test_a_vocabulary_of_text_is_that_of_numpy(rng):
    ids = np.array([f"{a:x}é" for a in rng.integers(0, 500, 3000)])
    known, lines = np.unique(ids, return_inverse=True)
    vocabulary, found = Vocabulary.learn(ids)
    np.testing.assert_array_equal(vocabulary.ids, known)
    np.testing.assert_array_equal(found, lines)
    assert found.dtype == np.int32


@pytest.mark.parametrize(("least", "span"), [(0, 1), (-40, 90), (7, 12_000), (-(2**62), 2**62), (2**63 - 50, 49)])
def test_a_vocabulary_of_numbers_is_that_of_numpy(rng, least, span):
    ids = least + rng.integers(0, span, 3000)
    known, lines = np.unique(ids, return_inverse=True)
    vocabulary, found = Vocabulary.learn(ids)
    np.testing.assert_array_equal(vocabulary.ids, known)
    np.testing.assert_array_equal(found, lines)
    assert (vocabulary.ids.dtype, found.dtype) == (np.int64, np.int32)


def test_long_columns_are_gone_through_in_parts(rng, monkeypatch):
    monkeypatch.setattr(vocabularies, "PART", 7)
    ids = 40 - rng.integers(0, 90, 300)
    known, lines = np.unique(ids, return_inverse=True)
    vocabulary, found = Vocabulary.learn(ids)
    np.testing.assert_array_equal(vocabulary.ids, known)
    np.testing.assert_array_equal(found, lines)
    values = np.repeat([1e8, 1e8 + 8], 9)
    assert Table.open({"rating": values}).numbers("rating").tolist() == values.tolist()
    values[-1] += 3  # in the last part alone
    with pytest.raises(ValueError, match=r"\(rounding moves them by up to 3\); take 100000000 off all of them"):
        Table.open({"rating": values}).numbers("rating")


@pytest.mark.parametrize(
    "ids",
    [
        *(np.array([DAY, HOUR], f"M8[{unit}]") for unit in ("m", "s", "us", "ns")),
        pd.DatetimeIndex(np.array([DAY, HOUR], "M8[ns]")).to_numpy(),
        np.array([datetime.date(2024, 1, 2), datetime.datetime(2024, 1, 2, 8, 30)], dtype=object),
        np.array([pd.Timestamp(DAY), np.datetime64(HOUR)], dtype=object),
        np.array([DAY, f"{HOUR}:00"]),
    ],
)
def test_a_date_is_the_same_id_whatever_it_comes_in(ids):
    assert as_ids(ids, "user").tolist() == [DAY, f"{HOUR}:00"]


def test_days_and_fractions_of_a_second():
    assert as_ids(np.array([DAY], "M8[D]"), "user").tolist() == [DAY]
    assert as_ids(np.array([f"{HOUR}:01.250"], "M8[ns]"), "user").tolist() == [f"{HOUR}:01.25"]
    zoned = pd.Timestamp(f"{HOUR}:01.5", tz="Europe/Paris")
    assert as_ids(np.array([zoned], dtype=object), "user").tolist() == [zoned.isoformat()]


def test_the_old_name_of_positions():
    with pytest.warns(DeprecationWarning, match=r"Vocabulary\.lines is now Vocabulary\.positions; call that"):
        assert vocabulary([3, 7]).lines([7, 5]).tolist() == [1, -1]


def test_texts_among_ids_that_are_numbers():
    """One of them is no number, so that all come as text."""
    ids = np.array([-(1 << 63), -7, 0, 7, 10**18, (1 << 63) - 1])
    asked = ["abc", "7", "07", "-7", "-0", "0", "", "٧", "1000000000000000000", str((1 << 63) - 1), str(-(1 << 63))]
    expected = [-1, 3, -1, 1, -1, 2, -1, -1, 4, 5, 0]
    assert Vocabulary(ids).positions([*asked, str(1 << 63), "9" * 40]).tolist() == [*expected, -1, -1]
    assert Vocabulary(ids).positions(["abc", "def"]).tolist() == [-1, -1]
    assert Vocabulary(np.array(["10", "7", "x"])).positions([7, 10, 8]).tolist() == [1, 0, -1]


@pytest.mark.parametrize("none", [np.zeros(0, np.int64), np.zeros(0, "U1")], ids=["numbers", "text"])
def test_nobody_is_known_where_there_is_nobody(none):
    np.testing.assert_array_equal(Vocabulary(none).positions([7, 8]), [-1, -1])
    np.testing.assert_array_equal(Vocabulary(none).positions(["a"]), [-1])


# --- long ids


def test_one_long_id_gives_the_others_no_room():
    """An array of NumPy's text would take four gigabytes."""
    users = ["x" * 1_000_000, *(f"u{i}" for i in range(1000))]
    tracemalloc.start()
    known, positions = Vocabulary.learn(Table.open({"user": users}).ids("user"))
    found = known.positions(["u7", "x" * 1_000_000, "x" * 999_999, "?"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000_000
    assert known.ids[positions].tolist() == users
    assert known.ids[found[:2]].tolist() == ["u7", "x" * 1_000_000]
    assert found[2:].tolist() == [-1, -1]


def test_asking_for_a_long_id_gives_the_known_ones_no_room():
    known, _ = Vocabulary.learn(np.array([f"u{i}" for i in range(10_000)]))
    tracemalloc.start()
    found = known.positions(["x" * 100_000, "u3", "u9999" + "\0x"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000
    assert found[0] == found[2] == -1
    assert known.ids[found[1]] == "u3"


def test_long_and_short_vocabularies_are_extended_alike():
    short, _ = Vocabulary.learn(np.array(["b", "a"]))
    long = ["x" * 20_000, *(f"c{i}" for i in range(1000)), "a", "7.0"]
    whole, of_known, of_more = short.extended(as_ids(np.array(long, object), "user"))
    assert whole.ids.dtype == object
    assert whole.ids.tolist() == sorted({"a", "b", *long[:-1], "7"})
    assert whole.ids[of_known].tolist() == ["a", "b"]
    assert whole.ids[of_more].tolist() == [*long[:-1], "7"]
    numbers, _ = Vocabulary.learn(np.array([7, 8]))
    assert numbers.extended(as_ids(np.array(long, object), "user"))[0].positions([7, "8", "a"]).min() >= 0
    assert whole.positions([7]) == whole.positions(["7"])


@pytest.mark.parametrize(
    "users", [["a", "a\0"], np.array(["a", "a\0"], object), [b"a\0", b"a"], ["a\0" * 30_000, *"bcd" * 300]]
)
def test_ids_that_end_with_nul_are_no_others(users):
    """NumPy's text drops the NUL, and two users would become one without a word."""
    with pytest.raises(
        ValueError, match=r"column 'user' holds the id '.*\\x00' in row \d, which ends with a NUL character"
    ):
        as_ids(as_column(users, "user"), "user")
