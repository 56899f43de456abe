"""
A table with gaps
=================

You have a table of measurements: rows are patients, samples or days; columns
have units of their own; some cells are empty. You want the empty cells filled
in, and you want to know how far to trust what is filled in.

This tutorial takes a pandas data frame to a completed one with error bars. It
needs ``pip install '.[plot]' pandas`` in a clone of the repository, and uses
data that scikit-learn ships.
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
from sklearn.experimental import enable_iterative_imputer
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
# 442 patients with diabetes: age, body-mass index, blood pressure and six
# values from a blood sample (Efron et al., 2004). The table is complete, so we
# can hide cells ourselves and check the answers later. We hide 15 % of them at
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
# ``fit`` reads the data frame as it is. You choose no rank, no scaling and no
# number of iterations: every column gets a level of its own and counts in
# units of its own spread, and entries that are held out during the fit decide
# how many directions the model needs. Concentrations cannot be negative, so we
# give a lower bound. ``transform`` returns a data frame again, with measured
# cells as they were.

model = dmc.MatrixCompletion(min_value=0).fit(measured)
filled = model.transform(measured)
print(f"rank {model.rank_}, scaled by {model.scale_}: {model.status_}")
filled.head().round(2)

# %%
# The model knows how well it does. ``column_errors_`` is the root mean squared
# error on entries that were held out during the fit, in the units of the
# column. Here we know the hidden values and can compare.


def column_rmse(table):
    """Root mean squared error of each column on the hidden cells."""
    return np.sqrt(((np.asarray(table) - complete) ** 2).where(hidden).mean())


by_mean = measured.fillna(measured.mean())
pd.DataFrame(
    {
        "expected error": model.column_errors_,
        "error on the hidden cells": column_rmse(filled),
        "error of the column mean": column_rmse(by_mean),
    },
    index=complete.columns,
).round(2)

# %%
# The blood fats determine each other closely. Age and blood pressure are hardly
# better than their means, and the expected error says so before you rely on
# them.
#
# Error bars for single cells
# ---------------------------
#
# ``predict`` takes row and column numbers. With ``return_std=True`` it also
# returns the standard deviation of the value as it would be measured: the
# noise of that column, and what this row's other entries leave open.

rows, cols = np.nonzero(hidden)
value, deviation = model.predict(rows, cols, return_std=True)
truth = complete.to_numpy()[rows, cols]

print(f"of {len(truth)} hidden values")
for share, width in ((50, 0.674), (80, 1.282), (90, 1.645), (95, 1.960)):
    inside = np.abs(truth - value) < width * deviation
    print(f"the {share} % interval holds {inside.mean():.1%}")

# %%
# The intervals hold about as many of the hidden values as they promise. Here
# are those of one column: most are narrow, because the other blood fats of the
# same patient leave little open. The widest belong to patients whose
# cholesterol is missing as well.

BLUE, ORANGE, GREY = "#2b6cb0", "#c05621", "#767676"
plt.rc("axes", edgecolor=GREY, labelcolor=GREY)
plt.rc("axes.spines", top=False, right=False)
plt.rc(("xtick", "ytick", "text"), color=GREY)
plt.rc("font", size=12)
plt.rc("savefig", transparent=True)

ldl = "LDL (mg/dl)"
here = np.flatnonzero(cols == complete.columns.get_loc(ldl))
here = here[np.argsort(value[here])]
x = np.arange(len(here))
figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
axes.errorbar(
    x,
    value[here],
    1.645 * deviation[here],
    fmt=".",
    color=BLUE,
    elinewidth=2,
    alpha=0.75,
    label="predicted, 90 % interval",
)
axes.plot(x, truth[here], "x", color=ORANGE, label="measured, but hidden")
mean = measured[ldl].mean()
axes.axhline(mean, color=GREY, linestyle=":", label="mean of the column")
axes.set(xlabel="hidden cells, by predicted value", ylabel=ldl)
figure.legend(loc="outside upper left", frameon=False, fontsize=11)
plt.show()

# %%
# Compare with what you use today
# -------------------------------
#
# scikit-learn's imputers on the same gaps. ``KNNImputer`` and
# ``IterativeImputer`` do better on columns of one scale, so they get
# standardised ones; dmc scales by itself. Errors are divided by each column's
# standard deviation and averaged.


scaler = StandardScaler().fit(measured)
knn = KNNImputer(n_neighbors=10).fit_transform(scaler.transform(measured))
iterative = IterativeImputer(max_iter=100, tol=0.01).fit_transform(
    scaler.transform(measured)
)
contenders = {
    "column means": by_mean,
    "KNNImputer, standardised": scaler.inverse_transform(knn),
    "IterativeImputer, standardised": scaler.inverse_transform(iterative),
    "dmc": filled,
}
errors = {}
for name, table in contenders.items():
    errors[name] = float((column_rmse(table) / complete.std()).mean())
    print(f"{errors[name]:.3f}  {name}")

figure, axes = plt.subplots(figsize=(6.4, 2.8), layout="constrained")
colours = [GREY, GREY, GREY, BLUE]
bars = axes.barh(list(errors), list(errors.values()), color=colours)
axes.bar_label(bars, fmt="%.2f", padding=4, color=GREY)
axes.set(xlabel="error on hidden cells (standard deviations)", xlim=(0, 1.15))
axes.invert_yaxis()
plt.show()

# %%
# ``IterativeImputer`` regresses each column on all others and is the closest.
# Both are linear models of the columns. Where neighbours tell more than linear
# relations do, ``KNNImputer`` can win; try it on your own table as above.
#
# When nothing better than the mean is possible
# ---------------------------------------------
#
# If a column has nothing to do with the others, no imputer can beat its mean.
# You get about the mean, and the expected error is about the column's standard
# deviation. A warning names a column if the held-out cells leave no doubt.

draws = np.random.default_rng(3).integers(1, 50, len(measured))
lottery = pd.Series(draws, name="lottery number")

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    with_lottery = dmc.MatrixCompletion().fit(measured.join(lottery))
error = with_lottery.column_errors_[-1]
print(f"expected error {error:.1f}, standard deviation {lottery.std():.1f}")
for warning in caught:
    print(warning.message)

# %%
# A typing error
# --------------
#
# Someone entered six LDL values in the wrong unit: 100 times too large. The
# squared loss follows such entries, and warns. ``loss="robust"`` finds them,
# leaves them out of the fit and lists them in ``outliers_``.

mistyped = measured.copy()
wrong = mistyped[ldl].dropna().sample(6, random_state=0).index.sort_values()
mistyped.loc[wrong, ldl] *= 100

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    dmc.MatrixCompletion().fit(mistyped)
    robust = dmc.MatrixCompletion(loss="robust").fit(mistyped)
for warning in caught:
    print(warning.message)

print("mistyped:", wrong.tolist())
for row, column in robust.outliers_:
    print(f"left out: row {row}, {complete.columns[column]}")

# %%
# All six are found. The other entries are correct as far as we know, but lie
# far off what the rest of their rows suggests: worth a look in real life.
#
# ``transform`` keeps every observed cell as it is, the wrong ones too: whether
# to replace them is your decision. ``complete`` gives the fitted model's value
# at every position, observed or not, so it says what these six cells should be
# about.

tables = {"entered": mistyped, "model": robust.complete(), "correct": complete}
pd.DataFrame({k: table.loc[wrong, ldl] for k, table in tables.items()}).round(1)

# %%
# Multiple imputation
# -------------------
#
# A table filled in once looks more certain than it is: whatever you compute
# from it has an error bar that is too small. ``sample`` draws several
# completed tables. Compute what you want from each and combine the results by
# Rubin's rules: the average is the estimate, and the spread between tables
# adds to its variance.

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
print(f"progression per kg/m² of BMI: {np.mean(slopes):.2f} ± {error:.2f}")
print(f"± {np.sqrt(np.mean(variances)):.2f} if one filled table were the truth")

# %%
# In a pipeline
# -------------
#
# ``MatrixCompletion`` is a scikit-learn transformer, so it goes where an
# imputer goes. In cross-validation it is fitted to the training rows only;
# test rows are folded in.

imputers = {"column means": SimpleImputer(), "dmc": dmc.MatrixCompletion()}
for name, imputer in imputers.items():
    pipeline = make_pipeline(imputer, StandardScaler(), RidgeCV())
    scores = cross_val_score(pipeline, measured, diabetes.target)
    print(f"R² of predicted progression with {name}: {scores.mean():.3f}")

# %%
# Save it, and fill in rows that come later
# -----------------------------------------
#
# The file is safetensors: no pickle. A new patient needs no new fit:
# ``transform`` places a row by what is measured of it, with the columns' part
# of the model as it is. (It does so for the rows of ``fit`` as well, so what
# it fills in there differs a little from ``complete`` and ``predict``, which
# use the rows as they were fitted.)

folder = Path(tempfile.mkdtemp())
model.save(folder / "patients.dmc")

loaded = dmc.MatrixCompletion.load(folder / "patients.dmc")
patient = pd.DataFrame(
    [[61, 31.5, np.nan, 214, np.nan, 41, np.nan, 5.1, 99]],
    columns=complete.columns,
)
loaded.transform(patient).round(1)

# %%
# From the shell
# --------------
#
# The same for files, without Python. Labels and measured cells are written as
# they were, filled cells with as many digits as their expected error allows;
# ``--std`` writes the standard deviations of the cells that were filled in.
#
# .. code-block:: sh
#
#    dmc complete patients.csv -o filled.csv --std deviations.csv --min 0
#
# The next block does this with ``python -m dmc``, which is the same program.

measured.to_csv(folder / "patients.csv", index=False)
command = "complete patients.csv -o filled.csv --std deviations.csv --min 0"
done = subprocess.run(
    [sys.executable, "-m", "dmc", *command.split()],
    cwd=folder,
    capture_output=True,
    text=True,
)
print(done.stdout + done.stderr)
pd.read_csv(folder / "filled.csv").head().round(2)

# %%
# What to remember
# ----------------
#
# - ``MatrixCompletion().fit(table).transform(table)`` is all that most tables
#   need.
# - ``column_errors_`` says what to expect of a column, ``return_std=True`` of
#   a cell.
# - A warning means that part of the result is no better than something
#   simpler; its text says which part.
# - Error bars assume that cells are missing for reasons unrelated to their
#   values. If sicker patients skip the blood test, no imputer can know it
#   from the table.
#
# Next: :doc:`/guide/tables` for weights, bounds per column and blocks that
# share no entry, and :doc:`/theory/completion` for how the rank is found.
