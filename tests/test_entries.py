"""Sorting entries that come in any order, and what becomes of those that repeat a position."""

import numpy as np
import pytest

from dmc import _extensions
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
