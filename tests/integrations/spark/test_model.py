"""The model: predictions and lists against dmc alone and against the plain products; files."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pyspark", reason="pyspark is not installed here; `make spark` runs these tests with it")

from pyspark.sql import functions as F

import dmc
from dmc.integrations.spark import RecommenderModel
from dmc.integrations.spark.columns import MARK

FAR = 5_000_000_000


@pytest.fixture(scope="module")
def matrices(model, ratings, item_ids) -> tuple[np.ndarray, np.ndarray]:
    """(users, k) and (items, k) the factors in the order of the numbers in `ratings`."""
    users = {row["id"]: row["features"] for row in model.userFactors.collect()}
    items = {row["id"]: row["features"] for row in model.itemFactors.collect()}
    assert len(items) == len(item_ids)
    known = np.unique(ratings["user"])
    return (
        np.array([users[u + FAR] for u in known.tolist()], np.float32),
        np.array([items[i] for i in item_ids], np.float32),
    )


def test_predictions_are_those_of_one_process_without_spark(frame, model, alone, ratings, item_ids) -> None:
    shown = model.transform(frame).toPandas()
    asked = {"user": shown["user"].to_numpy(), "item": MARK + shown["item"].to_numpy(object)}
    assert len(shown) == len(ratings["user"])
    error = np.abs(shown["prediction"] - alone.predict(asked)["prediction"])
    assert error.max() <= 1e-4 * ratings["rating"].std()
    assert (model.rank, model.noise) == (alone.rank_, pytest.approx(alone.noise_, rel=1e-4))


def test_they_are_as_good_as_those_of_a_plain_recommender(frame, model, ratings) -> None:
    shown = model.transform(frame).toPandas()
    plain = dmc.Recommender().fit({name: ratings[name] for name in ("user", "item", "rating")})
    error = dmc.metrics.rmse(shown["prediction"], shown["rating"])
    assert error == pytest.approx(dmc.metrics.rmse(plain.predict(ratings)["prediction"], ratings["rating"]), rel=0.01)


def test_products_of_the_factors_and_the_mean_are_the_predictions(frame, model, matrices, ratings, item_ids) -> None:
    users, items = matrices
    shown = model.transform(frame).toPandas()
    rows = np.searchsorted(np.unique(ratings["user"]), shown["user"] - FAR)
    cols = shown["item"].map({id: i for i, id in enumerate(item_ids)}).to_numpy()
    exact = np.clip(model.mean + np.sum(users[rows] * items[cols], axis=1), 1, 5)
    np.testing.assert_allclose(shown["prediction"], exact, atol=1e-5)


@pytest.mark.parametrize("strategy", ["nan", "drop", "mean"])
def test_who_is_not_known(spark, model, alone, ratings, item_ids, strategy: str) -> None:
    user, item = int(ratings["user"].min()), MARK + item_ids[0]
    rows = [(user + FAR, item_ids[0]), (-1, item_ids[0]), (user + FAR, "new"), (-1, "new"), (None, item_ids[0])]
    asked = spark.createDataFrame(rows, "user long, item string")
    shown = model.copy({model.coldStartStrategy: strategy}).transform(asked).toPandas()
    users = shown["user"].fillna(0).astype(int)
    found = {(u, i): p for u, i, p in zip(users, shown["item"], shown["prediction"], strict=True)}
    expected = alone.predict({"user": [user + FAR, -1, user + FAR, -1, -1], "item": [item, item, "new", "new", item]})[
        "prediction"
    ]
    assert found[user + FAR, item_ids[0]] == pytest.approx(expected[0], abs=1e-4)
    if strategy == "drop":
        assert len(shown) == 1
        return
    others = [found[-1, item_ids[0]], found[user + FAR, "new"], found[-1, "new"], found[0, item_ids[0]]]
    if strategy == "nan":
        assert np.isnan(others).all()
    else:
        np.testing.assert_allclose(others, expected[1:], atol=1e-4)


def test_other_columns_stay_as_they_are(spark, model, item_ids) -> None:
    asked = spark.createDataFrame(
        [(1 + FAR, item_ids[0], {"a": [1]}, None)], "user long, item string, `a.b` map<string,array<int>>, n int"
    )
    shown = model.transform(asked)
    assert shown.columns == ["user", "item", "a.b", "n", "prediction"]
    assert shown.first()["a.b"] == {"a": [1]}
    assert shown.schema["prediction"].dataType.simpleString() == "float"
    with pytest.raises(ValueError, match="there is a column 'prediction' already; set predictionCol"):
        model.transform(shown)
    with pytest.raises(TypeError, match="'item' has type bigint, and the ids of the model string"):
        model.transform(asked.withColumn("item", F.lit(7).cast("long")))


def test_best_items_of_all_users(model, matrices, ratings, item_ids) -> None:
    users, items = matrices
    found = model.recommendForAllUsers(4)
    assert found.schema.simpleString() == (
        "struct<user:bigint,recommendations:array<struct<item:string,rating:float>>>"
    )
    lists = {row["user"] - FAR: row["recommendations"] for row in found.collect()}
    assert sorted(lists) == np.unique(ratings["user"]).tolist()
    products = users @ items.T
    for u, row in zip(np.unique(ratings["user"]), products, strict=True):
        best = np.argsort(-row, kind="stable")[:4]
        np.testing.assert_allclose(
            [pair["rating"] for pair in lists[u]], np.clip(model.mean + row[best], 1, 5), atol=1e-5
        )
        position = {id: i for i, id in enumerate(item_ids)}
        np.testing.assert_allclose(row[[position[pair["item"]] for pair in lists[u]]], row[best], atol=1e-5)


def test_best_users_of_all_items(model, matrices, ratings, item_ids) -> None:
    users, items = matrices
    found = model.recommendForAllItems(5)
    assert found.schema.simpleString() == (
        "struct<item:string,recommendations:array<struct<user:bigint,rating:float>>>"
    )
    lists = {row["item"]: row["recommendations"] for row in found.collect()}
    assert set(lists) == set(item_ids)
    for name, row in zip(item_ids, items @ users.T, strict=True):
        best = np.argsort(-row, kind="stable")[:5]
        np.testing.assert_allclose(
            [pair["rating"] for pair in lists[name]], np.clip(model.mean + row[best], 1, 5), atol=1e-5
        )
        rows = np.searchsorted(np.unique(ratings["user"]), [pair["user"] - FAR for pair in lists[name]])
        np.testing.assert_allclose(row[rows], row[best], atol=1e-5)


def test_subsets(spark, model, item_ids) -> None:
    users = spark.createDataFrame([(5 + FAR,), (9 + FAR,), (5 + FAR,), (-3,)], ["user"])
    some = {row["user"]: row["recommendations"] for row in model.recommendForUserSubset(users, 3).collect()}
    of_all = {row["user"]: row["recommendations"] for row in model.recommendForAllUsers(3).collect()}
    assert some == {user + FAR: of_all[user + FAR] for user in (5, 9)}
    items = spark.createDataFrame([("007",), ("7.0",), ("7.0",), ("8",)], ["item"])
    some = {row["item"]: row["recommendations"] for row in model.recommendForItemSubset(items, 3).collect()}
    of_all = {row["item"]: row["recommendations"] for row in model.recommendForAllItems(3).collect()}
    assert some == {item: of_all[item] for item in ("007", "7.0")}
    with pytest.raises(ValueError, match="userCol is 'user', and the columns are item"):
        model.recommendForUserSubset(items, 3)
    with pytest.raises(ValueError, match="numItems is 0"):
        model.recommendForAllUsers(0)


def test_save_and_load(model, frame, tmp_path) -> None:
    path = str(tmp_path / "model")
    model.copy({model.coldStartStrategy: "mean"}).write().overwrite().save(path)
    loaded = RecommenderModel.load(path)
    assert (loaded.uid, loaded.rank, loaded.mean, loaded.noise) == (model.uid, model.rank, model.mean, model.noise)
    assert loaded.getColdStartStrategy() == "mean"
    for side in ("userFactors", "itemFactors"):
        one, other = (sorted(map(tuple, getattr(of, side).collect())) for of in (model, loaded))
        assert one == other
    one, other = (of.transform(frame).agg(F.sum("prediction")).first()[0] for of in (model, loaded))
    assert one == pytest.approx(other, rel=1e-9)
    strange = frame.limit(1).withColumn("user", F.lit(-1).cast("long"))
    assert not np.isnan(loaded.transform(strange).first()["prediction"])


def test_one_that_is_not_fitted_says_so() -> None:
    with pytest.raises(RuntimeError, match="not fitted; get one by Recommender"):
        RecommenderModel().recommendForAllUsers(3)
