"""MatrixCompletion finds what was planted, says what it could not, and behaves as scikit-learn expects."""

import math
import pickle
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info

import dmc
from dmc import MatrixCompletion, Status, datasets
from dmc.completion import rank_search, tuning


def relative_error(model: MatrixCompletion, truth: np.ndarray) -> float:
    return float(np.linalg.norm(model.complete() - truth) / np.linalg.norm(truth))


def truth_of(problem: datasets.Planted) -> np.ndarray:
    return problem.A @ problem.B.T


def with_nan(observations: dmc.Observations) -> np.ndarray:
    X = np.full(observations.shape, np.nan, observations.dtype)
    X[observations.rows, observations.cols] = observations.values
    return X


def stop_at(call: int, what: type[BaseException] | None = None):
    calls = 0

    def callback(info):
        nonlocal calls
        calls += 1
        if calls == call and what is not None:
            raise what
        return calls >= call

    return callback


@pytest.fixture(scope="module")
def problem() -> datasets.Planted:
    return datasets.planted((90, 60), 3, 0.45, seed=1)


@pytest.fixture(scope="module")
def fitted(problem) -> MatrixCompletion:
    return MatrixCompletion(6).fit(problem.observations)


# --- planted answers


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("condition", [1, 1e2, 1e4])
@pytest.mark.parametrize(
    ("shape", "rank", "observed"), [((60, 50), 2, 0.5), ((40, 300), 2, 0.4), ((300, 40), 2, 0.4), ((100, 90), 5, 0.5)]
)
def test_planted_recovery(shape, rank, observed, condition, dtype):
    planted = datasets.planted(shape, rank, observed, condition=condition)
    data = planted.observations.with_values(planted.observations.values.astype(dtype))
    model = MatrixCompletion(2 * rank + 1).fit(data)
    assert model.rank_ == rank
    assert model.status_ is Status.CONVERGED
    assert model.complete().dtype == dtype
    assert relative_error(model, truth_of(planted)) < 20 * np.finfo(dtype).eps
    assert model.residual_rms_ < 20 * np.finfo(dtype).eps  # a typical entry of the data is 1


@pytest.mark.parametrize("bound", [3, 4, 13, 60, None])
def test_the_bound_need_not_be_exact(bound, problem):
    model = MatrixCompletion(bound).fit(problem.observations)
    assert model.rank_ == 3
    assert relative_error(model, truth_of(problem)) < 1e-13


@pytest.mark.parametrize("seed", range(6))
def test_rank_is_found_whatever_the_draw(seed):
    """Directions come one or two at a time; one too many, a rounding error high, is not part of the rank found."""
    planted = datasets.planted((80, 60), 2, 0.4, seed=seed)
    model = MatrixCompletion(4).fit(planted.observations)
    assert relative_error(model, truth_of(planted)) < 1e-10
    assert model.rank_ == 2
    assert model.factors_.width == 2


@pytest.mark.parametrize("settings", [{"depth": 0}, {"depth": 1}, {"depth": 5}, {"validation_fraction": 0.0}])
def test_other_settings_find_the_same(settings, problem):
    model = MatrixCompletion(6, **settings).fit(problem.observations)
    assert model.rank_ == 3
    assert relative_error(model, truth_of(problem)) < 1e-12


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e-6, 1e6, 1e30, 1e300])
def test_scale_free(scale, problem, fitted):
    model = MatrixCompletion(6).fit(problem.observations.with_values(problem.observations.values * scale))
    assert model.rank_ == fitted.rank_
    np.testing.assert_allclose(model.complete() / scale, fitted.complete(), rtol=0, atol=1e-13)
    assert model.residual_rms_ / scale < 1e-13


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e30])
def test_scale_free_in_float32(scale, problem, fitted):
    model = MatrixCompletion(6).fit(
        problem.observations.with_values((problem.observations.values * scale).astype(np.float32))
    )
    assert model.rank_ == fitted.rank_
    np.testing.assert_allclose(model.complete().astype(float) / scale, fitted.complete(), rtol=0, atol=5e-6)


