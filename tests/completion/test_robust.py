"""Entries that are grossly wrong: found, left out and listed where that is asked for, told of where it is not."""

import numpy as np
import pytest
from sklearn import datasets as tables

from dmc import MatrixCompletion, observe
from dmc.completion import robust
from dmc.completion.model import Model
from dmc.completion.robust import apart, gross, standardised_residuals
from dmc.completion.scaling import Scaling
from dmc.factors import Factors
from spoilt_matrices import planted, spoilt, table


def error(model: MatrixCompletion, truth: np.ndarray, hidden: np.ndarray) -> float:
    """In spreads of the columns."""
    return float(np.sqrt(np.mean(((model.complete() - truth) / truth.std(axis=0))[hidden] ** 2)))


# --- exact matrices


@pytest.mark.parametrize("share", [0.01, 0.05, 0.1])
@pytest.mark.parametrize(
    ("shape", "rank", "observed"),
    [((30, 30), 1, 0.7), ((40, 30), 2, 0.8), ((80, 15), 2, 0.8), ((20, 60), 1, 0.8)],
    ids=["square", "rank two", "tall", "wide"],
)
def test_gross_errors_are_found_and_nothing_else(shape, rank, observed, share):
    truth, x = planted(shape, rank, observed)
    x, wrong = spoilt(x, share)
    model = MatrixCompletion(loss="robust").fit(x)
    np.testing.assert_array_equal(model.outliers_, wrong)
    assert model.outliers_.dtype == np.int64
    np.testing.assert_allclose(model.complete(), truth, atol=1e-9)
    assert model.rank_ == rank
    assert model.residual_rms_ < 1e-10  # of the entries that were left


@pytest.mark.parametrize("share", [0.05, 0.1])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gross_errors_of_a_sparse_matrix_are_found(share, seed):
    """Of any size, down to what hides in the matrix itself: an entry left in would be followed by a direction."""
    truth, x = planted((150, 150), 3, 0.2, seed)
    rng = np.random.default_rng(seed)
    wrong = np.isfinite(x) & (rng.random(x.shape) < share)
    x[wrong] += 10 * np.nanstd(x) * rng.standard_normal(wrong.sum())
    model = MatrixCompletion(loss="robust").fit(x)
    np.testing.assert_array_equal(model.outliers_, np.argwhere(wrong))
    np.testing.assert_allclose(model.complete(), truth, atol=1e-9)
    assert model.rank_ == 3


@pytest.mark.parametrize("scale", ["columns", "rows", "none"])
def test_errors_are_found_however_the_matrix_is_scaled(scale):
    truth, x = planted((40, 30), 2, 0.8)
    x, wrong = spoilt(x, 0.05)
    model = MatrixCompletion(loss="robust", scale=scale).fit(x)
    np.testing.assert_array_equal(model.outliers_, wrong)
    np.testing.assert_allclose(model.complete(), truth, atol=1e-9)


def test_errors_on_one_side_only():
    """All of them upwards, as of a sensor that saturates."""
    truth, x = planted((40, 30), 2, 0.8)
    x, wrong = spoilt(x, 0.05)
    x[tuple(wrong.T)] = 40.0
    model = MatrixCompletion(loss="robust").fit(x)
    np.testing.assert_array_equal(model.outliers_, wrong)
    np.testing.assert_allclose(model.complete(), truth, atol=1e-9)


def test_errors_of_any_size():
    truth, x = planted((40, 30), 2, 0.8)
    x, wrong = spoilt(x, 0.03)
    x[tuple(wrong.T)] *= np.logspace(0, 6, len(wrong))
    model = MatrixCompletion(loss="robust").fit(x)
    np.testing.assert_array_equal(model.outliers_, wrong)
    np.testing.assert_allclose(model.complete(), truth, atol=1e-9)


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_what_is_gross_depends_on_no_unit(size):
    _, x = planted((40, 30), 2, 0.8)
    x, wrong = spoilt(x, 0.05)
    np.testing.assert_array_equal(MatrixCompletion(loss="robust").fit(size * x).outliers_, wrong)


