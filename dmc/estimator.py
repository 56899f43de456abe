"""MatrixCompletion: the solver with scikit-learn's manners, told nothing but the data."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import _check_feature_names, _check_feature_names_in, check_is_fitted

from dmc import _checks, initial, kernels, steps
from dmc.callbacks import EarlyStopping, Progress, Stagnation
from dmc.factors import Factors
from dmc.observations import Observations, observe
from dmc.problem import MaskedLeastSquares
from dmc.solution import Status
from dmc.solver import Callback, solve

START_SCALE = 1e-2  # ε of the deep network's cores, for data of unit spectral norm
DISCOVERED = 1e-2  # gradient ratio at which a deep phase has shown the directions that it will show
GROWN = 3e-2  # of the largest singular value: a direction below it has not left the small start behind
NEGLIGIBLE = 1e-6  # of the largest singular value, once the entries are matched exactly
IMPROVEMENT = 5e-3  # relative fall of the held-out error that is worth more rank
DEEP_STEPS, POLISH_STEPS = 2_000, 10_000  # more than a phase needs: it ends when it has done its work
MAX_HELD_OUT = 10_000  # entries: enough to know the error to a percent
MIN_HELD_OUT = 20  # entries: with fewer the error says nothing
POLISH = steps.Backtracking(steps.ScaledDescent())


class MatrixCompletion(TransformerMixin, BaseEstimator):
    """Fill in a matrix from few of its entries, with no rank, step size or iteration count to give.

    A compressed deep linear network, trained from a small start, shows the leading directions of the matrix; they are
    cut off at the gap in its spectrum and polished by preconditioned descent; then the same again on what is left,
    until held-out entries say that more rank no longer helps or the data are matched exactly.

    Parameters
    ----------
    rank : int, optional
        Upper bound of the rank, which need not be exact. Left out: as large as the entries support, at most 50.
    depth : int
        Number of cores of the deep network, at least 1 (published: 3).
    validation_fraction : float
        Share of the observed entries (at most 10,000) held out to judge the rank, then used for the final fit. 0 uses
        all throughout, and judges by the training entries.
    random_state : int, numpy.random.Generator or None
        Seed of the start and of the held-out choice. The same seed gives the same result.
    verbose : bool
        Show a progress bar.
    callbacks : sequence of callables
        See `dmc.callbacks`; one that returns true ends the fit with what was reached.

    Attributes
    ----------
    factors_ : Factors
        Two-factor, in the data's units: X̂ = U·Vᵀ with U (rows, rank_), V (columns, rank_).
    rank_ : int
        The rank found.
    status_ : Status
        How the fit ended; its text carries advice.
    n_iter_ : int
        Steps taken in all phases.
    history_ : list of dict
        One for each phase: "phase" ("deep" on what was left, "polish", "final"), "width" of its factors, "n_steps",
        "value" at its end (relative to that at zero), "held_out_error" (relative to that at zero; None where nothing
        was held out), "seconds" since the fit began.
    residual_rms_ : float
        Root mean square of X̂ − X over the observed entries, in the data's units.
    n_features_in_ : int
        Columns of the matrix.

    References
    ----------
    C. Yaras, P. Wang, L. Balzano, Q. Qu, "Compressible Dynamics in Deep Overparameterized Low-Rank Learning &
    Adaptation", ICML 2024 (arXiv 2406.04112).
    """

    def __init__(
        self,
        rank: int | None = None,
        *,
        depth: int = 3,
        validation_fraction: float = 0.05,
        random_state: int | np.random.Generator | None = 0,
        verbose: bool = False,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.rank = rank
        self.depth = depth
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.verbose = verbose
        self.callbacks = callbacks

    def fit(self, X: Any, y: None = None, *, mask: ArrayLike | None = None) -> MatrixCompletion:
        """Fit to the observed entries of a matrix.

        Ctrl-C ends the fit with what was reached, and a warning.

        Parameters
        ----------
        X : (rows, columns)
            Whatever `dmc.observe` takes: an array with NaN, a masked array, a sparse matrix (stored = observed), …
        y : None
            Ignored; here for scikit-learn's pipelines.
        mask : (rows, columns) bool, optional
            True where an entry was observed.

        Returns
        -------
        MatrixCompletion
            Itself.

        Raises
        ------
        ValueError, TypeError
            If the data or a parameter cannot be used; the message says which, and what to do.
        FloatingPointError
            If the fit overflowed.
        """
        observations = observe(X, mask)
        _check_feature_names(self, X, reset=True)
        bound = _default_bound(observations) if self.rank is None else _checks.rank(self.rank, observations.shape)
        _checks.integer(self.depth, "depth", 1)
        _checks.real(self.validation_fraction, "validation_fraction", 0, 0.5)
        _checks.callables(self.callbacks, "callbacks")
        rng = _checks.generator(self.random_state)
        _warn_of_empty_lines(observations)
        unit = float(np.abs(observations.values).max()) or 1.0  # squares stay inside the dtype's range
        scaled = observations.with_values(observations.values / observations.dtype.type(unit))
        run = _Run(scaled, self.validation_fraction, rng, [*self.callbacks, *([Progress()] if self.verbose else [])])
        with kernels.sharing_cores(2 * bound):  # also between the phases: their thin decompositions gain nothing
            factors = run.finish(scaled, run.grow(bound, self.depth, rng))
        factors = _fill_empty_lines(factors, observations)
        root = observations.dtype.type(math.sqrt(unit))
        self.factors_ = factors.map(lambda factor: root * factor)
        self.n_features_in_ = observations.shape[1]
        self.rank_ = factors.width
        self.status_, self.n_iter_, self.history_ = run.status, run.n_steps, run.history
        self.residual_rms_ = unit * _rms(_minus(scaled, factors))
        self._warn_of_ending(run)
        return self

    def _warn_of_ending(self, run: _Run) -> None:
        if run.status is Status.NONFINITE:
            raise FloatingPointError(f"the fit failed after {run.n_steps} steps: {run.status}")
        if run.stopped_by == "interrupt":
            warnings.warn(f"interrupted after {run.n_steps} steps: the model holds what was reached", stacklevel=3)
        if run.status is Status.MAX_STEPS:
            warnings.warn(
                f"not converged after {run.n_steps} steps: the entries may be too few for rank {self.rank_}; observe "
                "more of them, or give a smaller rank",
                ConvergenceWarning,
                stacklevel=3,
            )

    def predict(self, rows: ArrayLike, cols: ArrayLike) -> NDArray[Any]:
        """Predicted values at pairs.

        Parameters
        ----------
        rows, cols : (pairs,) integers
            Zero-based positions.

        Returns
        -------
        (pairs,) float array, in the data's units
        """
        check_is_fitted(self)
        return self.factors_.at(rows, cols)

    def complete(self) -> NDArray[Any]:
        """(rows, columns) the fitted matrix X̂ at every position, observed ones included.

        Raises
        ------
        MemoryError
            If it exceeds the machine's memory; `predict` gives single entries.
        """
        check_is_fitted(self)
        return self.factors_.dense()

    def fit_transform(self, X: Any, y: None = None, *, mask: ArrayLike | None = None) -> NDArray[Any]:
        """Fit to a matrix and impute it; see `fit` and `transform`."""
        return self.fit(X, mask=mask).transform(X, mask=mask)

    def transform(self, X: Any, *, mask: ArrayLike | None = None) -> NDArray[Any]:
        """Impute: the observed entries as they are, the missing ones predicted.

        Each row is folded in: its part of the model is fitted to its observed entries, with the columns' part as it
        is; so rows need not have been in `fit`.

        Parameters
        ----------
        X : (rows, columns)
            Whatever `dmc.observe` takes, with the columns of `fit`.
        mask : (rows, columns) bool, optional
            True where an entry was observed.

        Returns
        -------
        (rows, columns) float array
        """
        check_is_fitted(self)
        observations = observe(X, mask, allow_empty=True)
        _check_feature_names(self, X, reset=False)
        if observations.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {_checks.count(observations.shape[1], 'column')} and the fitted matrix {self.n_features_in_}; "
                "give the same columns"
            )
        size = math.prod(observations.shape) * observations.values.itemsize
        _checks.memory(size, "the completed matrix", "transform fewer rows at a time")
        completed = _fold_in(observations, self.factors_, self.residual_rms_) @ self.factors_.V.T
        completed = completed.astype(np.result_type(completed, observations.values), copy=False)
        completed[observations.rows, observations.cols] = observations.values
        return completed

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Names of the columns of `transform`'s result: those given, or x0, x1, …"""
        check_is_fitted(self)
        return _check_feature_names_in(self, input_features)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        return tags