@pytest.mark.parametrize(("scale", "rank"), [("auto", 3), ("columns", 3), ("none", 4)])
@pytest.mark.parametrize("bound", [6, None])
def test_a_shift_is_a_level_or_one_more_rank(bound, scale, rank, problem):
    shifted = problem.observations.with_values(problem.observations.values + 1000)
    model = MatrixCompletion(bound, scale=scale).fit(shifted)
    assert (model.rank_, model.scale_) == (rank, "none" if scale == "none" else "columns")
    np.testing.assert_allclose(model.complete(), truth_of(problem) + 1000, rtol=0, atol=1e-9)


def oracle(planted: datasets.Planted, sweeps: int = 25) -> np.ndarray:
    """Alternating least squares from the truth: what anybody could reach who knows rank and subspaces beforehand."""
    X = with_nan(planted.observations)
    seen = ~np.isnan(X)
    U, V = planted.A.copy(), planted.B.copy()
    for _ in range(sweeps):
        U = np.stack([np.linalg.lstsq(V[w], x[w], rcond=None)[0] for x, w in zip(X, seen, strict=True)])
        V = np.stack([np.linalg.lstsq(U[w], x[w], rcond=None)[0] for x, w in zip(X.T, seen.T, strict=True)])
    return U @ V.T


@pytest.mark.parametrize("noise", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_noise(noise, seed):
    planted = datasets.planted((120, 90), 3, 0.5, noise=noise, seed=seed)
    model = MatrixCompletion().fit(planted.observations)
    truth = truth_of(planted)
    best = np.linalg.norm(oracle(planted) - truth) / np.linalg.norm(truth)
    assert relative_error(model, truth) < 1.15 * best
    if noise < 1:  # in as much noise as signal some more directions, shrunken, predict better than the right number
        assert model.rank_ == 3


def test_the_same_seed_repeats_bit_for_bit(problem):
    noisy = problem.observations.with_values(
        problem.observations.values + 0.1 * np.random.default_rng(0).standard_normal(problem.observations.n_observed)
    )
    first, second = (MatrixCompletion(random_state=4).fit(noisy) for _ in range(2))
    np.testing.assert_array_equal(first.factors_.U, second.factors_.U)
    np.testing.assert_array_equal(first.factors_.V, second.factors_.V)
    assert first.n_iter_ == second.n_iter_
    other = MatrixCompletion(random_state=np.random.default_rng(5)).fit(noisy)
    assert not np.array_equal(first.complete(), other.complete())  # a seed that changes nothing would not be used


def test_history_and_counts(problem, fitted):
    assert [h["phase"] for h in fitted.history_] == ["path", "polish"]  # exact: nothing had to be held out
    assert all(set(h) == {"phase", "width", "n_steps", "value", "held_out_error", "seconds"} for h in fitted.history_)
    assert sum(h["n_steps"] for h in fitted.history_) == fitted.n_iter_
    seconds = [h["seconds"] for h in fitted.history_]
    assert seconds == sorted(seconds)
    assert all(h["held_out_error"] is None for h in fitted.history_)
    assert fitted.history_[-1]["value"] < 1e-25
    residual = fitted.complete()[problem.observations.rows, problem.observations.cols] - problem.observations.values
    assert fitted.residual_rms_ == pytest.approx(np.sqrt(np.mean(residual**2)), abs=1e-15)


def test_predict_is_complete_entry_by_entry(fitted, rng):
    rows, cols = rng.integers(0, 90, 200), rng.integers(0, 60, 200)
    np.testing.assert_allclose(fitted.predict(rows, cols), fitted.complete()[rows, cols], atol=1e-14)


def test_blas_stays_on_one_thread(problem, monkeypatch):
    """Its thin products and decompositions gain nothing by threads, and on a busy machine they stall: the
    photograph of the demo took 280 s in place of 22 beside another process, all of it in multi-threaded QR.
    """

    def threads() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    seen = []

    def watched(function):
        def call(*arguments, **settings):
            seen.append(max(threads()))
            return function(*arguments, **settings)

        return call

    before = threads()
    for name in ("qr", "svd", "eigvalsh"):
        monkeypatch.setattr(np.linalg, name, watched(getattr(np.linalg, name)))
    MatrixCompletion(6).fit(problem.observations)
    assert seen
    assert set(seen) == {1}
    assert threads() == before


# --- edges of what a matrix can be


@pytest.mark.parametrize("bound", [3, None])
def test_fully_observed(bound, problem):
    model = MatrixCompletion(bound).fit(truth_of(problem))
    assert model.rank_ == 3
    assert relative_error(model, truth_of(problem)) < 1e-13


@pytest.mark.parametrize("shape", [(5, 6), (1, 7), (7, 1), (1, 1)])
def test_all_zeros(shape):
    model = MatrixCompletion().fit(np.zeros(shape))
    assert model.rank_ == 0
    assert model.residual_rms_ == 0
    assert model.status_ is Status.CONVERGED
    np.testing.assert_array_equal(model.complete(), np.zeros(shape))
    np.testing.assert_array_equal(model.predict([0], [0]), [0])
    missing = np.full((2, shape[1]), np.nan)
    missing[0, 0] = 5
    imputed = np.zeros((2, shape[1]))
    imputed[0, 0] = 5
    np.testing.assert_array_equal(model.transform(missing), imputed)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (1, 200), (2, 2), (2, 30)])
