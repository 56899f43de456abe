"""Parameters: those of ALS, those that it has not, and those that are refused."""

from __future__ import annotations

import pytest

pytest.importorskip("pyspark", reason="pyspark is not installed here; `make spark` runs these tests with it")

from pyspark.ml.recommendation import ALS
from pyspark.ml.tuning import ParamGridBuilder

from dmc.integrations.spark import Recommender
from dmc.integrations.spark.params import NOT_NEEDED


def test_every_parameter_of_als_is_here_or_is_refused_with_a_reason(spark) -> None:
    ours = {param.name for param in Recommender().params}
    theirs = {param.name for param in ALS().params}
    assert theirs - ours == set(NOT_NEEDED) - {"numBlocks"}  # which is a setter alone


@pytest.mark.parametrize("name", sorted(NOT_NEEDED))
def test_what_is_not_needed_says_why(name: str) -> None:
    recommender = Recommender()
    capital = name[0].upper() + name[1:]
    for spelt in (name, f"set{capital}", f"get{capital}"):
        with pytest.raises(AttributeError, match=rf"{name} is a parameter of ALS that is not needed here \(.+\)"):
            getattr(recommender, spelt)
    with pytest.raises(TypeError, match=f"{name} is a parameter of ALS"):
        Recommender(**{name: 1})
    with pytest.raises(AttributeError, match="'setNothing'"):
        recommender.setNothing(3)


def test_setters_and_getters() -> None:
    values = {
        "rank": 7, "userCol": "u", "itemCol": "i", "ratingCol": "r", "implicitPrefs": True, "duplicates": "latest",
        "timeCol": "t", "seed": 3, "coldStartStrategy": "drop", "predictionCol": "p", "numProcesses": 2,
        "checkpointDir": "/there", "timeout": 9.0
    }  # fmt: skip
    one, other = Recommender(), Recommender(**values)
    for name, value in values.items():
        capital = name[0].upper() + name[1:]
        assert getattr(one, f"set{capital}")(value) is one
        assert getattr(one, f"get{capital}")() == getattr(other, f"get{capital}")() == value
    assert {param.name for param in one.params} == set(values)
    assert Recommender().setParams(rank=4).getRank() == 4
    assert Recommender().getRank() is None


@pytest.mark.parametrize(
    ("params", "error", "said"),
    [
        ({"rank": 0}, ValueError, "rank is 0; it has to be at least 1"),
        ({"rank": 2.5}, TypeError, "rank is 2.5; give a whole number"),
        ({"coldStartStrategy": "zero"}, ValueError, "coldStartStrategy is 'zero'; choose one of 'nan', 'drop', 'mean'"),
        ({"duplicates": "last"}, ValueError, "rows of a DataFrame have no order; use 'latest'"),
        ({"numProcesses": 0}, ValueError, "numProcesses is 0"),
        ({"timeout": 0}, ValueError, "timeout is 0"),
        ({"regularisation": 1}, TypeError, "there is no parameter 'regularisation'; choose from .*ratingCol"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_values_are_refused(params: dict, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        Recommender(**params)


def test_a_grid_of_parameters() -> None:
    recommender = Recommender(rank=3)
    maps = ParamGridBuilder().addGrid(recommender.rank, [2, 4]).addGrid(recommender.implicitPrefs, [False]).build()
    assert [recommender.copy(of).getRank() for of in maps] == [2, 4]
    assert recommender.getRank() == 3
    with pytest.raises(AttributeError, match="regParam is a parameter of ALS"):
        ParamGridBuilder().addGrid(recommender.regParam, [0.1])