@pytest.mark.parametrize("transpose", [False, True])
def test_errors_in_an_exact_table_in_units(transpose):
    truth, x, _ = table(0, noise=0)
    rng = np.random.default_rng(0)
    seen = np.flatnonzero(np.isfinite(x))
    at = np.sort(rng.choice(seen, 40, replace=False))
    x.ravel()[at] += rng.choice([-8, 8], (len(at),)) * truth.std(axis=0)[at % 8]
    wrong = np.column_stack(np.unravel_index(at, x.shape))
    if transpose:
        x, truth, wrong = x.T.copy(), truth.T, wrong[:, ::-1]
    model = MatrixCompletion(loss="robust").fit(x)
    assert model.scale_ == ("rows" if transpose else "columns")
    assert set(map(tuple, model.outliers_)) == set(map(tuple, wrong))
    np.testing.assert_allclose(model.complete(), truth, rtol=1e-9)


@pytest.mark.parametrize(("shape", "rank"), [((30, 30), 1), ((40, 30), 2), ((80, 15), 2), ((20, 60), 1)])
@pytest.mark.parametrize("seed", [0, 1])
def test_clean_exact_matrices_list_nothing(shape, rank, seed):
    truth, x = planted(shape, rank, 0.6, seed)
    model = MatrixCompletion(loss="robust").fit(x)
    assert model.outliers_.shape == (0, 2)
    np.testing.assert_allclose(model.complete(), truth, atol=1e-9)


def test_the_squared_loss_lists_nothing():
    assert MatrixCompletion().fit(planted((50, 40), 2, 0.6)[1]).outliers_.shape == (0, 2)


def test_errors_in_blocks():
    (one, seen), (other, also) = planted((30, 20), 1, 0.8), planted((20, 15), 1, 0.8, seed=1)
    x = np.full((50, 35), np.nan)
    x[:30, :20], first = spoilt(seen, 0.05)
    x[30:, 20:], second = spoilt(also, 0.05)
    with pytest.warns(UserWarning, match="2 blocks that share no entry"):
        model = MatrixCompletion(loss="robust").fit(x)
    np.testing.assert_array_equal(model.outliers_, np.vstack([first, second + np.array([30, 20])]))
    np.testing.assert_allclose(model.complete()[:30, :20], one, atol=1e-9)
    np.testing.assert_allclose(model.complete()[30:, 20:], other, atol=1e-9)


def test_weights_and_repeated_rows_keep_their_places():
    _, x = planted((40, 30), 2, 0.8)
    x, wrong = spoilt(x, 0.05)
    often = 1 + np.arange(40) % 2
    for given in ({"sample_weight": often}, {"weights": np.random.default_rng(0).uniform(0.5, 2, x.shape)}):
        model = MatrixCompletion(loss="robust").fit(x, **given)
        np.testing.assert_array_equal(model.outliers_, wrong)


# --- noisy ones


@pytest.mark.parametrize("shape", [(50, 40), (120, 8), (8, 120)])
def test_gaussian_noise_alone_lists_next_to_nothing(shape):
    rng = np.random.default_rng(0)
    x = np.where(rng.random(shape) < 0.2, np.nan, rng.standard_normal(shape))
    with pytest.warns(UserWarning, match="predicts held-out entries"):
        model = MatrixCompletion(loss="robust").fit(x)
    assert len(model.outliers_) < 1e-3 * x.size


@pytest.mark.parametrize("noise", [0.1, 0.5])
def test_a_noisy_matrix_lists_next_to_nothing(noise):
    _, x = planted((50, 30), 2, 0.7, noise=noise)
    assert len(MatrixCompletion(loss="robust").fit(x).outliers_) < 1e-3 * np.isfinite(x).sum()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_noisy_table_lists_next_to_nothing(seed):
    truth, x, hidden = table(seed)
    model = MatrixCompletion(loss="robust").fit(x)
    assert len(model.outliers_) < 1e-3 * np.isfinite(x).sum()
    assert error(model, truth, hidden) < 1.1 * error(MatrixCompletion().fit(x), truth, hidden)


