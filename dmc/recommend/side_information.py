"""Side information: what a table knows of users or items besides their ratings, as numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc._warn import warn
from dmc.recommend.tables.table import Table
from dmc.recommend.tables.vocabulary import is_missing

MAX_LEVELS = 100  # of a column of text or tags, the commonest: each becomes an attribute
MIN_ROWS = 2  # with a level: what one alone has says nothing of others
# The first always separates; the others where there are fewer tags than texts, or more rows share one than a text.
TAG_SEPARATORS = ("|", ";", ",")

Float = NDArray[np.float32]


class SideInformation(NamedTuple):
    """Attributes of users and of items, each (known, attributes) float32; None where nothing was told."""

    users: Float | None = None
    items: Float | None = None


NONE = SideInformation()


class Described(NamedTuple):
    """What a later table tells of some users, or of some items."""

    positions: NDArray[np.int64]  # (described,)
    attributes: Float  # (described, attributes)


def extended(attributes: Float, known_as: NDArray[np.int64], described: Described | None) -> Float:
    """(known, attributes) of more users, or items: which of before each is (−1: a new one), and what else is told."""
    more = np.where(known_as[:, None] >= 0, attributes[known_as], np.float32(0))
    if described is not None:
        more[described.positions] = described.attributes
    return more


def to_place(known_as: NDArray[np.int64], described: Described | None) -> NDArray[np.bool_]:
    """(known,) the new ones, and those who are described anew."""
    new = known_as < 0
    new[[] if described is None else described.positions] = True
    return new


@dataclass(frozen=True)
class ColumnEncoding:
    """How a column becomes attributes of average zero and standard deviation one.

    Attributes
    ----------
    name : str
    levels : list of str or None
        Of text and tags: each is an attribute, 1 where a row has it; None: numbers or dates, one attribute.
    separator : str
        Between the tags of a text; empty: the text is one.
    means, deviations : list of float
        Of the attributes, over the rows of the table that was fitted.
    """

    name: str
    levels: list[str] | None
    separator: str
    means: list[float]
    deviations: list[float]

    @classmethod
    def learn(cls, name: str, values: NDArray[Any]) -> ColumnEncoding:
        """From the values (rows,) of the table that is fitted."""
        if (numbers := _as_numbers(values)) is not None:
            numbers = numbers[np.isfinite(numbers)]
            mean, deviation = (float(numbers.mean()), float(numbers.std())) if len(numbers) else (0.0, 0.0)
            return cls(name, None, "", [mean], [deviation])
        separator = _separator(values)
        rows = [tags for value in values if (tags := _tags(value, separator))]
        levels, counts = np.unique([tag for tags in rows for tag in tags] or [""], return_counts=True)
        order = np.argsort(-counts, kind="stable")[:MAX_LEVELS]
        kept = [str(levels[i]) for i in order if counts[i] >= MIN_ROWS]
        found = _indicators([_tags(value, separator) for value in values], kept)
        return cls(name, kept, separator, found.mean(axis=0).tolist(), found.std(axis=0).tolist())

    def __call__(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """(rows, attributes) of a column; 0, which is the average, where one is missing. What was the same in all rows
        of the fit is none.

        Raises
        ------
        ValueError
            If these are texts and the column was one of numbers.
        """
        if self.levels is not None:
            found = _indicators([_tags(value, self.separator) for value in values], self.levels)
        else:
            numbers = _as_numbers(values)
            if numbers is None:
                strange = next(value for value in values.tolist() if _as_numbers(np.asarray([value])) is None)
                raise ValueError(f"column {self.name!r} holds {strange!r}, but held numbers in the fit; give numbers")
            found = numbers[:, None]
        differs = np.asarray(self.deviations) > 0
        scaled = (found[:, differs] - np.asarray(self.means)[differs]) / np.asarray(self.deviations)[differs]
        return np.where(np.isfinite(scaled), scaled, 0)


@dataclass(frozen=True)
class Encoding:
    """How a table of features becomes attributes: as the one that was fitted did."""

    columns: list[ColumnEncoding]

    @classmethod
    def learn(cls, features: Any, name: str) -> tuple[Encoding, NDArray[Any], Float]:
        """The encoding of a table, and what it makes of it: see `__call__`."""
        table = _opened(features, name)
        encoding = cls([ColumnEncoding.learn(of, table.column(of)) for of in table.names if of != name])
        return encoding, *encoding(table, name)

    def __call__(self, features: Any, name: str) -> tuple[NDArray[Any], Float]:
        """What a table knows of users or items, as numbers of average zero and standard deviation one.

        Parameters
        ----------
        features : data frame, mapping, or path of a file
            A row for each user or item: the column of ids, and columns of numbers, dates, text or tags.
        name : str
            The column of ids.

        Returns
        -------
        ids : (rows,) array
        attributes : (rows, attributes) float32
            A column of numbers or dates is one attribute, a missing one its average; one of text has one for each of
            its commonest values, and one of tags (lists, or text such as "drama|war") for each of its commonest tags.

        Raises
        ------
        ValueError
            If an id occurs twice, or a column is missing or of another kind than in the fit.
        """
        table = _opened(features, name)
        ids = table.ids(name)
        known, counts = np.unique(ids, return_counts=True)
        if len(known) < len(ids):
            raise ValueError(f"{name} {known[counts > 1][0].item()!r} has several rows of features; give one for each")
        made = [column(table.column(column.name)) for column in self.columns]
        return ids, np.hstack([np.zeros((len(ids), 0)), *made], dtype=np.float32)

    def later(self, features: Any, name: str) -> tuple[NDArray[Any], Float]:
        """The same of a later table; that it has columns which the one of the fit had not is said in a warning."""
        table = _opened(features, name)
        known = [column.name for column in self.columns]
        missing = [of for of in known if of not in table.names]
        if missing:
            raise ValueError(f"the features of {name} lack the column {missing[0]!r} that those in the fit had; add it")
        new = [of for of in table.names if of not in (name, *known)]
        if new:
            more = _checks.count(len(new), "column")
            warn(f"the features of {name} have {more} that the fit did not have ({new[0]!r}): fit again to use it")
        return self(table, name)

    def as_json(self) -> list[dict[str, Any]]:
        """What JSON can hold of it; `Encoding.of` reads it."""
        return [asdict(column) for column in self.columns]

    @classmethod
    def of(cls, columns: list[dict[str, Any]]) -> Encoding:
        return cls([ColumnEncoding(**column) for column in columns])


def _opened(features: Any, name: str) -> Table:
    """The table of features; lists of tags in a mapping stay lists."""
    if isinstance(features, Mapping):
        features = {key: _as_objects(values) if _holds_tags(values) else values for key, values in features.items()}
    return Table.open(features, (name,))


def _holds_tags(values: Any) -> bool:
    return isinstance(values, (list, tuple)) and any(map(_is_list, values))


def _as_objects(values: Sequence[Any]) -> NDArray[Any]:
    objects = np.empty(len(values), object)
    objects[:] = [list(value) if _is_list(value) else value for value in values]
    return objects


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes))


def _separator(values: NDArray[Any]) -> str:
    """What stands between the tags of texts; empty, if they are no lists of tags."""
    texts = [value for value in values.tolist() if isinstance(value, str)]
    whole = _Repeats.of(texts, "")
    for separator in TAG_SEPARATORS:
        if any(separator in text for text in texts):
            parts = _Repeats.of(texts, separator)
            if separator == TAG_SEPARATORS[0] or parts.levels < whole.levels or parts.rows > whole.rows:
                return separator
    return ""


class _Repeats(NamedTuple):
    """How much of texts comes again, split in one way."""

    levels: int
    rows: int  # with a level that another row has too

    @classmethod
    def of(cls, texts: Sequence[str], separator: str) -> _Repeats:
        rows = [_tags(text, separator) for text in texts]
        counts = Counter(tag for tags in rows for tag in tags)
        return cls(len(counts), sum(any(counts[tag] >= MIN_ROWS for tag in tags) for tags in rows))


def _tags(value: Any, separator: str) -> set[str]:
    """The tags of a row: the elements of a list, the parts of a text, or the text itself; none, if it is missing."""
    if _is_list(value):
        return {str(tag) for tag in value if not is_missing(tag)}
    if is_missing(value):
        return set()
    parts = str(value).split(separator) if separator else [str(value)]
    return {part.strip() for part in parts if part.strip()}


def _indicators(rows: Sequence[Set[str]], levels: Sequence[str]) -> NDArray[np.float64]:
    """(rows, levels) 1 where a row has a level."""
    place = {level: i for i, level in enumerate(levels)}
    found = np.zeros((len(rows), len(levels)))
    for row, tags in enumerate(rows):
        for tag in tags:
            if tag in place:
                found[row, place[tag]] = 1
    return found


def _as_numbers(values: NDArray[Any]) -> NDArray[np.float64] | None:
    """(rows,) a column as numbers, NaN where one is missing: dates too, and what is text because it came from a file;
    None, if it is none of these."""
    if values.ndim > 1:
        return None
    if values.dtype.kind in "mM":
        milliseconds = values.astype(f"{values.dtype.kind}8[ms]").astype(np.int64)  # whatever unit they came in
        return np.where(np.isnat(values), np.nan, milliseconds.astype(np.float64))
    if values.dtype.kind in "UO":
        if any(map(_is_list, values.tolist())):
            return None
        given = [math.nan if is_missing(value) or value == "" else value for value in values.tolist()]
        try:
            return np.asarray(given, object).astype(np.float64)
        except (TypeError, ValueError):
            return None
    return values.astype(np.float64)
