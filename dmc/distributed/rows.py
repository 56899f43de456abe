"""Batches of anybody's rows, checked and brought into one form; what is wrong with them is counted, and told at the
end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc._text_arrays import is_text
from dmc.distributed.arrow import NOTHING, NUMBERS, REAL, TEXT, WHOLE, decoded, kind_of, pa, pc
from dmc.distributed.ids import Distinct, Ids, read_ids
from dmc.recommend.fitting import RATING, Columns
from dmc.recommend.tables.table import Table, refuse_rounding
from dmc.recommend.tables.text_source import listed

PLACE = b"dmc"  # in a schema's metadata: the file of the rows, and the number of the first in it

Feedback = Literal["explicit", "implicit"]


class Rows(NamedTuple):
    """Some rows in the form in which they wait and travel.

    Attributes
    ----------
    users : Ids
    columns : dict of pyarrow.Array
        "user" and "item" as of `ids.stored`, "value" and "weight" float32, "time" int64 or float64.
    """

    users: Ids
    columns: dict[str, Any]


class Intake:
    """Takes a process' batches, and what is to be told of them.

    Parameters
    ----------
    columns : Columns
    feedback : {"explicit", "implicit"}
    rank : int
        Of this process.

    Attributes
    ----------
    n_rows : int
    items : Distinct
    """

    def __init__(self, columns: Columns, feedback: Feedback, rank: int) -> None:
        self._columns, self._feedback, self._rank = columns, feedback, rank
        self.n_rows: int = 0
        self.items: Distinct = Distinct()
        self._kinds: dict[str, tuple[str, str]] = {}  # what a column holds, and where that was met
        self._texts = {"user": False, "item": False}  # whether an id is no whole number
        self._faults: dict[tuple[str, str, str, str], list[Any]] = {}
        self._spans: dict[str, list[float]] = {}

    def take(self, batch: Any) -> Rows | None:
        """A batch in its form; None if a row of it is wrong, so that only its faults count."""
        if not isinstance(batch, pa.RecordBatch):
            raise TypeError(
                f"the batches hold a {type(batch).__name__}; give Arrow record batches, such as table.to_batches()"
            )
        file, first = json.loads((batch.schema.metadata or {}).get(PLACE, "[null, 0]"))
        where = (f"of {file}", first) if file else (f"of process {self._rank}", self.n_rows)
        self.n_rows += batch.num_rows
        if batch.num_rows == 0:
            return None
        given = {
            name: self._column(batch, name, where[0]) for name in self._columns.asked() if self._needs(batch, name)
        }
        for name in (self._columns.user, self._columns.item):
            self._look_at_ids(given[name], name, where)
        values, weights = self._numbers(given, batch.num_rows, where)
        times = None if self._columns.time is None else self._times(given[self._columns.time], where)
        if self._faults:
            return None
        users, items = (read_ids(given[name], name) for name in self._columns[:2])
        columns = {
            "user": users.stored(self._is_text(self._columns.user)),
            "item": items.stored(self._is_text(self._columns.item)),
        }
        self._texts["user"] |= is_text(users.known)
        self._texts["item"] |= is_text(items.known)
        self.items.add(columns["item"])
        for name, numbers in (("value", values), ("weight", weights), ("time", times)):
            if numbers is not None:
                columns[name] = pa.array(numbers)
        return Rows(users, columns)

    def _is_text(self, name: str) -> bool:
        return self._kinds[name][0] != WHOLE

    def _needs(self, batch: Any, name: str) -> bool:
        unnamed = self._feedback == "implicit" and name == self._columns.rating == RATING
        return not unnamed or name in batch.schema.names

    def _column(self, batch: Any, name: str, place: str) -> Any:
        count = batch.schema.names.count(name)
        if count != 1:
            has = f"{count} columns" if count else "no column"
            names = listed(batch.schema.names)
            raise ValueError(
                f"a batch {place} has {has} {name!r} (its columns are {names}); name the column, as in user='userId', "
                "or rename it"
            )
        column = batch.column(name)
        as_number = name in (self._columns.rating, self._columns.weight)
        kind = kind_of(column.type, as_number)
        if as_number and kind not in (NUMBERS, NOTHING):
            raise TypeError(f"column {name!r} {place} holds {kind}, where numbers belong; convert it first")
        if not as_number and pa.types.is_nested(column.type):
            raise TypeError(
                f"column {name!r} {place} holds {kind}, where each row needs a single value; split it first"
            )
        if kind != NOTHING and (name != self._columns.time or kind != TEXT):
            self._remember(name, kind, place)
        return decoded(column)

    def _remember(self, name: str, kind: str, place: str) -> None:
        known = self._kinds.setdefault(name, (kind, place))
        if known[0] != kind:
            raise ValueError(what_differs(name, known, (kind, place)))

    def _count(
        self, wrong: Any, where: tuple[str, int], name: str, noun: str, tail: str = "", remedy: str = ""
    ) -> None:
        found = np.flatnonzero(np.asarray(wrong))
        if len(found):
            key = name, noun, tail, remedy or "drop those rows"
            self._faults.setdefault(key, [0, f"row {where[1] + int(found[0])} {where[0]}"])[0] += len(found)

    def _look_at_ids(self, column: Any, name: str, where: tuple[str, int]) -> None:
        missing = column.is_null(nan_is_null=True)
        if missing.true_count:
            self._count(missing, where, name, "missing id")
        kind = kind_of(column.type)
        if kind == REAL:
            self._count(pc.is_inf(column).fill_null(False), where, name, "infinite id")
        elif kind == TEXT:
            self._count(pc.equal(pc.binary_length(column), 0).fill_null(False), where, name, "empty id")

    def _numbers(
        self, given: dict[str, Any], size: int, where: tuple[str, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """(rows,) ratings and their weights; or counts times their weights."""
        rating, weight = self._columns.rating, self._columns.weight
        ones = np.ones(size, np.float32)
        values = self._as_numbers(given[rating], rating, "rating", where) if rating in given else ones
        weights = None if weight is None else self._as_numbers(given[weight], weight, "weight", where)
        if weights is not None and weight is not None:
            remedy = "drop the rows that should not count"
            self._count(weights <= 0, where, weight, "weight", " not above 0", remedy)
        if self._feedback == "explicit":
            return values, weights
        remedy = "leave out what did not happen (below 0 is a dislike)"
        self._count(values == 0, where, rating, "count", " of 0", remedy)
        return (values if weights is None else values * weights), None

    def _as_numbers(self, column: Any, name: str, what: str, where: tuple[str, int]) -> NDArray[np.float32]:
        kind = kind_of(column.type)
        exact = column.cast(pa.float64(), safe=False) if kind not in (REAL, NOTHING) else column
        exact = np.asarray(exact.to_numpy(zero_copy_only=False), float if kind != REAL else None)
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
            values = exact.astype(np.float32)
        wrong = ~np.isfinite(values)
        self._count(wrong, where, name, f"missing or infinite {what}")
        if not wrong.any():
            span = [float(np.abs(exact - values).max()), -float(exact.min()), float(exact.max())]
            total = [float(exact.sum(dtype=float)), float(len(exact))]
            before = self._spans.get(name, [*span, 0.0, 0.0])
            self._spans[name] = [*map(max, before, span), *(a + b for a, b in zip(before[3:], total, strict=True))]
        return values

    def _times(self, column: Any, where: tuple[str, int]) -> NDArray[Any]:
        assert self._columns.time is not None
        name = self._columns.time
        missing = np.asarray(column.is_null(nan_is_null=True))
        self._count(missing, where, name, "missing time")
        if missing.any():
            return np.zeros(len(missing))
        if kind_of(column.type) == TEXT:
            texts = column.to_numpy(zero_copy_only=False)
            kind = "numbers in text" if _checks.is_number(texts[0]) else "dates in text"
            self._remember(name, kind, where[0])
            return Table.open({name: texts}).times(name)
        times = Table.open({name: column.to_numpy(zero_copy_only=False)}).times(name)
        if times.dtype.kind in "mM":
            return times.view(np.int64)
        return times.astype(np.float64 if times.dtype.kind == "f" else np.int64, copy=False)

    def told(self) -> dict[str, Any]:
        """What the other processes have to know, as JSON holds it."""
        return {
            "rows": self.n_rows,
            "kinds": self._kinds,
            "texts": self._texts,
            "faults": [[*key, *found] for key, found in self._faults.items()],
            "spans": self._spans,
        }


class Verdict(NamedTuple):
    """What the rows of all processes are.

    Attributes
    ----------
    as_text : dict of bool
        Whether the ids of users, and of items, are stored as text.
    numbers : dict of bool
        Whether all of them are whole numbers.
    weighted : bool
        Whether values have weights, which counts are multiplied by.
    """

    as_text: dict[str, bool]
    numbers: dict[str, bool]
    weighted: bool


def judge(told: Sequence[dict[str, Any]], columns: Columns, feedback: Feedback) -> Verdict:
    """Raise if what the processes tell of their rows does not go together, or a row is wrong; else what they are."""
    kinds: dict[str, tuple[str, str]] = {}
    for one in told:
        for name, (kind, place) in one["kinds"].items():
            known = kinds.setdefault(name, (kind, place))
            if known[0] != kind:
                raise ValueError(what_differs(name, known, (kind, place)))
    faults: dict[tuple[str, ...], list[Any]] = {}
    for one in told:
        for *key, count, place in one["faults"]:
            faults.setdefault(tuple(key), [0, place])[0] += count
    for (name, noun, tail, remedy), (count, place) in faults.items():
        raise ValueError(f"column {name!r} holds {_checks.count(count, noun)}{tail}, the first in {place}; {remedy}")
    if not sum(one["rows"] for one in told):
        raise ValueError("the table holds no rating; give at least one")
    for name, what in ((columns.rating, "rating"), (columns.weight, "weight")):
        spans = [one["spans"][name] for one in told if name in one["spans"]]
        if spans and name is not None:
            lost, below, most = (max(column) for column in list(zip(*spans, strict=True))[:3])
            total, count = (sum(column) for column in list(zip(*spans, strict=True))[3:])
            refuse_rounding(name, what, lost, -below, most, total / count)
    sides = {"user": columns.user, "item": columns.item}
    return Verdict(
        {side: kinds[name][0] != WHOLE for side, name in sides.items()},
        {side: not any(one["texts"][side] for one in told) for side in sides},
        columns.weight is not None and feedback == "explicit",
    )


def what_differs(name: str, first: tuple[str, str], second: tuple[str, str]) -> str:
    """Tells of a column that holds one thing here and another there."""
    return (
        f"column {name!r} holds {first[0]} in the rows {first[1]} and {second[0]} in those {second[1]}; give all in "
        "one type"
    )
