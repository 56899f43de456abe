"""Which model a table gets: in whatever units it comes, as good as its entries allow, and never worse than means."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn import datasets as tables

from dmc import MatrixCompletion, Status, datasets, observe
from dmc.completion import tuning
from dmc.completion.analyses import Analyses
from dmc.completion.results import submatrix, transposed


def in_units(seed: int, shape=(120, 8), rank=2, noise=0.3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth of spread one, entries with gaps in units of their own, and what is hidden."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((shape[0], rank)) @ rng.standard_normal((rank, shape[1]))
    truth /= truth.std(axis=0)
    hidden = rng.random(shape) < 0.25
    hidden[np.arange(shape[0]), np.arange(shape[0]) % shape[1]] = False  # something of each row
    return truth, np.where(hidden, np.nan, truth + noise * rng.standard_normal(shape)), hidden


def hide(truth: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    hidden = np.random.default_rng(seed).random(truth.shape) < share
    return np.where(hidden, np.nan, truth), hidden


def against_means(found: np.ndarray, truth: np.ndarray, x: np.ndarray) -> float:
    """Error on what is hidden over that of the columns' means, each column in its own spread."""
    hidden, spread = np.isnan(x), np.nanstd(x, axis=0)
    ours, theirs = (np.mean((((guess - truth) / spread)[hidden]) ** 2) for guess in (found, np.nanmean(x, axis=0)))
    return float(np.sqrt(ours / theirs))


def fitted(x: np.ndarray, **settings) -> MatrixCompletion:
    return MatrixCompletion(**settings).fit(x)


# --- tables in units


@pytest.mark.parametrize(("name", "least"), [("wine", 0.9), ("iris", 0.8), ("diabetes", 0.85), ("breast_cancer", 0.75)])
@pytest.mark.parametrize("seed", range(2))
def test_real_tables_are_predicted_better_than_by_means(seed, name, least):
    truth = getattr(tables, f"load_{name}")().data[:178, :9]
    x, _ = hide(truth, 0.2, seed)
    model = fitted(x, random_state=seed)
    assert model.scale_ == "columns"
    assert against_means(model.transform(x), truth, x) < least


@pytest.mark.parametrize("noise", [0.3, 3.0])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.filterwarnings("ignore:the model .* predicts held-out entries", "ignore:column.* predicted no better")
def test_no_table_is_predicted_worse_than_by_means(seed, noise):
    truth, x, _ = in_units(seed, noise=noise)
    units, levels = np.logspace(-4, 4, 8), np.linspace(-20, 20, 8)
    model = fitted((x + levels) * units)
    assert against_means(model.complete() / units - levels, truth, x) < 1.02


@pytest.mark.filterwarnings("ignore:the model .* predicts held-out entries", "ignore:column.* predicted no better")
@pytest.mark.parametrize("shape", [(20, 5), (15, 12), (8, 25), (400, 3)])
def test_small_tables_are_not_predicted_worse_than_by_means(shape):
    errors = []
    for seed in range(3):
        truth, x, _ = in_units(seed, shape, rank=1, noise=1.0)
        errors.append(against_means(fitted(x + 5).complete() - 5, truth, x))
    assert np.median(errors) < 1.02


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("shift", [0.0, 1e4], ids=["", "shifted"])
@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_units_of_columns_change_nothing(unit, shift, noise):
    """A third of the columns in another unit, half of them from another zero."""
    _, x, _ = in_units(0, noise=noise)
    x = x + 5
    units = np.where(np.arange(8) % 3 == 0, unit, 1.0)
    levels = np.where(np.arange(8) % 2 == 0, shift * np.nanstd(x, axis=0), 0.0)
    model, other = fitted(x), fitted((x + levels) * units)
    assert (other.rank_, other.scale_) == (model.rank_, "columns")
    tolerance = 1e-9 if noise else 1e-8
    np.testing.assert_allclose(other.complete() / units - levels, model.complete(), rtol=0, atol=tolerance)
    np.testing.assert_allclose(other.transform((x + levels) * units) / units - levels, model.transform(x), atol=1e-7)
    np.testing.assert_allclose(other.column_errors_ / units, model.column_errors_, atol=1e-7)


