"""Models of a tensor: dense and entry by entry are the same."""

import numpy as np
import pytest

import dmc
from dmc import tubal
from dmc.completion.tensors import model as models
from dmc.completion.tensors.model import TubalModel, UnfoldedModel, unfolded


def tubal_model(axis: int, name: str) -> TubalModel:
    rng = np.random.default_rng(0)
    shape = (5, 6, 7)
    m, n = (length for other, length in enumerate(shape) if other != axis)
    width = 2 * shape[axis]
    factors = dmc.Factors(rng.standard_normal((m, width)), (), rng.standard_normal((n, width)))
    return TubalModel.of_factors(shape, axis, tubal.transform_of(name, shape[axis]), factors)


def unfolded_model(axis: int, name: str) -> UnfoldedModel:
    rng = np.random.default_rng(0)
    shape = (5, 6, 7)
    U, V = rng.standard_normal((210 // shape[axis], 2)), rng.standard_normal((shape[axis], 2))
    return UnfoldedModel(shape, axis, dmc.Factors(U, (), V, rng.standard_normal(len(U)), rng.standard_normal(len(V))))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("make", "name"), [(tubal_model, "dft"), (tubal_model, "dct"), (unfolded_model, "")])
def test_entries_are_those_of_the_whole(make: object, name: str, axis: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "NUMBERS", 40)  # a few at a time
    model, rng = make(axis, name), np.random.default_rng(1)
    where = tuple(rng.integers(0, n, 30) for n in model.shape)
    dense = model.dense()
    assert dense.shape == (5, 6, 7)
    np.testing.assert_allclose(model.at(where), dense[where], atol=1e-12)
    np.testing.assert_allclose(model.scaled(3.0).dense(), 3 * dense, atol=1e-12)


def test_a_tubal_model_is_a_product_and_its_factors_are_flat() -> None:
    model = tubal_model(2, "dft")
    problem = dmc.TubalLeastSquares(model.dense())
    assert problem.value(model.factors) < 1e-20
    assert model.widths.tolist() == [2] * 4


def test_an_unfolding_has_an_axis_for_columns() -> None:
    X = np.arange(24).reshape(2, 3, 4)
    assert unfolded(X, 1).shape == (8, 3)
    np.testing.assert_array_equal(unfolded(X, 1)[5], X[1, :, 1])
