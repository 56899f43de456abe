"""Who was observed with whom, as information about each of them: in ratings, nobody rates at random."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc.kernels.posterior import entries_of, line_sums
from dmc.pattern import Pattern, SparseIndex

FEATURES = 48  # of the pattern, at most
TAMED = 0.25  # power of the counts by which lines are divided, before the pattern's singular vectors are taken
POWER_STEPS = 4
FARTHEST = 3.0  # standard deviations of a count: what is beyond was not seen
ROUNDING = 1e-4  # of the largest singular value: what is below it float32 does not tell from zero

Float = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Features:
    """What the pattern alone says about a line: 1, the logarithm of its count, and coordinates among those like it.

    The coordinates are the singular vectors of the pattern, its lines divided by a power of their counts; those of a
    line are linear in the lines of the other side that it was observed with, so that new lines have them too.

    Attributes
    ----------
    loadings : (other lines, coordinates) float32
        What an entry with a line of the other side adds.
    center, spread : float
        Mean and standard deviation of the logarithms of the counts.
    """

    loadings: Float
    center: float
    spread: float

    def __call__(self, lines: SparseIndex) -> Float:
        """(lines, 2 + coordinates) the features of lines, known or new."""
        counts = np.diff(lines.indptr)
        level = np.clip((np.log(np.maximum(counts, 1)) - self.center) / self.spread, -FARTHEST, FARTHEST)
        level[counts == 0] = 0  # nobody has looked yet: that is not to be looked at little
        columns = np.column_stack([np.ones(len(counts)), level]).astype(np.float32)
        if self.loadings.shape[1] == 0:
            return columns
        sums = line_sums(entries_of(lines, len(self.loadings)), self.loadings)
        return np.hstack([columns, sums * _tamed(counts, TAMED)[:, None]])

    def renumbered(self, line_of: NDArray[np.int64]) -> Features:
        """With the other lines in another order, new ones (−1) among them: those add nothing."""
        loadings = np.zeros((len(line_of), self.loadings.shape[1]), np.float32)
        loadings[line_of >= 0] = self.loadings[line_of[line_of >= 0]]
        return replace(self, loadings=loadings)

    @classmethod
    def of(cls, counts: NDArray[Any], loadings: Float) -> Features:
        logarithms = np.log(counts[counts > 0])
        spread = float(logarithms.std())
        return cls(loadings, float(logarithms.mean()), spread if spread > ROUNDING else 1.0)


def pattern_features(pattern: Pattern, seed: int | np.random.Generator = 0) -> tuple[Features, Features]:
    """The features of rows and of columns.

    No coordinates where the pattern is no more than how active rows are and how popular columns: then its second
    singular value, rows and columns divided by the roots of their counts, is that of noise.
    """
    rng = _checks.generator(seed)
    (m, n), N = pattern.shape, pattern.n_observed
    by_row, by_column = entries_of(pattern.by_row, n), entries_of(pattern.by_column, m)
    counts = pattern.row_counts, pattern.column_counts

    def leading(power: float, width: int, steps: int) -> tuple[Any, Any, Any]:
        a, b = (_tamed(c, power)[:, None] for c in counts)
        Q = rng.standard_normal((n, width), dtype=np.float32)
        Q[:, 0] = np.sqrt(counts[1])
        for _ in range(steps):
            P = np.linalg.qr(a * line_sums(by_row, b * Q))[0]
            Q, s, turn = np.linalg.svd(b * line_sums(by_column, a * P), full_matrices=False)
        return P @ turn.T, s, Q

    noise = sum(math.sqrt((c > 0).sum()) for c in counts) / math.sqrt(N)
    few = min(8, m, n)
    informative = few > 2 and leading(0.5, few, 2)[1][1] > noise
    width = min(FEATURES, m // 4, n // 4) if informative else 0
    if width == 0:
        of_rows, of_columns = (np.zeros((lines, 0), np.float32) for lines in (n, m))
    else:
        P, s, Q = leading(TAMED, min(width + 9, m, n), POWER_STEPS)
        kept = slice(1, min(width + 1, int(np.sum(s > ROUNDING * s[0]))))
        P, s, Q = P[:, kept], s[kept], Q[:, kept]
        # P = A Q / s, scaled to a mean square of one; and so for the columns.
        of_rows = (_tamed(counts[1], TAMED)[:, None] * Q * (math.sqrt(m) / s)).astype(np.float32)
        of_columns = (_tamed(counts[0], TAMED)[:, None] * P * (math.sqrt(n) / s)).astype(np.float32)
    return Features.of(counts[0], of_rows), Features.of(counts[1], of_columns)


def _tamed(counts: NDArray[Any], power: float) -> Float:
    return np.where(counts > 0, np.maximum(counts, 1.0) ** -power, 0).astype(np.float32)
