"""What else is known of users and items: it tells where those without ratings are to be expected."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

import dmc
from dmc.recommend.side_information import Encoding


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


def attributes(features, name):
    return Encoding.learn(features, name)[1:]


def test_attributes_are_standardised_and_text_becomes_one_for_each_value():
    ids, matrix = attributes(
        {
            "item": [7, 8, 9, 10],
            "size": [1.0, np.nan, 3.0, 5.0],
            "kind": ["a", "b", "a", "b"],
            "title": ["one", "two", "three", "four"],
            "same": [1, 1, 1, 1],
        },
        "item",
    )
    np.testing.assert_array_equal(ids, [7, 8, 9, 10])
    assert matrix.shape == (4, 3)  # the size, two kinds, and nothing that tells nothing of others
    np.testing.assert_allclose(matrix.mean(axis=0), 0, atol=1e-6)
    assert matrix[1, 0] == 0  # missing: the average
    np.testing.assert_allclose(matrix[:, 1] > 0, [True, False, True, False])


@pytest.mark.parametrize(
    "tags",
    [
        ["drama|war", "war", "drama | comedy", "comedy|", None],
        [["drama", "war"], ["war"], ["drama", "comedy"], ["comedy"], None],
        ["drama;war", "war", "drama;comedy", "comedy", ""],
        ["drama, war", "war", "drama, comedy", "comedy", float("nan")],
    ],
)
def test_tags_are_as_many_columns_of_ones(tags):
    told = pd.DataFrame({"item": range(5), "tags": pd.Series(tags, dtype=object)})
    columns = {"item": range(5), "comedy": [0, 0, 1, 1, 0], "drama": [1, 0, 1, 0, 0], "war": [1, 1, 0, 0, 0]}
    expected = attributes(columns, "item")[1]
    np.testing.assert_allclose(attributes(told, "item")[1], expected)
    np.testing.assert_allclose(attributes({"item": list(range(5)), "tags": tags}, "item")[1], expected)
    frame = pl.DataFrame({"item": range(5), "tags": [None if t != t else t for t in tags]})
    np.testing.assert_allclose(attributes(frame, "item")[1], expected)


def test_names_with_commas_are_no_tags():
    names = ["Lean, David", "Wise, Robert", "Lean, David", "Ozu, Yasujiro"]
    assert Encoding.learn({"item": range(4), "director": names}, "item")[0].columns[0].levels == ["Lean, David"]


@pytest.mark.parametrize("feedback", ["explicit", "implicit"])
def test_tomorrows_items_are_placed_by_their_features(planted, feedback, tmp_path):
    train, cold, of_users, of_items = planted
    if feedback == "implicit":
        train, cold = ({k: v[t["rating"] > 3] for k, v in t.items() if k != "rating"} for t in (train, cold))
    today = {name: values[:70] for name, values in of_items.items()}
    rec = dmc.Recommender(4 if feedback == "implicit" else None, feedback=feedback)
    rec.fit(train, user_features=of_users[:110], item_features=today)
    rec.save(tmp_path / "model")
    tomorrow = {name: values[70:] for name, values in of_items.items()}
    for model in (rec, dmc.Recommender.load(tmp_path / "model")):
        grown = model.fold_in(item_features=tomorrow, user_features=of_users[110:])
        assert (len(grown.users_), len(grown.items_)) == (120, 80)
        asked = {"user": np.repeat(np.arange(120), 10), "item": np.tile(np.arange(70, 80), 120)}
        likes = (of_users["age"] == "old").to_numpy()[asked["user"]] == (of_items["genre"][asked["item"]] > 0)
        predicted = grown.predict(asked)["prediction"]
        gap = predicted[likes].mean() - predicted[~likes].mean()
        assert gap > (2 if feedback == "explicit" else 0.04)
        assert np.isin(grown.recommend(5, n=80)["item"], np.arange(70, 80)).any()
    rec.partial_fit(item_features=tomorrow)
    predicted = rec.predict(asked)["prediction"]
    known = asked["user"] < 110
    assert predicted[likes & known].mean() - predicted[~likes & known].mean() > (2 if feedback == "explicit" else 0.04)


def test_features_after_the_fit_have_to_be_those_of_the_fit(planted):
    train, _, of_users, of_items = planted
    rec = dmc.Recommender().fit(train, item_features=of_items)
    with pytest.raises(ValueError, match="the model was fitted without features of user; fit it again with them"):
        rec.fold_in(user_features=of_users)
    with pytest.raises(ValueError, match="the features of item lack the column 'noise' that those in the fit had"):
        rec.fold_in(item_features={"item": [100], "genre": [1.0]})
    with pytest.raises(ValueError, match="column 'genre' holds 'war', but held numbers in the fit; give numbers"):
        rec.fold_in(item_features={"item": [100], "genre": ["war"], "noise": [0.0]})
    with pytest.raises(ValueError, match="there are neither ratings nor features; give at least one of them"):
        rec.fold_in()
    more = {"item": [100], "genre": [1.0], "noise": [0.0], "year": [1999]}
    with pytest.warns(UserWarning, match="the features of item have 1 column that the fit did not have .'year'."):
        rec.fold_in(item_features=more)


def test_dates_are_the_same_in_any_unit():
    days = pd.date_range("2020-01-01", periods=5)
    encoding, _, first = Encoding.learn(pd.DataFrame({"item": range(5), "since": days}), "item")
    again = encoding.later({"item": np.arange(5), "since": days.to_numpy().astype("datetime64[D]")}, "item")[1]
    np.testing.assert_allclose(again, first, rtol=1e-6)


def test_refused(planted):
    train, _, of_users, _ = planted
    twice = {"user": [1, 1], "age": [3, 4]}
    with pytest.raises(ValueError, match="user 1 has several rows of features; give one for each"):
        dmc.Recommender().fit(train, user_features=twice)
    with pytest.raises(ValueError, match="features of user are not for model 'network'"):
        dmc.Recommender(model="network").fit(train, user_features=of_users)


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


@pytest.mark.parametrize("separator", [", ", ";", "|"])
def test_tags_beside_one_of_each_rows_own(separator):
    """As many tags as texts, then; but no two texts are the same."""
    texts = [f"kind {i % 4}{separator}id {i}" for i in range(40)]
    _, matrix = attributes({"item": np.arange(40), "tags": texts}, "item")
    assert matrix.shape[1] == 4
    np.testing.assert_array_equal(matrix[:4], matrix[4:8])


def test_names_with_a_comma_that_come_again_are_whole():
    names = ["Lee, Ang", "Lee, Spike", "Allen, Woody", "Varda, Agnes"] * 3
    _, matrix = attributes({"item": np.arange(12), "director": names}, "item")
    assert matrix.shape[1] == 4
