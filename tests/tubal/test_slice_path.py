"""The path by slices: what joins, what leaves, and that the multi-rank shows itself."""

from itertools import pairwise

import numpy as np
import pytest

from dmc import tubal
from dmc.tubal.slice_path import FIRST_LEVEL, SlicePath, leading
from planted_tensors import planted, slices_of


def walked(path: SlicePath, n_steps: int, decay: float = 0.84) -> list:
    points = [path.start()]
    for _ in range(n_steps):
        points.append(path.step(points[-1], decay))
    return points


@pytest.mark.parametrize("transform", ["dft", "dct"])
def test_the_multi_rank_shows_itself(transform: str) -> None:
    X, _, mask = planted((20, 18, 6), 2, 0.7, transform=transform)
    problem = slices_of(X, mask, transform)
    points = walked(SlicePath(problem, 18, 3, np.random.default_rng(0)), 30)
    assert points[0].model.widths.sum() == 0
    assert points[0].level == FIRST_LEVEL
    assert points[-1].model.widths.tolist() == [2] * len(problem.transform.weights)
    off = np.moveaxis(problem.tensor(points[-1].model), 0, 2) - X
    assert np.linalg.norm(off) < 1e-2 * np.linalg.norm(X)
    assert all(0 < b.level <= 0.84 * a.level + 1e-12 for a, b in pairwise(points))


def test_slices_of_their_own_rank_get_it() -> None:
    rng = np.random.default_rng(0)
    X = tubal.truncate(rng.standard_normal((20, 18, 6)), [3, 0, 1, 2])
    problem = slices_of(X, rng.random(X.shape) < 0.8)
    reached = walked(SlicePath(problem, 18, 3, rng), 40)[-1]
    assert reached.model.widths.tolist() == [3, 0, 1, 2]


def test_the_bound_holds_in_every_slice() -> None:
    X, _, mask = planted((12, 10, 5), 4)
    points = walked(SlicePath(slices_of(X, mask), 2, 3, np.random.default_rng(0)), 20)
    assert max(point.model.widths.max() for point in points) == 2


def test_steps_at_one_level_end_where_the_penalised_gradient_is_zero() -> None:
    """Without cores the penalty is the nuclear norm of every slice: at its minimum the residual's singular values are
    at most the level, and equal to it along the model's directions."""
    _, seen, mask = planted((10, 9, 4), 2, 0.8, noise=0.2)
    problem = slices_of(seen, mask)
    path = SlicePath(problem, 9, 0, np.random.default_rng(0))
    point = path.start(0.2)
    for _ in range(60):
        point = path.step(point, 1.0)
    slope = 0.2 * problem.share * problem.size
    by_slices = problem.gradient_by_slices(point.model)[1]
    s = np.linalg.svd(by_slices, compute_uv=False)
    assert s.max() < 1.03 * slope
    P, _, Q = point.model.svd()
    along = np.abs(np.einsum("fmk,fmn,fnk->fk", P.conj(), by_slices, Q))
    widths = point.model.widths
    for of_slice, width in zip(along, widths, strict=True):
        np.testing.assert_allclose(of_slice[:width], slope, rtol=0.02)


def test_a_power_iteration_finds_the_leading_directions_of_minus_the_gradient() -> None:
    rng = np.random.default_rng(0)
    G = rng.standard_normal((3, 8, 7)) + 1j * rng.standard_normal((3, 8, 7))
    G[:, 0] *= 10
    probes = np.linalg.qr(rng.standard_normal((3, 7, 2)) + 0j)[0]
    for _ in range(200):
        P, s, probes = leading(G, probes)
    U, expected, Vh = np.linalg.svd(-G)
    np.testing.assert_allclose(s, expected[:, :2], rtol=1e-5)
    np.testing.assert_allclose(
        (P * s[:, None]) @ probes.conj().transpose(0, 2, 1),
        (U[:, :, :2] * expected[:, None, :2]) @ Vh[:, :2],
        atol=0.05,
    )


def test_nothing_observed_of_any_size_moves_nothing() -> None:
    problem = slices_of(np.zeros((4, 3, 2)), np.ones((4, 3, 2), bool))
    path = SlicePath(problem, 2, 3, np.random.default_rng(0))
    assert path.step(path.start(), 0.84).model.widths.sum() == 0
