"""What docs/guide/your-own-problem.md promises: five extensions written from the page alone, and every rule on them."""

import doctest
import importlib
from dataclasses import dataclass

import numpy as np
import pytest

import dmc

RULES = {
    "a rate": lambda p: dmc.steps.DiscrepantDescent(0.05 / (p.curvature * p.target_norm)),
    "normalised": lambda p: dmc.steps.DiscrepantDescent(),
    "momentum": lambda p: dmc.steps.Momentum(dmc.steps.DiscrepantDescent(0.01 / (p.curvature * p.target_norm))),
    "momentum, normalised": lambda p: dmc.steps.Momentum(dmc.steps.DiscrepantDescent(stability=0.05)),
    "Adam": lambda p: dmc.steps.Adam(0.02),
    "scaled": lambda p: dmc.steps.ScaledDescent(0.1),
    "backtracking": lambda p: dmc.steps.Backtracking(dmc.steps.DiscrepantDescent()),
}
SYSTEMS = {
    "GaussNewton": dmc.steps.GaussNewton(),
    "AlternatingLeastSquares": dmc.steps.AlternatingLeastSquares(),
    "RankPath": dmc.rank_path.RankPath(3),
}


class Huber(dmc.Problem):
    """½ r² where |r| ≤ δ, δ|r| − ½ δ² beyond, over the observed entries."""

    def __init__(self, observed, delta):
        self.observed, self.delta = observed, delta
        self.curvature = observed.density
        clipped = observed.with_values(np.clip(observed.values, -3, 3))
        self.target_norm = clipped.spectral_norm() / observed.density

    def value_and_grad(self, factors):
        residual = factors.at(self.observed.rows, self.observed.cols) - self.observed.values
        inner = np.clip(residual, -self.delta, self.delta)
        G = self.observed.with_values(inner).to_scipy()
        return np.sum(inner * (residual - inner / 2)), factors.pull_back(G @ factors.right, G.T @ factors.left)


class Logistic(dmc.Problem):
    """log(1 + exp(−y x)) over observed signs y."""

    def __init__(self, observed):
        self.observed = observed
        self.curvature = observed.density / 4
        gradient = observed.with_values(observed.values / 2)  # by X̂, where X̂ is zero
        self.target_norm = gradient.spectral_norm() / self.curvature

    def value_and_grad(self, factors):
        y = self.observed.values
        margin = y * factors.at(self.observed.rows, self.observed.cols)
        G = self.observed.with_values(-y / (1 + np.exp(margin))).to_scipy()
        return np.sum(np.logaddexp(0, -margin)), factors.pull_back(G @ factors.right, G.T @ factors.left)


class WeightedSensing(dmc.Problem):
    """½ Σ w_i (⟨A_i, X̂⟩ − y_i)²."""

    def __init__(self, A, y, weights):
        self.A, self.y, self.weights = A, y, weights
        m, n = A.shape[1:]
        self.curvature = float(np.sum(weights[:, None, None] * A**2)) / (m * n)
        at_zero = np.tensordot(weights * y, A, 1)
        self.target_norm = float(np.linalg.norm(at_zero, 2)) / self.curvature

    def value_and_grad(self, factors):
        residual = np.tensordot(self.A, factors.left @ factors.right.T, 2) - self.y
        G = np.tensordot(self.weights * residual, self.A, 1)
        return 0.5 * np.sum(self.weights * residual**2), factors.pull_back(G @ factors.right, G.T @ factors.left)


@dataclass(frozen=True)
class Polyak(dmc.Step):
    """By as much as the value would fall to zero, were it linear."""

    share: float = 0.5

    def __call__(self, factors, value, grad, state):
        squares = sum((g * g).sum() for g in grad.arrays)
        return factors.map(lambda a, g: a - self.share * value / squares * g, grad), state


@dataclass(frozen=True)
class Signs(dmc.Step):
    """By the signs of a running mean of the gradient, ever less: a rule with a state."""

    rate: float = 0.03
    memory: float = 0.9

    def init(self, problem, factors):
        return factors.map(lambda a: 0 * a), 0

    def __call__(self, factors, value, grad, state):
        mean, n = state
        mean = mean.map(lambda m, g: self.memory * m + (1 - self.memory) * g, grad)
        rate = self.rate / (1 + n / 50)
        return factors.map(lambda a, m: a - rate * ((m > 0) * 1.0 - (m < 0) * 1.0), mean), (mean, n + 1)