def test_small_matrices_of_rank_one(shape, seed):
    """Four draws, so that both signs occur: a network one wide cannot pass through zero to the other sign."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((shape[0], 1)) @ rng.standard_normal((1, shape[1]))
    model = MatrixCompletion().fit(X)
    assert model.rank_ == 1
    np.testing.assert_allclose(model.complete(), X, rtol=1e-9, atol=1e-12)


def test_no_entry_can_be_held_out():
    """A tree of entries: each is the only link of its row to its column, and just one matrix of rank one holds them."""
    rng = np.random.default_rng(0)
    X = np.outer(rng.uniform(0.5, 2, 12), rng.uniform(0.5, 2, 12))
    linked = np.eye(12, dtype=bool) | np.eye(12, k=1, dtype=bool)
    model = MatrixCompletion().fit(X, mask=linked)
    assert model.rank_ == 1
    np.testing.assert_allclose(model.complete(), X, rtol=1e-9)


def test_entries_that_share_nothing_leave_a_finite_model():
    values = np.linspace(-2, 3, 60)
    with pytest.warns(UserWarning, match="60 blocks that share no entry: predictions there are guesses"):
        model = MatrixCompletion().fit(np.where(np.eye(60) == 1, values, np.nan))
    assert model.status_ is Status.UNDETERMINED
    known = ~np.isnan(model.complete(unknown=np.nan))
    np.testing.assert_array_equal(known, np.eye(60) == 1)
    assert all(h["held_out_error"] is None for h in model.history_)
    assert np.isfinite(model.complete()).all()
    assert model.residual_rms_ < np.sqrt(np.mean(values**2))


@pytest.mark.parametrize("value", [-3.0, 7.0])
def test_one_entry_of_many(value):
    X = np.full((4, 5), np.nan)
    X[1, 2] = value
    with pytest.warns(UserWarning, match="3 of 4 rows and 4 of 5 columns have no observed entry"):
        model = MatrixCompletion().fit(X)
    np.testing.assert_allclose(model.complete(), np.full((4, 5), value))


def test_one_row_with_a_gap_gets_the_average():
    with pytest.warns(UserWarning, match="1 of 4 columns"):
        model = MatrixCompletion().fit([[1.0, np.nan, 3.0, 5.0]])
    np.testing.assert_allclose(model.complete(), [[1, 3, 3, 5]])


def test_empty_rows_and_columns_get_the_average_of_the_others(problem):
    X = with_nan(problem.observations)
    X[[3, 7]] = np.nan
    X[:, 5] = np.nan
    with pytest.warns(UserWarning, match=r"2 of 90 rows and 1 of 60 columns .* average of the others") as caught:
        model = MatrixCompletion(6).fit(X)
    assert caught[0].filename == __file__  # the user's line, not one of ours
    found = model.complete()
    rows, cols = np.delete(np.arange(90), [3, 7]), np.delete(np.arange(60), 5)
    inner = np.ix_(rows, cols)
    np.testing.assert_allclose(found[inner], truth_of(problem)[inner], atol=1e-12)
    np.testing.assert_allclose(found[3], found[rows].mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(found[:, 5], found[:, cols].mean(axis=1), atol=1e-12)


def test_nothing_dense_is_formed_unless_asked_for():
    """Half a million by half a million, of which `complete` cannot be had; single entries can."""
    n = 500_000
    places = np.arange(0, n, 1000)
    row, column = np.zeros_like(places), places  # the first row, and below its first entry the first column
    ends = np.concatenate([row, places[1:]]), np.concatenate([column, row[1:]])
    data = dmc.Observations.from_entries(*ends, np.linspace(1, 2, 999), (n, n))
    with pytest.warns(UserWarning, match="499,500 of 500,000 rows and 499,500 of 500,000 columns"):
        model = MatrixCompletion(1, callbacks=[stop_at(1)]).fit(data)
    assert np.isfinite(model.predict([5, n - 1], [7, 0])).all()
    with pytest.raises(MemoryError, match=r"500000×500000 matrix would take 1,863 GiB .*; ask for the entries"):
        model.complete()


def test_lines_in_use_may_lie_far_apart(problem, fitted):
    """Empty lines between the others change nothing for those."""
    rows, cols = 7 * np.arange(90), 11 * np.arange(60) + 3
    o = problem.observations
    data = dmc.Observations.from_entries(rows[o.rows], cols[o.cols], o.values, (700, 700))
    with pytest.warns(UserWarning, match="610 of 700 rows and 640 of 700 columns"):
        model = MatrixCompletion(6).fit(data)
    assert model.rank_ == 3
    np.testing.assert_allclose(model.complete()[np.ix_(rows, cols)], truth_of(problem), atol=1e-12)


# --- input of every kind


@pytest.mark.parametrize(
    "kind",
    [
        lambda X: X,
        lambda X: X.tolist(),
        np.ma.masked_invalid,
        pd.DataFrame,
        torch.from_numpy,
        lambda X: sparse.csr_array((X[~np.isnan(X)], np.nonzero(~np.isnan(X))), shape=X.shape),
        lambda X: sparse.coo_matrix((X[~np.isnan(X)], np.nonzero(~np.isnan(X))), shape=X.shape),
    ],
    ids=["array", "list", "masked", "pandas", "torch", "csr", "coo"],
)
def test_inputs_of_every_kind_agree(kind, problem, fitted):
    model = MatrixCompletion(6).fit(kind(with_nan(problem.observations)))
    completed, tensors = model.complete(), kind is torch.from_numpy  # by torch, which rounds in another order
    assert isinstance(completed, torch.Tensor) == tensors
    np.testing.assert_allclose(completed, fitted.complete(), rtol=0, atol=1e-12 if tensors else 0)


def test_a_mask_says_what_is_observed(problem, fitted):
    X = with_nan(problem.observations)
    model = MatrixCompletion(6).fit(np.where(np.isnan(X), 99, X), mask=~np.isnan(X))
    np.testing.assert_array_equal(model.complete(), fitted.complete())


def test_missing_values_of_a_nullable_frame(problem, fitted):
    """pandas' own mark of what is missing, pd.NA, means what NaN means."""
    frame = pd.DataFrame(with_nan(problem.observations)).convert_dtypes()
    assert frame.isna().to_numpy().any()
    np.testing.assert_array_equal(MatrixCompletion(6).fit(frame).complete(), fitted.complete())