@pytest.mark.parametrize("unit", [1e-100, 1e100])
def test_units_may_be_extreme(unit):
    _, x, _ = in_units(0)
    units = np.where(np.arange(8) == 3, unit, 1.0)
    np.testing.assert_allclose(fitted((x + 5) * units).complete() / units, fitted(x + 5).complete(), rtol=1e-6)


def test_the_unit_of_the_table_and_the_order_of_its_lines_change_nothing():
    _, x, _ = in_units(0)
    found = fitted(x + 5).complete()
    np.testing.assert_allclose(fitted(1e-9 * (x + 5)).complete() * 1e9, found, rtol=1e-9)
    turned = fitted(np.ascontiguousarray((x + 5)[::-1, ::-1])).complete()[::-1, ::-1]
    assert np.sqrt(np.mean((turned - found) ** 2)) < 0.1  # other entries are held out, and another model may win


@pytest.mark.parametrize("shift", [0.0, 300.0])
def test_exact_tables_in_units_are_exact(shift):
    truth, x, _ = in_units(1, (60, 20), noise=0)
    units = np.logspace(-6, 6, 20)
    model = fitted((x + shift + 2) * units)
    assert (model.rank_, model.scale_, model.status_) == (2, "columns", Status.CONVERGED)
    np.testing.assert_allclose(model.complete() / units - shift - 2, truth, atol=1e-9)


def test_a_constant_column_is_constant():
    _, x, hidden = in_units(0)
    x[:, 3] = np.where(hidden[:, 3], np.nan, 5.0)
    model = fitted(x + 10 * (np.arange(8) != 3))
    np.testing.assert_array_equal(model.complete()[:, 3], 5)
    np.testing.assert_array_equal(model.transform(x + 10 * (np.arange(8) != 3))[:, 3], 5)


# --- matrices of one size


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
@pytest.mark.parametrize(("shape", "rank"), [((40, 40), 2), ((50, 30), 3)])
def test_planted_matrices_are_not_scaled(shape, rank, noise):
    problem = datasets.planted(shape, rank, 0.6, noise=noise)
    model = MatrixCompletion().fit(problem.observations)
    assert (model.scale_, model.rank_) == ("none", rank)
    assert model.factors_.column_bias is None
    assert model.factors_.row_bias is None
    truth = problem.A @ problem.B.T
    bound = 1.3 * noise * np.sqrt(rank * (sum(shape) - rank) / problem.observations.n_observed) + 1e-9
    assert np.sqrt(np.mean((model.complete() - truth) ** 2)) < bound


@pytest.mark.parametrize("scale", ["none", "columns", "rows"])
def test_what_was_asked_for_is_done(scale):
    problem = datasets.planted((50, 40), 2, 0.6, noise=0.1)
    model = MatrixCompletion(scale=scale).fit(problem.observations)
    assert model.scale_ == scale
    assert (model.factors_.column_bias is not None) == (scale == "columns")
    assert (model.factors_.row_bias is not None) == (scale == "rows")
    truth = problem.A @ problem.B.T
    assert np.linalg.norm(model.complete() - truth) < 0.15 * np.linalg.norm(truth)


@pytest.mark.parametrize("scale", ["Columns", "", None, True, 1])
def test_scales_that_there_are_not(scale):
    with pytest.raises((ValueError, TypeError), match=r"scale is .*columns"):
        MatrixCompletion(scale=scale).fit(np.ones((3, 3)))


