"""What a fit leaves: factors in the data's units, what is known of new rows, and how sure it is of each entry."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc._locks import cached_property
from dmc.completion.scaling import Scaling
from dmc.factors import Array, Factors
from dmc.observations import Observations
from dmc.pattern import Pattern
from dmc.solver import row_solve
from dmc.solver.row_solve import LEAST_NOISE, RowEntries, RowModel

Float = NDArray[np.float64]

SWEEPS = 3  # between noise and the freedom that is left under it
MOST_FREEDOM = 0.9  # of the entries


@dataclass(frozen=True, eq=False)
class Model:
    """A fitted completion.

    Attributes
    ----------
    factors : Factors
        NumPy arrays, in the data's units, with a bias for each line of the scaled side.
    scaling : Scaling
    noise : (lines,) float64
        Standard deviation of an entry around the model, in the data's units: of each row where rows are scaled, else
        of each column.
    mean, covariance : (coordinates,) and (coordinates, coordinates) float64
        Of the rows' factors (where rows are scaled: and bias, both in units of the row's spread), from which a new row
        is expected to come.
    pattern : Pattern
        Where entries were observed.
    weights : (observed,) float64 or None
        Of each entry.
    calibration : float
        By which standard deviations were too small on held-out entries.
    """

    factors: Factors
    scaling: Scaling
    noise: Float
    mean: Float
    covariance: Float
    pattern: Pattern
    weights: Float | None = None
    calibration: float = 1.0

    @classmethod
    def of(
        cls,
        factors: Factors,
        scaling: Scaling,
        noise: Float | None,
        observations: Observations,
        weights: Float | None = None,
    ) -> Model:
        """From factors in the data's units and NumPy observations; noise that is not given is estimated."""
        rows = np.asarray(factors.U).astype(np.float64)
        if scaling.side == "rows":
            s = scaling.spread
            assert factors.row_bias is not None
            rows = np.column_stack([rows, factors.row_bias - scaling.location]) / s[:, None]
        seen = np.asarray(observations.pattern.row_counts) > 0
        rows = rows[seen] if seen.any() else rows
        d = rows.shape[1]
        # Turned here: NumPy before 2.2 overlooks rowvar=False where there is one row.
        mean, covariance = rows.mean(axis=0), np.cov(rows.T, ddof=0).reshape(d, d)
        # Few rows leave it open in which directions others may differ.
        open_ = (np.trace(covariance) + mean @ mean) / (max(d, 1) * len(rows))
        covariance = covariance + open_ * np.eye(d)
        lines = len(scaling.spread)
        given = np.zeros(lines) if noise is None else noise
        model = cls(factors, scaling, given, mean, covariance, observations.pattern, weights)
        return model if noise is not None else replace(model, noise=model._estimated(observations))

    def _estimated(self, observations: Observations) -> Float:
        """One noise for all, in units of each line's spread, from the residuals and the freedom that the model takes
        under that noise."""
        spread = self.scaling.spread
        at = observations.rows if self.scaling.side == "rows" else observations.cols
        predicted = np.asarray(self.factors.at(observations.rows, observations.cols))
        residual = predicted.astype(np.float64) - observations.values
        residual = residual / spread[at]
        squares, n = float(residual @ residual), len(residual)
        m, columns = self.factors.shape
        width = self.factors.width
        freedom = float(min(width * (m + columns - width), MOST_FREEDOM * n))
        noise = np.sqrt(squares / (n - freedom))
        for _ in range(SWEEPS if width else 0):
            if not noise > 0:
                break
            freedom = -float(width**2)
            trial = replace(self, noise=noise * spread)
            for side in (0, 1):
                found, root, _ = _whitened_covariances(trial, side)
                freedom += float((1 - found[:, row_solve.diagonal(len(root))]).sum())
            noise = np.sqrt(squares / (n - min(max(freedom, 0.0), MOST_FREEDOM * n)))
        return np.asarray(noise * spread * ~self.scaling.constant)

    def of_rows(self, origin: NDArray[np.int64], pattern: Pattern, weights: Float | None) -> Model:
        """The model of rows that stood there several times, once each; those that did not stand there get zeros.

        Parameters
        ----------
        origin : (fitted rows,) int array
            Which of the rows each of the fitted ones was.
        pattern, weights
            Of the rows.
        """
        m = pattern.shape[0]

        def once(of_fitted: Any, nothing: float = 0) -> Any:
            if of_fitted is None:
                return None
            of_rows = np.full((m, *of_fitted.shape[1:]), nothing, of_fitted.dtype)
            of_rows[origin] = of_fitted
            return of_rows

        factors, scaling, noise = self.factors, self.scaling, self.noise
        factors = replace(factors, U=once(factors.U), row_bias=once(factors.row_bias))
        if scaling.side == "rows":
            arrays = once(scaling.location), once(scaling.spread, 1), once(scaling.constant)
            scaling, noise = Scaling("rows", *arrays), once(noise)
        return replace(self, factors=factors, scaling=scaling, noise=noise, pattern=pattern, weights=weights)

    @cached_property
    def row_model(self) -> RowModel:
        """What is known of a new row before its entries are: its posterior is fold-in."""
        V = np.asarray(self.factors.V).astype(np.float64)
        if self.scaling.side == "rows":
            features, offset = np.column_stack([V, np.ones(len(V))]), np.zeros(len(V))
            return RowModel.of(features, offset, np.full(len(V), self.typical_noise), self.mean, self.covariance)
        bias = self.factors.column_bias
        offset = np.zeros(len(V)) if bias is None else np.asarray(bias).astype(np.float64)
        return RowModel.of(V, offset, self.noise, self.mean, self.covariance)

    def fold_in(
        self, observations: Observations, weights: Float | None = None, *, covariances: bool = False
    ) -> tuple[Factors, Float | None]:
        """Rows with these entries, each at the mean of its posterior given the columns.

        Parameters
        ----------
        observations : Observations
            NumPy.
        weights : (observed,) float64 array, optional
            Of each entry, relative to the others.
        covariances : bool
            Whether they are asked for.

        Returns
        -------
        Factors
            With the fitted columns.
        (rows, coordinates, coordinates) array or None
            Covariances of the rows' factors and bias, in the data's units.
        """
        given, dtype, cols = self.row_model, self.factors.U.dtype, observations.cols
        own = Scaling.of(observations, "rows", weights) if self.scaling.side == "rows" else None
        given_values = np.asarray(observations.values)
        values = given_values.astype(np.float64) if own is None else own.standardised(observations).values
        w = None if weights is None else weights / weights.mean()
        entries = RowEntries.of(observations.pattern, w, (values - given.base[cols]) / given.noise[cols])
        a, of_rows = given.posterior(entries, covariances=covariances)
        if own is None:
            return Factors(a.astype(dtype), (), self.factors.V, None, self.factors.column_bias), of_rows
        s = own.spread
        if of_rows is not None:
            of_rows = of_rows * (s * s)[:, None, None]
        U, bias = s[:, None] * a[:, :-1], own.location + s * a[:, -1]
        return Factors(U.astype(dtype), (), self.factors.V, bias.astype(dtype)), of_rows

    def covariances(self, side: int, lines: NDArray[Any] | None = None) -> Float:
        """(lines, coordinates, coordinates) of the rows' (0) or columns' (1) factors and bias, given the other side."""
        found, spread, units = _whitened_covariances(self, side, lines)
        turned = spread @ row_solve.unpacked(found, len(spread)) @ spread.T
        own = _coordinates(self.factors, side)[0]
        # A line has no part in directions that are those of other blocks, and none is open there.
        present = (own if lines is None else own[lines]) != 0
        turned = turned * present[:, :, None] * present[:, None, :]
        return np.asarray(turned * (units**2)[:, None, None])

    def deviations(self, rows: NDArray[Any], cols: NDArray[Any]) -> Float:
        """(pairs,) standard deviations of entries as they would be measured, in the data's units."""
        own, row_at = np.unique(rows, return_inverse=True)
        others, column_at = np.unique(cols, return_inverse=True)
        S, C = self.covariances(0, own), self.covariances(1, others)
        k = self.factors.width
        right, left = (_coordinates(self.factors, side)[1] for side in (0, 1))
        variance = self._noise_at(rows, cols) ** 2
        chunk = max(1, (1 << 22) // max(S.shape[1], C.shape[1], 1) ** 2)
        for i in range(0, len(rows), chunk):
            at = slice(i, i + chunk)
            s, c, x, y = S[row_at[at]], C[column_at[at]], right[cols[at]], left[rows[at]]
            variance[at] += np.einsum("pi,pij,pj->p", x, s, x) + np.einsum("pi,pij,pj->p", y, c, y)
            variance[at] += np.einsum("pij,pij->p", s[:, :k, :k], c[:, :k, :k])
        return np.asarray(self.calibration * np.sqrt(np.maximum(variance, self._noise_at(rows, cols) ** 2)))

    def draw(self, rng: np.random.Generator) -> Float:
        """(rows, columns) entries as they might have been measured: rows, columns and noise at random."""
        sides = []
        for side in (0, 1):
            own, _ = _coordinates(self.factors, side)
            values, vectors = np.linalg.eigh(self.covariances(side))
            normal = rng.standard_normal(own.shape) * np.sqrt(np.maximum(values, 0))
            sides.append(own + (vectors @ normal[:, :, None])[:, :, 0])
        k, biases = self.factors.width, (self.factors.row_bias, self.factors.column_bias)
        drawn = Factors(
            sides[0][:, :k],
            (),
            sides[1][:, :k],
            *(None if bias is None else side[:, k] for bias, side in zip(biases, sides, strict=True)),
        ).dense()
        noise = self.noise[:, None] if self.scaling.side == "rows" else self.noise
        return np.asarray(drawn + noise * rng.standard_normal(drawn.shape))

    def row_deviations(self, observations: Observations, folded: Factors, of_rows: Float) -> Float:
        """(rows, columns) the same for all columns of rows with these entries, from what `fold_in` gave of them."""
        C = self.covariances(1)
        k = self.factors.width
        right, left = (_coordinates(replace(folded, V=self.factors.V), side)[1] for side in (0, 1))
        spread = row_solve.seconds(right) @ _halves(of_rows).T
        spread = spread.T + row_solve.seconds(left) @ _halves(C).T
        noise = self.noise
        if self.scaling.side == "rows":
            noise = self.typical_noise * Scaling.of(observations, "rows").spread[:, None]
        both = of_rows[:, :k, :k].reshape(len(of_rows), -1) @ C[:, :k, :k].reshape(len(C), -1).T
        return np.asarray(self.calibration * np.sqrt(noise**2 + spread + both))

    @property
    def typical_noise(self) -> float:
        """Of an entry, in spreads of its line."""
        return float(np.sqrt(np.mean((self.noise / self.scaling.spread) ** 2)))

    def _noise_at(self, rows: Array, cols: Array) -> Float:
        return self.noise[rows] if self.scaling.side == "rows" else self.noise[cols]


def _halves(matrices: Float) -> Float:
    """(…, k(k+1)/2) packed symmetric matrices such that ⟨x·xᵀ packed, they⟩ = xᵀ A x."""
    k = matrices.shape[-1]
    return np.asarray(row_solve.packed(matrices) * row_solve.packed(2 - np.eye(k)))


def _coordinates(factors: Factors, side: int) -> tuple[Float, Float]:
    """The unknowns of one side's lines, with their bias if they have one; and the other side's vectors that multiply
    them."""
    own, other = (factors.U, factors.V) if side == 0 else (factors.V, factors.U)
    bias = factors.row_bias if side == 0 else factors.column_bias
    own, other = np.asarray(own).astype(np.float64), np.asarray(other).astype(np.float64)
    if bias is None:
        return own, other
    return np.column_stack([own, bias]), np.column_stack([other, np.ones(len(other))])


def _whitened_covariances(model: Model, side: int, lines: NDArray[Any] | None = None) -> tuple[Float, Float, Float]:
    """Of the lines of one side: packed covariances in coordinates in which the prior is N(0, I), what turns these into
    the unknowns, and (lines,) the units of each line's unknowns."""
    factors, pattern, scaled = model.factors, model.pattern, model.scaling.side
    own, features = _coordinates(factors, side)
    units = np.ones(len(own))
    if scaled == ("rows", "columns")[side]:
        units = model.scaling.spread
        own = own.copy()
        own[:, -1] -= model.scaling.location
    scaled_own = own / units[:, None]
    values, vectors = np.linalg.eigh(scaled_own.T @ scaled_own / max(len(own), 1))
    spread = vectors * np.sqrt(np.maximum(values, 0))
    entries, precision = (pattern.by_row, pattern.by_column)[side], _entry_precision(model)
    if side:
        precision = np.asarray(pattern.both_orders(precision).by_column)
    if lines is not None:
        entries, kept = entries.take(lines)
        precision, units = precision[kept], units[lines]
    precision = precision * np.repeat(units, np.diff(entries.indptr)) ** 2
    weights = row_solve.matrix(Pattern((len(units), len(features)), entries), precision)
    nothing = np.zeros((len(units), features.shape[1]))
    _, found = row_solve.posteriors(weights, nothing, features @ spread, covariances=True)
    assert found is not None
    return found, spread, units


def _entry_precision(model: Model) -> Float:
    """(observed,) of each entry around the model, bounded by what rounding leaves."""
    pattern = model.pattern
    at = pattern.rows if model.scaling.side == "rows" else pattern.cols
    size = np.zeros(len(model.scaling.spread))  # of each line's predictions: units may differ between them
    np.maximum.at(size, at, np.abs(model.factors.at(pattern.rows, pattern.cols)))
    noise = np.maximum(model.noise, LEAST_NOISE * np.where(size > 0, size, 1.0))[at]
    return np.asarray((1.0 if model.weights is None else model.weights) / noise**2)


def in_units(factors: Factors, unit: float) -> Factors:
    """The whole matrix times a positive number, shared between both sides."""
    root = math.sqrt(unit)
    scaled = factors.scaled(unit)
    return replace(scaled, U=factors.U * root, V=factors.V * root)
