"""What a fitted completion is asked for; most of it is tested where it is fitted, in test_estimator."""

import numpy as np
import pandas as pd
import pytest

from dmc import MatrixCompletion


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 2)) @ rng.standard_normal((2, 5)) + 0.1 * rng.standard_normal((60, 5))
    return pd.DataFrame(np.where(rng.random(x.shape) < 0.2, np.nan, x), columns=list("abcde"))


@pytest.fixture(scope="module")
def model(frame) -> MatrixCompletion:
    return MatrixCompletion().fit(frame)


def test_the_former_name_of_identifiability_warns(model):
    with pytest.warns(DeprecationWarning, match="identifiability_"):
        assert model.solvability_ is model.identifiability_


@pytest.mark.parametrize("form", ["default", "pandas", "polars"])
def test_a_transformed_frame_has_the_form_that_was_asked_for(model, frame, form):
    pytest.importorskip("pandas" if form == "default" else form)
    found = MatrixCompletion().set_output(transform=form).fit(frame).transform(frame)
    assert type(found).__module__.partition(".")[0] == ("polars" if form == "polars" else "pandas")
    assert list(found.columns) == list("abcde")
    np.testing.assert_allclose(found.to_numpy(), model.transform(frame).to_numpy(), rtol=1e-12)


def test_columns_have_to_be_those_of_the_fit(frame):
    model = MatrixCompletion().fit(frame.to_numpy())
    with pytest.raises(ValueError, match=r"X has 4 features.*expecting 5.*give the columns of the fitted matrix"):
        model.transform(np.ones((3, 4)))


def test_a_single_row_of_a_data_frame_is_told_how_to_be_one(frame):
    with pytest.raises(ValueError, match=r"X has shape \(5,\); give a matrix.*X.reshape\(1, -1\) is one row"):
        MatrixCompletion().fit(frame).transform(frame.iloc[0])


def test_complex_numbers_are_refused_in_scikit_learns_words(frame):
    model = MatrixCompletion().fit(frame.to_numpy())
    with pytest.raises(ValueError, match="Complex data not supported"):
        model.transform(np.ones((3, 5), complex))
