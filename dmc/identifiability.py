"""What the observed positions can determine at a given rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from dmc.pattern import Pattern, read_only

Count = int | NDArray[np.int64]  # of entries: of all, or of each row or column


@dataclass(frozen=True, eq=False)
class Identifiability:
    """Which entries of a matrix of some rank its observed positions can determine.

    A row of a rank-r matrix has r degrees of freedom, given the columns. Rows and columns with at most r entries say
    nothing about others: after removing them, again and again, there remains a core whose rows and columns check each
    other. It may fall into blocks without a common entry, whose relative scales are free. A row or column with r
    entries in a block is determined with it, and one that no block determines is not. Where there is no core, rows and
    columns with r entries among each other are not called undetermined. The conditions are necessary for the whole
    matrix, but not sufficient; a few single entries that small parts determine outside of the core are called unknown
    (A. Montanari, S. Oh, "Matrix completion from a few entries", arXiv 0901.3150; F. Király, L. Theran, R. Tomioka,
    "The algebraic combinatorial approach for low-rank matrix completion", arXiv 1211.4116).

    Attributes
    ----------
    rank : int
        The rank.
    row_blocks : (rows,) int array
        The block of each row, from 0; −1 where the row is undetermined.
    column_blocks : (columns,) int array
        The same for the columns.

    Examples
    --------
    >>> import dmc
    >>> found = dmc.datasets.planted((60, 60), rank=3, observed=0.14).identifiability
    >>> found.whole, found.n_blocks
    (False, 1)
    >>> print(found)
    2 of 60 rows have too few entries for rank 3 and 3 of 60 columns have too few entries for rank 3
    """

    rank: int
    row_blocks: NDArray[np.int64]
    column_blocks: NDArray[np.int64]

    def __post_init__(self) -> None:
        for name in ("row_blocks", "column_blocks"):
            object.__setattr__(self, name, read_only(getattr(self, name)))

    @classmethod
    def of(cls, pattern: Pattern, rank: int, ranks: tuple[Count, Count] | None = None) -> Identifiability:
        """Find what observed positions determine.

        Parameters
        ----------
        pattern : Pattern
            The positions.
        rank : int
            The rank.
        ranks : (int or (rows,) array, int or (columns,) array), optional
            The rank for each row and each column, where blocks differ in it.

        Returns
        -------
        Identifiability
            Of all rows and columns.
        """
        of_rows, of_columns = (rank, rank) if ranks is None else ranks
        pattern = pattern.to(None)
        m, n = pattern.shape
        enough, core = (stripped(pattern, of_rows - few, of_columns - few) for few in (1, 0))
        hanging = _labels(pattern, enough)
        if (np.concatenate(core) == np.concatenate(enough)).all():
            return cls(rank, hanging[:m], hanging[m:])
        checked = np.zeros(m + n + 1, bool)  # whether there is a core where a row or column hangs; the last: nowhere
        checked[hanging[np.concatenate(core)]] = True
        blocks = _labels(pattern, core)
        unchecked = ~checked[hanging] & (hanging >= 0)
        blocks[unchecked] = m + n + hanging[unchecked]
        rows, columns = _grown(pattern, blocks[:m], blocks[m:], of_rows, of_columns)
        both = np.concatenate([rows, columns])
        both[both >= 0] = np.unique(both[both >= 0], return_inverse=True)[1]
        return cls(rank, both[:m], both[m:])

    @property
    def n_blocks(self) -> int:
        """Number of blocks; 0 if nothing is determined."""
        return int(max(self.row_blocks.max(initial=-1), self.column_blocks.max(initial=-1))) + 1

    @property
    def whole(self) -> bool:
        """Whether no necessary condition for determining every entry is violated."""
        return self.n_blocks == 1 and bool((self.row_blocks >= 0).all() and (self.column_blocks >= 0).all())

    def known(self, rows: NDArray[np.integer], cols: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Tell which entries can be determined.

        Parameters
        ----------
        rows, cols : integer arrays
            Positions, broadcast against each other.

        Returns
        -------
        bool array
            True where the entry can be determined.
        """
        block = self.row_blocks[rows]
        return (block >= 0) & (block == self.column_blocks[cols])

    def __str__(self) -> str:
        """Describe what cannot be determined; empty if everything can."""
        parts = [
            f"{np.count_nonzero(blocks < 0):,} of {len(blocks):,} {noun} have too few entries for rank {self.rank}"
            for blocks, noun in ((self.row_blocks, "rows"), (self.column_blocks, "columns"))
            if (blocks < 0).any()
        ]
        if self.n_blocks > 1:
            parts.append(f"the rest falls into {self.n_blocks:,} blocks that share no entry")
        return " and ".join(parts)


def stripped(pattern: Pattern, of_rows: Count, of_columns: Count) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Rows with more than `of_rows` entries, and columns with more than `of_columns`, among each other."""
    rows, columns = (np.ones(count, bool) for count in pattern.shape)
    if (pattern.row_counts > of_rows).all() and (pattern.column_counts > of_columns).all():
        return rows, columns
    links = pattern.csr(np.ones(pattern.n_observed, np.int32))
    back = links.T.tocsr()
    while True:
        kept_rows = rows & (links @ columns.astype(np.int32) > of_rows)
        kept_columns = columns & (back @ kept_rows.astype(np.int32) > of_columns)
        if (kept_rows == rows).all() and (kept_columns == columns).all():
            return rows, columns
        rows, columns = kept_rows, kept_columns


def _labels(pattern: Pattern, part: tuple[NDArray[np.bool_], NDArray[np.bool_]]) -> NDArray[np.int64]:
    """(rows + columns,) connected component of each of the chosen rows and columns; −1 for the others."""
    inside, kept = np.concatenate(part), part[0][pattern.rows] & part[1][pattern.cols]
    labels = connected(pattern.rows[kept], pattern.cols[kept], pattern.shape)
    labels[inside] = np.unique(labels[inside], return_inverse=True)[1]
    labels[~inside] = -1
    return labels


def _grown(
    pattern: Pattern, rows: NDArray[np.int64], columns: NDArray[np.int64], of_rows: Count, of_columns: Count
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Extend blocks by the rows and columns that have enough entries in one of them."""
    links = pattern.csr(np.ones(pattern.n_observed, np.int32))
    sides = [(links, rows, columns, of_rows), (links.T.tocsr(), columns, rows, of_columns)]
    still = 0
    while still < len(sides):
        for own_links, own, other, needed in sides:
            free, known = own < 0, np.flatnonzero(other >= 0)
            if not free.any() or not len(known):
                still += 1
                continue
            blocks, number = np.unique(other[known], return_inverse=True)
            members = sparse.csr_array((np.ones(len(known), np.int32), (known, number)), (len(other), len(blocks)))
            counts = own_links[free] @ members
            joins = counts.max(axis=1).toarray().ravel() >= np.broadcast_to(needed, own.shape)[free]
            at = np.flatnonzero(free)[joins]
            own[at] = blocks[np.asarray(counts.argmax(axis=1)).ravel()[joins]]
            still = 0 if len(at) else still + 1
    return rows, columns


def connected(rows: NDArray[Any], cols: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.int64]:
    """(rows + columns,) connected component of each row, then of each column, linked by entries at (rows, cols)."""
    m, n = shape
    ends = rows, m + cols.astype(np.int64)
    graph = sparse.coo_array((np.ones(len(rows), np.int8), ends), shape=(m + n, m + n))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)
