"""Starts of a descent over factor tensors."""

import numpy as np
import pytest

import dmc
from dmc import tubal

X = np.random.default_rng(0).standard_normal((7, 6, 5))


def test_the_spectral_start_of_a_whole_tensor_is_its_truncation() -> None:
    problem = dmc.TubalLeastSquares(X)
    np.testing.assert_allclose(problem.tensor(tubal.spectral(problem, 2)), tubal.truncate(X, 2), atol=1e-12)
    balanced = tubal.spectral(problem, 2)
    np.testing.assert_allclose(np.linalg.norm(balanced.U), np.linalg.norm(balanced.V))


def test_a_random_start_is_as_small_as_it_says() -> None:
    problem = dmc.TubalLeastSquares(X)
    start = tubal.small_random(problem, 3, 1e-2, seed=4)
    assert start.U.shape == (7, 15)
    size = tubal.singular_values(problem.tensor(start)).max() / tubal.singular_values(X).max()
    assert 1e-5 < size < 1e-3  # of a product of two factors, each so small
    again = tubal.small_random(problem, 3, 1e-2, seed=4)
    np.testing.assert_array_equal(start.V, again.V)


@pytest.mark.parametrize("start", [tubal.spectral, tubal.small_random])
def test_a_width_that_no_slice_has_is_refused(start: object) -> None:
    with pytest.raises(ValueError, match="width is 7; it has to be from 1 to 6: a slice has 7×6 entries"):
        start(dmc.TubalLeastSquares(X), 7)