# --- rows in units


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("shape", [(120, 8), (30, 20)])
def test_a_transposed_table_is_fitted_as_the_table(shape, noise):
    _, x, _ = in_units(0, shape, noise=noise)
    x = (x + 5) * np.logspace(-3, 3, shape[1])
    model, turned = fitted(x), fitted(np.ascontiguousarray(x.T))
    assert (model.scale_, turned.scale_) == ("columns", "rows")
    assert turned.rank_ == model.rank_
    np.testing.assert_allclose(turned.complete().T, model.complete(), rtol=1e-9)
    assert turned.held_out_rmse_ == pytest.approx(model.held_out_rmse_, rel=1e-6, abs=1e-9)


def test_deviations_of_a_transposed_table_are_those_of_the_table():
    _, x, _ = in_units(0)
    x = (x + 5) * np.logspace(-3, 3, 8)
    rows, cols = np.indices(x.shape).reshape(2, -1)
    upright = fitted(x).predict(rows, cols, return_std=True)[1]
    turned = fitted(np.ascontiguousarray(x.T)).predict(cols, rows, return_std=True)[1]
    np.testing.assert_allclose(turned, upright, rtol=1e-4)


def test_new_columns_of_a_table_in_rows_bring_their_own_level():
    """Where rows have units, `transform` sees rows that it cannot know: each by what it has itself."""
    truth, x, _ = in_units(0, noise=0)
    units = np.logspace(-3, 3, 8)
    model = fitted(np.ascontiguousarray(((x + 5) * units).T))
    assert model.scale_ == "rows"
    new = 1e7 * (truth[:, 2] + 40)
    holes = np.where(np.arange(120) % 3 == 0, np.nan, new)
    np.testing.assert_allclose(model.transform(holes[None])[0], new, rtol=1e-6)


# --- many rows


def sizes(monkeypatch) -> list[int]:
    """Rows of each factor analysis from here on."""
    seen, analysed = [], Analyses._analysed

    def watched(self, host, *given, **more):
        seen.append(host.shape[0])
        return analysed(self, host, *given, **more)

    monkeypatch.setattr(Analyses, "_analysed", watched)
    return seen


def test_of_a_tall_table_a_sample_chooses(monkeypatch):
    truth, x, hidden = in_units(0, (2_500, 6))
    seen = sizes(monkeypatch)
    model = fitted(x + 5)
    assert set(seen) == {1_000, 2_500}
    assert seen[-1] == 2_500  # all rows have a part in what is fitted
    assert seen.count(2_500) == 1
    monkeypatch.setattr(tuning, "SELECTION", replace(tuning.SELECTION, min_sampled_rows=10_000))
    seen.clear()
    whole = fitted(x + 5)
    assert set(seen) == {2_500}
    errors = [np.sqrt(np.mean((m.complete() - 5 - truth)[hidden] ** 2)) for m in (model, whole)]
    assert errors[0] < 1.02 * errors[1]
    np.testing.assert_allclose(model.complete(), whole.complete(), atol=0.05)


def test_of_a_table_of_fewer_rows_no_sample_is_taken(monkeypatch):
    _, x, _ = in_units(0, (1_900, 6))
    seen = sizes(monkeypatch)
    fitted(x + 5)
    assert set(seen) == {1_900}


def test_a_tall_exact_table_is_exact():
    truth, x, _ = in_units(0, (2_500, 12), noise=0)
    model = fitted(x + 5)
    assert model.rank_ == 2
    np.testing.assert_allclose(model.complete() - 5, truth, atol=1e-8)


def test_a_tall_table_with_weights():
    truth, x, hidden = in_units(0, (2_500, 6))
    wrong = np.random.default_rng(1).random(x.shape) < 0.1
    with pytest.warns(UserWarning, match="1 of 2,500 rows have too few entries"):  # all of its own weigh nothing
        model = MatrixCompletion().fit(np.where(wrong, x + 50, x), weights=np.where(wrong, 0, 1.0))
    judged = hidden & (~wrong & ~hidden).any(axis=1, keepdims=True)  # rows of which something is right
    assert np.sqrt(np.mean((model.complete() - truth)[judged] ** 2)) < 0.55


