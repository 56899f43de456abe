"""All problems pass; such as are wrong on purpose are refused in words."""

import numpy as np
import pytest

import dmc
from dmc import datasets, initial
from dmc.factors import Factors
from dmc.solver.gradient_check import WrongGradient, check_problem

SHAPE = m, n = 7, 5


def factors(depth=2, biases=True, dtype=np.float64) -> Factors:
    start = initial.gaussian(SHAPE, 3, depth, 0.8, dtype=dtype)
    rng = np.random.default_rng(1)
    b, c = (rng.standard_normal(size).astype(dtype) if biases else None for size in SHAPE)
    return Factors(start.U, start.cores, start.V, b, c)


def problems():
    rng = np.random.default_rng(0)
    observed = datasets.planted(SHAPE, 2, 0.8).observations
    weights = rng.uniform(0.5, 2, observed.n_observed)
    A = rng.standard_normal((12, *SHAPE))
    return {
        "masked": dmc.MaskedLeastSquares(observed),
        "weighted and penalised": dmc.MaskedLeastSquares(observed, weights, 0.3),
        "with zeros elsewhere": dmc.MaskedLeastSquares(observed, weights, unobserved_weight=0.2),
        "dense": dmc.LeastSquares(rng.standard_normal(SHAPE)),
        "sensing": dmc.LinearSensing(A, rng.standard_normal(12)),
    }


@pytest.mark.parametrize("name", problems())
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_the_problems_of_the_house_pass(name, depth):
    assert dmc.check_problem(problems()[name], factors(depth)) < 1e-7


def test_single_precision_passes_at_its_own_tolerance():
    observed = datasets.planted(SHAPE, 2, 0.8).observations
    single = observed.with_values(observed.values.astype(np.float32))
    assert check_problem(dmc.MaskedLeastSquares(single), factors(dtype=np.float32)) < 2e-2


def test_tensors_pass():
    pytest.importorskip("torch")
    problem = problems()["weighted and penalised"].to("cpu")
    assert check_problem(problem, factors().to("cpu")) < 1e-7


class Wrong(dmc.LeastSquares):
    """With one array of the gradient spoiled."""

    def __init__(self, place, spoil):
        super().__init__(np.random.default_rng(0).standard_normal(SHAPE))
        self.place, self.spoil = place, spoil

    def value_and_grad(self, factors):
        value, gradient = super().value_and_grad(factors)
        spoilt = gradient.arrays[self.place]
        return value, gradient.map(lambda a: self.spoil(a) if a is spoilt else a)


@pytest.mark.parametrize(
    ("place", "name"), [(0, "U"), (1, r"cores\[0\]"), (2, r"cores\[1\]"), (3, "V"), (4, "row_bias"), (5, "column_bias")]
)
@pytest.mark.parametrize("spoil", [lambda a: 0 * a, lambda a: -a, lambda a: 1.001 * a, np.flipud, lambda a: a * np.nan])
def test_a_wrong_gradient_is_told_with_the_factor(place, name, spoil):
    with pytest.raises(WrongGradient, match=rf"the gradient by {name} has the slope .*; fix value_and_grad of Wrong"):
        check_problem(Wrong(place, spoil), factors())


def test_a_looser_tolerance_passes_a_small_error():
    wrong = Wrong(0, lambda a: 1.001 * a)
    assert 5e-4 < check_problem(wrong, factors(), tol=0.01) < 2e-3


def test_gradient_of_another_form_is_refused():
    class Transposed(dmc.LeastSquares):
        def value_and_grad(self, factors):
            value, gradient = super().value_and_grad(factors)
            return value, Factors(gradient.V, gradient.cores, gradient.U)

    wrong = Transposed(np.ones(SHAPE))
    with pytest.raises(
        ValueError, match=r"the gradient of Transposed has arrays of the shapes .*give those of the factors"
    ):
        check_problem(wrong, factors(biases=False))


def test_two_values_are_refused():
    class Doubled(dmc.LeastSquares):
        def value(self, factors):
            return 2 * super().value(factors)

    with pytest.raises(ValueError, match=r"Doubled has the value .* and by value_and_grad .*; both have to agree"):
        check_problem(Doubled(np.ones(SHAPE)), factors())


