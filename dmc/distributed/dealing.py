"""Rows that came anywhere, dealt to the processes by their users; one pass, in the room of what a process keeps."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc._group import N_PARTS, Group, Share
from dmc.distributed import hashing
from dmc.distributed.agreement import agreed, everyone
from dmc.distributed.arrow import from_bytes, pa, pc, to_bytes
from dmc.distributed.buckets import N_BUCKETS, OF_BUCKET, Buckets
from dmc.distributed.ids import Distinct, ids_from_bytes, ids_to_bytes, restored, stored
from dmc.distributed.rows import Feedback, Intake, Verdict, judge
from dmc.observations import DuplicateEntries, Observations
from dmc.pattern import SparseIndex
from dmc.recommend.fitting import Columns, Duplicates, what_repeats
from dmc.recommend.tables.table import refuse_same_names
from dmc.recommend.tables.vocabulary import Vocabulary

ROUND = 1 << 19  # rows that a process sends at a time


@dataclass(frozen=True, eq=False)
class Dealt:
    """What a process holds of the data.

    Attributes
    ----------
    share : Share
        Its parts, those with rows, and how many users are in each.
    users : (own users,) int64 or text
        Ids, part by part, ascending in each; all processes have the same dtype but for the length of text.
    items : Vocabulary
        All items.
    observations : Observations
        float32, own users × all items.
    digest : str
        The same for the same data in whatever order, files and number of processes.
    """

    share: Share
    users: NDArray[Any]
    items: Vocabulary
    observations: Observations
    digest: str


def deal(
    batches: Iterable[Any],
    columns: Columns,
    feedback: Feedback,
    duplicates: Duplicates,
    group: Group,
    scratch: str | os.PathLike[str] | None = None,
) -> Dealt:
    """Give each process all rows of some users, about as many rows as the others.

    Parameters
    ----------
    batches : iterable of pyarrow.RecordBatch
        This process' rows, whoever's they are; taken once. There may be none, if other processes have some.
    columns : Columns
    feedback : {"explicit", "implicit"}
        "implicit": counts of a user and an item are added up, after they were multiplied by their weights; ones, if
        there is no column of that name.
    duplicates : {"error", "mean", "last", "latest"}
        What to do when a user rates an item more than once. The order is that of the processes, and of the rows in
        each.
    group : Group
    scratch : path, optional
        A folder where rows wait.

    Raises
    ------
    ValueError, TypeError, OSError
        In all processes, whichever has the reason.
    """
    columns = columns.for_duplicates(duplicates)
    refuse_same_names(columns.asked())
    with Buckets(scratch) as buckets:
        intake, counts = Intake(columns, feedback, group.rank), np.zeros(N_PARTS, np.int64)
        with agreed(group):
            for batch in batches:
                rows = intake.take(batch)
                if rows is not None:
                    parts = rows.users.spread(hashing.parts_of(hashing.hashes(rows.users.known)))
                    counts += np.bincount(parts, minlength=N_PARTS)
                    buckets.add(pa.record_batch(rows.columns), parts)
            buckets.finish()
        told = everyone(group, intake.told())
        with agreed(group):
            verdict = judge(told, columns, feedback)
        items = _Items(intake.items, verdict, group)
        how = "sum" if feedback == "implicit" else "last" if duplicates == "latest" else duplicates
        return _Dealing(group, buckets, counts, verdict, items, how).dealt()


class _Items:
    """The vocabulary of all processes' items, and as what their ids are stored."""

    def __init__(self, own: Distinct, verdict: Verdict, group: Group) -> None:
        as_text, numbers = verdict.as_text["item"], verdict.numbers["item"]
        kind = pa.binary() if as_text else pa.int64()
        with agreed(group):
            known = own.all(kind)  # each id goes to one process, and from there once to all
            owner = hashing.parts(restored(known, numbers)) * group.size // N_PARTS
            pieces = [ids_to_bytes(known.filter(pa.array(owner == rank))) for rank in range(group.size)]
        different = ids_from_bytes(group.exchange(pieces), kind)
        all_ids = ids_from_bytes(group.gather(ids_to_bytes(different)), kind)
        self.vocabulary = Vocabulary(np.sort(restored(all_ids, numbers)))
        self._stored = stored(self.vocabulary.ids, as_text)
        self.hashes = hashing.hashes(self.vocabulary.ids)

    def positions(self, column: Any) -> Any:
        """(rows,) where each id of an Arrow array stands, int32."""
        return pc.index_in(column, value_set=self._stored)


