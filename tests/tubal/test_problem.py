"""Least squares over factor tensors: against loops, and under every step rule that it says it takes."""

import numpy as np
import pytest

import dmc
from dmc import steps, tubal


def planted(shape: tuple[int, int, int] = (14, 12, 5), rank: int = 1, share: float = 0.6) -> tuple:
    rng = np.random.default_rng(0)
    m, n, length = shape
    X = tubal.product(rng.standard_normal((m, rank, length)), rng.standard_normal((rank, n, length)))
    return X, rng.random(shape) < share


@pytest.mark.parametrize("length", [1, 5, 6])
def test_value_and_gradient_are_those_of_loops(length: int) -> None:
    rng = np.random.default_rng(1)
    X, mask = rng.standard_normal((4, 3, length)), rng.random((4, 3, length)) < 0.7
    U, V = rng.standard_normal((4, 2, length)), rng.standard_normal((3, 2, length))
    model, dU, dV = np.zeros_like(X), np.zeros_like(U), np.zeros_like(V)
    for i, j, t in np.ndindex(X.shape):
        model[i, j, t] = sum(U[i, k, s] * V[j, k, (s - t) % length] for k in range(2) for s in range(length))
    R = np.where(mask, model - X, 0)
    for i, j, t in np.ndindex(X.shape):
        for k, s in np.ndindex(2, length):
            dU[i, k, s] += R[i, j, t] * V[j, k, (s - t) % length]
            dV[j, k, (s - t) % length] += R[i, j, t] * U[i, k, s]
    problem = dmc.TubalLeastSquares(X, mask=mask)
    value, grad = problem.value_and_grad(dmc.Factors(tubal.flatten(U), (), tubal.flatten(V)))
    assert value == pytest.approx(0.5 * np.sum(R**2), rel=1e-12)
    np.testing.assert_allclose(tubal.unflatten(grad.U, length), dU, atol=1e-12)
    np.testing.assert_allclose(tubal.unflatten(grad.V, length), dV, atol=1e-12)


@pytest.mark.parametrize("transform", ["dft", "dct", np.linalg.qr(np.vander(np.arange(1.0, 6)))[0]])
@pytest.mark.parametrize("tube", [0, 1, 2])
def test_it_is_a_problem_along_any_axis(transform: object, tube: int) -> None:
    X, mask = planted()
    X, mask = (np.moveaxis(a, 2, tube) for a in (X, mask))
    problem = dmc.TubalLeastSquares(X, mask=mask, tube=tube, transform=transform)
    start = tubal.small_random(problem, 3, 0.5)
    assert dmc.check_problem(problem, start) < 1e-8
    assert problem.tensor(start).shape == X.shape
    assert problem.value(start) == pytest.approx(0.5 * np.sum((problem.tensor(start) - X)[mask] ** 2))


def test_the_curvature_bounds_what_a_factor_can_do() -> None:
    X, mask = planted()
    problem = dmc.TubalLeastSquares(X)
    factors = tubal.small_random(problem, 2, 1.0)
    direction = tubal.small_random(problem, 2, 1.0, seed=1)
    moved = dmc.Factors(direction.U, (), factors.V)
    bend = np.sum(problem.tensor(moved) ** 2)
    assert bend <= problem.curvature * np.linalg.norm(factors.V, 2) ** 2 * np.sum(direction.U**2)
    assert dmc.TubalLeastSquares(X, mask=mask).curvature == pytest.approx(mask.mean() * 5)


@pytest.mark.parametrize(
    ("step", "start", "settings"),
    [
        (steps.Backtracking(steps.GaussNewton()), "spectral", {"check_every": 1}),
        (steps.DiscrepantDescent(), "small", {"max_steps": 2500}),
        (steps.Adam(0.02), "small", {"max_steps": 2000}),
        (steps.Momentum(steps.DiscrepantDescent(rate=1e-2), 0.9), "small", {"max_steps": 2000}),
    ],
)
@pytest.mark.parametrize("transform", ["dft", "dct"])
def test_every_step_rule_finds_the_tensor(step: dmc.Step, start: str, settings: dict, transform: str) -> None:
    rng = np.random.default_rng(0)
    parts = rng.standard_normal((14, 1, 5)), rng.standard_normal((1, 12, 5))
    X = tubal.product(*parts, transform)
    problem = dmc.TubalLeastSquares(X, mask=rng.random(X.shape) < 0.6, transform=transform)
    begin = tubal.spectral(problem, 1) if start == "spectral" else tubal.small_random(problem, 1, 0.1)
    found = dmc.solve(problem, begin, step, tol=1e-7, **settings)
    assert np.linalg.norm(problem.tensor(found.factors) - X) < 1e-5 * np.linalg.norm(X)


