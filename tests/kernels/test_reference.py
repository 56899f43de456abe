"""The oracle of the other kernels, against dense matrix products."""

import numpy as np
import pytest

import kernel_suite as suite
from dmc.inputs import observe
from dmc.kernels import reference, residual_gradients
from dmc.pattern import BothOrders


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", suite.DTYPES)
@pytest.mark.parametrize("mask", suite.MASKS)
def test_equals_dense_product(mask, dtype, weighted):
    given = suite.case(5, dtype, weighted, mask)
    got = suite.answers(reference, given)
    suite.assert_types(given, got)
    suite.assert_same(got, suite.dense_answers(given), dtype)
    one, wanted = suite.one_sided(reference, given), suite.dense_one_sided(given)
    assert one.keys() == wanted.keys()
    for name, answer in one.items():
        atol = 200 * np.finfo(dtype).eps * np.abs(wanted[name]).max()
        np.testing.assert_allclose(answer, wanted[name], rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize("width", suite.WIDTHS)
def test_every_width(width):
    given = suite.case(width)
    suite.assert_same(suite.answers(reference, given), suite.dense_answers(given), np.float64)


def test_chunks_join_without_a_seam(monkeypatch):
    """Chunks smaller than the data, and not a divisor of their number, change nothing."""
    given = suite.case(4, weighted=True)
    whole = suite.answers(reference, given)
    monkeypatch.setattr(reference, "CHUNK", 7)
    suite.assert_same(suite.answers(reference, given), whole, np.float64)


def test_loss_of_float32_is_added_up_in_float64():
    """Added in float32, 2²⁵ equal terms would stop at 2²⁴; here fewer, but with the same digits lost."""
    n = 20_000
    observations = observe(np.zeros((1, n), np.float32))
    target = observations.pattern.both_orders(observations.values)
    left, right = np.ones((1, 1), np.float32), np.full((n, 1), np.float32(0.1))
    loss, _, _ = residual_gradients(reference, left, right, observations.pattern, target)
    assert loss == pytest.approx(0.5 * n * float(np.float32(0.1) * np.float32(0.1)), rel=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_torch_tensors_in_torch_tensors_out(weighted):
    torch = pytest.importorskip("torch")
    given = suite.case(6, weighted=weighted)

    def tensors(orders):
        return None if orders is None else BothOrders(*(torch.tensor(a) for a in orders))

    left, right = torch.from_numpy(given.left), torch.from_numpy(given.right)
    pattern = given.pattern.to("cpu")
    product = reference.masked_product(left, right, pattern)
    got = residual_gradients(reference, left, right, pattern, tensors(given.target), tensors(given.weights))
    assert all(isinstance(tensor, torch.Tensor) for tensor in (product, *got[1:]))
    suite.assert_same((product.numpy(), got[0], got[1].numpy(), got[2].numpy()), suite.dense_answers(given), np.float64)