def owners(counts: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """(parts,) which of so many processes each part is dealt to: the largest first, to who has the fewest entries."""
    load, owner = [(0, rank) for rank in range(size)], np.zeros(len(counts), np.int64)
    for part in np.argsort(-counts, kind="stable").tolist():
        if counts[part]:
            held, rank = load[0]
            owner[part] = rank
            heapq.heapreplace(load, (held + int(counts[part]), rank))
    return owner


class Span(NamedTuple):
    """Neighbouring buckets that are exchanged together."""

    buckets: range
    n_rounds: int


def spans(counts: NDArray[np.int64]) -> list[Span]:
    """As few as can be, where of one bucket or several no process sends more than `ROUND` rows; else a bucket alone.

    Parameters
    ----------
    counts : (processes, buckets) int64
        Rows that each process has of each bucket.
    """
    found, first, held = [], 0, np.zeros(len(counts), np.int64)
    for bucket, more in enumerate(counts.T):
        if held.any() and (held + more).max() > ROUND:
            found.append(Span(range(first, bucket), -(-int(held.max()) // ROUND)))
            first, held = bucket, np.zeros_like(held)
        held = held + more
    return [*found, Span(range(first, counts.shape[1]), -(-int(held.max()) // ROUND))]


class _Dealing:
    """Exchanges the rows bucket by bucket, and makes the observations of one's own."""

    def __init__(
        self, group: Group, buckets: Buckets, counts: NDArray[np.int64], verdict: Verdict, items: _Items, how: Any
    ) -> None:
        self._group, self._buckets, self._verdict, self._items, self._how = group, buckets, verdict, items, how
        of_all = np.array(group.gather(counts))  # (size, parts)
        total = of_all.sum(axis=0)
        self._owner = owners(total, group.size)
        self._spans = spans(of_all.reshape(group.size, N_BUCKETS, OF_BUCKET).sum(axis=2))
        self._own = Growing(int(total[self._owner == group.rank].sum()), len(items.vocabulary), verdict.weighted)
        self._digest, self._n_repeats = hashing.Digest(), 0

    def dealt(self) -> Dealt:
        for span in self._spans:
            received = self._exchange(span)
            with agreed(self._group):
                if received:
                    self._take(received)
        n_repeats = int(self._group.sum(np.array([self._n_repeats]))[0])
        with agreed(self._group):
            if n_repeats:
                raise ValueError(what_repeats(n_repeats))
        for rank, numbers in enumerate(self._group.gather(self._digest.numbers)):
            if rank != self._group.rank:
                self._digest.join(numbers)
        vocabulary = self._items.vocabulary
        users, parts, observations = self._own.finish(np.zeros(0, np.int64 if self._verdict.numbers["user"] else "U1"))
        own, rows = np.unique(parts, return_counts=True)
        return Dealt(Share(self._group, own, rows), users, vocabulary, observations, str(self._digest))

    def _exchange(self, span: Span) -> list[Any]:
        """Own rows of some buckets, in the order of processes and of rows in each."""
        reading = self._buckets.read(span.buckets, ROUND)
        received: list[list[Any]] = [[] for _ in range(self._group.size)]
        for _ in range(span.n_rounds):
            with agreed(self._group):
                pieces = self._pieces(next(reading, None))
            for sender, piece in zip(received, self._group.exchange(pieces), strict=True):
                if len(piece):
                    sender.append(from_bytes(piece))
        next(reading, None)  # which closes the files
        return [batch for sender in received for batch in sender]

    def _pieces(self, batch: Any) -> list[NDArray[np.uint8]]:
        """What goes to each process of some rows: items as positions, each user's id once."""
        if batch is None:
            return [np.zeros(0, np.uint8)] * self._group.size
        owner = self._owner[batch.column("part").to_numpy()]
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        del columns["part"]
        columns["item"] = self._items.positions(columns["item"])
        pieces = []
        for rank in range(self._group.size):
            own = columns
            if self._group.size > 1:
                taken = pa.array(np.flatnonzero(owner == rank))
                own = {name: column.take(taken) for name, column in columns.items()}
            pieces.append(to_bytes(pa.record_batch({**own, "user": own["user"].dictionary_encode()})))
        return pieces

    def _take(self, received: Sequence[Any]) -> None:
        users, parts, rows = self._users_of(received)
        cols, values, weights, times = (_column(received, name) for name in ("item", "value", "weight", "time"))
        if times is not None:
            order = np.argsort(times, kind="stable")
            rows, cols, values = rows[order], cols[order], values[order]
            weights = None if weights is None else weights[order]
        shape = len(users), len(self._items.vocabulary)
        try:
            found = Observations.from_entries(rows, cols, values, shape, self._how, weights)
        except DuplicateEntries as error:
            self._n_repeats += error.count
            return
        if self._how == "last":  # what was replaced does not count
            rows, cols, values, weights = found.rows, found.cols, found.values, found.weights
        hashed = hashing.hashes(users)
        for at in _some(len(rows)):
            numbers = [one[at] for one in (values, weights) if one is not None]
            self._digest.add(hashed[rows[at]], self._items.hashes[cols[at]], *numbers)
        self._own.add(users, parts, found)

    def _users_of(self, received: Sequence[Any]) -> tuple[NDArray[Any], NDArray[np.int64], Any]:
        """The users of some rows, by part and id; the part of each; and (rows,) which of them each row has."""
        numbers = self._verdict.numbers["user"]
        ids = [restored(batch.column("user").dictionary, numbers) for batch in received]
        different, inverse = np.unique(np.concatenate(ids), return_inverse=True)
        parts = hashing.parts(different)
        order = np.argsort(parts, kind="stable")
        place = np.empty(len(order), np.int32)
        place[order] = np.arange(len(order))
        known = np.split(place[inverse], np.cumsum([len(some) for some in ids])[:-1])
        rows = [some[batch.column("user").indices.to_numpy()] for some, batch in zip(known, received, strict=True)]
        return different[order], parts[order], np.concatenate(rows)


def _column(received: Sequence[Any], name: str) -> Any:
    """(rows,) a column of some batches; None if they have none of that name."""
    if name not in received[0].schema.names:
        return None
    return np.concatenate([batch.column(name).to_numpy() for batch in received])


def _some(count: int) -> Iterator[slice]:
    return (slice(first, first + hashing.PART) for first in range(0, count, hashing.PART))


class Growing:
    """Observations that come some rows after the other, in the room of all entries.

    Parameters
    ----------
    count : int
        Of the entries, at most.
    n_cols : int
    weighted : bool
        Whether they have weights.
    """

    def __init__(self, count: int, n_cols: int, weighted: bool) -> None:
        self._size, self._n_cols = 0, n_cols
        dtypes = [_checks.index_dtype(n_cols), np.float32, *([np.float32] if weighted else [])]
        self._arrays: list[NDArray[Any]] = [np.empty(count, dtype) for dtype in dtypes]  # columns, values, weights
        self._users: list[NDArray[Any]] = []
        self._parts: list[NDArray[np.int64]] = []
        self._lengths: list[NDArray[np.int64]] = []

    def add(self, users: NDArray[Any], parts: NDArray[np.int64], rows: Observations) -> None:
        """Some more rows: their users, and the part of each."""
        given = [rows.pattern.by_row.indices, rows.values, *([] if rows.weights is None else [rows.weights])]
        for array, one in zip(self._arrays, given, strict=True):
            array[self._size : self._size + len(one)] = one
        self._size += rows.n_observed
        self._users.append(users)
        self._parts.append(parts)
        self._lengths.append(np.diff(rows.pattern.by_row.indptr))

    def finish(self, no_user: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64], Observations]:
        """(users,) their ids, of which `no_user` has the dtype; (users,) the part of each; and all rows."""
        for array in self._arrays:
            array.resize(self._size, refcheck=False)  # gives back the room of what was merged
        indices, values, *weights = self._arrays
        none = np.zeros(0, np.int64)
        indptr = np.cumsum(np.concatenate([[0], *self._lengths]), dtype=np.int64)
        users = np.concatenate([no_user, *self._users])
        index, shape = SparseIndex(indptr, indices), (len(users), self._n_cols)
        observations = Observations.from_lines(index, values, shape, weights[0] if weights else None)
        return users, np.concatenate([none, *self._parts]), observations
