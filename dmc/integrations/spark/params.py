"""The parameters of the estimator and of its model: those of ALS that mean something here, and a few more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import HasPredictionCol, HasSeed

from dmc import _checks
from dmc.recommend.fitting import Duplicates

P = TypeVar("P", bound="ModelParams")
F = TypeVar("F", bound="FitParams")

_BLOCKS = "each process gets about as many ratings as any other; numProcesses says how many there are"
_STORAGE = "ratings stay in the processes of the fit, and factors are kept in memory and on disk"

# Parameters of ALS that have no effect to choose, and why.
NOT_NEEDED = {
    "maxIter": "the fit ends by itself when its predictions no longer change",
    "regParam": "how far ratings may move a user or an item is learnt from all of them",
    "alpha": "how much a click counts against none is found by the fit",
    "nonnegative": "factors of either sign predict ratings better, and predictions stay in the range of the ratings",
    "numBlocks": _BLOCKS,
    "numUserBlocks": _BLOCKS,
    "numItemBlocks": _BLOCKS,
    "blockSize": "the compiled core chooses its blocks",
    "checkpointInterval": "with checkpointDir each sweep is kept",
    "intermediateStorageLevel": _STORAGE,
    "finalStorageLevel": _STORAGE,
}


def not_needed(name: str) -> str:
    """The sentence for a parameter of ALS that is not offered."""
    return f"{name} is a parameter of ALS that is not needed here ({NOT_NEEDED[name]}); leave it out"


def _one_of(name: str, *choices: str) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        _checks.choice(value, name, choices)
        return str(value)

    return convert


def _at_least_one(name: str) -> Callable[[Any], int]:
    return lambda value: _checks.integer(value, name, 1)


def _duplicates(value: Any) -> str:
    if value == "last":
        raise ValueError(
            "duplicates is 'last', and the rows of a DataFrame have no order; use 'latest', and name the column of "
            "times with timeCol"
        )
    return _one_of("duplicates", "error", "mean", "latest")(value)


class ModelParams(HasPredictionCol):
    """Those of the model: names of columns, and what is predicted for who is not known."""

    userCol = Param(Params._dummy(), "userCol", "column of user ids: whole numbers or text", TypeConverters.toString)
    itemCol = Param(Params._dummy(), "itemCol", "column of item ids: whole numbers or text", TypeConverters.toString)
    coldStartStrategy = Param(
        Params._dummy(),
        "coldStartStrategy",
        "prediction for unknown users and items: 'nan', 'drop' (the row is left out) or 'mean' (what is expected "
        "without ratings)",
        _one_of("coldStartStrategy", "nan", "drop", "mean"),
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(userCol="user", itemCol="item", coldStartStrategy="nan")

    def getUserCol(self) -> str:
        """The column of user ids."""
        return self.getOrDefault(self.userCol)

    def setUserCol(self: P, value: str) -> P:
        """Set `userCol`."""
        return self._set(userCol=value)

    def getItemCol(self) -> str:
        """The column of item ids."""
        return self.getOrDefault(self.itemCol)

    def setItemCol(self: P, value: str) -> P:
        """Set `itemCol`."""
        return self._set(itemCol=value)

    def getColdStartStrategy(self) -> str:
        """What is predicted for who is not known."""
        return self.getOrDefault(self.coldStartStrategy)

    def setColdStartStrategy(self: P, value: str) -> P:
        """Set `coldStartStrategy`."""
        return self._set(coldStartStrategy=value)

    def setPredictionCol(self: P, value: str) -> P:
        """Set `predictionCol`."""
        return self._set(predictionCol=value)


class FitParams(ModelParams, HasSeed):
    """Those of the estimator."""

    rank = Param(
        Params._dummy(),
        "rank",
        "upper bound of the rank of the interactions; for clicks, the rank; None: as many directions as stand out of "
        "the "
        "noise",
        _at_least_one("rank"),
    )
    ratingCol = Param(
        Params._dummy(),
        "ratingCol",
        "column of ratings, or of counts; '' with implicitPrefs: each row is one click",
        TypeConverters.toString,
    )
    implicitPrefs = Param(
        Params._dummy(),
        "implicitPrefs",
        "whether the table holds counts of what happened, and not ratings",
        TypeConverters.toBoolean,
    )
    duplicates = Param(
        Params._dummy(),
        "duplicates",
        "where a user rated an item more than once: 'error', 'mean', or 'latest' by timeCol; counts are added up",
        _duplicates,
    )
    timeCol = Param(
        Params._dummy(), "timeCol", "column of times for duplicates='latest': numbers, dates or timestamps",
        TypeConverters.toString,
    )  # fmt: skip
    numProcesses = Param(
        Params._dummy(),
        "numProcesses",
        "tasks of the barrier stage that fit together; None: as many as run at a time",
        _at_least_one("numProcesses"),
    )
    checkpointDir = Param(
        Params._dummy(),
        "checkpointDir",
        "folder that all workers see, for the state after each sweep; a restarted fit resumes from it",
        TypeConverters.toString,
    )
    timeout = Param(
        Params._dummy(),
        "timeout",
        "seconds without a word from another process until the fit is taken to be broken",
        lambda value: _checks.real(value, "timeout", 0, open_ends=True),
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(
            rank=None, ratingCol="rating", implicitPrefs=False, seed=0, duplicates="error", timeCol=None,
            numProcesses=None, checkpointDir=None, timeout=300.0
        )  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        bare = name[3:4].lower() + name[4:] if name[:3] in ("get", "set") else name
        if bare in NOT_NEEDED:
            raise AttributeError(not_needed(bare))
        raise AttributeError(f"{type(self).__name__} has no {name!r}")

    def getRank(self) -> int | None:
        """The bound of the rank."""
        return self.getOrDefault(self.rank)

    def setRank(self: F, value: int) -> F:
        """Set `rank`."""
        return self._set(rank=value)

    def getRatingCol(self) -> str:
        """The column of ratings."""
        return self.getOrDefault(self.ratingCol)

    def setRatingCol(self: F, value: str) -> F:
        """Set `ratingCol`."""
        return self._set(ratingCol=value)

    def getImplicitPrefs(self) -> bool:
        """Whether the table holds counts."""
        return self.getOrDefault(self.implicitPrefs)

    def setImplicitPrefs(self: F, value: bool) -> F:
        """Set `implicitPrefs`."""
        return self._set(implicitPrefs=value)

    def setSeed(self: F, value: int) -> F:
        """Set `seed`."""
        return self._set(seed=value)

    def getDuplicates(self) -> Duplicates:
        """What is done where a user rated an item more than once."""
        return self.getOrDefault(self.duplicates)

    def setDuplicates(self: F, value: str) -> F:
        """Set `duplicates`."""
        return self._set(duplicates=value)

    def getTimeCol(self) -> str | None:
        """The column of times."""
        return self.getOrDefault(self.timeCol)

    def setTimeCol(self: F, value: str) -> F:
        """Set `timeCol`."""
        return self._set(timeCol=value)

    def getNumProcesses(self) -> int | None:
        """Tasks of the barrier stage."""
        return self.getOrDefault(self.numProcesses)

    def setNumProcesses(self: F, value: int) -> F:
        """Set `numProcesses`."""
        return self._set(numProcesses=value)

    def getCheckpointDir(self) -> str | None:
        """Where sweeps are kept."""
        return self.getOrDefault(self.checkpointDir)

    def setCheckpointDir(self: F, value: str) -> F:
        """Set `checkpointDir`."""
        return self._set(checkpointDir=value)

    def getTimeout(self) -> float:
        """Seconds without a word until the fit is taken to be broken."""
        return self.getOrDefault(self.timeout)

    def setTimeout(self: F, value: float) -> F:
        """Set `timeout`."""
        return self._set(timeout=value)
