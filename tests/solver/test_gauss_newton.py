"""The matrix-free system against the dense one, written out entry by entry."""

import numpy as np
import pytest

import kernel_suite as suite
from dmc import datasets, kernels
from dmc.factors import Factors
from dmc.inputs import observe
from dmc.observations import Observations
from dmc.solver import gauss_newton, initial
from dmc.solver.gauss_newton import NormalEquations
from dmc.solver.problem import MaskedLeastSquares

SHAPE = m, n = 12, 9
every_form = pytest.mark.parametrize(
    ("weighted", "l2", "penalised"), [(w, p, d) for w in (False, True) for p in (0.0, 0.3) for d in (False, True)]
)
every_kernel = pytest.mark.parametrize("kernel", [entry.name for entry in kernels.report() if entry.available])


def observations(seed=0) -> Observations:
    rng = np.random.default_rng(seed)
    return observe(rng.standard_normal(SHAPE), rng.random(SHAPE) < 0.8)


def gappy() -> Observations:
    """A row and a column without entries, and a row and a column with one, at width 3."""
    mask = np.random.default_rng(0).random(SHAPE) < 0.7
    mask[2] = mask[:, 3] = mask[5] = mask[:, 6] = False
    mask[5, 1] = mask[7, 6] = True
    return observe(np.random.default_rng(1).standard_normal(SHAPE), mask)


def gaps() -> Observations:
    """A row and a column without entries; all others have enough for a block of width 3 and a bias."""
    mask = np.add.outer(np.arange(m), np.arange(n)) % 4 > 0
    mask[2] = mask[:, 3] = False
    return observe(np.random.default_rng(1).standard_normal(SHAPE), mask)


def random(k=3, seed=0, shape=SHAPE) -> Factors:
    rng = np.random.default_rng(seed)
    return Factors(rng.standard_normal((shape[0], k)), (), rng.standard_normal((shape[1], k)))


def flat(f: Factors) -> np.ndarray:
    return np.concatenate([f.U.ravel(), f.V.ravel()])


def change(at: Factors, delta: Factors) -> np.ndarray:
    """What the direction does to the matrix: the same however U and V are turned against each other."""
    return delta.U @ at.V.T + at.U @ delta.V.T


def unflat(at: Factors, vector: np.ndarray) -> Factors:
    return Factors(vector[: at.U.size].reshape(at.U.shape), (), vector[at.U.size :].reshape(at.V.shape))


def jacobian(observed: Observations, at: Factors) -> np.ndarray:
    """(observed, parameters) derivative of each observed entry of U·Vᵀ."""
    J = np.zeros((observed.n_observed, at.n_parameters))
    for entry, (i, j) in enumerate(zip(observed.rows, observed.cols, strict=True)):
        J[entry] = flat(Factors(np.eye(m)[:, [i]] * at.V[j], (), np.eye(n)[:, [j]] * at.U[i]))
    return J


def system(at: Factors, weighted, l2, penalised, kernel=None, unobserved=0.0):
    """A problem with its columns' penalty, and the dense matrix of the system."""
    observed = observations()
    weights = np.random.default_rng(1).random(observed.n_observed) + 0.1
    row_l2, column_l2 = l2 * np.linspace(1, 2, m), l2 * np.linspace(0.5, 1, n)
    penalty = np.linspace(0.2, 1, at.width)
    given = weights if weighted else None if not unobserved else np.ones(observed.n_observed)
    problem = MaskedLeastSquares(observed, given, (row_l2, column_l2), kernel, unobserved_weight=unobserved)
    J = jacobian(observed, at)
    ridge = np.zeros(at.width) + penalised * penalty
    diagonal = flat(Factors(row_l2[:, None] + ridge, (), column_l2[:, None] + ridge))
    own = (weights if weighted else np.ones(len(J))) - unobserved
    dense = J.T @ (own[:, None] * J) + np.diag(diagonal)
    if unobserved:
        everywhere = jacobian(observe(np.ones(SHAPE)), at)
        dense += unobserved * everywhere.T @ everywhere
    return problem, penalty if penalised else None, dense


