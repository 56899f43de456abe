"""Each rule of movement against its formula, its theorem, or another implementation."""

import math
from itertools import pairwise

import numpy as np
import pytest

from dmc import datasets
from dmc.factors import Factors
from dmc.inputs import observe
from dmc.observations import Observations
from dmc.solver import initial, steps
from dmc.solver.dense_problems import LeastSquares
from dmc.solver.loop import solve
from dmc.solver.problem import MaskedLeastSquares

ALL = [
    steps.DiscrepantDescent(),
    steps.DiscrepantDescent(1e-3),
    steps.Adam(),
    steps.Momentum(steps.DiscrepantDescent()),
    steps.Backtracking(steps.DiscrepantDescent()),
]


def observations(shape=(12, 9), seed=0) -> Observations:
    rng = np.random.default_rng(seed)
    return observe(rng.standard_normal(shape), rng.random(shape) < 0.6)


def start(depth, biases=False, shape=(12, 9), k=4) -> Factors:
    f = initial.gaussian(shape, k, depth, scale=0.7, seed=depth)
    if not biases:
        return f
    rng = np.random.default_rng(1)
    return Factors(f.U, f.cores, f.V, rng.standard_normal(shape[0]), rng.standard_normal(shape[1]))


def run(step, problem, at: Factors, n: int) -> list[Factors]:
    """The trajectory, written out: what `solve` does, without its looking on."""
    state, path = step.init(problem, at), [at]
    for _ in range(n):
        value, gradient = problem.value_and_grad(at)
        at, state = step(at, value, gradient, state)
        path.append(at)
    return path


def assert_close(f: Factors, g: Factors, rtol=1e-12) -> None:
    assert len(f.arrays) == len(g.arrays)
    for a, b in zip(f.arrays, g.arrays, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * np.abs(b).max())


def product(cores, k) -> np.ndarray:
    return np.linalg.multi_dot([np.eye(k), np.eye(k), *cores])


# --- DiscrepantDescent with a fixed rate


def published(at: Factors, observed: Observations, rate: float, ratio: float, decay: float) -> Factors:
    """U −= γηRVW̃ᵀ, V −= γηRᵀUW̃, W̃_l −= η W̃_{L:l+1}ᵀ UᵀRV W̃_{l−1:1}ᵀ, all at once (Yaras et al.); shrunk by λ."""
    U, V, cores, k = at.U, at.V, at.cores, at.width
    W = product(cores, k)
    R = np.zeros(observed.shape)
    R[observed.rows, observed.cols] = (U @ W @ V.T)[observed.rows, observed.cols] - observed.values
    new = []
    for i, core in enumerate(cores):  # cores[0] is W_L
        above, below = product(cores[:i], k), product(cores[i + 1 :], k)
        new.append((1 - rate * decay) * core - rate * above.T @ U.T @ R @ V @ below.T)
    outer = ratio * rate
    return Factors((1 - outer * decay) * U - outer * R @ V @ W.T, new, (1 - outer * decay) * V - outer * R.T @ U @ W)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("ratio", [0.0, 0.01, 1.0, 3.0])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_fixed_rates_are_the_published_formulas(depth, ratio, decay):
    observed = observations()
    path = run(steps.DiscrepantDescent(5e-3, ratio, decay), MaskedLeastSquares(observed), start(depth), 20)
    at = start(depth)
    for got in path[1:]:
        at = published(at, observed, 5e-3, ratio, decay)
        assert_close(got, at)