@pytest.mark.parametrize("scale", [-1.0, np.nan, np.inf])
def test_a_scale_that_is_none_is_refused(scale):
    class Scaled(dmc.LeastSquares):
        curvature = scale

    with pytest.raises(ValueError, match=f"the curvature of Scaled is {scale}; give a finite number"):
        check_problem(Scaled(np.ones(SHAPE)), factors())


class Odd(dmc.LeastSquares):
    """A right problem, but for what a test spoils of it."""

    def __init__(self, spoil):
        super().__init__(np.random.default_rng(0).standard_normal(SHAPE))
        self.spoil, self.calls = spoil, 0

    def value_and_grad(self, factors):
        self.calls += 1
        return self.spoil(self, factors, *super().value_and_grad(factors))


BUFFER = [np.empty(shape) for shape in ((7, 3), (3, 3), (3, 3), (5, 3))]


def into_buffer(problem, factors, value, gradient):
    for buffer, array in zip(BUFFER, gradient.arrays, strict=True):
        buffer[:] = array
    return value, Factors(BUFFER[0], BUFFER[1:3], BUFFER[3])


def in_place(problem, factors, value, gradient):
    factors.cores[1][0, 0] += 1e-9
    return value, gradient


@pytest.mark.parametrize(
    ("spoil", "error", "said"),
    [
        (lambda p, f, v, g: (v, g.map(lambda a: a * (1 + 1e-3 * p.calls))), ValueError, "gives another gradient by U"),
        (in_place, ValueError, r"value_and_grad of Odd changes cores\[1\] of the factors; compute on a copy"),
        (into_buffer, ValueError, "writes over the gradient by U of an earlier call; copy it"),
        (lambda p, f, v, g: (v, g.map(lambda a: a.astype(np.float32))), TypeError, "of Odd is float32 and .* float64"),
        (lambda p, f, v, g: g, TypeError, "value_and_grad of Odd returns a Factors; return the value and the gradient"),
        (lambda p, f, v, g: (v, g.arrays), TypeError, "returns a number and a tuple; return the value and"),
        (lambda p, f, v, g: (v, g, v), TypeError, "returns a tuple of 3; return the value and the gradient"),
        (lambda p, f, v, g: (np.full(3, v), g), TypeError, r"the value of Odd has shape \(3,\); give one number"),
        (lambda p, f, v, g: (np.nan, g), ValueError, "the value of Odd is nan; check where it is finite"),
    ],
)
def test_what_solve_could_not_take_is_refused(spoil, error, said):
    with pytest.raises(error, match=said):
        check_problem(Odd(spoil), factors(biases=False))


def test_a_gradient_elsewhere_is_refused():
    torch = pytest.importorskip("torch")
    elsewhere = Odd(lambda p, f, v, g: (v, g.map(lambda a: torch.from_numpy(a))))
    with pytest.raises((TypeError, ValueError), match="the gradient of Odd is"):
        check_problem(elsewhere, factors(biases=False))
    with pytest.raises(ValueError, match=r"the factors are on cpu and LeastSquares computes on the host \(NumPy\)"):
        check_problem(problems()["dense"], factors(biases=False).to("cpu"))


def test_scales_have_to_be_said():
    class Bare(dmc.Problem):
        def value_and_grad(self, factors):
            return problems()["dense"].value_and_grad(factors)

    with pytest.raises(ValueError, match="Bare has no curvature, which step rules are scaled by; define curv"):
        check_problem(Bare(), factors(biases=False))


@pytest.mark.parametrize(
    ("problem", "at", "said"),
    [
        (np.ones(SHAPE), factors(), r"problem is an array of shape \(7, 5\)"),
        (problems()["dense"], np.ones(SHAPE), r"start is an array of shape \(7, 5\)"),
        (problems()["dense"], factors().map(lambda a: a.astype(int)), "the factors are int64; make all of them"),
    ],
)
def test_what_is_no_problem_and_no_factors_is_refused(problem, at, said):
    with pytest.raises(TypeError, match=said):
        check_problem(problem, at)
