"""Tables as people bring them: labels come back, weights and bounds of entries are heeded, and refused where wrong."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

from dmc import MatrixCompletion, datasets
from dmc.completion.tables import Bounds, Labels, repetitions, weighted
from dmc.inputs import observe

NAMES = [f"c{j}" for j in range(8)]


def table(seed=0, rows=60, noise=0.2) -> np.ndarray:
    """Eight columns in units of their own, with gaps."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 2)) @ rng.standard_normal((2, 8)) + noise * rng.standard_normal((rows, 8))
    x = x * np.logspace(-2, 3, 8) + 5 * np.logspace(-2, 3, 8)
    return np.where(rng.random(x.shape) < 0.2, np.nan, x)


def frame(seed=0, rows=60, noise=0.2) -> pd.DataFrame:
    x = table(seed, rows, noise)
    return pd.DataFrame(x, columns=NAMES, index=pd.Index([f"r{i}" for i in range(rows)], name="case"))


def polars(x: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame(x, schema=NAMES).fill_nan(None)


def spreads(x: np.ndarray) -> np.ndarray:
    return np.nanstd(x, axis=0)


@pytest.fixture(scope="module")
def fitted() -> MatrixCompletion:
    return MatrixCompletion().fit(frame())


# --- labels


def test_only_data_frames_have_labels():
    for X in (np.ones((2, 2)), [[1, 2]], sparse.csr_array(np.eye(2)), np.ma.ones((2, 2))):
        labels = Labels.of(X)
        assert (labels.library, labels.columns, labels.index) == (None, None, None)
        array = np.ones((3, 2))
        assert labels.around(array) is array


def test_labels_go_around_another_array_of_the_same_shape():
    given = pd.DataFrame({"b": [1.0, 2], "a": [3.0, 4]}, index=[7, 5])
    found = Labels.of(given).around(np.zeros((2, 2)))
    pd.testing.assert_frame_equal(found, 0 * given)
    found = Labels.of(pl.DataFrame({"b": [1.0], "a": [2.0]})).around(np.zeros((1, 2)))
    assert isinstance(found, pl.DataFrame)
    assert found.columns == ["b", "a"]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ([0], "column 'c0'"),
        ([0, 3], "columns 'c0', 'c3'"),
        (list(range(5)), "columns 'c0', 'c1', 'c2', 'c3', 'c4'"),
        (list(range(7)), "columns 'c0', 'c1', 'c2', 'c3', 'c4' and 2 more"),
    ],
)
def test_columns_are_named_five_at_most(columns, said):
    assert Labels.of(frame()).named(columns) == said
    assert Labels().named(columns) == said.replace("'", "").replace("c0", "0").replace(" c", " ")


def test_pandas_frames_come_back(fitted):
    given = frame()
    seen = given.notna().to_numpy()
    for found in (fitted.complete(), fitted.transform(given), *fitted.sample(2)):
        assert isinstance(found, pd.DataFrame)
        pd.testing.assert_index_equal(found.index, given.index)
        pd.testing.assert_index_equal(found.columns, given.columns)
        assert np.isfinite(found.to_numpy()).all()
    np.testing.assert_array_equal(fitted.transform(given).to_numpy()[seen], given.to_numpy()[seen])
    np.testing.assert_array_equal(fitted.sample(1)[0].to_numpy()[seen], given.to_numpy()[seen])


def test_labels_need_be_no_text():
    index = pd.date_range("2024-01-01", periods=60, freq="h")
    given = pd.DataFrame(table(), index=index, columns=pd.MultiIndex.from_product([["a", "b"], [1, 2, 3, 4]]))
    given.columns = given.columns.to_flat_index()
    model = MatrixCompletion().fit(given)
    for found in (model.complete(), model.transform(given)):
        pd.testing.assert_index_equal(found.index, index)
        assert list(found.columns) == list(given.columns)


