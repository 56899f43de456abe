"""Items without clicks, placed by their attributes: where the factors are linear in these, exactly there."""

import numpy as np

from dmc import Factors, Observations
from dmc.recommend import implicit_cold_start
from dmc.recommend.implicit_cold_start import ColdStartTuning
from dmc.recommend.side_information import SideInformation


def planted(clicked=900, cold=20, seed=0):
    rng = np.random.default_rng(seed)
    n = clicked + cold
    attributes = rng.standard_normal((n, 3)).astype(np.float32)
    V = (0.5 + attributes @ rng.standard_normal((3, 4))).astype(np.float32)
    V[clicked:] = 0
    rows, cols = np.repeat(np.arange(30), clicked), np.tile(np.arange(clicked), 30)
    counts = Observations.from_entries(rows, cols, np.ones(len(rows), np.float32), (30, n))
    U = rng.standard_normal((30, 4)).astype(np.float32)
    return Factors(U, (), V), counts, SideInformation(None, attributes), V


def test_items_without_clicks_stand_where_their_attributes_say(monkeypatch):
    monkeypatch.setattr(implicit_cold_start, "TUNING", ColdStartTuning(ridge=1e-6))
    factors, counts, told, V = planted()
    found = implicit_cold_start.placed(factors, counts, told, (None, None))
    X = np.column_stack([np.ones(920), told.items])
    expected = X[900:] @ np.linalg.lstsq(X[:900], V[:900], rcond=None)[0]
    np.testing.assert_allclose(found.V[900:], expected, atol=1e-4)
    np.testing.assert_array_equal(found.V[:900], V[:900])
    np.testing.assert_array_equal(found.U, factors.U)


def test_of_few_items_attributes_tell_little():
    few, many = (planted(clicked) for clicked in (10, 900))
    sizes = []
    for factors, counts, told, _ in (few, many):
        found = implicit_cold_start.placed(factors, counts, told, (None, None))
        new = found.V[counts.pattern.column_counts == 0]
        sizes.append(np.std(new - new.mean(axis=0)))
    assert sizes[0] < 0.3 * sizes[1]


def test_who_is_not_described_and_who_is_not_asked_for_stay():
    factors, counts, told, _V = planted()
    told.items[910] = 0
    among = np.ones(920, bool)
    among[911] = False
    found = implicit_cold_start.placed(factors, counts, told, (None, among))
    assert not found.V[910:912].any()
    assert found.V[912:].any(axis=1).all()
