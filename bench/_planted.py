"""Planted matrices for bench/recovery.py, from easy to hard, and what their observed positions can determine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

import dmc
from dmc import datasets

Mask = NDArray[np.bool_]
AS_DRAWN, MENDED = "uniform, as drawn", "uniform, mended"
GROSS = 10  # spreads of the entries: the standard deviation of gross errors


@dataclass(frozen=True)
class Case:
    """What is planted: ρ entries for each degree of freedom r(m + n − r), singular values evenly on a log scale from
    κ to 1, a typical entry of size 1.

    `pattern` is AS_DRAWN (`dmc.datasets.planted` with this seed) or one of PATTERNS. `outliers` is the share of the
    observed entries that have gross errors, `noise` the standard deviation of what all of them have.
    """

    shape: tuple[int, int] = (300, 300)
    rank: int = 5
    rho: float = 2.0
    kappa: float = 1.0
    pattern: str = MENDED
    outliers: float = 0.0
    noise: float = 0.0

    @property
    def count(self) -> int:
        return round(self.rho * self.rank * (sum(self.shape) - self.rank))

    def __str__(self) -> str:
        m, n = self.shape
        said = f"{m}×{n} | {self.rank} | {self.rho:g} | {self.kappa:g} | {self.pattern}"
        return f"{said} | {self.outliers:g}" if self.outliers else said


@dataclass
class Problem:
    """The matrix, its observed entries, and the rows and columns that these can determine at its rank."""

    X: NDArray[np.float64]
    mask: Mask
    observations: dmc.Observations
    rank: int
    rows: Mask
    columns: Mask

    def determined(self, matrix: NDArray[np.floating]) -> NDArray[np.floating]:
        """What can be known of a matrix."""
        return matrix[np.ix_(self.rows, self.columns)]

    def errors(self, completed: NDArray[np.floating]) -> tuple[float, float]:
        """‖X̂ − X‖/‖X‖ of what can be known (NaN if that is nothing), and of the whole matrix."""
        core, whole = (
            float(np.linalg.norm(part(completed) - part(self.X)) / norm)
            if (norm := np.linalg.norm(part(self.X)))
            else np.nan
            for part in (self.determined, np.asarray)
        )
        return core, whole


def make(case: Case, seed: int) -> Problem:
    """The same matrix for every pattern; that of MENDED is the draw of AS_DRAWN, mended."""
    m, n = case.shape
    planted = datasets.planted(case.shape, case.rank, case.count / (m * n), condition=case.kappa, seed=seed)
    X, observed = planted.A @ planted.B.T, planted.observations
    mask = np.zeros(case.shape, bool)
    mask[observed.rows, observed.cols] = True
    rng = np.random.default_rng([seed, case.count])
    if case.pattern != AS_DRAWN:
        mask = PATTERNS[case.pattern](mask, case, rng)
        observed = dmc.observe(X, mask)
    values = observed.values + case.noise * rng.standard_normal(case.count)
    wrong = rng.choice(case.count, round(case.outliers * case.count), replace=False)
    values[wrong] += GROSS * rng.standard_normal(len(wrong))
    return Problem(X, mask, observed.with_values(values), case.rank, *determined(mask, case.rank))


def determined(mask: Mask, rank: int) -> tuple[Mask, Mask]:
    """Rows and columns that the observed positions can determine at a rank, if the matrix is a general one.

    A row with at most r entries says nothing of the columns, for its own r numbers can match whatever it has; without
    it others may have no more than r left. What is left when all of these are gone is determined, but for parts that
    share no entry, of which the largest counts; and so is then, one after the other, what has r entries among the
    determined. Necessary, and for entries spread evenly in practice sufficient.
    """
    links = mask.astype(np.float32)  # whose products count exactly
    rows, columns = (np.ones(size, bool) for size in mask.shape)
    while True:
        left = rows & (links @ columns > rank)
        top = columns & (left @ links > rank)
        if (left == rows).all() and (top == columns).all():
            break
        rows, columns = left, top
    rows, columns = largest_part(mask & np.outer(rows, columns))
    while True:
        left = rows | (links @ columns >= rank)
        top = columns | (left @ links >= rank)
        if not rows.any() or ((left == rows).all() and (top == columns).all()):
            return rows, columns
        rows, columns = left, top


def largest_part(mask: Mask) -> tuple[Mask, Mask]:
    """Rows and columns of the largest part that is connected by entries; none where there is no entry."""
    links = sparse.bmat([[None, sparse.csr_matrix(mask)], [sparse.csr_matrix(mask.T), None]])
    parts = connected_components(links, directed=False)[1]
    mine = (parts == np.bincount(parts).argmax()) & mask.any()
    return mine[: len(mask)], mine[len(mask) :]


# --- patterns: (the uniform draw, the case, random numbers) -> as many positions


def mended(mask: Mask, least: int, rng: np.random.Generator) -> Mask:
    """Rows and columns with fewer than `least` entries take some from those with more."""
    mask = mask.copy()
    while True:
        rows, columns = mask.sum(axis=1), mask.sum(axis=0)
        if min(rows.min(), columns.min()) >= least:
            return mask
        if rows.min() < least:
            i = rows.argmin()
            j = rng.choice(np.flatnonzero(~mask[i]))
        else:
            j = columns.argmin()
            i = rng.choice(np.flatnonzero(~mask[:, j]))
        spare = np.flatnonzero(mask & (rows > least)[:, None] & (columns > least))
        mask.ravel()[rng.choice(spare)] = False
        mask[i, j] = True


def power_law(exponent: float) -> Callable[[Mask, Case, np.random.Generator], Mask]:
    """Row i is observed in proportion to i^−exponent, and so are columns."""

    def draw(mask: Mask, case: Case, rng: np.random.Generator) -> Mask:
        of_rows, of_columns = (rng.permutation(np.arange(1.0, size + 1) ** -exponent) for size in mask.shape)
        # Without replacement: who of exponential waiting times comes first.
        waits = rng.exponential(size=mask.shape) / np.outer(of_rows, of_columns)
        return mended(first(waits, case.count), case.rank + 1, rng)

    return draw


def band(mask: Mask, case: Case, rng: np.random.Generator) -> Mask:
    """Half of the positions nearest to the diagonal."""
    m, n = mask.shape
    i, j = np.indices((m, n))
    near = first(abs(i / m - j / n) + 1e-9 * rng.random((m, n)), 2 * case.count)
    return mended(first(np.where(near, rng.random((m, n)), np.inf), case.count), case.rank + 1, rng)


def quarter_missing(mask: Mask, case: Case, rng: np.random.Generator) -> Mask:
    """Uniform outside a quarter of the matrix that has no entry at all."""
    waits = rng.random(mask.shape)
    waits[: len(mask) // 2, : mask.shape[1] // 2] = np.inf
    return first(waits, case.count)


def first(waits: NDArray[np.float64], count: int) -> Mask:
    """Where the `count` smallest are."""
    mask = np.zeros(waits.size, bool)
    mask[np.argpartition(waits.ravel(), count - 1)[:count]] = True
    return mask.reshape(waits.shape)


PATTERNS: dict[str, Callable[[Mask, Case, np.random.Generator], Mask]] = {
    MENDED: lambda mask, case, rng: mended(mask, case.rank, rng),
    "power law, exponent 0.5": power_law(0.5),
    "power law, exponent 1": power_law(1.0),
    "band": band,
    "a quarter missing": quarter_missing,
}
