"""Against systems solved directly; many at once against each alone."""

import numpy as np
import pytest

from dmc.solver.conjugate_gradients import conjugate_gradients


def systems(count, size, rank=None, seed=0):
    """(matrices, right-hand sides in their ranges)"""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((count, size, rank or size))
    matrices = A @ A.transpose(0, 2, 1)
    return matrices, (matrices @ rng.standard_normal((count, size, 1)))[:, :, 0]


def times(matrices):
    return lambda x: np.einsum("sij,sj->si", matrices, x)


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("rank", [None, 3])
def test_solution_is_the_direct_one_of_least_norm(count, rank):
    """Also where the matrix is singular: from zero there is no part of what it maps to zero."""
    matrices, b = systems(count, 6, rank)
    found = conjugate_gradients(times(matrices), lambda r: r, b, 1e-12, 60 if count == 1 else 6)
    wanted = [np.linalg.lstsq(A, y, rcond=1e-10)[0] for A, y in zip(matrices, b, strict=True)]
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


def test_an_exact_preconditioner_needs_one_product():
    matrices, b = systems(1, 8)
    calls = []
    product = times(matrices)
    inverse = times(np.linalg.inv(matrices))
    found = conjugate_gradients(lambda x: calls.append(1) or product(x), inverse, b, 1e-6, 50)
    assert len(calls) == 1
    np.testing.assert_allclose(product(found), b, rtol=1e-8)


def test_every_system_takes_its_own_steps():
    matrices, b = systems(5, 4)
    for products in (1, 2, 3):
        together = conjugate_gradients(times(matrices), lambda r: r, b, 1e-8, products)
        alone = [conjugate_gradients(times(matrices[[i]]), lambda r: r, b[[i]], 1e-8, products)[0] for i in range(5)]
        np.testing.assert_allclose(together, alone, rtol=1e-12)


def test_a_system_that_has_arrived_stays_while_others_go_on():
    """Without it, what rounding left would be blown up, most of all by a singular matrix."""
    matrices, b = systems(3, 6)
    matrices[0], b[1] = np.eye(6), 0
    found = conjugate_gradients(times(matrices), lambda r: r, b, 1e-8, 40)
    np.testing.assert_allclose(found[0], b[0], rtol=1e-12)
    assert not found[1].any()
    np.testing.assert_allclose(found[2], np.linalg.solve(matrices[2], b[2]), rtol=1e-6)


@pytest.mark.parametrize("tol", [0.3, 1e-3])
def test_one_system_ends_at_its_tolerance(tol):
    matrices, b = systems(1, 30)
    sizes = []

    def noted(r):
        sizes.append(np.linalg.norm(r))
        return r

    conjugate_gradients(times(matrices), noted, b, tol, 500)
    assert sizes[-1] <= tol * sizes[0] < min(sizes[:-1])


def test_nothing_to_solve_takes_no_product():
    found = conjugate_gradients(lambda x: pytest.fail("no product is needed"), lambda r: r, np.zeros((1, 5)), 0.1, 9)
    np.testing.assert_array_equal(found, np.zeros((1, 5)))


def test_tensors_in_tensors_out():
    torch = pytest.importorskip("torch")
    matrices, b = systems(4, 5)
    A = torch.from_numpy(matrices)
    found = conjugate_gradients(lambda x: (A @ x[:, :, None])[:, :, 0], lambda r: r, torch.from_numpy(b), 1e-8, 3)
    np.testing.assert_allclose(found.numpy(), conjugate_gradients(times(matrices), lambda r: r, b, 1e-8, 3), rtol=1e-9)
