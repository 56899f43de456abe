"""How well are gaps of real tables filled, by what is at hand today and by this library with its defaults?

Seven tables, each column in its own units: entries are hidden at random (10, 30 and 50 %, five draws), and an imputer
is judged by the root mean square error on them over the column's spread, averaged over columns: 1 is what the mean of a
column reaches. Where others need standardised columns, they get them, by the mean and spread of what is left; their
figures are those in the data's own units again. The library is given the table as it is.
"""

import time
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
import scipy.io
from sklearn import datasets as bundled
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer

import dmc
from _harness import data_folder, main, record

SHARES, SEEDS, TREES_SEEDS = (0.1, 0.3, 0.5), range(5), range(2)

Table = np.ndarray
Imputer = Callable[[Table], Table]


def tables() -> dict[str, Table]:
    """Every table, NaN where even the truth is missing."""
    folder = data_folder()
    penguins = pd.read_csv(folder / "tables" / "penguins.csv").select_dtypes("number")
    air = pd.read_csv(folder / "tables" / "air_quality.csv").select_dtypes("number").iloc[:3000]
    metro = scipy.io.loadmat(folder / "tensors" / "hangzhou_metro.mat")["tensor"].astype(float)
    return {
        "iris": bundled.load_iris().data,
        "wine": bundled.load_wine().data,
        "diabetes": bundled.load_diabetes(scaled=False).data,
        "breast cancer": bundled.load_breast_cancer().data,
        "penguins": penguins.to_numpy(float),
        "air quality": air.mask(air == -200).to_numpy(float),
        "Hangzhou metro": metro.reshape(len(metro), -1).T[:800, :40],  # the first 800 times, at 40 stations
    }


def hide(truth: Table, share: float, seed: int) -> tuple[np.ndarray, Table]:
    hidden = (np.random.default_rng(seed).random(truth.shape) < share) & np.isfinite(truth)
    return hidden, np.where(hidden, np.nan, truth)


def error(filled: Table, truth: Table, hidden: np.ndarray) -> float:
    """In spreads of the columns, averaged over them."""
    spread = np.nanstd(truth, axis=0)
    missed = np.where(hidden, filled - truth, np.nan) / spread
    return float(np.mean(np.sqrt(np.nanmean(np.square(missed[:, hidden.any(axis=0)]), axis=0))))


def means(X: Table) -> Table:
    return np.broadcast_to(np.nanmean(X, axis=0), X.shape)


def standardised(imputer: Imputer) -> Imputer:
    def impute(X: Table) -> Table:
        level, spread = np.nanmean(X, axis=0), np.nanstd(X, axis=0)
        spread = np.where(spread > 0, spread, 1)
        return imputer((X - level) / spread) * spread + level

    return impute


def soft_impute(X: Table, max_steps: int = 200) -> Table:
    """Mazumder, Hastie & Tibshirani, 2010; of ten shrinkages the one that predicts a held-out tenth best."""
    seen = np.isfinite(X)
    held_out = seen & (np.random.default_rng(12_345).random(X.shape) < 0.1)  # not the draws of `hide`
    largest = np.linalg.norm(np.where(seen, X, 0), 2)
    shrinkages = largest * np.logspace(-0.2, -2.5, 10)

    def path(mask: np.ndarray) -> list[Table]:
        completed, found = np.zeros_like(X), []
        for shrinkage in shrinkages:
            for _ in range(max_steps):
                P, s, Qt = np.linalg.svd(np.where(mask, X, completed), full_matrices=False)
                before, completed = completed, (P * np.maximum(s - shrinkage, 0)) @ Qt
                if np.linalg.norm(completed - before) <= 1e-4 * np.linalg.norm(completed):
                    break
            found.append(completed)
        return found

    errors = [np.mean((filled - X)[held_out] ** 2) for filled in path(seen & ~held_out)]
    return path(seen)[int(np.argmin(errors))]


