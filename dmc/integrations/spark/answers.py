"""In a worker: predictions and lists by the compiled core, Arrow arrays in and out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dmc.factors import Array, Factors

USERS = 1 << 16  # whose predictions for all items are looked at together

Matrix = NDArray[Any]  # of float32


def predictor(told: dict[str, Any]) -> Callable[[Iterator[tuple[pa.Array, pa.Array]]], Iterator[pa.Array]]:
    """`predictions` as a user-defined function: by its types Spark sees of which kind it is."""

    def predict(batches: Iterator[tuple[pa.Array, pa.Array]]) -> Iterator[pa.Array]:
        yield from predictions(batches, told)

    return predict


def predictions(batches: Iterable[tuple[pa.Array, pa.Array]], told: dict[str, Any]) -> Iterator[pa.Array]:
    """Predictions of pairs.

    Parameters
    ----------
    batches : pairs of (pairs,) list arrays
        Vectors of users and of items; null where one is not known.
    told : dict
        As `Served` has it; "cold_start" None: NaN where one is not known.

    Yields
    ------
    (pairs,) float32 array
    """
    cold = told["cold_start"]
    width = len(cold["user"]) if cold else 0
    for users, items in batches:
        of_users, rows = vectors(users, cold and cold["user"])
        of_items, cols = vectors(items, cold and cold["item"])
        found = np.full(len(users), np.nan, np.float32)
        there = np.ones(len(users), bool) if width else (rows >= 0) & (cols >= 0)
        if there.any():
            rows, cols = rows[there] % len(of_users), cols[there] % len(of_items)
            found[there] = clipped(Factors(of_users, (), of_items).at(rows, cols), told)
        yield pa.array(found)


def clipped(products: Array, told: dict[str, Any]) -> Matrix:
    """Predictions of products: the mean added, inside the range of the ratings."""
    return np.clip(products + np.float32(told["mean"]), *told["range"]).astype(np.float32)


def vectors(lists: pa.Array, cold: list[float] | None = None) -> tuple[Matrix, NDArray[np.int64]]:
    """(known, k) those of an array of lists, which may be null, with a last row `cold` if it is given; and (lists,) the
    row of each, −1 for null."""
    known = np.asarray(lists.is_valid())
    flat = np.asarray(lists.flatten(), np.float32)
    matrix = flat.reshape(int(known.sum()), -1) if known.any() else np.zeros((0, len(cold or [])), np.float32)
    if cold is not None:
        matrix = np.concatenate([matrix, np.asarray([cold], np.float32)])
    return matrix, np.where(known, np.cumsum(known) - 1, -1)


def best_items(
    batches: Iterable[pa.RecordBatch], items: Any, n: int, told: dict[str, Any], names: tuple[str, str]
) -> Iterator[pa.RecordBatch]:
    """The items of highest prediction for each user.

    Parameters
    ----------
    batches : of "id" and "features" of users
    items : Broadcast of a table of "id" and "features"
    n : int
    told : dict
    names : (str, str)
        Of the columns of users and items.

    Yields
    ------
    pyarrow.RecordBatch
        Ids, and lists of (item, "rating").
    """
    ids, of_items = catalogue(items)
    for batch in batches:
        of_users, _ = vectors(batch.column("features"))
        if len(of_users):
            best, scores = Factors(of_users, (), of_items).top_n(np.arange(len(of_users)), n)
            yield listed(batch.column("id"), names[0], ids, names[1], best, clipped(scores, told))


def best_users(
    batches: Iterable[pa.RecordBatch], items: Any, n: int, names: tuple[str, str]
) -> Iterator[pa.RecordBatch]:
    """The users of highest prediction for each item, of those in one partition; as `best_items`, sides exchanged, but
    "rating" is the product alone: what is clipped could not be put in order with that of another partition."""
    ids, of_items = catalogue(items)
    best: Matrix = np.zeros((len(ids), 0), np.int64)
    scores: Matrix = np.zeros((len(ids), 0), np.float32)
    known: list[pa.Array] = []
    count = 0
    for users, of_users in _blocks(batches):
        new, of_new = Factors(of_items, (), of_users).top_n(np.arange(len(ids)), n)
        new[new >= 0] += count
        best, scores = _merged(np.hstack([best, new]), np.hstack([scores, of_new]), n)
        known.append(users)
        count += len(users)
    if count and len(ids):
        yield listed(ids, names[1], pa.concat_arrays(known), names[0], best, scores)


def _blocks(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[pa.Array, Matrix]]:
    """Ids and vectors, many at a time."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(map(len, waiting)) >= USERS:
            yield _block(waiting)
            waiting = []
    if sum(map(len, waiting)):
        yield _block(waiting)


def _block(batches: list[pa.RecordBatch]) -> tuple[pa.Array, Matrix]:
    return (
        pa.concat_arrays([batch.column("id") for batch in batches]),
        np.concatenate([vectors(batch.column("features"))[0] for batch in batches if len(batch)]),
    )


def _merged(best: NDArray[np.int64], scores: Matrix, n: int) -> tuple[NDArray[np.int64], Matrix]:
    """The n largest scores of each row, and whose they are; of equal ones those that stand first."""
    order = np.argsort(np.where(best < 0, np.inf, -scores), axis=1, kind="stable")[:, :n]
    return np.take_along_axis(best, order, axis=1), np.take_along_axis(scores, order, axis=1)


def catalogue(items: Any) -> tuple[pa.Array, Matrix]:
    """(items,) ids and (items, k) vectors, from the table that was broadcast."""
    table = items.value
    ids, features = (_one(table.column(name)) for name in ("id", "features"))
    return ids, vectors(features)[0]


def _one(chunked: pa.ChunkedArray) -> pa.Array:
    found = chunked.combine_chunks()
    return found if isinstance(found, pa.Array) else pa.concat_arrays(found.chunks)


def listed(ids: pa.Array, name: str, others: pa.Array, other: str, best: Array, ratings: Array) -> pa.RecordBatch:
    """Ids with lists of (other, "rating"): (ids, n) positions among the others, −1 where none is left."""
    found = best >= 0
    pairs = pa.StructArray.from_arrays(
        [others.take(pa.array(best[found])), pa.array(ratings[found])],
        fields=[pa.field(other, others.type), pa.field("rating", pa.float32())],
    )
    ends = np.concatenate([[0], np.cumsum(found.sum(axis=1))]).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(ends), pairs)
    return pa.RecordBatch.from_arrays([ids, lists], names=[name, "recommendations"])
