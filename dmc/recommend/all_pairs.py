"""Least squares over all pairs of two sides, chosen ones 1 and all others 0 of little weight, by blocks of coordinates.

The value is, with predictions x = U Vᵀ,

    ½ Σ_told w (x − t)²  +  ½ w₀ Σ_others x²  +  ½ Σ_i λ_i ‖u_i‖²  +  ½ Σ_j μ_j ‖v_j‖²

A pair that was chosen has the target t = 1, and one that was disliked t = 0, with a weight w as large. What counts less
than one click lies between: its term is the mean, with that count as the share, of a click's and of nothing's.

Half a sweep moves all rows of U, or of V, some coordinates after the other to their minimum (iALS++). The zeros enter
by the other side's Gram matrix, and the told pairs by their predictions, which are kept from one block to the next.

References
----------
Y. Hu, Y. Koren, C. Volinsky, "Collaborative filtering for implicit feedback datasets", 2008;
S. Rendle et al., "iALS++: speeding up matrix factorization with subspace optimization", 2021 (arXiv 2110.14044).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmc import _extensions
from dmc._extensions import Entries
from dmc._group import ALONE, Group
from dmc._locks import cached_property
from dmc.factors import Array, Factors
from dmc.kernels.pair_blocks import BLOCK
from dmc.pattern import BothOrders, Pattern, SparseIndex
from dmc.recommend import spread_pairs
from dmc.solver.loop import Run
from dmc.solver.solution import Look, Record, Status

PLAIN_ENTRIES = 4096  # whose moments NumPy makes at a time
START_NORM = 1.0  # of a random row: much smaller ones, which must grow first, cost sweeps and leave directions behind

Float = NDArray[np.float32]


class Settings(NamedTuple):
    """How much zeros count, and how strongly the factors are drawn to the origin."""

    unobserved: float  # weight of a pair that was not chosen
    ridge: float  # of a row or column: times its total weight
    power: float = 1.0  # of the total weight

    def ridges(self, weights: NDArray[Any], others: int) -> NDArray[Any]:
        """λ of rows whose told pairs weigh so much, with so many columns (or the reverse)."""
        return self.ridge * (weights + self.unobserved * others) ** self.power

    def terms(self, counts: Array) -> tuple[Float, Float]:
        """(entries,) weight of the pairs with such counts, and weight times target; below 0 they are dislikes."""
        sure = confidence(counts)
        weights = np.where(sure < 1, self.unobserved + sure * (1 - self.unobserved), sure).astype(np.float32)
        if (counts > 0).all():
            return weights, weights if (sure >= 1).all() else sure
        return weights, np.where(counts > 0, sure, np.float32(0))


def confidence(counts: Array) -> Float:
    """(entries,) how surely pairs with such counts are liked, or below 0 disliked: the count itself up to one, then one
    more for each power of e."""
    size = np.abs(counts)
    return np.where(size < 1, size, 1 + np.log(np.maximum(size, 1))).astype(np.float32)


@dataclass(frozen=True, eq=False)
class AllPairs:
    """The problem.

    Attributes
    ----------
    pattern : Pattern
        The told pairs.
    weights, pulls : BothOrders
        Theirs, and these times the targets, float32.
    settings : Settings
    group : Group
        The processes that hold some of the rows each, and all columns: the pattern is of own rows.
    """

    pattern: Pattern
    weights: BothOrders
    pulls: BothOrders
    settings: Settings
    group: Group = ALONE

    @classmethod
    def of(cls, pattern: Pattern, counts: Array, settings: Settings, group: Group = ALONE) -> AllPairs:
        """The problem of counts (told,), in row order."""
        weights, pulls = settings.terms(counts)
        both = pattern.both_orders(weights)
        return cls(pattern, both, both if pulls is weights else pattern.both_orders(pulls), settings, group)

    def with_settings(self, settings: Settings) -> AllPairs:
        """The same pairs, with what was made of them."""
        other = replace(self, settings=settings)
        for name in ("_totals", "_entries", "_shape", "filled"):
            vars(other)[name] = getattr(self, name)  # in the place of the cached properties
        return other

    @cached_property
    def ridges(self) -> tuple[Float, Float]:
        """λ (rows,) and μ (columns,)."""
        rows, columns = (
            self.settings.ridges(total, others).astype(np.float32)
            for total, others in zip(self._totals, reversed(self._shape), strict=True)
        )
        return rows, columns

    @cached_property
    def _totals(self) -> tuple[NDArray[Any], NDArray[Any]]:
        rows, columns = (line_sums(w, lines) for w, lines in zip(self.weights, self._orders, strict=True))
        return rows, self.group.sum(columns)

    @cached_property
    def _shape(self) -> tuple[int, int]:
        """Rows of all processes, and columns."""
        m, n = self.pattern.shape
        return int(self.group.sum(np.array([m]))[0]), n

    @cached_property
    def filled(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(rows,) and (columns,) those with told pairs, of any process."""
        return self.pattern.row_counts > 0, self.group.sum(np.asarray(self.pattern.column_counts)) > 0

    @property
    def _orders(self) -> tuple[SparseIndex, SparseIndex]:
        return self.pattern.by_row, self.pattern.by_column

    @cached_property
    def _entries(self) -> tuple[Entries | SparseIndex, Entries | SparseIndex]:
        rows, columns = (
            entries(lines, others) for lines, others in zip(self._orders, reversed(self.pattern.shape), strict=True)
        )
        return rows, columns

    def predictions(self, U: Float, V: Float) -> Float:
        """(told,) in row order."""
        return np.asarray(Factors(U, (), V).at(self.pattern.rows, self.pattern.cols))

    def value(self, U: Float, V: Float, predicted: Float) -> float:
        """The value at factors whose predictions of the told pairs are these: own rows' terms, and a share of the
        columns', are added up."""
        w, pull = (np.asarray(of.by_row, np.float64) for of in (self.weights, self.pulls))
        x, zero = predicted.astype(np.float64), self.settings.unobserved
        total = w @ (x - pull / w) ** 2 - zero * (x @ x)
        begun = U.any(axis=0)  # the others are new, and products with them are dear
        P, Q = (U, V) if begun.all() else (U[:, begun], V[:, begun])
        total += zero * float(np.vdot(P.T @ P, Q.T @ Q))
        own = self.group.share(len(V))
        for ridge, side in zip((self.ridges[0], self.ridges[1][own]), (U, V[own]), strict=True):
            total += ridge.astype(np.float64) @ np.einsum("ij,ij->i", side, side)
        return 0.5 * float(self.group.sum(float(total)))

    def sweep(self, U: Float, V: Float, predicted: Float) -> float:
        """Both sides once, in place; returns by how much the value fell."""
        zero, order = self.settings.unobserved, self.pattern.column_order
        rows, columns = self._entries
        (of_rows, of_columns), (to_rows, to_columns) = (map(np.asarray, of) for of in (self.weights, self.pulls))
        fall = half_sweep(rows, of_rows, to_rows, zero, self.ridges[0], V, U, predicted)
        turned = predicted[order]
        given = columns, of_columns, to_columns, zero, self.ridges[1], U, V, turned
        fall += half_sweep(*given) if self.group.size == 1 else spread_pairs.half_sweep(*given, self.group)
        predicted[order] = turned
        return float(self.group.sum(fall))


