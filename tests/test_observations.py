"""Whatever the input, the same observations; whatever is wrong with it, a sentence that says so."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, reject, strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import dmc
from dmc import _extensions
from dmc.inputs import observe
from dmc.observations import DuplicateEntries, Observations
from dmc.pattern import SparseIndex

# Two observed zeros among the values, an empty row and an empty column.
ROWS, COLS, VALUES = [0, 0, 0, 2, 2, 3], [0, 2, 4, 1, 4, 0], [1.5, 0.0, -2.0, 3.0, 0.0, 4.25]
SHAPE = (4, 6)


def dense_with_nan(dtype=np.float64):
    X = np.full(SHAPE, np.nan, dtype)
    X[ROWS, COLS] = VALUES
    return X


def where():
    return ~np.isnan(dense_with_nan())


def same(a: Observations, b: Observations) -> None:
    assert a.shape == b.shape
    for one, other in zip(a.pattern.by_row + a.pattern.by_column, b.pattern.by_row + b.pattern.by_column, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(a.values, b.values)


@pytest.fixture
def expected() -> Observations:
    return Observations.from_entries(ROWS, COLS, VALUES, SHAPE)


# --- what an observation is


def test_repr_tells_size_and_share(expected):
    assert repr(expected) == "Observations(4×6, 6 observed = 25 %, float64)"


def test_to_scipy_shares_memory_and_keeps_zeros(expected):
    matrix = expected.to_scipy()
    assert np.shares_memory(matrix.data, expected.values)
    assert matrix.nnz == 6
    np.testing.assert_array_equal(matrix.toarray(), np.nan_to_num(dense_with_nan()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(7, 5), (30, 80), (1, 9), (9, 1), (2, 6), (1, 1)])
def test_spectral_norm(shape, dtype):
    X = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    assert observe(X).spectral_norm() == pytest.approx(np.linalg.norm(X, 2), rel=0.01)
    # Squares would leave the range of the dtype here.
    for size in (dtype(2) ** 100, dtype(2) ** -100):
        assert observe(X * size).spectral_norm() == pytest.approx(float(size) * np.linalg.norm(X, 2), rel=0.01)


def test_spectral_norm_of_nothing():
    assert observe(np.zeros((40, 30))).spectral_norm() == 0
    assert observe(np.full((40, 30), np.nan), allow_empty=True).spectral_norm() == 0


def test_take_is_a_mask_of_the_entries(expected):
    keep = np.array([True, False, False, True, False, True])
    part = expected.take(keep)
    same(part, Observations.from_entries(expected.rows[keep], expected.cols[keep], expected.values[keep], SHAPE))


def test_among_some_rows_and_columns_values_and_weights_stay_with_their_positions():
    rng = np.random.default_rng(0)
    dense = rng.random((9, 7)) * (rng.random((9, 7)) < 0.6)
    rows, cols = np.nonzero(dense)
    observed = Observations.from_entries(rows, cols, dense[rows, cols], dense.shape, weights=1 + dense[rows, cols])
    these, those = np.array([0, 3, 4, 8]), np.array([1, 2, 6])
    left = observed.among(these, those)
    np.testing.assert_array_equal(left.to_scipy().toarray(), dense[np.ix_(these, those)])
    np.testing.assert_array_equal(left.weights, 1 + left.values)
    assert (np.diff(left.rows * 3 + left.cols) > 0).all()


def test_with_values_keeps_positions(expected):
    other = expected.with_values(np.arange(6.0))
    assert other.pattern is expected.pattern
    np.testing.assert_array_equal(other.values, np.arange(6))


def test_from_lines_is_the_way_back_from_a_pattern(expected):
    again = Observations.from_lines(expected.pattern.by_row, expected.values, SHAPE)
    same(again, expected)
    assert again.values is expected.values
    assert again.pattern.by_row.indices is expected.pattern.by_row.indices


@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_from_lines_of_many(index, rng):
    rows, cols = np.nonzero(rng.random((70, 50)) < 0.2)
    rows, cols = rows[rows != 3], cols[rows != 3]  # an empty row
    values = rng.standard_normal(len(rows)).astype(np.float32)
    pointers = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=70))])
    found = Observations.from_lines(SparseIndex(pointers, cols.astype(index)), values, (70, 50))
    same(found, Observations.from_entries(rows, cols, values, (70, 50)))


# --- where an entry stands


def test_locate_returns_to_the_order_given():
    order = np.random.default_rng(0).permutation(6)
    rows, cols, values = np.array(ROWS)[order], np.array(COLS)[order], np.array(VALUES)[order]
    observed = Observations.from_entries(rows, cols, values, SHAPE)
    found = observed.locate(rows, cols)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(observed.values[found], values)


def test_locate_tells_what_was_not_observed(expected):
    rows, cols = np.indices(SHAPE).reshape(2, -1)
    found = expected.locate(rows, cols)
    np.testing.assert_array_equal(found >= 0, where().ravel())
    np.testing.assert_array_equal(found[found >= 0], np.arange(6))
    assert set(found[~where().ravel()]) == {-1}


@pytest.mark.parametrize("index", [np.int8, np.uint64, np.int32, np.int64, float, list])
def test_locate_takes_integers_of_any_kind(index, expected):
    rows, cols = ([2, 0], [4, 1]) if index is list else (np.array([2, 0], index), np.array([4, 1], index))
    np.testing.assert_array_equal(expected.locate(rows, cols), [4, -1])
    np.testing.assert_array_equal(expected.locate(rows[::-1], cols[::-1]), [-1, 4])
    assert expected.locate(2, 4) == [4]
    assert expected.locate([], []).shape == (0,)


def test_locate_where_nothing_was_observed():
    nothing = observe(np.full((2, 3), np.nan), allow_empty=True)
    np.testing.assert_array_equal(nothing.locate([0, 1], [2, 0]), [-1, -1])


@pytest.mark.parametrize(
    ("rows", "cols", "error", "said"),
    [
        ([4], [0], ValueError, "row index 4 is out of range for 4 rows"),
        ([0], [-1], ValueError, "column index -1 is out of range for 6 columns"),
        ([0, 1], [0], ValueError, "differ in length: rows has 2, cols has 1"),
        ([0.5], [0], ValueError, "row indices hold 0.5, which is not a whole number"),
        (["anna"], [0], TypeError, "row indices have dtype <U4"),
    ],
)
def test_locate_refuses(rows, cols, error, said, expected):
    with pytest.raises(error, match=said):
        expected.locate(rows, cols)


# --- with the compiled core and without it


def with_and_without_core(make):
    """What `make` returns, twice: SciPy serves where there is no core."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_extensions, "core", None)
        without = make()
    return make(), without