def test_no_cores_and_one_rate_is_plain_two_factor_descent():
    observed, rate = observations(), 0.02
    path = run(steps.DiscrepantDescent(rate), MaskedLeastSquares(observed), start(0), 100)
    U, V = start(0).U, start(0).V
    X = np.zeros(observed.shape)
    X[observed.rows, observed.cols] = observed.values
    seen = np.zeros(observed.shape)
    seen[observed.rows, observed.cols] = 1
    for got in path[1:]:
        R = seen * (U @ V.T) - X
        U, V = U - rate * R @ V, V - rate * R.T @ U
        np.testing.assert_allclose(got.U, U, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(got.V, V, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rate", [None, 5e-3])
def test_outer_ratio_zero_freezes_the_outer_factors_and_biases(rate):
    at = start(2, biases=True)
    *_, end = run(steps.DiscrepantDescent(rate, 0.0, weight_decay=0.1), MaskedLeastSquares(observations()), at, 20)
    np.testing.assert_array_equal(end.U, at.U)
    np.testing.assert_array_equal(end.V, at.V)
    np.testing.assert_array_equal(end.row_bias, at.row_bias)
    np.testing.assert_array_equal(end.column_bias, at.column_bias)
    assert not np.allclose(end.cores[0], at.cores[0])


def test_biases_move_as_outer_factors_do():
    problem, at, rate, ratio = MaskedLeastSquares(observations()), start(2, biases=True), 1e-3, 0.5
    _, gradient = problem.value_and_grad(at)
    _, moved = run(steps.DiscrepantDescent(rate, ratio), problem, at, 1)
    for name in ("row_bias", "column_bias"):
        step = getattr(moved, name) - getattr(at, name)
        np.testing.assert_allclose(step, -rate * ratio * getattr(gradient, name), rtol=1e-9)


# --- DiscrepantDescent with the normalised rule


@pytest.mark.parametrize("step", [steps.DiscrepantDescent(), steps.DiscrepantDescent(outer_ratio=0.1)])
@pytest.mark.parametrize("factor", [1e6, 1e-6])
@pytest.mark.parametrize("depth", [0, 1, 2, 3, 4])
def test_normalised_rule_does_not_know_the_units(depth, factor, step):
    """Data times a, cores times a^(1/L): the same trajectory times that. Without cores, each outer factor times √a."""
    observed = datasets.planted((30, 20), 2, 0.6).observations
    plain = initial.compressed(observed, 3, depth, scale=0.1)
    larger = observed.with_values(factor * observed.values)
    inner, outer = (factor ** (1 / depth), 1.0) if depth else (1.0, factor**0.5)
    scaled = Factors(outer * plain.U, [inner * W for W in plain.cores], outer * plain.V)
    a = run(step, MaskedLeastSquares(observed), plain, 100)[-1]
    b = run(step, MaskedLeastSquares(larger), scaled, 100)[-1]
    assert_close(Factors(b.U / outer, [W / inner for W in b.cores], b.V / outer), a, rtol=1e-8)


def test_normalised_step_moves_no_core_by_more_than_its_share():
    step, problem = steps.DiscrepantDescent(stability=0.2), MaskedLeastSquares(observations())
    for depth in (1, 2, 3):
        path = run(step, problem, initial.compressed(observations(), 3, depth), 200)
        for before, after in pairwise(path):
            size = np.linalg.norm(before.core, 2) ** (1 / depth)
            for W, new in zip(before.cores, after.cores, strict=True):
                assert np.linalg.norm(new - W) <= 0.2 * size * (1 + 1e-9)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_normalised_outer_rates_stay_below_their_own_curvature(depth):
    """The curvature in U is about p ‖CVᵀ‖² ≤ p (cb)²: whatever the ratio, its rate keeps its share of that."""
    step = steps.DiscrepantDescent(outer_ratio=1e3, stability=0.2)
    problem, at = MaskedLeastSquares(observations()), start(depth)
    a, b, c = (np.linalg.norm(matrix, 2) for matrix in (at.U, at.V, at.core))
    _, gradient = problem.value_and_grad(at)
    _, moved = run(step, problem, at, 1)
    for name, other in (("U", b), ("V", a)):
        rate = np.linalg.norm(getattr(moved, name) - getattr(at, name)) / np.linalg.norm(getattr(gradient, name))
        assert rate == pytest.approx(0.2 / (problem.curvature * (c * other) ** 2), rel=0.03)


@pytest.mark.parametrize(("depth", "scale"), [(2, 1e-2), (3, 1e-2), (3, 1e-1), (4, 1e-1)])
def test_normalised_rule_recovers_a_planted_matrix_at_twice_its_rank(depth, scale):
    observed, A, B = datasets.planted((60, 50), 3, 0.5)
    found = solve(
        MaskedLeastSquares(observed),
        initial.compressed(observed, 6, depth, scale),
        steps.DiscrepantDescent(),
        max_steps=2000,
    ).factors
    X = A @ B.T
    assert np.linalg.norm(found.dense() - X) < 1e-2 * np.linalg.norm(X)
    assert found.rank(tol=0.05) == 3


def test_normalised_rule_without_anything_to_learn_stays():
    zero = observations().with_values(np.zeros(observations().n_observed))
    at = start(2)
    *_, end = run(steps.DiscrepantDescent(), MaskedLeastSquares(zero), at, 3)
    assert all(np.isfinite(a).all() for a in end.arrays)


# Not Adam: it divides by the gradient, however small, and what rounding leaves is a gradient too.
@pytest.mark.parametrize(
    "step", [s for s in ALL if not isinstance(s, steps.Adam)], ids=lambda step: type(step).__name__
)
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_step_at_the_solution_stays_there(step, depth):
    at = start(depth)
    problem = MaskedLeastSquares(observe(at.dense()))
    *_, end = run(step, problem, at, 3)
    np.testing.assert_allclose(end.dense(), at.dense(), atol=1e-10)


@pytest.mark.parametrize("step", ALL, ids=lambda step: type(step).__name__)
def test_no_step_changes_what_it_was_given(step):
    problem, at = MaskedLeastSquares(observations()), start(2, biases=True)
    for array in at.arrays:
        array.flags.writeable = False
    run(step, problem, at, 5)


@pytest.mark.parametrize("step", ALL, ids=lambda step: type(step).__name__)
def test_single_precision_stays_single(step):
    observed = observations()
    single = observed.with_values(observed.values.astype(np.float32))
    *_, end = run(step, MaskedLeastSquares(single), start(2, biases=True).map(lambda a: a.astype(np.float32)), 3)
    assert {a.dtype for a in end.arrays} == {np.dtype(np.float32)}


# --- Momentum


def test_momentum_is_the_heavy_ball():
    problem, at, rate, beta = MaskedLeastSquares(observations()), start(2, biases=True), 1e-3, 0.8
    path = run(steps.Momentum(steps.DiscrepantDescent(rate), beta), problem, at, 30)
    velocity = at.map(np.zeros_like)
    for got in path[1:]:
        _, gradient = problem.value_and_grad(at)
        velocity = velocity.map(lambda v, g: beta * v + g, gradient)
        at = at.map(lambda x, v: x - rate * v, velocity)
        assert_close(got, at)


def test_momentum_without_memory_is_the_inner_step():
    problem, inner = MaskedLeastSquares(observations()), steps.DiscrepantDescent()
    for a, b in zip(
        run(steps.Momentum(inner, 0), problem, start(2), 10), run(inner, problem, start(2), 10), strict=True
    ):
        assert_close(a, b)


# --- ScaledDescent


@pytest.mark.parametrize("condition", [1, 10, 100, 1e4])
def test_scaled_descent_does_not_feel_the_condition(condition):
    """From within .1 σ_r the error falls by 1 − η a step, whatever the condition (Tong, Ma & Chi, 2021)."""
    _, A, B = datasets.planted((40, 30), 3, 1, condition=condition)
    X = A @ B.T
    sigma_r = np.linalg.svd(X, compute_uv=False)[2]
    noise = np.random.default_rng(0).standard_normal(X.shape)
    at = initial.spectral(observe(X + 0.1 * sigma_r * noise / np.linalg.norm(noise, 2)), 3)

    def errors(step, n=40):
        return [np.linalg.norm(f.dense() - X) for f in run(step, MaskedLeastSquares(observe(X)), at, n)]

    for rate in (0.5, 0.3):
        found = errors(steps.ScaledDescent(rate))
        assert found[0] < 0.2 * sigma_r
        for i in (1, 10, 20):
            assert found[i + 1] / found[i] == pytest.approx(1 - rate, abs=0.01)
    if condition >= 100:  # what the preconditioner is for
        assert errors(steps.DiscrepantDescent())[-1] > 0.5 * errors(steps.DiscrepantDescent(), 0)[0]


@pytest.mark.parametrize(("condition", "share"), [(1, 0.5), (1, 0.9), (10, 0.9)])
def test_scaled_descent_recovers_from_the_spectral_start_at_the_exact_rank(condition, share):
    observed, A, B = datasets.planted((80, 60), 3, share, condition=condition, seed=1)
    *_, end = run(steps.ScaledDescent(), MaskedLeastSquares(observed), initial.spectral(observed, 3), 120)
    X = A @ B.T
    assert np.linalg.norm(end.dense() - X) < 1e-7 * np.linalg.norm(X)


def test_scaled_descent_does_not_know_the_factorization():
    """Its trajectory of U·Vᵀ is the same from U·A and V·A⁻ᵀ, for any invertible A (their section 1)."""
    problem, at = MaskedLeastSquares(observations()), initial.spectral(observations(), 3)
    A = np.random.default_rng(0).standard_normal((3, 3)) + 2 * np.eye(3)
    other = Factors(at.U @ A, (), at.V @ np.linalg.inv(A).T)
    step = steps.ScaledDescent(0.3)
    for a, b in zip(run(step, problem, at, 20), run(step, problem, other, 20), strict=True):
        np.testing.assert_allclose(a.dense(), b.dense(), atol=1e-9)


@pytest.mark.parametrize("factor", [1e6, 1e-6])
def test_scaled_descent_does_not_know_the_units(factor):
    observed = observations()
    at = initial.spectral(observed, 3)
    problems = [MaskedLeastSquares(observed.with_values(size * observed.values)) for size in (1, factor)]
    *_, plain = run(steps.ScaledDescent(0.3), problems[0], at, 20)
    *_, scaled = run(steps.ScaledDescent(0.3), problems[1], at.map(lambda a: factor**0.5 * a), 20)
    np.testing.assert_allclose(scaled.dense() / factor, plain.dense(), atol=1e-9)


def test_scaled_descent_refuses_cores():
    with pytest.raises(ValueError, match=r"have 2 cores.*truncate\(rank\).*DiscrepantDescent"):
        steps.ScaledDescent().init(MaskedLeastSquares(observations()), start(2))


def test_scaled_descent_at_a_singular_factor():
    """A column of zeros in both factors stays zero: nothing is divided by it."""
    f = start(0)
    keep = np.array([1.0, 1, 0, 0])
    at = Factors(f.U * keep, (), f.V * keep)
    *_, end = run(steps.ScaledDescent(0.3), MaskedLeastSquares(observations()), at, 10)
    assert np.isfinite(end.U).all()
    np.testing.assert_allclose(end.U[:, 2:], 0, atol=1e-9)


def test_scaled_descent_without_any_weight_has_converged():
    """`solve` never raises for a numerical outcome."""
    observed = observations()
    problem = MaskedLeastSquares(observed, np.zeros(observed.n_observed))
    assert solve(problem, initial.spectral(observed, 2), steps.ScaledDescent()).status.name == "CONVERGED"


def test_scaled_descent_at_too_large_a_rate_diverges_in_words():
    observed = observations()
    found = solve(MaskedLeastSquares(observed), initial.spectral(observed, 4), steps.ScaledDescent(1e40), max_steps=50)
    assert found.status.name == "NONFINITE"


# --- Adam


def test_adam_slows_down():
    """Its rate is constant for so many steps, and of the n-th then the root of their number over n."""
    problem, at = MaskedLeastSquares(observations()), start(2)
    slowed, plain = (steps.Adam(0.02, constant_steps=n) for n in (3, None))
    state = slowed.init(problem, at)
    for n in range(1, 8):
        value, gradient = problem.value_and_grad(at)
        there, _ = plain(at, value, gradient, state)
        moved, state = slowed(at, value, gradient, state)
        assert_close(moved, steps.partway(at, there, min(1, (3 / n) ** 0.5)))
        at = moved


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.9)])
@pytest.mark.parametrize("ratio", [1.0, 0.1])
def test_adam_is_that_of_torch(ratio, betas):
    torch = pytest.importorskip("torch")
    problem, at = MaskedLeastSquares(observations()), start(2, biases=True)
    path = run(steps.Adam(0.02, ratio, betas), problem, at, 50)
    leaves = at.map(lambda a: torch.tensor(a))
    cores = list(leaves.cores)
    outer = [leaves.U, leaves.V, leaves.row_bias, leaves.column_bias]
    groups = [{"params": cores, "lr": 0.02}, {"params": outer, "lr": 0.02 * ratio}]
    optimizer = torch.optim.Adam(groups, betas=betas, eps=1e-12)
    for got in path[1:]:
        _, gradient = problem.value_and_grad(leaves.map(lambda a: a.numpy().copy()))
        for leaf, g in zip(leaves.arrays, gradient.arrays, strict=True):
            leaf.grad = torch.from_numpy(np.ascontiguousarray(g))
        optimizer.step()
        assert_close(got, leaves.map(lambda a: a.numpy()), rtol=1e-8)


