"""Which fit it is."""

import subprocess
import sys

import numpy as np
import pytest
from dmc.rank_path import RankPath

from dmc import Observations, datasets, initial, steps
from dmc.solver.dense_problems import LeastSquares
from dmc.solver.fingerprint import digest, of_problem, told
from dmc.solver.problem import MaskedLeastSquares

OBSERVED = datasets.planted((12, 9), 2, 0.7).observations


def test_what_was_computed_on_the_way_does_not_count():
    problem = MaskedLeastSquares(OBSERVED)
    before = digest(problem)
    problem.value_and_grad(initial.spectral(OBSERVED, 2))
    assert problem.curvature > 0
    assert problem.target_norm > 0
    assert digest(problem) == before == digest(MaskedLeastSquares(OBSERVED))


def test_where_it_is_computed_does_not_count():
    reference = MaskedLeastSquares(OBSERVED, kernel="reference")
    vars(reference)["_kernel_name"] = None
    assert digest(reference) == digest(MaskedLeastSquares(OBSERVED))


@pytest.mark.parametrize(
    "other",
    [
        lambda: MaskedLeastSquares(OBSERVED.with_values(OBSERVED.values * (1 + 1e-15))),
        lambda: MaskedLeastSquares(OBSERVED, l2=1e-9),
        lambda: MaskedLeastSquares(OBSERVED, np.r_[2.0, np.ones(OBSERVED.n_observed - 1)]),
        lambda: MaskedLeastSquares(OBSERVED.take(np.arange(OBSERVED.n_observed) > 0)),
        lambda: MaskedLeastSquares(Observations.from_entries(OBSERVED.rows, OBSERVED.cols, OBSERVED.values, (13, 9))),
        lambda: LeastSquares(np.ones((12, 9))),
    ],
)
def test_other_data_have_another_digest(other):
    assert digest(other()) != digest(MaskedLeastSquares(OBSERVED))


def test_a_problem_of_ones_own_by_its_value_too():
    class Own:
        def __init__(self, far):
            self.value = lambda factors: far

    assert of_problem(Own(1.0), None) != of_problem(Own(2.0), None)
    assert of_problem(Own(1.0), None) == of_problem(Own(1.0), None)


def test_it_is_the_same_in_another_process():
    code = """
import dmc
from dmc.solver.fingerprint import digest
print(digest(dmc.MaskedLeastSquares(dmc.datasets.planted((12, 9), 2, 0.7).observations), {"a", "b", "c", (1, 2)}))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert found == digest(MaskedLeastSquares(OBSERVED), {"a", "b", "c", (1, 2)})


def test_settings_in_words():
    step = steps.Backtracking(steps.Adam(0.1))
    assert told(step) == (
        "Backtracking(step=Adam(rate=0.1, outer_ratio=1.0, betas=(0.9, 0.999), constant_steps=None), slack=1e-06, "
        "growth=1.1)"
    )
    assert told(RankPath(3, seed=np.random.default_rng(0))) == told(RankPath(3, seed=np.random.default_rng(0)))
    assert told(RankPath(3, seed=np.random.default_rng(0))) != told(RankPath(3, seed=np.random.default_rng(1)))
    assert told(np.ones(3)) != told(np.zeros(3))
    assert told(None) == "None"


def test_settings_are_numbers_whoever_made_them():
    assert told(np.int64(3)) == told(3)
    assert told([np.float64(0.5), np.float32(0.5)]) == told([0.5, 0.5])
