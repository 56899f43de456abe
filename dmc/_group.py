"""The processes of one fit, and what each of them holds of the rows. One process alone sends nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

N_PARTS = 1024  # into which rows are hashed, whatever the number of processes


class Group:
    """Processes that run the same program on data of their own. This one is alone, and gets back what it gives.

    Every process calls the same methods in the same order. What they return is the same, bit by bit, on all of them,
    but for `exchange`.

    Attributes
    ----------
    rank, size : int
        The number of this process, from 0; and how many there are.
    """

    rank = 0
    size = 1

    def sum(self, array: Any) -> Any:
        """The sum over the processes of an array, or of a number: in float64, in the order of the processes, and then
        rounded to its dtype."""
        return array

    def exchange(self, pieces: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """What each process has for this one: (size,) arrays, from (size,) arrays, one for each process; NumPy's, of
        one dimension and dtype."""
        return list(pieces)

    def gather(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        """The arrays of all processes, which may differ in length; NumPy's, of one dtype."""
        return self.exchange([array])

    def first(self, value: Any) -> Any:
        """The array, or number, of the first process: for what libraries may round in one way here and in another
        there."""
        return value

    def max(self, array: NDArray[Any]) -> NDArray[Any]:
        """The largest of the processes' numbers, place by place; NumPy's array of one dimension. Each process compares
        its share of the places, so that it costs no more than a sum."""
        cuts = [len(array) * p // self.size for p in range(self.size + 1)]
        found = self.exchange([array[a:b] for a, b in pairwise(cuts)])
        return np.concatenate(self.gather(np.max(found, axis=0)))

    def any(self, flag: bool) -> bool:
        """Whether it is true in one of the processes."""
        return bool(self.sum(np.array([float(flag)]))[0] > 0)

    def share(self, count: int) -> slice:
        """Which of so many things this process does, where each process does about as many."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)


ALONE = Group()


def spread_qr(rows: NDArray[Any], group: Group) -> tuple[NDArray[Any], NDArray[Any]]:
    """The QR decomposition of a matrix of few columns, from this process' rows of it: its rows of Q, and R.

    References
    ----------
    J. Demmel, L. Grigori, M. Hoemmen, J. Langou, "Communication-optimal parallel and sequential QR and LU
    factorizations", 2012 (tall and skinny QR).
    """
    Q, R = np.linalg.qr(rows)
    if group.size == 1:
        return Q, R
    width = rows.shape[1]
    tall = group.gather(R.ravel())
    # Another machine may round in another way, and choose other signs: what the first one finds holds.
    turn, of_all = map(group.first, np.linalg.qr(np.concatenate([part.reshape(-1, width) for part in tall])))
    before = sum(len(part) // width for part in tall[: group.rank])
    return Q @ turn[before : before + len(R)], of_all


def spread_svd(whole: NDArray[Any], group: Group) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The singular value decomposition, thin, of a matrix of more rows than columns that all processes have: the same
    in all of them, whatever machines they are on. Each does some of the rows."""
    if group.size == 1:
        return np.linalg.svd(whole, full_matrices=False)
    Q, R = spread_qr(whole[group.share(len(whole))], group)
    turn, s, Vt = map(group.first, np.linalg.svd(R))
    rows = np.concatenate(group.gather((Q @ turn).ravel()))
    return rows.reshape(whole.shape), s, Vt


@dataclass(frozen=True)
class Share:
    """The rows that a process holds, and what is drawn for them at random: the same for any number of processes.

    Rows are hashed into parts, and parts dealt to processes. The rows of a share stand part after part, ascending. A
    process alone, that holds all rows as one part, draws as if there were no parts.

    Attributes
    ----------
    group : Group
    parts : (own parts,) int64
        Ascending.
    rows : (own parts,) int64
        Rows in each.
    hashed : bool
        False: all rows are here, in one part.
    """

    group: Group
    parts: NDArray[np.int64]
    rows: NDArray[np.int64]
    hashed: bool = True

    @classmethod
    def whole(cls, count: int) -> Share:
        """All rows, in one process."""
        return cls(ALONE, np.zeros(1, np.int64), np.array([count]), hashed=False)

    @property
    def count(self) -> int:
        """Own rows."""
        return int(self.rows.sum())

    @property
    def ends(self) -> NDArray[np.int64]:
        """(own parts + 1,) where the rows of each part begin."""
        return np.concatenate([[0], np.cumsum(self.rows)])

    def draw(
        self, rng: np.random.Generator, sizes: NDArray[np.int64], make: Callable[[np.random.Generator, int], Any]
    ) -> Any:
        """What is made of a generator for some things of each part, (own parts,) so many, one part after the other.

        Parameters
        ----------
        rng : numpy.random.Generator
            In the same state in all processes.
        """
        if not self.hashed:
            return make(rng, int(sizes.sum()))
        key = int(rng.integers(2**63))
        drawn = [
            make(np.random.default_rng([key, int(part)]), int(n)) for part, n in zip(self.parts, sizes, strict=True)
        ]
        return np.concatenate(drawn) if drawn else make(rng, 0)

    def normal(self, rng: np.random.Generator, width: int) -> NDArray[np.float32]:
        """(rows, width) standard normal numbers."""
        drawn: NDArray[np.float32] = self.draw(
            rng, self.rows, lambda of_part, n: of_part.standard_normal((n, width), dtype=np.float32)
        )
        return drawn

    def of_parts(self, indptr: NDArray[Any]) -> NDArray[np.int64]:
        """(own parts,) entries of each, from the pointers (rows + 1,) of the rows."""
        return np.diff(np.asarray(indptr)[self.ends])

    def in_all(self, own: NDArray[Any]) -> NDArray[Any]:
        """(all parts,) numbers of parts, from (own parts,) those of one's own."""
        if not self.hashed:
            return own
        of_all = np.zeros(N_PARTS, own.dtype)
        of_all[self.parts] = own
        return self.group.sum(of_all)

    def sample(self, rng: np.random.Generator, count: int, indptr: NDArray[Any]) -> NDArray[np.int64]:
        """Own ones of so many entries, drawn among those of all processes with replacement."""
        own = self.of_parts(indptr)
        of_all = self.in_all(own)
        drawn = rng.integers(0, int(of_all.sum()), count)
        if not self.hashed:
            return drawn
        first_of_all = np.concatenate([[0], np.cumsum(of_all)])
        part = np.searchsorted(first_of_all, drawn, side="right") - 1
        where = np.full(N_PARTS, -1)
        where[self.parts] = np.asarray(indptr)[self.ends[:-1]]
        mine = where[part] >= 0
        return np.asarray((where[part] + drawn - first_of_all[part])[mine])

    def among(self, parts: NDArray[np.int64]) -> tuple[Share, NDArray[np.int64]]:
        """The share of some parts only; and which of the rows are theirs."""
        kept = np.isin(self.parts, parts)
        return replace(self, parts=self.parts[kept], rows=self.rows[kept]), np.flatnonzero(np.repeat(kept, self.rows))
