"""The estimator: fit to a DataFrame of ratings or clicks."""

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
    """`dmc.Recommender` as a replacement of `pyspark.ml.recommendation.ALS`.

    It is fitted in one barrier stage whose tasks communicate through torch.distributed (gloo). Each task holds a part
    of the users, and all items. If a worker is lost, Spark restarts the stage; with `checkpointDir` the fit resumes
    where it was. Parameters of ALS that this estimator does not need (`maxIter`, `regParam`, `alpha`, …) are refused
    with a reason.

    Parameters
    ----------
    rank : int, optional
        Upper bound of the rank of the interactions; for clicks, the rank. Default: as many directions as stand out of
        the noise.
    userCol, itemCol : str
        Columns of ids, of any integer type or text.
    ratingCol : str
        Column of ratings, or of counts; "" with `implicitPrefs`: each row is one click.
    implicitPrefs : bool
        Whether the table holds counts of events instead of ratings.
    duplicates : {"error", "mean", "latest"}
        What to do if a user rated an item more than once; "latest" uses `timeCol`. Counts are always added up.
    timeCol : str, optional
        Column of numbers, dates or timestamps.
    seed : int
        The same seed gives the same result.
    coldStartStrategy : {"nan", "drop", "mean"}
        Prediction for unknown users and items: NaN, no row at all, or what is expected without ratings.
    predictionCol : str
        Column of the predictions.
    numProcesses : int, optional
        Tasks of the barrier stage. Default: as many as run at the same time.
    checkpointDir : str, optional
        Folder that all workers see (local, or shared and mounted), where the state after each sweep is stored.
    timeout : float
        Seconds without a word from another task after which the fit fails.
    **others : object
        Parameters of ALS that are not needed here; each raises a TypeError that says why.

    Examples
    --------
    >>> from dmc.integrations.spark import Recommender  # doctest: +SKIP
    >>> rec = Recommender(userCol="customer", itemCol="product", coldStartStrategy="mean")  # doctest: +SKIP
    >>> model = rec.fit(ratings)  # doctest: +SKIP
    >>> model.transform(pairs).show()  # doctest: +SKIP
    >>> model.recommendForAllUsers(10).show()  # doctest: +SKIP
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
        """Set some of the parameters; the others stay as they are.

        Parameters
        ----------
        rank, userCol, itemCol, ratingCol, implicitPrefs, duplicates : object, optional
            As in the class.
        timeCol, seed, coldStartStrategy, predictionCol, numProcesses, checkpointDir, timeout : object, optional
            As in the class.
        **others : object
            Refused, as in the class.

        Returns
        -------
        Recommender
            The estimator itself.

        Examples
        --------
        >>> Recommender().setParams(rank=20).getRank()  # doctest: +SKIP
        20
        """
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
                f"duplicates is {self.getDuplicates()!r} and timeCol {time!r}; 'latest' needs a column of times, and "
                "nothing else uses one"
            )