@every_kernel
@pytest.mark.parametrize("unobserved", [0.0, 0.05])
@every_form
def test_product_is_that_with_the_dense_matrix(weighted, l2, penalised, unobserved, kernel):
    at = random()
    problem, penalty, dense = system(at, weighted, l2, penalised, kernel, unobserved)
    equations = NormalEquations(problem, at, penalty)
    for seed in (1, 2):
        direction = flat(random(seed=seed))
        np.testing.assert_allclose(equations.product(direction), dense @ direction, rtol=0, atol=1e-11)


def biased(k=3, seed=0) -> Factors:
    at = random(k, seed)
    return Factors(at.U, (), at.V, column_bias=np.random.default_rng(seed + 9).standard_normal(n))


@every_kernel
def test_with_a_bias_of_the_columns_the_product_is_that_of_the_gradients_of_a_linear_problem(kernel):
    """The gradient of a quadratic is linear: its change along a direction is the product, but for what J lacks."""
    problem, at, direction = MaskedLeastSquares(observations(), kernel=kernel), biased(), biased(seed=1)
    residual_free = MaskedLeastSquares(observe(at.dense(), observations().to_scipy().toarray() != 0), kernel=kernel)
    h = 1e-6
    up, down = (residual_free.value_and_grad(at.map(lambda a, d, s=s: a + s * h * d, direction))[1] for s in (1, -1))
    equations = NormalEquations(problem, at)
    got = equations.unflatten(equations.product(equations.flatten(direction)))
    for g, u, d in zip(got.arrays, up.arrays, down.arrays, strict=True):
        np.testing.assert_allclose(g, (u - d) / (2 * h), rtol=0, atol=1e-5)


@every_form
def test_matrix_is_symmetric_and_the_preconditioner_too(weighted, l2, penalised):
    at, a, b = random(), flat(random(seed=1)), flat(random(seed=2))
    problem, penalty, _ = system(at, weighted, l2, penalised)
    equations = NormalEquations(problem, at, penalty)
    for f in (equations.product, equations.precondition):
        assert f(a) @ b == pytest.approx(a @ f(b), rel=1e-10)
        assert f(a) @ a > 0


@pytest.mark.parametrize("unobserved", [0.0, 0.05])
@pytest.mark.parametrize("blocked", [True, False])
@every_form
def test_solution_is_that_of_dense_least_squares(weighted, l2, penalised, blocked, unobserved, monkeypatch):
    """With either preconditioner."""
    if not blocked:
        monkeypatch.setattr(gauss_newton, "BLOCKED", 0)
    at = random()
    problem, penalty, dense = system(at, weighted, l2, penalised, unobserved=unobserved)
    _, gradient = problem.value_and_grad(at)
    equations = NormalEquations(problem, at, penalty)
    assert equations.blocked == (blocked and not penalised)
    wanted = change(at, unflat(at, np.linalg.lstsq(dense, -flat(gradient), rcond=1e-12)[0]))
    got = change(at, equations.solve(gradient, 1e-12, 500))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-8 * np.abs(wanted).max())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("entries", [gaps, gappy])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize(("weighted", "penalised"), [(w, d) for w in (False, True) for d in (False, True)])
def test_every_kernel_takes_the_same_steps(weighted, penalised, with_bias, entries, dtype):
    """Step by step, the compiled solve as that in NumPy; with empty rows, and rows of fewer entries than unknowns."""
    observed = entries()
    observed = observed.with_values(observed.values.astype(dtype))
    weights = np.random.default_rng(1).uniform(0.5, 2, observed.n_observed) if weighted else None
    at = (biased() if with_bias else random()).map(lambda a: a.astype(dtype))
    penalty = np.array([0.2, 0.5, 1], dtype) if penalised else None
    for most in (0, 1, 2, 5):
        found = []
        for name in [entry.name for entry in kernels.report() if entry.available]:
            problem = MaskedLeastSquares(observed, weights, 0.1, kernel=name)
            equations = NormalEquations(problem, at, penalty)
            assert equations.blocked == (not penalised)
            found.append(equations.flatten(equations.solve(problem.value_and_grad(at)[1], 1e-12, most)))
        for other in found[1:]:
            np.testing.assert_allclose(other, found[0], rtol=0, atol=2e4 * np.finfo(dtype).eps)


