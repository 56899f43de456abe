"""What a user is told of a fit: once, with what to do, at the line that called for it; and of good data nothing."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from dmc import MatrixCompletion, datasets

NAMES = ["age", "height", "weight", "pulse", "sodium", "iron"]


def table(seed=0, rows=100, noise=0.2) -> np.ndarray:
    """Six columns that depend on each other, with gaps."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 2)) @ rng.standard_normal((2, 6)) + noise * rng.standard_normal((rows, 6))
    return np.where(rng.random(x.shape) < 0.2, np.nan, 3 + x)


def frame() -> pd.DataFrame:
    return pd.DataFrame(table(), columns=NAMES)


def heard(fit) -> list[warnings.WarningMessage]:
    """All that a fit says."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit()
    return caught


def told(fit) -> str:
    """What a fit says, which is one thing, and of the line here."""
    caught = heard(fit)
    assert [w.filename for w in caught] == [__file__]
    return str(caught[0].message)


# --- good data


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "kind",
    [
        lambda x: x,
        lambda x: pd.DataFrame(x),
        lambda x: x.T.copy(),
        lambda x: np.ma.masked_invalid(x),
        lambda x: sparse.csr_array((x[~np.isnan(x)], np.nonzero(~np.isnan(x))), shape=x.shape),
        lambda x: 1e-6 * x + 1e3,
    ],
    ids=["array", "frame", "transposed", "masked", "sparse", "shifted"],
)
def test_of_good_data_nothing_is_said(kind, seed, recwarn):
    MatrixCompletion().fit(kind(table(seed)))
    assert not recwarn.list


@pytest.mark.parametrize(
    "X",
    [
        np.ones((5, 4)),
        np.full((3, 4), 7.0),
        np.eye(4),
        [[1.0, 2, 3]],
        [[0.0, 1], [1, 0]],
        datasets.planted((40, 30), 2, 0.6).observations,
        datasets.planted((40, 30), 2, 0.6, noise=0.3).observations,
    ],
    ids=["ones", "sevens", "identity", "one row", "four", "exact", "noisy"],
)
def test_of_plain_matrices_nothing_is_said(X, recwarn):
    MatrixCompletion().fit(X)
    assert not recwarn.list


# --- lines without entries


def test_empty_columns_are_named():
    x = frame()
    x[["height", "sodium"]] = np.nan
    said = told(lambda: MatrixCompletion().fit(x))
    assert " 2 of 6 columns have no observed entry (columns 'height', 'sodium'): the average" in said
    assert "leave them out, or observe at least one entry of each" in said


def test_empty_columns_without_names_are_numbered():
    x = table()
    x[:, 4] = np.nan
    x[[2, 3, 5]] = np.nan
    said = told(lambda: MatrixCompletion().fit(x))
    assert said.startswith("3 of 100 rows and 1 of 6 columns have no observed entry (column 4)")


def test_of_many_empty_columns_five_are_named():
    x = np.column_stack([table(), np.full((100, 7), np.nan)])
    said = told(lambda: MatrixCompletion().fit(x))
    assert said.startswith("7 of 13 columns have no observed entry (columns 6, 7, 8, 9, 10 and 2 more)")


def test_empty_rows_alone_name_no_column():
    x = table()
    x[7] = np.nan
    said = told(lambda: MatrixCompletion().fit(x))
    assert said.startswith("1 of 100 rows have no observed entry: the average")


# --- all equal


@pytest.mark.parametrize("value", [0.0, 1.0, -2.5])
def test_entries_that_are_all_equal_under_a_mask(value):
    mask = np.random.default_rng(0).random((20, 5)) < 0.6
    said = told(lambda: MatrixCompletion().fit(np.full((20, 5), value), mask=mask))
    assert said.startswith(f"all {mask.sum()} observed entries are {value:g}, which says nothing about the missing")
    assert "check that it is True where an entry was observed" in said


def test_a_sparse_matrix_of_ones():
    """Clicks: what is not stored is not zero, but unknown."""
    clicks = sparse.csr_array((np.random.default_rng(0).random((20, 5)) < 0.6).astype(float))
    said = told(lambda: MatrixCompletion().fit(clicks))
    assert said.startswith(f"all {clicks.nnz} observed entries are 1, which says nothing about the missing")
    assert "of a sparse matrix only stored entries count as observed; give a dense array" in said


def test_equal_entries_are_no_surprise_where_they_are_few_or_all(recwarn):
    MatrixCompletion().fit(np.ones((20, 5)))
    MatrixCompletion().fit([[1.0, 1], [1, np.nan]])
    MatrixCompletion().fit(np.ones((20, 5)), mask=np.ones((20, 5), bool))
    assert not recwarn.list


# --- zeros and placeholders


@pytest.mark.parametrize("named", [False, True])
def test_zeros_where_gaps_were_meant(named):
    x = table(noise=0.05) - 3
    x = np.where(np.isnan(x) & (np.arange(100)[:, None] < 70), 0, np.nan_to_num(x, nan=0.5))
    zeros = int((x == 0).sum())
    said = told(lambda: MatrixCompletion().fit(pd.DataFrame(x, columns=NAMES) if named else x))
    assert said.startswith(f"nothing is missing and {zeros} of 600 entries are 0: all count as observed")
    assert said.endswith("pass missing_values=0")


def test_zeros_are_no_surprise_where_the_user_has_said_what_is_missing(recwarn):
    x = table()
    zeros = np.where(np.isnan(x), 0, x)
    MatrixCompletion(missing_values=0).fit(zeros)
    MatrixCompletion().fit(zeros, mask=~np.isnan(x))
    holes = zeros.copy()
    holes[np.isnan(x) & (np.arange(6) == 0)] = np.nan  # some gaps are marked: the zeros are meant
    MatrixCompletion(scale="columns").fit(holes)
    few = np.where(np.isnan(x), 5, x)
    few[:3] = 0
    MatrixCompletion().fit(few)
    assert not [w for w in recwarn.list if "are 0" in str(w.message)]


def test_sparse_zeros_are_meant(recwarn):
    rng = np.random.default_rng(0)
    x = np.outer(rng.integers(0, 2, 20), rng.uniform(1, 2, 6))
    MatrixCompletion().fit(sparse.csr_array((x.ravel(), np.indices(x.shape).reshape(2, -1)), shape=x.shape))
    assert not [w for w in recwarn.list if "are 0" in str(w.message)]


@pytest.mark.parametrize(
    "kind",
    [
        lambda x: x,
        lambda x: pd.DataFrame(x),
        lambda x: x.tolist(),
        lambda x: sparse.csr_array((x[~np.isnan(x)], np.nonzero(~np.isnan(x))), shape=x.shape),
    ],
    ids=["array", "frame", "list", "sparse"],
)
def test_a_placeholder_that_never_occurs(kind):
    said = told(lambda: MatrixCompletion(missing_values=-200).fit(kind(table())))
    assert said == "missing_values is -200, which does not occur in X; check the number"


@pytest.mark.parametrize("number", [np.nan, None, -200])
def test_a_placeholder_that_occurs_is_not_told_of(number, recwarn):
    x = table()
    MatrixCompletion(missing_values=number).fit(np.where(np.isnan(x) & (number == -200), -200, x))
    assert not recwarn.list


# --- columns that the others say nothing of


def apart(seed: int, rows=300) -> pd.DataFrame:
    """A table in which the pulse and the iron are noise."""
    rng = np.random.default_rng(seed + 100)
    x = table(seed, rows)
    gaps = np.isnan(x)
    x[:, [3, 5]] = rng.standard_normal((rows, 2)) * [40, 0.1]
    return pd.DataFrame(np.where(gaps, np.nan, x), columns=NAMES)


@pytest.mark.parametrize("seed", range(3))
def test_columns_no_better_than_their_mean_are_named(seed):
    said = told(lambda: MatrixCompletion().fit(apart(seed)))
    names, _, rest = said.partition(": ")
    assert rest.startswith("predicted no better than by the mean of the column")
    # By what was held out, which may leave it open for one of the two.
    assert names in ("columns 'pulse', 'iron'", "column 'pulse'", "column 'iron'")


def test_a_column_no_better_than_its_mean_is_numbered():
    x = apart(0).drop(columns="iron").to_numpy()
    said = told(lambda: MatrixCompletion().fit(x))
    assert said.startswith("column 3: predicted no better than by the mean of the column")


def test_of_few_entries_a_column_is_not_judged(recwarn):
    x = apart(0)
    x.loc[60:, ["pulse", "iron"]] = np.nan
    MatrixCompletion().fit(x)
    assert not recwarn.list


# --- models that cannot be trusted


def test_lines_with_too_few_entries():
    x = np.full((40, 30), np.nan)
    observed = datasets.planted((40, 30), 3, 0.7).observations
    x[observed.rows, observed.cols] = observed.values
    x[4, np.flatnonzero(~np.isnan(x[4]))[2:]] = np.nan
    said = told(lambda: MatrixCompletion().fit(x))
    assert said.startswith("1 of 40 rows have too few entries for rank 3: predictions there are guesses")
    assert said.endswith("see complete(unknown=np.nan)")


def test_noise_that_nothing_explains():
    rng = np.random.default_rng(0)
    x = np.where(rng.random((150, 6)) < 0.2, np.nan, rng.standard_normal((150, 6)))
    with pytest.warns(ConvergenceWarning) as caught:
        model = MatrixCompletion().fit(x)
    (warning,) = caught
    pattern = r"the model \(rank \d+\) predicts held-out entries with (\d+)% of the error of the column means: .*"
    assert 90 < int(re.match(pattern, str(warning.message))[1]) < 120
    assert warning.filename == __file__
    assert 0.8 < model.held_out_rmse_ < 1.2


def test_a_transformed_table_is_told_of_nothing(recwarn):
    model = MatrixCompletion().fit(table())
    model.transform(np.zeros((20, 6)))
    model.transform(np.full((2, 6), np.nan))
    model.score(table(1))
    assert not recwarn.list


def test_fit_transform_and_pipelines_point_at_the_user():
    x = table()
    x[:, 4] = np.nan
    assert told(lambda: MatrixCompletion().fit_transform(x)).startswith("1 of 6 columns")
    pipeline = make_pipeline(FunctionTransformer(), MatrixCompletion())
    assert told(lambda: pipeline.fit(x)).startswith("1 of 6 columns")
    assert told(lambda: pipeline.fit_transform(x)).startswith("1 of 6 columns")


def test_two_things_are_told_each_once():
    x = frame()
    x["iron"] = np.nan
    caught = heard(lambda: MatrixCompletion(missing_values=-200).fit(x))
    assert sorted(str(w.message)[:14] for w in caught) == ["1 of 6 columns", "missing_values"]
    assert {w.filename for w in caught} == {__file__}


def test_each_fit_says_it_again():
    """A search is one; two fits are not."""
    x = table()
    x[:, 4] = np.nan
    assert len(heard(lambda: [MatrixCompletion().fit(x) for _ in range(2)])) == 2


# --- in a search


def searched(search) -> list:
    caught = heard(search)
    assert all("1 of 6 columns have no observed entry (column 4)" in str(w.message) for w in caught)
    return caught


def an_empty_column() -> np.ndarray:
    x = table()
    x[:, 4] = np.nan
    return x


@pytest.mark.parametrize("validate", [cross_val_score, cross_validate])
def test_cross_validation_says_it_once(validate):
    assert len(searched(lambda: validate(MatrixCompletion(), an_empty_column(), cv=4))) == 1


def test_a_search_says_it_once():
    search = GridSearchCV(MatrixCompletion(), {"rank": [1, 2]}, cv=3)
    assert len(searched(lambda: search.fit(an_empty_column()))) == 1


def test_a_search_without_a_last_fit_says_it_once():
    search = GridSearchCV(MatrixCompletion(), {"rank": [1, 2]}, cv=3, refit=False)
    assert len(searched(lambda: search.fit(an_empty_column()))) == 1


def test_two_searches_say_it_twice():
    x = an_empty_column()

    def twice():
        for _ in range(2):
            cross_val_score(MatrixCompletion(), x, cv=3)

    assert len(searched(twice)) == 2


def test_in_cross_validation_it_is_said_at_the_line_of_the_user():
    (warning,) = searched(lambda: cross_val_score(MatrixCompletion(), an_empty_column(), cv=3))
    assert warning.filename == __file__


def test_a_search_of_good_data_says_nothing(recwarn):
    GridSearchCV(MatrixCompletion(), {"rank": [1, 2]}, cv=3).fit(table())
    assert not recwarn.list
