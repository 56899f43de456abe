"""Factors on their way down a problem."""

import numpy as np

from dmc import MaskedLeastSquares, datasets, initial, steps
from dmc.solver.descent import Descent
from dmc.solver.solution import Status

PROBLEM = MaskedLeastSquares(datasets.planted((20, 15), 2, 0.7).observations)
START = initial.gaussian((20, 15), 3, 0, 0.3)


def descended(n_steps, descent=None):
    descent = Descent(PROBLEM, START, steps.Momentum(steps.DiscrepantDescent()), 1e-8) if descent is None else descent
    for _ in range(n_steps):
        descent.look()
        descent.advance()
    return descent


def test_it_stands_again_where_another_one_stood():
    standing = descended(5).standing()
    other = Descent(PROBLEM, START, steps.Momentum(steps.DiscrepantDescent()), 1e-8)
    other.stand(standing)
    found, expected = descended(4, other), descended(9)
    np.testing.assert_array_equal(found.factors.U, expected.factors.U)
    assert found.look() == expected.look() or found.value == expected.value


def test_at_its_look_and_from_there():
    descent = descended(5)
    descent.look()
    at = descent.at_look(5)
    descent.advance()
    other = Descent(PROBLEM, START, steps.Momentum(steps.DiscrepantDescent()), 1e-8)
    other.go_on(at)
    other.look()
    other.advance()
    np.testing.assert_array_equal(other.factors.V, descent.factors.V)


def test_an_outcome_is_the_accepted_point():
    descent = descended(3)
    other = Descent(PROBLEM, START, steps.Adam(), 1e-8)
    other.repeat(descent.outcome())
    assert other.accepted is descent.accepted
    assert other.value == descent.value


def test_what_is_no_number_is_shown_as_such():
    descent = Descent(PROBLEM, START.scaled(1e300), steps.Adam(), 1e-8)
    with np.errstate(all="ignore"):
        assert descent.look().status is Status.NONFINITE
