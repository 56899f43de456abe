"""Arrays, frames and what they hold: values with one meaning, or a sentence; no other library's exception."""

import decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from dmc.recommend.tables.foreign import as_array, joined, shown
from dmc.recommend.tables.table import Table

REST = {"item": [1, 2], "rating": [3.0, 4.0]}


class Nameless:
    pass


def refused(source, column="user") -> str:
    def ask():
        table = Table.open(source)
        return table.numbers(column) if column == "rating" else table.ids(column)

    with pytest.raises((ValueError, TypeError)) as caught:
        ask()
    assert type(caught.value) in (ValueError, TypeError)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_what_is_masked_is_missing():
    hidden = np.ma.array([7, 8], mask=[False, True])
    assert as_array(hidden, "user").tolist() == [7, None]
    assert as_array(np.ma.array([7, 8]), "user").dtype == np.int64
    assert refused({"user": hidden, **REST}) == "column 'user' holds 1 missing id, the first in row 1; drop those rows"
    told = "column 'rating' holds 1 missing or infinite rating, the first in row 1; drop those rows"
    assert refused({"user": [1, 2], "rating": hidden}, "rating") == told


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([[1], [2, 3]], "column user is not one value for each entry"),
        (np.array([{}, {}]), "column 'user' holds dict in place of an id, the first in row 0; give one for each entry"),
        ([b"a", b"b\0"], r"column 'user' holds b'b\x00', which ends in NUL or has an unpaired surrogate, the first in"),
        (np.array(["a", "b\0"], object), r"column 'user' holds 'b\x00', which ends in NUL"),
        (["a", "\ud83d"], r"column 'user' holds '\ud83d', which ends in NUL or has an unpaired surrogate"),
        ([Nameless(), Nameless()], "column 'user' holds Nameless in place of an id"),
        ([1j, 2], "column 'user' has dtype complex128; give an id for each entry"),
        (np.zeros(2, "V3"), "column 'user' has dtype |V3; give an id for each entry"),
        (np.array(1), "user has shape (); give a one-dimensional array"),
        (np.ones((2, 2)), "user has shape (2, 2); give a one-dimensional array"),
        ([1, 2, 3], "the arrays differ in length: user has 3"),
        ((i for i in (1, 2)), "user has shape (); give a one-dimensional array"),
    ],
)
def test_columns_that_hold_no_ids(values, told):
    assert refused({"user": values, **REST}).startswith(told)


@pytest.mark.parametrize(
    "value", ["1_000", "٣", "１", "4\xa0", "1,5", "0x10", "", "²", "NA", b"1_0", (1, 2), 10**400, pd.NA, Nameless()]
)
def test_what_is_no_number_is_none_in_any_frame(value):
    values = np.empty(2, object)
    values[:] = [value, 4]
    assert "in row 0, which is not a number; convert or drop it first" in refused(
        {"user": [1, 2], "rating": values}, "rating"
    )


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"user": [[1], [2]], **REST}),
        pd.DataFrame({"user": pd.array([1, None], dtype="Int64"), **REST}),
        pd.DataFrame({"user": pd.Categorical(["a", None]), **REST}),
        pd.DataFrame({"user": pd.Series(["a\ud800", "b"], dtype=object), **REST}),
        pd.DataFrame(np.ones((2, 3)), columns=["user", "user", "item"]),
        pd.DataFrame(np.ones((2, 2)), columns=pd.MultiIndex.from_tuples([("user", 1), ("item", 1)])),
        pl.DataFrame({"user": [[1], [2]], **REST}),
        pl.DataFrame({"user": [{"a": 1}, {"a": 2}], **REST}),
        pl.DataFrame({"user": pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int64, 2)), **REST}),
        pl.DataFrame({"user": pl.Series([2**100, 1], dtype=pl.Int128), **REST}),
        pl.DataFrame({"user": pl.Series([Nameless(), Nameless()], dtype=pl.Object), **REST}),
        pl.DataFrame({"user": [b"a\0", b"b"], **REST}),
        pl.LazyFrame({"user": ["x"]}).with_columns(pl.col("user").cast(pl.Float64)),
        pa.table({"user": [[1], [2]], **REST}),
        pa.table({"user": ["a\0", "b"], **REST}),
        pa.table([[1], [2]], names=["user", "user"]),
    ],
    ids=lambda frame: type(frame).__module__.split(".")[0],
)
def test_frames_whose_users_are_none(frame):
    assert "user" in refused(frame)


def test_pieces_keep_whole_numbers_whole():
    huge = np.array([2**60 + 1, 7])
    assert joined([huge, np.array([0.5])], "user").tolist() == [2**60 + 1, 7, 0.5]
    assert joined([np.array([2**63 + 1], np.uint64), np.array([7])], "user").tolist() == [2**63 + 1, 7]
    assert joined([np.array([1]), np.array([0.5])], "user").dtype == np.float64
    with pytest.raises(TypeError, match=r"column 'when' holds datetime64.D., int64 in different pieces; convert"):
        joined([np.array(["2020"], "M8[D]"), np.array([1])], "when")


def test_pieces_that_do_not_go_together():
    one = {"user": [1], "item": [1], "rating": [1.0]}
    for second in (pl.DataFrame(one), one):
        with pytest.raises(ValueError, match=r"the pieces of the table do not go together \(.*\); give frames of one"):
            Table.open(iter([pd.DataFrame(one), second]))
    with pytest.raises(ValueError, match="the pieces of the table do not go together"):
        Table.open(iter([pl.DataFrame(one), pl.DataFrame({**one, "user": ["x"]})]))

    def broken():
        yield one
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        Table.open(broken())


def test_names_that_are_one_as_text():
    with pytest.raises(ValueError, match="the table has 2 columns named '1'; rename all but one"):
        Table.open({1: [1], "1": [2]})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a\nb", r"'a\nb'"),
        ("\u2028", r"'\u2028'"),
        (np.int64(7), "7"),
        (decimal.Decimal("1.50"), "Decimal('1.50')"),
        ("x" * 100, "'" + "x" * 79 + "…"),
    ],
)
def test_values_are_shown_in_a_line(value, expected):
    assert shown(value) == expected
