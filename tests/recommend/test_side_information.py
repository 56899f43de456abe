"""What else is known of users and items: it tells where those without ratings are to be expected."""

import numpy as np
import pandas as pd
import pytest

import dmc
from dmc.recommend.side_information import attributes


@pytest.fixture(scope="module")
def planted():
    """Items of two genres, which users of two ages like crosswise; the last ten of both have no rating in training."""
    rng = np.random.default_rng(0)
    users, items = 120, 80
    age, genre = rng.integers(0, 2, users), rng.integers(0, 2, items)
    rating = 3 + 1.5 * np.where(age[:, None] == genre, 1, -1) + 0.2 * rng.standard_normal((users, items))
    rows, cols = np.nonzero(rng.random((users, items)) < 0.3)
    table = {"user": rows, "item": cols, "rating": rating[rows, cols]}
    known = (rows < users - 10) & (cols < items - 10)
    train, cold = ({name: values[which] for name, values in table.items()} for which in (known, ~known))
    of_users = pd.DataFrame({"user": np.arange(users), "age": np.where(age, "old", "young")})
    of_items = {"item": np.arange(items), "genre": genre.astype(float), "noise": rng.standard_normal(items)}
    return train, cold, of_users, of_items


def test_lines_without_ratings_are_told_by_their_features(planted, tmp_path):
    train, cold, of_users, of_items = planted
    plain = dmc.Recommender().fit(train)
    told = dmc.Recommender().fit(train, user_features=of_users, item_features=of_items)
    errors = [dmc.metrics.rmse(rec.predict(cold)["prediction"], cold["rating"]) for rec in (plain, told)]
    assert errors[1] < 0.35 < 0.5 * errors[0]
    assert len(told.users_) == 120
    assert (told.recommend([119], 5)["item"] >= 0).all()
    told.save(tmp_path / "model")
    again = dmc.Recommender.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict(cold)["prediction"], told.predict(cold)["prediction"])
    folded = again.fold_in({"user": [119], "item": [3], "rating": [5.0]})
    assert folded.n_observed_ == told.n_observed_ + 1
    again.partial_fit({name: values[:50] for name, values in cold.items()})
    assert dmc.metrics.rmse(again.predict(cold)["prediction"], cold["rating"]) < errors[1] + 0.05


def test_attributes_are_standardised_and_text_becomes_one_for_each_value():
    ids, matrix = attributes(
        {"item": [7, 8, 9, 10], "size": [1.0, np.nan, 3.0, 5.0], "kind": ["a", "b", "a", "c"], "same": [1, 1, 1, 1]},
        "item",
    )
    np.testing.assert_array_equal(ids, [7, 8, 9, 10])
    assert matrix.shape == (4, 4)  # the size, three kinds, and nothing that tells nothing
    np.testing.assert_allclose(matrix.mean(axis=0), 0, atol=1e-6)
    assert matrix[1, 0] == 0  # missing: the average
    np.testing.assert_allclose(matrix[:, 1] > 0, [True, False, True, False])


def test_refused(planted):
    train, _, of_users, _ = planted
    twice = {"user": [1, 1], "age": [3, 4]}
    with pytest.raises(ValueError, match="user 1 has several rows of attributes; give one for each"):
        dmc.Recommender().fit(train, user_features=twice)
    for settings in ({"model": "network"}, {"feedback": "implicit"}):
        with pytest.raises(ValueError, match="features of user are for ratings and model 'bayes'"):
            dmc.Recommender(**settings).fit(train, user_features=of_users)


def test_missing_dates_and_missing_numbers_of_a_file_are_averages(tmp_path):
    ids = {"user": range(4)}
    days = pd.to_datetime(["2020-01-01", None, "2020-01-03", "2020-01-05"])
    expected = np.array([-1.2247449, 0, 0, 1.2247449], np.float32)
    np.testing.assert_allclose(attributes(pd.DataFrame(ids | {"since": days}), "user")[1][:, 0], expected, atol=1e-6)
    path = tmp_path / "users.csv"
    path.write_text("user,age\n0,20\n1,\n2,30\n3,40\n")
    np.testing.assert_allclose(attributes(path, "user")[1], expected[:, None], atol=1e-6)
    numbers = pd.Series([20, pd.NA, 30, 40], dtype=object)
    np.testing.assert_allclose(
        attributes(pd.DataFrame(ids | {"age": numbers}), "user")[1], expected[:, None], atol=1e-6
    )
