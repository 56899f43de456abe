"""
A table with gaps
=================

You have a table of measurements: rows are patients, samples or days; columns have units of their own; some cells are
empty. You want the empty cells filled in, and you want to know how far to trust what is filled in.

This tutorial takes a pandas data frame to a completed one with error bars. It needs ``pip install 'dmc[plot]' pandas``
and uses data that scikit-learn ships.
"""

import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_diabetes
from sklearn.experimental import enable_iterative_imputer  # noqa: F401  (scikit-learn asks for it)
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import dmc

# %%
# The data
# --------
#
# 442 patients with diabetes: age, body-mass index, blood pressure and six values from a blood sample (Efron et al.,
# 2004). The table is complete, so we can hide cells ourselves and check the answers later. We hide 15 % of them at
# random.

names = {
    "age": "age (years)",
    "bmi": "BMI (kg/m²)",
    "bp": "blood pressure (mmHg)",
    "s1": "cholesterol (mg/dl)",
    "s2": "LDL (mg/dl)",
    "s3": "HDL (mg/dl)",
    "s4": "cholesterol / HDL",
    "s5": "log triglycerides",
    "s6": "glucose (mg/dl)",
}
diabetes = load_diabetes(as_frame=True, scaled=False)
complete = diabetes.data[list(names)].rename(columns=names)

rng = np.random.default_rng(0)
hidden = rng.random(complete.shape) < 0.15
measured = complete.mask(hidden)
measured.head()

# %%
# Fill in the gaps
# ----------------
#
# ``fit`` reads the data frame as it is. You choose no rank, no scaling and no number of iterations: every column gets a
# level of its own and counts in units of its own spread, and entries that are held out during the fit decide how many
# directions the model needs. Concentrations cannot be negative, so we give a lower bound.

model = dmc.MatrixCompletion(min_value=0).fit(measured)
filled = model.transform(measured)  # a data frame again; measured cells are as they were
print(f"rank {model.rank_}, scaled by {model.scale_}: {model.status_}")
filled.head().round(2)

# %%
# The model knows how well it does. ``column_errors_`` is the root mean squared error on entries that were held out
# during the fit, in the units of the column. Here we know the hidden values and can compare.


def column_rmse(table):
    """Root mean squared error on the hidden cells of each column, in its units."""
    return np.sqrt(((np.asarray(table) - complete) ** 2).where(hidden).mean())


pd.DataFrame(
    {
        "expected error": model.column_errors_,
        "error on the hidden cells": column_rmse(filled),
        "error of the column mean": column_rmse(measured.fillna(measured.mean()).to_numpy()),
    },
    index=complete.columns,
).round(2)

# %%
# The blood fats determine each other closely. Age and glucose are hardly better than their means, and the expected
# error says so before you rely on them.
#
# Error bars for single cells
# ---------------------------
#
# ``predict`` takes row and column numbers. With ``return_std=True`` it also returns the standard deviation of the value
# as it would be measured: the noise of that column, and what this row's other entries leave open.

rows, cols = np.nonzero(hidden)
value, deviation = model.predict(rows, cols, return_std=True)
truth = complete.to_numpy()[rows, cols]

for name, width in (("50 %", 0.674), ("80 %", 1.282), ("90 %", 1.645), ("95 %", 1.960)):
    inside = np.abs(truth - value) < width * deviation
    print(f"the {name} interval holds {inside.mean():.1%} of the {len(truth)} hidden values")

# %%
# The intervals hold about as many of the hidden values as they promise. Here are those of one column: most are narrow,
# because the other blood fats of the same patient leave little open. The wide ones belong to patients of whom some of
# those are missing too.

BLUE, ORANGE, GREY = "#2b6cb0", "#c05621", "#767676"
plt.rcParams.update(
    {"savefig.transparent": True, "font.size": 12, "axes.spines.top": False, "axes.spines.right": False}
    | dict.fromkeys(["text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"], GREY)
)