def test_gauss_newton_ends_at_rounding() -> None:
    X, mask = planted((20, 18, 6), 2)
    problem = dmc.TubalLeastSquares(X, mask=mask)
    found = dmc.solve(
        problem, tubal.spectral(problem, 2), steps.Backtracking(steps.GaussNewton()), tol=1e-13, check_every=1
    )
    assert np.abs(problem.tensor(found.factors) - X).max() < 1e-12
    assert found.value < problem.rounding * 1e4


def test_a_small_start_finds_low_rank_with_wide_factors() -> None:
    X, mask = planted((14, 12, 4), 1, 0.7)
    problem = dmc.TubalLeastSquares(X, mask=mask)
    found = dmc.solve(problem, tubal.small_random(problem, 4, 1e-4), steps.DiscrepantDescent(), max_steps=1000)
    s = tubal.singular_values(problem.tensor(found.factors))
    assert s[:, 1].max() < 1e-2 * s[:, 0].max()
    assert np.linalg.norm(problem.tensor(found.factors) - X) < 0.1 * np.linalg.norm(X)


def test_float32_stays() -> None:
    X, mask = planted()
    problem = dmc.TubalLeastSquares(X.astype(np.float32), mask=mask)
    value, grad = problem.value_and_grad(tubal.small_random(problem, 2))
    assert grad.U.dtype == problem.tensor(tubal.spectral(problem, 1)).dtype == np.float32
    assert np.isfinite(value)


X = np.random.default_rng(0).standard_normal((5, 6, 4))


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        (dmc.initial.gaussian((5, 6), 4, depth=1), "without cores and biases"),
        (dmc.Factors(np.ones((5, 4)), (), np.ones((6, 4)), np.ones(5)), "without cores and biases"),
        (dmc.Factors(np.ones((5, 3)), (), np.ones((6, 3))), "3 wide, which is not a multiple of the tubes' 4 entries"),
        (dmc.Factors(np.ones((4, 4)), (), np.ones((6, 4))), "a 4×6 matrix, the data are 5×6"),
    ],
)
def test_factors_that_are_no_factor_tensors_are_refused(factors: dmc.Factors, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dmc.TubalLeastSquares(X).value(factors)


@pytest.mark.parametrize("step", [dmc.rank_path.RankPath(3), steps.AlternatingLeastSquares()])
def test_steps_of_matrices_say_that_they_do_not_apply(step: dmc.Step) -> None:
    problem = dmc.TubalLeastSquares(X)
    with pytest.raises(TypeError, match=r"is for MaskedLeastSquares and this is TubalLeastSquares, .*; use Disc"):
        dmc.solve(problem, tubal.spectral(problem, 2), step)


@pytest.mark.parametrize(
    ("tensor", "settings", "message"),
    [
        (X[0], {}, r"three ways, or a matrix to dmc\.MatrixCompletion"),
        (X[None], {}, "two of them put together"),
        (X[:0], {}, "at least one entry along each way"),
        (X * np.nan, {}, "none of the 120 entries"),
        (np.where(X > 2, np.inf, X), {}, r"infinite value.*the first at \("),
        (X, {"mask": X[0] > 0}, "one truth value for each entry"),
        (np.where(X > 2, np.nan, X), {"mask": X == X}, "NaN where the mask says observed"),
        (X, {"tube": 3}, "tube is 3"),
        (X, {"transform": np.ones((4, 4))}, "not orthogonal"),
        (np.ma.masked_array(X, X > 1), {"mask": X > 0}, "has its own"),
    ],
)
def test_bad_data_are_refused(tensor: np.ndarray, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dmc.TubalLeastSquares(tensor, **settings)


def test_a_mask_that_is_none_is_refused_and_a_masked_array_is_read() -> None:
    with pytest.raises(TypeError, match="give booleans"):
        dmc.TubalLeastSquares(X, mask=2 * (X > 0))
    problem = dmc.TubalLeastSquares(np.ma.masked_array(X, X > 1))
    assert problem.slices.n_observed == np.sum(X <= 1)