def test_polars_frames_come_back():
    given = polars(table())
    model = MatrixCompletion().fit(given)
    plain = MatrixCompletion().fit(table())
    for found, array in (
        (model.complete(), plain.complete()),
        (model.transform(given), plain.transform(table())),
        (model.sample(1)[0], plain.sample(1)[0]),
    ):
        assert isinstance(found, pl.DataFrame)
        assert found.columns == NAMES
        np.testing.assert_array_equal(found.to_numpy(), array)


def test_a_transformed_frame_has_labels_of_its_own(fitted):
    """Those of the rows at hand, and not of those in fit."""
    given = frame(1, 5)
    given.index = list("vwxyz")
    assert list(fitted.transform(given).index) == list("vwxyz")
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        assert isinstance(fitted.transform(given.to_numpy()), np.ndarray)
    assert isinstance(MatrixCompletion().fit(table()).complete(), np.ndarray)


@pytest.mark.parametrize(
    ("wanted", "kind"), [("default", pd.DataFrame), ("pandas", pd.DataFrame), ("polars", pl.DataFrame)]
)
def test_set_output_rules(wanted, kind):
    model = MatrixCompletion().set_output(transform=wanted)
    found = model.fit_transform(frame())
    assert isinstance(found, kind)
    assert list(found.columns) == NAMES
    of_array = MatrixCompletion().set_output(transform=wanted).fit_transform(table())
    assert isinstance(of_array, np.ndarray if wanted == "default" else kind)


def test_a_frame_is_no_other_fit_than_its_numbers(fitted):
    plain = MatrixCompletion().fit(table())
    np.testing.assert_array_equal(fitted.complete().to_numpy(), plain.complete())


# --- how often rows count


@pytest.mark.parametrize(
    ("weights", "often"),
    [
        (None, None),
        ([1, 1, 1], None),
        ([0, 1, 1], None),  # nothing stands there twice
        ([1, 2, 0], [1, 2, 0]),
        ([1.0, 3.0, 1.0], [1, 3, 1]),
        ([1, 2.5, 1], None),
        ([1, -2, 1], None),
        ([1, np.nan, 1], None),
        ([1, 2], None),
        ([1, 1, 1000], None),  # more than ten times as many rows
    ],
)
def test_whole_numbers_are_repetitions(weights, often):
    found = repetitions(weights, 3)
    assert (None if found is None else found.tolist()) == often


@pytest.mark.parametrize("settings", [{}, {"scale": "columns"}, {"scale": "none"}, {"loss": "robust"}], ids=str)
def test_rows_that_count_twice_stand_there_twice(settings):
    x = table()
    if settings.get("scale") == "none":
        x = x / np.logspace(-2, 3, 8)
    often = np.random.default_rng(1).integers(1, 4, len(x))
    one = MatrixCompletion(**settings).fit(x, sample_weight=often)
    other = MatrixCompletion(**settings).fit(np.repeat(x, often, axis=0))
    unseen = x[::-1, ::-1]
    difference = (one.transform(unseen) - other.transform(unseen)) / spreads(x)
    assert np.abs(difference).max() < 1e-6
    difference = (one.complete() - other.complete()[np.cumsum(often) - often]) / spreads(x)
    assert np.abs(difference).max() < 1e-6


def test_repeated_rows_are_more_than_rows_of_no_weight():
    x = table(noise=0.5)
    often = np.where(np.arange(60) < 30, 3, 1)
    weighed, plain = MatrixCompletion().fit(x, sample_weight=often), MatrixCompletion().fit(x)
    assert np.abs((weighed.transform(x) - plain.transform(x)) / spreads(x)).max() > 1e-3


# --- weights


@pytest.mark.parametrize("weights", [np.ones((60, 8)), np.full((60, 8), 7.0)])
def test_equal_weights_are_none(weights):
    counted, found = weighted(observe(table()), None, weights)
    assert found is None
    assert counted.n_observed == np.isfinite(table()).sum()


def test_weights_have_mean_one_and_multiply():
    x = table()
    rng = np.random.default_rng(0)
    of_rows, of_entries = rng.uniform(1, 2, 60), rng.uniform(1, 2, (60, 8))
    _, found = weighted(observe(x), of_rows, of_entries)
    expected = (of_rows[:, None] * of_entries)[np.isfinite(x)]
    np.testing.assert_allclose(found, expected / expected.mean())


