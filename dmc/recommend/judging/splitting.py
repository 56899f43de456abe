"""Split a table into a part to fit and a part to judge by; all rows of one user and item stay together."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc.recommend.tables.table import Table
from dmc.recommend.tables.vocabulary import Vocabulary

InTwo = Literal["random", "user", "time", "leave-last-out"]
By = Literal["random", "user", "time", "leave-last-out", "folds"]
WAYS = ("random", "user", "time", "leave-last-out", "folds")
TIMED = ("time", "leave-last-out")


@overload
def split(
    table: Any,
    by: InTwo = "random",
    test_fraction: float = 0.2,
    seed: int | np.random.Generator = 0,
    user: str = "user",
    item: str = "item",
    time: str = "timestamp",
    n_folds: int = 5,
) -> tuple[Any, Any]: ...


@overload
def split(
    table: Any,
    by: Literal["folds"],
    test_fraction: float = 0.2,
    seed: int | np.random.Generator = 0,
    user: str = "user",
    item: str = "item",
    time: str = "timestamp",
    n_folds: int = 5,
) -> list[tuple[Any, Any]]: ...


def split(
    table: Any,
    by: By = "random",
    test_fraction: float = 0.2,
    seed: int | np.random.Generator = 0,
    user: str = "user",
    item: str = "item",
    time: str = "timestamp",
    n_folds: int = 5,
) -> tuple[Any, Any] | list[tuple[Any, Any]]:
    """Split a table of ratings or clicks into a training part and a test part.

    Rows that repeat a pair of a user and an item all go to the same part, however the table is split, so that no test
    row is known from training. Every row is in one of the two parts.

    Parameters
    ----------
    table : data frame, mapping of arrays, or path of a file
        One rating, or click, per row, as in `dmc.Recommender.fit`. It needs no column of ratings.
    by : {"random", "user", "time", "leave-last-out", "folds"}
        "random": pairs at random. "user": the same share of each user's pairs at random; no user loses the last pair.
        "time": the latest pairs; a pair is as late as its last row, so that nothing in the training part is later than
        the test part, and ties are broken by order in the table. "leave-last-out": the latest pair of each user; a user
        with a single pair keeps it. "folds": `n_folds` random splits for cross-validation; each row is in one test
        part.
    test_fraction : float
        Share of the rows (with "user", of each user's pairs) in the test part, rounded to whole rows, or to the nearest
        share that whole pairs allow. Not used by "leave-last-out" and "folds".
    seed : int or numpy.random.Generator
        The same seed gives the same split. Not used by "time" and "leave-last-out".
    user, item, time : str
        Names of the columns. `time` is used by "time" and "leave-last-out": numbers, dates or ISO 8601 text.
    n_folds : int
        Number of folds, at least 2.

    Returns
    -------
    train : data frame or dict of arrays
        In the order of the table and of its kind; for a file, a dict of arrays. With "folds", a list of pairs
        (train, test) is returned instead.
    test : data frame or dict of arrays
        Likewise.

    Raises
    ------
    ValueError, TypeError, OSError
        If the table cannot be used, a time is missing or cannot be parsed, or one part would be empty.

    Examples
    --------
    >>> from dmc.evaluation import split
    >>> clicks = {"user": ["ann", "ann", "bob", "bob"], "item": [1, 2, 1, 3], "timestamp": [5, 9, 2, 7]}
    >>> train, test = split(clicks, by="leave-last-out")
    >>> test["item"].tolist()
    [2, 3]
    """
    _checks.choice(by, "by", WAYS)
    fraction = _checks.real(test_fraction, "test_fraction", 0, 1, open_ends=True)
    n_folds = _checks.integer(n_folds, "n_folds", 2)
    rng = _checks.generator(seed, "seed")
    # What is not asked for only names the columns of a file without a header.
    ratings = () if "rating" in (user, item, time) else ("rating",)
    times = (time,) if by in TIMED or time not in (user, item) else ()
    source = Table.open(table, (user, item, *ratings, *times))
    pairs = _Pairs.of(source, user, item)
    if by == "folds":
        held_out = [fold[pairs.of_row] for fold in _folds(pairs, n_folds, rng)]
    else:
        if by == "user":
            chosen = _share_of_each(pairs, fraction, rng)
        elif by == "random":
            chosen = _share(rng.permutation(len(pairs.counts)), pairs, fraction)
        else:
            last = _last_places(pairs, source.times(time))
            latest_first = np.argsort(-last, kind="stable")
            chosen = _share(latest_first, pairs, fraction) if by == "time" else _first_of_each(latest_first, pairs)
        in_test = np.zeros(len(pairs.counts), bool)
        in_test[chosen] = True
        held_out = [in_test[pairs.of_row]]
    for test in held_out:
        if test.all() or not test.any():
            raise ValueError(_told_empty(pairs, by, fraction, n_folds, "training" if test.any() else "test"))
    parts = [(source.take(np.flatnonzero(~test)), source.take(np.flatnonzero(test))) for test in held_out]
    return parts if by == "folds" else parts[0]


class _Pairs(NamedTuple):
    """Pairs of a user and an item, numbered as they first occur."""

    of_row: NDArray[np.int64]  # (rows,)
    users: NDArray[np.int64]  # (pairs,) the user's number
    counts: NDArray[np.int64]  # (pairs,) rows

    @classmethod
    def of(cls, source: Table, user: str, item: str) -> _Pairs:
        _, rows = Vocabulary.learn(source.ids(user))
        items, cols = Vocabulary.learn(source.ids(item))
        keys = rows.astype(np.int64) * len(items) + cols
        _, first, numbers, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        order = np.argsort(first)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        return cls(place[numbers], rows[first[order]].astype(np.int64), counts[order])


def _share(order: NDArray[np.int64], pairs: _Pairs, fraction: float) -> NDArray[np.int64]:
    """The first pairs of an order that hold this share of all rows, or the nearest to it."""
    wanted, held = round(fraction * len(pairs.of_row)), np.cumsum(pairs.counts[order])
    n = int(np.searchsorted(held, wanted))
    before = held[n - 1] if n else 0
    return order[: n + 1] if n < len(held) and held[n] - wanted < wanted - before else order[:n]


def _share_of_each(pairs: _Pairs, fraction: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """A share of each user's pairs, drawn at random, and never all."""
    counts = np.bincount(pairs.users)
    wanted = np.minimum(np.rint(fraction * counts).astype(np.int64), counts - 1)
    order = np.lexsort((rng.random(len(pairs.users)), pairs.users))
    places = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[places < wanted[pairs.users[order]]]


def _first_of_each(order: NDArray[np.int64], pairs: _Pairs) -> NDArray[np.int64]:
    """Each user's first pair of an order, of those who have more than one."""
    _, first = np.unique(pairs.users[order], return_index=True)
    chosen = order[first]
    return chosen[np.bincount(pairs.users)[pairs.users[chosen]] > 1]


def _folds(pairs: _Pairs, n_folds: int, rng: np.random.Generator) -> list[NDArray[np.bool_]]:
    """(pairs,) whether each is in a fold, of as nearly equal numbers of rows as whole pairs allow."""
    order = rng.permutation(len(pairs.counts))
    middle = np.cumsum(pairs.counts[order]) - pairs.counts[order] / 2
    fold = np.empty(len(order), np.int64)
    fold[order] = np.minimum(middle * n_folds / max(len(pairs.of_row), 1), n_folds - 1).astype(np.int64)
    return [fold == number for number in range(n_folds)]


def _last_places(pairs: _Pairs, times: NDArray[Any]) -> NDArray[np.int64]:
    """(pairs,) the place of each pair's last row among all rows by time; of equal times by the table's order."""
    place = np.empty(len(times), np.int64)
    place[np.argsort(times, kind="stable")] = np.arange(len(times))
    last = np.zeros(len(pairs.counts), np.int64)
    np.maximum.at(last, pairs.of_row, place)
    return last


def _told_empty(pairs: _Pairs, by: str, fraction: float, n_folds: int, part: str) -> str:
    rows, n_pairs = _checks.count(len(pairs.of_row), "rating"), len(pairs.counts)
    if n_pairs < len(pairs.of_row):
        rows += f" of {_checks.count(n_pairs, 'pair')}"
    if by == "folds":
        return f"{rows} split into {n_folds} folds leave one without a {part} part; give more ratings or fewer folds"
    if by == "leave-last-out":
        return f"{rows} split by leave-last-out leave no {part} part: no user has two items; give more ratings"
    return (
        f"{rows} split by {by} with test_fraction {fraction:g} leave no {part} part; give more ratings or another "
        "fraction"
    )