# --- what is refused


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"rank": 0}, ValueError, "rank is 0; it has to be from 1 to 60: a 90×60 matrix"),
        ({"rank": 61}, ValueError, "rank is 61; it has to be from 1 to 60"),
        ({"rank": -1}, ValueError, "rank is -1"),
        ({"rank": True}, TypeError, "rank is True; give a whole number"),
        ({"rank": 2.0}, TypeError, "rank is 2.0; give a whole number"),
        ({"rank": "3"}, TypeError, "rank is '3'"),
        ({"depth": -1}, ValueError, "depth is -1; it has to be at least 0"),
        ({"depth": 1.5}, TypeError, "depth is 1.5"),
        ({"validation_fraction": -0.1}, ValueError, "validation_fraction is -0.1; it has to be between 0 and 0.5"),
        ({"validation_fraction": 0.6}, ValueError, "validation_fraction is 0.6"),
        ({"validation_fraction": np.nan}, ValueError, "validation_fraction is nan"),
        ({"random_state": "x"}, TypeError, "random_state"),
        ({"random_state": -1}, ValueError, "random_state"),
        ({"callbacks": [3]}, TypeError, "callback"),
        ({"callbacks": lambda info: False}, TypeError, "callbacks"),
    ],
)
def test_settings_that_make_no_sense(settings, error, message, problem):
    with pytest.raises(error, match=re.escape(message)):
        MatrixCompletion(**settings).fit(problem.observations)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (np.zeros((0, 5)), ValueError, "X has shape (0, 5); give at least one row and one column"),
        (np.full((3, 3), np.nan), ValueError, "none of the 9 entries of X is observed"),
        (sparse.csr_array((3, 3)), ValueError, "X (3×3, sparse) stores no entry"),
        (np.ones(5), ValueError, "X has shape (5,); give a matrix"),
        (np.ones((2, 2, 2)), ValueError, "X has shape (2, 2, 2); give a matrix"),
        ([[1, np.inf]], ValueError, "X holds 1 infinite value, the first (inf) at row 0, column 1"),
        ([["a", 1]], TypeError, "X holds 'a', which is not a number"),
        (pd.DataFrame({"a": ["x", "y"], "b": [1, 2]}), TypeError, "column 'a' holds 'x', which is not a number"),
        (np.ones((2, 2), complex), ValueError, "X has dtype complex128"),
        (None, ValueError, "give a matrix"),
        ([[1, 2], [3]], ValueError, "X"),
    ],
)
def test_data_that_cannot_be_used(X, error, message):
    with pytest.raises(error, match=re.escape(message)):
        MatrixCompletion().fit(X)


