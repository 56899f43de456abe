"""Linear regression: against its definition and other problems; and the law of parsimony, which is exact for it."""

import numpy as np
import pytest

import dmc
from dmc import diagnostics
from dmc.solver import initial, steps
from dmc.solver.regression import LinearRegression

ROUNDING = 1e-12


def data(inputs=6, outputs=4, samples=30, rank=None, seed=0, condition=10.0):
    """Inputs of a condition number, outputs that are a function of a rank of them (plus noise, if none is given)."""
    rng = np.random.default_rng(seed)
    k = min(inputs, outputs) if rank is None else rank
    ends = [np.linalg.qr(rng.standard_normal((n, k)))[0] for n in (outputs, inputs)]
    X = np.geomspace(1, condition**-0.5, inputs)[:, None] * rng.standard_normal((inputs, samples))
    Y = (ends[0] * np.linspace(1, 0.6, k)) @ ends[1].T @ X
    return X, Y + (rank is None) * rng.standard_normal(Y.shape)


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize("samples", [3, 6, 30])
def test_value_and_gradient_are_those_of_the_definition(samples, depth, biases):
    X, Y = data(samples=samples)
    at, rng = initial.gaussian((4, 6), 3, depth, 1.3), np.random.default_rng(1)
    if biases:
        at = dmc.Factors(at.U, at.cores, at.V, rng.standard_normal(4), rng.standard_normal(6))
    problem = LinearRegression(X, Y)
    residual = at.dense() @ X - Y
    value, gradient = problem.value_and_grad(at)
    assert value == problem.value(at) == pytest.approx(0.5 * np.sum(residual**2), rel=1e-12)
    by_matrix = residual @ X.T
    wanted = at.pull_back(by_matrix @ at.right, by_matrix.T @ at.left)
    for one, other in zip(gradient.arrays, wanted.arrays, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)
    assert dmc.check_problem(problem, at) < 1e-6


def test_identical_inputs_are_full_observation():
    Y, at = np.random.default_rng(0).standard_normal((4, 6)), initial.gaussian((4, 6), 3, 1, 1.0)
    regression, full = LinearRegression(np.eye(6), Y), dmc.LeastSquares(Y)
    assert regression.value(at) == pytest.approx(full.value(at), rel=1e-14)
    assert regression.curvature == pytest.approx(1)
    assert regression.target_norm == pytest.approx(full.target_norm)


@pytest.mark.parametrize("samples", [6, 30])
def test_whitened_inputs_are_white(samples):
    X, Y = data(samples=samples)
    problem, at = LinearRegression(X, Y, whiten=True), initial.gaussian((4, 6), 3, 1, 1.3)
    white = problem.whitening @ X
    np.testing.assert_allclose(white @ white.T, np.eye(6), atol=1e-10)
    np.testing.assert_allclose(problem.whitening, problem.whitening.T, atol=1e-10)
    assert problem.value(at) == pytest.approx(LinearRegression(white, Y).value(at), rel=1e-10)
    assert problem.curvature == pytest.approx(1)


def test_training_ends_at_least_squares():
    X, Y = data(condition=3.0)
    problem = LinearRegression(X, Y)
    found = dmc.solve(problem, initial.gaussian((4, 6), 4, 0, 0.5), steps.DiscrepantDescent(), tol=1e-8)
    wanted = np.linalg.lstsq(X.T, Y.T)[0].T
    np.testing.assert_allclose(found.factors.dense(), wanted, atol=1e-5)
    assert found.value == pytest.approx(0.5 * np.sum((wanted @ X - Y) ** 2), rel=1e-9)


def rule(rate, decay, momentum):
    descent = steps.DiscrepantDescent(rate, 1.0, decay)
    return steps.Momentum(descent, momentum) if momentum else descent


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize("layers", [2, 3])
def test_the_law_of_parsimony_with_momentum(layers, decay, momentum):
    """Square, whitened, rank r: all layers keep their blocks, and ρ(t) is what is predicted, to rounding."""
    d, rank, scale, rate, n_steps = 30, 3, 0.2, 0.02 * (1 - momentum), 1500
    X, Y = data(d, d, 80, rank)
    problem = LinearRegression(X, Y, whiten=True)
    rate = rate / problem.target_norm
    start = initial.orthogonal((d, d), layers, scale)
    form = diagnostics.parsimony(start, problem.value_and_grad(start)[1], rank)
    seen = []
    rho = diagnostics.predicted_rho(layers, scale, rate, n_steps, decay, momentum=momentum)

    def look(info):
        for block in diagnostics.block_form(info.factors, form):
            seen.append(max(block.off_block, block.rest, abs(block.rho - rho[info.n_steps])))

    found = dmc.solve(problem, start, rule(rate, decay, momentum), max_steps=n_steps, tol=0, callbacks=[look])
    assert max(seen) < ROUNDING
    assert found.value < 0.1 * problem.value(start)  # and something was learnt
    assert abs(rho[-1] / scale - 1) > 1e-4  # and the prediction is not that nothing happens


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.02])
def test_the_law_with_as_many_outputs_as_the_rank(decay, momentum):
    """d_y = r: ρ(t) = ε(1 − ηλ)^t in all layers but the last, with momentum too."""
    d, rank, scale, rate, n_steps = 30, 3, 0.2, 0.02 * (1 - momentum), 1000
    X, Y = data(d, rank, 80, rank)
    problem = LinearRegression(X, Y, whiten=True)
    rate = rate / problem.target_norm
    start = initial.orthogonal((rank, d), 3, scale)
    form = diagnostics.parsimony(start, problem.value_and_grad(start)[1], rank)
    found = dmc.solve(problem, start, rule(rate, decay, momentum), max_steps=n_steps, tol=0)
    rho = diagnostics.predicted_rho(3, scale, rate, n_steps, decay, square=False, momentum=momentum)
    for block in diagnostics.block_form(found.factors, form)[:-1]:
        assert max(block.off_block, block.rest, abs(block.rho - rho[-1])) < ROUNDING
    assert found.value < 0.1 * problem.value(start)