# --- GaussNewton


def near_the_solution(condition, observed=0.6):
    """Off by .1 of the smallest singular value: (problem, start, X, that singular value)."""
    problem, A, B = datasets.planted((40, 30), 3, observed, condition=condition)
    X = A @ B.T
    sigma_r = np.linalg.svd(X, compute_uv=False)[2]
    noise = np.random.default_rng(0).standard_normal(X.shape)
    at = initial.spectral(observe(X + 0.1 * sigma_r * noise / np.linalg.norm(noise, 2)), 3)
    return MaskedLeastSquares(problem), at, X, sigma_r


@pytest.mark.parametrize("condition", [1, 100, 1e4])
def test_gauss_newton_squares_its_error(condition):
    """In units of σ_r, which is the scale of the model's curvature; with solves that do not blur it."""
    problem, at, X, sigma_r = near_the_solution(condition)
    path = run(steps.GaussNewton(tol=1e-6), problem, at, 4)
    errors = [np.linalg.norm(f.dense() - X) / sigma_r for f in path]
    for before, after in pairwise(errors):
        assert after < 0.5 * before**2 + 1e-11
    assert errors[1] > 1e-5  # so that there was something to square
    assert errors[-1] < 1e-11


@pytest.mark.parametrize("step", [steps.GaussNewton(), steps.Backtracking(steps.GaussNewton())])
def test_gauss_newton_does_not_feel_the_condition(step):
    problem, at, X, sigma_r = near_the_solution(1e4)
    *_, end = run(step, problem, at, 8)
    assert np.linalg.norm(end.dense() - X) < 1e-10 * sigma_r


