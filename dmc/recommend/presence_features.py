"""Who was observed with whom, as information about each of them: in ratings, nobody rates at random."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc._extensions import Entries
from dmc._group import ALONE, Group, spread_qr, spread_svd
from dmc.factors import Array
from dmc.kernels.posterior import entries_of, line_sums
from dmc.pattern import Pattern, SparseIndex

ROUNDING = 1e-4  # of the largest singular value: what is below it float32 does not tell from zero

Float = NDArray[np.float32]


@dataclass(frozen=True)
class PresenceTuning:
    """How much of the pattern is told.

    What they were chosen on was not noted; `bench/tune.py` judges them on the data of `bayesian.VariationalTuning`.

    Attributes
    ----------
    max_coordinates : int
        Singular vectors of the pattern.
    count_power : float
        Of the counts by which rows and columns are divided before the singular vectors are taken.
    power_steps : int
        Subspace iterations for them.
    max_level : float
        Standard deviations of a count's logarithm: what is beyond was not seen.
    """

    max_coordinates: int = 48
    count_power: float = 0.25
    power_steps: int = 4
    max_level: float = 3.0


TUNING = PresenceTuning()


@dataclass(frozen=True, eq=False)
class PresenceFeatures:
    """What the pattern alone says of a row: 1, the logarithm of its count, and coordinates among those like it.

    The coordinates are the singular vectors of the pattern, its rows and columns divided by a power of their counts;
    those of a row are linear in the columns that it was observed with, so that new rows have them too. For columns the
    same, of the transposed pattern.

    Attributes
    ----------
    loadings : (columns, coordinates) float32
        What an entry with a column adds.
    center, spread : float
        Mean and standard deviation of the logarithms of the counts.
    """

    loadings: Float
    center: float
    spread: float

    def __call__(self, index: SparseIndex, entries_over: Group = ALONE) -> Float:
        """(rows, 2 + coordinates) the features of rows, known or new, whose entries are spread over some processes."""
        counts, most = entries_over.sum(np.diff(index.indptr)), TUNING.max_level
        level = np.clip((np.log(np.maximum(counts, 1)) - self.center) / self.spread, -most, most)
        level[counts == 0] = 0  # nobody has looked yet: that is not to be looked at little
        activity = np.column_stack([np.ones(len(counts)), level]).astype(np.float32)
        if self.loadings.shape[1] == 0:
            return activity
        sums = entries_over.sum(line_sums(entries_of(index, len(self.loadings)), self.loadings))
        return np.hstack([activity, sums * _inverse_power(counts, TUNING.count_power)[:, None]])

    def renumbered(self, column_of: NDArray[np.int64]) -> PresenceFeatures:
        """With the columns in another order, new ones (−1) among them: those add nothing."""
        loadings = np.zeros((len(column_of), self.loadings.shape[1]), np.float32)
        loadings[column_of >= 0] = self.loadings[column_of[column_of >= 0]]
        return replace(self, loadings=loadings)

    @classmethod
    def of(cls, counts: Array, loadings: Float, rows_over: Group = ALONE) -> PresenceFeatures:
        """From the counts of the rows, which may be spread over some processes."""
        logarithms = np.log(counts[counts > 0])
        number = rows_over.sum(len(logarithms))
        center = float(rows_over.sum(logarithms.sum()) / number)
        spread = math.sqrt(rows_over.sum(np.square(logarithms - center).sum()) / number)
        return cls(loadings, center, spread if spread > ROUNDING else 1.0)


def pattern_features(
    pattern: Pattern, seed: int | np.random.Generator = 0, group: Group = ALONE
) -> tuple[PresenceFeatures, PresenceFeatures]:
    """The features of rows and of columns.

    The leading singular vectors only say how active rows are and how popular columns, which the counts say already, so
    that coordinates begin with the second. There are none where that is no more than noise would have, rows and columns
    divided by the roots of their counts.

    Parameters
    ----------
    pattern : Pattern
        Of the rows of this process.
    seed : int or numpy.random.Generator
        The same in all processes.
    group : Group
        The processes among which the rows are dealt.
    """
    rng, (own, n) = _checks.generator(seed), pattern.shape
    counts = pattern.row_counts, group.sum(pattern.column_counts)
    m, observed = group.sum(own), group.sum(pattern.n_observed)
    of_rows, of_columns = np.zeros((n, 0), np.float32), np.zeros((own, 0), np.float32)
    matrices = entries_of(pattern.by_row, n), entries_of(pattern.by_column, own)
    few = min(8, m, n)
    filled = group.sum((counts[0] > 0).sum()), (counts[1] > 0).sum()
    noise = sum(math.sqrt(count) for count in filled) / math.sqrt(observed)
    second = few > 2 and float(_singular_vectors(matrices, counts, 0.5, few, 2, rng, group)[1][1])
    informative = second > noise
    width = min(TUNING.max_coordinates, m // 4, n // 4) if informative else 0
    if width > 0:
        power = TUNING.count_power
        P, s, Q = _singular_vectors(matrices, counts, power, min(width + 9, m, n), TUNING.power_steps, rng, group)
        distinct = int(np.sum(s > ROUNDING * s[0]))
        after_activity = slice(1, min(1 + width, distinct))
        P, s, Q = P[:, after_activity], s[after_activity], Q[:, after_activity]
        # P = A Q / s, scaled to a mean square of one; and so for the columns.
        of_rows = (_inverse_power(counts[1], power)[:, None] * Q * (math.sqrt(m) / s)).astype(np.float32)
        of_columns = (_inverse_power(counts[0], power)[:, None] * P * (math.sqrt(n) / s)).astype(np.float32)
    return PresenceFeatures.of(counts[0], of_rows, group), PresenceFeatures.of(counts[1], of_columns)


def _singular_vectors(
    matrices: tuple[Entries, Entries],
    counts: tuple[Array, Array],
    power: float,
    width: int,
    steps: int,
    rng: np.random.Generator,
    group: Group,
) -> tuple[Float, Float, Float]:
    """The leading ones of the pattern, divided by this power of the counts, by subspace iteration: left, of the own
    rows; values; right.

    `matrices` and `counts` are those of its rows and of its columns.
    """
    (by_row, by_column), (a, b) = matrices, (_inverse_power(c, power)[:, None] for c in counts)
    Q = rng.standard_normal((len(b), width), dtype=np.float32)
    Q[:, 0] = np.sqrt(counts[1])  # about where the first one is
    for _ in range(steps):
        P = spread_qr(a * line_sums(by_row, b * Q), group)[0]
        Q, s, turn = spread_svd(b * group.sum(line_sums(by_column, a * P)), group)
    return P @ turn.T, s, Q


def _inverse_power(counts: Array, power: float) -> Float:
    return np.where(counts > 0, np.maximum(counts, 1.0) ** -power, 0).astype(np.float32)