@pytest.mark.parametrize(
    "kind",
    [
        lambda w, seen: w,
        lambda w, seen: w.tolist(),
        lambda w, seen: w[seen],
        lambda w, seen: pd.DataFrame(w, columns=NAMES),
        lambda w, seen: sparse.csr_array(w),
        lambda w, seen: sparse.coo_matrix(w),
        lambda w, seen: w.astype(np.float32),
    ],
    ids=["array", "list", "observed", "frame", "csr", "coo", "float32"],
)
def test_weights_of_every_kind_agree(kind):
    x = table()
    seen = np.isfinite(x)
    w = np.random.default_rng(0).integers(0, 4, x.shape).astype(float)
    counted, found = weighted(observe(x), None, kind(w, seen))
    kept = w[seen][w[seen] > 0]
    np.testing.assert_allclose(found, kept / kept.mean())
    np.testing.assert_array_equal(counted.values, x[seen & (w > 0)])


def test_a_frame_of_weights_belongs_to_the_labels():
    """As a mask does: in another order of rows and columns it is put in that of X."""
    x = frame()
    w = pd.DataFrame(np.random.default_rng(0).uniform(0.1, 3, x.shape), index=x.index, columns=x.columns)
    straight = MatrixCompletion().fit(x, weights=w)
    turned = MatrixCompletion().fit(x, weights=w.iloc[::-1, ::-1])
    np.testing.assert_allclose(turned.complete(), straight.complete())


@pytest.mark.parametrize("scale", ["columns", "rows", "none"])
def test_an_entry_of_no_weight_has_no_part(scale):
    planted = datasets.planted((40, 30), 2, 0.6)
    x = np.full((40, 30), np.nan)
    x[planted.observations.rows, planted.observations.cols] = planted.observations.values
    truth, w, wrong = planted.A @ planted.B.T, np.ones(x.shape), x.copy()
    bad = np.isfinite(x) & (np.random.default_rng(0).random(x.shape) < 0.1)
    w[bad], wrong[bad] = 0, 1e3
    model = MatrixCompletion(scale=scale).fit(wrong, weights=w)
    np.testing.assert_allclose(model.complete(), truth, atol=1e-9)
    without = MatrixCompletion(scale=scale).fit(np.where(bad, np.nan, x))
    np.testing.assert_array_equal(model.complete(), without.complete())
    assert model.residual_rms_ < 1e-9


def test_rows_of_no_weight_are_folded_in():
    planted = datasets.planted((40, 30), 2, 0.6)
    truth = planted.A @ planted.B.T
    x = np.where(np.random.default_rng(0).random(truth.shape) < 0.7, truth, np.nan)
    w = np.where(np.arange(40) < 35, 0.5, 0.0)
    model = MatrixCompletion().fit(x, sample_weight=w)
    np.testing.assert_allclose(model.complete(), truth, atol=1e-6)


