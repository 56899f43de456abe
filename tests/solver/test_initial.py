"""The starts: their closed forms against the dense SVD and the published construction."""

import numpy as np
import pytest
from scipy import sparse

from dmc._group import Share
from dmc.factors import Factors
from dmc.inputs import observe
from dmc.observations import Observations
from dmc.solver import initial
from dmc.solver.problem import MaskedLeastSquares

SHAPES = [(30, 30), (50, 20), (20, 50), (12, 8), (9, 4), (5, 1), (1, 1)]


def torch_tensor(array):
    return pytest.importorskip("torch").from_numpy(array)


def observations(shape=(30, 30), rank=None, share=0.5, dtype=np.float64) -> Observations:
    rng = np.random.default_rng(3)
    m, n = shape
    k = min(shape) if rank is None else rank
    X = rng.standard_normal((m, k)) @ rng.standard_normal((k, n))
    mask = rng.random(shape) < share
    mask[0, 0] = True
    return observe(X.astype(dtype), mask)


def leading(observed: Observations, rank: int):
    P, s, Qt = np.linalg.svd(observed.to_scipy().toarray())
    return P[:, :rank], s[:rank], Qt[:rank].T


def assert_orthonormal(A: np.ndarray, atol: float = 1e-12) -> None:
    np.testing.assert_allclose(A.T @ A, np.eye(A.shape[1]), atol=atol)


def assert_inside(vectors: np.ndarray, basis: np.ndarray, atol: float = 1e-10) -> None:
    """The span of orthonormal vectors lies in that of an orthonormal basis: all principal cosines are 1."""
    cosines = np.linalg.svd(basis.T @ vectors, compute_uv=False)
    np.testing.assert_allclose(cosines, 1, atol=atol)


# --- compressed


@pytest.mark.parametrize(
    ("shape", "rank"), [(shape, rank) for shape in SHAPES for rank in (1, 2, 4, 5, 8) if rank <= min(shape)]
)
def test_outer_factors_are_orthonormal_and_hold_the_leading_singular_vectors(shape, rank):
    observed = observations(shape)
    start = initial.compressed(observed, rank, depth=3, scale=0.05)
    width = min(2 * rank, *shape)
    assert (start.U.shape, start.V.shape) == ((shape[0], width), (shape[1], width))
    P, _, Q = leading(observed, rank)
    for factor, vectors in ((start.U, P), (start.V, Q)):
        assert_orthonormal(factor)
        assert_inside(vectors, factor)
    assert start.depth == 3
    for W in start.cores:
        np.testing.assert_array_equal(W, 0.05 * np.eye(width))


@pytest.mark.parametrize("depth", [0, 1, 2, 5])
def test_depth(depth):
    start = initial.compressed(observations(), 3, depth=depth, scale=1e-3)
    assert start.depth == depth
    # The end-to-end matrix has `width` equal singular values, the scale to the power of the depth.
    np.testing.assert_allclose(start.singular_values(), 1e-3 ** max(depth, 1), rtol=1e-10)


def test_without_cores_the_two_factors_share_the_scale():
    start = initial.compressed(observations(), 3, depth=0, scale=0.04)
    assert_orthonormal(start.U / 0.2)
    assert_orthonormal(start.V / 0.2)


