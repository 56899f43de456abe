"""The kernel on torch tensors against the reference."""

import numpy as np
import pytest

import kernel_suite as suite
from dmc.kernels import reference

torch = pytest.importorskip("torch")

from dmc import _arrays  # noqa: E402
from dmc.kernels import operators  # noqa: E402
from dmc.pattern import BothOrders  # noqa: E402


def on_torch(given):
    left, right, pattern, *by_entry = given
    target, weights = (b and BothOrders(*(_arrays.place(a, "cpu") for a in b)) for b in by_entry)
    return suite.Case(*(_arrays.place(a, "cpu") for a in (left, right)), pattern.to("cpu"), target, weights)


def assert_same_as_reference(given):
    product, loss, *gradients = suite.answers(operators, on_torch(given))
    assert loss.shape == ()  # still on the device: nobody waited for it
    assert {a.dtype for a in (product, *gradients)} == {on_torch(given).left.dtype}
    got = (product.numpy(), float(loss), *(g.numpy() for g in gradients))
    suite.assert_same(got, suite.answers(reference, given), given.left.dtype)
    suite.assert_one_sided(operators, reference, given, on_torch(given))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", suite.DTYPES)
@pytest.mark.parametrize("width", [1, 7, 64])
def test_every_width_equals_reference(width, dtype, weighted):
    assert_same_as_reference(suite.case(width, dtype, weighted))


@pytest.mark.parametrize("mask", suite.ODD)
@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_odd_patterns_equal_reference(mask, index):
    assert_same_as_reference(suite.case(5, np.float64, True, mask, index))
