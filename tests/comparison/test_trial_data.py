"""Who is trained on what, and judged by what: nothing that judges is trained on, and units change nothing."""

import warnings

import numpy as np
import pytest

import dmc
from dmc.comparison import trial_data as module
from dmc.comparison.trial_data import trial_data


def made(X, mask=None, test=None, fraction=0.2, missing=None, standardize=False, seed=0):
    return trial_data(X, mask, test, fraction, missing, standardize, seed)


@pytest.fixture
def gapped(rng):
    X = rng.standard_normal((30, 20))
    X[rng.random(X.shape) < 0.3] = np.nan
    return X


def test_a_split_parts_the_observed_entries(gapped):
    data = made(gapped)
    train = data.train.to_scipy().toarray()
    assert np.isfinite(gapped[data.test.rows, data.test.cols]).all()
    assert not train[data.test.rows, data.test.cols].any()
    assert data.train.n_observed + len(data.test.values) == np.isfinite(gapped).sum()
    np.testing.assert_array_equal(data.test.values, gapped[data.test.rows, data.test.cols])
    assert f"{len(data.test.values)} of {np.isfinite(gapped).sum()} observed entries are held out" in data.test.drawn
    assert "seed 0" in data.test.drawn
    again, other = made(gapped), made(gapped, seed=1)
    np.testing.assert_array_equal(again.test.rows, data.test.rows)
    assert len(other.test.rows) != len(data.test.rows) or (other.test.rows != data.test.rows).any()


@pytest.mark.parametrize("judges", [10_000, 40])  # all unseen entries are numbered, or they are drawn
def test_a_planted_matrix_is_judged_by_what_was_not_observed(judges, monkeypatch):
    monkeypatch.setattr(module, "JUDGES", judges)
    planted = dmc.datasets.planted((40, 30), 2, 0.4, noise=0.5)
    data = made(planted)
    assert len(data.test.rows) == min(judges, 40 * 30 - planted.observations.n_observed)
    assert (planted.observations.locate(data.test.rows, data.test.cols) < 0).all()
    assert len(set(zip(data.test.rows.tolist(), data.test.cols.tolist(), strict=True))) == len(data.test.rows)
    np.testing.assert_allclose(data.test.values, (planted.A @ planted.B.T)[data.test.rows, data.test.cols])
    assert data.train.n_observed == planted.observations.n_observed


def test_a_planted_matrix_of_which_all_was_observed_is_split():
    data = made(dmc.datasets.planted((20, 15), 1, 1.0))
    assert len(data.test.rows) == 60