@pytest.mark.parametrize("seed", [0])
def test_a_noisy_matrix_with_outliers_is_nearly_as_good_as_without(seed):
    truth, clean = planted((50, 30), 2, 0.7, seed, noise=0.2)
    x, wrong = spoilt(clean, 0.03)
    model = MatrixCompletion(loss="robust").fit(x)
    best = np.linalg.norm(MatrixCompletion().fit(clean).complete() - truth)
    assert np.linalg.norm(model.complete() - truth) < 1.1 * best
    found, wrong = set(map(tuple, model.outliers_)), set(map(tuple, wrong))
    assert wrong <= found
    assert len(found - wrong) < 2e-3 * np.isfinite(x).sum()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_noisy_table_with_outliers_is_nearly_as_good_as_without(seed):
    truth, clean, hidden = table(seed)
    x = clean.copy()
    rng = np.random.default_rng(seed)
    wrong = ~hidden & (rng.random(x.shape) < 0.03)
    x[wrong] += (10 * rng.choice([-1, 1], x.shape) * truth.std(axis=0))[wrong]
    model = MatrixCompletion(loss="robust").fit(x)
    assert error(model, truth, hidden) < 1.2 * error(MatrixCompletion().fit(clean), truth, hidden)
    found = np.zeros(x.shape, bool)
    found[tuple(model.outliers_.T)] = True
    assert (found & wrong).sum() >= 0.95 * wrong.sum()


def test_an_outlier_is_not_handed_back_as_a_prediction():
    """`transform` keeps what was observed, `complete` says what it should have been."""
    truth, x = planted((50, 40), 2, 0.7)
    x, wrong = spoilt(x, 0.02)
    model = MatrixCompletion(loss="robust").fit(x)
    at = tuple(wrong.T)
    np.testing.assert_allclose(model.predict(*at), truth[at], atol=1e-9)
    np.testing.assert_array_equal(model.transform(x)[at], x[at])


# --- what the squared loss tells


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_squared_loss_tells_how_many_entries_are_gross(seed):
    _, x = planted((50, 30), 2, 0.7, seed, noise=0.1)
    x, wrong = spoilt(x, 0.01)
    with pytest.warns(UserWarning, match=r"(\d+) entries lie far from the others .*loss='robust'") as caught:
        MatrixCompletion().fit(x)
    (told,) = [w for w in caught if "entries lie far" in str(w.message)]
    assert len(wrong) // 2 <= int(str(told.message).split()[0]) <= 1.2 * len(wrong)
    assert told.filename == __file__


@pytest.mark.parametrize(("noise", "seed"), [(0.0, 0), (0.1, 1), (0.5, 2)])
def test_clean_matrices_are_not_told_of(noise, seed):
    """Warnings are errors here."""
    MatrixCompletion().fit(planted((50, 30), 2, 0.7, seed, noise=noise)[1])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_clean_tables_are_not_told_of(seed):
    MatrixCompletion().fit(table(seed)[1])


@pytest.mark.parametrize("name", ["wine", "iris", "breast_cancer", "diabetes"])
def test_real_tables_are_not_told_of(name):
    """Skewed and with long tails, but nothing of it wrong."""
    truth = getattr(tables, f"load_{name}")().data[:200, :9]
    x = np.where(np.random.default_rng(0).random(truth.shape) < 0.1, np.nan, truth)
    MatrixCompletion().fit(x)


def test_entries_that_are_said_to_be_imprecise_are_not_gross():
    rng = np.random.default_rng(0)
    truth, _ = planted((80, 40), 2, 0.7)
    noise = np.where(rng.random(truth.shape) < 0.7, 0.05, 1.0)
    x = np.where(rng.random(truth.shape) < 0.3, np.nan, truth + noise * rng.standard_normal(truth.shape))
    MatrixCompletion().fit(x, weights=noise**-2)