@pytest.mark.parametrize(
    ("rows", "cols", "message"),
    [
        ([90], [0], "row index 90 is out of range for 90 rows"),
        ([-1], [0], "row index -1 is out of range"),
        ([0], [60], "column index 60 is out of range for 60 columns"),
        ([1.5], [0], "row indices hold 1.5, which is not a whole number"),
        ([1, 2], [0], "rows has 2, cols has 1"),
    ],
)
def test_pairs_that_cannot_be_predicted(rows, cols, message, fitted):
    with pytest.raises(ValueError, match=re.escape(message)):
        fitted.predict(rows, cols)


# --- how a fit ends


@pytest.mark.parametrize("call", [5, 10])
def test_a_callback_ends_the_fit_with_what_was_reached(call, problem):
    model = MatrixCompletion(6, callbacks=[stop_at(call)]).fit(problem.observations)
    assert model.status_ is Status.STOPPED
    assert model.n_iter_ <= call - 1
    assert np.isfinite(model.complete()).all()
    assert relative_error(model, truth_of(problem)) < 1 + 1e-6  # never worse than to predict zero


def test_time_limit_spans_the_phases(problem):
    """Counted from the fit's first step and not anew in each phase: with no time left not one step is taken."""
    model = MatrixCompletion(6, callbacks=[dmc.callbacks.TimeLimit(0)]).fit(problem.observations)
    assert model.status_ is Status.STOPPED
    assert model.n_iter_ == 0
    assert len(model.history_) == 1


