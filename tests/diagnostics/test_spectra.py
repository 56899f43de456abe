"""Singular values and subspaces of layers, effective rank, and balance."""

import numpy as np
import pytest

import dmc
from dmc import diagnostics
from dmc.solver import initial, steps


def test_gradient_flow_keeps_the_balance():
    problem = dmc.LeastSquares(np.diag(np.r_[1.0, 0.8, 0.6, np.zeros(9)]))
    start = initial.orthogonal((12, 12), 3, 0.3)
    before = diagnostics.imbalance(start)
    assert max(before) < 1e-12
    coarse, fine = (
        dmc.solve(problem, start, steps.DiscrepantDescent(rate), max_steps=round(20 / rate), tol=0).factors
        for rate in (0.02, 0.01)
    )
    # Discretisation breaks it in proportion to the step.
    assert max(diagnostics.imbalance(fine)) == pytest.approx(max(diagnostics.imbalance(coarse)) / 2, rel=0.1)


@pytest.mark.parametrize("k", [1, 2, 7])
def test_effective_rank_of_equal_values(k):
    assert diagnostics.effective_rank(np.r_[np.full(k, 3.0), np.zeros(5)]) == pytest.approx(k)


def test_effective_rank_bad_input():
    assert diagnostics.effective_rank([0.0, 0.0]) == 0
    for bad in ([], [-1.0], [np.nan]):
        with pytest.raises(ValueError, match="non-negative"):
            diagnostics.effective_rank(bad)


def test_layer_spectrum_angles():
    rng = np.random.default_rng(0)
    P, Q = (np.linalg.qr(rng.standard_normal((6, 6)))[0] for _ in range(2))
    layer = (P * [6, 5, 4, 3, 2, 1]) @ Q.T
    found = diagnostics.layer_spectrum(layer, (P, Q))
    np.testing.assert_allclose(found.values, [6, 5, 4, 3, 2, 1])
    np.testing.assert_allclose(found.left_angles, 0, atol=1e-6)
    turned = P.copy()
    c, s = np.cos(0.3), np.sin(0.3)
    turned[:, :2] = P[:, :2] @ [[c, -s], [s, c]]
    found = diagnostics.layer_spectrum(layer, (turned, Q))
    np.testing.assert_allclose(found.left_angles[:3], [0.3, 0.3, 0], atol=1e-6)


def test_layers_multiply_to_the_matrix():
    network = initial.orthogonal((5, 7), 4, 0.5)
    product = np.linalg.multi_dot(diagnostics.layers(network)[::-1])
    np.testing.assert_allclose(product, network.dense())