@pytest.mark.parametrize(("condition", "share"), [(1, 0.5), (10, 0.6), (100, 0.6)])
def test_gauss_newton_recovers_from_the_spectral_start_at_the_exact_rank(condition, share):
    observed, A, B = datasets.planted((40, 30), 3, share, condition=condition)
    step, X = steps.Backtracking(steps.GaussNewton()), A @ B.T
    *_, end = run(step, MaskedLeastSquares(observed), initial.spectral(observed, 3), 25)
    assert np.linalg.norm(end.dense() - X) < 1e-10 * np.linalg.norm(X)


@pytest.mark.parametrize("seed", range(5))
def test_backtracking_around_gauss_newton_never_lets_the_value_rise(seed):
    """From a start near the saddle at zero, where the whole step is far too long whatever its direction: with factors
    of size ε the linear model asks for one of size 1/ε, and the product of two such is 1/ε²."""
    problem = MaskedLeastSquares(datasets.planted((12, 9), 2, 0.7).observations)
    at, values = initial.gaussian((12, 9), 4, 0, scale=0.1, seed=seed), []
    before, after = (problem.value(f) for f in run(steps.GaussNewton(), problem, at, 1))
    assert after > 2 * before  # what the safeguard is for
    step = steps.Backtracking(steps.GaussNewton())
    solve(problem, at, step, max_steps=90, check_every=1, callbacks=[lambda info: values.append(info.value)])
    assert all(after <= before * (1 + step.slack) for before, after in pairwise(values))
    assert values[-1] < 0.1 * values[0]


