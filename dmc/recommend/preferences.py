"""A fitted model of clicks: who prefers what, and what is asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc._group import ALONE, Group
from dmc._locks import cached_property
from dmc.factors import Array, Factors
from dmc.kernels.pair_blocks import BLOCK
from dmc.observations import Observations
from dmc.pattern import SparseIndex
from dmc.recommend import implicit_cold_start
from dmc.recommend.all_pairs import Settings, entries, half_sweep, line_sums
from dmc.recommend.implicit_cold_start import Flags
from dmc.recommend.side_information import NONE, Described, SideInformation, extended, to_place
from dmc.solver.solution import Record, Status

FIRST_SETTINGS = Settings(0.2, 0.4, 0.5)  # of files of versions that kept none
FOLD_IN_UNTIL = 30, 1e-6  # passes, and what the last takes of the value: far below what lists show

SIDES = ("rows", "columns")
Float = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Preferences:
    """A fitted model of who prefers what: about 1 for what is chosen, about 0 for what is not.

    Attributes
    ----------
    factors : Factors
        Two-factor, float32.
    counts : Observations
        What was fitted; below 0: dislikes.
    errors : list of float
        The value after each step of the last fit, to all counts.
    status : Status
    settings : Settings
        With which it was fitted, and others are folded in.
    searched : list of dict
        How the settings were found, a fit to nine tenths of the counts each: its "rank" and "ridge", the "ndcg" of the
        tenth that was held out, and the "noise" (standard error) of the difference between that and the best before;
        with "phase" and "n_steps" as in `history`.
    n_searched : int
        Of how many counts that was.
    history : list of dict
        What was measured, in its order: "phase" ("search", or "fit" to all counts), "n_steps" and "value" after each
        step, and among them what was searched.
    n_iter : int
        Steps of all phases.
    stopped_by : str or None
        With STOPPED: the callback that asked for it, or "interrupt" for Ctrl-C.
    attributes : SideInformation
        Of rows and columns: those without counts are placed by them.
    cold : pair of (rows,) and (columns,) bool, optional
        Which ones no counts have placed: where others are placed, nothing is said of them. None: those without counts.
    average : (k,) float32 array, optional
        The average user, where other processes have users too. None: of those here.
    directions : int, optional
        The rank, where other processes have users too. None: with those here.
    """

    factors: Factors
    counts: Observations
    errors: list[float]
    status: Status
    settings: Settings = FIRST_SETTINGS
    searched: list[Record] = field(default_factory=list)
    n_searched: int = 0
    history: list[Record] = field(default_factory=list)
    n_iter: int = 0
    stopped_by: str | None = None
    attributes: SideInformation = NONE
    cold: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None = None
    average: Float | None = None
    directions: int | None = None
    mean = 0.0
    noise = validation_rmse = float("nan")

    @property
    def rank(self) -> int:
        """Directions whose share is above a thousandth of the largest one's."""
        return rank_of(self.factors) if self.directions is None else self.directions

    def served(self) -> Factors:
        """The factors, each side with one row more for those who are not known: the average user, and no item.

        Users of whom nothing is known are average too: without a count, or with counts of unknown items alone.
        """
        U, V, known = self.factors.U, self.factors.V, self.known[:, None]
        U, V = np.vstack([np.where(known, U, self._average), self._average]), np.vstack([V, np.zeros_like(V[:1])])
        return Factors(U, (), V, *(np.zeros(len(side), np.float32) for side in (U, V)))

    @cached_property
    def warm(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(rows,) and (columns,) those that are not `cold`."""
        if self.cold is not None:
            return ~self.cold[0], ~self.cold[1]
        return self.counts.pattern.row_counts > 0, self.counts.pattern.column_counts > 0

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """(rows,) users with factors of their own: not those without counts and attributes, or with counts of unplaced
        items alone."""
        return np.asarray(self.factors.U.any(axis=1))

    @cached_property
    def _average(self) -> Float:
        """(k,) of the average user who has counts."""
        if self.average is not None:
            return self.average
        among = self.known & (self.counts.pattern.row_counts > 0)
        return self.factors.U[among].sum(axis=0) / np.float32(max(among.sum(), 1))

    def with_cold_starts(self, rows: Flags = None, columns: Flags = None) -> Preferences:
        """With rows and columns without counts, and columns with few, placed by their attributes: all, or those
        flagged."""
        factors = implicit_cold_start.placed(self.factors, self.counts, self.attributes, (rows, columns))
        return replace(self, factors=factors)

    def extended(
        self,
        observations: Observations,
        row_of: NDArray[np.int64],
        column_of: NDArray[np.int64],
        changed: NDArray[np.bool_],
        described: tuple[Described | None, Described | None] = (None, None),
    ) -> Preferences:
        """With more counts, users and items, none of the others fitted again: `VariationalFactorization.extended`."""
        counts = observations.pattern.both_orders(observations.values)
        U, V = (
            np.where(old[:, None] >= 0, factor[old], np.float32(0))
            for factor, old in ((self.factors.U, row_of), (self.factors.V, column_of))
        )
        filled = observations.pattern.row_counts > 0, observations.pattern.column_counts > 0
        warm = tuple(
            has | ((old >= 0) & was[old]) for has, was, old in zip(filled, self.warm, (row_of, column_of), strict=True)
        )
        for side, other, told, index, values, which in (
            (V, U, warm[0], observations.pattern.by_column, counts.by_column, column_of < 0),
            (U, V, warm[1], observations.pattern.by_row, counts.by_row, (row_of < 0) | changed),
        ):
            of_these, places = index.take(which)
            side[which] = self._folded_in(other, told, of_these, values[places])
        news = tuple(zip((row_of, column_of), described, strict=True))
        attributes = SideInformation(
            *(of if of is None else extended(of, *to) for of, to in zip(self.attributes, news, strict=True))
        )
        cold = ~warm[0], ~warm[1]
        grown = replace(self, factors=Factors(U, (), V), counts=observations, attributes=attributes, cold=cold)
        # What stood between its attributes and its counts stays there.
        movable = (to_place(*to) & ((to[0] < 0) | ~has) for to, has in zip(news, filled, strict=True))
        return grown.with_cold_starts(*movable)

    def _folded_in(self, other: Float, warm: NDArray[np.bool_], index: SparseIndex, counts: Float) -> Float:
        """(rows, k) factors of those with such counts, the columns' being known (or the reverse)."""
        weights, pulls = self.settings.terms(counts)
        ridge = self.settings.ridges(line_sums(weights, index), int(warm.sum())).astype(np.float32)
        known = np.pad(other, ((0, 0), (0, -other.shape[1] % BLOCK)))
        known[~warm] = 0
        own = np.zeros((len(ridge), known.shape[1]), np.float32)
        of, predicted = entries(index, len(other)), np.zeros(len(weights), np.float32)
        half_sweep(of, weights, pulls, self.settings.unobserved, ridge, known, own, predicted, *FOLD_IN_UNTIL)
        return own[:, : other.shape[1]]

    def vector(self, columns: NDArray[Any], values: NDArray[Any]) -> NDArray[np.float64]:
        """(k + 2,) the row of `Factors.left` of a user with these counts alone; without any the average user's."""
        refuse_nothing(values)
        system, known, pulls = self._system(columns, values)
        own = np.linalg.solve(system, known.T @ pulls) if known[pulls > 0].any() else self._average
        return np.concatenate([own, [0.0, 1.0]])

    def contributions(self, row: int, column: int) -> NDArray[np.float64]:
        """(entries,) what each of a row's counts adds to its preference for a column; their sum is the preference."""
        index = self.counts.pattern.by_row
        at = slice(index.indptr[row], index.indptr[row + 1])
        system, known, pulls = self._system(index.indices[at], self.counts.values[at])
        return pulls * (known @ np.linalg.solve(system, self.factors.V[column].astype(np.float64)))

    def _system(
        self, columns: NDArray[Any], counts: NDArray[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """The matrix of one row's least squares problem, the columns' factors in it, and what pulls at them."""
        weights, pulls = (of.astype(np.float64) for of in self.settings.terms(counts))
        known = self.factors.V[columns].astype(np.float64)
        own = known.T @ ((weights - self.settings.unobserved)[:, None] * known)
        ridge = self.settings.ridges(weights.sum(), int(self.warm[1].sum()))
        return self._zeros + own + ridge * np.eye(known.shape[1]), known, pulls

    @cached_property
    def _zeros(self) -> NDArray[np.float64]:
        V = self.factors.V if self.warm[1].all() else self.factors.V[self.warm[1]]
        return self.settings.unobserved * (V.T @ V).astype(np.float64)

    def arrays(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """What `from_arrays` needs besides the counts."""
        found = {**self.settings._asdict(), "searched": self.searched, "n_searched": self.n_searched}
        arrays = {"U": np.asarray(self.factors.U), "V": np.asarray(self.factors.V)}
        for name, attributes, warm in zip(SIDES, self.attributes, self.warm, strict=True):
            if attributes is not None:
                arrays[f"{name}.attributes"] = attributes
            if not warm.all():
                arrays[f"{name}.cold"] = ~warm
        if self.average is not None:
            arrays["average"] = self.average
        return arrays, found

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], numbers: Mapping[str, Any], observations: Observations
    ) -> Preferences:
        """The model again."""
        settings = Settings(*(numbers[name] for name in Settings._fields)) if numbers else FIRST_SETTINGS
        factors = Factors(arrays["U"], (), arrays["V"])
        searched = [{"phase": "search"} | trial for trial in numbers.get("searched", [])]  # older files do not say it
        n_searched = numbers.get("n_searched", observations.n_observed)
        attributes = SideInformation(*(arrays.get(f"{name}.attributes") for name in SIDES))
        of_rows, of_columns = (
            np.asarray(arrays.get(f"{name}.cold", np.zeros(len(side), bool)))
            for name, side in zip(SIDES, (factors.U, factors.V), strict=True)
        )
        return cls(
            factors, observations, [], Status.CONVERGED, settings, searched, n_searched, attributes=attributes,
            cold=(of_rows, of_columns), average=arrays.get("average")
        )  # fmt: skip


def rank_of(factors: Factors, group: Group = ALONE) -> int:
    """Directions whose share is above a thousandth of the largest one's, with the rows of all processes."""
    U, V = factors.U, factors.V
    of_rows, of_columns = group.sum((U.T @ U).astype(np.float64)), (V.T @ V).astype(np.float64)  # quicker than an SVD
    values, vectors = np.linalg.eigh(of_rows)
    root = vectors * np.sqrt(np.maximum(values, 0))
    squares = np.linalg.eigvalsh(root.T @ of_columns @ root)
    return int(group.first(int((squares > 1e-6 * squares[-1]).sum())) if squares[-1] > 0 else 0)


def refuse_nothing(counts: Array) -> None:
    """Raise a ValueError if a count is 0."""
    nothing = int((counts == 0).sum())
    if nothing:
        told = _checks.count(nothing, "count is", "counts are")
        raise ValueError(f"{told} 0; leave out rows of what did not happen (a count below 0 is a dislike)")
