"""MatrixCompletion: the solver with scikit-learn's manners, told nothing but the data."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import _check_feature_names, _check_feature_names_in, check_is_fitted

from dmc import _checks, _devices, kernels, metrics
from dmc.callbacks import Progress
from dmc.completion.rank_search import RankSearch
from dmc.factors import Array, Factors
from dmc.observations import Observations
from dmc.observing import observe
from dmc.solution import Status
from dmc.completion.solvability import Solvability
from dmc.solver import Callback

LARGEST = 50  # rank looked for where no bound is given
UNEXPLAINED = 0.9  # held-out error over the size of the entries from which a user is told
PARTS = 5  # that the entries of a row are held out in, one after the other, to be scored


class MatrixCompletion(TransformerMixin, BaseEstimator):
    """Fill in a matrix from few of its entries, with no rank, step size or iteration count to give.

    The penalty that weight decay puts on a deep linear network's end-to-end matrix shows the rank: down the path along
    which it falls, directions join a two-factor model and leave it (`dmc.rank_path`). Wherever the rank has settled,
    Gauss–Newton steps without the penalty finish the model. That ends at rounding if the entries can be matched
    exactly by fewer degrees of freedom; if not, held-out entries choose the model that predicts best.

    Parameters
    ----------
    rank : int, optional
        Upper bound of the rank, which need not be exact. Left out: as large as the entries support, at most 50.
    depth : int
        Number of cores of the deep network whose penalty is paid (published: 3); 0 is the nuclear norm.
    validation_fraction : float
        Share of the observed entries (at most 10,000) held out to choose the model where the entries cannot be matched
        exactly, then used for the final fit. 0 uses all throughout.
    random_state : int, numpy.random.Generator or None
        Seed of the start and of the held-out choice. The same seed gives the same result.
    n_threads : int, optional
        Threads of the fit; left out: as many as OMP_NUM_THREADS says, or as there are cores. The result does not depend
        on it.
    device : str, optional
        Where to compute: "cuda" for a GPU, by torch. Left out: where the data are, torch tensors on their device and
        all else by compiled code on the host. What is fitted comes back to where the data were.
    verbose : bool
        Show a progress bar.
    callbacks : sequence of callables
        See `dmc.callbacks`; one that returns true ends the fit with what was reached.

    Attributes
    ----------
    factors_ : Factors
        Two-factor, in the data's units: X̂ = U·Vᵀ with U (rows, rank_), V (columns, rank_); NumPy arrays, or tensors
        where the data were.
    rank_ : int
        The rank found.
    status_ : Status
        How the fit ended; its text carries advice.
    n_iter_ : int
        Steps taken in all phases.
    history_ : list of dict
        One for each phase: "phase" ("path", "polish", "final"), "width" of its factors at its end, "n_steps", "value"
        at its end (relative to that at zero), "held_out_error" (over the largest entry; None where nothing was held
        out), "seconds" since the fit began.
    solvability_ : Solvability
        Which entries the observed positions can determine at that rank; its text says in words which not.
    residual_rms_ : float
        Root mean square of X̂ − X over the observed entries, in the data's units.
    n_features_in_ : int
        Columns of the matrix.

    References
    ----------
    See `dmc.rank_path.RankPath` and `dmc.steps.GaussNewton`;
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
        n_threads: int | None = None,
        device: str | None = None,
        verbose: bool = False,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.rank = rank
        self.depth = depth
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.n_threads = n_threads
        self.device = device
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
        observations = _observed(X, mask)
        home = observations.device
        observations = observations if self.device is None else observations.to(self.device)
        _check_feature_names(self, X, reset=True)
        bound = min(LARGEST, *observations.shape)
        if self.rank is not None:
            bound = _checks.rank(self.rank, observations.shape)
        _checks.integer(self.depth, "depth", 0)
        _checks.real(self.validation_fraction, "validation_fraction", 0, 0.5)
        _checks.callables(self.callbacks, "callbacks")
        rng = _checks.generator(self.random_state)
        _warn_of_empty_lines(observations)
        unit = float(abs(observations.values).max()) or 1.0  # squares stay inside the dtype's range
        scaled = observations.with_values(observations.values / unit)
        callbacks: list[Callback] = [*self.callbacks, *([Progress()] if self.verbose else [])]
        run = RankSearch(scaled, bound, self.depth, self.validation_fraction, rng, callbacks)
        # One thread for BLAS also between the phases: their thin decompositions gain nothing.
        with kernels.threads(self.n_threads), kernels.sharing_cores(2 * bound):
            factors = run.run()
        missed = run.missed(factors)
        root = math.sqrt(unit)
        self.factors_ = _fill_empty_lines(factors, observations).map(lambda factor: root * factor).to(home)
        self.n_features_in_ = observations.shape[1]
        self.rank_ = factors.width
        self.status_, self.n_iter_, self.history_ = run.status, run.n_steps, run.history
        self.residual_rms_ = unit * missed
        self.solvability_ = Solvability.of(observations.pattern, max(self.rank_, 1))
        if self.status_ is Status.CONVERGED and self.rank_ and not self.solvability_.whole:
            self.status_ = Status.UNDETERMINED
        self._warn_of_ending(run)
        self._warn_of_guesses(run, observations, missed <= 1e-6 * run.size)
        return self

    def _warn_of_guesses(self, run: RankSearch, observations: Observations, matched: bool) -> None:
        pattern, blocks = observations.pattern.to(None), self.solvability_
        short = ((blocks.row_blocks < 0) & (pattern.row_counts > 0)).any()
        short |= ((blocks.column_blocks < 0) & (pattern.column_counts > 0)).any()
        if self.rank_ and (short or blocks.n_blocks > 1):  # of lines without any entry the user knows already
            warnings.warn(
                f"{blocks}: what is predicted there is a guess; observe more entries, or see complete(unknown=np.nan)",
                stacklevel=3,
            )
        if self.rank is None and self.rank_ == LARGEST < min(observations.shape) and not matched:
            warnings.warn(f"no rank above {LARGEST} was tried; give a larger bound: rank={2 * LARGEST}", stacklevel=3)
        if run.unexplained > UNEXPLAINED:
            warnings.warn(
                f"the model (rank {self.rank_}) misses held-out entries by {run.unexplained:.0%} of their size: the "
                "entries are too few for their rank, or not of low rank; observe more of them",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _warn_of_ending(self, run: RankSearch) -> None:
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

    def predict(self, rows: Any, cols: ArrayLike | None = None) -> NDArray[Any]:
        """Predicted values at pairs; or, of a matrix alone, at each of its positions.

        Parameters
        ----------
        rows, cols : (pairs,) integers
            Zero-based positions.
        rows : (rows, columns), without `cols`
            Rows as `transform` takes them, but not sparse. They are folded in as there, and observed entries are
            predicted like the others: this is what scikit-learn's tools call.

        Returns
        -------
        (pairs,) or (rows, columns) float array, in the data's units; a tensor, if the data were

        Raises
        ------
        ValueError, TypeError
            If positions are out of range, or the matrix cannot be used; the message says why.
        """
        check_is_fitted(self)
        if cols is not None:
            return self.factors_.at(rows, cols)
        if sparse.issparse(rows):
            raise TypeError(
                "X is sparse and all its positions are asked for; give rows and cols of some, or call transform"
            )
        observations, predicted = self._folded_in(rows, None)
        return _devices.place(predicted, observations.device)

    def complete(self, unknown: float | None = None) -> NDArray[Any]:
        """The fitted matrix X̂ at every position, observed ones included.

        Parameters
        ----------
        unknown : float, optional
            What to put where the observed entries cannot determine the matrix, whatever its values (`solvability_`),
            for instance NaN. Left out: the model's guess.

        Returns
        -------
        (rows, columns) float array

        Raises
        ------
        MemoryError
            If it exceeds the machine's memory; `predict` gives single entries.
        """
        check_is_fitted(self)
        completed = self.factors_.dense()
        if unknown is not None:
            rows, columns = (np.arange(count) for count in completed.shape)
            guessed = ~self.solvability_.known(rows[:, None], columns)
            completed[_devices.place(guessed, self.factors_.device)] = unknown
        return completed

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
        observations, completed = self._folded_in(X, mask)
        home, observations = observations.device, observations.to(None)
        completed = completed.astype(np.result_type(completed, observations.values), copy=False)
        completed[observations.rows, observations.cols] = observations.values
        return _devices.place(completed, home)

    def score(self, X: Any, y: None = None, *, mask: ArrayLike | None = None) -> float:
        """How well missing entries are imputed: minus the root mean squared error on held-out ones; higher is better.

        X has gaps, and what is in them nobody knows; so each observed entry is taken for missing once. The entries of
        a row are dealt into five parts; each part is predicted from the other four, by folding the row in. This is
        what `GridSearchCV`, `cross_val_score` and the like maximise.

        Give rows that were not in `fit`, as cross-validation does: of the others the model has seen the entries that
        it is asked for. In a pipeline, the units are those of the data as they reach this step: a search over the
        steps before needs a `scoring` of its own.

        Parameters
        ----------
        X : (rows, columns)
            Whatever `dmc.observe` takes, with the columns of `fit`; at least one entry observed.
        y : None
            Ignored; here for scikit-learn's pipelines.
        mask : (rows, columns) bool, optional
            True where an entry was observed.

        Returns
        -------
        float
            In the data's units, at most 0. The same X and model give the same score: the deal of the entries depends
            on no seed, so that all candidates of a search are judged on the same ones.
        """
        check_is_fitted(self)
        observations = self._columns_of_fit(X, mask).to(None)
        factors, part = self.factors_.to(None), _dealt(observations)
        predicted = np.empty(observations.n_observed)
        for hidden in (part == i for i in range(PARTS)):
            held_out = observations.take(hidden)
            left = _fold_in(observations.take(~hidden), factors, self.residual_rms_)
            predicted[hidden] = Factors(left, (), factors.V).at(held_out.rows, held_out.cols)
        return -metrics.rmse(predicted, observations.values)

    def _columns_of_fit(self, X: Any, mask: ArrayLike | None, allow_empty: bool = False) -> Observations:
        """The observed entries of rows, which have to have the fitted columns."""
        observations = _observed(X, mask, allow_empty)
        _check_feature_names(self, X, reset=False)
        if observations.shape[1] != self.n_features_in_:  # worded as scikit-learn's tools expect
            raise ValueError(
                f"X has {observations.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input; give the columns of the fitted matrix"
            )
        return observations

    def _folded_in(self, X: Any, mask: ArrayLike | None) -> tuple[Observations, NDArray[Any]]:
        """The observed entries of rows, and (rows, columns) what is predicted for them."""
        observations = self._columns_of_fit(X, mask, allow_empty=True)
        size = math.prod(observations.shape) * observations.values.itemsize
        _checks.memory(size, "the completed matrix", "transform fewer rows at a time")
        factors = self.factors_.to(None)
        return observations, _fold_in(observations.to(None), factors, self.residual_rms_) @ factors.V.T

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Names of the columns of `transform`'s result: those given, or x0, x1, …"""
        check_is_fitted(self)
        return _check_feature_names_in(self, input_features)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        return tags


def _observed(X: Any, mask: ArrayLike | None, allow_empty: bool = False) -> Observations:
    """`observe`; where it refuses, also in the words that scikit-learn's tools look for."""
    try:
        return observe(X, mask, allow_empty=allow_empty)
    except (TypeError, ValueError) as error:
        shape = tuple(getattr(X, "shape", ()))
        if "dtype complex" in str(error):
            raise ValueError(f"{error} (Complex data not supported)") from None
        if len(shape) == 1:
            raise ValueError(f"{error} (Reshape your data: X.reshape(1, -1) is one row)") from None
        if shape[1:] == (0,):
            raise ValueError(f"{error} (0 feature(s) (shape={shape}) while a minimum of 1 is required.)") from None
        if isinstance(error, TypeError) and isinstance(error.__context__, TypeError):
            raise TypeError(f"{error} ({error.__context__})") from None
        raise


def _dealt(observations: Observations) -> NDArray[np.int64]:
    """(observed,) the part, 0 … PARTS − 1, that each entry is dealt to: a row's entries evenly, at random."""
    pointers = observations.pattern.by_row.pointers
    shuffled = np.lexsort((np.random.default_rng(0).random(observations.n_observed), observations.rows))
    part = np.empty(observations.n_observed, np.int64)
    part[shuffled] = (np.arange(observations.n_observed) - pointers[observations.rows] + observations.rows) % PARTS
    return part


def _warn_of_empty_lines(observations: Observations) -> None:
    counts = (_devices.place(c, None) for c in (observations.pattern.row_counts, observations.pattern.column_counts))
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

    def fill(factor: Array, counts: Array) -> Array:
        known = counts > 0
        xp = array_namespace(factor)
        return factor if known.all() else xp.where(known[:, None], factor, factor[known].mean(0))

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