def test_gauss_newton_does_not_know_the_factorization():
    """With exact solves its trajectory of U·Vᵀ is the same from U·A and V·A⁻ᵀ, for any invertible A."""
    problem, at, _, sigma_r = near_the_solution(10)
    A = np.random.default_rng(0).standard_normal((3, 3)) + 2 * np.eye(3)
    other = Factors(at.U @ A, (), at.V @ np.linalg.inv(A).T)
    a, b = (run(steps.GaussNewton(tol=1e-6), problem, f, 1)[-1].dense() for f in (at, other))
    np.testing.assert_allclose(a, b, atol=1e-4 * sigma_r * 0.1)


def test_gauss_newton_on_a_solution_on_read_only_and_on_single_precision():
    at = start(0)
    for array in at.arrays:
        array.flags.writeable = False
    problem = MaskedLeastSquares(observe(at.dense()))
    *_, end = run(steps.GaussNewton(), problem, at, 3)
    np.testing.assert_allclose(end.dense(), at.dense(), atol=1e-10)
    observed = observations()
    single = MaskedLeastSquares(observed.with_values(observed.values.astype(np.float32)))
    *_, end = run(steps.GaussNewton(), single, at.map(lambda a: a.astype(np.float32)), 3)
    assert {a.dtype for a in end.arrays} == {np.dtype(np.float32)}