def test_a_mask_of_ones_own_judges(gapped):
    test = np.isfinite(gapped) & (np.add.outer(np.arange(30), np.arange(20)) % 4 == 0)
    data = made(gapped, test=test)
    assert (len(data.test.rows), data.train.n_observed) == (test.sum(), np.isfinite(gapped).sum() - test.sum())
    np.testing.assert_array_equal(np.flatnonzero(test), data.test.rows * 20 + data.test.cols)
    planted = dmc.datasets.planted((12, 11), 1, 0.8)
    of_all = made(planted, test=np.arange(132).reshape(12, 11) % 2 == 0)
    assert len(of_all.test.values) == 66
    np.testing.assert_allclose(of_all.test.values, (planted.A @ planted.B.T).ravel()[::2])


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (np.ones((2, 2), bool), "test has shape (2, 2)"),
        (np.ones((30, 20)), "dtype float64"),
        (np.zeros((30, 20), bool), "test marks no entry"),
        (np.ones((30, 20), bool), "that were not observed"),
    ],
)
def test_bad_masks_are_refused(gapped, test, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")):
        made(gapped, test=test)


def test_a_mask_of_all_leaves_nothing():
    with pytest.raises(ValueError, match="marks all observed entries"):
        made(np.eye(3), test=np.ones((3, 3), bool))


def test_rows_that_the_test_empties_are_told(gapped):
    test = np.isfinite(gapped) & (np.arange(30)[:, None] == 3)
    with pytest.warns(UserWarning, match=f"{test.sum()} of {test.sum()} test entries are in a row or column without"):
        made(gapped, test=test)


@pytest.mark.parametrize("unit", [1e-200, 1.0, 1e200])
@pytest.mark.parametrize("level", [0.0, 50.0])
def test_the_problem_has_unit_size_whatever_the_data(gapped, unit, level):
    """The networks' problem is the same in all units, and an offset is taken out."""
    plain, data = made(gapped), made((gapped + level) * unit)
    assert data.problem.target_norm == pytest.approx(1, rel=0.02)
    assert (data.level != 0) == (level != 0)
    if not level:
        np.testing.assert_allclose(data.problem.observations.values, plain.problem.observations.values, rtol=0.02)
    zero = dmc.Factors(np.zeros((30, 1)), (), np.zeros((20, 1)))
    expected = np.sqrt(np.mean(((data.test.values - data.level) / unit) ** 2))
    assert data.error(zero) / unit == pytest.approx(expected)


def test_the_baseline_is_the_better_of_two_means(rng):
    X = rng.standard_normal((50, 4)) + np.array([0, 10, 20, 30])
    data = made(X)
    assert data.baseline == pytest.approx(1, abs=0.3)  # of the columns
    few = np.where(rng.random((200, 200)) < 0.01, rng.standard_normal((200, 200)), np.nan)
    few[0], few[:, 0] = 1, 1
    assert made(few).baseline < 1.2  # of all: columns' means of two entries would err more


def test_weights_and_penalties_of_a_problem_go_along(rng):
    observed = dmc.observe(rng.standard_normal((12, 10)))
    weights = rng.uniform(1, 2, observed.n_observed)
    given = dmc.MaskedLeastSquares(observed, weights, 0.3, unobserved_weight=0.1)
    data = made(given)
    at = observed.locate(data.train.rows, data.train.cols)
    np.testing.assert_allclose(data.problem.weights.by_row + 0.1, weights[at])
    np.testing.assert_allclose(data.problem.l2[0], 0.3 / data.unit)
    # The same factors, in the data's units, have the same value times the unit squared.
    factors = dmc.initial.gaussian((12, 10), 2)
    of_data = dmc.MaskedLeastSquares(data.train, weights[at], 0.3, unobserved_weight=0.1)
    root = np.sqrt(data.unit)
    scaled = dmc.Factors(factors.U * root, (), factors.V * root)
    assert of_data.value(scaled) == pytest.approx(data.unit**2 * data.problem.value(factors))


def test_standardised_columns(rng):
    X = rng.standard_normal((60, 3)) * [1, 100, 1e-3] + [5, -700, 0]
    with pytest.warns(UserWarning, match="pass standardize=True"):
        made(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = made(X, standardize=True)
    train = data.train.to_scipy().toarray()
    for j in range(3):
        column = train[:, j][train[:, j] != 0]
        assert (column.mean(), column.std()) == pytest.approx((0, 1), abs=1e-9)
    constant = np.column_stack([rng.standard_normal(20), np.full(20, 3.0)])
    assert np.isfinite(made(constant, standardize=True).test.values).all()


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.full((5, 5), 2.0), "all 20 training entries are 2: there is nothing to compare"),
        (np.zeros((5, 5)), "all 20 training entries are 0"),
        (np.array([[1.0]]), "none of the 1 observed entry can be held out"),
        (np.full((3, 3), np.nan), "none of the 9 entries of X is observed"),
        (np.array([[1.0, np.inf], [2, 3]]), "X holds 1 infinite value"),
        (np.arange(3.0), "shape"),
    ],
)
def test_bad_data_are_refused(X, message):
    with pytest.raises(ValueError, match=message):
        made(X)


def test_a_mask_beside_what_knows_its_own_is_refused():
    planted = dmc.datasets.planted((6, 5), 1, 0.5)
    with pytest.raises(ValueError, match="a mask was given with Planted"):
        made(planted, mask=np.ones((6, 5), bool))


def test_a_placeholder_that_is_nowhere_is_told(gapped):
    with pytest.warns(UserWarning, match="missing_values is -1, which does not occur in X"):
        made(gapped, missing=-1.0)
    filled = np.where(np.isnan(gapped), -1.0, gapped)
    assert made(filled, missing=-1.0).train.n_observed == made(gapped).train.n_observed


@pytest.mark.parametrize("kind", [np.float32, list, np.asfortranarray, "int", "frame"])
def test_whatever_observe_takes(rng, kind):
    X = np.round(10 * rng.standard_normal((12, 9)))
    if kind == "frame":
        given = pytest.importorskip("pandas").DataFrame(X)
    elif kind == "int":
        given = X.astype(int)
    else:
        given = X.tolist() if kind is list else kind(X)
    data = made(given)
    assert data.problem.observations.dtype == np.float64
    np.testing.assert_allclose(data.test.values, X[data.test.rows, data.test.cols])
