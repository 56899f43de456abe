"""One layer's update, and the module in the layer's place."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from dmc.factors import Factors  # noqa: E402
from dmc.nn.adapters.low_rank import AdaptedLayer, LowRankUpdate  # noqa: E402


def update(m=5, n=7, r=3, cores=2, scaling=0.5, seed=0):
    rng = np.random.default_rng(seed)
    factors = Factors(rng.standard_normal((m, r)), rng.standard_normal((cores, r, r)), rng.standard_normal((n, r)))
    return LowRankUpdate(factors, scaling), scaling * factors.dense()


@pytest.mark.parametrize("cores", [0, 1, 3])
@pytest.mark.parametrize("scaling", [1.0, 0.5])
def test_it_is_its_product(cores, scaling):
    low, expected = update(cores=cores, scaling=scaling)
    torch.testing.assert_close(low.dense(), torch.from_numpy(expected))
    x = torch.randn(2, 4, 7, dtype=torch.float64)
    torch.testing.assert_close(low(x), x @ torch.from_numpy(expected).T)
    s = np.linalg.svd(expected, compute_uv=False)
    np.testing.assert_allclose(low.singular_values(), s[:3], rtol=1e-10)
    assert low(x.float()).dtype == torch.float64


def test_wide_and_tiny_updates_have_exact_singular_values():
    low, expected = update(3, 2, 2, scaling=1e-9)
    np.testing.assert_allclose(low.singular_values(), np.linalg.svd(expected, compute_uv=False), rtol=1e-10)


def test_cores_of_one_array_are_parameters_of_their_own():
    core = 0.1 * np.eye(2)
    low = LowRankUpdate(Factors(np.ones((3, 2)), (core, core), np.ones((4, 2))), 1.0)
    assert low.cores[0] is not low.cores[1]
    assert low.cores[0].data_ptr() != low.cores[1].data_ptr()
    with torch.no_grad():
        low.cores[0] += 1
    assert core[0, 1] == 0


def test_its_argument_is_named_as_that_of_a_dense_layer():
    layer, x = AdaptedLayer(torch.nn.Linear(5, 4), False), torch.ones(2, 5)
    assert torch.equal(layer(input=x), layer.layer(input=x))


def test_in_a_layers_place():
    layer = nn.Linear(7, 5, dtype=torch.float64)
    own = layer.weight
    adapted, x = AdaptedLayer(layer, transposed=False), torch.randn(4, 7, dtype=torch.float64)
    changes = {}
    for seed, name in enumerate(("one", "two")):
        adapted.updates[name], change = update(seed=seed)
        changes[name] = torch.from_numpy(change)
    assert (adapted.in_features, adapted.out_features, adapted.bias) == (7, 5, layer.bias)
    torch.testing.assert_close(adapted(x), layer(x))
    for active, merged, expected in (
        ("one", (), changes["one"]),
        ("one", ("one",), changes["one"]),
        ("one", ("two",), changes["one"] + changes["two"]),
        ("two", ("one", "two"), changes["one"] + changes["two"]),
        (None, ("two",), changes["two"]),
        ("one", (), changes["one"]),
    ):
        adapted.activate(active)
        adapted.merge(merged)
        torch.testing.assert_close(adapted.weight, own + expected)
        torch.testing.assert_close(adapted(x), x @ (own + expected).T + layer.bias)
        assert adapted.own_weight is own
        assert [p.requires_grad for p in adapted.updates["two"].parameters()] == [active == "two"] * 4
    assert layer.weight is own
    adapted.merge(("one",))
    adapted.remove("one")
    torch.testing.assert_close(layer.weight, own + changes["one"])
    assert adapted._own_weight is None