def from_means(observed, width, scale=0.1):
    """Biases that are the means of rows and columns, beside small random factors."""
    m, n = observed.shape
    sums, counts = observed.to_scipy(), observed.with_values(np.ones_like(observed.values)).to_scipy()
    mean = observed.values.mean()
    of_rows, of_columns = (sums.sum(axis=a) / np.maximum(counts.sum(axis=a), 1) - mean for a in (1, 0))
    random = dmc.initial.gaussian((m, n), width, scale=scale)
    return dmc.Factors(random.U, (), random.V, of_rows + mean, of_columns)


RNG = np.random.default_rng(0)
X = RNG.standard_normal((30, 2)) @ RNG.standard_normal((2, 24))
MASK = RNG.random(X.shape) < 0.7
WRONG = X + 20 * (RNG.random(X.shape) < 0.05) * RNG.standard_normal(X.shape)
OBSERVED, SPOILT = dmc.observe(X, MASK), dmc.observe(WRONG, MASK)
SIGNS = dmc.observe(np.where(RNG.random(X.shape) < 1 / (1 + np.exp(-X)), 1.0, -1.0), MASK)
A = RNG.standard_normal((400, *X.shape)) / 20
EXACT = A, np.tensordot(A, X, 2), RNG.uniform(0.5, 2, len(A))
PROBLEMS = {"Huber": Huber(SPOILT, 1.0), "Logistic": Logistic(SIGNS), "WeightedSensing": WeightedSensing(*EXACT)}


def start(depth=0, scale=0.5):
    return dmc.initial.gaussian(X.shape, 3, depth, scale, seed=2)


def error(found):
    return np.linalg.norm(found.factors.dense() - X) / np.linalg.norm(X)


@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize("name", PROBLEMS)
def test_they_pass_the_check(name, depth):
    assert dmc.check_problem(PROBLEMS[name], start(depth, 1.5)) < 1e-5
    with_biases = from_means(OBSERVED, 2)
    assert dmc.check_problem(PROBLEMS[name], with_biases) < 1e-5


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", PROBLEMS)
def test_every_rule_of_value_and_gradient_moves_them(name, rule):
    problem = PROBLEMS[name]
    before = problem.value(start())
    found = dmc.solve(problem, start(), RULES[rule](problem), max_steps=150, tol=0)
    assert found.status is dmc.Status.MAX_STEPS
    assert found.value < 0.85 * before


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("rule", SYSTEMS)
@pytest.mark.parametrize("name", PROBLEMS)
def test_rules_that_solve_systems_say_what_they_need_before_the_first_step(name, rule, depth):
    for step in (SYSTEMS[rule], dmc.steps.Backtracking(SYSTEMS[rule]), dmc.steps.Momentum(SYSTEMS[rule])):
        seen = dmc.callbacks.History()
        with pytest.raises(TypeError, match=f"{rule} is for MaskedLeastSquares and this is {name}, .*; use "):
            dmc.solve(PROBLEMS[name], start(depth), step, callbacks=[seen])
        assert not seen.records


@pytest.mark.parametrize(("units", "times"), [(2.0**10, 1.0), (2.0**-10, 1.0), (1.0, 2.0**20), (4.0, 2.0**-8)])
def test_the_normalised_rule_scales_itself_to_the_loss(units, times):
    """In other units, or times a number, it takes the same steps: the core grows with the units, U and V do not."""

    class Rescaled(Huber):
        def __init__(self):
            super().__init__(SPOILT.with_values(SPOILT.values * units), units)
            self.curvature, self.target_norm = times * SPOILT.density, PROBLEMS["Huber"].target_norm * units

        def value_and_grad(self, factors):
            value, gradient = super().value_and_grad(factors)
            return times * value, gradient.map(lambda a: times * a)

    begin = dmc.initial.compressed(OBSERVED, 2, depth=1, scale=0.125)
    larger = dmc.Factors(begin.U, [units * begin.cores[0]], begin.V)
    plain, other = (
        dmc.solve(problem, at, dmc.steps.DiscrepantDescent(), max_steps=100, tol=0)
        for problem, at in ((PROBLEMS["Huber"], begin), (Rescaled(), larger))
    )
    assert other.value == pytest.approx(times * units**2 * plain.value, rel=1e-9)
    assert plain.value < 0.8 * PROBLEMS["Huber"].value(begin)


