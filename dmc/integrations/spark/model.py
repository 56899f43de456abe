"""The fitted model: predictions of pairs, and the best items or users, as DataFrames."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from pyspark import Broadcast
from pyspark.ml import Model
from pyspark.ml.util import DefaultParamsReader, DefaultParamsWriter, MLReadable, MLReader, MLWritable, MLWriter
from pyspark.sql import Column, DataFrame, SparkSession, functions as F
from pyspark.sql.types import ArrayType, DataType, FloatType, StructField, StructType

from dmc import _checks
from dmc._locks import cached_property
from dmc.integrations.spark import answers
from dmc.integrations.spark.columns import column, fits
from dmc.integrations.spark.params import ModelParams

SMALL = 1_000_000  # items whose vectors go whole to each executor, and are not shuffled


@dataclass(frozen=True)
class Served:
    """What a model answers by.

    Attributes
    ----------
    users, items : DataFrame
        Columns "id" and "features".
    told : dict
        What there is once: "mean", "range", "rank", "noise", "items", "cold_start" (vectors of "user" and "item").
    """

    users: DataFrame
    items: DataFrame
    told: dict[str, Any]

    @classmethod
    def of(cls, factors: DataFrame, told: dict[str, Any]) -> Served:
        """From both sides in one DataFrame, columns "user" and "item", one of them null."""
        users, items = (
            factors.where(column(side).isNotNull()).select(column(side).alias("id"), "features")
            for side in ("user", "item")
        )
        return cls(users, items, told)

    @cached_property
    def catalogue(self) -> Broadcast:
        """All items' ids and vectors, in every executor: once."""
        found = self.items.toArrow().sort_by("id")
        return self.items.sparkSession.sparkContext.broadcast(found)

    def type_of(self, side: str) -> DataType:
        """Of the ids of "user" or "item"."""
        frame: DataFrame = self.users if side == "user" else self.items
        return frame.schema["id"].dataType


