"""Arguments are refused with the thing, its value and the remedy; what is right passes unchanged."""

import math
from fractions import Fraction

import numpy as np
import pytest

from dmc import _checks


@pytest.mark.parametrize(
    ("n", "words", "text"),
    [
        (1, ("row",), "1 row"),
        (0, ("row",), "0 rows"),
        (80_000, ("entry", "entries"), "80,000 entries"),
        (1, ("entry", "entries"), "1 entry"),
    ],
)
def test_count(n, words, text):
    assert _checks.count(n, *words) == text


@pytest.mark.parametrize("value", [3, np.int32(3), np.uint8(3)])
def test_integer_takes_whole_numbers_of_any_kind(value):
    result = _checks.integer(value, "depth", 0, 5)
    assert (result, type(result)) == (3, int)


@pytest.mark.parametrize("value", [2.0, "2", None, True, np.True_, np.float64(2)])
def test_integer_refuses_other_types(value):
    with pytest.raises(TypeError, match=r"depth is .*; give a whole number of at least 1"):
        _checks.integer(value, "depth", 1)


@pytest.mark.parametrize(
    ("value", "bounds", "said"),
    [(0, (1,), "depth is 0; it has to be at least 1"), (7, (1, 6), "depth is 7; it has to be from 1 to 6")],
)
def test_integer_refuses_out_of_bounds(value, bounds, said):
    with pytest.raises(ValueError, match=said):
        _checks.integer(value, "depth", *bounds)


def test_integer_accepts_both_bounds():
    assert [_checks.integer(n, "depth", 1, 6) for n in (1, 6)] == [1, 6]


@pytest.mark.parametrize("value", [0.5, 1, np.float32(0.5), Fraction(1, 2)])
def test_real_takes_numbers_of_any_kind(value):
    assert _checks.real(value, "rate", 0, 1) == float(value)


@pytest.mark.parametrize("value", ["0.5", None, True, 1j, [0.5]])
def test_real_refuses_other_types(value):
    with pytest.raises(TypeError, match=r"rate is .*; give a number"):
        _checks.real(value, "rate")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_real_refuses_what_is_not_finite(value):
    with pytest.raises(ValueError, match="rate is"):
        _checks.real(value, "rate")


def test_real_knows_open_and_closed_ends():
    assert _checks.real(0, "rate", 0, 1) == 0
    with pytest.raises(ValueError, match=r"rate is 0; it has to be between 0 and 1 \(exclusive\)"):
        _checks.real(0, "rate", 0, 1, open_ends=True)
    with pytest.raises(ValueError, match=r"rate is 1\.5; it has to be between 0 and 1 \(inclusive\)"):
        _checks.real(1.5, "rate", 0, 1)


def test_choice():
    assert _checks.choice("b", "kernel", ("a", "b")) == "b"
    with pytest.raises(ValueError, match="kernel is 'c'; choose one of 'a', 'b'"):
        _checks.choice("c", "kernel", ("a", "b"))


def test_rank_is_bounded_by_the_smaller_side():
    assert _checks.rank(3, (3, 9)) == 3
    with pytest.raises(
        ValueError, match="rank is 4; it has to be from 1 to 3: a 3×9 matrix has no rank outside this range"
    ):
        _checks.rank(4, (3, 9))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.ones(2, np.float32), np.float32),
        (np.ones(2, np.float16), np.float32),
        (np.ones(2, np.longdouble), np.float64),
        (np.ones(2, ">f8"), np.float64),
        ([1, 2], np.float64),
        ([True, False], np.float64),
        (np.array([1, 2.5], object), np.float64),
        (["1", "2.5"], np.float64),
    ],
)
def test_as_float_keeps_single_precision_and_makes_all_else_double(values, dtype):
    result = _checks.as_float(values, "values")
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, [float(v) for v in values])


def test_as_float_copies_nothing_without_need():
    values = np.ones(3)
    assert _checks.as_float(values, "values") is values


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1j], "values has dtype complex128; give real numbers"),
        (["1", "two"], "values holds 'two', which is not a number; convert or drop it first"),
        (np.array([1, [2]], object), r"values holds \[2\], which is not a number"),
        (np.array(["2020-01-01"], "M8[D]"), r"values has dtype datetime64\[D\]"),
    ],
)
def test_as_float_refuses_what_is_not_real(values, said):
    with pytest.raises(TypeError, match=said):
        _checks.as_float(values, "values")