compiled = pytest.mark.skipif(kernels.chosen() != "native", reason="no compiled core")


def native_and_reference(observed, at, tol, most, weights=None, l2=0.0, penalty=None):
    """The same solve, compiled and in NumPy."""
    found = []
    for name in ("native", "reference"):
        problem = MaskedLeastSquares(observed, weights, l2, kernel=name)
        found.append(NormalEquations(problem, at, penalty).solve(problem.value_and_grad(at)[1], tol, most))
    return found


@compiled
@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [1, 4, 7, 8, 9, 16, 17, 33, 50, 70])
def test_the_compiled_solve_serves_every_width(width, dtype, index):
    """With and without a kernel for the width, and blocks up to 16."""
    planted = datasets.planted((150, 120), 3, 0.6).observations
    observed = Observations(suite.with_indices(planted.pattern, index), planted.values.astype(dtype))
    at = random(width, shape=planted.shape).map(lambda a: a.astype(dtype))
    got, wanted = map(flat, native_and_reference(observed, at, 1e-12, 4, l2=0.5))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=2e3 * np.finfo(dtype).eps * np.abs(wanted).max())


@compiled
@pytest.mark.parametrize("mask", suite.ODD)
def test_the_compiled_solve_serves_odd_patterns(mask):
    given = suite.case(3, mask=mask)
    observed = Observations(given.pattern, given.target.by_row)
    got, wanted = map(flat, native_and_reference(observed, Factors(given.left, (), given.right), 1e-12, 2, l2=0.5))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-10 * np.abs(wanted).max())


@every_kernel
def test_a_bias_of_the_columns_alone_is_a_model(kernel):
    """The step goes to the mean of each column, which is the solution."""
    observed = observations()
    problem = MaskedLeastSquares(observed, kernel=kernel)
    at = Factors(np.zeros((m, 0)), (), np.zeros((n, 0)), column_bias=np.zeros(n))
    delta = NormalEquations(problem, at).solve(problem.value_and_grad(at)[1], 1e-9, 50)
    means = np.bincount(observed.cols, observed.values) / np.bincount(observed.cols)
    np.testing.assert_allclose(delta.column_bias, means, atol=1e-8)


def test_wide_models_take_the_average_preconditioner_and_solve_as_well():
    k = gauss_newton.BLOCKED + 1
    problem, at = MaskedLeastSquares(datasets.planted((60, 50), k, 0.8).observations), random(k, shape=(60, 50))
    _, gradient = problem.value_and_grad(at)
    equations = NormalEquations(problem, at)
    delta = equations.solve(gradient, 1e-8, 1000)
    assert not equations.blocked
    np.testing.assert_allclose(equations.product(flat(delta)), -flat(gradient), atol=1e-5 * np.abs(gradient.U).max())


def test_preconditioner_of_lines_is_exact_where_only_one_side_moves():
    """The matrix' diagonal blocks, undone: the rows do not feel each other while V stays."""
    at = random()
    problem, _, _ = system(at, True, 0.3, False)
    equations = NormalEquations(problem, at)
    for name, direction in (("U", Factors(random().U, (), 0 * at.V)), ("V", Factors(0 * at.U, (), random().V))):
        back = equations.unflatten(equations.precondition(equations.product(flat(direction))))
        np.testing.assert_allclose(getattr(back, name), getattr(direction, name), rtol=1e-9)


def test_average_preconditioner_is_exact_where_nothing_is_missing():
    at, penalty = random(), np.array([0.1, 1, 3])
    equations = NormalEquations(MaskedLeastSquares(observe(np.ones(SHAPE))), at, penalty)
    for name, direction in (("U", Factors(random().U, (), 0 * at.V)), ("V", Factors(0 * at.U, (), random().V))):
        back = equations.unflatten(equations.precondition(equations.product(flat(direction))))
        np.testing.assert_allclose(getattr(back, name), getattr(direction, name), rtol=1e-9)


