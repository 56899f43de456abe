"""A fitted model of clicks: each row against its own dense problem, and who has nothing of his own."""

import numpy as np
import pytest
from test_implicit import clicks_of, tastes

import dmc
from dmc import Observations
from dmc.recommend import implicit
from dmc.recommend.all_pairs import confidence
from dmc.recommend.preferences import Preferences


def test_a_row_is_the_solution_of_its_own_least_squares_problem():
    counts, *_ = tastes()
    model = implicit.fit(counts, 4)
    nowhere = np.arange(counts.shape[0]) * 0 - 1
    again = model.extended(counts, nowhere, np.arange(counts.shape[1]), np.zeros(counts.shape[0], bool))
    V, weights = model.factors.V.astype(float), np.full(counts.shape, model.settings.unobserved)
    X = np.zeros(counts.shape)
    X[counts.rows, counts.cols] = 1
    weights[counts.rows, counts.cols] = confidence(counts.values)
    ridge = model.settings.ridge * weights.sum(axis=1)
    ridge += model.settings.ridge * model.settings.unobserved * X.sum(axis=1)  # all lines of the other side count
    for i in range(counts.shape[0]):
        system = (V.T * weights[i]) @ V + ridge[i] * np.eye(4)
        np.testing.assert_allclose(
            again.factors.U[i], np.linalg.solve(system, V.T @ (weights[i] * X[i])), rtol=2e-3, atol=1e-5
        )
    shares = again.contributions(5, 3)
    assert shares.sum() == pytest.approx(float(again.factors.U[5] @ V[3]), rel=1e-4)


def test_files_that_kept_no_settings_fold_in_as_they_did():
    counts, *_ = tastes()
    model = implicit.fit(counts, 4)
    arrays, numbers = model.arrays()
    again = Preferences.from_arrays(arrays, numbers, counts)
    assert again.settings == model.settings
    old = Preferences.from_arrays(arrays, {}, counts)
    assert old.settings == (0.2, 0.4, 0.5)
    V, columns, values = model.factors.V.astype(float), np.array([0, 2, 4]), np.array([1.0, 1, 3])
    w = confidence(values).astype(float)
    known, ridge = V[columns], 0.4 * np.sqrt(w.sum() + 0.2 * len(V))
    system = 0.2 * V.T @ V + (known.T * (w - 0.2)) @ known + ridge * np.eye(4)
    np.testing.assert_allclose(old.vector(columns, values)[:4], np.linalg.solve(system, known.T @ w), rtol=1e-5)
    assert abs(old.vector(columns, values) - model.vector(columns, values)).max() > 0.01


def test_many_lines_are_folded_in_as_each_alone():
    counts, *_ = tastes(m=400)
    model = implicit.fit(counts, 24)
    nowhere, there = np.full(400, -1), np.arange(40)
    folded = model.extended(counts, nowhere, there, np.zeros(400, bool)).factors.U
    for row in (0, 17, 399):
        at = slice(*counts.pattern.by_row.indptr[row : row + 2])
        alone = model.vector(counts.cols[at], counts.values[at])[:-2]
        np.testing.assert_allclose(folded[row], alone, atol=2e-3 * np.abs(alone).max())


def test_users_without_clicks_are_served_as_the_average_user():
    counts = Observations.from_entries([0, 0, 1, 3], [0, 1, 0, 1], np.ones(4, np.float32), (4, 2))
    model = implicit.fit(counts, 1)
    served = model.served()
    assert not model.factors.U[2].any()
    np.testing.assert_allclose(served.U[2], model.factors.U[[0, 1, 3]].mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(served.U[2], served.U[4])


def test_what_did_not_happen_is_left_out_after_the_fit_too():
    rec = dmc.Recommender(feedback="implicit").fit({"user": [0, 1, 1], "item": [0, 1, 0]})
    with pytest.raises(ValueError, match="1 count is 0; leave out rows of what did not happen"):
        rec.fold_in({"user": [2], "item": [0], "rating": [0]})
    with pytest.raises(ValueError, match="1 count is 0; leave out rows of what did not happen"):
        rec.user_vector([0], [0])


def test_who_chose_unknown_items_alone_is_served_as_the_average_user():
    rec = dmc.Recommender(feedback="implicit").fit(clicks_of(60, 40))
    folded = rec.fold_in({"user": [1000], "item": [1000]})
    found = folded.recommend([1000, 2000], 5)
    np.testing.assert_array_equal(found["item"][:5], found["item"][5:])
    assert (found["prediction"] > 0).all()
    alone = rec.mean_ + rec.item_factors @ rec.user_vector([1000])
    np.testing.assert_allclose(
        alone, rec.predict({"user": [1000] * 40, "item": np.arange(40)})["prediction"], rtol=1e-5
    )