class _Run:
    """One fit over its phases: what it trains on and judges by, and the bookkeeping."""

    def __init__(
        self,
        observations: Observations,
        validation_fraction: float,
        rng: np.random.Generator,
        callbacks: Sequence[Callback],
    ) -> None:
        self.train, self.held_out = _hold_out(observations, validation_fraction, rng)
        self.callbacks = callbacks
        self.history: list[dict[str, Any]] = []
        self.n_steps = 0
        self.status = Status.CONVERGED
        self.stopped_by: str | None = None
        self.polish_steps = POLISH_STEPS
        self._zero = self.error(None)
        self._began = time.perf_counter()

    def grow(self, bound: int, depth: int, rng: np.random.Generator) -> Factors:
        """As many directions at a time as a deep network shows, while the held-out error falls."""
        m, n = self.train.shape
        best = Factors(np.zeros((m, 0), self.train.dtype), (), np.zeros((n, 0), self.train.dtype))
        error = self._zero
        while not self.exact(error) and best.width < bound:
            found = self.discover(best, bound - best.width, depth, rng)
            if found.width == 0:
                break
            candidate, n_steps = _join(best, found), POLISH_STEPS
            if not self.ended:
                candidate, n_steps = self.polish(candidate)
            new_error = self.error(candidate)
            if best.width and not new_error <= error * (1 - IMPROVEMENT):
                break
            best, error, self.polish_steps = candidate, new_error, n_steps
            if self.ended:
                break
        return best

    @property
    def ended(self) -> bool:
        """Whether the fit is to end with what it has: somebody asked for it, or it overflowed."""
        return self.status in (Status.STOPPED, Status.NONFINITE)

    def discover(self, model: Factors, rank: int, depth: int, rng: np.random.Generator) -> Factors:
        """The leading directions of what a model leaves unexplained, by a deep network from a small start."""
        residual = _minus(self.train, model)
        norm = residual.spectral_norm()
        if norm == 0 or (model.width and self.held_out is not None and norm <= _norm_by_chance(residual, rng)):
            return model.map(lambda factor: factor[:, :0])
        unit = residual.dtype.type(norm / residual.density)  # in this unit the network's σ_1 is about 1
        residual = residual.with_values(residual.values / unit)
        held_out = None if self.held_out is None else _minus(self.held_out, model)
        if held_out is not None:
            held_out = held_out.with_values(held_out.values / unit)
        start = initial.compressed(residual, rank, depth, START_SCALE, rng)
        limits = {"max_steps": DEEP_STEPS, "tol": DISCOVERED}
        deep, _ = self.solve("deep", residual, held_out, 1e-3, start, steps.DiscrepantDescent(), limits)
        found = deep.truncate(_gap(deep.singular_values()[: rank + 1]))
        return found.map(lambda factor: np.sqrt(unit) * factor)

    def polish(self, start: Factors) -> tuple[Factors, int]:
        """Descend at a given rank, to the end or to where the held-out entries say that it is enough."""
        limits = {"max_steps": POLISH_STEPS, "tol": 1e-10}
        return self.solve("polish", self.train, self.held_out, 1e-2, start, POLISH, limits)

    def finish(self, observations: Observations, start: Factors) -> Factors:
        """Descend on all entries, held-out ones included: to the end if they are matched exactly, else as long."""
        if start.width == 0 or self.ended:
            return start
        exact = self.exact(self.error(start))
        if exact:  # directions that joined on the way and have nothing left to explain
            trimmed = start.truncate(max(start.rank(NEGLIGIBLE), 1))
            start = trimmed if self.error(trimmed) <= NEGLIGIBLE * self._zero else start
        self.status = Status.CONVERGED
        n_steps = POLISH_STEPS if exact or self.held_out is None else self.polish_steps
        limits = {"max_steps": n_steps, "tol": 1e-10}
        factors, _ = self.solve("final", observations, None, 1e-2, start, POLISH, limits)
        if n_steps < POLISH_STEPS and self.status is Status.MAX_STEPS:
            self.status = Status.CONVERGED  # as many steps as the held-out entries found best
        return factors

    def solve(
        self,
        phase: str,
        observations: Observations,
        held_out: Observations | None,
        min_change: float,
        start: Factors,
        step: steps.Step,
        limits: dict[str, Any],
    ) -> tuple[Factors, int]:
        """One phase; returns its best factors and the step at which they were reached."""
        watch = EarlyStopping(held_out, min_change=min_change) if held_out is not None else Stagnation()
        problem = MaskedLeastSquares(observations)
        solution = solve(problem, start, step, callbacks=[watch, *self.callbacks], **limits)
        self.n_steps += solution.n_steps
        ended = solution.stopped_by == watch.name
        self.status = Status.CONVERGED if ended else solution.status
        self.stopped_by = None if ended else solution.stopped_by
        self.history.append(
            {
                "phase": phase,
                "width": start.width,
                "n_steps": solution.n_steps,
                "value": solution.value / max(problem.value(start.map(np.zeros_like)), np.finfo(float).tiny),
                "held_out_error": watch.best_error if isinstance(watch, EarlyStopping) else None,
                "seconds": time.perf_counter() - self._began,
            }
        )
        if isinstance(watch, EarlyStopping) and watch.best is not None:
            return watch.best, watch.best_step
        return solution.factors, solution.n_steps

    def error(self, factors: Factors | None) -> float:
        """Root mean squared error on the held-out entries, or on the training entries where there are none."""
        judged = self.train if self.held_out is None else self.held_out
        return _rms(judged if factors is None else _minus(judged, factors))

    def exact(self, error: float) -> bool:
        """Whether an error is nothing but rounding."""
        return error <= self._zero * float(np.finfo(self.train.dtype).eps) ** 0.6