@pytest.mark.parametrize("entries", [gaps, gappy])
def test_lines_with_few_entries_or_none_are_no_problem(entries):
    """The observed entries change as in the dense problem; a line that nobody saw stays as it is."""
    observed, at = entries(), random()
    problem = MaskedLeastSquares(observed)
    delta = NormalEquations(problem, at).solve(problem.value_and_grad(at)[1], 1e-6, 100)
    J = jacobian(observed, at)
    wanted = J @ np.linalg.lstsq(J, -problem.residual(at), rcond=1e-12)[0]
    np.testing.assert_allclose(J @ flat(delta), wanted, rtol=0, atol=1e-5)
    assert not delta.U[2].any()
    assert not delta.V[3].any()
    assert np.isfinite(flat(delta)).all()


@pytest.mark.parametrize("tol", [0.3, 1e-2, 1e-4])
def test_solve_ends_at_its_tolerance_and_not_far_below(tol):
    at = random()
    problem, _, _ = system(at, True, 0.0, False, "reference")
    equations, products = NormalEquations(problem, at), []
    product = equations.product
    equations.product = lambda direction: products.append(1) or product(direction)
    _, gradient = problem.value_and_grad(at)

    def size(most):
        residual = product(flat(equations.solve(gradient, tol, most))) + flat(gradient)
        return np.sqrt(residual @ equations.precondition(residual))

    before, after = size(0), size(1000)
    needed = len(products)
    assert after <= tol * before < size(needed - 1)
    assert len(products) == 2 * needed - 1


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_nothing_to_solve_is_no_step(scale):
    at = random().map(lambda a: scale * a)
    problem = MaskedLeastSquares(observe(at.dense() if scale else np.ones(SHAPE)))
    delta = NormalEquations(problem, at).solve(problem.value_and_grad(at)[1], 1e-6, 50)
    np.testing.assert_allclose(flat(delta), 0, atol=1e-12)


@pytest.mark.parametrize("penalty", [None, np.full(3, 0.5, np.float32)])
def test_single_precision_stays_single(penalty):
    observed = gappy()
    double, single = (
        MaskedLeastSquares(observed.with_values(observed.values.astype(dtype))) for dtype in (float, np.float32)
    )
    at = initial.spectral(observed, 3)
    low = at.map(lambda a: a.astype(np.float32))
    delta = NormalEquations(single, low, penalty).solve(single.value_and_grad(low)[1], 1e-4, 200)
    assert {a.dtype for a in delta.arrays} == {np.dtype(np.float32)}
    assert NormalEquations(single, low, penalty).product(flat(delta)).dtype == np.float32
    ridge = None if penalty is None else penalty.astype(float)
    wanted = NormalEquations(double, at, ridge).solve(double.value_and_grad(at)[1], 1e-4, 200)
    seen = observed.rows, observed.cols
    scale = np.abs(change(at, wanted)[seen]).max()
    np.testing.assert_allclose(change(low, delta)[seen], change(at, wanted)[seen], atol=1e-2 * scale)


@compiled
@pytest.mark.parametrize("blocked", [True, False])
@pytest.mark.parametrize("penalised", [True, False])
@pytest.mark.parametrize(("condition", "size"), [(1, 1), (1e8, 1), (1e8, 1e-30), (1e4, 1e30)])
def test_a_loose_solve_in_single_precision_takes_the_steps_of_one_in_double(
    condition, size, penalised, blocked, monkeypatch
):
    """At any condition and in any units: the compiled one turns and scales the unknowns first."""
    if not blocked:
        monkeypatch.setattr(gauss_newton, "BLOCKED", 0)
    at, observed = of_condition(condition, size)
    penalty = 0.3 * size * np.geomspace(1, 1 / condition, 3) if penalised else None
    got, wanted = (change(at, delta) for delta in native_and_reference(observed, at, 1e-3, 6, penalty=penalty))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def of_condition(condition, size=1.0, width=3):
    """Factors, and entries that they match but for a thousandth."""
    rng = np.random.default_rng(0)
    P, Q = (np.linalg.qr(rng.standard_normal((lines, width)))[0] for lines in (40, 30))
    root = np.sqrt(size * np.geomspace(1, 1 / condition, width))
    at = Factors(P * root, (), Q * root)
    return at, observe(at.dense() + size * 1e-3 * rng.standard_normal((40, 30)), rng.random((40, 30)) < 0.6)