class RecommenderModel(Model, ModelParams, MLWritable, MLReadable):
    """The model that `Recommender.fit` returns; it shares the parameters of the estimator that concern predictions.

    Parameters
    ----------
    served : Served, optional
        The factors; `Recommender.fit` and `RecommenderModel.load` pass them.

    Examples
    --------
    >>> model = Recommender().fit(ratings)  # doctest: +SKIP
    >>> model.write().overwrite().save("model")  # doctest: +SKIP
    >>> RecommenderModel.load("model").transform(pairs).show()  # doctest: +SKIP
    """

    def __init__(self, served: Served | None = None) -> None:
        super().__init__()
        self._served = served

    def _of(self) -> Served:
        if self._served is None:
            raise RuntimeError(
                "this RecommenderModel is not fitted; get one by Recommender.fit or RecommenderModel.load"
            )
        return self._served

    @property
    def rank(self) -> int:
        """int: Number of directions of the interactions; `features` are longer by two, for the biases."""
        return int(self._of().told["rank"])

    @property
    def mean(self) -> float:
        """float: The mean rating; a prediction is this plus a product of `userFactors` and `itemFactors`."""
        return float(self._of().told["mean"])

    @property
    def noise(self) -> float:
        """float: Estimated standard deviation of a rating around its prediction."""
        return float(self._of().told["noise"])

    @property
    def userFactors(self) -> DataFrame:
        """DataFrame: Columns "id" and "features", whose product with an item's, plus `mean`, is the prediction."""
        return self._of().users

    @property
    def itemFactors(self) -> DataFrame:
        """DataFrame: Columns "id" and "features"."""
        return self._of().items

    def _transform(self, dataset: DataFrame) -> DataFrame:
        served, name = self._of(), self.getPredictionCol()
        if name in dataset.columns:
            raise ValueError(f"there is a column {name!r} already; set predictionCol to another name, or drop it")
        drop = self.getColdStartStrategy() == "drop"
        joined = dataset
        for side, own, frame in (
            ("user", self.getUserCol(), served.users),
            ("item", self.getItemCol(), served.items),
        ):
            fits(dataset, own, f"{side}Col", served.type_of(side))
            frame = frame.select(column("id").alias(self._hidden(side, "id")), self._features(side))
            if side == "item" and served.told["items"] <= SMALL:
                frame = F.broadcast(frame)
            same = column(own) == column(self._hidden(side, "id"))
            joined = joined.join(frame, same, "inner" if drop else "left").drop(self._hidden(side, "id"))
        vectors = [column(self._hidden(side, "features")) for side in ("user", "item")]
        cold = served.told["cold_start"] if self.getColdStartStrategy() == "mean" else None
        predict = F.arrow_udf(answers.predictor(served.told | {"cold_start": cold}), FloatType())
        hidden = [self._hidden(side, "features") for side in ("user", "item")]
        return joined.withColumn(name, predict(*vectors)).drop(*hidden)

    def _hidden(self, side: str, what: str) -> str:
        """The name of a column that is there on the way only."""
        return f"{self.uid}_{side}_{what}"

    def _features(self, side: str) -> Any:
        return column("features").alias(self._hidden(side, "features"))

    def recommendForAllUsers(self, numItems: int) -> DataFrame:
        """Return the items of highest prediction for each user; items that the user has rated are included.

        Parameters
        ----------
        numItems : int
            Number of items for each user; fewer if there are fewer.

        Returns
        -------
        DataFrame
            Columns `userCol` and "recommendations": an array of (`itemCol`, "rating"), best first.

        Examples
        --------
        >>> model.recommendForAllUsers(10).show()  # doctest: +SKIP
        """
        return self._best_items(self._of().users, numItems)

    def recommendForUserSubset(self, dataset: DataFrame, numItems: int) -> DataFrame:
        """Return the items of highest prediction for the users of a DataFrame; unknown users are left out.

        Parameters
        ----------
        dataset : DataFrame
            With the column of users; each user counts once.
        numItems : int
            Number of items for each user; fewer if there are fewer.

        Returns
        -------
        DataFrame
            As `recommendForAllUsers`.

        Examples
        --------
        >>> model.recommendForUserSubset(ratings.limit(5), 10).show()  # doctest: +SKIP
        """
        return self._best_items(self._asked("user", dataset), numItems)

    def recommendForAllItems(self, numUsers: int) -> DataFrame:
        """Return the users of highest prediction for each item.

        Parameters
        ----------
        numUsers : int
            Number of users for each item; fewer if there are fewer.

        Returns
        -------
        DataFrame
            Columns `itemCol` and "recommendations": an array of (`userCol`, "rating"), best first.

        Examples
        --------
        >>> model.recommendForAllItems(10).show()  # doctest: +SKIP
        """
        return self._best_users(self._of().catalogue, numUsers)

    def recommendForItemSubset(self, dataset: DataFrame, numUsers: int) -> DataFrame:
        """Return the users of highest prediction for the items of a DataFrame; unknown items are left out.

        Parameters
        ----------
        dataset : DataFrame
            With the column of items; each item counts once.
        numUsers : int
            Number of users for each item; fewer if there are fewer.

        Returns
        -------
        DataFrame
            As `recommendForAllItems`.

        Examples
        --------
        >>> model.recommendForItemSubset(ratings.limit(5), 10).show()  # doctest: +SKIP
        """
        asked = self._asked("item", dataset).toArrow().sort_by("id")
        return self._best_users(dataset.sparkSession.sparkContext.broadcast(asked), numUsers)

    def _asked(self, side: str, dataset: DataFrame) -> DataFrame:
        served, name = self._of(), self.getUserCol() if side == "user" else self.getItemCol()
        fits(dataset, name, f"{side}Col", served.type_of(side))
        asked = dataset.select(column(name).alias(self._hidden(side, "id"))).distinct()
        frame = served.users if side == "user" else served.items
        return frame.join(asked, column("id") == column(self._hidden(side, "id")), "left_semi")

    def _best_items(self, users: DataFrame, n: int) -> DataFrame:
        served, n = self._of(), _checks.integer(n, "numItems", 1)
        best = partial(answers.best_items, items=served.catalogue, n=n, told=served.told, names=self._names)
        return users.mapInArrow(best, self._lists("user", "item"))

    def _best_users(self, items: Broadcast, n: int) -> DataFrame:
        served, n, (user, item) = self._of(), _checks.integer(n, "numUsers", 1), self._names
        best = partial(answers.best_users, items=items, n=n, names=self._names)
        of_parts = served.users.mapInArrow(best, self._lists("item", "user"))
        # Of each partition its best; merged by Spark: the largest ratings first, of equal ones the lower user.
        merged = of_parts.groupBy(column(item)).agg(F.flatten(F.collect_list("recommendations")).alias("of_all"))
        keyed = F.transform("of_all", lambda of: F.struct((-of["rating"]).alias("key"), of[user].alias("of")))
        merged = merged.withColumn("of_all", F.slice(F.sort_array(keyed), 1, n))
        listed = F.transform("of_all", lambda of: F.struct(of["of"].alias(user), self._clipped(-of["key"])))
        return merged.select(column(item), listed.alias("recommendations"))

    def _clipped(self, product: Column) -> Column:
        """A prediction, of a product: the mean added, inside the range of the ratings."""
        mean, (low, high) = self.mean, self._of().told["range"]
        return F.least(F.greatest(product + F.lit(mean), F.lit(low)), F.lit(high)).cast("float").alias("rating")

    @property
    def _names(self) -> tuple[str, str]:
        return self.getUserCol(), self.getItemCol()

    def _lists(self, side: str, other: str) -> StructType:
        """As ALS has them: an id, and a list of the others and their predictions."""
        names = dict(zip(("user", "item"), self._names, strict=True))
        types = {of: self._of().type_of(of) for of in names}
        pair = StructType([StructField(names[other], types[other]), StructField("rating", FloatType())])
        return StructType([StructField(names[side], types[side]), StructField("recommendations", ArrayType(pair))])

    def write(self) -> MLWriter:
        """Return the writer of a folder: metadata, and the factors of users and of items as Parquet.

        Returns
        -------
        pyspark.ml.util.MLWriter
            Call its `save(path)`.

        Examples
        --------
        >>> model.write().overwrite().save("model")  # doctest: +SKIP
        """
        return _Writer(self)

    @classmethod
    def read(cls) -> MLReader:
        """Return the reader of a folder that `write` wrote.

        Returns
        -------
        pyspark.ml.util.MLReader
            Call its `load(path)`.

        Examples
        --------
        >>> RecommenderModel.read().load("model")  # doctest: +SKIP
        """
        return _Reader()


class _Writer(MLWriter):
    def __init__(self, model: RecommenderModel) -> None:
        super().__init__()
        self._model = model

    def saveImpl(self, path: str) -> None:
        served = self._model._of()
        DefaultParamsWriter.saveMetadata(self._model, path, self.sparkSession, extraMetadata={"told": served.told})
        served.users.write.parquet(f"{path}/userFactors")
        served.items.write.parquet(f"{path}/itemFactors")


class _Reader(MLReader):
    def load(self, path: str) -> RecommenderModel:
        session: SparkSession = self.sparkSession
        metadata = DefaultParamsReader.loadMetadata(path, session)
        users, items = (session.read.parquet(f"{path}/{side}Factors") for side in ("user", "item"))
        model = RecommenderModel(Served(users, items, metadata["told"]))
        model._resetUid(metadata["uid"])
        DefaultParamsReader.getAndSetParams(model, metadata)
        return model