@pytest.mark.parametrize("index", [np.int8, np.uint16, np.int32, np.int64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(st.data())
def test_scipy_gives_the_same_to_the_last_bit(index, dtype, data):
    m, n = data.draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    position = st.tuples(st.integers(0, m - 1), st.integers(0, n - 1))
    rows, cols = np.array(data.draw(st.lists(position, min_size=1, max_size=60)), index).T
    values = np.random.default_rng(len(rows)).standard_normal(len(rows)).astype(dtype)
    duplicates = data.draw(st.sampled_from(["error", "mean", "last"]))
    shape = data.draw(st.sampled_from([None, (m, n)]))

    def make():
        try:
            observed = Observations.from_entries(rows, cols, values, shape, duplicates)
        except ValueError as error:
            return str(error)
        return observed, observed.pattern.both_orders(observed.values).by_column, observed.locate(rows, cols)

    native, scipy = with_and_without_core(make)
    if isinstance(native, str):
        assert native == scipy
        return
    same(native[0], scipy[0])
    for one, other in zip(native[1:], scipy[1:], strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(native[0].pattern.by_row, scipy[0].pattern.by_row, strict=True):
        assert one.dtype == other.dtype
    # And both what the words say.
    at = {(i, j): [] for i, j in zip(rows.tolist(), cols.tolist(), strict=True)}
    for i, j, value in zip(rows.tolist(), cols.tolist(), values, strict=True):
        at[i, j].append(value)
    assert positions(native[0]) == sorted(at)
    wanted = [(np.mean if duplicates == "mean" else lambda a: a[-1])(at[p]) for p in sorted(at)]
    np.testing.assert_allclose(native[0].values, wanted, rtol=0, atol=1e-5 if dtype == np.float32 else 1e-14)


def long_tail(count, dtype=np.float32):
    """Entries in any order: half of them in one row, some positions more than once."""
    rng = np.random.default_rng(7)
    rows, cols = (2_000 * rng.random(count) ** 2).astype(np.int64), rng.integers(0, 30_000, count)
    rows[rng.random(count) < 0.5] = 777
    return rows, cols, rng.standard_normal(count).astype(dtype)


@pytest.mark.parametrize("duplicates", ["mean", "last"])
def test_scipy_gives_the_same_for_many_entries(duplicates):
    rows, cols, values = long_tail(400_000)
    native, scipy = with_and_without_core(lambda: Observations.from_entries(rows, cols, values, duplicates=duplicates))
    same(native, scipy)
    assert native.n_observed < len(rows)
    keep = np.random.default_rng(0).random(native.n_observed) < 0.3
    same(*with_and_without_core(lambda: native.take(keep)))
    for one, other in zip(*with_and_without_core(lambda: native.split(0.1)), strict=True):
        same(one, other)
    found, sought = with_and_without_core(lambda: native.locate(rows, cols))
    np.testing.assert_array_equal(found, sought)
    np.testing.assert_array_equal(native.rows[found], rows)
    np.testing.assert_array_equal(native.cols[found], cols)


@pytest.mark.parametrize(
    "entries",
    [
        ([0, 5, -2], [0, 0, 0], [1, 1, 1]),
        ([0, 1, 1], [0, 9, 0], [1, 1, np.nan]),
        (np.array([0, 1, 2**63 + 1], np.uint64), [0, 0, 0], [1, 1, 1]),
        ([0, 0], [0, 0], [1, np.inf]),
        ([2, 2, 2, 0, 0], [1, 1, 1, 0, 0], [1, 2, 3, 4, 5]),
    ],
)
def test_the_same_words_with_and_without_core(entries):
    def make():
        with pytest.raises(ValueError, match=r"out of range|not finite|repeat") as caught:
            Observations.from_entries(*entries, (3, 2))
        return str(caught.value)

    native, scipy = with_and_without_core(make)
    assert native == scipy


@pytest.mark.parametrize("form", ["gaps", "reversed", "in records"])
def test_layout_of_the_entries_does_not_matter(form, expected):
    def laid_out(values, dtype):
        a = np.array(values, dtype)
        if form == "gaps":
            return np.repeat(a, 3)[::3]
        if form == "reversed":
            return a[::-1].copy()[::-1]
        records = np.zeros(len(a), np.dtype([("flag", np.int8), ("number", dtype)]))  # not aligned
        records["number"] = a
        return records["number"]

    rows, cols = laid_out(ROWS, np.int32), laid_out(COLS, np.int64)
    same(Observations.from_entries(rows, cols, laid_out(VALUES, np.float64), SHAPE), expected)
    both = expected.pattern.both_orders(laid_out(VALUES, np.float64))
    np.testing.assert_array_equal(both.by_column, [1.5, 4.25, 3, 0, -2, 0])
    np.testing.assert_array_equal(expected.locate(rows, cols), np.arange(6))


def test_prepared_entries_take_20_bytes_each():
    """Indices and values in both orders and the rows, all of 4 bytes: nothing else of that size stays alive."""
    rows, cols, values = long_tail(300_000)
    keys = np.unique(rows * 30_000 + cols)
    rows, cols, values = keys // 30_000, keys % 30_000, values[: len(keys)]
    tracemalloc.start()
    try:
        observed = Observations.from_entries(rows, cols, values, (2_000, 30_000))
        both = observed.pattern.both_orders(observed.values)
        assert len(observed.rows) == len(keys)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert np.shares_memory(both.by_row, observed.values)
    assert held < 20 * len(keys) + 8 * 32_002 + 50_000


def test_shape_is_just_large_enough():
    assert Observations.from_entries([0, 4], [2, 1], [1, 1]).shape == (5, 3)


def tables() -> st.SearchStrategy:
    numbers = st.one_of(st.just(np.nan), st.floats(-1e9, 1e9))
    return arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=8), elements=numbers).filter(
        lambda X: not np.isnan(X).all()
    )


@given(tables(), st.integers(0, 2**32 - 1))
def test_round_trip(X, seed):
    observed = observe(X)
    back = np.full(X.shape, np.nan)
    back[observed.rows, observed.cols] = observed.values
    np.testing.assert_array_equal(back, X)
    order = np.random.default_rng(seed).permutation(observed.n_observed)
    entries = observed.rows[order], observed.cols[order], observed.values[order]
    same(Observations.from_entries(*entries, X.shape), observed)
    same(observe(observed.to_scipy()), observed)
    same(observe(np.nan_to_num(X), ~np.isnan(X)), observed)
    # In column order: the transposed matrix in row order.
    transposed = observe(X.T)
    np.testing.assert_array_equal(observed.pattern.by_column.indices, transposed.pattern.by_row.indices)
    np.testing.assert_array_equal(observed.pattern.by_column.indptr, transposed.pattern.by_row.indptr)
    np.testing.assert_array_equal(observed.pattern.both_orders(observed.values).by_column, transposed.values)


# --- duplicates


@pytest.mark.parametrize(("duplicates", "value"), [("mean", 4.0), ("last", 5.0)])
def test_duplicates(duplicates, value):
    observed = Observations.from_entries([1, 0, 1, 1], [1, 0, 1, 1], [6, 2, 1, 5], duplicates=duplicates)
    same(observed, Observations.from_entries([0, 1], [0, 1], [2, value]))


def test_duplicates_that_cancel_are_still_there():
    observed = Observations.from_entries([0, 0], [0, 0], [1, -1], duplicates="mean")
    assert (observed.n_observed, observed.values[0]) == (1, 0)


def test_duplicates_are_refused_unless_asked_for():
    said = "2 entries repeat a position .*, the first at row 0, column 1; pass duplicates='mean'"
    with pytest.raises(ValueError, match=said):
        Observations.from_entries([2, 0, 2, 0], [2, 1, 2, 1], [1, 2, 3, 4])
    with pytest.raises(ValueError, match="duplicates is 'first'; choose one of"):
        Observations.from_entries([0], [0], [1], duplicates="first")


# --- what is wrong is said


@pytest.mark.parametrize(
    ("entries", "shape", "error", "said"),
    [
        (([1, 2], [1, 2], [1, 1]), (2, 2), ValueError, r"row index 2 .* 2 rows \(0…1\); indices that start at 1"),
        (([0, 1], [1, 2], [1, 1]), (2, 2), ValueError, r"column index 2 .*; indices that start at 1 .* columns - 1"),
        (([0, 5], [0, 0], [1, 1]), (2, 2), ValueError, r"row index 5 is out of range .* give a larger shape"),
        (([0, -1], [0, 0], [1, 1]), None, ValueError, "row index -1 is out of range"),
        (([0, 0], [0, -3], [1, 1]), (2, 2), ValueError, "column index -3 is out of range"),
        (([0, 1], [0, 1], [1, np.nan]), None, ValueError, "values holds 1 value that is not finite"),
        (([0, 1], [0, 1], [np.inf, 1]), None, ValueError, "values holds 1 value that is not finite"),
        (([], [], []), None, ValueError, "there are no observed entries"),
        (([], [], []), (2, 2), ValueError, "there are no observed entries"),
        (([0], [0, 1], [1, 1]), None, ValueError, "differ in length: rows has 1, cols has 2, values has 2"),
        (([0, 1], [0, 1], [[1], [1]]), None, ValueError, r"values has shape \(2, 1\)"),
        (([0.5], [0], [1]), None, ValueError, "row indices hold 0.5"),
        ((["anna"], [0], [1]), None, TypeError, "row indices have dtype <U4; give integers, or use dmc.Recommender"),
        (([0], [0], ["good"]), None, TypeError, "values holds 'good', which is not a number"),
        (([0], [0], [1j]), None, TypeError, "values has dtype complex128"),
        (([0], [0], [1]), (0, 3), ValueError, "the number of rows is 0"),
        (([2**60], [0], [1]), None, MemoryError, r"the rows of a 1152921504606846977×1 matrix .*; number rows and"),
        (
            (np.array([2**64 - 1], np.uint64), [0], [1]),
            None,
            MemoryError,
            "the rows of a 18446744073709551616×1 matrix",
        ),
        (([0], [0], [1]), 3, ValueError, "shape is 3; give two whole numbers"),
    ],
)
def test_bad_entries(entries, shape, error, said):
    with pytest.raises(error, match=said):
        Observations.from_entries(*entries, shape)


# --- split


def positions(observed: Observations) -> list[tuple[int, int]]:
    return list(zip(observed.rows.tolist(), observed.cols.tolist(), strict=True))


@given(tables(), st.floats(0.05, 0.95), st.integers(0, 100))
def test_split_is_disjoint_complete_and_empties_no_line(X, fraction, seed):
    observed = observe(X)
    try:
        train, test = observed.split(fraction, seed)
    except ValueError:  # each entry is the last of its row or column
        reject()
    assert train.shape == test.shape == observed.shape
    assert sorted(positions(train) + positions(test)) == positions(observed)
    dense = dict(zip(positions(observed), observed.values, strict=True))
    for part in (train, test):
        np.testing.assert_array_equal(part.values, [dense[p] for p in positions(part)])
    np.testing.assert_array_equal(train.pattern.row_counts > 0, observed.pattern.row_counts > 0)
    np.testing.assert_array_equal(train.pattern.column_counts > 0, observed.pattern.column_counts > 0)
    assert 1 <= test.n_observed <= max(1, round(fraction * observed.n_observed))


def test_split_takes_the_share_asked_for():
    observed = observe(np.random.default_rng(0).standard_normal((40, 30)))
    _, test = observed.split(0.2)
    assert test.n_observed == 240


def test_split_repeats_by_seed():
    observed = observe(np.random.default_rng(0).standard_normal((40, 30)))
    first, again, other = (positions(observed.split(0.2, seed)[1]) for seed in (3, 3, 4))
    assert first == again
    assert first != other
    assert positions(observed.split(0.2, np.random.default_rng(3))[1]) == first


def test_split_draws_each_entry_alike():
    """The entry that keeps a line alive is drawn at random: no column is favoured."""
    observed = observe(np.ones((30, 3)))
    counts = sum(observed.split(1 / 3, seed)[1].pattern.column_counts for seed in range(200))
    # 2000 expected in each column; the standard deviation is about 37, less for entries drawn without replacement.
    assert np.abs(counts - 2000).max() < 200


def test_split_refuses_what_would_empty_a_line():
    diagonal = Observations.from_entries([0, 1, 2], [0, 1, 2], [1, 1, 1])
    with pytest.raises(ValueError, match="none of the 3 observed entries can be held out"):
        diagonal.split(0.5)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, np.nan])