def test_huber_recovers_what_least_squares_does_not():
    found = {}
    for name, problem in {"Huber": Huber(SPOILT, 0.1), "squares": dmc.MaskedLeastSquares(SPOILT)}.items():
        found[name] = dmc.solve(problem, start(1), dmc.steps.DiscrepantDescent(), max_steps=800, tol=1e-6)
    assert error(found["Huber"]) < 0.1
    assert error(found["squares"]) > 1


def test_logistic_finds_the_signs():
    found = dmc.solve(Logistic(SIGNS), start(), dmc.steps.DiscrepantDescent(), max_steps=60, tol=0)
    unseen = ~MASK
    right = np.mean(np.sign(found.factors.dense()[unseen]) == np.sign(X[unseen]))
    assert right > 0.6


def test_weighted_sensing_recovers_the_matrix_and_is_the_library_s_with_equal_weights():
    A, y, _ = EXACT
    found = dmc.solve(WeightedSensing(*EXACT), start(), dmc.steps.DiscrepantDescent(), max_steps=500, tol=1e-9)
    assert error(found) < 0.02
    plain, own = dmc.LinearSensing(A, y), WeightedSensing(A, y, np.ones(len(A)))
    assert own.value(start()) == pytest.approx(plain.value(start()))
    assert own.curvature == pytest.approx(plain.curvature)
    assert own.target_norm == pytest.approx(plain.target_norm)


@pytest.mark.parametrize("step", [Polyak(), dmc.steps.Momentum(Polyak(0.2), 0.5), dmc.steps.Backtracking(Polyak(1.0))])
def test_a_step_of_ones_own(step):
    problem = dmc.MaskedLeastSquares(OBSERVED)
    found = dmc.solve(problem, dmc.initial.spectral(OBSERVED, 2), step, max_steps=1000, tol=1e-9)
    assert found.value < 1e-10 * problem.value(start())


def test_a_step_with_a_state_of_ones_own():
    problem = dmc.MaskedLeastSquares(OBSERVED)
    found = dmc.solve(problem, start(1), Signs(), max_steps=600, tol=0)
    assert found.value < 0.02 * problem.value(start(1))


def test_a_start_of_ones_own():
    biased = X + 3 * RNG.standard_normal((30, 1)) + 3 * RNG.standard_normal((1, 24))
    observed = dmc.observe(biased, MASK)
    problem, begin = dmc.MaskedLeastSquares(observed), from_means(observed, 4)
    assert problem.value(begin) < 0.5 * problem.value(dmc.initial.gaussian(X.shape, 4))
    found = dmc.solve(problem, begin, dmc.steps.DiscrepantDescent(), max_steps=3000, tol=1e-7)
    assert np.linalg.norm(found.factors.dense() - biased) < 0.05 * np.linalg.norm(biased)


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_plateau_is_told_of_problems_of_ones_own(name):
    problem, begin = PROBLEMS[name], dmc.initial.normal(X.shape, 3, 0.3, width=6)
    rule = dmc.steps.DiscrepantDescent(0.1 / (problem.curvature * problem.target_norm ** (4 / 3)))
    expected = dmc.plateau_steps(problem, begin, rule)
    seen = dmc.callbacks.History(size=lambda factors: factors.singular_values()[0])
    dmc.solve(problem, begin, rule, max_steps=int(2 * expected), tol=0, callbacks=[seen], check_every=5)
    escaped = seen.column("n_steps")[seen.column("size") > 0.25 * problem.target_norm]
    assert len(escaped)
    assert expected / 2 < escaped[0] < expected * 2


@pytest.mark.parametrize(
    "module",
    ["bures_wasserstein", "gradient_check", "layered", "plateau", "protocol", "regression"],
)
def test_the_examples_of_the_docstrings_run(module):
    result = doctest.testmod(importlib.import_module(f"dmc.solver.{module}"))
    assert result.attempted
    assert not result.failed