# --- nothing to be found, and too little to tell


@pytest.mark.parametrize("shape", [(150, 8), (8, 150), (30, 30)])
@pytest.mark.parametrize("seed", range(2))
def test_noise_is_predicted_by_its_level(seed, shape):
    rng = np.random.default_rng(seed)
    truth = 3 + rng.standard_normal(shape)
    x, hidden = hide(truth, 0.2, seed)
    with pytest.warns(UserWarning, match="predicts held-out entries with"):
        model = fitted(x)
    level = np.nanmean(x, axis=0) if shape[0] >= shape[1] else np.nanmean(x, axis=1, keepdims=True)
    best = np.sqrt(np.mean((level - truth)[hidden] ** 2))
    assert np.sqrt(np.mean((model.complete() - truth)[hidden] ** 2)) < 1.06 * best


def test_a_held_out_error_is_what_hidden_entries_are_missed_by():
    truth, x, hidden = in_units(0, (300, 8))
    noisy = truth + 0.3 * np.random.default_rng(5).standard_normal(truth.shape)
    model = fitted(x + 5)
    assert model.held_out_rmse_ == pytest.approx(
        np.sqrt(np.mean((model.complete() - 5 - noisy)[hidden] ** 2)), rel=0.15
    )
    assert model.column_errors_.shape == (8,)
    assert np.sqrt(np.mean(model.column_errors_**2)) == pytest.approx(model.held_out_rmse_, rel=0.2)


@pytest.mark.parametrize("shape", [(120, 8), (40, 30)])
def test_without_held_out_entries_a_table_is_fitted_carefully(shape):
    truth, x, _ = in_units(0, shape)
    model = fitted((x + 5) * 10.0 ** (np.arange(shape[1]) % 5), validation_fraction=0)
    assert model.scale_ == "columns"
    assert np.isnan(model.held_out_rmse_)
    assert np.isnan(model.column_errors_).all()
    assert all(h["held_out_error"] is None for h in model.history_)
    found = model.complete() / 10.0 ** (np.arange(shape[1]) % 5) - 5
    assert against_means(found, truth, x) < 0.8


def test_without_held_out_entries_a_matrix_is_no_wider_than_they_carry():
    problem = datasets.planted((40, 30), 2, 0.5, noise=0.1)
    model = MatrixCompletion(validation_fraction=0).fit(problem.observations)
    assert model.scale_ == "none"
    assert model.rank_ * (70 - model.rank_) < problem.observations.n_observed
    assert np.isfinite(model.complete()).all()


@pytest.mark.parametrize(("scale", "level"), [("auto", None), ("columns", True)])
def test_a_handful_of_entries_leave_a_finite_model(scale, level):
    x = np.array([[1.0, 20, np.nan], [2, np.nan, 310], [np.nan, 19, 290], [1.5, 21, 305]])
    model = fitted(x, scale=scale)
    found = model.complete()
    assert np.isfinite(found).all()
    assert (np.abs(found - np.nanmean(x, axis=0)) < 3 * np.nanmean(x, axis=0)).all()
    assert np.isnan(model.held_out_rmse_) or model.held_out_rmse_ >= 0


# --- pieces


def test_transposed_is_the_transpose():
    x, _ = hide(np.arange(1.0, 31).reshape(6, 5), 0.3, 0)
    found, expected = transposed(observe(x)), observe(x.T)
    assert found.shape == (5, 6)
    for name in ("rows", "cols", "values"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_a_submatrix_is_numbered_anew():
    x, _ = hide(np.arange(1.0, 31).reshape(6, 5), 0.3, 0)
    rows, cols = np.arange(6) % 2 == 0, np.arange(5) != 1
    whole, expected = observe(x), observe(x[np.ix_(rows, cols)])
    found, keep = submatrix(whole, rows, cols)
    assert found.shape == (3, 4)
    for name in ("rows", "cols", "values"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_array_equal(whole.values[keep], expected.values)
