"""Where the rows of text stand, as messages tell it: of each row its line and its file."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class Places:
    """The lines of rows that come some at a time; neighbours take no room while each stands a line below the other."""

    def __init__(self) -> None:
        self._size = 0
        self._firsts: list[int] = []  # row of each run
        self._runs: list[tuple[str, int | NDArray[np.int64]]] = []  # the file; the line of the first row, or of each
        self._next: tuple[str, int] | None = None  # where a row would stand that goes on with the last run

    def add(self, origin: str, first: int, count: int) -> None:
        """So many rows, the first in a line of a file, each other in the line below."""
        if self._next != (origin, first):
            self._start(origin, first)
        self._size += count
        self._next = origin, first + count

    def add_each(self, origin: str, lines: Sequence[int]) -> None:
        """Rows, at least one, in such lines of a file, ascending."""
        if lines[-1] - lines[0] == len(lines) - 1:
            return self.add(origin, lines[0], len(lines))
        self._start(origin, np.asarray(lines))
        self._size += len(lines)
        self._next = None

    def _start(self, origin: str, run: int | NDArray[np.int64]) -> None:
        self._firsts.append(self._size)
        self._runs.append((origin, run))

    def of(self, row: int) -> str:
        """`line 7 of ratings.csv`."""
        run = bisect_right(self._firsts, row) - 1
        origin, line = self._runs[run]
        below = row - self._firsts[run]
        return f"line {line + below if isinstance(line, int) else line[below]} of {origin}"
