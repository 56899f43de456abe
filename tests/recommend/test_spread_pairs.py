"""Clicks by several processes: what comes out is what one process finds of the same rows."""

from dataclasses import replace

import numpy as np
import pytest
from spread_clicks import FITS, everything, planted

from dmc._group import ALONE, Group, Share
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.recommend import implicit
from dmc.recommend.implicit_search import settings_for
from dmc.recommend.preferences import Preferences
from dmc.recommend.side_information import SideInformation
from dmc.solver.solution import Status
from processes import run_processes

EXACT = 1e-6  # relative: numbers are float32, sums of them float64


@pytest.fixture(scope="module")
def alone():
    before = implicit.implicit_search.TUNING
    found = everything(ALONE)
    implicit.implicit_search.TUNING = before
    return found


@pytest.fixture(scope="module", params=[2, 3])
def several(request):
    """What each process found; the third of three has no rows."""
    pytest.importorskip("torch")
    return run_processes(request.param, everything)


def apart(ours, theirs):
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


def test_half_of_all_clicks_are_of_one_row():
    whole, _ = planted()
    assert whole.pattern.row_counts[0] > 0.45 * whole.n_observed
    of_others = whole.take(np.asarray(whole.rows) > 150).pattern.column_counts
    assert ((of_others == 0) & (whole.pattern.column_counts > 0)).any()  # columns that a process alone takes for empty
    assert (whole.pattern.column_counts == 0).any()


def test_sweeps_are_those_of_one_process(alone, several):
    predictions, values, ridges, V = alone["descent"]
    for found in several:
        assert apart(found["descent"][0], predictions) < EXACT
        np.testing.assert_allclose(found["descent"][1], values, rtol=EXACT)
        np.testing.assert_allclose(found["descent"][2], ridges, rtol=EXACT)
        assert apart(found["descent"][3], V) < EXACT
        np.testing.assert_array_equal(found["descent"][3], several[0]["descent"][3])


@pytest.mark.parametrize("name", FITS)
def test_a_fit_is_that_of_one_process(name, alone, several):
    one = alone[name]
    for found in several:
        found = found[name]
        assert found["told"] == one["told"]
        assert apart(found["predictions"], one["predictions"]) < EXACT
        np.testing.assert_allclose(found["values"], one["values"], rtol=EXACT)
        np.testing.assert_allclose(found["settings"], one["settings"], rtol=EXACT)
        np.testing.assert_allclose(found["searched"], one["searched"], rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(found["warm"], one["warm"])
        assert apart(found["stranger"], one["stranger"]) < EXACT


def test_processes_decide_by_the_same_bits(several):
    for name in FITS:
        for found in several[1:]:
            for of in ("values", "settings", "searched"):
                assert found[name][of] == several[0][name][of]


def test_fits_are_such_that_something_is_decided(alone):
    tried = alone["search"]["searched"]
    assert len({rank for rank, *_ in tried}) > 1
    assert len({ridge for _, ridge, *_ in tried}) > 2
    assert len(alone["few judges"]["searched"]) > 1
    assert alone["wide"]["told"][0] == 160
    assert alone["search"]["told"][2] == "CONVERGED"


def test_one_process_stops_all(alone, several):
    assert alone["stopped"]["told"][1:3] == (6, "STOPPED")
    assert several[0]["stopped"]["stopped_by"] == "enough"
    assert {found["stopped"]["stopped_by"] for found in several[1:]} == {"another process"}


def test_no_more_is_sent_than_the_formula_says(several):
    for found in several:
        assert 0.9 < found["bytes"] < 1.1


def test_weights_are_of_the_counts_of_all(alone, several):
    for found in several:
        np.testing.assert_allclose(found["weights"][0], alone["weights"][0], rtol=EXACT)
    # What counts least is not in the first process: half of its weight bounds that of nothing.
    counts = np.concatenate([np.full(8, np.e**4, np.float32), *[np.full(8, np.e, np.float32)] * (len(several) - 1)])
    for found in several:
        np.testing.assert_allclose(found["weights"][1], settings_for((len(counts), 1), counts), rtol=EXACT)
        assert found["weights"][1].unobserved == pytest.approx(1.0)


def test_a_file_keeps_the_average_user():
    counts = Observations.from_entries([0, 1, 1], [0, 1, 2], np.ones(3, np.float32), (2, 3))
    factors = Factors(np.eye(2, 3, dtype=np.float32), (), np.eye(3, dtype=np.float32))
    model = Preferences(factors, counts, [], Status.CONVERGED, average=np.arange(3, dtype=np.float32))
    again = Preferences.from_arrays(*model.arrays(), counts)
    np.testing.assert_array_equal(again.served().U[-1], [0, 1, 2])
    assert Preferences.from_arrays(*replace(model, average=None).arrays(), counts).average is None


class Two(Group):
    """Two processes, as far as one that asks nothing of the other can tell."""

    size = 2


def test_what_has_no_part_in_several_processes_is_refused():
    counts = Observations.from_entries([0, 1], [0, 1], np.ones(2, np.float32), (2, 2))
    share = Share(Two(), np.arange(2), np.ones(2, np.int64))
    with pytest.raises(ValueError, match="attributes are not used in a fit to clicks in several processes"):
        implicit.fit(counts, share=share, side_information=SideInformation(np.ones((2, 1), np.float32)))
    with pytest.raises(ValueError, match="no count is above 0"):
        implicit.fit(counts.with_values(-counts.values), share=share)