def complete(basis: np.ndarray) -> np.ndarray:
    """Orthonormal columns that span what an orthonormal basis leaves out."""
    return np.linalg.svd(basis)[0][:, basis.shape[1] :]


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_it_is_the_compression_of_a_full_width_network(depth):
    """Yaras et al., section 3: V spans the complement of N(G) ∩ N(GᵀW_1), U = W_{L:1} V/ε^L, with G the first gradient.

    The full network here is any whose product is ε^L Q with QV = U: then the published construction, from its d×d
    gradient, has to find our two subspaces, and what it starts from has to be our start.
    """
    d, rank, scale = 30, 4, 1e-3
    observed = observations((d, d))
    start = initial.compressed(observed, rank, depth, scale)
    rng = np.random.default_rng(0)
    Q = start.U @ start.V.T + complete(start.U) @ complete(start.V).T
    layers = [np.linalg.qr(rng.standard_normal((d, d)))[0] for _ in range(depth - 1)]  # W_L … W_2, over ε
    product = np.linalg.multi_dot([np.eye(d), *layers])
    layers.append(product.T @ Q)

    full = Factors(scale * layers[0], [scale * W for W in layers[1:-1]], scale * layers[-1].T)
    _, gradient = MaskedLeastSquares(observed).value_and_grad(full)
    G, W_1 = gradient.V.T, full.V.T
    # The rows of G and of GᵀW_1 that are more than rounding, cut at the rank.
    rows = [np.linalg.svd(M)[2][:rank] for M in (G, G.T @ W_1)]
    V_11 = np.linalg.svd(np.vstack(rows))[2][: 2 * rank].T
    U_L1 = np.asarray(full.dense()) @ V_11 / scale**depth

    # ε² is the share of the start itself in its first gradient.
    assert_inside(V_11, start.V, atol=1e-6)
    assert_inside(U_L1, start.U, atol=1e-6)
    np.testing.assert_allclose(
        start.dense(), start.U @ start.U.T @ full.dense() @ start.V @ start.V.T, atol=1e-12 * scale
    )


def test_law_of_parsimony():
    """All entries observed, target of rank r: the full network's descent stays in the compressed one's subspace.

    W_{L:1}(t) − U W̃_{L:1}(t) Vᵀ has the norm √(d−2r) ∏ρ_l(t), with ρ_l ← ρ_l (1 − η ∏_{k≠l} ρ_k²) outside it
    (Yaras et al., arXiv 2306.01154). So the two trajectories agree to that bound, and exactly to rounding with it.
    """
    from dmc.solver.steps import DiscrepantDescent

    d, rank, depth, scale, rate = 20, 2, 3, 0.3, 0.02
    rng = np.random.default_rng(0)
    ends = [np.linalg.qr(rng.standard_normal((d, rank)))[0] for _ in range(2)]
    problem = MaskedLeastSquares(observe((ends[0] * [2.0, 1.0]) @ ends[1].T))
    W_L, W_2, W_1 = (scale * np.linalg.qr(rng.standard_normal((d, d)))[0] for _ in range(depth))
    full = Factors(W_L, [W_2], W_1.T)
    # Its first gradient is of rank r up to a multiple of W_1: the published construction, without a cut.
    Q = W_L @ W_2 @ W_1 / scale**depth
    V = np.linalg.qr(np.hstack([ends[1], Q.T @ ends[0]]))[0]
    small = Factors(Q @ V, [scale * np.eye(2 * rank)] * depth, V)
    moves = {"full": (full, DiscrepantDescent(rate)), "small": (small, DiscrepantDescent(rate, outer_ratio=0))}
    rho = scale
    for _ in range(400):
        for name, (at, step) in moves.items():
            value, gradient = problem.value_and_grad(at)
            moves[name] = step(at, value, gradient, step.init(problem, at))[0], step
        rho *= 1 - rate * rho ** (2 * (depth - 1))
    full, small = moves["full"][0], moves["small"][0]
    assert problem.value(small) < 1e-3  # of 2.5: it has learnt the target, the claim is not about standing still
    error = np.linalg.norm(full.dense() - small.dense())
    assert error == pytest.approx((d - 2 * rank) ** 0.5 * rho**depth, rel=1e-9)


