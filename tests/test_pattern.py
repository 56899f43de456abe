"""The observed positions: sorted by row and by column, in small types."""

import numpy as np
import pytest

from dmc.observations import Observations
from test_observations import COLS, ROWS, SHAPE, VALUES, where


@pytest.fixture
def expected() -> Observations:
    return Observations.from_entries(ROWS, COLS, VALUES, SHAPE)


def test_sorted_by_row_and_by_column():
    order = np.random.default_rng(0).permutation(6)
    observed = Observations.from_entries(np.array(ROWS)[order], np.array(COLS)[order], np.array(VALUES)[order], SHAPE)
    np.testing.assert_array_equal(observed.rows, ROWS)
    np.testing.assert_array_equal(observed.cols, COLS)
    np.testing.assert_array_equal(observed.values, VALUES)
    by_row, by_column = observed.pattern.by_row, observed.pattern.by_column
    np.testing.assert_array_equal(by_row.indptr, [0, 3, 3, 5, 6])
    np.testing.assert_array_equal(by_column.indptr, [0, 2, 3, 4, 4, 6, 6])
    np.testing.assert_array_equal(by_column.indices, [0, 3, 2, 0, 0, 2])
    np.testing.assert_array_equal(observed.pattern.both_orders(observed.values).by_column, [1.5, 4.25, 3, 0, -2, 0])


def test_counts(expected):
    np.testing.assert_array_equal(expected.pattern.row_counts, where().sum(axis=1))
    np.testing.assert_array_equal(expected.pattern.column_counts, where().sum(axis=0))
    assert expected.n_observed == 6
    assert expected.density == 6 / 24


def test_index_types_are_small_and_pointers_wide(expected):
    pattern = expected.pattern
    assert {a.dtype for a in (pattern.rows, pattern.cols, pattern.by_column.indices)} == {np.dtype(np.int32)}
    assert {a.dtype for a in (pattern.by_row.indptr, pattern.by_column.indptr)} == {np.dtype(np.int64)}
