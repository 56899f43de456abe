"""A fit as a whole: which side is scaled, and that rows stand there as often as they count."""

import numpy as np
import pytest

from dmc import datasets
from dmc.completion.fit import Settings, fit, fit_repeated
from dmc.completion.phases import Phases
from dmc.solver.loop import Run

SETTINGS = Settings("auto", "squared", 8, 3, 0.05)


def run(observed, settings=SETTINGS, repeats=None):
    how = np.random.default_rng(0), Phases(Run())
    if repeats is None:
        return fit(observed, None, settings, *how)
    return fit_repeated(observed, None, repeats, settings, *how)


@pytest.mark.parametrize(
    ("told", "side"), [("auto", "rows"), ("rows", "rows"), ("columns", "columns"), ("none", "none")]
)
def test_the_side_is_that_of_the_units_or_what_was_said(told, side):
    planted = datasets.planted((30, 80), 2, 0.6, seed=2)
    units = 10 ** np.random.default_rng(0).uniform(-1, 1, 30)
    observed = planted.observations
    noise = 0.1 * np.random.default_rng(1).standard_normal(observed.n_observed)
    data = observed.with_values((observed.values + 5 + noise) * units[observed.rows] / 100)
    selected, outliers = run(data, Settings(told, "squared", 8, 3, 0.05))
    assert selected.model.scaling.side == side
    assert not outliers.any()


def test_rows_that_count_twice_are_as_if_they_stood_there_twice():
    observed = datasets.planted((40, 12), 2, 0.7, noise=0.3).observations
    repeats = np.arange(40) % 3
    once, _ = run(observed, repeats=repeats)
    often, _ = run(observed.repeat_rows(repeats)[0])
    first = np.cumsum(repeats) - repeats
    kept = repeats > 0
    twice = often.model.factors.dense()[first[kept]]
    np.testing.assert_allclose(once.model.factors.dense()[kept], twice, atol=1e-12)
    assert not once.model.factors.U[~kept].any()
    assert set(once.held_out.rows) <= set(np.flatnonzero(kept))