here = cols == list(complete.columns).index("LDL (mg/dl)")
order = np.argsort(value[here])
x = np.arange(here.sum())
figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
axes.errorbar(
    x,
    value[here][order],
    1.645 * deviation[here][order],
    fmt=".",
    color=BLUE,
    elinewidth=2,
    alpha=0.75,
    label="predicted, 90 % interval",
)
axes.plot(x, truth[here][order], "x", color=ORANGE, markersize=6, label="measured, hidden from the model")
axes.axhline(measured["LDL (mg/dl)"].mean(), color=GREY, linestyle=":", label="mean of the column")
axes.set(xlabel="hidden cells, by predicted value", ylabel="LDL (mg/dl)")
figure.legend(loc="outside upper left", frameon=False, fontsize=11)
plt.show()

# %%
# Compare with what you use today
# -------------------------------
#
# scikit-learn's imputers on the same gaps. ``KNNImputer`` measures distances, so it gets standardised columns; the
# others do not need them. Errors are divided by each column's standard deviation and averaged.


def knn(table):
    scaler = StandardScaler().fit(table)
    return scaler.inverse_transform(KNNImputer(n_neighbors=10).fit_transform(scaler.transform(table)))


contenders = {
    "column means": SimpleImputer().fit_transform(measured),
    "KNNImputer, standardised": knn(measured),
    "IterativeImputer": IterativeImputer(max_iter=100, tol=0.01).fit_transform(measured),
    "dmc": filled.to_numpy(),
}
errors = {name: float((column_rmse(table) / complete.std()).mean()) for name, table in contenders.items()}
for name, error in errors.items():
    print(f"{error:.3f}  {name}")

figure, axes = plt.subplots(figsize=(6.4, 2.8), layout="constrained")
bars = axes.barh(list(errors), list(errors.values()), color=[GREY, GREY, GREY, BLUE])
axes.bar_label(bars, fmt="%.2f", padding=4, color=GREY)
axes.set(xlabel="error on hidden cells (standard deviations)", xlim=(0, 1.15))
axes.invert_yaxis()
plt.show()

# %%
# ``IterativeImputer`` regresses each column on all others and is the closest. Both are linear models of the columns.
# Where neighbours tell more than linear relations do, ``KNNImputer`` can win; try it on your own table as above.
#
# When nothing better than the mean is possible
# ---------------------------------------------
#
# If a column has nothing to do with the others, no imputer can beat its mean. You get the mean, and a warning that
# names the column.

with_lottery = measured.assign(**{"lottery number": rng.integers(1, 50, len(measured)).astype(float)})
with_lottery = with_lottery.mask(rng.random(with_lottery.shape) < 0.1)

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    dmc.MatrixCompletion().fit(with_lottery)
for warning in caught:
    print(warning.message)

# %%
# A typing error
# --------------
#
# Someone entered six LDL values in the wrong unit: 100 times too large. The squared loss follows such entries, and
# warns. ``loss="robust"`` finds them, leaves them out of the fit and lists them in ``outliers_``.

mistyped = measured.copy()
seen_rows = np.flatnonzero(measured["LDL (mg/dl)"].notna())
wrong = np.sort(rng.choice(seen_rows, 6, replace=False))
mistyped.loc[wrong, "LDL (mg/dl)"] *= 100

robust = dmc.MatrixCompletion(loss="robust").fit(mistyped)
found = [(int(row), complete.columns[column]) for row, column in robust.outliers_]
print("mistyped rows:", wrong.tolist())
for entry in found:
    print("left out:", entry)

# %%
# ``transform`` keeps every observed cell as it is, the wrong ones too: whether to replace them is your decision.
# ``complete`` gives the fitted model's value at every position, observed or not, so it says what these six cells
# should be about.

