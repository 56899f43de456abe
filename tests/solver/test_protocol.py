"""What a problem and a step of one's own need to say, and what they get."""

from contextlib import nullcontext

import numpy as np
import pytest

from dmc.factors import Factors
from dmc.solver.loop import solve
from dmc.solver.protocol import Problem, Step, dot
from dmc.solver.solution import Status
from dmc.solver.steps import DiscrepantDescent

FACTORS = Factors(np.ones((3, 1)), (), np.ones((2, 1)))


def test_a_problem_of_ones_own_needs_little():
    class Distance(Problem):
        curvature = target_norm = 1.0

        def value_and_grad(self, factors):
            return 2.0, factors

    mine = Distance()
    assert mine.value(FACTORS) == 2.0
    assert mine.device is None
    assert mine.to(None) is mine
    with mine.sharing_cores(FACTORS):
        pass
    pytest.importorskip("torch")
    with pytest.raises(ValueError, match="Distance computes on the host only and device is 'cpu'; leave it out"):
        mine.to("cpu")


def test_a_problem_need_not_derive_if_it_says_all_that_the_protocol_does():
    class Half:
        curvature = target_norm = 1.0
        device = None

        def value_and_grad(self, factors):
            return self.value(factors), factors

        def value(self, factors):
            return 0.5 * sum(float(dot(a, a)) for a in factors.arrays)

        def to(self, device):
            return self

        def sharing_cores(self, factors):
            return nullcontext()

    names = {name for name in vars(Problem) if not name.startswith("_")}
    assert names <= set(vars(Half))
    found = solve(Half(), FACTORS, DiscrepantDescent(0.5, outer_ratio=1), max_steps=3, check_every=1)
    assert found.value == pytest.approx(2.5 / 64)


def test_a_step_of_ones_own_needs_a_call_alone():
    class Half(Problem):
        curvature = target_norm = 1.0

        def value_and_grad(self, factors):
            return 0.5 * float(dot(factors.U, factors.U)), factors.map(np.zeros_like).map(np.add, factors)

    class Halve(Step):
        def __call__(self, factors, value, grad, state):
            return factors.scaled(0.5), state

    rule, problem = Halve(), Half()
    assert rule.init(problem, FACTORS) is None
    assert rule.accepted_point(FACTORS, 1.0, FACTORS, None) == (FACTORS, 1.0, FACTORS)
    found = solve(problem, FACTORS, rule, max_steps=3, check_every=1)
    assert (found.status, found.n_steps) == (Status.MAX_STEPS, 3)
    assert found.value == pytest.approx(0.5 * 3 / 64)


def test_a_step_without_a_call_is_none():
    with pytest.raises(NotImplementedError):
        Step()(FACTORS, 1.0, FACTORS, None)


def test_a_dot_product_of_float32_is_in_float64():
    a = np.full((2, 3), 0.5, np.float32)
    assert dot(a, a).dtype == np.float64
    assert dot(a, a) == 1.5