def _default_bound(observations: Observations) -> int:
    """The largest rank whose degrees of freedom, r(m + n − r), the entries exceed by a fifth; at most 50.

    With nothing missing, any rank can be seen.
    """
    m, n = observations.shape
    if observations.n_observed == m * n:
        return min(50, m, n)
    largest = (m + n - math.sqrt(max((m + n) ** 2 - 4 * observations.n_observed / 1.2, 0))) / 2
    return max(1, min(int(largest), 50, m, n))


def _hold_out(
    observations: Observations, fraction: float, rng: np.random.Generator
) -> tuple[Observations, Observations | None]:
    fraction = min(fraction, MAX_HELD_OUT / observations.n_observed)
    if fraction * observations.n_observed < MIN_HELD_OUT:
        return observations, None
    try:
        return observations.split(fraction, rng)
    except ValueError:  # every entry is the only one of its row or column
        return observations, None


def _minus(observations: Observations, factors: Factors) -> Observations:
    if factors.width == 0:
        return observations
    return observations.with_values(-MaskedLeastSquares(observations).residual(factors))


def _norm_by_chance(residual: Observations, rng: np.random.Generator) -> float:
    """The spectral norm of the residuals with random signs, which leave no structure but noise in them.

    Hong, Sheng & Dobriban, "Selecting the number of components in PCA via random signflips", 2020.
    """
    signs = rng.choice(np.asarray([-1, 1], residual.dtype), residual.n_observed)
    return residual.with_values(residual.values * signs).spectral_norm()


