"""The compressed network as a torch module: its starts, derivatives and predictions, and training by torch."""

import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import dmc  # noqa: E402
from dmc.nn import CompressedFactorization, MaskedProduct  # noqa: E402
from masked_cases import planted, shuffled  # noqa: E402


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def one_thread():
    """torch's threads wait for each other at every small step, for long where the machine is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_as_the_library_s_own_problem(biases, depth, weighted):
    observed = planted()
    model = CompressedFactorization(observed.shape, 4, depth, scale=0.5, biases=biases, observations=observed)
    with torch.no_grad():
        for bias in (model.row_bias, model.column_bias) if biases else ():
            bias.normal_()
    weights = np.random.default_rng(1).random(observed.n_observed) if weighted else None
    plan, target = MaskedProduct(observed), torch.tensor(observed.values)
    loss = model.loss(plan, target, None if weights is None else torch.from_numpy(weights))
    loss.backward()
    value, gradient = dmc.MaskedLeastSquares(observed, weights).value_and_grad(model.factors())
    assert loss.item() == pytest.approx(value, rel=1e-12)
    parameters = [model.U, *model.cores, model.V, *((model.row_bias, model.column_bias) if biases else ())]
    for parameter, expected in zip(parameters, gradient.arrays, strict=True):
        np.testing.assert_allclose(parameter.grad, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())
    at = model.factors().at(observed.rows, observed.cols)
    np.testing.assert_allclose(model(plan).detach(), at, rtol=1e-12, atol=1e-12)
    pairs = torch.tensor(observed.rows), torch.tensor(observed.cols)
    for given in (pairs, (observed.rows, observed.cols), (list(observed.rows), list(observed.cols))):
        np.testing.assert_allclose(model.at(*given).detach(), at, rtol=1e-12, atol=1e-12)


def test_the_start():
    observed = planted()
    started = CompressedFactorization(observed.shape, 4, 2, 0.1, seed=3, observations=observed).factors()
    for got, expected in zip(started.arrays, dmc.initial.compressed(observed, 4, 2, 0.1, seed=3).arrays, strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("depth", [0, 1, 2, 5])
@pytest.mark.parametrize(("shape", "rank"), [((30, 20), 4), ((7, 50), 7), ((1, 9), 1), ((200, 3), 2)])
def test_the_start_without_data(shape, rank, depth):
    """Orthonormal columns, whose product has entries of the size that was asked for."""
    model = CompressedFactorization(shape, rank, depth, scale=0.1, seed=3)
    start, width = model.factors(), min(2 * rank, *shape)
    assert f"{shape[0]}×{shape[1]}, width {width}" in repr(model)
    assert {array.dtype for array in start.arrays} == {np.dtype(np.float32)}
    assert np.sqrt(np.mean(start.dense() ** 2)) == pytest.approx(0.1, rel=1e-5)
    for factor in start.arrays:
        gram = factor.T @ factor
        np.testing.assert_allclose(gram, gram[0, 0] * np.eye(width), atol=1e-5 * gram[0, 0])
    again, other = (CompressedFactorization(shape, rank, depth, scale=0.1, seed=s).factors() for s in (3, 4))
    assert np.array_equal(again.V, start.V)
    assert not np.array_equal(other.V, start.V)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("shape", "depth", "unit"),
    [((40, 30), d, 1.0) for d in (0, 1, 2, 3, 5)] + [((12, 9), 3, 3.0), ((150, 10), 3, 1.0), ((60, 50), 3, 0.3)],
)
def test_plain_gradient_descent_leaves_the_start(shape, depth, unit, dtype, one_thread):
    """At any depth and in any shape, where the values are of order 1."""
    observed = planted(shape, rank=2)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        model = CompressedFactorization(shape, 4, depth)
    finally:
        torch.set_default_dtype(before)
    plan, target = MaskedProduct(observed), unit * torch.tensor(observed.values).to(dtype)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    for _ in range(300):
        optimiser.zero_grad()
        loss = model.loss(plan, target)
        loss.backward()
        optimiser.step()
    assert loss.dtype == dtype
    assert loss.item() < 0.1 * 0.5 * target.square().sum().item()


@pytest.mark.parametrize("biases", [False, True])
def test_sides_and_what_is_made_of_them(biases):
    observed = planted()
    model = CompressedFactorization(observed.shape, 4, 2, scale=0.5, biases=biases, observations=observed)
    with torch.no_grad():
        for bias in (model.row_bias, model.column_bias) if biases else ():
            bias.normal_()
    X = torch.tensor(model.factors().dense())
    left, right = model.sides()
    torch.testing.assert_close(left @ right.T, X, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model.dense(), X, rtol=1e-12, atol=1e-12)
    for shape in ((20,), (20, 3), (2, 5, 20, 3)):
        x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        torch.testing.assert_close(model.matmul(x), X @ x, rtol=1e-12, atol=1e-12)
        model.matmul(x).sum().backward()
        torch.testing.assert_close(x.grad, X.sum(0).reshape(20, *(1,) * (len(shape) > 1)).expand(shape))
    assert model.U.grad.any()


def test_functional_calls():
    """torch.func through the modules: derivatives by the parameters, and models of a batch in one call."""
    observed = planted()
    models = [CompressedFactorization(observed.shape, 4, 2, 1.0, seed=s, biases=True).double() for s in (0, 1)]
    plan, target = MaskedProduct(observed), torch.tensor(observed.values)
    parameters = [dict(model.named_parameters()) for model in models]

    def loss(parameters):
        return (torch.func.functional_call(models[0], parameters, (plan,)) - target).square().sum() / 2

    expected = []
    for model in models:
        model.loss(plan, target).backward()
        expected.append({name: p.grad for name, p in model.named_parameters()})
    torch.testing.assert_close(torch.func.grad(loss)(parameters[0]), expected[0], rtol=1e-11, atol=1e-11)
    stacked, _ = torch.func.stack_module_state(models)
    by_batch = torch.func.vmap(torch.func.grad(loss))(stacked)
    torch.testing.assert_close(by_batch["U"][1], expected[1]["U"], rtol=1e-11, atol=1e-11)
    jacobian = torch.func.jacrev(lambda p: torch.func.functional_call(models[0], p, (plan,)))(parameters[0])
    residual = models[0](plan) - target
    torch.testing.assert_close(
        torch.einsum("e,eij->ij", residual, jacobian["V"]), expected[0]["V"], rtol=1e-11, atol=1e-11
    )


def test_gradient_descent_in_groups_is_discrepant_descent(one_thread):
    """torch's SGD with a rate for the cores and one for the rest takes the steps that dmc.solve takes."""
    observed = planted()
    rate, ratio, steps = 5e-3, 0.01, 200
    model = CompressedFactorization(observed.shape, 4, depth=3, scale=0.3, observations=observed)
    start = model.factors()
    optimiser = torch.optim.SGD(model.parameter_groups(rate, ratio))
    plan, target = MaskedProduct(observed), torch.tensor(observed.values)
    for _ in range(steps):
        optimiser.zero_grad()
        model.loss(plan, target).backward()
        optimiser.step()
    step = dmc.steps.DiscrepantDescent(rate=rate, outer_ratio=ratio)
    problem = dmc.MaskedLeastSquares(observed)
    found = dmc.solve(problem, start, step, max_steps=steps, tol=0)
    assert found.value < 0.5 * problem.value(start)
    for got, expected in zip(model.factors().arrays, found.factors.arrays, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10)


