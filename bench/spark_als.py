"""How do fit and lists of everybody compare with Spark's own ALS, in one session, on the ratings of distributed.py?

Both get a DataFrame that is in memory, and are fitted once before anything is timed, so that neither pays for the start
of Java. ALS knows no biases: means of users and items, by ridge regression, are taken out first. What is timed of it is
one fit with the settings that were best on a part of the training ratings: neither their choice nor the means.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import _long_tail
from _contenders import Biases, Ratings
from _harness import main, record
from _long_tail import Table
from _rivals import grid
from distributed import RATINGS

GRID = grid(rank=[5, 10, 20], regParam=[0.02, 0.05, 0.1])
BLOCKS, ITERATIONS, LISTED, REPEATS = 10, 10, 10, 3  # blocks: of 2 it is slower
DAMPING = 3  # what is best for these ratings: (noise² + interactions²) / biases²


def lacks() -> str:
    """What is missing for Spark here; empty if nothing."""
    if importlib.util.find_spec("pyspark") is None:
        return "pyspark is not in this environment; run: make bench-spark"
    return "" if shutil.which("java") or os.environ.get("JAVA_HOME") else "there is no Java; install Java 17"


def session() -> Any:
    from pyspark.sql import SparkSession

    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.environ["OMP_NUM_THREADS"] = "1"  # a task has a core of its own
    os.environ["PYSPARK_PYTHON"] = sys.executable
    settings = {"ui.enabled": "false", "driver.memory": "4g", "sql.shuffle.partitions": "2"}
    builder = SparkSession.builder.master("local[2]")
    for name, value in settings.items():
        builder = builder.config(f"spark.{name}", value)
    found = builder.getOrCreate()
    found.sparkContext.setLogLevel("OFF")
    return found


def frame(spark: Any, table: Table, folder: str, name: str) -> Any:
    """A table in the memory of Spark."""
    path = Path(folder, f"{name}.parquet")
    _long_tail.write(table, path)
    found = spark.read.parquet(str(path)).selectExpr("int(user) user", "int(item) item", "rating").persist()
    found.count()
    return found


def error(model: Any, test: Any) -> float:
    """RMSE of a model's predictions."""
    predicted = model.transform(test)
    squares = "(prediction - rating) * (prediction - rating)"
    return float(predicted.selectExpr(f"sqrt(avg({squares}))").first()[0])


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    found = action()
    return time.perf_counter() - began, found


def listed(model: Any) -> None:
    model.recommendForAllUsers(LISTED).write.format("noop").mode("overwrite").save()


def less_biases(train: Table, test: Table) -> tuple[Table, Table]:
    """Both less the means of users and items that the first one tells."""
    model = Biases(DAMPING, DAMPING)
    model.prepare(Ratings(train["user"], train["item"], train["rating"]))
    model.fit()
    left = [(of["rating"] - model.predict(of["user"], of["item"])).astype(np.float32) for of in (train, test)]
    return train | {"rating": left[0]}, test | {"rating": left[1]}


def als(train: Any, **settings: Any) -> Any:
    from pyspark.ml.recommendation import ALS

    columns = {"userCol": "user", "itemCol": "item", "ratingCol": "rating"}
    blocks = {"numUserBlocks": BLOCKS, "numItemBlocks": BLOCKS, "maxIter": ITERATIONS, "seed": 0}
    model = ALS(**columns, **blocks, **settings, coldStartStrategy="drop").fit(train)
    model.userFactors.count()
    return model


def tuned(spark: Any, train: Table, folder: str) -> tuple[dict[str, Any], float]:
    """The settings of ALS that are best on a part of the training ratings; and the seconds that this took."""
    parts = less_biases(*_long_tail.split(train, RATINGS, seed=1))
    fitted, judged = (frame(spark, part, folder, name) for part, name in zip(parts, ("fitted", "judged"), strict=True))
    seconds, errors = timed(lambda: [error(als(fitted, **settings), judged) for settings in GRID])
    fitted.unpersist()
    judged.unpersist()
    return GRID[int(np.argmin(errors))], seconds


def ours(train: Any) -> Any:
    from dmc.integrations.spark import Recommender

    return Recommender(numProcesses=2).fit(train)


def spark_als() -> None:
    """1.26 million ratings: a fit, and ten items for each of 60,000 users, beside Spark's ALS, tuned."""
    if lacks():
        print(f"spark: left out: {lacks()}")
        return
    train, test = _long_tail.split(_long_tail.ratings(RATINGS), RATINGS)
    with tempfile.TemporaryDirectory() as folder:
        spark = session()
        try:
            settings, tuning = tuned(spark, train, folder)  # which warms it up
            data, held_out = frame(spark, train, folder, "train"), frame(spark, test, folder, "test")
            without, left = less_biases(train, test)
            less, of_less = frame(spark, without, folder, "less"), frame(spark, left, folder, "left")
            contenders: dict[str, tuple[Callable[[], Any], Any, dict[str, Any]]] = {
                "dmc": (lambda: ours(data), held_out, {}),
                "ALS": (lambda: als(less, **settings), of_less, {"settings": settings, "tuning_seconds": tuning}),
            }
            for name, (fit, judged, told) in contenders.items():
                listed(fit())
                runs = [timed(fit) for _ in range(REPEATS)]
                model = runs[-1][1]
                lists = [timed(lambda of=model: listed(of))[0] for _ in range(REPEATS)]
                record(
                    "distributed",
                    f"spark | {name}",
                    n=len(train["user"]),
                    seconds=float(np.median([seconds for seconds, _ in runs])),
                    each=[round(seconds, 2) for seconds, _ in runs],
                    lists_seconds=float(np.median(lists)),
                    test_rmse=error(model, judged),
                    spark=spark.version,
                    **told,
                )
        finally:
            spark.stop()


RUNS = {"spark": spark_als}

if __name__ == "__main__":
    main(RUNS)