def test_a_huge_sparse_matrix_stays_sparse():
    """A dense one of this size would take 160 GB."""
    rng = np.random.default_rng(0)
    rows, cols = rng.choice(200_000, 500, replace=False), rng.choice(100_000, 500, replace=False)
    observed = Observations.from_entries(rows, cols, np.linspace(1, 2, 500), (200_000, 100_000))
    start = initial.compressed(observed, 3)
    assert (start.U.shape, start.V.shape) == ((200_000, 6), (100_000, 6))
    assert_orthonormal(start.U)
    assert_orthonormal(start.V)
    # No two entries share a line: the singular vectors are unit vectors, at the largest values.
    for factor, lines in ((start.U, rows), (start.V, cols)):
        np.testing.assert_allclose(np.linalg.norm(factor[lines[-3:]], axis=1), 1, rtol=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("start", [initial.compressed, initial.spectral])
@pytest.mark.parametrize("rank", [0, 1, 2, 12])
def test_a_rank_above_the_data_s_own(rank, start, dtype):
    """Also of a matrix of zeros, where the iterative SVD has nothing to start from."""
    observed = observations((60, 40), rank=rank, share=1, dtype=dtype)
    found = start(observed, 8)
    assert all(np.isfinite(a).all() and a.dtype == dtype for a in found.arrays)
    if start is initial.compressed:
        eps = float(np.finfo(dtype).eps)
        assert_orthonormal(found.U, atol=100 * eps)
        assert_orthonormal(found.V, atol=100 * eps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_and_tiny_values(dtype):
    """The same subspace as at scale one, where squares would leave the range of the dtype."""
    observed = observations(dtype=dtype)
    plain = initial.compressed(observed, 3)
    for scale in (2.0**100, 2.0**-100):
        scaled = initial.compressed(observed.with_values(observed.values * dtype(scale)), 3)
        for a, b in zip(plain.arrays, scaled.arrays, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("start", [initial.compressed, initial.spectral])
def test_the_seed_decides(start):
    observed = observations()
    first, again = (start(observed, 3, seed=5) for _ in range(2))
    generator = start(observed, 3, seed=np.random.default_rng(5))
    for a, b, c in zip(first.arrays, again.arrays, generator.arrays, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    assert start is initial.spectral or not np.array_equal(first.U, start(observed, 3, seed=6).U)


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"rank": 0}, ValueError, "rank is 0; it has to be from 1 to 8: a 12×8 matrix"),
        ({"rank": 9}, ValueError, "rank is 9; it has to be from 1 to 8: a 12×8 matrix"),
        ({"rank": 2.0}, TypeError, "rank is 2.0"),
        ({"depth": -1}, ValueError, "depth is -1; it has to be at least 0"),
        ({"scale": 0}, ValueError, "scale is 0"),
        ({"scale": np.inf}, ValueError, "scale is inf"),
    ],
)
def test_bad_settings(settings, error, said):
    with pytest.raises(error, match=said):
        initial.compressed(observations((12, 8)), **{"rank": 2, **settings})


# --- spectral


@pytest.mark.parametrize("shape", [(50, 20), (20, 50), (12, 8), (1, 1)])
def test_spectral_is_the_truncated_svd_over_the_observed_share(shape):
    observed = observations(shape)
    rank = min(3, *shape)
    start = initial.spectral(observed, rank)
    P, s, Q = leading(observed, rank)
    np.testing.assert_allclose(start.dense(), (P * s) @ Q.T / observed.density, atol=1e-9 * s[0])
    np.testing.assert_allclose(start.U.T @ start.U, start.V.T @ start.V, atol=1e-9 * s[0])
    assert start.depth == 0


def test_spectral_of_a_full_low_rank_matrix_is_that_matrix():
    observed = observations((50, 20), rank=2, share=1)
    np.testing.assert_allclose(initial.spectral(observed, 2).dense(), observed.to_scipy().toarray(), atol=1e-9)


# --- singular


def test_the_start_of_kwon_lies_on_the_leading_singular_vectors():
    X = np.random.default_rng(0).standard_normal((9, 7))
    P, _, Qt = np.linalg.svd(X)
    start = initial.singular(X, 3, 4, 0.1)
    np.testing.assert_allclose(np.abs(start.U.T @ P[:, :3]), 0.1 * np.eye(3), atol=1e-10)
    np.testing.assert_allclose(np.abs(start.V.T @ Qt[:3].T), 0.1 * np.eye(3), atol=1e-10)
    assert all((0.1 * np.eye(3) == W).all() for W in start.cores)
    assert start.depth == 2


def test_an_array_is_a_fully_observed_matrix():
    X = np.random.default_rng(0).standard_normal((30, 20))
    for start in (initial.compressed, initial.spectral, initial.singular):
        for one, other in zip(start(X, 3).arrays, start(observe(X), 3).arrays, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-10)