def test_groups():
    model = CompressedFactorization((6, 5), 2, depth=0, biases=True)
    (outer,) = model.parameter_groups(0.1, 0.5)
    assert len(outer["params"]) == 4
    assert outer["lr"] == 0.05
    grouped = CompressedFactorization((6, 5), 2, depth=3).parameter_groups(0.1)
    assert [len(group["params"]) for group in grouped] == [3, 2]
    assert [group["lr"] for group in grouped] == [0.1, 0.1]


def test_adam_recovers_a_planted_matrix(one_thread):
    truth = dmc.datasets.planted((40, 30), 2, 0.5)
    observed = truth.observations
    rows, cols, target = shuffled(observed)
    plan = MaskedProduct.from_entries(rows, cols, observed.shape)
    model = CompressedFactorization(observed.shape, 4, observations=observed)
    optimiser = torch.optim.Adam(model.parameter_groups(0.03, 0.3))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 500)
    for _ in range(500):
        optimiser.zero_grad()
        model.loss(plan, target).backward()
        optimiser.step()
        schedule.step()
    X = truth.A @ truth.B.T
    assert np.linalg.norm(model.factors().dense() - X) < 1e-2 * np.linalg.norm(X)


@pytest.mark.parametrize("biases", [False, True])
def test_the_network_compiled_whole(biases):
    observed = planted()
    model = CompressedFactorization(observed.shape, 3, biases=biases, observations=observed)
    plan, target = MaskedProduct(observed), torch.tensor(observed.values)
    compiled = torch.compile(lambda: model.loss(plan, target), backend="aot_eager", fullgraph=True)
    gradients = [
        torch.autograd.grad(f(), list(model.parameters())) for f in (lambda: model.loss(plan, target), compiled)
    ]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: CompressedFactorization((3, 4), 5), ValueError, "rank is 5; it has to be from 1 to 3"),
        (
            lambda: CompressedFactorization((3, 4), 2, observations=planted()),
            ValueError,
            "shape is (3, 4) and the observations are of (30, 20); make them equal",
        ),
        (lambda: CompressedFactorization((3, 4), 2, -1), ValueError, "depth is -1; it has to be at least 0"),
        (lambda: CompressedFactorization((3, 4), 2, scale=0.0), ValueError, "scale is 0; it has to be"),
        (lambda: CompressedFactorization((3, 4), 2, scale=1e300), ValueError, "beyond what float32 holds"),
        (
            lambda: CompressedFactorization((3, 4), 2).matmul(torch.ones(3, 2)),
            ValueError,
            "x has shape (3, 2); give (4,) or (…, 4, j): a row for each column of the 3×4 matrix",
        ),
        (lambda: CompressedFactorization((3, 4), 2).matmul(torch.tensor(1.0)), ValueError, "x has shape ()"),
        (
            lambda: CompressedFactorization((3, 4), 2).at(torch.tensor([3]), torch.tensor([0])),
            IndexError,
            "out of range",
        ),
        (lambda: CompressedFactorization((3, 4), 2)(planted()), TypeError, "plan is Observations; make"),
        (lambda: CompressedFactorization((3, 4), 2).loss(planted(), torch.ones(3)), TypeError, "plan is Observations"),
        (lambda: CompressedFactorization((3, 4), 2).at([1, 2], [0]), ValueError, "rows has shape (2,) and"),
    ],
)
def test_refused_in_words(call, error, words):
    with pytest.raises(error, match=re.escape(words)):
        call()
