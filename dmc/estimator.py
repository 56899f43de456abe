"""MatrixCompletion: the solver with scikit-learn's manners, told nothing but the data."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from dmc import _checks, callbacks as looks, initial, steps
from dmc.factors import Factors
from dmc.observations import Observations, observe
from dmc.problem import MaskedLeastSquares
from dmc.solution import Solution, Status, StepInfo
from dmc.solver import Callback, solve

START_SCALE = 1e-2  # ε of the deep network's cores, for data of unit spectral norm
DISCOVERED = 1e-2  # gradient ratio at which a deep phase has shown the directions it will show
DEEP_STEPS, POLISH_STEPS = 2_000, 2_000  # more than any phase needs: a phase ends when it has done its work
GROWN = 3e-2  # of the largest: a direction below has not left the small start behind
IMPROVEMENT = 5e-3  # relative fall of the held-out error that is worth more rank
MAX_HELD_OUT = 10_000  # entries: enough to know the error to a percent


class MatrixCompletion(TransformerMixin, BaseEstimator):
    """Fill in a matrix from few of its entries, with no rank, step size or iteration count to give.

    A compressed deep linear network, trained from a small start, shows the leading directions of the matrix; they are
    cut off at the gap in its spectrum and polished by preconditioned descent; then the same again on what is left,
    until held-out entries say that more rank no longer helps or the data are matched exactly.

    Parameters
    ----------
    rank : int, optional
        Upper bound of the rank, which need not be exact. Left out: as large as the number of entries supports, up to 50.
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
        For each phase: "phase" ("deep", "polish", "final"), "rank", "n_steps", "relative_residual" (training entries),
        "held_out_rmse" (data units, None without), "seconds".
    residual_ : float
        ‖X̂ − X‖/‖X‖ over the observed entries.
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

        Parameters
        ----------
        X : (rows, columns)
            Whatever `dmc.observe` takes: an array with NaN, a masked array, a sparse matrix (stored = observed), …
        y : None
            Ignored; here for scikit-learn's pipelines.
        mask : (rows, columns) bool, optional
            True where an entry was observed.

        Raises
        ------
        ValueError, TypeError
            If the data or a parameter cannot be used; the message says which and what to do.
        """
        observations = observe(X, mask)
        bound = self._bound(observations)
        _checks.integer(self.depth, "depth", 1)
        _checks.real(self.validation_fraction, "validation_fraction", 0, 0.5)
        rng = np.random.default_rng(self.random_state)
        self.n_features_in_ = observations.shape[1]
        run = _Run([*self.callbacks, *([looks.Progress()] if self.verbose else [])])
        train, held_out = self._split(observations, rng)
        factors = _grow(run, train, held_out, bound, self.depth, rng)
        factors = _finish(run, observations, factors) if factors.width else factors
        _warn_of_empty_lines(observations)
        self.factors_ = _fill_empty_lines(factors, observations)
        self.rank_ = factors.width
        self.residual_ = _relative_residual(observations, factors)
        self.history_, self.n_iter_ = run.history, run.n_steps
        self.status_ = run.status
        return self

    def _bound(self, observations: Observations) -> int:
        if self.rank is not None:
            return _checks.rank(self.rank, observations.shape)
        m, n = observations.shape
        # The largest rank with twice as many entries as degrees of freedom, r(m + n − r).
        free = observations.n_observed / 2
        largest = int((m + n - math.sqrt(max((m + n) ** 2 - 4 * free, 0.0))) / 2)
        return max(1, min(largest, 50, m, n))

    def _split(
        self, observations: Observations, rng: np.random.Generator
    ) -> tuple[Observations, Observations | None]:
        fraction = min(self.validation_fraction, MAX_HELD_OUT / observations.n_observed)
        if fraction * observations.n_observed < 20:
            return observations, None
        try:
            return observations.split(fraction, rng)
        except ValueError:  # no entry can be spared
            return observations, None

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

    def transform(self, X: Any) -> NDArray[Any]:
        """Impute: the observed entries as they are, the missing ones predicted.

        Each row is folded in: its part of the model is fitted to its observed entries, with the columns' part as it
        is; so rows need not have been in `fit`.

        Parameters
        ----------
        X : (rows, columns)
            Whatever `dmc.observe` takes, with the columns of `fit`.

        Returns
        -------
        (rows, columns) float array
        """
        check_is_fitted(self)
        observations = _observe_rows(X)
        if observations.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {_checks.count(observations.shape[1], 'column')} and the fitted matrix {self.n_features_in_}; "
                "give the same columns"
            )
        size = math.prod(observations.shape) * observations.values.itemsize
        _checks.memory(size, "the completed matrix", "transform fewer rows at a time")
        completed = _fold_in(observations, self.factors_) @ self.factors_.V.T
        completed[observations.rows, observations.cols] = observations.values
        return completed

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Names of the columns of `transform`'s result: those given, or x0, x1, …"""
        check_is_fitted(self)
        if input_features is None:
            return np.asarray([f"x{i}" for i in range(self.n_features_in_)], dtype=object)
        return np.asarray(input_features, dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        return tags


class _Run:
    """The bookkeeping of one fit over its phases: steps, history, and whether somebody asked to stop."""

    def __init__(self, train: Observations, held_out: Observations | None, callbacks: Sequence[Callback]) -> None:
        self.train, self.held_out, self.callbacks = train, held_out, callbacks
        self.history: list[dict[str, Any]] = []
        self.n_steps = 0
        self.status = Status.CONVERGED
        self._began = time.perf_counter()

    @property
    def running(self) -> bool:
        return self.status is Status.CONVERGED

    def solve(
        self, phase: str, problem: MaskedLeastSquares, start: Factors, step: steps.Step, watch: _Watch, **limits: Any
    ) -> Solution:
        solution = solve(problem, start, step, callbacks=[watch, *self.callbacks], **limits)
        self.n_steps += solution.n_steps
        if solution.status is Status.NONFINITE or solution.stopped_by not in (None, watch.name):
            self.status = solution.status
        self.history.append(
            {
                "phase": phase,
                "width": start.width,
                "n_steps": solution.n_steps,
                "value": solution.value,
                "seconds": time.perf_counter() - self._began,
            }
        )
        return solution

    def error(self, factors: Factors | None) -> float:
        """Root mean squared error on the held-out entries, or on the training entries where there are none."""
        judged = self.held_out or self.train
        predicted = 0.0 if factors is None else factors.at(judged.rows, judged.cols)
        return math.sqrt(float(np.mean(np.square(judged.values - predicted, dtype=np.float64))))

    def polish(self, phase: str, observations: Observations, start: Factors, max_steps: int = POLISH_STEPS) -> Factors:
        """Descend at the given rank, to the end or to where held-out entries say that it is enough."""
        held_out = self.held_out if observations is self.train else None
        watch: _Watch = looks.EarlyStopping(held_out, min_change=1e-2) if held_out else looks.Stagnation()
        problem = MaskedLeastSquares(observations)
        solution = self.solve(
            phase, problem, start, steps.Backtracking(steps.ScaledDescent()), watch, max_steps=max_steps, tol=1e-10
        )
        if isinstance(watch, looks.EarlyStopping) and watch.best is not None:
            self.best_step = watch.best_step
            return watch.best
        return solution.factors


_Watch = looks.EarlyStopping | looks.Stagnation


def _grow(run: _Run, bound: int, depth: int, rng: np.random.Generator) -> Factors | None:
    """Rank by rank, as many at a time as the deep network shows, while the held-out error falls."""
    best: Factors | None = None
    error = run.error(None)
    exact = run.error(None) * float(np.finfo(run.train.dtype).eps) ** (2 / 3)
    while run.running and error > exact:
        rank = 0 if best is None else best.width
        if rank == bound:
            break
        found = _discover(run, best, bound - rank, depth, rng)
        if found is None:
            break
        candidate = found if best is None else _join(best, found)
        candidate = run.polish("polish", run.train, candidate)
        new_error = run.error(candidate)
        print("round", candidate.width, new_error, error, found.width)
        if best is not None and new_error > error * (1 - IMPROVEMENT):
            break
        best, error = candidate, new_error
    return best


def _discover(
    run: _Run, model: Factors | None, rank: int, depth: int, rng: np.random.Generator
) -> Factors | None:
    """The leading directions of what the model does not explain, by a deep network from a small start."""
    residual = run.train
    if model is not None:
        residual = residual.with_values(residual.values - model.at(residual.rows, residual.cols))
    scale = MaskedLeastSquares(residual).target_norm
    signs = rng.choice(np.asarray([-1, 1], residual.dtype), residual.n_observed)
    chance = MaskedLeastSquares(residual.with_values(residual.values * signs)).target_norm
    print("scale",scale,chance)
    if scale <= chance:
        return None
    residual = residual.with_values(residual.values / residual.dtype.type(scale))
    start = initial.compressed(residual, rank, depth, START_SCALE, rng)
    watch=looks.Stagnation()
    if run.held_out:
        h=run.held_out
        watch=looks.EarlyStopping(h.with_values((h.values-(0 if model is None else model.at(h.rows,h.cols)))/scale))
    deep = run.solve(
        "deep",
        MaskedLeastSquares(residual),
        start,
        steps.DiscrepantDescent(),
        watch,
        max_steps=DEEP_STEPS,
        tol=DISCOVERED,
    ).factors
    if run.held_out: deep=watch.best
    s = deep.singular_values()
    print(np.array2string(s[:12],precision=4))
    found = deep.truncate(_gap(s[: rank + 1]))
    root = residual.dtype.type(math.sqrt(scale))
    return Factors(found.U * root, (), found.V * root)


def _gap(s: NDArray[Any]) -> int:
    """How many singular values (descending) stand before the largest ratio of neighbours."""
    if len(s) == 1:
        return 1
    ratios = s[:-1] / np.maximum(s[1:], s[0] * np.finfo(s.dtype).eps)
    return int(np.argmax(np.where(s[:-1] >= GROWN * s[0], ratios, 0))) + 1


def _join(first: Factors, second: Factors) -> Factors:
    return Factors(np.hstack([first.U, second.U]), (), np.hstack([first.V, second.V]))