def test_precise_entries_count_for_more():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((80, 2)) @ rng.standard_normal((2, 40))
    noise = np.where(rng.random(truth.shape) < 0.7, 0.3, 1.2)
    hidden = rng.random(truth.shape) < 0.3
    x = np.where(hidden, np.nan, truth + noise * rng.standard_normal(truth.shape))
    errors = [
        np.sqrt(np.mean((MatrixCompletion().fit(x, weights=w).complete() - truth)[hidden] ** 2))
        for w in (None, noise**-2)
    ]
    assert errors[1] < 0.8 * errors[0]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"weights": np.ones((60, 7))}, ValueError, "weights has shape (60, 7); give (60, 8), one for each entry"),
        ({"weights": np.ones((8, 60))}, ValueError, "weights has shape (8, 60); give (60, 8)"),
        ({"weights": np.ones(3)}, ValueError, "weights has shape (3,); give (60, 8)"),
        ({"weights": sparse.csr_array(np.ones((60, 9)))}, ValueError, "weights has shape (60, 9); give (60, 8)"),
        ({"weights": np.full((60, 8), -1.0)}, ValueError, "weights: the smallest is -1; none may be negative"),
        ({"weights": np.full((60, 8), np.nan)}, ValueError, "weights"),
        ({"weights": np.full((60, 8), np.inf)}, ValueError, "weights"),
        ({"weights": np.zeros((60, 8))}, ValueError, "weights: all weights of observed entries are zero"),
        ({"weights": sparse.csr_array((60, 8))}, ValueError, "weights: all weights of observed entries are zero"),
        ({"weights": np.full((60, 8), "a")}, TypeError, "weights"),
        ({"sample_weight": np.ones(59)}, ValueError, "sample_weight has shape (59,); give (60,), one for each row"),
        ({"sample_weight": np.ones((60, 1))}, ValueError, "sample_weight has shape (60, 1); give (60,)"),
        ({"sample_weight": np.full(60, -0.5)}, ValueError, "sample_weight: the smallest is -0.5; none may be negative"),
        ({"sample_weight": np.full(60, np.nan)}, ValueError, "sample_weight"),
        ({"sample_weight": np.zeros(60)}, ValueError, "sample_weight: all weights of observed entries are zero"),
    ],
)
def test_weights_that_cannot_be_used(given, error, message):
    with pytest.raises(error, match=re.escape(message)):
        MatrixCompletion().fit(table(), **given)


# --- bounds


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [
        (None, None, ([-np.inf] * 2, [np.inf] * 2)),
        (0, None, ([0, 0], [np.inf] * 2)),
        (None, 5, ([-np.inf] * 2, [5, 5])),
        ([0, -1], 3.5, ([0, -1], [3.5, 3.5])),
        ([-np.inf, 1], [np.inf, 1], ([-np.inf, 1], [np.inf, 1])),
    ],
)
def test_bounds_are_of_each_column(low, high, found):
    bounds = Bounds.of(low, high, Labels(), 2)
    assert (bounds.low.tolist(), bounds.high.tolist()) == found
    assert bounds.none == (low is None and high is None)


def test_clipping_is_by_column():
    bounds = Bounds.of([0, 1], [2, 3], Labels(), 2)
    np.testing.assert_array_equal(bounds.clipped(np.array([[-1.0, 0], [1, 2], [3, 4]])), [[0, 1], [1, 2], [2, 3]])
    np.testing.assert_array_equal(bounds.clipped(np.array([9.0, 9, -9]), np.array([0, 1, 1])), [2, 3, 1])
    assert bounds.clipped(np.ones((1, 2), np.float32)).dtype == np.float32


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"min_value": 3, "max_value": 2}, ValueError, "min_value 3 is above max_value 2 in columns 'c0', 'c1'"),
        (
            {"min_value": [*[0.0] * 7, 9], "max_value": [*[1e9] * 7, 8]},
            ValueError,
            "min_value 9 is above max_value 8 in column 'c7'; swap them",
        ),
        ({"min_value": [1, 2, 3]}, ValueError, "min_value has shape (3,); give one number, or (8,), one for each"),
        ({"max_value": np.ones((1, 8))}, ValueError, "max_value has shape (1, 8); give one number, or (8,)"),
        ({"max_value": np.nan}, ValueError, "max_value is NaN for column 0; give a number, or None"),
        ({"min_value": [*[0.0] * 6, np.nan, 0]}, ValueError, "min_value is NaN for column 6"),
        ({"min_value": "low"}, TypeError, "min_value"),
        (
            {"max_value": {"c2": 100}},
            TypeError,
            "max_value is a mapping; give one number, or (8,), one for each column, inf for no bound",
        ),
    ],
)
def test_bounds_that_make_no_sense(settings, error, message):
    with pytest.raises(error, match=re.escape(message)):
        MatrixCompletion(**settings).fit(frame())


