"""Parts of a pattern in which rows and columns check each other better than in the whole."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dmc.pattern import Pattern

Part = tuple[NDArray[np.bool_], NDArray[np.bool_]]  # which rows and columns

ROUNDS = 100  # in which all rows and columns would be taken away: few at a time, for each changes the others' counts


class _Peeling:
    """Rows and columns that are taken away, those with the fewest entries among the others first."""

    def __init__(self, pattern: Pattern) -> None:
        self._links = pattern.csr(np.ones(pattern.n_observed, np.int32))
        self._back = self._links.T.tocsr()
        self.part: Part = np.ones(pattern.shape[0], bool), np.ones(pattern.shape[1], bool)
        self._count()

    def _count(self) -> None:
        rows, cols = self.part
        self.counts = self._links @ cols.astype(np.int32), self._back @ rows.astype(np.int32)

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.part[0].sum()), int(self.part[1].sum())

    @property
    def n_entries(self) -> int:
        return int(self.counts[0][self.part[0]].sum())

    @property
    def fewest(self) -> int:
        """Entries of the row or column with the fewest."""
        return min(int(counts[kept].min(initial=1 << 30)) for counts, kept in zip(self.counts, self.part, strict=True))

    def take_away(self, entries: int, most: int | None = None) -> None:
        """Rows with at most so many entries; columns, if there are none."""
        for counts, kept in zip(self.counts, self.part, strict=True):
            weak = np.flatnonzero(kept & (counts <= entries))
            if len(weak):
                kept[weak[np.argsort(counts[weak], kind="stable")[:most]]] = False
                return self._count()


def densest(pattern: Pattern, rank: int) -> Part | None:
    """What is left without the rows and columns that have fewer entries than the others have for each of theirs: there
    the entries outnumber the degrees of freedom of a rank by more. None if that leaves hardly anything."""
    peeling = _Peeling(pattern)
    while min(peeling.shape) > 2 * rank:
        m, n = peeling.shape
        few = peeling.n_entries // (m + n - rank)  # entries over freedom, times the rank
        if peeling.fewest > few:
            return peeling.part
        peeling.take_away(peeling.fewest)
    return None


def window(pattern: Pattern, share: float) -> Part:
    """The share of the rows and columns that is left when always those with the fewest entries are taken away: of a
    band a piece, of a pattern with a dense corner the corner."""
    peeling = _Peeling(pattern)
    most = max(sum(peeling.shape) // ROUNDS, 1)
    goal = share * sum(peeling.shape)
    while sum(peeling.shape) > goal:
        peeling.take_away(peeling.fewest, most)
    return peeling.part


def complete(pattern: Pattern) -> Part:
    """Rows and columns without a gap among each other: of the rows with the most entries so many as have about as many
    columns in common."""
    rows, cols = np.zeros(pattern.shape[0], bool), np.zeros(pattern.shape[1], bool)
    common, best, taken = np.ones(pattern.shape[1], bool), 0, 0
    order = np.argsort(-np.asarray(pattern.row_counts), kind="stable")
    for count, row in enumerate(order, 1):
        own = np.zeros(pattern.shape[1], bool)
        own[pattern.by_row.indices[slice(*pattern.by_row.indptr[row : row + 2])]] = True
        common = common & own
        smaller = min(count, int(common.sum()))
        if smaller > best:
            best, taken, cols = smaller, count, common
        if common.sum() <= best:
            break
    rows[order[:taken]] = True
    return rows, cols
