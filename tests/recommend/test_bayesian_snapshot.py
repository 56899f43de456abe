"""A Bayesian fit that goes on where it was."""

import numpy as np
import pytest
from remembering import Ended, Remembering, again
from spread_fits import planted
from test_presence_features import communities

from dmc.recommend import bayesian
from dmc.solver.solution import Status

WHOLE, _ = planted((500, 150), 12000, 5)
WEIGHTED, _ = planted((300, 100), 6000, 6, weights=True)


@pytest.mark.parametrize("end_after", [1, 2, 5, 8])
@pytest.mark.parametrize("of", ["plain", "weights", "presence tells"])
def test_it_ends_as_one_that_was_never_ended(of, end_after):
    observations = {"plain": WHOLE, "weights": WEIGHTED}.get(of) or communities(shape=(700, 150))[1]
    whole = bayesian.fit(observations, seed=1)
    found, kept = again(lambda keeper: bayesian.fit(observations, seed=1, keeper=keeper), end_after)
    assert found.errors == whole.errors
    assert (found.rank, found.status) == (whole.rank, whole.status)
    for ours, theirs in zip(found.factors.arrays, whole.factors.arrays, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert kept == len(whole.errors)  # no sweep was made twice


def test_a_row_is_kept_as_one_number():
    keeper = Remembering(end_after=4)
    with pytest.raises(Ended):
        bayesian.fit(WHOLE, seed=1, keeper=keeper)
    of_rows = keeper.kept["sweep"].of_rows
    assert {name: array.shape for name, array in of_rows.items()} == {"reliability": (500,)}
    width = keeper.kept["sweep"].arrays["columns.means"].shape[1]
    assert all(len(array) in (150, width) or array.size < 3000 for array in keeper.kept["sweep"].arrays.values())


def test_what_has_arrived_stays(monkeypatch):
    keeper = Remembering()
    whole = bayesian.fit(WHOLE, seed=1, keeper=keeper)
    monkeypatch.setattr(bayesian._Fit, "sweep", None)  # none is to come
    found = bayesian.fit(WHOLE, seed=1, keeper=keeper)
    assert found.status is Status.CONVERGED
    np.testing.assert_array_equal(found.factors.U, whole.factors.U)
