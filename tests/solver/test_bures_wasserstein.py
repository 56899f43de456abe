"""The Bures–Wasserstein problem: against its definition by matrix roots, at its optima, and the step that is exact."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

import dmc
from dmc.solver import initial, steps
from dmc.solver.bures_wasserstein import BuresWasserstein

D, R = 12, 5


def root(seed=0, rank=R, condition=1.0):
    rng = np.random.default_rng(seed)
    return np.linalg.qr(rng.standard_normal((D, rank)))[0] * np.geomspace(condition**0.5, 1, rank)


def random_factors(columns, width, depth, seed=1):
    return initial.gaussian((D, columns), width, depth, 1.5, seed)


def squared_distance(A, B):
    """tr A + tr B − 2 tr (A^½ B A^½)^½."""
    half = np.real(sqrtm(A))
    return np.trace(A) + np.trace(B) - 2 * np.trace(np.real(sqrtm(half @ B @ half)))


@pytest.mark.parametrize(("columns", "width"), [(D, 3), (D, R), (D, 9), (3, 7), (7, D)])
def test_the_value_is_the_distance_as_it_is_defined(columns, width):
    at, S = random_factors(columns, width, 1), root()
    X = at.dense()
    ridge = 1e-14 * np.eye(D)  # of which the root of a singular matrix needs a little
    wanted = squared_distance(X @ X.T + ridge, S @ S.T + ridge)
    for problem in (BuresWasserstein(factor=S), BuresWasserstein(S @ S.T)):
        assert 2 * problem.value(at) == pytest.approx(wanted, rel=1e-5)
        assert problem.distance(at) ** 2 == pytest.approx(wanted, rel=1e-5)
        nuclear = np.linalg.norm(S.T @ X, "nuc")
        assert problem.value(at) == pytest.approx((np.sum(X**2) + np.sum(S**2)) / 2 - nuclear, rel=1e-12)


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize(("columns", "width"), [(D, 3), (D, 9), (3, 7)])
def test_the_gradient_is_that_of_differences(columns, width, depth):
    problem, at = BuresWasserstein(factor=root(condition=10)), random_factors(columns, width, depth)
    _, gradient = problem.value_and_grad(at)
    rng, h = np.random.default_rng(2), 1e-5
    along = at.map(lambda a: rng.standard_normal(a.shape))
    there, back = (problem.value(at.map(lambda a, d, h=h: a + h * d, along)) for h in (h, -h))
    claimed = sum(float(np.sum(g * d)) for g, d in zip(gradient.arrays, along.arrays, strict=True))
    assert claimed == pytest.approx((there - back) / (2 * h), rel=1e-6)
    assert dmc.check_problem(problem, at) < 1e-6


@pytest.mark.parametrize("rank", [1, 3, R, 8])
def test_the_best_of_a_rank_leaves_half_the_discarded_eigenvalues(rank):
    S = root(rank=8, condition=1e3)
    values, vectors = np.linalg.eigh(S @ S.T)
    best = dmc.Factors(vectors[:, -rank:] * values[-rank:] ** 0.5, (), np.linalg.qr(np.eye(D)[:, :rank])[0])
    discarded = np.maximum(values[:-rank], 0).sum() / 2
    for problem in (BuresWasserstein(factor=S), BuresWasserstein(S @ S.T)):
        value, gradient = problem.value_and_grad(best)
        assert value == pytest.approx(discarded, rel=1e-8, abs=1e-12)
        assert max(float(np.abs(g).max()) for g in gradient.arrays) < 1e-7


def test_training_of_a_low_rank_reaches_it():
    S = root(condition=4.0)
    values = np.linalg.svd(S, compute_uv=False) ** 2
    start = initial.gaussian((D, 2), 2, 0, 0.3)
    found = dmc.solve(BuresWasserstein(factor=S), start, steps.DiscrepantDescent(0.05), max_steps=5000, tol=1e-10)
    assert found.value == pytest.approx(values[2:].sum() / 2, rel=1e-8)


@pytest.mark.parametrize("condition", [1.0, 1e3, 1e6])
def test_one_layer_arrives_in_one_step(condition):
    problem = BuresWasserstein(factor=root(condition=condition))
    W = np.random.default_rng(3).standard_normal((D, D))
    start, rule = dmc.Factors(np.eye(D), [W], np.eye(D)), steps.DiscrepantDescent(1.0, outer_ratio=0)
    found = dmc.solve(problem, start, rule, max_steps=1, tol=0, check_every=1)
    assert problem.distance(found.factors) < 1e-13 * condition**0.5 * D
    P, _, Qt = np.linalg.svd(problem.factor.T @ W, full_matrices=False)
    np.testing.assert_allclose(found.factors.cores[0], problem.factor @ (P @ Qt), atol=1e-12 * condition**0.5)


def test_nothing_cancels_near_the_minimum():
    """½‖X‖² + ½‖S‖² − ‖SᵀX‖_* would be off by 1e-13 here, and may be negative."""
    S = 30 * root()
    X = S + 1e-9 * np.random.default_rng(4).standard_normal(S.shape)
    value = BuresWasserstein(factor=S).value(dmc.Factors(X, (), np.eye(R)))
    assert 0.1e-18 < value / (D * R) < 1e-18


def test_descent_takes_as_many_steps_at_any_condition():
    taken = []
    for condition in (1.0, 100.0, 1e4):
        problem = BuresWasserstein(factor=root(condition=condition))
        W = initial.orthogonal((D, D), 2, 0.1).U
        start, rule = dmc.Factors(np.eye(D), [W], np.eye(D)), steps.DiscrepantDescent(0.5, outer_ratio=0)
        taken.append(dmc.solve(problem, start, rule, tol=1e-6, check_every=1).n_steps)
    assert max(taken) <= 2 * min(taken)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tensors_do_as_arrays(dtype):
    torch = pytest.importorskip("torch")
    S, at = root().astype(dtype), random_factors(D, 4, 2).map(lambda a: a.astype(dtype))
    arrays, tensors = BuresWasserstein(S @ S.T), BuresWasserstein(torch.from_numpy(S @ S.T))
    assert (tensors.device, tensors.factor.dtype) == ("cpu", torch.from_numpy(S).dtype)
    assert arrays.to("cpu").to(None).value(at) == arrays.value(at)
    (value, gradient), (wanted, gradients) = tensors.value_and_grad(at.to("cpu")), arrays.value_and_grad(at)
    tol = 1e-4 if dtype is np.float32 else 1e-11
    assert float(value) == pytest.approx(float(wanted), rel=tol)
    for one, other in zip(gradient.to(None).arrays, gradients.arrays, strict=True):
        np.testing.assert_allclose(one, other, rtol=tol, atol=tol)


@pytest.mark.parametrize("scale", [1e-150, 1e-20, 1e20, 1e150])
def test_units_do_not_matter(scale):
    S, at = root(), random_factors(D, 4, 0)
    plain = BuresWasserstein(S @ S.T).distance(at)
    wide = dmc.Factors(scale * at.U, (), at.V)
    assert BuresWasserstein((scale * S) @ (scale * S).T).distance(wide) == pytest.approx(scale * plain, rel=1e-10)


def spoilt(i, j, by):
    covariance = np.diag(np.arange(1.0, 5.0))
    covariance[i, j] += by
    return covariance


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "neither of covariance and factor are given; give one"),
        ({"covariance": np.eye(2), "factor": np.eye(2)}, "both of covariance and factor are given; give one"),
        ({"covariance": np.ones(3)}, r"covariance has shape \(3,\); give a matrix"),
        (
            {"covariance": np.ones((3, 2))},
            r"covariance has shape \(3, 2\); give a square one, or its root S as factor=",
        ),
        ({"covariance": np.zeros((3, 3))}, "the covariance is zero"),
        ({"factor": np.zeros((3, 3))}, "the covariance is zero"),
        ({"factor": np.ones((3, 0))}, r"factor has shape \(3, 0\)"),
        ({"covariance": spoilt(0, 1, 0.5)}, r"is not symmetric: entry \(0, 1\) is 0.5 and \(1, 0\) 0; give \(cov"),
        ({"covariance": spoilt(0, 0, -3.0)}, "is not positive semidefinite: it has 1 negative eigenvalue, .* -2; give"),
        ({"covariance": -np.eye(3)}, "it has 3 negative eigenvalues, the most negative -1"),
        ({"covariance": spoilt(1, 1, np.nan)}, "covariance holds 1 value that is not finite"),
        ({"factor": [[np.inf, 1.0]]}, "factor holds 1 value that is not finite"),
    ],
)
def test_what_is_no_covariance_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        BuresWasserstein(**given)


def test_rounding_is_no_reason_to_refuse():
    S = np.random.default_rng(5).standard_normal((40, 3))
    for dtype in (np.float32, np.float64):
        covariance = (S @ S.T).astype(dtype)  # whose other eigenvalues are of either sign
        covariance[0, 1] *= 1 + 2 * np.finfo(dtype).eps
        assert BuresWasserstein(covariance).factor.shape[1] < 40
    assert BuresWasserstein([[4, 0], [0, 1]]).target_norm == pytest.approx(2.0)


def test_too_long_a_step_is_an_outcome_and_no_error():
    problem, start = BuresWasserstein(factor=root()), random_factors(D, 4, 1)
    found = dmc.solve(problem, start, steps.DiscrepantDescent(1e200), max_steps=50)
    assert found.status is dmc.Status.NONFINITE
    assert np.isnan(problem.value(start.map(lambda a: np.nan * a)))
    with np.errstate(over="ignore"):
        assert np.isnan(BuresWasserstein(factor=1e200 * root()).value(start.map(lambda a: 1e40 * a)))


def test_factors_of_other_rows_are_refused():
    with pytest.raises(ValueError, match="the factors make a 3×2 matrix, the data are 12×2"):
        BuresWasserstein(factor=root()).value(dmc.Factors(np.ones((3, 1)), (), np.ones((2, 1))))