repaired = robust.complete().loc[wrong, "LDL (mg/dl)"]
pd.DataFrame(
    {"entered": mistyped.loc[wrong, "LDL (mg/dl)"], "model": repaired, "correct": complete.loc[wrong, "LDL (mg/dl)"]}
).round(1)

# %%
# Multiple imputation
# -------------------
#
# A table filled in once looks more certain than it is: whatever you compute from it has an error bar that is too small.
# ``sample`` draws several completed tables. Compute what you want from each and combine the results by Rubin's rules:
# the average is the estimate, and the spread between tables adds to its variance.

n_tables = 10
slopes, variances = [], []
for table in model.sample(n_tables, random_state=0):
    x = (table["BMI (kg/m²)"] - table["BMI (kg/m²)"].mean()).to_numpy()
    fit = LinearRegression().fit(x[:, None], diabetes.target)
    residual = diabetes.target - fit.predict(x[:, None])
    slopes.append(fit.coef_[0])
    variances.append((residual @ residual) / (len(x) - 2) / (x @ x))

between = np.var(slopes, ddof=1)
error = np.sqrt(np.mean(variances) + (1 + 1 / n_tables) * between)
print(f"progression of the disease per kg/m² of BMI: {np.mean(slopes):.2f} ± {error:.2f}")
print(f"of one filled table alone the error would be ± {np.sqrt(np.mean(variances)):.2f}")

# %%
# In a pipeline
# -------------
#
# ``MatrixCompletion`` is a scikit-learn transformer, so it goes where an imputer goes. In cross-validation it is fitted
# to the training rows only; test rows are folded in.

for name, imputer in (("column means", SimpleImputer()), ("dmc", dmc.MatrixCompletion())):
    pipeline = make_pipeline(imputer, StandardScaler(), RidgeCV())
    scores = cross_val_score(pipeline, measured, diabetes.target, cv=5, scoring="r2")
    print(f"R² of the prediction with {name}: {scores.mean():.3f}")

# %%
# Save it, and fill in rows that come later
# -----------------------------------------
#
# The file is safetensors: no pickle. A new patient needs no new fit: ``transform`` places a row by what is measured of
# it, with the columns' part of the model as it is. (It does so for the rows of ``fit`` as well, so what it fills in
# there differs a little from ``complete`` and ``predict``, which use the rows as they were fitted.)

folder = Path(tempfile.mkdtemp())
model.save(folder / "patients.dmc")

loaded = dmc.MatrixCompletion.load(folder / "patients.dmc")
patient = pd.DataFrame([[61, 31.5, np.nan, 214, np.nan, 41, np.nan, 5.1, 99]], columns=complete.columns)
loaded.transform(patient).round(1)

# %%
# From the shell
# --------------
#
# The same for files, without Python. Labels and measured cells are written as they were, filled cells with as many
# digits as their expected error allows; ``--std`` writes the standard deviations of the cells that were filled in.
#
# .. code-block:: sh
#
#    dmc complete patients.csv -o filled.csv --std deviations.csv --min 0
#
# The next block does this with ``python -m dmc``, which is the same program.

measured.to_csv(folder / "patients.csv", index=False)
command = "complete patients.csv -o filled.csv --std deviations.csv --min 0"
done = subprocess.run([sys.executable, "-m", "dmc", *command.split()], cwd=folder, capture_output=True, text=True)
print(done.stdout + done.stderr)
pd.read_csv(folder / "filled.csv").head().round(2)

# %%
# What to remember
# ----------------
#
# - ``MatrixCompletion().fit(table).transform(table)`` is all that most tables need.
# - ``column_errors_`` says what to expect of a column, ``return_std=True`` of a cell.
# - A warning means that part of the result is no better than something simpler; its text says which part.
# - Error bars assume that cells are missing for reasons unrelated to their values. If sicker patients skip the blood
#   test, no imputer can know it from the table.
#
# Next: :doc:`/guide/tables` for weights, bounds per column and blocks that share no entry, and
# :doc:`/theory/completion` for how the rank is found.
