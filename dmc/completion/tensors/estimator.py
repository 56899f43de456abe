"""TensorCompletion: a tensor of three ways filled in from some of its entries, told nothing but the data."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from dmc import _arrays, _checks, _memory, kernels
from dmc._keeper import keeper_among
from dmc.completion.findings import of_ending
from dmc.completion.one_fit import of_one_fit
from dmc.completion.phases import identity
from dmc.completion.results import rms
from dmc.completion.tensors import findings, storage
from dmc.completion.tensors.model import TensorModel, TubalModel
from dmc.completion.tensors.phases import TensorPhases
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
class TensorCompletion(BaseEstimator):
    """Fill in a tensor of three ways from some of its entries, with no rank, axis or iteration count to give.

    Along one axis, the tube, the tensor is transformed; the slices of the transform are matrices of low rank, each of
    its own. What joins them in a slice and what leaves is shown by the penalty of a deep network's weight decay, which
    falls for all slices together, as in `MatrixCompletion`; where the multi-rank has settled, Gauss–Newton steps
    without the penalty finish the model, which ends at rounding if the entries can be matched exactly by fewer degrees
    of freedom. If they cannot, held-out entries choose where on the path to stop, with the penalty or without. Where
    whole tubes are missing, whole tubes are held out.

    Which axis is the tube is asked of held-out entries as well, and whether one of the three unfoldings, the matrices
    whose columns are one axis, does better.

    The values are fitted as they are. Of counts that spread over orders of magnitude, complete the square roots, and
    square the result: the large ones do not decide alone then.

    Parameters
    ----------
    rank : int, optional
        Upper bound of the tubal rank (of an unfolding: of its rank), which need not be exact. Left out: as large as the
        entries support, at most 50.
    tube : {"auto", 0, 1, 2}
        The axis along which to transform. "auto": the best of the three axes and the three unfoldings.
    transform : {"dft", "dct"}, or (length, length) orthogonal array
        The transform along the tube: real Fourier (the t-product), cosine, or any orthogonal matrix; with a matrix and
        "auto", axes of its size are candidates.
    min_value, max_value : float, optional
        Bounds of what is predicted. Observed entries outside are refused.
    missing_values : float
        A further number that stands for a missing entry, such as -200. NaN always does.
    depth : int
        Number of cores of the deep network whose penalty is paid (published: 3); 0 is the tubal nuclear norm.
    validation_fraction : float
        Share of the observed entries (at most 10,000) that are held out to choose the model where the entries cannot be
        matched exactly; the final fit has them all.
    random_state : int, numpy.random.Generator or None
        Seed of the start and of the held-out entries. The same seed gives the same result.
    n_threads : int, optional
        Threads of the fit; left out: as many as OMP_NUM_THREADS says, or as there are cores.
    verbose : bool
        Show a progress bar.
    callbacks : sequence of callables
        See `dmc.callbacks`; one that returns true ends the fit with what was reached.

    Attributes
    ----------
    tube_ : int or None
        The axis that was chosen; None: an unfolding.
    unfolding_ : int or None
        The axis whose positions are the columns of the unfolding that was chosen; None: a tube.
    rank_ : int
        The tubal rank found; of an unfolding its rank.
    multi_rank_ : (slices,) int array or None
        The rank of each slice of the transform (of the conjugate frequencies of "dft" one each); None of an unfolding.
    factors_ : Factors
        In the data's units: the flat factor tensors, as `dmc.TubalLeastSquares` has them; of an unfolding
        U·Vᵀ plus biases, if it has any.
    exact_ : bool
        Whether all entries are matched to rounding, by fewer degrees of freedom.
    status_ : Status
        How the fit ended; its text carries advice.
    n_iter_ : int
        Steps taken in all phases.
    history_ : list of dict
        One for each phase: "phase", "candidate" ("tube 2", "unfolding 0"), "width" of its factors at its end,
        "n_steps", "value" at its end (relative to that at zero), "held_out_error" (root mean square, in units of a
        power of two above the largest entry; None where nothing was held out), "seconds" since the fit began.
    held_out_rmse_ : float
        Root mean squared error on held-out entries, in the data's units, of the kind of model that was chosen; of the
        fitted entries if they are matched exactly.
    candidate_errors_ : dict
        The same of every candidate that was tried, by name.
    residual_rms_ : float
        Root mean square of X̂ − X over the observed entries, in the data's units.

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

    _model: TensorModel
    _seen: list[NDArray[np.bool_]]  # for each axis, whether any entry was observed at each position
    _dtype: Any

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

        Ctrl-C ends the fit with what was reached, and a warning; a second one, or one before or behind the search,
        raises KeyboardInterrupt and leaves the estimator as it was. With a `dmc.callbacks.Checkpoint` among the
        callbacks the fit goes on where an earlier process left it.

        Parameters
        ----------
        X : (n1, n2, n3) array
            With NaN where an entry is missing; or a masked array, or a torch tensor.
        y : None
            Ignored.
        mask : (n1, n2, n3) bool array, optional
            True where an entry was observed.

        Returns
        -------
        TensorCompletion
            Itself.

        Raises
        ------
        ValueError, TypeError
            If the data or a parameter cannot be used.
        FloatingPointError
            If the fit overflowed.
        """
        fitted = copy.copy(self)
        tell = fitted._fit(X, mask)
        self.__dict__ = fitted.__dict__  # at once: whatever ends a fit before leaves the estimator as it was
        tell()
        return self

    def _fit(self, X: Any, mask: Any) -> Callable[[], None]:
        """`fit`, but for what is told of its result."""
        values, observed = read_tensor(_host(X), _host(mask), self.missing_values)
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
                f"{_checks.count(outside, 'observed entry lies', 'observed entries lie')} outside of min_value {low:g} "
                f"and max_value {high:g}; widen the range, or mark them as missing"
            )

    def _bounds(self) -> tuple[float, float]:
        low = -math.inf if self.min_value is None else _checks.real(self.min_value, "min_value")
        return low, math.inf if self.max_value is None else _checks.real(self.max_value, "max_value")

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

    @of_one_fit
    def predict(self, i: ArrayLike, j: ArrayLike, t: ArrayLike) -> NDArray[Any]:
        """Predicted values at positions along the three axes.

        Parameters
        ----------
        i, j, t : (asked,) integers
            Zero-based.

        Returns
        -------
        (asked,) float array, in the data's units

        Raises
        ------
        ValueError, TypeError
            If a position is out of range, or the lengths differ.
        """
        check_is_fitted(self)
        named = zip(
            (i, j, t), self._model.shape, ("axis-0 position", "axis-1 position", "axis-2 position"), strict=True
        )
        where = tuple(_checks.indices(_host(at), n, name).astype(np.int64) for at, n, name in named)
        _checks.same_length(i=where[0], j=where[1], t=where[2])
        return self._clipped(self._model.at(where))

    @of_one_fit
    def complete(self, unknown: float | None = None) -> NDArray[Any]:
        """The fitted tensor X̂ at every position, observed ones included.

        Parameters
        ----------
        unknown : float, optional
            What to put into slices without any observed entry, of which nothing is known, for instance NaN. Left out:
            the model's guess.

        Returns
        -------
        (n1, n2, n3) float array
        """
        check_is_fitted(self)
        shape = self._model.shape
        _checks.memory(math.prod(shape) * 8, f"the completed {shape} tensor", "ask for entries with predict(i, j, t)")
        completed = self._clipped(self._model.dense())
        if unknown is not None:
            first, second, third = self._seen
            known = first[:, None, None] & second[:, None] & third
            completed = np.where(known, completed, np.asarray(unknown, completed.dtype))
        return completed

    def fit_transform(self, X: Any, y: None = None, *, mask: Any = None) -> NDArray[Any]:
        """`fit`, and then the same tensor with the observed entries as they are, the missing ones predicted."""
        completed = self.fit(X, mask=mask).complete()
        values, observed = read_tensor(_host(X), _host(mask), self.missing_values)
        return np.where(observed, values, completed).astype(self._dtype, copy=False)

    @of_one_fit
    def score(self, X: Any, y: None = None, *, mask: Any = None) -> float:
        """Minus the root mean squared error at the observed entries of a tensor, in the data's units; higher is better.

        Parameters
        ----------
        X : (n1, n2, n3) array
            Of the fitted shape, with entries that were kept from the fit; NaN elsewhere.
        y : None
            Ignored.
        mask : (n1, n2, n3) bool array, optional
            True where an entry counts.
        """
        check_is_fitted(self)
        values, observed = read_tensor(_host(X), _host(mask), self.missing_values)
        if values.shape != self._model.shape:
            raise ValueError(f"X has shape {values.shape} and the fitted tensor {self._model.shape}; give one like it")
        return -rms(self._clipped(self._model.at(np.nonzero(observed))) - values[observed])

    @of_one_fit
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model to a file (safetensors, no pickle); it appears whole or not at all.

        Settings come along, callbacks do not.
        """
        check_is_fitted(self)
        storage.write(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TensorCompletion:
        """Read a model that `save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is no model of dmc, is damaged, holds another kind, or was written by a newer version.
        """
        found: TensorCompletion = storage.read(cls, path)
        return found

    def _clipped(self, values: NDArray[Any]) -> NDArray[Any]:
        low, high = self._bounds()
        bounded = values if low == -math.inf and high == math.inf else np.clip(values, low, high)
        return bounded.astype(self._dtype, copy=False)


def _host(X: Any) -> Any:
    """A torch tensor as NumPy's array; anything else as it is."""
    return _arrays.place(X, None) if _arrays.is_tensor(X) else X
