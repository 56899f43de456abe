"""What the observed positions can determine at a rank, and what no solver can know from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from dmc.pattern import Pattern


@dataclass(frozen=True, eq=False)
class Identifiability:
    """Which entries of a matrix of some rank its observed positions can determine.

    A row of a rank-r matrix has r numbers of its own, given the columns; so rows and columns with fewer than r entries
    among the others are undetermined, and those that hang on them with too few others in turn. What is left falls into
    blocks without a common entry, whose scales against each other are free ("A. Montanari, S. Oh, Matrix completion
    from a few entries", arXiv 0901.3150; arXiv 2405.13721). The conditions are necessary and not sufficient.

    Attributes
    ----------
    rank : int
    row_blocks : (rows,) int array
        The block of each row, from 0; -1 where the row is undetermined.
    column_blocks : (columns,) int array
        The same of the columns.
    """

    rank: int
    row_blocks: NDArray[np.int64]
    column_blocks: NDArray[np.int64]

    @classmethod
    def of(
        cls, pattern: Pattern, rank: int, ranks: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
    ) -> Identifiability:
        """From the observed positions; `ranks` of each row and column, where blocks differ in it."""
        of_rows, of_columns = (rank, rank) if ranks is None else ranks
        pattern = pattern.to(None)
        links = pattern.csr(np.ones(pattern.n_observed, np.int32))
        back = links.T.tocsr()
        rows, columns = (np.ones(count, bool) for count in pattern.shape)
        while True:
            enough_rows = rows & (links @ columns.astype(np.int32) >= of_rows)
            enough_columns = columns & (back @ enough_rows.astype(np.int32) >= of_columns)
            if (enough_rows == rows).all() and (enough_columns == columns).all():
                break
            rows, columns = enough_rows, enough_columns
        kept = rows[pattern.rows] & columns[pattern.cols]
        labels = connected(pattern.rows[kept], pattern.cols[kept], pattern.shape)
        determined = np.concatenate([rows, columns])
        blocks = np.full(len(labels), -1)
        blocks[determined] = np.unique(labels[determined], return_inverse=True)[1]
        return cls(rank, blocks[: len(rows)], blocks[len(rows) :])

    @property
    def n_blocks(self) -> int:
        return int(max(self.row_blocks.max(initial=-1), self.column_blocks.max(initial=-1))) + 1

    @property
    def whole(self) -> bool:
        """Whether nothing stands against every entry being determined."""
        return self.n_blocks == 1 and bool((self.row_blocks >= 0).all() and (self.column_blocks >= 0).all())

    def known(self, rows: NDArray[np.integer], cols: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Whether the entries at (rows, cols), broadcast against each other, can be determined."""
        block = self.row_blocks[rows]
        return (block >= 0) & (block == self.column_blocks[cols])

    def __str__(self) -> str:
        """What cannot be known, in words; empty if all can."""
        parts = [
            f"{np.count_nonzero(blocks < 0):,} of {len(blocks):,} {noun} have too few entries for rank {self.rank}"
            for blocks, noun in ((self.row_blocks, "rows"), (self.column_blocks, "columns"))
            if (blocks < 0).any()
        ]
        if self.n_blocks > 1:
            parts.append(f"the rest falls into {self.n_blocks:,} blocks that share no entry")
        return " and ".join(parts)


def connected(rows: NDArray[Any], cols: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.int64]:
    """(rows + columns,) the part of the matrix that each row, and then each column, belongs to, numbered from 0: parts
    are connected by entries at (rows, cols)."""
    m, n = shape
    ends = rows, m + cols.astype(np.int64)
    graph = sparse.coo_array((np.ones(len(rows), np.int8), ends), shape=(m + n, m + n))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)
