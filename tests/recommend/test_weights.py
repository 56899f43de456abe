"""Ratings that count more or less than others: against ratings given several times, and on tastes that have changed."""

import numpy as np
import pytest

import dmc
from dmc import Observations
from dmc.recommend import bayesian
from dmc.recommend.network_model import NetworkModel


def rated(seed=0, users=150, items=60, share=0.25):
    """Planted ratings of rank 2 with noise."""
    rng = np.random.default_rng(seed)
    rows, cols = np.nonzero(rng.random((users, items)) < share)
    U, V = rng.standard_normal((users, 2)), rng.standard_normal((items, 2))
    clean = 3 + np.einsum("ek,ek->e", U[rows], V[cols])
    return rows, cols, clean, rng


def test_only_ratios_of_weights_count():
    rows, cols, clean, rng = rated()
    y = clean + 0.5 * rng.standard_normal(len(clean))
    w = rng.uniform(0.2, 3, len(y))
    table = {"user": rows, "item": cols, "rating": y}
    plain, ones, some, tenfold = (
        dmc.Recommender().fit({**table, "w": weights}, weight=weight).predict(table)["prediction"]
        for weight, weights in ((None, w), ("w", np.ones(len(y))), ("w", w), ("w", 10 * w))
    )
    np.testing.assert_allclose(ones, plain, atol=2e-4)
    np.testing.assert_allclose(tenfold, some, atol=2e-4)
    assert abs(some - plain).max() > 0.02


@pytest.mark.parametrize(("settings", "share"), [({}, 0.6), ({"model": "network"}, 0.9)])
def test_noisy_ratings_that_count_less_spoil_less(settings, share):
    """Half of the ratings are thirty times as noisy, and their weights say so."""
    rows, cols, clean, rng = rated(1)
    spread = np.where(rng.random(len(clean)) < 0.5, 0.1, 3.0)
    table = {"user": rows, "item": cols, "rating": clean + spread * rng.standard_normal(len(clean)), "w": spread**-2}
    errors = []
    for weight in (None, "w"):
        rec = dmc.Recommender(**settings).fit(table, weight=weight)
        errors.append(dmc.metrics.rmse(rec.predict(table, clip=False)["prediction"], clean))
    assert errors[1] < share * errors[0]


def test_a_fit_knows_its_weights_when_it_is_saved_and_goes_on(tmp_path):
    rows, cols, clean, rng = rated(2)
    table = {"user": rows, "item": cols, "rating": clean, "w": rng.uniform(0.1, 1, len(clean))}
    first = {name: values[:-200] for name, values in table.items()}
    rec = dmc.Recommender().fit(first, weight="w")
    rec.save(tmp_path / "model")
    loaded = dmc.Recommender.load(tmp_path / "model")
    np.testing.assert_allclose(loaded.observations_.weights, rec.observations_.weights)
    shares = loaded.explain(int(rows[0]), int(cols[0]), n=10**6)["contribution"]
    np.testing.assert_allclose(shares, rec.explain(int(rows[0]), int(cols[0]), n=10**6)["contribution"], rtol=1e-4)
    later = {name: values[-200:] for name, values in table.items()}
    loaded.partial_fit(later)
    at = loaded.observations_.locate(rows - rows.min(), cols - cols.min())
    np.testing.assert_allclose(loaded.observations_.weights[at], table["w"], rtol=1e-6)
    with pytest.raises(ValueError, match="the table has no column 'w'"):
        rec.fold_in({"user": [0], "item": [0], "rating": [1.0]})


def test_contributions_add_up_with_weights():
    rows, cols, clean, rng = rated(3)
    y = (clean + 0.3 * rng.standard_normal(len(clean))).astype(np.float32)
    observed = Observations.from_entries(rows, cols, y, (150, 60), weights=rng.uniform(0.1, 2, len(y)))
    model = bayesian.fit(observed)
    nobody = np.zeros(150, bool)
    again = model.extended(observed, np.full(150, -1), np.arange(60), nobody)  # every row from its prior
    for row, column in ((0, 3), (77, 20)):
        side, known = again.rows, again.columns.means[column]
        expected = side.features[row] @ side.weights
        at_prior = again.unit * (expected @ np.append(known[:-1], 1.0) + known[-1])
        found = at_prior + again.contributions(row, column).sum()
        assert found == pytest.approx(float(again.factors.at([row], [column])[0]), abs=0.05)


def test_networks_fold_in_by_weights():
    """The higher ratings count or the lower ones do: by how much an item moves depends on the items that it is like."""
    new = {"user": np.full(20, 999), "item": np.arange(20), "rating": np.append(np.full(10, 1.0), np.full(10, 5.0))}
    of_low = np.append(np.full(10, 1.0), np.full(10, 1e-4))
    moved = []
    for seed in (4, 5, 6):
        rows, cols, clean, _rng = rated(seed)
        table = {"user": rows, "item": cols, "rating": clean, "w": np.ones(len(clean))}
        rec = dmc.Recommender(model="network").fit(table, weight="w")
        assert isinstance(rec._served().fitted().models[0], NetworkModel)
        low, high = (
            rec.fold_in({**new, "w": weights}).predict({"user": [999], "item": [30]}, clip=False)["prediction"][0]
            for weights in (of_low, of_low[::-1])
        )
        moved.append(high - low)
    assert min(moved) > 0.1
    assert np.mean(moved) > 0.3


@pytest.mark.parametrize("wrong", [0.0, -1.0])
def test_weights_that_count_nothing_are_refused(wrong):
    table = {"user": [0, 1, 1], "item": [0, 0, 1], "rating": [1.0, 2, 3], "w": [1.0, wrong, 1]}
    told = f"column 'w' holds 1 weight not above 0, the first in row 1 .{wrong:g}.; drop the rows that should not count"
    for feedback in ("explicit", "implicit"):
        with pytest.raises(ValueError, match=told):
            dmc.Recommender(feedback=feedback).fit(table, weight="w")


def test_repeated_ratings_have_the_weight_of_the_one_that_is_kept():
    table = {
        "user": ["a", "a", "b", "b"],
        "item": ["x", "x", "x", "y"],
        "rating": [1.0, 5.0, 3.0, 2.0],
        "w": [4.0, 1.0, 1.0, 1.0],
        "timestamp": ["2026-02-01", "2026-01-01", "2026-01-01", "2026-01-01"],
    }
    kept = {
        how: dmc.Recommender().fit(table, duplicates=how, weight="w").observations_
        for how in ("last", "latest", "mean")
    }
    assert (kept["last"].values[0], kept["last"].weights[0]) == (5, 1)
    assert (kept["latest"].values[0], kept["latest"].weights[0]) == (1, 4)
    assert (kept["mean"].values[0], kept["mean"].weights[0]) == (pytest.approx(1.8), 2.5)


def test_ratings_that_are_all_alike():
    table = {"user": [0, 0, 1], "item": [0, 1, 1], "rating": [1, 1, 1]}
    with pytest.warns(UserWarning, match="all 3 ratings are 1, so there is nothing to learn; .* feedback='implicit'"):
        dmc.Recommender().fit(table)
