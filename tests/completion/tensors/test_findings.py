"""What a user is told of a tensor, and what not."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import dmc
from dmc.completion.tensors import findings
from planted_tensors import planted


def test_nothing_is_told_of_a_good_fit() -> None:
    X, _, mask = planted()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dmc.TensorCompletion(tube=2).fit(X, mask=mask)


def test_tubes_wholly_seen_or_missing_couple_nothing() -> None:
    X, _, _ = planted((16, 14, 6), 1)
    pairs = np.random.default_rng(1).random((16, 14)) < 0.6
    with pytest.warns(UserWarning, match=rf"each of 224 tubes along axis 2 is either fully .* \({(~pairs).sum()} of"):
        model = dmc.TensorCompletion(tube=2).fit(X, mask=np.repeat(pairs[:, :, None], 6, 2))
    np.testing.assert_allclose(model.complete(), X, atol=1e-9)


def test_tubes_without_entries_are_counted_where_it_matters() -> None:
    _, seen, mask = planted((16, 14, 6), 1, 0.8, noise=0.1)
    mask[:4, :5] = False
    with pytest.warns(UserWarning, match="20 of 224 tubes along axis 2 have no observed entry"):
        dmc.TensorCompletion(tube=2).fit(seen, mask=mask)


@pytest.mark.parametrize("value", [3.0, 0.0])
def test_one_value_tells_nothing(value: float) -> None:
    mask = np.random.default_rng(0).random((5, 4, 3)) < 0.6
    with pytest.warns(UserWarning, match=rf"all {mask.sum()} observed entries are {value:g}, which says nothing"):
        model = dmc.TensorCompletion().fit(np.full(mask.shape, value), mask=mask)
    np.testing.assert_allclose(model.complete(), value, atol=1e-9)


def test_zeros_that_may_stand_for_gaps_are_told() -> None:
    X = np.random.default_rng(0).poisson(1.0, (5, 6, 4))
    with pytest.warns(UserWarning, match=f"nothing is missing and {(X == 0).sum()} of 120 entries are 0"):
        findings.of_data(X, X >= 0, False)


def test_noise_of_no_rank_is_told() -> None:
    rng = np.random.default_rng(0)
    with pytest.warns(ConvergenceWarning, match="predicts held-out entries with .* too few for their rank"):
        dmc.TensorCompletion(tube=2).fit(rng.standard_normal((12, 11, 6)), mask=rng.random((12, 11, 6)) < 0.5)


def test_rows_that_an_exact_model_cannot_determine_are_told() -> None:
    X, _, mask = planted((16, 14, 6), 2, 0.8)
    mask[3] = False
    mask[3, 2] = True
    with pytest.warns(UserWarning, match="entries of 1 row or column of the slices do not determine"):
        model = dmc.TensorCompletion(tube=2).fit(X, mask=mask)
    assert model.status_ is dmc.Status.UNDETERMINED


def test_one_entry_is_enough_to_go_on_and_too_few_to_be_silent() -> None:
    X = np.full((3, 4, 2), np.nan)
    X[1, 2, 0] = 5
    with pytest.warns(UserWarning, match="2 of 3 slices across axis 0 and 3 of 4 slices across axis 1 and 1 of 2"):
        model = dmc.TensorCompletion().fit(X)
    assert model.complete()[1, 2, 0] == pytest.approx(5, rel=0.05)
