"""Full observation and linear sensing: against completion, and on what was planted."""

import numpy as np
import pytest
from scipy import sparse
from test_problem import DEPTHS, SHAPE, factors, observations, weights_of

from dmc.inputs import observe
from dmc.solver import initial, steps
from dmc.solver.dense_problems import LeastSquares, LinearSensing
from dmc.solver.problem import MaskedLeastSquares


@pytest.mark.parametrize("depth", DEPTHS)
def test_full_observation_equals_a_mask_that_is_true_everywhere(depth):
    X, at = np.random.default_rng(0).standard_normal(SHAPE), factors(depth, ("row", "column"))
    full, masked = LeastSquares(X), MaskedLeastSquares(observe(X))
    value, gradient = full.value_and_grad(at)
    wanted, gradients = masked.value_and_grad(at)
    assert value == pytest.approx(wanted, rel=1e-12)
    assert full.value(at) == value
    for one, other in zip(gradient.arrays, gradients.arrays, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
    assert full.target_norm == pytest.approx(masked.target_norm, rel=1e-2)
    assert full.curvature == masked.curvature == 1


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_sensing_single_entries_is_completion(form):
    """A_i = e_r e_cᵀ measures one entry, times the root of its weight."""
    observed = observations()
    weights = weights_of(observed)
    A = np.zeros((observed.n_observed, *SHAPE))
    A[np.arange(len(A)), observed.rows, observed.cols] = np.sqrt(weights)
    y = observed.values * np.sqrt(weights)
    given = (A, y) if form == "dense" else (sparse.csr_array(A.reshape(len(A), -1)), y, SHAPE)
    sensing, masked, at = LinearSensing(*given), MaskedLeastSquares(observed, weights), factors(2)
    value, gradient = sensing.value_and_grad(at)
    wanted, gradients = masked.value_and_grad(at)
    assert value == pytest.approx(wanted, rel=1e-12)
    assert sensing.value(at) == value
    for one, other in zip(gradient.arrays, gradients.arrays, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
    assert sensing.curvature == pytest.approx(masked.curvature)
    assert sensing.target_norm == pytest.approx(masked.target_norm, rel=1e-2)


def test_sensing_recovers_a_planted_matrix():
    from dmc.solver.loop import solve

    rng = np.random.default_rng(0)
    X = rng.standard_normal((15, 2)) @ rng.standard_normal((2, 12)) / 8
    A = rng.standard_normal((150, 15, 12)) / np.sqrt(150)
    problem = LinearSensing(A, np.tensordot(A, X, 2))
    start = initial.compressed(problem.back_projection, 4, 3, 1e-2)
    found = solve(problem, start, steps.DiscrepantDescent(), max_steps=2000, tol=1e-6).factors
    assert np.linalg.norm(found.dense() - X) < 1e-3 * np.linalg.norm(X)


@pytest.mark.parametrize(
    ("make_it", "said"),
    [
        (lambda: LeastSquares(np.ones(3)), r"matrix has shape \(3,\)"),
        (lambda: LeastSquares([[np.nan]]), "not finite"),
        (lambda: LinearSensing(np.ones((2, 3)), [1, 2]), r"A has shape \(2, 3\)"),
        (lambda: LinearSensing(np.ones((2, 3, 4)), [1]), r"y has shape \(1,\)"),
        (lambda: LinearSensing(np.ones((2, 3, 4)), [1, np.inf]), "y holds 1 value"),
        (lambda: LinearSensing(np.ones((2, 3, 4)), [1, 2], (4, 3)), "leave shape out"),
        (lambda: LinearSensing(sparse.eye_array(4), np.ones(4)), "pass shape="),
        (lambda: LinearSensing(sparse.eye_array(4), np.ones(4), (3, 2)), "rows·columns"),
        (lambda: LeastSquares(np.ones((2, 2))).value(factors()), "data are 2×2"),
    ],
)
def test_bad_full_or_linear_data(make_it, said):
    with pytest.raises(ValueError, match=said):
        make_it()
