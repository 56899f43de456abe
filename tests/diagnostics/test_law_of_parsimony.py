"""The law of parsimony, and the theorems of compression (Yaras et al., arXiv 2306.01154 and 2406.04112)."""

import numpy as np
import pytest

import dmc
from dmc import diagnostics
from dmc.solver import initial, steps

D, RANK, SCALE, RATE, N_STEPS = 60, 3, 0.1, 0.05, 2000
ROUNDING = 1e-12


def target(m, n, seed=0):
    rng = np.random.default_rng(seed)
    P, Q = (np.linalg.qr(rng.standard_normal((lines, RANK)))[0] for lines in (m, n))
    return (P * [1.0, 0.8, 0.6]) @ Q.T


def train(problem, start, outer_ratio, decay, n_steps=N_STEPS):
    rule = steps.DiscrepantDescent(RATE, outer_ratio, decay)
    return dmc.solve(problem, start, rule, max_steps=n_steps, tol=0).factors


@pytest.mark.parametrize(("depth", "scale"), [(2, 0.1), (3, 0.1), (4, 0.25)])  # deeper: from smaller it starts later
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_training_stays_in_the_predicted_blocks_and_compression_costs_what_the_bound_says(depth, scale, decay):
    problem = dmc.LeastSquares(target(D, D))
    start = initial.orthogonal((D, D), depth, scale)
    _, gradient = problem.value_and_grad(start)
    form = diagnostics.parsimony(start, gradient, RANK)
    small = initial.compressed_from(start, gradient, RANK)
    full, compressed = train(problem, start, 1.0, decay), train(problem, small, 0.0, decay)

    blocks = diagnostics.block_form(full, form)
    rho = diagnostics.predicted_rho(depth, scale, RATE, N_STEPS, decay)[-1]
    for block in blocks:
        assert block.off_block < ROUNDING
        assert block.rest < ROUNDING
        assert abs(block.rho - rho) < ROUNDING
    error = diagnostics.compression_error(full, compressed)
    bound = diagnostics.compression_bound(D, RANK, [block.rho for block in blocks])
    assert error == pytest.approx(bound, abs=ROUNDING)  # the bound is attained
    assert np.linalg.norm(full.dense() - problem.matrix) < 0.1  # and something was learnt
    # The cores are the blocks: the compressed network is the full one's moving part.
    for block, core in zip(blocks, reversed(compressed.cores), strict=True):
        np.testing.assert_allclose(
            np.linalg.svd(block.block, compute_uv=False), np.linalg.svd(core, compute_uv=False), atol=1e-10
        )


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_as_many_rows_as_the_rank(decay):
    """d_y = r: the last layer is not square, and ρ falls by weight decay alone in the layers below it."""
    problem = dmc.LeastSquares(target(RANK, D))
    start = initial.orthogonal((RANK, D), 3, SCALE)
    _, gradient = problem.value_and_grad(start)
    form = diagnostics.parsimony(start, gradient, RANK)
    full = train(problem, start, 1.0, decay)
    blocks = diagnostics.block_form(full, form)[:-1]
    rho = diagnostics.predicted_rho(3, SCALE, RATE, N_STEPS, decay, square=False)[-1]
    for block in blocks:
        assert block.off_block < ROUNDING
        assert block.rest < ROUNDING
        assert abs(block.rho - rho) < ROUNDING
    assert rho == pytest.approx(SCALE * (1 - RATE * decay) ** N_STEPS)
    assert np.linalg.norm(full.dense() - problem.matrix) < 0.05


def test_what_has_no_predicted_form_is_refused():
    problem, start = dmc.LeastSquares(target(8, 8)), initial.orthogonal((8, 8), 3, SCALE)
    value, gradient = problem.value_and_grad(start)
    form = diagnostics.parsimony(start, gradient, RANK)
    assert repr(form) == "Parsimony(3 layers: 6 of 8 directions move, 2 rest)"
    deeper = initial.orthogonal((8, 8), 4, SCALE)
    random, compressed = initial.normal((8, 8), 3, SCALE), initial.compressed(problem.matrix, RANK)
    with pytest.raises(TypeError, match="gradient is a tuple; give Factors"):
        diagnostics.parsimony(start, (value, gradient), RANK)
    with pytest.raises(ValueError, match="8×8, 8×8, 8×8 and the gradient 8×8, 8×8, 8×8, 8×8"):
        diagnostics.parsimony(start, problem.value_and_grad(deeper)[1], RANK)
    for other in (random, compressed):
        with pytest.raises(ValueError, match=r"start from dmc\.initial\.orthogonal"):
            diagnostics.parsimony(other, problem.value_and_grad(other)[1], RANK)
    with pytest.raises(ValueError, match="rank is 5; it has to be from 1 to 4"):
        diagnostics.parsimony(start, gradient, 5)
    with pytest.raises(ValueError, match="and the form is of 8×8, 8×8, 8×8; give its network"):
        diagnostics.block_form(deeper, form)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_the_closed_form_spans_what_the_published_construction_spans(depth):
    """From W_{L:1}(0) = ε^L Q, V spans the leading right singular vectors and Qᵀ times the left ones."""
    problem = dmc.LeastSquares(target(D, D))
    start = initial.orthogonal((D, D), depth, 1e-3)
    _, gradient = problem.value_and_grad(start)
    published = initial.compressed_from(start, gradient, RANK)
    closed = initial.compressed(problem.matrix, RANK, depth, 1e-3)
    Q = start.dense() / 1e-3**depth
    leading_left, leading_right = closed.U[:, RANK:], closed.V[:, :RANK]  # U = [w p], V = [q z]
    wanted_V = np.hstack([leading_right, Q.T @ leading_left])
    wanted_U = np.hstack([Q @ leading_right, leading_left])
    assert diagnostics.principal_angles(published.V, wanted_V).max() < 1e-8
    assert diagnostics.principal_angles(published.U, wanted_U).max() < 1e-8
    np.testing.assert_allclose(published.U.T @ published.U, np.eye(2 * RANK), atol=1e-10)
    np.testing.assert_allclose(published.V.T @ published.V, np.eye(2 * RANK), atol=1e-10)
