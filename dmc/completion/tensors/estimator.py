"""TensorCompletion: fill in a three-way tensor from some of its entries."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _checks, _memory, kernels
from dmc._keeper import keeper_among
from dmc.completion.findings import of_ending
from dmc.completion.phases import identity
from dmc.completion.results import rms
from dmc.completion.tensors import findings
from dmc.completion.tensors.model import TensorModel, TubalModel
from dmc.completion.tensors.phases import TensorPhases
from dmc.completion.tensors.queries import TensorQueries, host
from dmc.completion.tensors.selection import Selected, Selection, Settings, candidates, rank_limit
from dmc.completion.tensors.tuning import TENSORS
from dmc.factors import Factors
from dmc.pattern import read_only
from dmc.solver.callbacks import Progress
from dmc.solver.kept_phases import KeptPhases
from dmc.solver.loop import Callback, Run
from dmc.solver.solution import Record, Status
from dmc.tubal.algebra import Transform
from dmc.tubal.problem import read_tensor


@_memory.methods_in_words
class TensorCompletion(TensorQueries):
    """Fill in a three-way tensor from some of its entries, with no rank, axis or iteration count to choose.

    The tensor is transformed along one axis, the tube. The slices of the transform are matrices of low rank, each with
    a rank of its own (the multi-rank). As in `MatrixCompletion`, singular directions join and leave along the path of
    a decreasing weight-decay penalty, here for all slices together. Where the multi-rank has settled, Gauss–Newton
    steps without the penalty finish the model; if the entries can be matched exactly with fewer degrees of freedom, the
    result is exact to rounding. Otherwise held-out entries choose where on the path to stop, with the penalty or
    without. If whole tubes are missing, whole tubes are held out.

    Held-out entries also choose which axis is the tube, and whether one of the three unfoldings does better (an
    unfolding is the matrix whose columns are the positions of one axis).

    Values are fitted as they are. For counts that spread over orders of magnitude, complete the square roots and square
    the result; otherwise the large counts dominate.

    Parameters
    ----------
    rank : int, optional
        Upper bound of the tubal rank (for an unfolding, of its rank); it need not be tight. Default: as large as the
        entries support, at most 50.
    tube : {"auto", 0, 1, 2}
        The axis along which to transform. "auto": the best of the three axes and the three unfoldings.
    transform : {"dft", "dct"} or (length, length) orthogonal array
        The transform along the tube: real Fourier (the t-product), cosine, or any orthogonal matrix. With a matrix and
        ``tube="auto"``, only axes of its size are candidates.
    min_value, max_value : float, optional
        Bounds of the predictions. Observed entries outside them are refused.
    missing_values : float, optional
        A further number that stands for a missing entry, such as -200. NaN always does.
    depth : int
        Number of factors of the deep network whose penalty is used (published: 3); 0 is the tubal nuclear norm.
    validation_fraction : float
        Share of the observed entries, at most 10,000, that are held out to choose the model if the entries cannot be
        matched exactly; the final fit uses all entries.
    random_state : int, numpy.random.Generator or None
        Seed of the starting point and of the held-out entries. The same seed gives the same result.
    n_threads : int, optional
        Threads of the fit. Default: OMP_NUM_THREADS if it is set, else one per processor.
    verbose : bool
        Show a progress bar.
    callbacks : sequence of callables
        Called during the fit (see `dmc.callbacks`). A callback that returns true ends the fit early; the model found so
        far is kept.

    Attributes
    ----------
    tube_ : int or None
        The axis that was chosen; None for an unfolding.
    unfolding_ : int or None
        The axis whose positions are the columns of the chosen unfolding; None for a tube.
    rank_ : int
        The tubal rank found; for an unfolding, its rank.
    multi_rank_ : (slices,) int64 array or None
        The rank of each slice of the transform (for "dft", one of each pair of conjugate frequencies); None for an
        unfolding.
    factors_ : Factors
        In the data's units: the flattened factor tensors, as in `dmc.TubalLeastSquares`; for an unfolding U·Vᵀ, plus
        biases if it has any.
    exact_ : bool
        Whether all entries are matched to rounding with fewer degrees of freedom.
    status_ : Status
        How the fit ended; its text includes advice.
    n_iter_ : int
        Steps taken, over all phases.
    history_ : list of dict
        One dict for each phase: "phase"; "candidate", such as "tube 2" or "unfolding 0"; "width" of the factors at its
        end; "n_steps"; "value" at its end, relative to the value at zero; "held_out_error", the root mean square in
        units of a power of two above the largest entry, or None if nothing was held out; and "seconds" since the fit
        began.
    held_out_rmse_ : float
        Root mean squared error of the chosen kind of model on held-out entries, in the data's units; on the fitted
        entries if they are matched exactly.
    candidate_errors_ : dict of str to float
        The same for every candidate that was tried, by name.
    residual_rms_ : float
        Root mean square of X̂ − X over the observed entries, in the data's units.

    See Also
    --------
    MatrixCompletion : The same for matrices and tables.
    TubalLeastSquares : The problem behind it, for `dmc.solve`.

    References
    ----------
    M. Kilmer, C. Martin, "Factorization strategies for third-order tensors", 2011; Z. Zhang, S. Aeron, "Exact tensor
    completion using t-SVD", 2017; S. Karnik et al., "Implicit regularization for tubal tensor factorizations via
    gradient descent", 2024 (arXiv 2410.16247); `dmc.rank_path` for the penalty.

    Examples
    --------
    >>> import numpy as np
    >>> import dmc
    >>> rng = np.random.default_rng(0)
    >>> X = dmc.tubal.product(rng.standard_normal((20, 2, 8)), rng.standard_normal((2, 20, 8)))
    >>> seen = np.where(rng.random(X.shape) < 0.5, X, np.nan)
    >>> model = dmc.TensorCompletion().fit(seen)
    >>> model.tube_, model.rank_, bool(np.abs(model.complete() - X).max() < 1e-9)
    (2, 2, True)
    """

    def __init__(
        self,
        rank: int | None = None,
        tube: int | str = "auto",
        *,
        transform: Transform = "dft",
        min_value: float | None = None,
        max_value: float | None = None,
        missing_values: float | None = math.nan,
        depth: int = 3,
        validation_fraction: float = 0.05,
        random_state: int | np.random.Generator | None = 0,
        n_threads: int | None = None,
        verbose: bool = False,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.rank = rank
        self.tube = tube
        self.transform = transform
        self.min_value = min_value
        self.max_value = max_value
        self.missing_values = missing_values
        self.depth = depth
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.n_threads = n_threads
        self.verbose = verbose
        self.callbacks = callbacks

    def fit(self, X: Any, y: None = None, *, mask: Any = None) -> TensorCompletion:
        """Fit to the observed entries of a tensor.

        Ctrl-C ends the fit and keeps the model found so far, with a warning. A second Ctrl-C, or one before or after
        the search, raises KeyboardInterrupt and leaves the estimator as it was. With a `dmc.callbacks.Checkpoint` among
        the callbacks, the fit resumes where an earlier process left it.

        Parameters
        ----------
        X : (n1, n2, n3) array, masked array or torch tensor
            With NaN where an entry is missing.
        y : None
            Ignored; present for scikit-learn's pipelines.
        mask : (n1, n2, n3) bool array, optional
            True where an entry was observed.

        Returns
        -------
        TensorCompletion
            The estimator itself.

        Raises
        ------
        ValueError, TypeError
            If the data or a parameter cannot be used.
        FloatingPointError
            If the fit overflowed.

        Warns
        -----
        UserWarning
            If part of the result is a guess, or the data look misread: slices without observed entries, positions that
            the entries do not determine, all entries equal, zeros that may stand for missing entries, or a fit that was
            interrupted.
        sklearn.exceptions.ConvergenceWarning
            If the fit did not converge, or the model predicts held-out entries badly.

        Examples
        --------
        >>> import numpy as np
        >>> import dmc
        >>> rng = np.random.default_rng(0)
        >>> X = dmc.tubal.product(rng.standard_normal((10, 1, 4)), rng.standard_normal((1, 10, 4)))
        >>> model = dmc.TensorCompletion().fit(X, mask=rng.random(X.shape) < 0.7)
        >>> model.exact_
        True
        """
        fitted = copy.copy(self)
        tell = fitted._fit(X, mask)
        self.__dict__ = fitted.__dict__  # at once: whatever ends a fit before leaves the estimator as it was
        tell()
        return self

    def _fit(self, X: Any, mask: Any) -> Callable[[], None]:
        """`fit`, but for what is told of its result."""
        values, observed = read_tensor(host(X), host(mask), self.missing_values)
        settings = self._settings(values)
        self._check_bounds(values, observed)
        rng = _checks.generator(self.random_state)
        findings.of_data(values, observed, mask is not None or np.ma.isMaskedArray(X))
        findings.of_placeholder(values, self.missing_values)
        # Squares stay inside the range; a power of two rounds nothing.
        unit = 2.0 ** math.frexp(float(np.abs(values[observed], dtype=np.float64).max()) or 1.0)[1]
        callbacks: list[Callback] = [*self.callbacks, *([Progress()] if self.verbose else [])]
        with (
            keeper_among(callbacks, partial(identity, self, values, observed)) as keeper,
            kernels.threads(self.n_threads),
            kernels.sharing_cores(1),
            Run(callbacks, kept=KeptPhases(keeper, rng)) as run,
        ):
            phases = TensorPhases(run)
            scaled = np.where(observed, values, 0).astype(np.float64) / unit
            selected = Selection(scaled, observed, settings, rng, phases).select()
            if run.stopped_by != "interrupt":
                keeper.finish()
        self._keep(selected, values, observed, unit)
        self.n_iter_: int = run.n_steps
        self.history_ = phases.history
        self.status_: Status = self._ending(run, selected)

        def tell() -> None:
            of_ending(run, self.status_)
            if self.status_ is not Status.STOPPED:
                findings.of_model(selected, observed, self.rank)

        return tell

    def _settings(self, values: NDArray[Any]) -> Settings:
        _checks.integer(self.depth, "depth", 0)
        fraction = _checks.real(self.validation_fraction, "validation_fraction", 0, 0.5, open_ends=True)
        _checks.callables(self.callbacks, "callbacks")
        tubes, unfoldings = candidates(values.shape, self.tube, self.transform)
        largest = max(sorted(values.shape)[1:2]) if unfoldings else rank_limit(values.shape, tubes)
        bound = TENSORS.default_bound
        if self.rank is not None:
            bound = _checks.integer(self.rank, "rank", 1, largest, f"no slice of {values.shape} has a larger one")
        eps = float(np.finfo(values.dtype).eps)
        rounding = max(TENSORS.rounding, TENSORS.rounding_units * eps)
        return Settings(tubes, unfoldings, bound, self.depth, fraction, rounding)

    def _check_bounds(self, values: NDArray[Any], observed: NDArray[np.bool_]) -> None:
        low, high = self._bounds()
        if low > high:
            raise ValueError(f"min_value is {low:g} and max_value {high:g}; give a range")
        seen = values[observed]
        outside = int(((seen < low) | (seen > high)).sum())
        if outside:
            raise ValueError(
                f"{_checks.count(outside, 'observed entry lies', 'observed entries lie')} outside min_value {low:g} "
                f"and max_value {high:g}; widen the range, or mark them as missing"
            )

    def _ending(self, run: Run, selected: Selected) -> Status:
        status = run.status if run.status is not None and run.ended else Status.CONVERGED
        if status is Status.NONFINITE:
            raise FloatingPointError(f"the fit failed after {run.n_steps} steps: {status}")
        unknown = selected.short > 0 or not all(seen.all() for seen in self._seen)
        return Status.UNDETERMINED if status is Status.CONVERGED and unknown else status

    def _keep(self, selected: Selected, values: NDArray[Any], observed: NDArray[np.bool_], unit: float) -> None:
        """What was selected, and what is told of it."""
        self._seen, self._dtype = findings.lines_seen(observed), values.dtype
        self._describe(selected.model.scaled(unit))
        missed = (self._model.dense()[observed] - values[observed]) / unit  # whose squares are inside the range
        self.residual_rms_: float = unit * rms(missed)
        self.exact_: bool = selected.exact
        self.held_out_rmse_: float = unit * selected.error
        self.candidate_errors_: dict[str, float] = {
            name: unit * float(error) for name, error in selected.errors.items()
        }

    def _describe(self, model: TensorModel) -> None:
        """A model in the data's units."""
        self._model = model
        self.factors_: Factors = model.factors.map(read_only)
        if isinstance(model, TubalModel):
            self.tube_: int | None = model.tube
            self.unfolding_: int | None = None
            self.multi_rank_: NDArray[np.int64] | None = model.widths
            self.rank_: int = int(model.widths.max())
        else:
            self.tube_, self.unfolding_, self.multi_rank_ = None, model.axis, None
            self.rank_ = model.factors.width

    history_: list[Record]

    def fit_transform(self, X: Any, y: None = None, *, mask: Any = None) -> NDArray[Any]:
        """Fit to a tensor, then impute its missing entries.

        Parameters
        ----------
        X : (n1, n2, n3) array, masked array or torch tensor
            With NaN where an entry is missing.
        y : None
            Ignored; present for scikit-learn's pipelines.
        mask : (n1, n2, n3) bool array, optional
            True where an entry was observed.

        Returns
        -------
        (n1, n2, n3) float array
            The observed entries as they are, the missing ones predicted.

        Examples
        --------
        >>> import numpy as np
        >>> import dmc
        >>> rng = np.random.default_rng(0)
        >>> X = dmc.tubal.product(rng.standard_normal((10, 1, 4)), rng.standard_normal((1, 10, 4)))
        >>> completed = dmc.TensorCompletion().fit_transform(X, mask=rng.random(X.shape) < 0.7)
        >>> np.allclose(completed, X)
        True
        """
        completed = self.fit(X, mask=mask).complete()
        values, observed = read_tensor(host(X), host(mask), self.missing_values)
        return np.where(observed, values, completed).astype(self._dtype, copy=False)