def test_observed_entries_outside_are_told_with_their_number_and_the_first_place():
    x = frame()
    x.iloc[:, 2] = 1.0
    x.iloc[11, 2], x.iloc[31, 2] = 4, -5
    bounds = {
        "min_value": np.where(np.arange(8) == 2, 0.0, -np.inf),
        "max_value": np.where(np.arange(8) == 2, 3, np.inf),
    }
    message = (
        "2 observed entries lie outside min_value and max_value, the first (4, bounds 0 to 3) at row 11, column 'c2'"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        MatrixCompletion(**bounds).fit(x)
    x.iloc[31, 2] = 3
    with pytest.raises(ValueError, match=r"1 observed entry lies outside .* at row 11, column 2; widen the bounds"):
        MatrixCompletion(**bounds).fit(x.to_numpy())
    x.iloc[11, 2] = np.nan
    MatrixCompletion(**bounds).fit(x)


def test_what_is_predicted_lies_within_the_bounds():
    x = table(noise=0.5)
    low, high = np.nanmin(x, axis=0), np.nanmax(x, axis=0)
    model = MatrixCompletion(min_value=low, max_value=high).fit(x)
    free = MatrixCompletion().fit(x)
    rows, cols = np.indices(x.shape).reshape(2, -1)
    wild = x + 0.0  # rows whose predictions lie far outside
    wild[:, :4] *= 3
    for found in (
        model.complete(),
        model.predict(x),
        model.predict(rows, cols).reshape(x.shape),
        model.predict(rows, cols, return_std=True)[0].reshape(x.shape),
        model.predict(wild),
        np.where(np.isnan(wild), model.transform(wild), low),
        model.transform(x),
        *model.sample(3),
    ):
        assert (found >= low).all()
        assert (found <= high).all()
    outside = (free.complete() < low) | (free.complete() > high)
    assert outside.any()  # else nothing was tested
    np.testing.assert_array_equal(model.complete(), np.clip(free.complete(), low, high))


def test_one_bound_for_all_columns():
    rng = np.random.default_rng(0)
    truth = np.clip(rng.standard_normal((80, 2)) @ rng.standard_normal((2, 8)), 0, 1)
    x = np.where(rng.random(truth.shape) < 0.3, np.nan, truth)
    free, model = MatrixCompletion().fit(x), MatrixCompletion(min_value=0, max_value=1).fit(x)
    assert free.complete().min() < 0 < 1 < free.complete().max()
    assert model.complete().min() == 0
    assert model.complete().max() == 1
    hidden = np.isnan(x)
    errors = [np.mean((m.complete() - truth)[hidden] ** 2) for m in (model, free)]
    assert errors[0] < errors[1]


# --- a number that stands for missing entries


@pytest.mark.parametrize("number", [-200, 0, 99.5, np.float32(-200)])
@pytest.mark.parametrize(
    "kind",
    [lambda x: x, lambda x: pd.DataFrame(x, columns=NAMES), np.ma.masked_invalid],
    ids=["array", "frame", "masked"],
)
def test_a_number_that_stands_for_missing_entries(kind, number, fitted):
    x = table()
    model = MatrixCompletion(missing_values=number).fit(kind(np.where(np.isnan(x), number, x)))
    np.testing.assert_array_equal(np.asarray(model.complete()), fitted.complete().to_numpy())
    imputed = np.asarray(model.transform(kind(np.where(np.isnan(x), number, x))))
    np.testing.assert_array_equal(imputed, fitted.transform(frame()).to_numpy())


def test_nan_is_missing_beside_the_number(fitted):
    x = table()
    holes = np.isnan(x) & (np.arange(60)[:, None] < 30)
    model = MatrixCompletion(missing_values=-200).fit(np.where(holes, -200, x))
    np.testing.assert_array_equal(model.complete(), fitted.complete().to_numpy())


def test_stored_numbers_of_a_sparse_matrix_may_stand_for_missing_entries(fitted):
    x = np.where(np.isnan(table()), -1, table())
    model = MatrixCompletion(missing_values=-1).fit(sparse.csr_array(x))
    np.testing.assert_array_equal(model.complete(), fitted.complete().to_numpy())
