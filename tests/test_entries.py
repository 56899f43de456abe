"""Sorting entries that come in any order, and what becomes of those that repeat a position."""

import numpy as np
import pytest

from dmc import _extensions, entries
from dmc.entries import merge_repeats, sort_entries

ROWS, COLS, VALUES = np.array([2, 0, 2, 0, 2]), np.array([1, 3, 0, 0, 1]), np.array([1.0, 2, 3, 4, 5])
SHAPE = (3, 4)


@pytest.fixture(params=["core", "plain", "tensors"])
def given(request, monkeypatch):
    if request.param == "tensors":
        torch = pytest.importorskip("torch")
        return tuple(map(torch.from_numpy, (ROWS, COLS, VALUES)))
    if request.param == "plain":
        monkeypatch.setattr(_extensions, "core", None)
    elif _extensions.core is None:
        pytest.skip("no core")
    return ROWS, COLS, VALUES


def test_row_by_row_and_repeats_in_the_order_given(given):
    found = sort_entries(*given, SHAPE)
    np.testing.assert_array_equal(found.by_row.indptr, [0, 2, 2, 5])
    np.testing.assert_array_equal(found.by_row.indices, [0, 3, 0, 1, 1])
    np.testing.assert_array_equal(found.values, [4, 2, 3, 1, 5])
    assert (found.repeats, found.first) == (1, 4)


@pytest.mark.parametrize(("how", "last"), [("mean", 3), ("last", 5), ("sum", 6)])
def test_repeats_are_merged(how, last, given):
    found = sort_entries(*given, SHAPE)
    by_row, values = merge_repeats(found.by_row, found.values, how)
    np.testing.assert_array_equal(by_row.indptr, [0, 2, 2, 4])
    np.testing.assert_array_equal(by_row.indices, [0, 3, 0, 1])
    np.testing.assert_array_equal(values, [4, 2, 3, last])


def test_an_index_out_of_range_is_named(given):
    rows, cols, values = given
    with pytest.raises(ValueError, match="column index 3 is out of range"):
        sort_entries(rows, cols, values, (3, 3))


@pytest.mark.parametrize("together", [1, 5, 40])
@pytest.mark.parametrize("n_rows", [1, 7, 300])
def test_many_are_sorted_some_rows_at_a_time(together, n_rows, rng, monkeypatch):
    if _extensions.core is None:
        pytest.skip("no core")
    rows, cols = (rng.integers(0, size, 200).astype(np.int32) for size in (n_rows, 9))
    values, shape = rng.standard_normal(200).astype(np.float32), (n_rows + 3, 9)  # the last rows are empty
    whole = sort_entries(rows, cols, values, shape)
    hows = ("mean", "last", "sum")
    merged = [merge_repeats(whole.by_row, whole.values, how) for how in hows]
    monkeypatch.setattr(entries, "TOGETHER", together)
    monkeypatch.setattr(entries, "PART", 30)
    found = sort_entries(rows, cols, values, shape)
    for ours, expected in zip((*found.by_row, found.values), (*whole.by_row, whole.values), strict=True):
        np.testing.assert_array_equal(ours, expected)
        assert ours.dtype == expected.dtype
    assert (found.repeats, found.first) == (whole.repeats, whole.first)
    for how, (by_row, once) in zip(hows, merged, strict=True):
        again = sort_entries(rows, cols, values, shape)
        found_by_row, found_once = merge_repeats(again.by_row, again.values, how)
        for ours, expected in zip((*found_by_row, found_once), (*by_row, once), strict=True):
            np.testing.assert_array_equal(ours, expected)
            assert ours.dtype == expected.dtype


@pytest.mark.parametrize(
    ("row", "column", "message"), [(-1, 0, "row index -1"), (7, 0, "row index 7"), (0, 9, "column")]
)
def test_of_many_an_index_out_of_range_is_named(row, column, message, monkeypatch):
    if _extensions.core is None:
        pytest.skip("no core")
    monkeypatch.setattr(entries, "TOGETHER", 2)
    rows, cols = np.arange(7), np.arange(7)
    rows[3], cols[3] = row, column
    with pytest.raises(ValueError, match=f"{message}.* is out of range"):
        sort_entries(rows, cols, np.ones(7), (7, 9))
