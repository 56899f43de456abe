"""Means, and factor analyses of a table or of some of its rows."""

import numpy as np
import pytest

from dmc import Status, observe
from dmc.completion import tuning
from dmc.completion.analyses import Analyses
from dmc.completion.phases import Phases
from dmc.completion.scaling import Scaling
from dmc.solver.loop import Run


def table(rows=200, noise=0.3) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, 2)) @ rng.standard_normal((2, 6)) + noise * rng.standard_normal((rows, 6))
    return np.where(rng.random(x.shape) < 0.2, np.nan, 4 + x)


def analyses(x: np.ndarray, width=3, callbacks=()) -> Analyses:
    host = observe(x)
    return Analyses(host, None, Scaling.of(host, "columns"), width, True, Phases(Run(callbacks)))


def test_means_are_those_of_columns_and_of_rows():
    x = table()
    found = analyses(x)
    columns = found.means(found.host, found.scaling).factors.dense()
    np.testing.assert_allclose(columns, np.broadcast_to(np.nanmean(x, axis=0), x.shape), rtol=1e-12)
    rows = found._means_across(found.host).factors.dense()
    np.testing.assert_allclose(rows, np.broadcast_to(np.nanmean(x, axis=1)[:, None], x.shape), rtol=1e-12)


@pytest.mark.parametrize(("noise", "noisy"), [(0.3, True), (0.0, False)])
def test_noise_is_seen(noise, noisy):
    assert analyses(table(noise=noise)).noisy([]) == noisy


def test_some_rows_do_where_there_are_many():
    rows = 2 * tuning.SELECTION.min_sampled_rows + 10
    found = analyses(table(rows))
    assert found.sample.shape == (tuning.SELECTION.min_sampled_rows, 6)
    assert found.of_all(False).factors.shape == (rows, 6)


def test_a_callback_ends_an_analysis():
    found = analyses(table(), callbacks=[lambda info: info.n_steps >= 1])
    assert found.of_all(False).status is Status.STOPPED
    assert found.phases.run.stopped_by == "<lambda>"
    assert found.phases.run.n_steps == 1


def test_a_converged_analysis_says_so():
    found = analyses(table())
    assert found.of_all(False).status is Status.CONVERGED
