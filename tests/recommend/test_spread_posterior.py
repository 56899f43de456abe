"""The Bayesian fit in several processes is that in one."""

import numpy as np
import pytest
from spread_fits import fit_bayes

from dmc._group import ALONE
from dmc.kernels import posterior
from dmc.recommend import bayesian_snapshot, factor_posterior
from dmc.recommend.bayesian_model import scaled
from dmc.recommend.factor_posterior import FactorPosterior
from dmc.recommend.presence_features import PresenceFeatures
from processes import run_processes

TELL = PresenceFeatures.__call__
CASES = {
    "row with half of all columns": ((400, 120), 9000, 0),
    "weights": ((400, 120), 9000, 1, True),
    "a process without rows": ((600, 150), 16000, 2, False, True),
    "begins on a sample": ((900, 200), 30000, 3, False, True, {"large": 20000, "sample": 8000}),
    "clean": ((300, 80), 9000, 4, False, False, None, None, 0.0),
}


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_predictions_are_those_of_one_process(case, size):
    noise, precision, predicted, *course = fit_bayes(ALONE, *CASES[case])
    found = run_processes(size, fit_bayes, *CASES[case])
    for of_one in found:
        assert of_one[3:] == tuple(course)  # sweeps, rank, ending
        assert of_one[:2] == found[0][:2]  # to the last bit
    assert found[0][0] == pytest.approx(noise, rel=1e-5)
    assert found[0][1] == pytest.approx(precision, rel=1e-4)
    assert np.abs(found[0][2] - predicted).max() < 1e-4 * predicted.std()


def _partly_deaf(group, where, *args):
    """The fit of a process that takes its own sums for those of all in one place."""
    with pytest.MonkeyPatch.context() as patch:
        if where == "priors of rows":
            patch.setattr(FactorPosterior, "rows_over", property(lambda self: ALONE))
        elif where == "mean and unit":
            patch.setattr(bayesian_snapshot, "scaled", lambda observations, group: scaled(observations))
        elif where == "counts of columns":
            patch.setattr(PresenceFeatures, "__call__", lambda self, index, over: TELL(self, index))
        elif where == "posteriors of columns":
            patch.setattr(factor_posterior, "spread_step", lambda group, *given: posterior.step(*given))
        return fit_bayes(group, *args)


@pytest.mark.parametrize("where", ["priors of rows", "mean and unit", "counts of columns", "posteriors of columns"])
def test_sums_of_own_rows_alone_are_noticed(where):
    case = CASES["row with half of all columns"]
    predicted = fit_bayes(ALONE, *case)[2]
    found = run_processes(2, _partly_deaf, where, *case)
    assert np.abs(found[0][2] - predicted).max() > 1e-3 * predicted.std()
