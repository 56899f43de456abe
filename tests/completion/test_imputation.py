"""Rows folded in as arrays: the same as by their observations, whatever the form they come in."""

import numpy as np
import pytest

from dmc import MatrixCompletion, observe
from dmc.completion import imputation
from dmc.inputs import GappedArray, read_matrix


def table(noise=0.2, rows=90, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 2)) @ rng.standard_normal((2, 7)) + noise * rng.standard_normal((rows, 7))
    hidden = rng.random(x.shape) < 0.4
    for shift in (0, 2, 3):  # some entries of each row
        hidden[np.arange(rows), (np.arange(rows) + shift) % 7] = False
    return np.where(hidden, np.nan, (5 + x) * np.logspace(-2, 2, 7))


@pytest.fixture(scope="module", params=[0.2, 0.0], ids=["noisy", "exact"])
def model(request) -> MatrixCompletion:
    return MatrixCompletion(scale="columns").fit(table(request.param))


def how(model: MatrixCompletion) -> tuple:
    return model._model, model._unit


def test_an_array_is_imputed_as_its_observations_are(model):
    new = table(0.2, 40, 1)
    as_array, as_entries = read_matrix(new), observe(new)
    assert isinstance(as_array, GappedArray)
    fitted, unit = how(model)
    found, expected = (imputation.predict(fitted, rows, unit, robustly=False) for rows in (as_array, as_entries))
    size = np.abs(expected).max(axis=0)
    np.testing.assert_allclose(found / size, expected / size, rtol=0, atol=1e-7)


@pytest.mark.parametrize("numbers", [1, 100])
def test_few_rows_at_a_time_change_nothing(monkeypatch, model, numbers):
    rows, (fitted, unit) = read_matrix(table(0.2, 40, 1)), how(model)
    whole = imputation.predict(fitted, rows, unit, robustly=False)
    score = model.score(table(0.2, 40, 1))
    monkeypatch.setattr(imputation, "IN_CACHE", numbers)
    np.testing.assert_allclose(imputation.predict(fitted, rows, unit, robustly=False), whole, rtol=1e-9, atol=1e-9)
    assert model.score(table(0.2, 40, 1)) == pytest.approx(score, rel=1e-9)


def test_a_score_takes_every_entry_for_missing_once(model):
    new = table(0.2, 40, 1)
    assert model.score(observe(new)) == pytest.approx(model.score(new), rel=1e-6)


def test_entries_are_dealt_alike_in_both_forms():
    new = table(0.2, 40, 1)
    observed = ~np.isnan(new)
    rng = np.random.default_rng(0)
    parts = [imputation._dealt(observed[:15], 0, rng), imputation._dealt(observed[15:], 15, rng)]
    found = np.concatenate(parts)
    np.testing.assert_array_equal(found[observed], imputation._deal(observe(new)))
    assert (found[~observed] == -1).all()


def test_a_row_without_entries_is_the_mean_of_the_population(model):
    new = np.full((1, 7), np.nan)
    fitted, unit = how(model)
    found = imputation.predict(fitted, read_matrix(new, allow_empty=True), unit, robustly=False)
    mean = fitted.mean @ fitted.factors.V.T + fitted.factors.column_bias
    np.testing.assert_allclose(found[0], unit * mean, rtol=1e-9)


def test_observed_entries_stay_as_they_are(model):
    new = table(0.2, 40, 1)
    seen = ~np.isnan(new)
    for rows in (read_matrix(new), observe(new)):
        found = imputation.with_observed(np.zeros(new.shape), rows)
        np.testing.assert_array_equal(found[seen], new[seen])
        assert not found[~seen].any()
