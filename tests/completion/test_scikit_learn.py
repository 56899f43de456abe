"""MatrixCompletion among scikit-learn's tools: its own checks, searches, pipelines, processes, configuration."""

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from joblib import Parallel, delayed, parallel_config
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import dmc
from dmc import MatrixCompletion, datasets

# Each check that may be skipped, and why.
SKIPPED = {
    "check_array_api_input": "wants SCIPY_ARRAY_API set before SciPy is imported: run so, in its own process, below",
}


@pytest.fixture(scope="module")
def matrix() -> np.ndarray:
    """(90, 40) of rank 3, 60 % observed, with noise of a tenth."""
    planted = datasets.planted((90, 40), 3, 0.6, noise=0.1, seed=3)
    return np.where(seen(planted), planted.observations.to_scipy().toarray(), np.nan)


def seen(planted: datasets.Planted) -> np.ndarray:
    mask = np.zeros(planted.observations.shape, bool)
    mask[planted.observations.rows, planted.observations.cols] = True
    return mask


# --- its own checks


@pytest.mark.filterwarnings("ignore")  # the checks give one column, noise, zeros: of which a fit rightly warns
@pytest.mark.parametrize("settings", [{}, {"rank": 1, "depth": 0, "validation_fraction": 0.0}])
def test_the_estimator_checks(settings):
    results = check_estimator(MatrixCompletion(**settings), on_skip=None, on_fail=None)
    failed = [(r["check_name"], r["exception"]) for r in results if r["status"] not in ("passed", "skipped")]
    assert not failed
    assert {r["check_name"] for r in results if r["status"] == "skipped"} <= set(SKIPPED)
    assert len(results) > 45


CHECKS_WITH_ARRAY_API = """
import json, warnings
warnings.simplefilter("ignore")
from sklearn.utils.estimator_checks import check_estimator
from dmc import MatrixCompletion
results = check_estimator(MatrixCompletion(), on_skip=None, on_fail=None)
print(json.dumps({r["check_name"]: r["status"] for r in results}))
"""


def test_the_checks_that_want_another_process():
    command = [sys.executable, "-c", CHECKS_WITH_ARRAY_API]
    run = subprocess.run(
        command, env={**os.environ, "SCIPY_ARRAY_API": "1"}, capture_output=True, text=True, check=True
    )
    statuses = json.loads(run.stdout.splitlines()[-1])
    assert {statuses[name] for name in SKIPPED if name in statuses} <= {"passed"}
    assert set(statuses.values()) == {"passed"}


# --- the score


def test_score_is_the_error_on_entries_that_were_held_out(matrix):
    """Near the noise for new rows of the same kind, and near what the truth behind the gaps says."""
    planted = datasets.planted((300, 40), 3, 0.6, noise=0.1, seed=3)
    X = np.where(seen(planted), planted.observations.to_scipy().toarray(), np.nan)
    model = MatrixCompletion().fit(X[:200])
    truth = (planted.A @ planted.B.T)[200:]
    gaps = np.isnan(X[200:])
    spread = np.nanstd(X[:200], axis=0)
    error = np.sqrt(np.mean(((model.transform(X[200:]) - truth) / spread)[gaps] ** 2))
    score = model.score(X[200:])
    assert isinstance(score, float)
    noise = 0.1 * np.sqrt(np.mean(spread**-2.0))
    assert -score == pytest.approx(np.hypot(error, noise), rel=0.15)  # held-out entries have noise, the truth has none


def test_score_by_hand():
    """Rows that are multiples of one: each entry follows from any other of its row, but not from itself."""
    column = np.arange(1.0, 6)
    table = np.outer(np.linspace(-1, 1, 30), column)
    model = MatrixCompletion().fit(table)
    assert model.score([[2, 4, np.nan, 8, 10]]) == pytest.approx(0, abs=1e-9)
    alone = model.score([[np.nan, 3, np.nan, np.nan, np.nan]])  # nothing left: the average row, which is zero
    assert alone == pytest.approx(-3 / table[:, 1].std(), abs=1e-9)


def test_score_repeats_and_depends_on_no_unit(matrix):
    """Of one column in another unit neither: else it alone would choose in a search."""
    model = MatrixCompletion(6).fit(matrix[:60])
    score = model.score(matrix[60:])
    assert model.score(matrix[60:]) == score < 0
    assert MatrixCompletion(6).fit(1000 * matrix[:60]).score(1000 * matrix[60:]) == pytest.approx(score)
    units = np.where(np.arange(40) == 3, 1e6, 1.0)
    columns = MatrixCompletion(6, scale="columns").fit(matrix[:60]).score(matrix[60:])
    mapped = MatrixCompletion(6, scale="columns").fit(units * matrix[:60] + 7).score(units * matrix[60:] + 7)
    assert mapped == pytest.approx(columns, rel=1e-6)


def test_score_tells_a_good_model_from_a_bad_one(matrix):
    good, bad = (MatrixCompletion(rank).fit(matrix[:60]).score(matrix[60:]) for rank in (3, 2))
    assert good > 0.5 * bad
    assert good < -0.05


@pytest.mark.parametrize(
    "kind",
    [
        np.ma.masked_invalid,
        pd.DataFrame,
        torch.from_numpy,
        dmc.observe,
        lambda X: sparse.csr_array((X[~np.isnan(X)], np.nonzero(~np.isnan(X))), shape=X.shape),
    ],
    ids=["masked", "pandas", "torch", "observations", "csr"],
)
def test_score_of_every_kind_of_input(kind, matrix):
    model = MatrixCompletion(6).fit(matrix[:60])
    assert model.score(kind(matrix[60:])) == pytest.approx(model.score(matrix[60:]), rel=1e-12)