@pytest.mark.parametrize(
    "start",
    [
        lambda **given: initial.orthogonal((6, 5), **given),
        lambda **given: initial.narrow((6, 5), 2, **given),
        lambda **given: initial.singular(np.random.default_rng(0).standard_normal((6, 5)), 2, **given),
    ],
)
def test_depth_was_once_the_number_of_layers(start):
    with pytest.warns(DeprecationWarning, match="depth is now layers; give layers=4"):
        old = start(depth=4)
    new = start(layers=4)
    assert old.depth == new.depth == 2
    for one, other in zip(old.arrays, new.arrays, strict=True):
        np.testing.assert_array_equal(one, other)


# --- what no start is made from

HOLED = {
    "compressed": lambda target: initial.compressed(target, 2),
    "singular": lambda target: initial.singular(target, 2),
    "spectral": lambda target: initial.spectral(target, 2),
    "dealt_spectral": lambda target: initial.dealt_spectral(target, 2, 0, Share.whole(target.shape[0])),
}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("start", HOLED)
def test_values_that_are_not_finite_are_refused(start, value):
    observed = observations((12, 8))
    values = observed.values.copy()
    values[3] = value
    with pytest.raises(ValueError, match=r"observations.values holds 1 value that is not finite, the first"):
        HOLED[start](observed.with_values(values))


@pytest.mark.parametrize("start", ["compressed", "singular", "spectral"])
@pytest.mark.parametrize("place", [np.asarray, torch_tensor])
def test_a_matrix_with_a_gap_is_refused_with_what_takes_it(start, place):
    X = np.random.default_rng(0).standard_normal((12, 8))
    X[3, 4] = np.nan
    with pytest.raises(ValueError, match=r"the matrix to start from holds 1 NaN; where .* give dmc.observe\(matrix\)"):
        HOLED[start](place(X))
    X[3, 4] = np.inf
    with pytest.raises(ValueError, match=r"the matrix to start from holds 1 value that is not finite"):
        HOLED[start](place(X))


@pytest.mark.parametrize(
    ("target", "error", "said"),
    [
        (np.ones(3), ValueError, r"the data to start from have shape \(3,\); give Observations, or a matrix"),
        (np.ones((2, 3, 4)), ValueError, r"have shape \(2, 3, 4\)"),
        (np.ones((0, 4)), ValueError, r"have shape \(0, 4\)"),
        (5.0, ValueError, r"have shape \(\); give"),
        ("ratings", TypeError, "the matrix to start from holds 'ratings', which is not a number"),
        (None, TypeError, "the data to start from are None; give Observations, or a matrix"),
        (np.ones((3, 3), complex), TypeError, "has dtype complex128; give real numbers"),
        (sparse.eye_array(5).tocsr(), TypeError, r"is sparse, .*; give dmc.observe\(matrix\)"),
        (
            MaskedLeastSquares(observations()),
            TypeError,
            "are MaskedLeastSquares; give Observations",
        ),
    ],
)
@pytest.mark.parametrize("start", ["compressed", "singular", "spectral"])
def test_what_is_no_data_is_refused(start, target, error, said):
    with pytest.raises(error, match=said):
        HOLED[start](target)


def test_a_list_and_integers_are_matrices_too():
    X = np.arange(12).reshape(4, 3) % 5
    for given in (X, X.tolist(), X.astype(np.int8)[::-1][::-1]):
        np.testing.assert_array_equal(initial.spectral(given, 2).U, initial.spectral(X.astype(float), 2).U)


@pytest.mark.parametrize("start", [initial.compressed, initial.singular])
def test_a_scale_that_the_dtype_takes_for_zero_is_refused(start):
    with pytest.raises(ValueError, match="scale is 1e-40, which float32 takes for zero; give at least"):
        start(observations(dtype=np.float32), 2, scale=1e-40)


@pytest.mark.parametrize("seed", [-1, "seed", 0.5])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises((TypeError, ValueError), match="seed is"):
        initial.compressed(observations(), 2, seed=seed)