@pytest.mark.parametrize("call", [5, 10])
def test_ctrl_c_leaves_a_usable_model(call, problem):
    model = MatrixCompletion(6, callbacks=[stop_at(call, KeyboardInterrupt)])
    with pytest.warns(UserWarning, match=r"interrupted after \d+ steps: the model holds what was reached"):
        model.fit(problem.observations)
    assert model.status_ is Status.STOPPED
    assert relative_error(model, truth_of(problem)) < 1
    assert model.transform(with_nan(problem.observations)).shape == (90, 60)


def test_an_unfinished_fit_warns(monkeypatch, problem):
    monkeypatch.setattr(tuning, "RANK_SEARCH", replace(tuning.RANK_SEARCH, polish_steps=1))
    with pytest.warns(ConvergenceWarning, match=r"not converged after \d+ steps: .*; observe more of them"):
        model = MatrixCompletion(6, validation_fraction=0).fit(problem.observations)
    assert model.status_ is Status.MAX_STEPS


def test_overflow_is_an_error(monkeypatch, problem):
    class Explode(dmc.steps.Step):
        def init(self, problem, factors):
            return None

        def __call__(self, factors, value, grad, state):
            return factors.map(lambda a: a * np.inf), None

    monkeypatch.setattr(rank_search, "POLISH", Explode())
    with pytest.raises(FloatingPointError, match=r"the fit failed after \d+ steps: the"):
        MatrixCompletion(6).fit(problem.observations)


def test_progress_bar_only_on_request(problem, capsys):
    MatrixCompletion(6).fit(problem.observations)
    assert capsys.readouterr() == ("", "")
    MatrixCompletion(6, verbose=True).fit(problem.observations)
    assert "step" in capsys.readouterr().err


# --- imputing


def test_transform_keeps_what_was_observed_and_imputes_the_rest(problem, fitted):
    X = with_nan(problem.observations)
    imputed = fitted.transform(X)
    seen = ~np.isnan(X)
    np.testing.assert_array_equal(imputed[seen], X[seen])
    np.testing.assert_allclose(imputed, truth_of(problem), atol=1e-8)


@pytest.mark.parametrize("kind", [lambda X: X, np.ma.masked_invalid, torch.from_numpy], ids=["nan", "masked", "torch"])
def test_transform_folds_in_unseen_rows(kind, problem, fitted, rng):
    unseen = rng.standard_normal((20, 3)) @ problem.B.T
    X = np.where(rng.random(unseen.shape) < 0.3, unseen, np.nan)
    imputed = fitted.transform(kind(X))
    np.testing.assert_array_equal(imputed[~np.isnan(X)], X[~np.isnan(X)])
    np.testing.assert_allclose(imputed, unseen, atol=1e-8)


def test_transform_with_noise_is_near_ridge(rng):
    """An unseen row with few noisy entries is drawn to the average row, where plain least squares goes astray."""
    planted = datasets.planted((200, 60), 3, 0.5, noise=0.5, seed=2)
    model = MatrixCompletion(6).fit(planted.observations)
    weights = planted.A[rng.integers(0, 200, 60)]  # rows like those seen in fit
    unseen = weights @ planted.B.T
    few = np.argsort(rng.random(unseen.shape), axis=1) < 4
    X = np.where(few, unseen + 0.5 * rng.standard_normal(unseen.shape), np.nan)
    V = model.factors_.V
    plain = np.stack([V @ np.linalg.lstsq(V[w], x[w], rcond=None)[0] for x, w in zip(X, few, strict=True)])
    hidden = ~few
    ours, theirs, nothing = (
        np.sqrt(np.mean((Y - unseen)[hidden] ** 2)) for Y in (model.transform(X), plain, np.zeros_like(unseen))
    )
    assert ours < 0.8 * theirs
    assert ours < nothing