def test_an_entry_that_was_left_out_may_come_back():
    """Its row has few others, so that its prediction is off by more than the noise."""
    truth, x, hidden = table(204)
    model = MatrixCompletion(loss="robust").fit(x)
    assert len(model.outliers_) == 0
    assert error(model, truth, hidden) == error(MatrixCompletion().fit(x), truth, hidden)


# --- pieces


def a_model(residual: np.ndarray, scale="none"):
    """One that predicts nothing but zeros, and entries that it misses by so much."""
    observed = observe(residual)
    m, n = residual.shape
    scaling = Scaling.of(observed, scale)
    zero = Factors(np.zeros((m, 0)), (), np.zeros((n, 0)))
    prior = np.zeros(0), np.zeros((0, 0))
    return Model(zero, scaling, np.zeros(len(scaling.spread)), *prior, observed.pattern), observed, None


def test_residuals_are_in_typical_ones():
    """Of a Gaussian: in standard deviations."""
    x = 7 * np.random.default_rng(0).standard_normal((400, 20))
    found = standardised_residuals(*a_model(x))
    assert found.mean() == pytest.approx(np.sqrt(2 / np.pi), rel=0.05)
    assert found.max() < 5


def test_a_line_that_is_matched_to_rounding_has_no_outliers():
    x = np.where(np.arange(10) < 5, 1.0, 1e-17) * np.random.default_rng(0).standard_normal((50, 10))
    assert standardised_residuals(*a_model(x)).max() < 10


@pytest.mark.parametrize(("count", "told"), [(0, 0), (2, 0), (3, 3), (20, 20)])
def test_fewer_than_three_gross_entries_are_not_told(count, told):
    x = np.random.default_rng(0).standard_normal((50, 20))
    x.ravel()[7 * np.arange(count)] = 100
    assert len(gross(*a_model(x))) == told


@pytest.mark.parametrize(
    ("values", "told"), [([300], 1), ([300, 200], 2), ([300, 40], 0), ([300, 15], 0), ([30], 0), ([300] * 9, 0)]
)
def test_entries_apart_from_their_column(values, told):
    x = np.random.default_rng(0).standard_normal((200, 3))
    x[: len(values), 1] = values
    found = apart(observe(x))
    assert found.sum() == told
    assert set(np.asarray(observe(x).cols)[found]) <= {1}


def test_long_tails_and_rare_events_are_not_apart():
    rng = np.random.default_rng(0)
    rare = np.where(rng.random((1000, 20)) < 0.002, 1.0, 0.0)
    for x in (rng.standard_t(2, (1000, 20)), rng.lognormal(0, 1.5, (1000, 20)), rare, rng.poisson(1.0, (1000, 20))):
        assert not apart(observe(x)).any()


@pytest.mark.parametrize("seed", range(3))
def test_a_single_slip_is_named_and_its_column_is_not_called_unpredictable(seed):
    """A value in another unit, which the model follows."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((200, 2)) @ rng.standard_normal((2, 6)) + 0.1 * rng.standard_normal((200, 6))
    x[rng.random(x.shape) < 0.15] = np.nan
    x[41, 2] = 1000
    with pytest.warns(UserWarning, match="1 entry lies far from the others and may distort the fit") as caught:
        MatrixCompletion().fit(x)
    (said,) = [str(w.message) for w in caught]
    assert "(at row 41, column 2); check it, or" in said


def test_a_small_share_is_not_told():
    x = np.random.default_rng(0).standard_normal((400, 50))
    x.ravel()[7 * np.arange(9)] = 100
    assert len(gross(*a_model(x))) == 0
    x.ravel()[7 * np.arange(10)] = 100
    assert len(gross(*a_model(x))) == 10


def test_no_line_loses_more_than_half():
    observed = observe(np.arange(36.0).reshape(6, 6))
    found = robust._minority(np.where(observed.rows == 2, 10.0 + observed.cols, 1.0), observed)
    assert found.sum() == 3
    assert set(zip(observed.rows[found].tolist(), observed.cols[found].tolist(), strict=True)) == {
        (2, 3),
        (2, 4),
        (2, 5),
    }
