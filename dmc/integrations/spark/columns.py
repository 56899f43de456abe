"""What is read of a DataFrame, checked before anything is started."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pyspark.sql import Column, DataFrame, functions as F
from pyspark.sql.types import (
    ByteType,
    DataType,
    DateType,
    IntegerType,
    LongType,
    NumericType,
    ShortType,
    StringType,
    TimestampNTZType,
    TimestampType,
)

WHOLE = (ByteType, ShortType, IntegerType, LongType)
# Before each id of text, so that "007", "7" and "7.0" stay three of them: the rest of dmc reads numbers as such.
MARK = "="


def column(name: str) -> Column:
    """A column by its name, which may hold dots and spaces."""
    return F.col("`" + name.replace("`", "``") + "`")


def id_type(frame: DataFrame, name: str, parameter: str) -> DataType:
    """The type of a column of ids.

    Raises
    ------
    ValueError, TypeError
        If there is no such column, or it holds something else.
    """
    found = _type(frame, name, parameter)
    if not isinstance(found, (*WHOLE, StringType)):
        raise TypeError(
            f"column {name!r} has type {found.simpleString()}, and ids are whole numbers or text; cast it to long or "
            "string"
        )
    return found


def fits(frame: DataFrame, name: str, parameter: str, known: DataType) -> None:
    """Refuse a column of ids of the other kind than those that were fitted: none would be found."""
    given = id_type(frame, name, parameter)
    if isinstance(given, StringType) != isinstance(known, StringType):
        raise TypeError(
            f"column {name!r} has type {given.simpleString()}, and the ids of the model {known.simpleString()}; cast "
            "the column"
        )


def _type(frame: DataFrame, name: str, parameter: str) -> DataType:
    if name not in frame.columns:
        raise ValueError(f"{parameter} is {name!r}, and the columns are {', '.join(frame.columns)}; name one of them")
    return frame.schema[name].dataType


def selected(
    frame: DataFrame, ids: Iterable[tuple[str, str]], rating: str, time: str | None, *, clicks: bool
) -> DataFrame:
    """The columns that the fit reads, under their names: ids as long or marked text, ratings as float, times as long
    or double.

    Parameters
    ----------
    frame : DataFrame
    ids : pairs of str
        Names of the columns of users and items, and those of the parameters that name them.
    rating : str
        "" with clicks: each row is one.
    time : str, optional
    clicks : bool
        Whether the table holds counts, and not ratings.

    Raises
    ------
    ValueError, TypeError
        If one of them cannot be used.
    """
    named = [(name, parameter) for name, parameter in (*ids, (rating, "ratingCol"), (time, "timeCol")) if name]
    _refuse_repeated(named)
    columns = [_as_id(frame, name, parameter).alias(name) for name, parameter in ids]
    if rating:
        found = _type(frame, rating, "ratingCol")
        if not isinstance(found, NumericType):
            raise TypeError(f"column {rating!r} has type {found.simpleString()}; cast the ratings to float")
        columns.append(column(rating).cast("float").alias(rating))
    elif not clicks:
        raise ValueError("ratingCol is '', which is for implicitPrefs=True alone; name the column of ratings")
    if time:
        columns.append(_as_time(frame, time).alias(time))
    return frame.select(*columns)


def _refuse_repeated(named: Sequence[tuple[Any, str]]) -> None:
    for i, (name, parameter) in enumerate(named):
        for other, of in named[:i]:
            if name == other:
                raise ValueError(f"{of} and {parameter} are both {name!r}; name two columns")


def _as_id(frame: DataFrame, name: str, parameter: str) -> Column:
    if isinstance(id_type(frame, name, parameter), StringType):
        return F.concat(F.lit(MARK), column(name))
    return column(name).cast("long")


def _as_time(frame: DataFrame, name: str) -> Column:
    found = _type(frame, name, "timeCol")
    if isinstance(found, (DateType, TimestampNTZType)):
        return F.unix_micros(column(name).cast("timestamp"))
    if isinstance(found, TimestampType):
        return F.unix_micros(column(name))
    if isinstance(found, WHOLE):
        return column(name).cast("long")
    if isinstance(found, NumericType):
        return column(name).cast("double")
    raise TypeError(f"column {name!r} has type {found.simpleString()}; cast the times to timestamp")