def test_same_length():
    _checks.same_length(rows=np.ones(2), cols=np.ones(2))
    with pytest.raises(ValueError, match="the arrays differ in length: rows has 2, cols has 1,000"):
        _checks.same_length(rows=np.ones(2), cols=np.ones(1000))
    with pytest.raises(ValueError, match=r"rows has shape \(2, 1\); give a one-dimensional array"):
        _checks.same_length(rows=np.ones((2, 1)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_finite_is_not_fooled_by_a_sum_that_overflows(dtype):
    _checks.finite(np.full(3, np.finfo(dtype).max), "values")
    _checks.finite(np.array([np.finfo(dtype).max, -np.finfo(dtype).max]), "values")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ([0, np.nan, 1], r"values holds 1 value that is not finite, the first \(nan\) at entry 1; drop"),
        ([np.inf, -np.inf, 1], r"values holds 2 values that are not finite, the first \(inf\) at entry 0"),
    ],
)
def test_finite_names_the_first_and_their_number(bad, said):
    with pytest.raises(ValueError, match=said):
        _checks.finite(np.array(bad), "values")


@pytest.mark.parametrize("values", [[0, 2], (0, 2), np.array([0, 2], np.uint64), [0.0, 2.0]])
def test_indices_of_any_integral_kind(values):
    result = _checks.indices(values, 3, "row")
    assert result.dtype == np.int32
    np.testing.assert_array_equal(result, [0, 2])


def test_one_index_is_an_array_of_one():
    np.testing.assert_array_equal(_checks.indices(2, 3, "row"), [2])


def test_no_indices_are_indices():
    assert _checks.indices([], 3, "row").dtype == np.int32


@pytest.mark.parametrize(("size", "dtype"), [(2**31 - 1, np.int32), (2**31 + 1, np.int64)])
def test_indices_are_int64_where_int32_does_not_reach(size, dtype):
    assert _checks.indices([size - 1], size, "column").dtype == dtype
    assert _checks.indices([size - 1], size, "column")[0] == size - 1


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1, 943], r"row index 943 is out of range for 943 rows \(0…942\); indices that start at 1 need .* rows - 1"),
        (
            [0, 943],
            r"row index 943 is out of range for 943 rows \(0…942\); use indices from 0 to 942, or give a",
        ),
        ([1, 944], r"row index 944 is out of range for 943 rows \(0…942\); use indices from 0"),
        ([-1, 944], r"row index -1 is out of range"),
    ],
)
def test_indices_out_of_range(values, said):
    with pytest.raises(ValueError, match=said):
        _checks.indices(values, 943, "row")


@pytest.mark.parametrize(
    ("values", "error", "said"),
    [
        ([0.5], ValueError, "row indices hold 0.5, which is not a whole number"),
        ([math.nan], ValueError, "row indices hold nan, which is not a whole number"),
        ([[0, 1]], ValueError, r"row indices have shape \(1, 2\); give a one-dimensional array"),
        (["a"], TypeError, "give integers, or use dmc.Recommender for ids of any kind"),
        ([True], TypeError, "row indices have dtype bool"),
    ],
)
def test_indices_that_are_none(values, error, said):
    with pytest.raises(error, match=said):
        _checks.indices(values, 3, "row")


def test_shape():
    assert _checks.shape(np.array([2, 3])) == (2, 3)
    with pytest.raises(ValueError, match="shape is 5; give two whole numbers"):
        _checks.shape(5)
    with pytest.raises(ValueError, match="the number of columns is 0; it has to be at least 1"):
        _checks.shape((3, 0))
    with pytest.raises(TypeError, match=r"the number of rows is 3\.0"):
        _checks.shape((3.0, 3))


def test_memory_refuses_only_what_no_machine_has():
    _checks.memory(2**10, "a small array", "no matter")
    with pytest.raises(
        MemoryError, match=r"the matrix would take 1,073,741,824 GiB and this machine has .*; ask for less"
    ):
        _checks.memory(2**60, "the matrix", "ask for less")


@pytest.mark.parametrize("value", ["4", " 4 ", "+4", "4.", ".5", "1E-3", "-0", "nan", "-inf", b"4", 4, True, 4.5])
def test_numbers_are_told_in_any_type(value):
    assert _checks.is_number(value)
    assert _checks.as_float([value], "values").tolist() == pytest.approx([float(value)], nan_ok=True)


@pytest.mark.parametrize("value", ["1_000", "٣", "１", "4\xa0", "1,5", "0x10", "", "²", b"1_0", 10**400])
def test_what_only_python_takes_for_a_number_is_none(value):
    """Digits of other scripts, and underscores between digits: no other program reads them so."""
    assert not _checks.is_number(value)
    given = np.empty(2, object)
    given[:] = [value, 1]
    for values in ([value], [value, "1"], given):
        with pytest.raises(TypeError, match=r"values holds .*, which is not a number; convert or drop it first"):
            _checks.as_float(values, "values")
