"""Planted ratings and clicks with a long tail, as tables and as Parquet, for the benches of several processes.

Pairs are drawn with replacement, users by a lognormal activity (deviation 1), items by a power of their place
((place + 30)^−.9), and each counts once. A rating is 3.5, biases of users and items (deviation .4 each), eight
interactions (.6 in all, each .8 of the one before in size) and noise. A click is a pair among three times as many that
has the largest of what a rating would be.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

LEVEL, BIAS, INTERACTIONS, FALL, WIDTH = 3.5, 0.4, 0.6, 0.8, 8
ROWS = 1 << 18  # of a row group
Table = dict[str, NDArray[Any]]


class Size(NamedTuple):
    """How many there are; `n` in training and held-out part together, of which `held_out` is the share of this."""

    users: int
    items: int
    n: int
    noise: float = 0.4
    held_out: float = 0.1


def pairs(size: Size, n: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """So many distinct ones, in random order."""
    activity = np.cumsum(rng.lognormal(0, 1.0, size.users))
    popularity = np.cumsum(rng.permutation((np.arange(size.items) + 30.0) ** -0.9))
    keys = np.empty(0, np.int64)
    while len(keys) < n:
        more = int(1.3 * (n - len(keys))) + 1000
        users = np.searchsorted(activity / activity[-1], rng.random(more))
        items = np.searchsorted(popularity / popularity[-1], rng.random(more))
        keys = np.unique(np.concatenate([keys, users * size.items + items]))
    keys = rng.permutation(keys)[:n]
    return keys // size.items, keys % size.items


def ratings(size: Size, seed: int = 0, n: int | None = None) -> Table:
    """Columns "user", "item" (int64) and "rating" (float32)."""
    rng = np.random.default_rng(seed)
    users, items = pairs(size, size.n if n is None else n, rng)
    root = FALL ** (np.arange(WIDTH) / 2)
    root *= np.sqrt(INTERACTIONS / np.sqrt(np.sum(root**4)))
    U, V = (root * rng.standard_normal((count, WIDTH)) for count in (size.users, size.items))
    values = LEVEL + (BIAS * rng.standard_normal(size.users))[users] + (BIAS * rng.standard_normal(size.items))[items]
    values += np.einsum("ij,ij->i", U[users], V[items]) + size.noise * rng.standard_normal(len(users))
    return {"user": users, "item": items, "rating": values.astype(np.float32)}


def clicks(size: Size, seed: int = 0) -> Table:
    """Columns "user" and "item"."""
    drawn = ratings(size, seed, 3 * size.n)
    most = np.sort(np.argpartition(drawn["rating"], -size.n)[-size.n :])
    return {name: drawn[name][most] for name in ("user", "item")}


def split(table: Table, size: Size, seed: int = 0) -> tuple[Table, Table]:
    """Training and held-out part; the latter of users and items that the former has, too."""
    rng = np.random.default_rng([seed, 1])
    held = rng.random(len(table["user"])) < size.held_out
    for name in ("user", "item"):
        held &= np.bincount(table[name][~held], minlength=table[name].max() + 1)[table[name]] > 0
    train, test = ({name: column[of] for name, column in table.items()} for of in (~held, held))
    return train, test


def write(table: Table, path: str | Path) -> None:
    """One Parquet file of several row groups."""
    pq.write_table(pa.table(table), path, row_group_size=ROWS)
