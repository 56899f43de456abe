"""The dense kernel against the reference, and when it is taken."""

import numpy as np
import pytest

import kernel_suite as suite
from dmc import kernels
from dmc.inputs import observe
from dmc.kernels import dense, reference
from dmc.solver.problem import MaskedLeastSquares


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", suite.DTYPES)
@pytest.mark.parametrize("width", [1, 7, 64])
def test_every_width_equals_reference(width, dtype, weighted):
    given = suite.case(width, dtype, weighted)
    got = suite.answers(dense, given)
    suite.assert_types(given, got)
    suite.assert_same(got, suite.answers(reference, given), dtype)
    suite.assert_one_sided(dense, reference, given)


@pytest.mark.parametrize("mask", suite.ODD)
def test_odd_patterns_equal_reference(mask):
    given = suite.case(5, np.float64, True, mask)
    suite.assert_same(suite.answers(dense, given), suite.answers(reference, given), np.float64)
    suite.assert_one_sided(dense, reference, given)


def test_it_serves_wide_factors_of_matrices_that_are_not_sparse():
    full, sparse = observe(np.ones((30, 30))), observe(np.eye(30), np.eye(30, dtype=bool))
    assert kernels.wide(1000, full.pattern)
    assert not kernels.wide(1000, sparse.pattern)
    assert not kernels.wide(10, full.pattern)
    assert kernels.chosen() != "dense"


def test_a_problem_gives_the_same_by_either(monkeypatch):
    from dmc.solver import initial

    rng = np.random.default_rng(0)
    observed = observe(rng.standard_normal((20, 30)), rng.random((20, 30)) < 0.4)
    at = initial.orthogonal((20, 30), 3, 0.5)
    wanted = MaskedLeastSquares(observed).value_and_grad(at)
    monkeypatch.setattr(kernels, "NARROW", 10)
    got = MaskedLeastSquares(observed).value_and_grad(at)
    assert got[0] == pytest.approx(wanted[0], rel=1e-12)
    for one, other in zip(got[1].arrays, wanted[1].arrays, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)