def test_score_heeds_the_mask(matrix):
    model, rows = MatrixCompletion(6).fit(matrix[:60]), matrix[60:]
    masked = model.score(np.nan_to_num(rows, nan=99.0), mask=~np.isnan(rows))
    assert masked == model.score(rows)


def test_score_of_fully_observed_and_of_empty_rows(matrix):
    model = MatrixCompletion(6).fit(matrix[:60])
    rows = np.vstack([model.transform(matrix[60:]), np.full((2, 40), np.nan)])
    assert model.score(rows) == pytest.approx(model.score(rows[:-2]))
    with pytest.raises(ValueError, match="none of the 80 entries of X is observed"):
        model.score(rows[-2:])


# --- prediction of whole rows


def test_predict_of_a_matrix_folds_its_rows_in(matrix):
    """Where nothing was observed it agrees with `transform`; what was observed is smoothed too."""
    model, rows = MatrixCompletion(6).fit(matrix[:60]), matrix[60:]
    predicted, imputed, gaps = model.predict(rows), model.transform(rows), np.isnan(rows)
    np.testing.assert_array_equal(predicted[gaps], imputed[gaps])
    assert not np.array_equal(predicted[~gaps], imputed[~gaps])
    assert isinstance(model.predict(torch.from_numpy(rows)), torch.Tensor)
    with pytest.raises(TypeError, match=r"X is sparse and predict\(X\) would return every position"):
        model.predict(sparse.csr_array(np.nan_to_num(rows)))


# --- searches and pipelines


def test_grid_search_finds_the_rank(matrix):
    search = GridSearchCV(MatrixCompletion(), {"rank": [2, 3]}, cv=3).fit(matrix)
    assert search.best_params_ == {"rank": 3}
    assert search.best_score_ == pytest.approx(-0.12, abs=0.04)
    assert search.score(matrix) <= 0
    assert search.transform(matrix).shape == matrix.shape
    again = GridSearchCV(MatrixCompletion(), {"rank": [2, 3]}, cv=3).fit(matrix)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], again.cv_results_["mean_test_score"])


def test_grid_search_over_a_pipeline(matrix):
    pipeline = make_pipeline(StandardScaler(), MatrixCompletion())
    search = GridSearchCV(pipeline, {"matrixcompletion__rank": [2, 4]}, cv=3).fit(matrix)
    assert search.best_params_ == {"matrixcompletion__rank": 4}
    assert search.best_estimator_.score(matrix) < 0
    assert np.isfinite(search.best_estimator_.predict(matrix)).all()


def test_before_a_regression_that_wants_no_gaps(matrix):
    X = np.where(np.isnan(matrix), 0, matrix)
    target = X[:, :5].sum(axis=1)
    scores = cross_val_score(make_pipeline(MatrixCompletion(6), Ridge()), matrix, target, cv=3)
    assert scores.shape == (3,)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_several_jobs_give_the_same(backend, matrix):
    alone = cross_val_score(MatrixCompletion(6), matrix, cv=KFold(3))
    with parallel_config(backend, n_jobs=2):
        np.testing.assert_array_equal(cross_val_score(MatrixCompletion(6), matrix, cv=KFold(3)), alone)


def test_fitted_models_travel_between_processes(matrix):
    model = MatrixCompletion(6).fit(matrix)
    rows = Parallel(n_jobs=2)(delayed(model.transform)(part) for part in np.array_split(matrix, 2))
    np.testing.assert_allclose(np.vstack(rows), model.transform(matrix), rtol=1e-12)  # BLAS rounds by shape


def test_cross_val_predict(matrix):
    predicted = cross_val_predict(MatrixCompletion(6), matrix, cv=3)
    assert np.nanmean(np.abs(predicted - matrix)) < 0.1 * np.nanmean(np.abs(matrix)) + 0.1


@pytest.mark.parametrize(("output", "kind"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame)])
def test_set_output(output, kind, matrix):
    frame = pd.DataFrame(matrix, columns=[f"gene {j}" for j in range(40)])
    model = MatrixCompletion(6).set_output(transform=output)
    imputed = model.fit(frame).transform(frame)
    assert isinstance(imputed, kind)
    assert list(imputed.columns) == list(frame.columns) == list(model.feature_names_in_)


def test_part_of_the_columns(matrix):
    frame = pd.DataFrame(matrix, columns=[f"gene {j}" for j in range(40)]).assign(age=np.arange(90))
    columns = ColumnTransformer([("genes", MatrixCompletion(6), list(frame.columns[:40]))], remainder="passthrough")
    imputed = columns.set_output(transform="pandas").fit_transform(frame)
    assert list(imputed.columns)[-1] == "remainder__age"
    assert np.isfinite(imputed.to_numpy()).all()


def test_clone_and_pickle_keep_callbacks(matrix):
    model = MatrixCompletion(6, callbacks=[dmc.callbacks.TimeLimit(100)])
    twin = clone(model)
    assert not hasattr(twin, "factors_")
    assert twin.callbacks[0].seconds == 100
    fitted = pickle.loads(pickle.dumps(model.fit(matrix)))
    np.testing.assert_array_equal(fitted.predict(matrix), model.predict(matrix))
