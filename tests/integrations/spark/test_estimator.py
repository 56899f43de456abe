"""The estimator: fits, searches, pipelines, and what it refuses."""

from __future__ import annotations

import gc

import numpy as np
import pytest

pytest.importorskip("pyspark", reason="pyspark is not installed here; `make spark` runs these tests with it")

from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.evaluation import RegressionEvaluator
from pyspark.ml.feature import SQLTransformer
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder
from pyspark.sql import functions as F

import dmc.distributed
from dmc.integrations.spark import Recommender


def test_parameters_of_one_fit(frame) -> None:
    recommender = Recommender(numProcesses=1, rank=1, predictionCol="p")
    found = recommender.fit(frame, {recommender.predictionCol: "q", recommender.coldStartStrategy: "drop"})
    assert (found.getPredictionCol(), found.getColdStartStrategy()) == ("q", "drop")
    assert (recommender.getPredictionCol(), recommender.getColdStartStrategy()) == ("p", "nan")
    assert found.uid == recommender.uid
    assert found.rank <= 1


def test_save_and_load(tmp_path, spark) -> None:
    recommender = Recommender(rank=4, userCol="who", timeout=5)
    recommender.write().overwrite().save(str(tmp_path / "it"))
    loaded = Recommender.load(str(tmp_path / "it"))
    assert {p.name: v for p, v in loaded.extractParamMap().items()} == {
        p.name: v for p, v in recommender.extractParamMap().items()
    }
    assert loaded.uid == recommender.uid


@pytest.mark.filterwarnings(
    "ignore:unclosed running multiprocessing pool", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_cross_validation(frame) -> None:
    recommender = Recommender(numProcesses=1, coldStartStrategy="drop")
    grid = ParamGridBuilder().addGrid(recommender.rank, [1, 4]).build()
    judge = RegressionEvaluator(metricName="rmse", labelCol="rating", predictionCol="prediction")
    search = CrossValidator(
        estimator=recommender, estimatorParamMaps=grid, evaluator=judge, numFolds=2, seed=1, parallelism=2
    )
    found = search.fit(frame)
    gc.collect()  # Spark leaves its pool of threads open: not for the next test to be told of
    spread = frame.agg(F.stddev("rating")).first()[0]
    assert found.avgMetrics[1] < found.avgMetrics[0] < spread  # two tastes are planted
    assert found.bestModel.transform(frame).count() == frame.count()


def test_in_a_pipeline(frame, tmp_path) -> None:
    louder = SQLTransformer(statement="SELECT user, item, rating * 10 AS loud FROM __THIS__")
    found = Pipeline(stages=[louder, Recommender(numProcesses=1, ratingCol="loud")]).fit(frame)
    mean = found.transform(frame).agg(F.avg("prediction")).first()[0]
    assert mean == pytest.approx(10 * frame.agg(F.avg("rating")).first()[0], rel=0.01)
    found.save(str(tmp_path / "pipeline"))
    loaded = PipelineModel.load(str(tmp_path / "pipeline"))
    assert loaded.transform(frame).agg(F.avg("prediction")).first()[0] == pytest.approx(mean, abs=1e-6)


def test_clicks(spark, ratings) -> None:
    import pandas as pd
    import pyarrow as pa

    clicks = {name: ratings[name] for name in ("user", "item")}
    given = spark.createDataFrame(pd.DataFrame(clicks))
    found = Recommender(numProcesses=2, implicitPrefs=True, ratingCol="", rank=8).fit(given)
    alone = dmc.distributed.Recommender(8, feedback="implicit").fit([pa.RecordBatch.from_pydict(clicks)]).own_
    shown = found.transform(given).toPandas()
    expected = alone.predict(shown[["user", "item"]])["prediction"].to_numpy()
    np.testing.assert_allclose(shown["prediction"], expected, atol=1e-4)


def test_a_checkpoint_is_gone_on_from_and_that_of_other_settings_is_refused(frame, tmp_path) -> None:
    recommender = Recommender(numProcesses=2, checkpointDir=str(tmp_path / "kept"))
    first = recommender.fit(frame)
    assert (tmp_path / "kept" / "LATEST.json").exists()
    again = recommender.setNumProcesses(1).fit(frame)
    assert again.noise == pytest.approx(first.noise, rel=1e-6)
    with pytest.raises(ValueError, match="was made with random_state = 0, and it is 9 now"):
        recommender.setSeed(9).fit(frame)


@pytest.mark.parametrize(
    ("params", "change", "said"),
    [
        (
            {},
            lambda df: df.withColumn("rating", F.when(F.col("rating") < 4, F.col("rating"))),
            "'rating' has rows without",
        ),
        ({}, lambda df: df.union(df.limit(5)), "5 ratings repeat a user and an item"),
        ({}, lambda df: df.limit(0), "holds no rating"),
        ({"duplicates": "latest"}, lambda df: df, "duplicates is 'latest' and timeCol None; 'latest' needs a column"),
        ({"timeCol": "rating"}, lambda df: df, "duplicates is 'error' and timeCol 'rating'"),
        ({"userCol": "who"}, lambda df: df, "userCol is 'who', and the columns are user, item, rating"),
    ],
    ids=["null", "duplicates", "nothing", "no times", "times for nothing", "no such column"],
)
@pytest.mark.parametrize("size", [1, 2])
def test_bad_input_is_one_sentence(frame, params: dict, change, said: str, size: int) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        Recommender(numProcesses=size, **params).fit(change(frame))
    assert "\n" not in str(caught.value)


def test_duplicates(spark) -> None:
    rows = [(u, i, 3.0 + u - i, 0) for u in range(4) for i in range(4)] + [(0, 0, 9.0, -1), (1, 1, 5.0, 7)]
    given = spark.createDataFrame(rows, ["user", "item", "rating", "at"])
    latest = Recommender(numProcesses=1, duplicates="latest", timeCol="at").fit(given)
    of_alone = dmc.Recommender().fit(
        {name: [row[i] for row in rows] for i, name in enumerate(("user", "item", "rating", "at"))},
        duplicates="latest", time="at",
    )  # fmt: skip
    assert latest.mean == pytest.approx(of_alone.mean_, rel=1e-6)
    mean = Recommender(numProcesses=1, duplicates="mean").fit(given)
    assert mean.mean > latest.mean


def test_warnings_reach_the_caller(spark) -> None:
    given = spark.createDataFrame([(u, i, 3.0) for u in range(4) for i in range(4)], ["user", "item", "rating"])
    told = pytest.warns(UserWarning, match="all 16 ratings are 3, so there is nothing to learn")
    with told, pytest.warns(UserWarning, match="the ratings show no noise"):
        Recommender(numProcesses=1).fit(given)