def test_split_refuses_other_fractions(fraction):
    with pytest.raises(ValueError, match="test_fraction is"):
        observe(np.eye(3)).split(fraction)


def test_values_cannot_be_written_to(expected):
    with pytest.raises(ValueError, match="read-only"):
        expected.values[0] = 1
    mine = np.arange(6.0)
    assert not expected.with_values(mine).values.flags.writeable
    mine[0] = 3  # the array that was given stays its owner's


def test_repeated_positions_are_an_error_of_their_own():
    with pytest.raises(
        DuplicateEntries, match="2 entries repeat a position given before, the first at row 0, col"
    ) as e:
        Observations.from_entries([2, 0, 2, 0], [2, 1, 2, 1], [1, 2, 3, 4])
    assert (e.value.count, e.value.row, e.value.column) == (2, 0, 1)
    assert isinstance(e.value, ValueError)


def test_weights_go_where_the_entries_go():
    rng = np.random.default_rng(0)
    rows, cols = np.nonzero(rng.random((8, 6)) < 0.6)
    values, weights = rng.standard_normal(len(rows)), rng.uniform(0.5, 2, len(rows))
    order = rng.permutation(len(rows))
    observed = Observations.from_entries(rows[order], cols[order], values[order], (8, 6), weights=weights[order])
    np.testing.assert_array_equal(observed.weights, weights)
    assert not observed.weights.flags.writeable
    np.testing.assert_array_equal(observed.with_values(2 * values).weights, weights)
    keep = values > 0
    np.testing.assert_array_equal(observed.take(keep).weights, weights[keep])
    train, test = observed.split(0.3, 0)
    for part in (train, test):
        np.testing.assert_array_equal(part.weights, weights[observed.locate(part.rows, part.cols)])
    repeated, origin = observed.repeat_rows(np.arange(8) % 3)
    np.testing.assert_array_equal(repeated.weights, weights[observed.locate(origin[repeated.rows], repeated.cols)])