def test_transform_of_rows_without_entries_is_the_average_row(fitted):
    average = fitted.complete().mean(axis=0)
    np.testing.assert_allclose(fitted.transform(np.full((2, 60), np.nan)), [average, average], atol=1e-13)
    np.testing.assert_allclose(fitted.transform(sparse.csr_array((1, 60))), [average], atol=1e-13)


@pytest.mark.parametrize("columns", [1, 59, 61])
def test_transform_refuses_other_columns(columns, fitted):
    match = rf"X has {columns} features, but MatrixCompletion is expecting 60 features as input; give the columns of"
    with pytest.raises(ValueError, match=match):
        fitted.transform(np.ones((3, columns)))


def test_transform_keeps_float64_entries_with_a_float32_model(problem):
    X = with_nan(problem.observations)
    imputed = MatrixCompletion(6).fit(X.astype(np.float32)).transform(X)
    np.testing.assert_array_equal(imputed[~np.isnan(X)], X[~np.isnan(X)])


def test_fit_transform_heeds_the_mask(problem):
    """What the mask hides is imputed, and not handed back as if it had been observed."""
    X = with_nan(problem.observations)
    imputed = MatrixCompletion(6).fit_transform(np.where(np.isnan(X), 99, X), mask=~np.isnan(X))
    np.testing.assert_allclose(imputed, truth_of(problem), atol=1e-8)


# --- scikit-learn's manners


def test_params_and_clone():
    model = MatrixCompletion(7, depth=2, validation_fraction=0.1, random_state=3)
    expected = {
        "rank": 7,
        "scale": "auto",
        "loss": "squared",
        "min_value": None,
        "max_value": None,
        "missing_values": math.nan,
        "depth": 2,
        "validation_fraction": 0.1,
        "random_state": 3,
        "n_threads": None,
        "device": None,
        "verbose": False,
        "callbacks": (),
    }
    assert model.get_params() == clone(model).get_params() == expected
    assert model.set_params(depth=4).depth == 4
    with pytest.raises(ValueError, match="Invalid parameter 'width'"):
        model.set_params(width=3)


def test_fit_changes_no_parameter_and_no_data(problem):
    X = with_nan(problem.observations)
    before = X.copy()
    model = MatrixCompletion(6)
    assert model.fit(X) is model
    model.transform(X)
    np.testing.assert_array_equal(X, before)
    assert model.get_params() == MatrixCompletion(6).get_params()


@pytest.mark.parametrize(
    "use",
    [
        lambda m: m.predict([0], [0]),
        lambda m: m.complete(),
        lambda m: m.transform(np.ones((2, 2))),
        lambda m: m.get_feature_names_out(),
    ],
)
def test_not_fitted(use):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        use(MatrixCompletion())


def test_pickle(fitted, problem):
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.complete(), fitted.complete())
    X = with_nan(problem.observations)
    np.testing.assert_array_equal(again.transform(X), fitted.transform(X))
    assert (again.rank_, again.status_) == (fitted.rank_, fitted.status_)


def test_fit_again_forgets(problem, fitted):
    model = MatrixCompletion(2).fit(np.ones((4, 5)))
    model.set_params(rank=6).fit(problem.observations)
    np.testing.assert_array_equal(model.complete(), fitted.complete())
    assert model.n_features_in_ == 60


def test_in_a_pipeline(problem):
    """Scaled before, the completed matrix is still the truth, scaled."""
    X = with_nan(problem.observations)
    pipeline = make_pipeline(StandardScaler(with_mean=False), MatrixCompletion(6))
    imputed = pipeline.fit_transform(X)
    np.testing.assert_allclose(imputed * pipeline[0].scale_, truth_of(problem), atol=1e-7)


