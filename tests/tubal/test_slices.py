"""The problem over slices and its Gauss–Newton system, against the same written with dense matrices."""

import numpy as np
import pytest

from dmc.tubal.slices import SliceEquations, SliceFactors, SliceLeastSquares, balanced, gradient
from planted_tensors import planted, slices_of


def at_random(problem: SliceLeastSquares, width: int, seed: int = 0) -> SliceFactors:
    rng, transform = np.random.default_rng(seed), problem.transform
    length, m, n = problem.values.shape
    return SliceFactors(*(transform.forward(rng.standard_normal((length, rows, width))) for rows in (m, n)))


@pytest.fixture(params=["dft", "dct"])
def problem(request: pytest.FixtureRequest) -> SliceLeastSquares:
    _, seen, mask = planted((5, 4, 3), 1, 0.8, noise=0.1)
    return slices_of(seen, mask, request.param)


def test_the_gradient_is_the_derivative(problem: SliceLeastSquares) -> None:
    model, by = at_random(problem, 2), at_random(problem, 2, seed=1)
    value, by_slices = problem.gradient_by_slices(model)
    assert value == pytest.approx(problem.value(model))
    slopes = gradient(model, by_slices)
    claimed = sum(
        problem.transform.weights @ np.sum(slope.conj() * way, axis=(1, 2)).real
        for slope, way in zip(slopes, by, strict=True)
    )
    h = 1e-5
    measured = (problem.value(model.moved(by, h)) - problem.value(model.moved(by, -h))) / (2 * h)
    assert claimed == pytest.approx(measured, rel=1e-7)


@pytest.mark.parametrize("penalised", [False, True])
def test_the_direction_solves_the_linear_least_squares_problem(problem: SliceLeastSquares, penalised: bool) -> None:
    model = at_random(problem, 1)
    penalty = 0.3 * np.ones((len(model.U), 1)) if penalised else None
    equations = SliceEquations(problem, model, penalty)
    slopes = gradient(model, problem.gradient_by_slices(model)[1])
    delta = equations.solve(slopes, 1e-12, 500)
    start = equations._flat(slopes)
    matrix = np.stack([equations.product(row) for row in np.eye(len(start))])
    weighted = equations._weights[:, None] * matrix.T
    np.testing.assert_allclose(weighted, weighted.T, atol=1e-10)
    assert np.linalg.eigvalsh(weighted).min() > -1e-10
    np.testing.assert_allclose(equations.product(equations._flat(delta)), -start, atol=1e-8)


def test_slices_narrower_than_the_widest_stay_so(problem: SliceLeastSquares) -> None:
    model = at_random(problem, 2).cut(np.array([2, 1, 0])[: len(problem.transform.weights)])
    assert model.widths.tolist() == [2, 1, 0][: len(model.U)]
    slopes = gradient(model, problem.gradient_by_slices(model)[1])
    moved = model.moved(SliceEquations(problem, model).solve(slopes, 1e-8, 50), 1.0)
    assert moved.widths.tolist() == model.widths.tolist()


def test_the_decomposition_of_factors_is_that_of_the_dense_slices(problem: SliceLeastSquares) -> None:
    model = at_random(problem, 2)
    P, s, Q = model.svd()
    np.testing.assert_allclose(s, np.linalg.svd(model.dense(), compute_uv=False)[:, :2], atol=1e-12)
    np.testing.assert_allclose(balanced(P, s, Q).dense(), model.dense(), atol=1e-12)
    least = float(np.sort(s, axis=None)[1])
    assert model.above(least).widths.sum() == (s > least).sum()
    np.testing.assert_allclose(balanced(P, s, Q).squares(), 2 * s, atol=1e-12)


def test_scales_are_those_of_the_tensor(problem: SliceLeastSquares) -> None:
    dense = problem.transform.forward(problem.values) / problem.share
    np.testing.assert_allclose(problem.leading, np.linalg.svd(dense, compute_uv=False)[:, 0])
    assert problem.zero_value == pytest.approx(0.5 * np.sum(problem.values**2))
    widths = np.ones(len(dense), np.int64)
    assert problem.freedom(widths) == 3 * (5 + 4 - 1)


def test_rows_whose_entries_do_not_determine_them_are_counted(problem: SliceLeastSquares) -> None:
    least, transform = 1e-6, "dft" if problem.transform.scale > 1 else "dct"
    few = slices_of(np.ones((5, 4, 3)), np.eye(5, 4)[:, :, None] * np.ones(3) > 0, transform)
    assert few.short(at_random(few, 1), least) == 0  # four rows of three entries for three unknowns; one without any
    assert few.short(at_random(few, 2), least) == 8
    mask = np.ones((5, 4, 3), bool)
    mask[1, 2:] = False
    two = slices_of(np.ones((5, 4, 3)), mask, transform)
    assert two.short(at_random(two, 2), least) == 0  # six entries for six unknowns in row 1
    alike = at_random(two, 2)
    alike.V[:, 1] = alike.V[:, 0]
    assert two.short(alike, least) == 1  # as many, but twice the same three
    U, V = at_random(two, 2)
    assert two.short(SliceFactors(U, V + 1e-9 * np.roll(V, 1, axis=1)), least) == 0
    assert two.short(SliceFactors(U, np.where(np.arange(4)[:, None] < 2, V[:, :1], V)), least) == 1