def ours(X: Table, seed: int = 0) -> Table:
    return dmc.MatrixCompletion(random_state=seed).fit(X).complete()


CONTENDERS: dict[str, Imputer] = {
    "MatrixCompletion()": ours,
    "mean": means,
    "KNNImputer": standardised(lambda X: KNNImputer().fit_transform(X)),
    "IterativeImputer": standardised(lambda X: IterativeImputer(random_state=0).fit_transform(X)),
    "soft-impute, tuned": standardised(soft_impute),
    "IterativeImputer, trees": standardised(
        lambda X: IterativeImputer(
            ExtraTreesRegressor(n_estimators=10, random_state=0), random_state=0, max_iter=5
        ).fit_transform(X)
    ),
}


def compared() -> None:
    """Seven tables, 10 to 50 % hidden: this library beside means, neighbours, regressions, trees and soft-impute."""
    warnings.simplefilter("ignore")  # of those that did not converge; their figures show it
    for name, truth in tables().items():
        for label, imputer in CONTENDERS.items():
            errors, seconds = {}, []
            for share in SHARES:
                drawn = []
                for seed in TREES_SEEDS if "trees" in label else SEEDS:
                    hidden, X = hide(truth, share, seed)
                    began = time.perf_counter()
                    filled = imputer(X)
                    seconds.append(time.perf_counter() - began)
                    drawn.append(error(filled, truth, hidden))
                errors[f"{share:.0%}"] = [round(e, 4) for e in drawn]
            shape = f"{truth.shape[0]} × {truth.shape[1]}"
            record("tables", f"{name} | {label}", shape=shape, errors=errors, seconds=float(np.median(seconds)))


def seeds() -> None:
    """The seven tables, 30 % hidden: how much the error depends on random_state, and what 90 % intervals cover."""
    warnings.simplefilter("ignore")
    for name, truth in tables().items():
        hidden, X = hide(truth, 0.3, 0)
        rows, cols = np.nonzero(hidden)
        errors, covered = [], []
        for seed in range(5):
            model = dmc.MatrixCompletion(random_state=seed).fit(X)
            errors.append(error(model.complete(), truth, hidden))
            predicted, deviation = model.predict(rows, cols, return_std=True)
            covered.append(float(np.mean(np.abs(predicted - truth[hidden]) <= 1.6449 * deviation)))
        spread = (max(errors) - min(errors)) / np.mean(errors)
        record("tables", f"seeds | {name}", errors=errors, spread=float(spread), coverage=float(np.mean(covered)))


def large() -> None:
    """10,000 × 50 with 30 % missing, and 20,000 new rows of 40 columns: seconds, beside IterativeImputer."""
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    for m, n in ((10_000, 50), (20_000, 40)):
        loadings = rng.standard_normal((n, 8)) * 0.8 ** np.arange(8)
        truth = rng.standard_normal((m, 8)) @ loadings.T + 0.5 * rng.standard_normal((m, n))
        truth = truth * 10 ** rng.uniform(-2, 3, n) + 100 * rng.standard_normal(n)
        hidden, X = hide(truth, 0.3, 0)
        if m == 10_000:
            ours(X[:500])  # what is imported and compiled at first use
            for label in ("MatrixCompletion()", "IterativeImputer"):
                began = time.perf_counter()
                filled = CONTENDERS[label](X)
                seconds = time.perf_counter() - began
                record("tables", f"large | {label}", seconds=seconds, error=error(filled, truth, hidden))
            continue
        model = dmc.MatrixCompletion().fit(X[:2000])
        began = time.perf_counter()
        filled = model.transform(X)
        record(
            "tables",
            "large | transform",
            seconds=time.perf_counter() - began,
            error=error(filled, truth, hidden),
            rank=model.rank_,
        )


RUNS = {"tables": compared, "table-seeds": seeds, "large-table": large}

if __name__ == "__main__":
    main(RUNS)
