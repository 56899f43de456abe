"""Factor analysis of a table with gaps: each column has a level and a noise, rows come from one population."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import svds

from dmc.completion import tuning
from dmc.factors import Array, Factors
from dmc.observations import Observations
from dmc.solver import row_solve
from dmc.solver.kept_phases import Course
from dmc.solver.loop import Run
from dmc.solver.solution import Look, Status

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Entries:
    """The observed entries of a standardised table, as products take them: dense arrays, or sparse if most are missing.

    Attributes
    ----------
    weights : (rows, columns)
        Of each entry, on average 1; zero where nothing was observed.
    weighted : (rows, columns)
        Weight times value.
    squares : (columns,)
        Sums of weight times squared value.
    rows, cols : (watched,) integers
        Some observed positions.
    """

    weights: row_solve.Matrix
    weighted: row_solve.Matrix
    squares: Float
    counts: NDArray[np.int64]
    rows: NDArray[Any]
    cols: NDArray[Any]

    @classmethod
    def of(cls, observations: Observations, weights: NDArray[Any] | None = None) -> Entries:
        """From NumPy observations and the weights (observed,) of their entries."""
        values = np.asarray(observations.values).astype(np.float64)
        w = np.ones(len(values)) if weights is None else weights / weights.mean()
        both = [row_solve.matrix(observations.pattern, data) for data in (w, w * values)]
        n = observations.shape[1]
        squares = np.bincount(observations.cols, w * values * values, n).astype(np.float64)
        step = max(1, observations.n_observed // tuning.FACTOR_ANALYSIS.watched)
        counts = np.asarray(observations.pattern.column_counts)
        return cls(both[0], both[1], squares, counts, observations.rows[::step], observations.cols[::step])


@dataclass(frozen=True, eq=False)
class FactorAnalysis:
    """x_ij = c_j + ⟨u_i, v_j⟩ + noise of variance ψ_j, with u_i ~ N(0, I), by variational Bayes.

    The loadings v have a weak prior in units of the columns' spread, or one whose width is learnt for each direction
    ("automatic relevance determination"), so that directions without support vanish.

    Attributes
    ----------
    loadings : (columns, width)
        v.
    intercept : (columns,)
        c.
    covariances : (columns, (width + 1)(width + 2) / 2)
        Packed posterior covariances of (v_j, c_j).
    noise : (columns,)
        ψ.
    factors : (rows, width)
        Posterior means of u.

    References
    ----------
    D. Rubin, D. Thayer, "EM algorithms for ML factor analysis", 1982; A. Ilin, T. Raiko, "Practical approaches to
    principal component analysis in the presence of missing values", 2010; the rotation to a standard normal
    population in each sweep is the parameter expansion of J. Luttinen, A. Ilin, 2010.
    """

    loadings: Float
    intercept: Float
    covariances: Float
    noise: Float
    factors: Float

    @property
    def width(self) -> int:
        return self.loadings.shape[1]

    def rows(
        self, weights: row_solve.Matrix, weighted: row_solve.Matrix, *, covariances: bool = False
    ) -> tuple[Float, Float | None]:
        """Posterior means (rows, width) and, if asked for, packed covariances of rows with these entries."""
        V, k = self.loadings, self.width
        full = row_solve.unpacked(self.covariances, k + 1)
        precision = 1 / self.noise[:, None]
        moments = (row_solve.seconds(V) + row_solve.packed(full[:, :k, :k])) * precision
        offset = (self.intercept[:, None] * V + full[:, :k, k]) * precision
        targets = weighted @ (V * precision) - weights @ offset
        return row_solve.posteriors(weights, targets, V, moments, covariances=covariances)

    def at(self, rows: Array, cols: Array) -> Float:
        """(pairs,) predictions."""
        return np.asarray(np.einsum("ij,ij->i", self.factors[rows], self.loadings[cols]) + self.intercept[cols])


class Analysis(Course):
    """A fit to standardised entries, from the leading singular vectors on: swept, and looked at, by a `Run`.

    Parameters
    ----------
    entries : Entries
    width : int
        Directions.
    relevance : bool
        Whether the width of the prior is learnt for each direction.
    start : FactorAnalysis, optional
        Of a sample of the rows, standardised alike: a sweep over all of them then does.

    Attributes
    ----------
    model : FactorAnalysis
        As it stands.
    max_sweeps : int
    """

    def __init__(
        self, entries: Entries, width: int, *, relevance: bool = False, start: FactorAnalysis | None = None
    ) -> None:
        self.entries: Entries = entries
        self._relevance = relevance
        self.model: FactorAnalysis = _start(entries, width) if start is None else start
        self.max_sweeps: int = (
            tuning.FACTOR_ANALYSIS.sweeps_from_sample if start else most_sweeps(entries, self.model.width)
        )
        self._alpha = np.full(self.model.width, tuning.FACTOR_ANALYSIS.loading_precision)
        self._before, self._move = np.full(len(entries.rows), np.inf), math.inf

    def standing(self) -> tuple[FactorAnalysis, Float, Float, float]:
        return self.model, self._alpha, self._before, self._move

    def stand(self, standing: tuple[FactorAnalysis, Float, Float, float]) -> None:
        self.model, self._alpha, self._before, self._move = standing

    def sweep(self) -> None:
        """All rows, then all columns."""
        U, S = self.model.rows(self.entries.weights, self.entries.weighted, covariances=True)
        assert S is not None
        self.model, self._alpha = _columns(self.entries, U, S, self.model.noise, self._alpha, self._relevance)
        now = self.model.at(self.entries.rows, self.entries.cols)
        self._move, self._before = math.sqrt(float(np.mean((now - self._before) ** 2))), now

    def look(self) -> Look:
        """The mean variance of the noise; CONVERGED, where predictions hardly move."""
        model = self.model
        status = Status.CONVERGED if self._move < tuning.FACTOR_ANALYSIS.tol else None
        factors = Factors(model.factors, (), model.loadings, None, model.intercept)
        return Look(float(model.noise.mean()), 1.0, lambda: factors, status)


def most_sweeps(entries: Entries, width: int) -> int:
    """Sweeps at most, the more work one is the fewer."""
    m, n = entries.weights.shape
    work = (m + n) * (width + 1.0) ** 3 + 2 * m * n * (width + 1.0) ** 2
    numbers = tuning.FACTOR_ANALYSIS
    return int(min(max(numbers.sweeps_work / work, numbers.min_sweeps), numbers.max_sweeps))


def finished(entries: Entries, model: FactorAnalysis) -> FactorAnalysis:
    """In principal directions, without those that tell next to nothing of a row; and with the factors of these rows."""
    k, V = model.width, model.loadings
    information, axes = np.linalg.eigh((V / model.noise[:, None]).T @ V)
    kept = information > tuning.FACTOR_ANALYSIS.min_information
    turn = np.zeros((k + 1, int(kept.sum()) + 1))
    turn[:k, :-1], turn[k, -1] = axes[:, kept], 1
    covariances = row_solve.packed(turn.T @ row_solve.unpacked(model.covariances, k + 1) @ turn)
    model = replace(model, loadings=V @ turn[:k, :-1], covariances=covariances)
    return replace(model, factors=model.rows(entries.weights, entries.weighted)[0])


def fit(entries: Entries, width: int, *, relevance: bool = False) -> FactorAnalysis:
    """The end of an `Analysis`."""
    analysis = Analysis(entries, width, relevance=relevance)
    Run().phase(analysis.sweep, analysis.look, analysis.max_sweeps, planned=True)
    return finished(entries, analysis.model)


def _start(entries: Entries, width: int) -> FactorAnalysis:
    m, n = entries.weights.shape
    if not entries.squares.any() or min(m, n, width + 1) < 2:
        s, Qt = np.zeros(0), np.zeros((0, n))
    elif sparse.issparse(entries.weighted):
        start = np.random.default_rng(0).standard_normal(min(m, n))
        _, s, Qt = svds(entries.weighted, min(width, min(m, n) - 1), v0=start)
        order = np.argsort(-s)
        s, Qt = s[order], Qt[order]
    else:
        _, s, Qt = np.linalg.svd(entries.weighted, full_matrices=False)
    share = max(float(entries.counts.sum()) / (m * n), 1e-12)
    V = np.zeros((n, width))
    k = min(width, len(s))
    V[:, :k] = Qt[:k].T * (s[:k] / (math.sqrt(m) * share))
    # Loadings explain at most a column's own variance.
    V /= np.maximum(1, np.sqrt((V * V).sum(axis=1, keepdims=True)))
    half = np.full(n, 0.5)
    return FactorAnalysis(V, np.zeros(n), np.zeros((n, (width + 1) * (width + 2) // 2)), half, np.zeros((m, width)))


def _columns(
    entries: Entries, U: Float, S: Float, noise: Float, alpha: Float, relevance: bool
) -> tuple[FactorAnalysis, Float]:
    """The columns' posteriors and noise given the rows', in coordinates in which the rows are N(0, I) again."""
    numbers, (m, k) = tuning.FACTOR_ANALYSIS, U.shape
    n, counts = len(noise), np.maximum(entries.counts, 1)
    second, first = row_solve.seconds(U) + S, np.column_stack([U, np.ones(m)])
    mean = U.mean(axis=0)
    covariance = row_solve.unpacked(second.mean(axis=0), k) - np.outer(mean, mean)
    root = np.linalg.cholesky(covariance + 1e-12 * np.trace(covariance) / max(k, 1) * np.eye(k)) if k else covariance
    turn = np.zeros((k + 1, k + 1))
    turn[:k, :k] = np.linalg.inv(root)
    turn[:k, k], turn[k, k] = -turn[:k, :k] @ mean, 1
    grams = np.empty((n, k + 1, k + 1))
    grams[:, :k, :k] = row_solve.unpacked(np.ascontiguousarray(entries.weights.T @ second), k)
    sums = np.ascontiguousarray(entries.weights.T @ first)
    grams[:, k, :] = grams[:, :, k] = sums
    grams = turn @ grams @ turn.T
    sides = np.ascontiguousarray(entries.weighted.T @ first) @ turn.T
    covariances = row_solve.packed(
        grams / noise[:, None, None] + np.diag(np.append(alpha, numbers.intercept_precision))
    )
    found = sides / noise[:, None]
    row_solve.solve(covariances, found, inverses=True)
    spread = row_solve.unpacked(covariances, k + 1)
    errors = entries.squares - 2 * np.einsum("jk,jk->j", found, sides)
    errors += np.einsum("jkl,jkl->j", grams, found[:, :, None] * found[:, None, :] + spread)
    errors = np.maximum(errors, 0)
    average = errors.sum() / counts.sum()
    share = counts / (counts + numbers.noise_entries)  # a geometric mean: columns that others determine keep no noise
    noise = np.maximum((errors / counts) ** share * average ** (1 - share), numbers.min_noise)
    V, U = found[:, :k], first @ turn.T
    if relevance and k:
        sizes, axes = np.linalg.eigh(V.T @ V + spread[:, :k, :k].sum(axis=0))
        whole = np.eye(k + 1)
        whole[:k, :k] = axes
        V, U = V @ axes, U @ whole
        covariances = row_solve.packed(whole.T @ spread @ whole)
        alpha = n / np.maximum(sizes, 1e-10 * n)
    return FactorAnalysis(V, found[:, k], covariances, noise, U[:, :k]), alpha