def line_sums(values: Array, lines: SparseIndex) -> NDArray[Any]:
    """Sums of the values of each line's entries."""
    filled = np.diff(lines.indptr) > 0
    sums = np.zeros(len(filled))
    if filled.any():
        sums[filled] = np.add.reduceat(values, lines.indptr[:-1][filled], dtype=np.float64)
    return sums


def entries(lines: SparseIndex, others: int) -> Entries | SparseIndex:
    """Lines with so many on the other side, as `half_sweep` takes them."""
    return lines if _extensions.core is None else lines.compiled(others)


def half_sweep(
    of: Entries | SparseIndex,
    weights: Float,
    pulls: Float,
    unobserved: float,
    ridge: Float,
    other: Float,
    own: Float,
    predicted: Float,
    passes: int = 1,
    tol: float = 0.0,
) -> float:
    """Move the lines of one side, and the predictions of their entries with them, in place.

    Parameters
    ----------
    of : what `entries` makes of the side's lines
    weights, pulls, predicted : (entries,) float32
        No weight is below `unobserved`.
    unobserved : float
    ridge : (lines,) float32
    other, own : (other lines, width) and (lines, width) float32
        The width a multiple of `BLOCK`. Lines without entries stay as they are.
    passes, tol : int, float
        How often at most; the last is the first to take no more than `tol` of what all took off the value.

    Returns
    -------
    float
        By how much the value fell.
    """
    given = (of, weights, pulls, unobserved, ridge, other, own, predicted)
    if _extensions.core is not None:
        return _extensions.core.half_sweep(*given, passes, tol)
    total = 0.0
    for _ in range(passes):
        fall = plain_half_sweep(*given)
        total += fall
        if fall <= tol * total:
            break
    return total


def plain_half_sweep(
    lines: SparseIndex,
    weights: Float,
    pulls: Float,
    unobserved: float,
    ridge: Float,
    other: Float,
    own: Float,
    predicted: Float,
) -> float:
    """`half_sweep` by NumPy: what the compiled one is compared with, and stands in for it."""
    gram = unobserved * (other.T.astype(np.float64) @ other)
    filled = np.flatnonzero(np.diff(lines.indptr))
    fall, start = 0.0, 0
    while start < len(filled):
        ahead = np.searchsorted(lines.indptr[filled + 1], lines.indptr[filled[start]] + PLAIN_ENTRIES, "right")
        some = filled[start : max(int(ahead), start + 1)]
        start += len(some)
        at = slice(lines.indptr[some[0]], lines.indptr[some[-1] + 1])
        firsts, counts = lines.indptr[some] - at.start, np.diff(lines.indptr)[some]
        w, known = weights[at].astype(np.float64), other[lines.indices[at]].astype(np.float64)
        for c in range(0, own.shape[1], BLOCK):
            block = slice(c, c + BLOCK)
            v, mine = known[:, block], own[some].astype(np.float64)
            outer = ((w - unobserved)[:, None] * v)[:, :, None] * v[:, None, :]
            system = gram[block, block] + np.add.reduceat(outer, firsts)
            system += ridge[some][:, None, None] * np.eye(BLOCK)
            pull = ((w - unobserved) * predicted[at] - pulls[at])[:, None] * v
            gradient = np.add.reduceat(pull, firsts) + mine @ gram[:, block] + ridge[some][:, None] * mine[:, block]
            step = np.linalg.solve(system, gradient[:, :, None])[:, :, 0]
            own[some, block] = mine[:, block] - step
            predicted[at] -= np.einsum("ec,ec->e", v, np.repeat(step, counts, axis=0))
            fall += 0.5 * float(np.vdot(gradient, step))
    return fall


