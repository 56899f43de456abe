"""The estimator: `fit` a DataFrame of ratings or clicks."""

from __future__ import annotations

from typing import Any

from pyspark import keyword_only
from pyspark.ml import Estimator
from pyspark.ml.util import DefaultParamsReadable, DefaultParamsWritable
from pyspark.sql import DataFrame

from dmc.integrations.spark import barrier, cluster, columns
from dmc.integrations.spark.model import RecommenderModel, Served
from dmc.integrations.spark.params import NOT_NEEDED, FitParams, not_needed
from dmc.integrations.spark.shards import Settings


class Recommender(Estimator, FitParams, DefaultParamsWritable, DefaultParamsReadable):
    """`dmc.Recommender` where `pyspark.ml.recommendation.ALS` stood: a model of ratings, or of clicks, of a DataFrame.

    It is fitted in one barrier stage, whose tasks talk to each other by torch.distributed (gloo): each holds a part of
    the users, and all items. Where a worker is lost, Spark starts the stage again; with `checkpointDir` it goes on
    where it was. What ALS has and this has not (`maxIter`, `regParam`, `alpha`, …) is refused with a sentence.

    Parameters
    ----------
    rank : int, optional
        Upper bound of the rank of the interactions, of clicks the rank. Left out: as many directions as stand out of
        the noise.
    userCol, itemCol : str
        Columns of ids, of any whole type or text.
    ratingCol : str
        Column of ratings, or of counts; "" with `implicitPrefs`: each row is one click.
    implicitPrefs : bool
        The table holds counts of what happened, and not ratings.
    duplicates : {"error", "mean", "latest"}
        Where a user rated an item more than once; "latest" goes by `timeCol`. Counts are added up in any case.
    timeCol : str, optional
        Column of numbers, dates or timestamps.
    seed : int
    coldStartStrategy : {"nan", "drop", "mean"}
        What is predicted for users and items that are not known: NaN, nothing (the row is left out), or what is
        expected of one without ratings.
    predictionCol : str
    numProcesses : int, optional
        Tasks of the barrier stage; left out: as many as run at a time.
    checkpointDir : str, optional
        A folder that all workers see (a local path, or a shared one that is mounted), where each sweep is kept.
    timeout : float
        Seconds without a word from another process until the fit is taken to be broken.

    Examples
    --------
    ::

        model = Recommender(userCol="customer", itemCol="product", coldStartStrategy="mean").fit(ratings)
        model.transform(pairs)
        model.recommendForAllUsers(10)
    """

    @keyword_only  # type: ignore[untyped-decorator, unused-ignore]
    def __init__(
        self,
        *,
        rank: int | None = None,
        userCol: str = "user",
        itemCol: str = "item",
        ratingCol: str = "rating",
        implicitPrefs: bool = False,
        duplicates: str = "error",
        timeCol: str | None = None,
        seed: int = 0,
        coldStartStrategy: str = "nan",
        predictionCol: str = "prediction",
        numProcesses: int | None = None,
        checkpointDir: str | None = None,
        timeout: float = 300.0,
        **others: Any,
    ) -> None:
        cluster.require_java()
        super().__init__()
        self._given(self._input_kwargs)

    @keyword_only  # type: ignore[untyped-decorator, unused-ignore]
    def setParams(
        self,
        *,
        rank: int | None = None,
        userCol: str = "user",
        itemCol: str = "item",
        ratingCol: str = "rating",
        implicitPrefs: bool = False,
        duplicates: str = "error",
        timeCol: str | None = None,
        seed: int = 0,
        coldStartStrategy: str = "nan",
        predictionCol: str = "prediction",
        numProcesses: int | None = None,
        checkpointDir: str | None = None,
        timeout: float = 300.0,
        **others: Any,
    ) -> Recommender:
        """Set some of the parameters; those that are not named stay as they are."""
        return self._given(self._input_kwargs)

    def _given(self, params: dict[str, Any]) -> Recommender:
        for name in params:
            if name in NOT_NEEDED:
                raise TypeError(not_needed(name))
            if not self.hasParam(name):
                raise TypeError(f"there is no parameter {name!r}; choose from {', '.join(p.name for p in self.params)}")
        return self._set(**params)

    def _fit(self, dataset: DataFrame) -> RecommenderModel:
        session, clicks = dataset.sparkSession, self.getImplicitPrefs()
        cluster.require_classic(session)
        user, item, rating, time = self.getUserCol(), self.getItemCol(), self.getRatingCol(), self.getTimeCol()
        self._refuse_times(time)
        named = ((user, "userCol"), (item, "itemCol"))
        ratings = columns.selected(dataset, named, rating, time, clicks=clicks)
        types = columns.id_type(dataset, user, "userCol"), columns.id_type(dataset, item, "itemCol")
        settings = Settings(
            user, item, rating or None, time, self.getRank(), "implicit" if clicks else "explicit",
            self.getDuplicates(), self.getSeed() % 2**63, self.getCheckpointDir(), self.getTimeout()
        )  # fmt: skip
        size = cluster.processes(session, self.getNumProcesses())
        factors, told = barrier.fit(ratings, types, settings, size)
        model = RecommenderModel(Served.of(factors, told))
        model._resetUid(self.uid)
        return self._copyValues(model)

    def _refuse_times(self, time: str | None) -> None:
        if (self.getDuplicates() == "latest") != (time is not None):
            raise ValueError(
                f"duplicates is {self.getDuplicates()!r} and timeCol {time!r}; 'latest' goes by a column of times, and "
                "nothing else does"
            )