@pytest.mark.parametrize(("duplicates", "value", "weight"), [("last", 5.0, 1.0), ("mean", (3 * 1 + 5 * 1) / 4, 2.0)])
def test_weights_of_repeated_entries(duplicates, value, weight):
    observed = Observations.from_entries([0, 0, 1], [0, 0, 0], [1.0, 5, 7], (2, 1), duplicates, [3.0, 1, 1])
    assert observed.values.tolist() == [pytest.approx(value), 7]
    assert observed.weights.tolist() == [weight, 1]


@pytest.mark.parametrize("wrong", [0.0, -1.0, np.nan, np.inf])
def test_weights_that_are_none(wrong):
    with pytest.raises(ValueError, match="1 weight is not above 0 and finite, such as"):
        Observations.from_entries([0, 1], [0, 0], [1.0, 2], weights=[1.0, wrong])
    with pytest.raises(ValueError, match="entries that add up have no weights; multiply the values by them"):
        Observations.from_entries([0, 0], [0, 0], [1.0, 2], duplicates="sum", weights=[1.0, 2])
    with pytest.raises(ValueError, match="weights"):
        Observations.from_entries([0, 1], [0, 0], [1.0, 2], weights=[1.0])


def test_weights_are_heeded_where_none_are_given_besides():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((12, 3)) @ rng.standard_normal((3, 9)) + 0.3 * rng.standard_normal((12, 9))
    rows, cols = np.nonzero(rng.random(X.shape) < 0.8)
    w = rng.uniform(0.1, 3, len(rows))
    plain = Observations.from_entries(rows, cols, X[rows, cols], X.shape)
    weighted = Observations.from_entries(rows, cols, X[rows, cols], X.shape, weights=w)
    at = dmc.initial.gaussian(X.shape, 2, 0, 0.5)
    assert dmc.MaskedLeastSquares(weighted).value(at) == pytest.approx(dmc.MaskedLeastSquares(plain, w).value(at))
    assert dmc.MaskedLeastSquares(weighted, np.ones(len(w))).value(at) == dmc.MaskedLeastSquares(plain).value(at)
    ours, theirs = (dmc.MatrixCompletion(rank=3).fit(X, weights=of) for X, of in ((weighted, None), (plain, w)))
    np.testing.assert_allclose(ours.complete(), theirs.complete())
    stopping = dmc.callbacks.EarlyStopping(weighted)
    errors = at.at(rows, cols) - X[rows, cols]
    assert stopping.error(at) == pytest.approx(np.sqrt(np.average(errors**2, weights=w)))