class Descent:
    """Factors on their way to a problem's minimum, which move in place.

    Parameters
    ----------
    problem : AllPairs
    U, V : (rows, k) and (columns, k) float32
        Where to begin; copied.
    """

    def __init__(self, problem: AllPairs, U: Float, V: Float) -> None:
        self.problem: AllPairs = problem
        self.rank: int = U.shape[1]
        self.U, self.V = (np.pad(side, ((0, 0), (0, -self.rank % BLOCK))) for side in (U, V))
        self._predicted = problem.predictions(self.U, self.V)
        self.falls: list[float] = []  # what each sweep took off the value
        self._known: tuple[float, int] | None = None  # the value, and after how many sweeps

    @classmethod
    def beginning(cls, problem: AllPairs, at: Factors | None, rank: int, rng: np.random.Generator) -> Descent:
        """From some factors as wide at most, or none, with new columns up to the rank.

        They are zeros beside U, which goes first, and random numbers beside V; what has no entries gets none. Rows of V
        that have entries and are zero become random: users who chose such items alone would else stay at zero too.
        """
        m, n = problem.pattern.shape
        U, V = (np.zeros((m, 0), np.float32), np.zeros((n, 0), np.float32)) if at is None else (at.U, at.V)
        fresh = START_NORM / math.sqrt(rank) * rng.standard_normal((n, rank - V.shape[1]), np.float32)
        U, V = np.pad(U, ((0, 0), (0, rank - U.shape[1]))), np.hstack([V, fresh])
        unplaced = problem.filled[1] & ~V.any(axis=1)
        V[unplaced] = START_NORM / math.sqrt(rank) * rng.standard_normal((int(unplaced.sum()), rank), np.float32)
        for side, filled in zip((U, V), problem.filled, strict=True):
            side[~filled] = 0
        return cls(problem, U, V)

    @property
    def standing(self) -> tuple[tuple[float, int] | None, Float]:
        """What else moves, and is known of the value: these follow from the factors, but for rounding."""
        return self._known, self._predicted

    @standing.setter
    def standing(self, standing: tuple[Sequence[Any] | None, Float]) -> None:
        known, self._predicted = standing
        self._known = None if known is None else (known[0], known[1])

    def forget_rounding(self) -> None:
        """Predictions anew from the factors: those that were moved along with them differ by rounding."""
        self._predicted = self.problem.predictions(self.U, self.V)

    def factors(self) -> Factors:
        """Views of the factors without what fills up blocks."""
        return Factors(self.U[:, : self.rank], (), self.V[:, : self.rank])

    @property
    def value(self) -> float:
        """The problem's value, evaluated once, at first need."""
        if self._known is None:
            self._known = self.problem.value(self.U, self.V, self._predicted), len(self.falls)
        value, sweeps = self._known
        return value - sum(self.falls[sweeps:])

    @property
    def values(self) -> list[float]:
        """After each sweep."""
        return [self.value + sum(self.falls[n:]) for n in range(1, len(self.falls) + 1)]

    def records(self, phase: str, n_steps: int) -> list[Record]:
        """What was measured after each sweep, the last of which was step `n_steps` of the run."""
        first = n_steps - len(self.falls) + 1
        return [{"phase": phase, "n_steps": first + n, "value": value} for n, value in enumerate(self.values)]

    def sweep(self) -> None:
        self.falls.append(self.problem.sweep(self.U, self.V, self._predicted))

    def run(
        self, run: Run, sweeps: int, tol: float = 0.0, keep: Callable[[Status | None], None] = lambda _: None
    ) -> Status:
        """A phase of a run: sweep until one takes no more than `tol` of the value off it, or, without `tol`, so many
        times; `keep` is called after each, with how the phase ends there, if it does."""

        def look() -> Look:
            status, falls = None, self.falls
            if falls and not math.isfinite(falls[-1]):
                status = Status.NONFINITE
            elif tol > 0 and falls and falls[-1] <= tol * self.value:
                status = Status.CONVERGED
            keep(status)
            moved = falls[-1] / (max(falls) or 1.0) if falls else 1.0
            watched = run.watched or run.group.size > 1  # whether others look on is not known here
            factors = self.factors
            return Look(
                self.value if watched else math.nan,
                moved,
                lambda: factors().map(np.copy) if run.watched else factors(),
                status,
            )

        return run.phase(self.sweep, look, sweeps, planned=tol == 0)