@compiled
@pytest.mark.parametrize("blocked", [True, False])
@pytest.mark.parametrize("size", [1e-60, 1.0, 1e60])
@pytest.mark.parametrize("heavy", [1e-45, 1.0, 1e45])
def test_weights_and_penalties_that_single_precision_does_not_have_are_none_of_its_business(
    heavy, size, blocked, monkeypatch
):
    if not blocked:
        monkeypatch.setattr(gauss_newton, "BLOCKED", 0)
    at, observed = of_condition(1, size)
    weights = heavy * np.random.default_rng(1).uniform(0.5, 2, observed.n_observed)
    l2 = heavy * size * np.linspace(0.1, 0.2, 40), heavy * size * np.linspace(0, 0.3, 30)
    got, wanted = (change(at, delta) for delta in native_and_reference(observed, at, 1e-3, 6, weights, l2))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


@compiled
@pytest.mark.parametrize("width", [2, 8])
@pytest.mark.parametrize("condition", [1, 1e8])
def test_the_tightest_solve_in_single_precision_has_the_residual_that_was_asked_for(condition, width):
    at, observed = of_condition(condition, width=width)
    problem = MaskedLeastSquares(observed)
    gradient = problem.value_and_grad(at)[1]
    equations = NormalEquations(problem, at)
    left = equations.flatten(gradient)
    asked = 1e-4 * np.sqrt(left @ equations.precondition(left))
    left = left + equations.product(equations.flatten(equations.solve(gradient, 1e-4, 1000)))
    # By the blocks, or the average, in other coordinates: they differ by no more than blocks do from their average.
    assert np.sqrt(left @ equations.precondition(left)) < 1.5 * asked


@compiled
@pytest.mark.parametrize("n_threads", [2, 3])
@pytest.mark.parametrize("tol", [0.1, 1e-9])
@pytest.mark.parametrize(("width", "weighted"), [(4, True), (30, False), (30, True)])
@pytest.mark.parametrize("shape", [(900, 700), (6, 40_000)])  # in the second rows are cut into segments
def test_the_compiled_solve_has_the_same_bits_with_any_number_of_threads(shape, width, weighted, tol, n_threads):
    rng = np.random.default_rng(0)
    observed = observe(rng.standard_normal(shape), rng.random(shape) < (0.3 if shape[0] > 6 else 0.9))
    weights = rng.uniform(0.5, 2, observed.n_observed) if weighted else None
    problem, at = MaskedLeastSquares(observed, weights, l2=0.1 * weighted), random(width, shape=shape)
    _, gradient = problem.value_and_grad(at)
    found = []
    for count in (1, n_threads):
        with kernels.threads(count):
            found.append(flat(NormalEquations(problem, at).solve(gradient, tol, 4)))
    np.testing.assert_array_equal(*found)


def test_a_line_of_fewer_entries_than_unknowns_stays_near():
    """Its own block alone would send it as far as rounding lets it."""
    observed = gappy()
    problem, at = MaskedLeastSquares(observed), random()
    equations = NormalEquations(problem, at)
    assert equations.blocked
    residual = flat(problem.value_and_grad(at)[1])
    few = np.asarray(observed.pattern.row_counts) < at.width
    moved = equations.unflatten(equations.precondition(residual)).U
    assert few.any()
    assert np.abs(moved[few]).max() < 10 * np.abs(moved[~few]).max()
