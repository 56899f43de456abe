"""The observed positions: sorted by row and by column, in small types."""

import copy
import pickle

import numpy as np
import pytest
from scipy import sparse

from dmc import MaskedLeastSquares, _extensions, solve
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.pattern import COLUMNS, ROWS, Pattern, SparseIndex
from dmc.solver import steps
from test_observations import COLS, ROWS as ROW_INDICES, SHAPE, VALUES, where


@pytest.fixture
def expected() -> Observations:
    return Observations.from_entries(ROW_INDICES, COLS, VALUES, SHAPE)


def test_sorted_by_row_and_by_column():
    order = np.random.default_rng(0).permutation(6)
    observed = Observations.from_entries(
        np.array(ROW_INDICES)[order], np.array(COLS)[order], np.array(VALUES)[order], SHAPE
    )
    np.testing.assert_array_equal(observed.rows, ROW_INDICES)
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


def test_each_order_is_made_at_first_use_and_kept(expected):
    pattern = expected.pattern
    assert "by_column" not in vars(pattern)
    assert pattern.by_column is pattern.by_column
    assert pattern.entries(ROWS) is pattern.by_row
    assert pattern.entries(COLUMNS) is pattern.by_column


def test_positions_are_in_the_order_of_the_side(expected):
    rows, cols = expected.pattern.positions(ROWS)
    np.testing.assert_array_equal([rows, cols], [ROW_INDICES, COLS])
    own, other = expected.pattern.positions(COLUMNS)
    order = expected.pattern.column_order
    np.testing.assert_array_equal([own, other], [cols[order], rows[order]])


def test_transposed_twice_is_the_same(expected):
    turned = expected.pattern.transposed
    assert turned.shape == SHAPE[::-1]
    np.testing.assert_array_equal(turned.csr(np.ones(6)).toarray(), where().T)
    assert turned.by_column is expected.pattern.by_row
    for one, other in zip(turned.transposed.by_row, expected.pattern.by_row, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("made", [lambda p: p, lambda p: pickle.loads(pickle.dumps(p)), copy.deepcopy])
def test_nothing_that_is_handed_out_can_be_written_to(expected, made):
    """Compiled code trusts the indices that it checked once."""
    _ = expected.pattern.by_column
    pattern = made(expected.pattern)
    for array in (*pattern.by_row, *pattern.by_column, *pattern.transposed.by_row):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 9


def test_the_cores_form_is_made_once_of_each_side_and_travels_nowhere(expected):
    pattern = expected.pattern
    if _extensions.core is None:
        pytest.skip("no compiled core")
    prepared = pattern.prepared(ROWS)
    assert "by_column" not in vars(pattern)  # which nobody has asked for
    assert pattern.prepared(ROWS) is prepared
    assert pattern.prepared(COLUMNS) is not prepared
    copied = pickle.loads(pickle.dumps(pattern))
    assert copied.prepared(ROWS) is not prepared


@pytest.mark.parametrize("rows", [np.array([2, 0, 2]), np.array([True, False, True]), np.zeros(0, np.int64)])
def test_some_rows_have_their_entries(rows):
    dense = np.array([[1, 0, 2, 3], [4, 5, 0, 0], [0, 6, 0, 7]])
    matrix = sparse.csr_array(dense)
    some, entries = SparseIndex(matrix.indptr.astype(np.int64), matrix.indices).take(rows)
    np.testing.assert_array_equal(
        sparse.csr_array((matrix.data[entries], some.indices, some.indptr), (len(some.indptr) - 1, 4)).toarray(),
        dense[rows],
    )


def from_records(array):
    """The field of a structured array: with gaps, and not aligned."""
    records = np.zeros(array.shape, [("kind", "i1"), ("value", array.dtype)])
    records["value"] = array
    return records["value"]


def from_a_file(array):
    """What stands behind one byte of a head: without gaps, and not aligned."""
    return np.frombuffer(b"!" + array.tobytes(), array.dtype, offset=1).reshape(array.shape)


@pytest.mark.parametrize("given", [from_records, from_a_file])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("step", [steps.Adam(), steps.GaussNewton(), steps.AlternatingLeastSquares()])
def test_arrays_that_are_not_aligned_are_taken_as_those_that_are(given, dtype, step):
    rng = np.random.default_rng(0)
    aligned = Factors(rng.standard_normal((9, 2)).astype(dtype), (), rng.standard_normal((7, 2)).astype(dtype))
    factors = aligned.map(given)
    assert not factors.U.flags.aligned
    rows, cols = np.nonzero(rng.random((9, 7)) < 0.7)
    values, weights = rng.standard_normal((2, len(rows))).astype(dtype)
    expected = Observations.from_entries(rows, cols, values, (9, 7))
    observed = Observations.from_entries(given(rows), given(cols), given(values), (9, 7))
    np.testing.assert_array_equal(observed.values, expected.values)
    np.testing.assert_array_equal(factors.at(given(rows), given(cols)), aligned.at(rows, cols))
    seen = expected.pattern.by_row
    for got, wanted in zip(
        factors.top_n(given(np.arange(9)), 3, SparseIndex(*map(given, seen)), given(np.arange(5))),
        aligned.top_n(np.arange(9), 3, seen, np.arange(5)),
        strict=True,
    ):
        np.testing.assert_array_equal(got, wanted)
    weights, penalties = weights**2, (np.linspace(1, 2, 9, dtype=dtype), np.linspace(1, 3, 7, dtype=dtype))
    found = solve(
        MaskedLeastSquares(observed, given(weights), tuple(map(given, penalties))), factors, step, max_steps=3
    )
    wanted = solve(MaskedLeastSquares(expected, weights, penalties), aligned, step, max_steps=3)
    np.testing.assert_array_equal(found.factors.U, wanted.factors.U)


def test_a_pattern_without_rows_comes_through_a_pickle():
    """As between processes, one of which has none."""
    pattern = Pattern.of((0, 5), SparseIndex(np.zeros(1, np.int64), np.zeros(0, np.int32)))
    assert pickle.loads(pickle.dumps(pattern)).shape == (0, 5)
