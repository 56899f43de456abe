"""What is no problem, no start, no step and no callback is refused by `solve` in one sentence."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import dmc
from dmc.solver.loop import solve

OBSERVED = dmc.datasets.planted((12, 9), 2, 0.7).observations
PROBLEM, START, STEP = dmc.MaskedLeastSquares(OBSERVED), dmc.initial.spectral(OBSERVED, 2), dmc.steps.Adam()
MATRIX = np.ones((12, 9))


class Mute(dmc.Problem):
    curvature = target_norm = 1.0


class Partial:
    def value_and_grad(self, factors):
        return 0.0, factors


class Motionless(dmc.Step):
    pass


def refused(said, problem=PROBLEM, start=START, step=STEP, callbacks=()):
    with pytest.raises(TypeError, match=said) as told:
        solve(problem, start, step, callbacks=callbacks, max_steps=1)
    assert "attribute" not in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (OBSERVED, r"problem is an Observations; give dmc.MaskedLeastSquares\(observations\)$"),
        (MATRIX, r"problem is an array of shape \(12, 9\); give dmc.LeastSquares\(matrix\) or, with gaps"),
        (MATRIX.tolist(), r"problem is a list; give dmc.LeastSquares\(matrix\)"),
        (sparse.csr_array(MATRIX), r"problem is a csr_array; give dmc.MaskedLeastSquares\(observations\)"),
        (pd.DataFrame(MATRIX), "problem is a DataFrame; give one such as dmc.MaskedLeastSquares"),
        ("ratings", "problem is 'ratings'; give one such as"),
        (None, "problem is None; give one such as"),
        (dmc.MaskedLeastSquares, r"problem is the class MaskedLeastSquares; give an instance, MaskedLeastSquares\(…\)"),
        (START, "problem is a Factors; give one such as"),
        (STEP, "problem is an Adam; give one such as"),
        (lambda factors: 0.0, "problem is the function <lambda>; give one such as"),
        (Mute(), "Mute has no value_and_grad, which every problem needs; define it"),
        (Partial(), "Partial lacks curvature and target_norm and value and device .*; derive it from dmc.Problem"),
    ],
    ids=lambda given: type(given).__name__,
)
def test_no_problem(given, said):
    refused(said, problem=given)


def test_a_tensor_is_no_problem():
    torch = pytest.importorskip("torch")
    refused(r"problem is an array of shape \(3, 2\); give dmc.LeastSquares\(matrix\)", problem=torch.ones(3, 2))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "start is None; give what a function of dmc.initial returns, or Factors of your own"),
        ("spectral", "start is 'spectral'; give what a function of dmc.initial returns"),
        (dmc.initial.spectral, "start is the function spectral; give what a function of dmc.initial returns"),
        (dmc.Factors, "start is the class Factors; give what"),
        (OBSERVED, r"start is an Observations; give dmc.initial.compressed\(data, rank\), or Factors of your own"),
        (MATRIX, r"start is an array of shape \(12, 9\); give dmc.initial.compressed\(data, rank\)"),
        ((MATRIX, MATRIX), "start is a tuple; give what"),
        (PROBLEM, "start is a MaskedLeastSquares; give what"),
    ],
    ids=lambda given: type(given).__name__,
)
def test_no_start(given, said):
    refused(said, start=given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("adam", r"step is 'adam'; give one of dmc.steps, such as dmc.steps.DiscrepantDescent\(\), or derive from"),
        (None, "step is None; give one of dmc.steps"),
        (0.01, "step is 0.01; give one of dmc.steps"),
        (dmc.steps.Adam, r"step is the class Adam; give an instance, Adam\(\)"),
        (dmc.steps.partway, "step is the function partway; give one of dmc.steps"),
        (START, "step is a Factors; give one of dmc.steps"),
        (dmc.Step(), "Step has no __call__, which makes a step; define it"),
        (Motionless(), "Motionless has no __call__"),
    ],
    ids=lambda given: type(given).__name__,
)
def test_no_step(given, said):
    refused(said, step=given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "callbacks is None; give a list"),
        (dmc.callbacks.History(), "callbacks is .*; give a list"),
        (["progress"], "callbacks holds 'progress', which cannot be called; give callbacks such as"),
        ([None], "callbacks holds None, which cannot be called"),
        ([dmc.callbacks.History], r"callbacks holds the class History; give an instance, History\(\)"),
    ],
)
def test_no_callbacks(given, said):
    refused(said, callbacks=given)


def test_scales_are_asked_for_by_the_rules_that_need_them():
    class Bare(dmc.Problem):
        def value_and_grad(self, factors):
            return 1.0, factors

    for step, name in ((dmc.steps.DiscrepantDescent(), "curvature"), (dmc.steps.ScaledDescent(), "curvature")):
        refused(rf"DiscrepantDescent\(rate\)|{name}", problem=Bare(), step=step)
        with pytest.raises(TypeError, match=f"needs the {name} of the problem, and Bare does not have it; define"):
            step.init(Bare(), START)
    assert solve(Bare(), START, dmc.steps.DiscrepantDescent(0.1), max_steps=2).n_steps == 2


def test_the_properties_of_a_problem_are_not_asked_for_before_they_are_needed():
    class Costly(dmc.LeastSquares):
        @property
        def target_norm(self):
            raise AssertionError("nobody needs it")

    assert solve(Costly(MATRIX), START, dmc.steps.Adam(), max_steps=1).n_steps == 1
