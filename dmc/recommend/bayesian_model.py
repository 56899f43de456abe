"""A fitted Bayesian factorisation of ratings, and what is asked of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc._group import ALONE, Group
from dmc.factors import Array, Factors
from dmc.observations import Observations
from dmc.pattern import SparseIndex
from dmc.recommend.factor_posterior import FactorPosterior, SideEntries, entries_of_sides, reliability
from dmc.recommend.presence_features import PresenceFeatures
from dmc.recommend.side_information import Described, SideInformation, to_place
from dmc.solver.solution import Record, Status

# Of an entry, in units of the data's standard deviation: what float32 moments carry. Of 49 fits to clean planted
# ratings (ranks 1–5, kinds × sorts) 7 diverge with 1e6; with 1e5 and 2e4 none of 200 does, and of 169 with enough
# entries all but two are predicted. What is cleaner is finished by `noise_free`.
MAX_PRECISION = 2e4
PART = 1 << 20  # entries squared together
PARTS = ("means", "covariance", "weights", "variances", "attributes")  # of a side, in a file


@dataclass(frozen=True, eq=False)
class VariationalFactorization:
    """A fitted Bayesian factorisation.

    Attributes
    ----------
    factors : Factors
        Posterior means, biases included, in the data's units; the mean of the data comes on top.
    mean : float
    noise : float
        Standard deviation of an entry around the model, in the data's units.
    precision : float
        Of an entry of a typical row, in units of the data's standard deviation.
    rank : int
        Directions that stand out of the noise.
    rows, columns : FactorPosterior
        In units of the data's standard deviation.
    unit : float
        The data's standard deviation.
    n_fitted : int
        Entries that it was fitted to; those of `extended` are more.
    errors : list of float
        The noise, in the data's units, after each sweep.
    status : Status
        How the fit ended.
    stopped_by : str or None
        With STOPPED: the callback that asked for it, or "interrupt" for Ctrl-C.
    """

    factors: Factors
    mean: float
    noise: float
    rank: int
    rows: FactorPosterior
    columns: FactorPosterior
    unit: float
    precision: float
    n_fitted: int
    errors: list[float]
    status: Status
    stopped_by: str | None = None
    validation_rmse = math.nan  # nothing is held out

    @property
    def n_iter(self) -> int:
        """Sweeps of the fit."""
        return len(self.errors)

    @property
    def attributes(self) -> SideInformation:
        """Of rows and columns; None where nothing was told."""
        of_rows, of_columns = (
            side.attributes if side.attributes.shape[1] else None for side in (self.rows, self.columns)
        )
        return SideInformation(of_rows, of_columns)

    @property
    def history(self) -> list[Record]:
        """The "n_steps" and "noise" after each sweep."""
        return [{"n_steps": n + 1, "noise": noise} for n, noise in enumerate(self.errors)]

    def extended(
        self,
        observations: Observations,
        row_of: NDArray[np.int64],
        column_of: NDArray[np.int64],
        changed: NDArray[np.bool_],
        described: tuple[Described | None, Described | None] = (None, None),
    ) -> VariationalFactorization:
        """The model with more entries, rows and columns, none of the others fitted again.

        New columns are told by their entries with known rows, then new and changed rows by all of theirs: each gets the
        mean of its posterior under the priors that were learnt.

        Parameters
        ----------
        observations : Observations
            All entries, old and new, in the data's units.
        row_of, column_of : (rows,) and (columns,) int64
            Which row or column of this model each one is; −1 for a new one.
        changed : (rows,) bool
            Known rows that have new entries.
        described : pair of Described, optional
            What is now known of some rows, and of some columns.
        """
        of_rows, of_columns = _scaled_entries(observations, self.mean, self.unit)
        sides = (
            self.rows.extended(of_rows, row_of, column_of, described[0]),
            self.columns.extended(of_columns, column_of, row_of, described[1]),
        )
        sides[1].fold_in(column_of < 0, sides[0], self.precision)
        sides[0].fold_in((row_of < 0) | changed, sides[1], self.precision)
        for side, other, known_as, told in zip(sides, reversed(sides), (row_of, column_of), described, strict=True):
            side.place_cold_starts(other, to_place(known_as, told))
        return replace(self, rows=sides[0], columns=sides[1], factors=factors_of(*sides, self.unit))

    def served(self) -> Factors:
        """The factors, each side with one row more: what is expected of a user or item without entries."""
        root = np.float32(self.unit**0.5)
        (P, b), (Q, c) = (
            (means[:, :-1] * root, means[:, -1] * np.float32(self.unit))
            for means in (np.vstack([side.means, side.cold_start_mean]) for side in (self.rows, self.columns))
        )
        return Factors(P, (), Q, b, c)

    def vector(self, columns: NDArray[Any], values: NDArray[Any]) -> NDArray[np.float64]:
        """(k + 2,) the row of `Factors.left` of a user with these entries alone: the mean of its posterior."""
        index, side = SparseIndex(np.array([0, len(columns)]), columns), self.rows
        x = np.column_stack([self.columns.means[columns, :-1], np.ones(len(columns))]).astype(np.float64)
        expected = (side.presence(index) @ side.weights[: 2 + side.presence.loadings.shape[1]])[0]
        surprise = (values - self.mean) / self.unit - self.columns.means[columns, -1] - x @ expected
        of_prior, gram, steady = np.linalg.inv(side.covariance), x.T @ x, 1.0
        for _ in range(2):  # once more when it shows how reliable its entries are
            covariance = np.linalg.inv(of_prior + steady * self.precision * gram)
            moved = covariance @ (steady * self.precision * x.T @ surprise)
            errors = np.sum((surprise - x @ moved) ** 2) + np.sum(covariance * gram)
            steady = 1.0 if side.reliability is None else reliability(errors, len(columns), self.precision)
        found = expected + moved
        return np.concatenate([self.unit**0.5 * found[:-1], [self.unit * found[-1], 1.0]])

    def contributions(self, row: int, column: int) -> NDArray[np.float64]:
        """(entries,) what each entry of a row adds to the prediction for a column, by being other than was expected.

        The posterior mean is what the prior expects plus a sum over the entries; in the data's units.
        """
        index, side = self.rows.index, self.columns
        at = slice(index.indptr[row], index.indptr[row + 1])
        known = index.indices[at]
        vectors = np.column_stack([side.means[:, :-1], np.ones(len(side.means))]).astype(np.float64)
        x, target = vectors[known], vectors[column]
        expected = self.rows.features[row] @ self.rows.weights
        w = np.ones(len(known)) if self.rows.entry_weights is None else self.rows.entry_weights[at].astype(np.float64)
        surprise = self.rows.values[at] - w * (side.means[known, -1] + x @ expected)
        own = self.precision * (1.0 if self.rows.reliability is None else self.rows.reliability[row])
        gram = np.linalg.inv(self.rows.covariance) + own * (x.T * w) @ x
        return self.unit * own * (x @ np.linalg.solve(gram, target)) * surprise

    @classmethod
    def of(cls, factors: Factors, observations: Observations, mean: float, noise: float) -> VariationalFactorization:
        """A two-factor model with biases that was fitted in another way, under priors estimated from its factors."""
        unit = float(np.std(observations.values, dtype=np.float64)) or 1.0
        of_rows, of_columns = _scaled_entries(observations, mean, unit)
        sides: list[FactorPosterior] = []
        for entries, U, bias, others in (
            (of_rows, factors.U, factors.row_bias, observations.shape[1]),
            (of_columns, factors.V, factors.column_bias, observations.shape[0]),
        ):
            assert bias is not None
            means = np.column_stack([U / unit**0.5, bias / unit]).astype(np.float32)
            presence = PresenceFeatures.of(np.diff(entries.where.indptr), np.zeros((others, 0), np.float32))
            d = means.shape[1]
            covariance = np.cov(means.T, ddof=0).reshape(d, d) + 1e-6 * np.eye(d)
            weights = np.vstack([means.mean(axis=0), np.zeros(d)])
            nothing = np.zeros((len(means), 0), np.float32)
            sides.append(FactorPosterior(*entries, presence, means, covariance, weights, np.ones(2), nothing, None))
        rows, columns = sides
        rank, precision = factors.rank(1e-3), precision_of(noise, unit)
        return cls(
            factors,
            mean,
            noise,
            rank,
            rows,
            columns,
            unit,
            precision,
            observations.n_observed,
            [noise],
            Status.CONVERGED,
        )

    def arrays(self) -> tuple[dict[str, NDArray[Any]], dict[str, float]]:
        """What `from_arrays` needs besides the entries: arrays, and numbers."""
        arrays: dict[str, NDArray[Any]] = {}
        numbers: dict[str, float] = {"mean": self.mean, "noise": self.noise, "unit": self.unit, "rank": self.rank}
        numbers |= {"precision": self.precision, "n_fitted": self.n_fitted}
        for name, side in (("rows", self.rows), ("columns", self.columns)):
            arrays[f"{name}.means"], arrays[f"{name}.covariance"] = side.means, side.covariance
            arrays[f"{name}.weights"], arrays[f"{name}.variances"] = side.weights, side.variances
            arrays[f"{name}.loadings"], arrays[f"{name}.attributes"] = side.presence.loadings, side.attributes
            if side.reliability is not None:
                arrays[f"{name}.reliability"] = side.reliability
            numbers[f"{name}.center"], numbers[f"{name}.spread"] = side.presence.center, side.presence.spread
        return arrays, numbers

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], numbers: Mapping[str, float], observations: Observations
    ) -> VariationalFactorization:
        """The model again, from what `arrays` gave and its entries."""
        unit = numbers["unit"]
        of_rows, of_columns = _scaled_entries(observations, numbers["mean"], unit)
        sides: list[FactorPosterior] = []
        for name, entries in (("rows", of_rows), ("columns", of_columns)):
            presence = PresenceFeatures(
                arrays[f"{name}.loadings"], numbers[f"{name}.center"], numbers[f"{name}.spread"]
            )
            kept: dict[str, Any] = {part: arrays[f"{name}.{part}"] for part in PARTS}
            reliability = arrays.get(f"{name}.reliability")
            index, values, entry_weights = entries
            sides.append(FactorPosterior(index, values, entry_weights, presence, **kept, reliability=reliability))
        rank, noise = int(numbers["rank"]), numbers["noise"]
        rows, columns = sides
        precision = numbers.get("precision", precision_of(noise, unit))  # files of versions before have none
        factors, mean, n_fitted = factors_of(rows, columns, unit), numbers["mean"], int(numbers.get("n_fitted", 0))
        return cls(factors, mean, noise, rank, rows, columns, unit, precision, n_fitted, [noise], Status.CONVERGED)


def precision_of(noise: float, unit: float) -> float:
    return min((unit / noise) ** 2, MAX_PRECISION) if noise > 0 else MAX_PRECISION


def scaled(observations: Observations, group: Group = ALONE) -> tuple[float, float, NDArray[np.float32]]:
    """Mean and standard deviation of the values of all processes, and the own ones in units of it around the mean.

    The mean is rounded to float32, as what is taken off the values is.
    """
    values, weights = observations.values, observations.weights
    mean = float(np.float32(_mean(values, weights, group)))
    centred = values - np.float32(mean)
    parts = (slice(i, i + PART) for i in range(0, len(values), PART))  # all at once in float64 they take room
    squares = total = 0.0
    for part in parts:
        w = 1.0 if weights is None else weights[part].astype(np.float64)
        squares += float(np.sum(w * np.square(centred[part], dtype=np.float64)))
        total += float(np.sum(np.broadcast_to(w, len(centred[part]))))
    unit = math.sqrt(group.sum(squares) / group.sum(total)) or 1.0
    centred *= np.float32(1 / unit)
    return mean, unit, centred


def _mean(values: Array, weights: Array | None, group: Group) -> float:
    if weights is None:
        return float(group.sum(np.sum(values, dtype=np.float64)) / group.sum(len(values)))
    precise = np.asarray(weights, np.float64)
    return float(group.sum((values * precise).sum()) / group.sum(precise.sum()))


def _scaled_entries(observations: Observations, mean: float, unit: float) -> tuple[SideEntries, SideEntries]:
    """The entries of rows and columns, in units of this one around a mean."""
    return entries_of_sides(observations, (observations.values - np.float32(mean)) * np.float32(1 / unit))


def strengths(rows: FactorPosterior, columns: FactorPosterior, precision: float) -> NDArray[np.float64]:
    """(directions,) what each adds to a typical entry, over what noise hides, largest first.

    That is s, as a standard deviation, where s⁴ = (noise variance)² / (entries of a row · entries of a column).
    """
    of_rows, of_columns = (covariance(side.means[:, :-1], side.counts, side.rows_over) for side in (rows, columns))
    found = np.sqrt(np.maximum(np.linalg.eigvals(of_rows @ of_columns).real, 0))
    return np.asarray(np.sort(found)[::-1] * math.sqrt(precision * typical_count(rows, columns)))


def covariance(vectors: Array, counts: Array, group: Group) -> NDArray[np.float64]:
    """(k, k) of the vectors (rows, k) of all processes, each counting as often as `counts` (rows,) says."""
    weights = np.asarray(counts, np.float64)
    total = group.sum(weights.sum())
    average = group.sum((vectors * weights[:, None]).sum(axis=0)) / total
    left = vectors - average
    return np.asarray(group.sum(left.T @ (left * weights[:, None])) / total)


def typical_count(rows: FactorPosterior, columns: FactorPosterior) -> float:
    """The geometric mean of the entries of a row and of a column, each weighing as its entries."""
    squares = 1.0
    for side in (rows, columns):
        total = side.rows_over.sum
        squares *= float(total(np.sum(np.square(side.counts, dtype=np.float64))) / total(side.counts.sum()))
    return math.sqrt(squares)


def factors_of(rows: FactorPosterior, columns: FactorPosterior, unit: float) -> Factors:
    """What is added to the mean, in the data's units."""
    root = np.float32(math.sqrt(unit))
    return Factors(
        root * rows.means[:, :-1],
        (),
        root * columns.means[:, :-1],
        np.float32(unit) * rows.means[:, -1],
        np.float32(unit) * columns.means[:, -1],
    )