@pytest.mark.parametrize(("at", "said"), [(start(2), "2 cores"), (start(0, biases=True), "biases")])
def test_gauss_newton_refuses_cores_and_biases(at, said):
    with pytest.raises(
        ValueError, match=rf"without cores and row biases; these are .*{said}.*truncate\(rank\).*DiscrepantDescent"
    ):
        steps.GaussNewton().init(MaskedLeastSquares(observations()), at)


def test_gauss_newton_refuses_other_problems():
    with pytest.raises(TypeError, match="GaussNewton is for MaskedLeastSquares and this is LeastSquares"):
        solve(LeastSquares(np.ones((12, 9))), start(0), steps.GaussNewton())


# --- Backtracking


@pytest.mark.parametrize(
    "inner",
    [
        steps.DiscrepantDescent(2.0),  # 100 times what is stable here
        steps.Momentum(steps.DiscrepantDescent(2.0)),
        steps.Adam(2.0),
        steps.DiscrepantDescent(),
    ],
    ids=["descent", "momentum", "adam", "normalised"],
)
def test_backtracking_never_lets_the_value_rise(inner):
    problem, at = MaskedLeastSquares(datasets.planted((12, 9), 2, 0.7).observations), start(2)
    step = steps.Backtracking(inner)
    state, accepted = step.init(problem, at), []
    for _ in range(400):
        value, gradient = problem.value_and_grad(at)
        if not accepted or value <= accepted[-1] * (1 + step.slack):
            accepted.append(value)
        at, state = step(at, value, gradient, state)
        assert state.value == accepted[-1]
    assert len(accepted) > 20
    assert accepted[-1] < 0.5 * accepted[0]


@pytest.mark.parametrize(
    "inner",
    [steps.DiscrepantDescent(2.0), steps.Momentum(steps.DiscrepantDescent(2.0)), steps.Adam(2.0)],
    ids=["descent", "momentum", "adam"],
)
@pytest.mark.parametrize("bad", [math.inf, math.nan, 1e9])
def test_a_step_that_raised_the_value_is_repeated_at_half_its_length(inner, bad):
    """From the point before, along the same direction: memory of the step that was taken back is no part of it."""
    problem, at = MaskedLeastSquares(observations()), start(2)
    value, gradient = problem.value_and_grad(at)
    step = steps.Backtracking(inner)
    tried, state = step(at, value, gradient, step.init(problem, at))
    anything = gradient.map(lambda g: g * np.nan)
    for share in (0.5, 0.25, 0.125):
        again, state = step(tried, bad, anything, state)
        assert_close(again, at.map(lambda a, b, share=share: a + share * (b - a), tried), rtol=1e-8)


def test_backtracking_leaves_a_good_step_alone():
    problem, inner = MaskedLeastSquares(observations()), steps.DiscrepantDescent(1e-3)
    path, guarded = (run(step, problem, start(2), 50) for step in (inner, steps.Backtracking(inner)))
    for a, b in zip(path, guarded, strict=True):
        assert_close(a, b)