def _rms(observations: Observations) -> float:
    return math.sqrt(float(np.mean(np.square(observations.values, dtype=np.float64))))


def _join(first: Factors, second: Factors) -> Factors:
    return Factors(np.hstack([first.U, second.U]), (), np.hstack([first.V, second.V]))


def _gap(s: NDArray[Any]) -> int:
    """How many singular values (descending) have grown, and stand before the largest ratio of neighbours."""
    if len(s) == 1:
        return 1
    ratios = s[:-1] / np.maximum(s[1:], s[0] * np.finfo(s.dtype).eps)
    return int(np.argmax(np.where(s[:-1] >= GROWN * s[0], ratios, 0))) + 1


def _warn_of_empty_lines(observations: Observations) -> None:
    counts = observations.pattern.row_counts, observations.pattern.column_counts
    empty = [
        f"{np.count_nonzero(count == 0):,} of {_checks.count(len(count), noun)}"
        for count, noun in zip(counts, ("row", "column"), strict=True)
        if not count.all()
    ]
    if empty:
        warnings.warn(
            f"{' and '.join(empty)} have no observed entry: there the average of the others is predicted; "
            "leave them out, or observe at least one entry of each",
            stacklevel=3,
        )


def _fill_empty_lines(factors: Factors, observations: Observations) -> Factors:
    """A line of which nothing is known gets the average of the others."""

    def fill(factor: NDArray[Any], counts: NDArray[np.int64]) -> NDArray[Any]:
        return factor if counts.all() else np.where(counts[:, None] > 0, factor, factor[counts > 0].mean(axis=0))

    pattern = observations.pattern
    return Factors(fill(factors.U, pattern.row_counts), (), fill(factors.V, pattern.column_counts))


def _fold_in(observations: Observations, factors: Factors, noise: float) -> NDArray[Any]:
    """(rows, rank) the left side of new rows: least squares on their entries, with the fitted rows as the prior.

    A row a has the Gaussian prior of the fitted rows' mean and covariance, and its entries noise of the fit's own
    size; so a row with few entries stays close to the average, and one without is the average.
    """
    mean = factors.U.mean(axis=0)
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(factors.U, rowvar=False, ddof=0)))
    spread = vectors * np.sqrt(np.maximum(values, 0))  # a = mean + spread b, b standard normal
    basis, offset = factors.V @ spread, factors.V @ mean
    floor = float(np.finfo(factors.V.dtype).eps) * float(np.abs(basis).max(initial=0))
    ridge = max(noise, floor) * np.eye(basis.shape[1])
    rows = np.tile(mean, (observations.shape[0], 1))
    pointers, indices = observations.pattern.by_row
    for i in np.flatnonzero(observations.pattern.row_counts):
        entries = slice(pointers[i], pointers[i + 1])
        cols = indices[entries]
        target = observations.values[entries] - offset[cols]
        b = np.linalg.lstsq(np.vstack([basis[cols], ridge]), np.append(target, np.zeros(len(ridge))), rcond=None)[0]
        rows[i] += spread @ b
    return rows
