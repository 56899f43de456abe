"""Factor tensors as flat matrices, and as models of the slices: one and the same."""

import numpy as np
import pytest

import dmc
from dmc import tubal
from dmc.tubal.containers import from_slices, to_slices


def test_a_column_is_one_entry_of_the_tubes_of_a_lateral_slice() -> None:
    U = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    flat = tubal.flatten(U)
    assert flat.shape == (2, 12)
    np.testing.assert_array_equal(flat[:, 2 * 4 + 1], U[:, 2, 1])
    np.testing.assert_array_equal(tubal.unflatten(flat, 4), U)


@pytest.mark.parametrize("name", ["dft", "dct"])
@pytest.mark.parametrize("length", [4, 5])
def test_slices_are_those_of_the_product(name: str, length: int) -> None:
    rng = np.random.default_rng(0)
    U, V = rng.standard_normal((6, 2, length)), rng.standard_normal((5, 2, length))
    factors = dmc.Factors(tubal.flatten(U), (), tubal.flatten(V))
    transform = tubal.transform_of(name, length)
    model = to_slices(transform, factors)
    product = tubal.product(U, tubal.transpose(V, name), name)
    np.testing.assert_allclose(np.moveaxis(transform.backward(model.dense()), 0, 2), product, atol=1e-12)
    back = from_slices(transform, model)
    np.testing.assert_allclose(back.U, factors.U, atol=1e-14)
    np.testing.assert_allclose(back.V, factors.V, atol=1e-14)