def test_backtracking_lets_a_negative_value_stand():
    """A value that falls by less than the slack, or rises by no more, is no rise."""
    problem, at = MaskedLeastSquares(observations()), start(2)
    step = steps.Backtracking(steps.DiscrepantDescent(1e-3), slack=1e-3)
    _, gradient = problem.value_and_grad(at)
    at, state = step(at, -5.0, gradient, step.init(problem, at))
    for value in (-5.0001, -4.9999):
        at, state = step(at, value, gradient, state)
        assert (state.value, state.share) == (value, 1.0)
    _, state = step(at, -4.9, gradient, state)
    assert (state.value, state.share) == (-4.9999, 0.5)


def test_backtracking_lengthens_its_step_again():
    problem, at = MaskedLeastSquares(observations()), start(2)
    step = steps.Backtracking(steps.DiscrepantDescent(1e-3))
    value, gradient = problem.value_and_grad(at)
    tried, state = step(at, value, gradient, step.init(problem, at))
    at, state = step(tried, math.inf, gradient, state)
    assert state.share == 0.5
    for _ in range(20):
        value, gradient = problem.value_and_grad(at)
        at, state = step(at, value, gradient, state)
    assert state.share == 1


@pytest.mark.parametrize("rate", [1e2, 1e6, 1e150])
@pytest.mark.parametrize("max_steps", [1, 300])
@pytest.mark.parametrize("check_every", [1, 10])
def test_a_safeguarded_run_ends_no_worse_than_it_began(rate, max_steps, check_every):
    """However wild the inner step, wherever the solver looks: a proposal that is taken back is not the result."""
    problem, at = MaskedLeastSquares(observations()), start(2)
    step = steps.Backtracking(steps.DiscrepantDescent(rate))
    solution = solve(problem, at, step, max_steps=max_steps, check_every=check_every)
    assert solution.status.name == "MAX_STEPS"
    assert solution.value <= problem.value(at) * (1 + 1e-12)
    assert solution.value == pytest.approx(problem.value(solution.factors))


# --- settings


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: steps.DiscrepantDescent(rate=0), "rate is 0"),
        (lambda: steps.DiscrepantDescent(rate=math.nan), "rate is nan"),
        (lambda: steps.DiscrepantDescent(outer_ratio=-1), "outer_ratio is -1"),
        (lambda: steps.DiscrepantDescent(weight_decay=-1), "weight_decay is -1"),
        (lambda: steps.DiscrepantDescent(stability=1), "stability is 1"),
        (lambda: steps.ScaledDescent(rate=-1), "rate is -1"),
        (lambda: steps.ScaledDescent(damping=-1), "damping is -1"),
        (lambda: steps.Adam(rate=0), "rate is 0"),
        (lambda: steps.Adam(outer_ratio=-1), "outer_ratio is -1"),
        (lambda: steps.Adam(betas=(-0.1, 0.9)), "betas is -0.1"),
        (lambda: steps.Adam(betas=(0.9, 1.0)), "beta.* is 1"),
        (lambda: steps.Adam(betas=(0.9,)), "betas"),
        (lambda: steps.Adam(constant_steps=0), "constant_steps is 0"),
        (lambda: steps.Momentum(steps.Adam(), beta=1), "beta is 1"),
        (lambda: steps.Momentum(steps.Adam(), beta=-0.5), "beta is -0.5"),
        (lambda: steps.GaussNewton(tol=0), "tol is 0"),
        (lambda: steps.GaussNewton(tol=1), "tol is 1"),
        (lambda: steps.GaussNewton(max_products=0), "max_products is 0"),
        (lambda: steps.AlternatingLeastSquares(products=0), "products is 0"),
        (lambda: steps.Backtracking(steps.Adam(), slack=-1), "slack is -1"),
        (lambda: steps.Backtracking(steps.Adam(), growth=0.5), "growth is 0.5"),
    ],
)
def test_bad_settings(make, said):
    with pytest.raises(ValueError, match=said):
        make()
