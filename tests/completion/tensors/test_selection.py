"""The choice among axes and unfoldings."""

import numpy as np
import pytest

from dmc import tubal
from dmc.completion.tensors.model import TubalModel, UnfoldedModel
from dmc.completion.tensors.phases import TensorPhases
from dmc.completion.tensors.selection import Selected, Selection, Settings
from dmc.solver.loop import Run
from planted_tensors import planted


def selected(values: np.ndarray, mask: np.ndarray, tubes: tuple = (0, 1, 2), unfoldings: tuple = (0, 1, 2)) -> Selected:
    transforms = {axis: tubal.transform_of("dft", values.shape[axis]) for axis in tubes}
    settings = Settings(transforms, unfoldings, 12, 3, 0.05, 1e-11)
    with Run() as run:
        return Selection(values, mask, settings, np.random.default_rng(0), TensorPhases(run)).select()


@pytest.mark.parametrize("axis", [0, 2])
def test_the_axis_along_which_it_is_of_low_tubal_rank_is_found(axis: int) -> None:
    X, _, mask = (np.moveaxis(a, 2, axis) for a in planted((14, 12, 6), 1, 0.6))
    found = selected(X, mask)
    assert isinstance(found.model, TubalModel)
    assert (found.model.tube, found.exact, found.short) == (axis, True, 0)
    assert np.abs(found.model.dense() - X).max() < 1e-11


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_the_unfolding_that_is_of_low_rank_is_found(noise: float) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((10, 9, 2)) @ rng.standard_normal((2, 12))  # its columns: the last axis
    mask = rng.random(X.shape) < 0.7
    found = selected(X + noise * rng.standard_normal(X.shape), mask)
    assert isinstance(found.model, UnfoldedModel)
    assert found.model.axis == 2
    assert found.exact == (noise == 0)
    assert np.linalg.norm(found.model.dense() - X) < max(1e-10, 1.5 * noise) * np.linalg.norm(X)
    if noise:
        assert set(found.errors) == {
            *(f"tube {axis}" for axis in range(3)),
            *(f"unfolding {axis}" for axis in range(3)),
        }
        assert min(found.errors, key=found.errors.get) == "unfolding 2"
        assert found.error == pytest.approx(noise, rel=0.5)


def test_an_exact_model_with_too_few_entries_in_a_row_says_so() -> None:
    X, _, mask = planted((16, 14, 6), 2, 0.8)
    mask[3] = False
    mask[3, 2] = True  # six entries for twelve unknowns
    found = selected(X, mask, (2,), ())
    assert (found.exact, found.short) == (True, 1)


def test_columns_that_are_alike_determine_no_row() -> None:
    rng = np.random.default_rng(0)
    X = np.repeat(tubal.product(rng.standard_normal((5, 2, 8)), rng.standard_normal((2, 22, 8))), 4, 0)
    mask = rng.random(X.shape) < 0.6
    found = selected(X, mask)  # unfolding 0 matches all entries as well, and is wrong where four alike are missing
    assert (found.model.tube, found.exact, found.short) == (2, True, 0)
    np.testing.assert_allclose(found.model.dense(), X, atol=1e-9)
    alone = selected(X, mask, (), (0,))
    assert alone.exact
    assert alone.short >= np.sum((~mask.reshape(5, 4, -1).any(1)).any(0))  # rows that lack all of such a four
