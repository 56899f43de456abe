"""Tables in several files, what processes are dealt of them, and what one process would make of the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy import sparse

from dmc._group import Group
from dmc.distributed import hashing, sources
from dmc.distributed.dealing import deal
from dmc.observations import Observations
from dmc.recommend.fitting import Columns
from dmc.recommend.tables.table import Table

COLUMNS = Columns("user", "item", "rating")
Frame = Mapping[str, Any]


class Case(NamedTuple):
    """What to deal: a path, paths, or tables for each process; and how."""

    source: Any
    columns: Columns = COLUMNS
    feedback: Any = "explicit"
    duplicates: Any = "error"
    scratch: str | None = None


class Found(NamedTuple):
    """What a process was dealt."""

    users: NDArray[Any]
    parts: NDArray[np.int64]  # of each user
    items: NDArray[Any]
    values: Any  # own users × items
    weights: Any  # the same, or None
    digest: str


def dealt(group: Group, cases: Mapping[str, Case]) -> dict[str, Found | str]:
    """What this process gets of each case, or the error that it meets."""
    return {name: _one(group, case) for name, case in cases.items()}


def _one(group: Group, case: Case) -> Found | str:
    try:
        if isinstance(case.source, dict):
            tables = case.source.get(group.rank, [])
            batches = (batch for table in tables for batch in pa.table(table).to_batches())
        else:
            batches = sources.batches(case.source, case.columns, group)
        found = deal(batches, case.columns, case.feedback, case.duplicates, group, case.scratch)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    observed = found.observations
    weights = None if observed.weights is None else observed.with_values(observed.weights).to_scipy()
    parts = np.repeat(found.share.parts, found.share.rows)
    assert observed.dtype == np.float32
    return Found(found.users, parts, found.items.ids, observed.to_scipy(), weights, found.digest)


def whole(table: Frame, columns: Columns = COLUMNS, duplicates: Any = "error") -> tuple[Any, Any, Observations]:
    """Ids of users and items, and the observations, as one process has them."""
    source = Table.open(dict(table))
    (users, rows), (items, cols) = source.learn(columns.user), source.learn(columns.item)
    values = source.numbers(columns.rating) if columns.rating in source.names else np.ones(len(source), np.float32)
    weights = None if columns.weight is None else source.numbers(columns.weight)
    if duplicates == "sum" and weights is not None:
        values, weights = values * weights, None
    if duplicates == "latest":
        order = np.argsort(source.times(columns.time or "timestamp"), kind="stable")
        rows, cols, values, duplicates = rows[order], cols[order], values[order], "last"
        weights = None if weights is None else weights[order]
    return users.ids, items.ids, Observations.from_entries(rows, cols, values, None, duplicates, weights)


def union(found: Sequence[Found]) -> tuple[NDArray[Any], Any, Any]:
    """The ids of all users, ascending, their values and weights; each process checked on the way."""
    for one in found:
        assert (one.parts == hashing.parts(one.users)).all()
        order = np.lexsort((one.users, one.parts))
        assert (order == np.arange(len(order))).all()
        assert one.digest == found[0].digest
        assert one.items.tolist() == found[0].items.tolist()
        assert (one.weights is None) == (found[0].weights is None)
        assert one.users.dtype.kind == found[0].users.dtype.kind
    users = np.concatenate([one.users for one in found])
    order = np.argsort(users)
    values = sparse.vstack([one.values for one in found], "csr")[order]
    weights = None if found[0].weights is None else sparse.vstack([one.weights for one in found])
    return users[order], values, None if weights is None else weights.tocsr()[order]


def write(folder: Path, table: Frame, ends: Sequence[float] = (0.2, 0.2, 0.7), rows: int = 50, **kwargs: Any) -> str:
    """A folder with a table in several files, cut at these shares of the rows; the second one may be empty."""
    folder.mkdir(parents=True)
    given = pa.table(dict(table))
    cuts = [0, *(int(given.num_rows * end) for end in ends), given.num_rows]
    for i, (first, last) in enumerate(pairwise(cuts)):
        pq.write_table(given.slice(first, last - first), folder / f"part-{i}.parquet", row_group_size=rows, **kwargs)
    return str(folder)


def ratings(n: int = 600, repeats: bool = False, seed: int = 0) -> dict[str, NDArray[Any]]:
    """A table of 40 users, of whom one has half of all ratings, and 500 items; in no order."""
    rng = np.random.default_rng(seed)
    pairs = np.unique(
        np.where(rng.random(2 * n) < 0.5, 7, rng.integers(0, 40, 2 * n)) * 500 + rng.integers(0, 500, 2 * n)
    )
    pairs = rng.choice(pairs, n, replace=False)
    if repeats:
        pairs[: n // 3] = pairs[n // 3 : 2 * (n // 3)]
        rng.shuffle(pairs)
    return {
        "user": (pairs // 500 - 20) * 10**15,
        "item": (pairs % 500).astype(np.int32),
        "rating": rng.integers(1, 100, n) / 7,
        "weight": rng.integers(1, 9, n) / 3,
        "timestamp": rng.integers(0, 5, n),
    }
