"""The path against planted ranks, and against the shrinkage of singular values where nothing is missing."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import brentq

from dmc import datasets
from dmc.factors import Factors
from dmc.inputs import observe
from dmc.observations import Observations
from dmc.solver import initial
from dmc.solver.loop import solve
from dmc.solver.problem import MaskedLeastSquares
from dmc.solver.rank_path import FIRST_LEVEL, RankPath, _leading, _without_weak

every_depth = pytest.mark.parametrize("depth", [0, 1, 3])


def walk(observed: Observations, step: RankPath, n: int, at: Factors | None = None, weights=None):
    """(the factors after n steps, the width after each)."""
    widths = []
    at = initial.spectral(observed, 1).scaled(1 - FIRST_LEVEL) if at is None else at
    look = [lambda info: widths.append(info.factors.width) if info.status is None else None]
    problem = MaskedLeastSquares(observed, weights)
    return solve(problem, at, step, max_steps=n, tol=0, check_every=1, callbacks=look).factors, widths


def with_spectrum(s, shape=(30, 20)) -> np.ndarray:
    rng = np.random.default_rng(0)
    P, Q = (np.linalg.qr(rng.standard_normal((size, len(s))))[0] for size in shape)
    return P * s @ Q.T


SHAPES = [((60, 50), 3, 0.5), ((40, 40), 1, 0.4), ((30, 120), 4, 0.6), ((120, 30), 2, 0.5), ((25, 400), 2, 0.4)]


@pytest.mark.parametrize(("shape", "rank", "share"), SHAPES)
@every_depth
def test_the_first_width_that_stays_is_the_planted_rank(shape, rank, share, depth):
    observed = datasets.planted(shape, rank, share, seed=1).observations
    _, widths = walk(observed, RankPath(3 * rank + 2, depth), 20)
    stays = [len(set(widths[i : i + 6])) == 1 for i in range(1, len(widths) - 5)]
    assert widths[1 + stays.index(True)] == rank
    assert max(widths) <= 3 * rank + 2


@pytest.mark.parametrize(("shape", "rank", "share"), SHAPES)
@pytest.mark.parametrize("depth", [1, 3])
def test_a_deep_path_ends_at_the_planted_matrix(shape, rank, share, depth):
    """The slope of the last level t moves it by about t^(2−q) with q = 2/(L + 2): the deeper, the less."""
    observed, A, B = datasets.planted(shape, rank, share, seed=1)
    found, widths = walk(observed, RankPath(3 * rank + 2, depth), 60)
    assert set(widths[-20:]) == {rank}
    X, last = A @ B.T, FIRST_LEVEL * 0.84**59
    assert np.linalg.norm(found.dense() - X) < 50 * last ** (2 - 2 / (depth + 2)) * np.linalg.norm(X)


@every_depth
def test_directions_join_and_leave(depth):
    observed = datasets.planted((60, 50), 3, 0.5, seed=1).observations
    _, widths = walk(observed, RankPath(8, depth), 25)
    assert widths[0] == 1
    assert widths[-1] == 3
    _, widths = walk(observed, RankPath(8, depth), 25, initial.spectral(observed, 6))
    assert widths[0] == 6
    assert widths[-1] == 3
    assert all(after <= before for before, after in pairwise(widths))


@every_depth
def test_no_width_exceeds_the_bound(depth):
    observed = datasets.planted((60, 50), 5, 0.5, noise=0.5).observations
    _, widths = walk(observed, RankPath(2, depth), 20)
    assert max(widths) == 2


def test_a_bound_above_the_smaller_side_is_no_problem():
    """Fewer rows than directions that are followed; and the rank is full."""
    X = np.random.default_rng(0).standard_normal((3, 40))
    found, widths = walk(observe(X), RankPath(20), 40)
    assert max(widths) == 3
    np.testing.assert_allclose(found.dense(), X, atol=1e-2)


@pytest.mark.parametrize(("level", "rank"), [(0.7, 2), (0.45, 3), (0.3, 4), (0.15, 5)])
def test_without_depth_a_level_is_soft_thresholding(level, rank):
    """The proximal map of the nuclear norm: the threshold is the level times the spectral norm."""
    X = with_spectrum([10.0, 8, 6, 4, 2, 1])
    observed = observe(X)
    found, _ = walk(observed, RankPath(rank, 0, level, 1), 100, initial.spectral(observed, 1))
    P, s, Qt = np.linalg.svd(X, full_matrices=False)
    soft = P * np.maximum(s - level * s[0], 0) @ Qt
    np.testing.assert_allclose(found.dense(), soft, atol=1e-6 * s[0])
    roomy, _ = walk(observed, RankPath(10, 0, level, 1), 100, initial.spectral(observed, 1))
    assert roomy.width == rank  # what joins again and again leaves again
    np.testing.assert_allclose(roomy.dense(), soft, atol=0.05 * s[0])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("level", [0.2, 0.4])
def test_without_depth_a_level_satisfies_the_optimality_of_the_nuclear_norm(level, weighted):
    """−∇ = τ·P·Qᵀ + W with P, Q the model's singular vectors, W orthogonal to them and ‖W‖ ≤ τ, with entries missing.

    τ is the level times the spectral norm of the weighted observed matrix.
    """
    observed = datasets.planted((40, 30), 5, 0.6, condition=5).observations
    weights = np.random.default_rng(0).random(observed.n_observed) + 0.5 if weighted else np.ones(observed.n_observed)
    roomy, _ = walk(observed, RankPath(20, 0, level, 1), 100, weights=weights)
    found, _ = walk(observed, RankPath(roomy.width, 0, level, 1), 100, roomy, weights)
    residual = weights * MaskedLeastSquares(observed).residual(found)
    slope = -observed.with_values(residual).to_scipy().toarray()
    tau = level * np.linalg.norm(observed.with_values(weights * observed.values).to_scipy().toarray(), 2)
    P, _, Q = found.svd()
    np.testing.assert_allclose(slope.T @ P, tau * Q, atol=0.01 * tau)
    np.testing.assert_allclose(slope @ Q, tau * P, atol=0.01 * tau)
    assert np.linalg.norm(slope, 2) < 1.01 * tau


@pytest.mark.parametrize("level", [0.3, 0.45])
@every_depth
def test_a_level_shrinks_each_singular_value_by_its_own_slope(depth, level):
    """ŝ + τ(τ/(ŝ + τ))^(1−q) = s with q = 2/(L + 2), one equation for each, solved by SciPy."""
    s = np.array([10.0, 8, 6, 4, 2, 1])
    observed, tau = observe(with_spectrum(s)), level * s[0]
    s, q = s[s > tau], 2 / (depth + 2)
    found, _ = walk(observed, RankPath(len(s), depth, level, 1), 150)
    wanted = [brentq(lambda x, y=y: x + tau * (tau / (x + tau)) ** (1 - q) - y, 0, y) for y in s]
    np.testing.assert_allclose(found.singular_values(), wanted, atol=1e-4)


def test_the_deeper_the_less_large_singular_values_shrink():
    s = np.array([10.0, 8, 6])
    observed = observe(with_spectrum(s))
    lost = [s - walk(observed, RankPath(6, depth, 0.3, 1), 100)[0].singular_values()[:3] for depth in (0, 1, 3, 8)]
    assert all((after < before).all() for before, after in pairwise(lost))
    np.testing.assert_allclose(lost[0], 3, atol=0.1)  # without depth all alike
    assert lost[2][0] < 0.9 * lost[2][2]


@pytest.mark.parametrize("factor", [1e6, 1e-6])
def test_the_path_does_not_know_the_units(factor):
    observed = datasets.planted((40, 30), 3, 0.5).observations
    plain, widths = walk(observed, RankPath(8), 12)
    scaled, same = walk(observed.with_values(factor * observed.values), RankPath(8), 12)
    assert same == widths
    np.testing.assert_allclose(scaled.dense() / factor, plain.dense(), atol=1e-6)


def test_same_seed_same_result():
    observed = datasets.planted((40, 30), 3, 0.5, noise=0.3).observations
    a, b, c = (walk(observed, RankPath(8, seed=seed), 10)[0] for seed in (5, np.random.default_rng(5), 6))
    np.testing.assert_array_equal(a.dense(), b.dense())
    assert (a.dense() != c.dense()).any()


@every_depth
def test_single_precision_stays_single(depth):
    observed = datasets.planted((60, 50), 3, 0.5, seed=1).observations
    single = observed.with_values(observed.values.astype(np.float32))
    found, widths = walk(single, RankPath(11, depth), 20)
    assert {a.dtype for a in found.arrays} == {np.dtype(np.float32)}
    assert widths == walk(observed, RankPath(11, depth), 20)[1]


@pytest.mark.parametrize("weights", [None, np.zeros(12)])
def test_where_there_is_nothing_to_find_nothing_moves(weights):
    observed = observe(np.zeros((4, 3)) if weights is None else np.ones((4, 3)))
    problem, at, step = (
        MaskedLeastSquares(observed, weights),
        initial.spectral(observe(np.ones((4, 3))), 2),
        RankPath(3),
    )
    state = step.init(problem, at)
    for _ in range(3):
        value, gradient = problem.value_and_grad(at)
        moved, state = step(at, value, gradient, state)
        np.testing.assert_array_equal(moved.dense(), at.dense())


@pytest.mark.parametrize(("depth", "biased", "said"), [(2, False, "2 cores"), (0, True, "0 cores, biases")])
def test_cores_and_biases_are_refused(depth, biased, said):
    at = initial.gaussian((4, 3), 2, depth)
    at = Factors(at.U, at.cores, at.V, np.zeros(4) if biased else None)
    with pytest.raises(
        ValueError, match=f"RankPath moves two-factor models without cores and row biases; these are .*{said}"
    ):
        RankPath(2).init(MaskedLeastSquares(observe(np.ones((4, 3)))), at)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"bound": 0}, "bound is 0"),
        ({"depth": -1}, "depth is -1"),
        ({"level": 0}, "level is 0"),
        ({"decay": 1.1}, "decay is 1.1"),
        ({"decay": -0.1}, "decay is -0.1"),
    ],
)
def test_bad_settings(settings, said):
    with pytest.raises(ValueError, match=said):
        RankPath(**{"bound": 3} | settings)


@pytest.mark.parametrize("dependent", [False, True])
def test_weak_directions_leave_and_the_rest_is_balanced(dependent):
    """By Gram matrices, or where columns are as good as dependent by QR."""
    rng = np.random.default_rng(0)
    U, V = rng.standard_normal((30, 5)), rng.standard_normal((20, 5))
    if dependent:
        U[:, 4] = U[:, 3] + 1e-9 * U[:, 4]
    at = Factors(U, (), V)
    P, s, Q = at.svd()
    kept = _without_weak(at, (s[2] + s[3]) / 2)
    np.testing.assert_allclose(kept.dense(), P[:, :3] * s[:3] @ Q[:, :3].T, atol=1e-12)
    for side in (kept.U, kept.V):
        np.testing.assert_allclose(side.T @ side, np.diag(s[:3]), atol=1e-11)
    whole = _without_weak(at, 0)
    np.testing.assert_allclose(whole.dense(), at.dense(), atol=1e-12)


@pytest.mark.parametrize("rank", [3, 12])
def test_a_power_iteration_finds_the_leading_directions(rank):
    """Of fewer directions than are followed, too."""
    X = with_spectrum(2.0 ** -np.arange(rank))
    probes = np.random.default_rng(1).standard_normal((20, 5))
    for _ in range(40):
        P, s, probes = _leading(lambda side, vectors: -(X.T if side else X) @ vectors, probes)
    np.testing.assert_allclose(s, np.linalg.svd(X)[1][:5], atol=1e-9)
    for side in (P, probes):
        np.testing.assert_allclose(side.T @ side, np.eye(5), atol=1e-9)