@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tensors_do_as_arrays(dtype, whiten):
    torch = pytest.importorskip("torch")
    (X, Y), at = (a.astype(dtype) for a in data()), initial.gaussian((4, 6), 3, 2, 1.3, dtype=dtype)
    arrays = LinearRegression(X, Y, whiten)
    tensors = LinearRegression(torch.from_numpy(X), torch.from_numpy(Y), whiten)
    assert tensors.device == "cpu"
    assert (tensors.whitening is None) is not whiten
    (value, gradient), (wanted, gradients) = tensors.value_and_grad(at.to("cpu")), arrays.value_and_grad(at)
    tol = 1e-4 if dtype is np.float32 else 1e-11
    assert float(value) == pytest.approx(float(wanted), rel=tol)
    for one, other in zip(gradient.to(None).arrays, gradients.arrays, strict=True):
        assert one.dtype == dtype
        np.testing.assert_allclose(one, other, rtol=tol, atol=tol)
    assert arrays.to("cpu").to(None).value(at) == arrays.value(at)
    assert dmc.solve(arrays, at, steps.DiscrepantDescent(), max_steps=3, device="cpu").factors.device is None


@pytest.mark.parametrize(
    ("X", "Y", "whiten", "said"),
    [
        (np.ones((3, 4)), np.ones((2, 5)), False, "X has 4 columns and Y 5; give as many samples in both$"),
        (np.ones((9, 4)), np.ones((9, 2)), False, "X has 4 columns and Y 2; .* one column for each sample: X.T, Y.T"),
        (np.ones(3), np.ones((2, 3)), False, r"X has shape \(3,\); give a matrix"),
        (np.ones((3, 0)), np.ones((2, 0)), False, r"X has shape \(3, 0\)"),
        (np.full((3, 4), np.nan), np.ones((2, 4)), False, "X holds 12 values that are not finite"),
        (np.ones((3, 4)), np.full((2, 4), np.inf), False, "Y holds 8 values that are not finite"),
        (np.eye(3)[:, :2], np.ones((2, 2)), True, "X has 3 rows and rank 2, and cannot be whitened; drop rows"),
        (np.ones((2, 5)), np.ones((2, 5)), True, "X has 2 rows and rank 1, and cannot be whitened"),
        (np.zeros((2, 5)), np.ones((2, 5)), True, "X has 2 rows and rank 0, and cannot be whitened"),
    ],
)
def test_what_is_no_regression_is_refused(X, Y, whiten, said):
    with pytest.raises(ValueError, match=said):
        LinearRegression(X, Y, whiten)


def test_inputs_of_zeros_move_nothing():
    problem, start = LinearRegression(np.zeros((3, 5)), np.ones((2, 5))), initial.gaussian((2, 3), 2)
    assert (problem.curvature, problem.target_norm) == (0, 0)
    with pytest.warns(UserWarning, match="the gradient at the start is zero"):
        found = dmc.solve(problem, start, steps.DiscrepantDescent(), max_steps=3)
    np.testing.assert_array_equal(found.factors.U, start.U)


def test_inputs_with_an_offset_are_told_of():
    """Descent calls W converged there, and it is wrong: the offset makes the largest gradient by far."""
    X, Y = data()
    with pytest.warns(
        UserWarning, match=r"condition number of \de\+1\d: .* 5 small ones of 6 unlearnt; subtract the mean"
    ):
        LinearRegression(X + 1e6, Y)
    LinearRegression(X + 1e6, Y, whiten=True)
    centred = X + 1e6
    LinearRegression(centred - centred.mean(axis=1, keepdims=True), Y)
    LinearRegression(np.vstack([X, X]), Y)  # rows twice: nothing is to be learnt between them
