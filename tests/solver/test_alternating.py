"""One side at a time: its lines against systems solved one by one, and where alternating ends."""

import numpy as np
import pytest

from dmc import datasets, solve
from dmc.factors import Factors
from dmc.inputs import observe
from dmc.pattern import COLUMNS, ROWS
from dmc.solver import alternating, initial, steps
from dmc.solver.dense_problems import LeastSquares
from dmc.solver.problem import MaskedLeastSquares
from dmc.solver.solution import Status

SHAPE = m, n = 14, 11
every_form = pytest.mark.parametrize(
    ("weighted", "l2", "unobserved"), [(w, p, u) for w in (False, True) for p in (0.0, 0.3) for u in (0.0, 0.2)]
)


def problem_of(weighted=True, l2=0.3, unobserved=0.2):
    rng = np.random.default_rng(0)
    mask = rng.random(SHAPE) < 0.8
    mask[3] = mask[:, 4] = False
    observed = observe(rng.standard_normal(SHAPE), mask)
    weights = rng.uniform(0.5, 2, observed.n_observed) if weighted else None
    return MaskedLeastSquares(
        observed, weights, (l2 * np.linspace(1, 2, m), l2 * np.linspace(0.5, 1, n)), unobserved_weight=unobserved
    )


def factors(k=3, seed=1):
    rng = np.random.default_rng(seed)
    return Factors(rng.standard_normal((m, k)), (), rng.standard_normal((n, k)))


def all_grams(problem, at):
    return problem.grams(ROWS, at.V), problem.grams(COLUMNS, at.U)


@every_form
def test_the_gradient_of_a_side_is_its_part_of_the_whole(weighted, l2, unobserved):
    problem, at = problem_of(weighted, l2, unobserved), factors()
    for side, wanted in enumerate(problem.value_and_grad(at)[1].arrays):
        np.testing.assert_allclose(problem.side_gradient(at, side), wanted, rtol=0, atol=1e-12)


@every_form
def test_products_with_the_gradient_by_the_matrix_are_those_of_the_dense_one(weighted, l2, unobserved):
    """By the columns of widened factors: the gradient by a column of U that is zero is ∇ times its column of V."""
    problem, at, probes = problem_of(weighted, l2, unobserved), factors(), factors(seed=3)
    product = problem.gradient_products(at)
    for side, probe in ((ROWS, probes.V), (COLUMNS, probes.U)):
        zeros = np.zeros((SHAPE[side], 3))
        U, V = (zeros, probe) if side == ROWS else (probe, zeros)
        wide = Factors(np.hstack([at.U, U]), (), np.hstack([at.V, V]))
        wanted = problem.value_and_grad(wide)[1].arrays[side][:, 3:]
        np.testing.assert_allclose(product(side, probe), wanted, rtol=0, atol=1e-12)


@every_form
def test_products_are_those_with_every_lines_matrix(weighted, l2, unobserved):
    problem, at, direction = problem_of(weighted, l2, unobserved), factors(), factors(seed=2)
    for side, grams in enumerate(all_grams(problem, at)):
        d = direction.arrays[side]
        expected = np.einsum("lij,lj->li", grams, d)
        np.testing.assert_allclose(problem.gram_products(at, side)(d), expected, rtol=0, atol=1e-12)


def test_the_average_line_is_that_of_a_matrix_without_gaps():
    rng = np.random.default_rng(0)
    problem, at = MaskedLeastSquares(observe(rng.standard_normal(SHAPE)), l2=0.3), factors()
    for side, (other, grams) in enumerate(zip((at.V, at.U), all_grams(problem, at), strict=True)):
        average = problem.average_gram(side, other)
        np.testing.assert_allclose(grams, np.broadcast_to(average, grams.shape), rtol=1e-12)


@every_form
def test_with_enough_products_every_line_is_at_its_minimum(weighted, l2, unobserved):
    problem, at = problem_of(weighted, l2, unobserved), factors()
    for side, grams in enumerate(all_grams(problem, at)):
        gradient = problem.value_and_grad(at)[1].arrays[side]
        found = alternating.conjugate_gradient_rows(problem, at, gradient, side, 12)
        for own, start, gram, g in zip(found, at.arrays[side], grams, gradient, strict=True):
            if not gram.any():  # nothing is known of it
                np.testing.assert_array_equal(own, start)
            else:
                np.testing.assert_allclose(own, start - np.linalg.solve(gram, g), rtol=0, atol=1e-9)


@pytest.mark.parametrize("products", [1, 2, 5])
def test_no_step_raises_the_value_and_all_end_at_the_same(products):
    problem, values = problem_of(), []
    settings = {"max_steps": 3000, "tol": 1e-10, "check_every": 1}
    rule = steps.AlternatingLeastSquares(products)
    ours = solve(problem, factors(2), rule, callbacks=[lambda info: values.append(info.value)], **settings)
    assert ours.status is Status.CONVERGED
    assert (np.diff(values) <= 1e-12 * values[0]).all()
    theirs = solve(problem, factors(2), steps.Backtracking(steps.GaussNewton()), **settings)
    assert ours.value == pytest.approx(theirs.value, rel=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("products", [3, 8])
def test_lines_with_fewer_entries_than_directions_raise_no_value_either(products, dtype):
    """Without a ridge; such a line has arrived before the products are used up."""
    observed, values = datasets.planted((300, 30), 5, 0.2)[0], []
    observed = observed.with_values(observed.values.astype(dtype))
    rule = steps.AlternatingLeastSquares(products)
    solve(
        MaskedLeastSquares(observed),
        initial.spectral(observed, 5),
        rule,
        max_steps=60,
        tol=0,
        check_every=1,
        callbacks=[lambda info: values.append(info.value)],
    )
    assert (np.diff(values) <= 1e-6 * values[0]).all()


def test_a_planted_matrix_is_recovered():
    observed, A, B = datasets.planted((60, 50), 3, 0.5)
    start, rule = initial.spectral(observed, 3), steps.AlternatingLeastSquares(8)
    found = solve(MaskedLeastSquares(observed), start, rule, max_steps=60, tol=0).factors
    assert np.linalg.norm(found.dense() - A @ B.T) < 1e-8 * np.linalg.norm(A @ B.T)


def test_what_it_does_not_move_is_refused():
    deep = initial.gaussian(SHAPE, 3, 2)
    with pytest.raises(ValueError, match=r"AlternatingLeastSquares moves two-factor models .*truncate\(rank\)"):
        steps.AlternatingLeastSquares().init(problem_of(), deep)
    with pytest.raises(TypeError, match="AlternatingLeastSquares is for MaskedLeastSquares and this is LeastSquares"):
        solve(LeastSquares(np.ones(SHAPE)), factors(), steps.AlternatingLeastSquares())
