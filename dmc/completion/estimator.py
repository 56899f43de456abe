"""MatrixCompletion: the solver with scikit-learn's manners, told nothing but the data."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted, validate_data

from dmc import _checks, _memory, kernels
from dmc._keeper import keeper_among
from dmc.completion import imputation, storage, tuning
from dmc.completion.findings import Findings, of_ending
from dmc.completion.fit import fit_repeated
from dmc.completion.model import in_units
from dmc.completion.one_fit import of_one_fit
from dmc.completion.phases import Phases, identity
from dmc.completion.queries import CompletionQueries
from dmc.completion.results import Selected, Settings, filled, rms, rms_of_columns
from dmc.completion.scaling import Scaling
from dmc.completion.tables import Bounds, Labels, read, repetitions, weighted
from dmc.factors import Factors
from dmc.identifiability import Identifiability
from dmc.inputs import GappedArray, aligned
from dmc.observations import Observations
from dmc.pattern import read_only
from dmc.solver.callbacks import Progress
from dmc.solver.kept_phases import KeptPhases
from dmc.solver.loop import Callback, Run
from dmc.solver.solution import Record, Status


@_memory.methods_in_words
class MatrixCompletion(CompletionQueries):
    """Fill in a matrix or a table from some of its entries, with no rank, step size or iteration count to give.

    The penalty that weight decay puts on a deep linear network's end-to-end matrix shows the rank: down the path along
    which it falls, directions join a two-factor model and leave it (`dmc.rank_path`). Wherever the rank has settled,
    Gauss–Newton steps without the penalty finish the model, which ends at rounding if the entries can be matched
    exactly by fewer degrees of freedom; where that leads astray, slower paths on parts of the matrix are tried, whose
    rows and columns check each other well. If the entries cannot be matched, held-out ones choose among what the path
    offers, factor analysis with a level and a noise of each column, and the columns' means: what predicts them best is
    fitted to all.

    Parameters
    ----------
    rank : int, optional
        Upper bound of the rank, which need not be exact. Left out: as large as the entries support, at most 50.
    scale : {"auto", "columns", "rows", "none"}
        Which side of the matrix has units of its own: each of its rows, or columns, gets a level, which is fitted and
        not penalised, and weighs by its own spread. "auto" asks the data: where levels and spreads of columns, or of
        rows, describe the entries well, that side is scaled from the start; elsewhere held-out entries decide between
        scaled columns and one size for all. `scale_` says what was done.
    loss : {"squared", "robust"}
        "robust" finds entries that are grossly wrong, leaves them out and lists them in `outliers_`.
    min_value, max_value : float or (columns,) array, optional
        Bounds of what is predicted. Observed entries outside are refused.
    missing_values : float
        A further number that stands for a missing entry, such as -200. NaN, None and pandas' NA always do.
    depth : int
        Number of cores of the deep network whose penalty is paid (published: 3); 0 is the nuclear norm.
    validation_fraction : float
        Share of the observed entries (at most 10,000) in each of the one to five parts that are held out in turn to
        choose the model where the entries cannot be matched exactly; the final fit has them all. 0 holds nothing out.
    random_state : int, numpy.random.Generator or None
        Seed of the start and of the held-out parts. The same seed gives the same result.
    n_threads : int, optional
        Threads of the fit; left out: as many as OMP_NUM_THREADS says, or as there are cores. The result does not depend
        on it.
    device : str, optional
        Where to search for the rank: "cuda" for a GPU, by torch. Left out: where the data are, torch tensors on their
        device and all else by compiled code on the host. What is fitted comes back to where the data were.
    verbose : bool
        Show a progress bar.
    callbacks : sequence of callables
        See `dmc.callbacks`; one that returns true ends the fit with what was reached.

    Attributes
    ----------
    factors_ : Factors
        Two-factor, in the data's units: X̂ = U·Vᵀ, plus a bias of each column where columns are scaled, of each row
        where rows are; U (rows, rank_), V (columns, rank_); NumPy arrays, or tensors where the data were.
    rank_ : int
        The rank found, levels not counted.
    scale_ : {"none", "columns", "rows"}
        Which side was scaled.
    status_ : Status
        How the fit ended; its text carries advice.
    n_iter_ : int
        Steps taken in all phases.
    history_ : list of dict
        One for each phase: "phase" ("path", "polish", "final", "factor analysis"), "width" of its factors at its end,
        "n_steps", "value" at its end (relative to that at zero; of factor analysis: the share of noise),
        "held_out_error" (root mean square over the largest entry; None where nothing was held out), "seconds" since
        the fit began.
    held_out_rmse_ : float
        Root mean squared error on held-out entries, in the data's units, of the kind of model that was chosen; of the
        fitted entries if they are matched exactly; NaN where nothing was held out.
    column_errors_ : (columns,) float64
        The same of each column; NaN where none of its entries was held out.
    outliers_ : (outliers, 2) int array
        Row and column of each entry that the robust loss left out; empty with the squared loss.
    identifiability_ : Identifiability
        Which entries the observed positions can determine; its text says in words which not. Of a model that matches
        all entries, at its rank, and of one that can be moved all the same only the largest block that stays; of others
        at rank one, for their rows and columns lean on all the others where they have few entries themselves.
    residual_rms_ : float
        Root mean square of X̂ − X over the observed entries (outliers left out), in the data's units.
    n_features_in_ : int
        Columns of the matrix.

    References
    ----------
    See `dmc.rank_path.RankPath`, `dmc.steps.GaussNewton` and `dmc.completion.factor_analysis`;
    C. Yaras, P. Wang, L. Balzano, Q. Qu, "Compressible Dynamics in Deep Overparameterized Low-Rank Learning &
    Adaptation", ICML 2024 (arXiv 2406.04112).

    Examples
    --------
    >>> import numpy as np
    >>> import dmc
    >>> hours = np.arange(24.0)
    >>> celsius = 10 + 5 * np.sin(hours[:, None] * 0.26) * np.array([1.0, 1.2, 0.8, 1.1])
    >>> table = np.column_stack([celsius, 32 + 1.8 * celsius[:, 0]])  # the last column in other units
    >>> table[3, 4] = table[10, 0] = np.nan
    >>> model = dmc.MatrixCompletion().fit(table)
    >>> model.rank_, float(np.round(model.transform(table)[3, 4], 6))
    (2, 56.330466)
    """

    def __init__(
        self,
        rank: int | None = None,
        *,
        scale: str = "auto",
        loss: str = "squared",
        min_value: ArrayLike | None = None,
        max_value: ArrayLike | None = None,
        missing_values: float | None = math.nan,
        depth: int = 3,
        validation_fraction: float = 0.05,
        random_state: int | np.random.Generator | None = 0,
        n_threads: int | None = None,
        device: str | None = None,
        verbose: bool = False,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.rank = rank
        self.scale = scale
        self.loss = loss
        self.min_value = min_value
        self.max_value = max_value
        self.missing_values = missing_values
        self.depth = depth
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.n_threads = n_threads
        self.device = device
        self.verbose = verbose
        self.callbacks = callbacks

    def fit(
        self,
        X: Any,
        y: None = None,
        *,
        mask: Any = None,
        sample_weight: ArrayLike | None = None,
        weights: Any = None,
    ) -> MatrixCompletion:
        """Fit to the observed entries of a matrix.

        Ctrl-C ends the fit with what was reached, and a warning; a second one, or one before or behind the search,
        raises KeyboardInterrupt and leaves the estimator as it was. With a `dmc.callbacks.Checkpoint` among the
        callbacks the fit goes on where an earlier process left it.

        Parameters
        ----------
        X : (rows, columns)
            Whatever `dmc.observe` takes: an array with NaN, a masked array, a sparse matrix (stored = observed), a data
            frame, …
        y : None
            Ignored; here for scikit-learn's pipelines.
        mask : (rows, columns) bool, optional
            True where an entry was observed. A data frame's labels have to be those of X, in any order.
        sample_weight : (rows,) array, optional
            Non-negative weight of each row: how precise its entries are, up to a factor.
        weights : (rows, columns) array, data frame or sparse matrix, or (observed,) array in row order, optional
            The same of each entry. One of weight 0 has no part in the fit. Left out: those of `Observations`, if they
            have any.

        Returns
        -------
        MatrixCompletion
            Itself.

        Raises
        ------
        ValueError, TypeError
            If the data, weights, bounds or a parameter cannot be used.
        FloatingPointError
            If the fit overflowed.
        """
        fitted = copy.copy(self)
        tell = fitted._fit(X, mask, sample_weight, weights)
        self.__dict__ = fitted.__dict__  # at once: whatever ends a fit before leaves the estimator as it was
        tell()
        return self

    def _fit(self, X: Any, mask: Any, sample_weight: Any, weights: Any) -> Callable[[], None]:
        """`fit`, but for what is told of its result."""
        labels = Labels.of(X)
        observations = self._given(X, mask)
        home, observations = observations.device, observations.to(self.device or observations.device)
        settings = self._settings(observations.shape)
        bounds = Bounds.of(self.min_value, self.max_value, labels, observations.shape[1])
        bounds.check(observations, labels)
        rng = _checks.generator(self.random_state)
        findings = Findings(observations.to(None), labels, X, self.missing_values)
        findings.of_data(mask is not None)
        counted, entry_weights = weighted(observations, sample_weight, aligned(weights, X, "weights"))
        # Squares stay inside the dtype's range; a power of two rounds nothing.
        self._unit = 2.0 ** math.frexp(float(abs(counted.values).max()) or 1.0)[1]
        counted = counted.with_values(counted.values / self._unit)
        repeats = repetitions(sample_weight, observations.shape[0]) if weights is None else None
        callbacks: list[Callback] = [*self.callbacks, *([Progress()] if self.verbose else [])]
        # One thread for BLAS also between the phases: their thin decompositions gain nothing.
        with (
            keeper_among(callbacks, partial(identity, self, counted, entry_weights, repeats)) as keeper,
            kernels.threads(self.n_threads),
            kernels.sharing_cores(2 * settings.bound),
            Run(callbacks, kept=KeptPhases(keeper, rng)) as run,
        ):
            phases = Phases(run)
            selected, outliers = fit_repeated(counted, entry_weights, repeats, settings, rng, phases)
            if run.stopped_by != "interrupt":
                keeper.finish()
        status = _ending(run, selected)
        self._labels, self._bounds, self._observations = labels, bounds, observations.to(None)
        host = counted.to(None)
        fitted = host.take(~outliers) if outliers.any() else host
        # Rows that do not count are still rows; entries that do not are none.
        rows_count = sample_weight is None or weights is not None or outliers.any()
        self._keep(selected, fitted, None if rows_count else np.asarray(sample_weight) == 0)
        self.factors_: Factors = in_units(self._model.factors, self._unit).to(home).map(read_only)
        places = [array[outliers] for array in (host.rows, host.cols)]
        self.outliers_: NDArray[np.int64] = np.column_stack(places).astype(np.int64)
        self.n_iter_: int = run.n_steps
        self.history_: list[Record] = phases.history
        complete = self.identifiability_.whole or not fitted.values.any()
        determined = status in (Status.CONVERGED, Status.COMPLETED) and not complete
        self.status_ = Status.UNDETERMINED if determined else status

        def tell() -> None:
            of_ending(run, status, self.rank_)
            findings.of_model(self, selected, fitted if self.loss == "squared" else None)

        return tell

    def _given(self, X: Any, mask: Any) -> Observations:
        """The observed entries of a matrix to be fitted."""
        table = read(X, mask, False, self.missing_values)
        validate_data(self, X, reset=True, skip_check_array=True, ensure_2d=False)
        return table.observations() if isinstance(table, GappedArray) else table

    def _settings(self, shape: tuple[int, int]) -> Settings:
        bound = min(tuning.WARNINGS.default_bound, *shape) if self.rank is None else _checks.rank(self.rank, shape)
        _checks.choice(self.scale, "scale", ("auto", "columns", "rows", "none"))
        _checks.choice(self.loss, "loss", ("squared", "robust"))
        _checks.integer(self.depth, "depth", 0)
        _checks.real(self.validation_fraction, "validation_fraction", 0, 0.5)
        _checks.callables(self.callbacks, "callbacks")
        return Settings(self.scale, self.loss, bound, self.depth, self.validation_fraction)

    def _keep(self, selected: Selected, fitted: Observations, uncounted: NDArray[np.bool_] | None) -> None:
        """What was selected, and what is told of it."""
        model, unit, said = selected.model, self._unit, selected.held_out
        factors, determining = model.factors, fitted
        if uncounted is not None and uncounted.any():
            determining = self._observations
            factors = imputation.with_rows(model, determining.with_values(determining.values / unit), uncounted)
        self._model = replace(model, factors=filled(factors, determining))
        self._spreads = unit * Scaling.of(fitted, "columns").spread
        self.n_features_in_: int = fitted.shape[1]
        self.rank_: int = factors.width
        self.scale_ = model.scaling.side
        missed = np.asarray(factors.at(fitted.rows, fitted.cols)).astype(np.float64) - fitted.values
        errors, cols = (missed, fitted.cols) if selected.exact else (said.errors, said.cols)
        self.residual_rms_: float = unit * rms(missed)
        self.held_out_rmse_: float = unit * rms(errors)
        self.column_errors_: NDArray[np.float64] = unit * rms_of_columns(errors, cols, self.n_features_in_)
        ranks = selected.ranks
        self.identifiability_: Identifiability = Identifiability.of(determining.pattern, max(selected.rank, 1), ranks)

    def fit_transform(
        self,
        X: Any,
        y: None = None,
        *,
        mask: Any = None,
        sample_weight: ArrayLike | None = None,
        weights: Any = None,
    ) -> Any:
        """`fit`, then `transform` of the same matrix."""
        return self.fit(X, mask=mask, sample_weight=sample_weight, weights=weights).transform(X, mask=mask)

    @of_one_fit
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model to a file (safetensors, no pickle); it appears whole or not at all.

        Settings come along, callbacks do not; labels do where they are text or numbers.
        """
        check_is_fitted(self)
        storage.write(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> MatrixCompletion:
        """Read a model that `save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is no model of dmc, is damaged, holds another kind, or was written by a newer version.
        """
        return storage.read(cls, path)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        return tags


def _ending(run: Run, selected: Selected) -> Status:
    """How a fit ended; a FloatingPointError, if it overflowed."""
    status = run.status if run.status is not None and run.ended else selected.status
    if status is Status.NONFINITE:
        raise FloatingPointError(f"the fit failed after {run.n_steps} steps: {status}")
    return status