@pytest.mark.parametrize("piped", [False, True])
def test_data_frames_keep_their_names(piped, problem):
    X = with_nan(problem.observations)
    frame = pd.DataFrame(X, columns=[f"gene {j}" for j in range(60)], index=[f"patient {i}" for i in range(90)])
    model = MatrixCompletion(6)
    imputer = (make_pipeline(StandardScaler(with_std=False, with_mean=False), model) if piped else model).set_output(
        transform="pandas"
    )
    imputed = imputer.fit_transform(frame)
    assert isinstance(imputed, pd.DataFrame)
    assert list(imputed.index) == list(frame.index)
    np.testing.assert_allclose(imputed.to_numpy(), truth_of(problem), atol=1e-8)
    assert list(imputer.get_feature_names_out(frame.columns)) == list(frame.columns)
    assert list(imputed.columns) == list(frame.columns)


def test_names_without_names(fitted):
    assert list(fitted.get_feature_names_out()) == [f"x{j}" for j in range(60)]


# --- what cannot be known


def test_what_the_entries_cannot_determine_is_marked_and_told(problem):
    X = with_nan(problem.observations)
    X[4, np.flatnonzero(~np.isnan(X[4]))[2:]] = np.nan  # two entries, for a rank of three
    with pytest.warns(UserWarning, match="1 of 90 rows have too few entries for rank 3: predictions there are guesses"):
        model = MatrixCompletion().fit(X)
    assert model.rank_ == 3
    assert model.status_ is Status.UNDETERMINED
    assert "cannot determine the whole matrix" in str(model.status_)
    marked = model.complete(unknown=np.nan)
    assert np.isnan(marked[4]).all()
    others = np.arange(90) != 4
    np.testing.assert_allclose(marked[others], truth_of(problem)[others], atol=1e-11)
    assert np.isfinite(model.complete()).all()


def test_blocks_without_a_common_entry(problem):
    """Each is recovered; how they are to each other cannot be known."""
    X = np.full((180, 120), np.nan)
    X[:90, :60] = X[90:, 60:] = with_nan(problem.observations)
    with pytest.warns(UserWarning, match="2 blocks that share no entry"):
        model = MatrixCompletion().fit(X)
    marked = model.complete(unknown=0.0)
    for block in (marked[:90, :60], marked[90:, 60:]):  # but for a row with hardly more entries than the rank of both
        assert np.quantile(np.abs(block - truth_of(problem)), 0.98) < 1e-10
    assert not marked[:90, 60:].any()


def test_a_model_that_explains_nothing_says_so():
    rng = np.random.default_rng(0)
    with pytest.warns(UserWarning, match="predicts held-out entries with 1?[0-9][0-9]% of the error of the column"):
        MatrixCompletion().fit(np.where(rng.random((80, 80)) < 0.5, rng.standard_normal((80, 80)), np.nan))


def test_noise_in_short_rows_does_not_run_away():
    """Most rows have as many entries as the rank: exactly fitted, their noise would be blown up a hundredfold."""
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((400, 3)) @ rng.standard_normal((3, 200))
    seen = np.zeros(truth.shape, bool)
    seen[:20] = True
    for row in range(20, 400):
        seen[row, rng.choice(200, 3, replace=False)] = True
    model = MatrixCompletion().fit(np.where(seen, truth + 0.1 * rng.standard_normal(truth.shape), np.nan))
    assert np.abs(model.complete()).max() < 2 * np.abs(truth).max()
    assert relative_error(model, truth) < 0.6


def test_signal_far_below_an_offset_is_kept():
    planted = datasets.planted((200, 150), 3, 0.4, noise=0.3)
    shifted = planted.observations.with_values(planted.observations.values + 3e4)
    model = MatrixCompletion().fit(shifted)
    assert (model.rank_, model.scale_) == (3, "columns")
    truth = truth_of(planted)
    assert np.linalg.norm(model.complete() - 3e4 - truth) < 0.3 * np.linalg.norm(truth)


def test_a_rank_beyond_what_was_tried_is_told():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 60)) @ rng.standard_normal((60, 110))
    with pytest.warns(UserWarning, match="no rank above 50 was tried; give a larger bound: rank=100"):
        MatrixCompletion().fit(X)
    assert MatrixCompletion(rank=100).fit(X).rank_ == 60
