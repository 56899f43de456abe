"""MatrixCompletion: the solver behind scikit-learn's interface, with nothing to choose but the data."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import validate_data

from dmc import _checks, _memory, kernels
from dmc._keeper import keeper_among
from dmc.completion import imputation, tuning
from dmc.completion.findings import Findings, of_ending
from dmc.completion.fit import fit_repeated
from dmc.completion.model import in_units
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
    """Fill in a matrix or a table from some of its entries, with no rank, step size or iteration count to choose.

    The rank is found along a path of models under a decreasing penalty: the one that weight decay puts on the
    end-to-end matrix of a deep linear network (`dmc.rank_path`). Singular directions join a two-factor model on the
    path, and leave it. Where the rank has settled, Gauss–Newton steps without the penalty finish the model. If its
    degrees of freedom are fewer than the entries and it can match them exactly, the result is exact to rounding;
    where the first path misses such a model, slower paths are tried on parts of the matrix whose rows and columns
    check each other well. If the entries cannot be matched, held-out entries choose among the models on the path,
    factor analysis with a level and a noise variance for each column, and the column means. The winner is refitted to
    all entries.

    Parameters
    ----------
    rank : int, optional
        Upper bound of the rank; it need not be tight. Default: as large as the entries support, at most 50.
    scale : {"auto", "columns", "rows", "none"}
        Which side of the matrix has units of its own. Each column (or row) then gets a level, which is fitted and not
        penalised, and is weighted by its own spread. With "auto", that side is scaled from the start if levels and
        spreads of its columns (or rows) describe the entries well; otherwise held-out entries decide between scaled
        columns and one scale for all. The choice is in `scale_`.
    loss : {"squared", "robust"}
        "robust" finds grossly wrong entries, leaves them out and lists them in `outliers_`.
    min_value, max_value : float or (columns,) array, optional
        Bounds of the predictions. Observed entries outside them are refused.
    missing_values : float, optional
        A further number that stands for a missing entry, such as -200. NaN, None and pandas' NA always do.
    depth : int
        Number of factors of the deep network whose penalty is used (published: 3); 0 is the nuclear norm.
    validation_fraction : float
        Share of the observed entries, at most 10,000, in each of one to five parts. The parts are held out in turn to
        choose the model if the entries cannot be matched exactly; the final fit uses all entries. 0 holds nothing out.
    random_state : int, numpy.random.Generator or None
        Seed of the starting point and of the held-out parts. The same seed gives the same result.
    n_threads : int, optional
        Threads of the fit. Default: OMP_NUM_THREADS if it is set, else one per processor. The result does not depend
        on it.
    device : str, optional
        Where to search for the rank, such as "cuda" (needs torch). Default: where the data are, which is their device
        for torch tensors and the host for everything else. The fitted model is moved back to where the data were.
    verbose : bool
        Show a progress bar.
    callbacks : sequence of callables
        Called during the fit (see `dmc.callbacks`). A callback that returns true ends the fit early; the model found so
        far is kept.

    Attributes
    ----------
    factors_ : Factors
        Two-factor model in the data's units: X̂ = U·Vᵀ, plus a bias for each column (or row) if that side was scaled.
        U is (rows, `rank_`) and V (columns, `rank_`); NumPy arrays, or tensors if the data were.
    rank_ : int
        The rank found, not counting the biases.
    scale_ : {"none", "columns", "rows"}
        Which side was scaled.
    status_ : Status
        How the fit ended; its text includes advice.
    n_iter_ : int
        Steps taken, over all phases.
    history_ : list of dict
        One dict for each phase: "phase" ("path", "polish", "final", "factor analysis"); "width" of the factors at its
        end; "n_steps"; "value" at its end, relative to the value at zero (for factor analysis: the share of noise);
        "held_out_error", the root mean square relative to the largest entry, or None if nothing was held out; and
        "seconds" since the fit began.
    held_out_rmse_ : float
        Root mean squared error of the chosen kind of model on held-out entries, in the data's units. On the fitted
        entries if they are matched exactly; NaN if nothing was held out.
    column_errors_ : (columns,) float64 array
        The same for each column; NaN where none of its entries was held out.
    outliers_ : (outliers, 2) int64 array
        Row and column of each entry that the robust loss left out; empty with the squared loss.
    identifiability_ : Identifiability
        Which entries the observed positions can determine; as text it says which they cannot. For a model that matches
        all entries it is computed at its rank; if such a model can still be moved without changing an observed entry,
        only the largest block that stays fixed counts as determined. For other models it is computed at rank one,
        since rows and columns with few entries borrow from all the others.
    residual_rms_ : float
        Root mean square of X̂ − X over the observed entries, outliers left out, in the data's units.
    n_features_in_ : int
        Number of columns of the matrix.
    feature_names_in_ : (columns,) object array
        Names of the columns; only if X was a data frame whose column names are all strings.

    See Also
    --------
    TensorCompletion : The same for three-way tensors.
    Recommender : For users, items and ratings with ids of any kind.
    solve : The solver with a rank, step and starting point of your choice.

    References
    ----------
    C. Yaras, P. Wang, L. Balzano, Q. Qu, "Compressible Dynamics in Deep Overparameterized Low-Rank Learning &
    Adaptation", ICML 2024 (arXiv 2406.04112). The path is `dmc.rank_path.RankPath`, the last steps
    `dmc.steps.GaussNewton`.

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
    (1, 56.329515)
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

        Ctrl-C ends the fit and keeps the model found so far, with a warning. A second Ctrl-C, or one before or after
        the search, raises KeyboardInterrupt and leaves the estimator as it was. With a `dmc.callbacks.Checkpoint` among
        the callbacks, the fit resumes where an earlier process left it.

        Parameters
        ----------
        X : (rows, columns) array, masked array, sparse matrix, torch tensor, data frame or Observations
            Anything that `dmc.observe` accepts; of a sparse matrix, stored entries are the observed ones.
        y : None
            Ignored; present for scikit-learn's pipelines.
        mask : (rows, columns) bool, optional
            True where an entry was observed. If both are data frames, the labels must be those of X, in any order.
        sample_weight : (rows,) array, optional
            Non-negative weight of each row: the relative precision of its entries.
        weights : (rows, columns) array, data frame or sparse matrix, or (observed,) array in row order, optional
            Non-negative weight of each entry; entries of weight 0 are left out of the fit. Default: the weights of an
            `Observations`, if it has any.

        Returns
        -------
        MatrixCompletion
            The estimator itself.

        Raises
        ------
        ValueError, TypeError
            If the data, the weights, the bounds or a parameter cannot be used.
        FloatingPointError
            If the fit overflowed.

        Warns
        -----
        UserWarning
            If part of the result is a guess, or the data look misread: rows or columns without observed entries,
            entries that the observed positions cannot determine, all entries equal, zeros that may stand for missing
            entries, columns predicted no better than by their mean, entries far from all others, or a fit that was
            interrupted.
        sklearn.exceptions.ConvergenceWarning
            If the fit did not converge, or the model predicts held-out entries badly.

        Examples
        --------
        >>> import numpy as np
        >>> import dmc
        >>> X = np.outer([1.0, 2, 3, 4, 5], [1.0, 3, 2, 5])
        >>> X[1, 2] = X[3, 1] = np.nan
        >>> model = dmc.MatrixCompletion().fit(X)
        >>> model.rank_, model.identifiability_.whole
        (1, True)
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
        """Fit to a matrix, then impute its missing entries.

        Parameters
        ----------
        X : (rows, columns) array, masked array, sparse matrix, torch tensor, data frame or Observations
            As in `fit`.
        y : None
            Ignored; present for scikit-learn's pipelines.
        mask : (rows, columns) bool, optional
            True where an entry was observed.
        sample_weight : (rows,) array, optional
            As in `fit`.
        weights : (rows, columns) array, data frame or sparse matrix, or (observed,) array in row order, optional
            As in `fit`.

        Returns
        -------
        (rows, columns) float array or data frame
            The observed entries as they are, the missing ones predicted; a data frame if X is one.

        Examples
        --------
        >>> import numpy as np
        >>> import dmc
        >>> X = np.outer([1.0, 2, 3, 4, 5], [1.0, 3, 2, 5])
        >>> X[1, 2] = np.nan
        >>> float(dmc.MatrixCompletion().fit_transform(X)[1, 2].round(6))
        4.0
        """
        return self.fit(X, mask=mask, sample_weight=sample_weight, weights=weights).transform(X, mask=mask)

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
