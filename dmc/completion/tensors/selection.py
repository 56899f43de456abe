"""Which model a tensor gets: along one of its axes, or of one of its unfoldings, by what held-out entries say."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc.completion.fit import fit
from dmc.completion.phases import Phases
from dmc.completion.results import Settings as MatrixSettings, filled
from dmc.completion.tensors.holding_out import hold_out
from dmc.completion.tensors.model import TensorModel, TubalModel, UnfoldedModel, unfolded
from dmc.completion.tensors.phases import TensorPhases
from dmc.completion.tensors.tube_search import Trial, TubeSearch
from dmc.completion.tensors.tuning import TENSORS
from dmc.inputs import GappedArray
from dmc.solver.kept_phases import Course
from dmc.tubal.algebra import Transform
from dmc.tubal.containers import from_slices
from dmc.tubal.problem import slice_problem
from dmc.tubal.slices import SliceFactors, SliceLeastSquares
from dmc.tubal.transforms import FourierTube, TubeTransform, transform_of

UNFOLDING_FRACTION = 0.05  # held out again inside the fit of an unfolding, as in MatrixCompletion


@dataclass(frozen=True)
class Settings:
    """What `TensorCompletion` was told of the model.

    Attributes
    ----------
    transforms : dict
        From axes that may be the tube's to their transforms.
    unfoldings : tuple of int
        Axes whose unfoldings are candidates.
    bound, depth : int
    fraction : float
        Held out.
    rounding : float
        Root mean square of residuals over that of entries, up to which these are matched.
    """

    transforms: dict[int, TubeTransform]
    unfoldings: tuple[int, ...]
    bound: int
    depth: int
    fraction: float
    rounding: float


def candidates(
    shape: tuple[int, ...], tube: int | str, transform: Transform
) -> tuple[dict[int, TubeTransform], tuple[int, ...]]:
    """The axes that may be the tube's, with their transforms, and those of unfoldings."""
    if not isinstance(tube, str):
        axis = _checks.integer(tube, "tube", 0, 2, 'an axis of the tensor, or "auto"')
        return {axis: transform_of(transform, shape[axis])}, ()
    if tube != "auto":
        raise ValueError(f"tube is {tube!r}; give an axis, 0, 1 or 2, or 'auto'")
    axes = [0, 1, 2]
    if not isinstance(transform, str):
        if not isinstance(transform, TubeTransform) and np.ndim(transform) != 2:
            raise TypeError(f"transform is {transform!r}; give 'dft', 'dct' or a square orthogonal matrix")
        length = transform.length if isinstance(transform, TubeTransform) else len(np.asarray(transform))
        axes = [axis for axis in axes if shape[axis] == length]
        if not axes:
            raise ValueError(
                f"transform is for tubes of {length} entries and X has shape {shape}; give a matrix of the size of "
                "one axis"
            )
    return {axis: transform_of(transform, shape[axis]) for axis in axes}, (0, 1, 2)


def rank_limit(shape: tuple[int, ...], tubes: dict[int, TubeTransform]) -> int:
    """The largest rank that a slice can have."""
    return max(min(n for axis, n in enumerate(shape) if axis != tube) for tube in tubes)


@dataclass(frozen=True, eq=False)
class Selected:
    """A fitted model, and what held-out entries said.

    Attributes
    ----------
    model : TubalModel or UnfoldedModel
    exact : bool
        Whether it matches all entries to rounding by fewer degrees of freedom.
    error : float
        Root mean square on held-out entries of the kind of model that was chosen.
    mean_error : float
        The same of the mean of the training entries.
    errors : dict
        Of every candidate, by name.
    short : int
        Rows and columns of an exact model that their entries do not determine.
    """

    model: TensorModel
    exact: bool
    error: float
    mean_error: float
    errors: dict[str, float] = field(default_factory=dict)
    short: int = 0


class _Race(Course):
    """All paths, and those that are still to be followed."""

    def __init__(self, trials: list[Trial], live: list[Trial]) -> None:
        self.trials, self.live = trials, live

    def standing(self) -> tuple[list[Any], list[int]]:
        return [trial.standing() for trial in self.trials], [self.trials.index(trial) for trial in self.live]

    def stand(self, standing: tuple[list[Any], list[int]]) -> None:
        for trial, own in zip(self.trials, standing[0], strict=True):
            trial.stand(own)
        self.live[:] = [self.trials[i] for i in standing[1]]


class Selection:
    """The choice for one tensor.

    Every candidate is a path on the training entries: along each axis that may be the tube's, and of each unfolding,
    which is a tensor with tubes of one entry. Of the unfoldings, the best is fitted as `MatrixCompletion` does it,
    where its path comes near to the best of all.

    Parameters
    ----------
    values : (n1, n2, n3) float64 array
        Of about unit size.
    observed : (n1, n2, n3) bool array
    settings : Settings
    rng : numpy.random.Generator
    phases : TensorPhases
    """

    def __init__(
        self,
        values: NDArray[Any],
        observed: NDArray[np.bool_],
        settings: Settings,
        rng: np.random.Generator,
        phases: TensorPhases,
    ) -> None:
        self.values: NDArray[Any] = np.where(observed, values, 0)
        self.observed: NDArray[np.bool_] = observed
        self.settings: Settings = settings
        self.rng: np.random.Generator = rng
        self.phases: TensorPhases = phases
        self.held_out: NDArray[np.bool_] = hold_out(observed, settings.fraction, rng)
        self.trials: list[Trial] = [self._along(axis, transform) for axis, transform in settings.transforms.items()]
        self.trials += [self._of_unfolding(axis) for axis in settings.unfoldings]

    def _along(self, axis: int, transform: TubeTransform) -> Trial:
        held_out = np.ascontiguousarray(np.moveaxis(self.held_out, axis, 0))
        return self._trial(slice_problem(self.values, self.observed, axis, transform), held_out, f"tube {axis}")

    def _of_unfolding(self, axis: int) -> Trial:
        values, observed, held_out = (unfolded(a, axis)[..., None] for a in (self.values, self.observed, self.held_out))
        problem = slice_problem(values, observed, 2, FourierTube(1))
        return self._trial(problem, np.moveaxis(held_out, 2, 0), f"unfolding {axis}")

    def _trial(self, whole: SliceLeastSquares, held_out: NDArray[np.bool_], name: str) -> Trial:
        settings, (_, m, n) = self.settings, whole.values.shape
        return Trial(whole, held_out, min(settings.bound, m, n), settings.depth, self.rng, settings.rounding, name)

    @property
    def mean_error(self) -> float:
        """Root mean square by which the mean of the training entries misses the held-out ones."""
        train = self.observed & ~self.held_out
        mean = float(self.values[train].mean()) if train.any() else 0.0
        return math.sqrt(float(np.mean(np.square(self.values[self.held_out] - mean))))

    def select(self) -> Selected:
        """The model."""
        exact = self._race()
        if exact is not None:
            return self._exact(*exact)
        errors = {trial.name: trial.best_error for trial in self.trials}
        leading = min(self.trials, key=lambda trial: trial.best_error)
        search = TubeSearch(leading, self.phases)
        found = self._explored(search)
        if found is not None:
            return self._exact(leading, found)
        chosen = search.judged()
        if chosen is None:  # interrupted before the first step
            return Selected(self._model(leading, leading.point.model), False, math.nan, self.mean_error, errors)
        errors[leading.name] = chosen.error
        unfolding = self._near_unfolding(leading, chosen.error)
        if unfolding is not None:
            name = f"unfolding {unfolding}"
            error = self._unfolded(unfolding, self.observed & ~self.held_out)[1]
            errors[name] = min(error, errors[name])
            if error < chosen.error and not self.phases.ended:
                model = self._unfolded(unfolding, self.observed)[0]
                return Selected(model, False, error, self.mean_error, errors)
        fitted = chosen.model if self.phases.ended else search.fitted(chosen)
        return Selected(self._model(leading, fitted), False, chosen.error, self.mean_error, errors)

    def _near_unfolding(self, leading: Trial, error: float) -> int | None:
        """The axis of the unfolding that may be as good as the leading candidate."""
        unfoldings = [trial for trial in self.trials if trial.name.startswith("unfolding")]
        if not unfoldings or self.phases.ended or not (self.observed & ~self.held_out).any():
            return None
        best = min(unfoldings, key=lambda trial: trial.best_error)
        return int(best.name.split()[1]) if best.best_error < TENSORS.near * error else None

    def _model(self, trial: Trial, fitted: SliceFactors) -> TensorModel:
        (m, n, length), (kind, axis) = self.values.shape, trial.name.split()
        if kind == "unfolding":
            return UnfoldedModel((m, n, length), int(axis), from_slices(trial.whole.transform, fitted))
        return TubalModel((m, n, length), int(axis), trial.whole.transform, fitted)

    def _exact(self, trial: Trial, fitted: SliceFactors) -> Selected:
        whole = trial.whole
        error = math.sqrt(2 * whole.value(fitted) / whole.n_observed)
        short = self._short(trial, fitted)
        return Selected(self._model(trial, fitted), True, error, self.mean_error, {trial.name: error}, short)

    @staticmethod
    def _short(trial: Trial, fitted: SliceFactors) -> int:
        return trial.whole.short(fitted, math.sqrt(trial.rounding))  # which lets rounding grow to its root at most

    def _race(self) -> tuple[Trial, SliceFactors] | None:
        """All paths a step at a time, until each is over, or one leads to an exact model; better to one of which all
        rows and columns are determined."""
        live, guessed = list(self.trials), None

        def advance() -> None:
            reach = TENSORS.behind * min(trial.best_error for trial in live)
            for trial in live:
                if trial.best_error <= reach:  # those far behind wait until the leading one is over
                    trial.step()

        def measured() -> tuple[float, float, bool]:
            live[:] = [trial for trial in live if not trial.over or trial.nearly_exact]
            values = (1.0 if math.isnan(trial.value) else trial.value for trial in live)
            return min(values, default=0.0), 1.0, not live or any(trial.nearly_exact for trial in live)

        while live and not self.phases.ended:
            self.phases.go(advance, measured, live[0].factors, TENSORS.path_steps, course=_Race(self.trials, live))
            for trial in [trial for trial in live if trial.nearly_exact]:
                found = TubeSearch(trial, self.phases).exact_from(trial.point.model)
                if found is not None and not self._short(trial, found):
                    self._record()
                    return trial, found
                if found is not None:
                    guessed = guessed or (trial, found)
                    live.remove(trial)
                trial.failed()
        self._record()
        return guessed

    def _record(self) -> None:
        for trial in self.trials:
            error = trial.best_error if math.isfinite(trial.best_error) else None
            self.phases.add("path", trial.name, trial.point.model.width, trial.n_steps, trial.value, error)

    def _explored(self, search: TubeSearch) -> SliceFactors | None:
        """An exact model by slower paths, where the first one looks as if entries were few rather than noisy."""
        if self.phases.ended or not search.trial.few_entries:
            return None
        for decay in TENSORS.decays:
            found = search.explore(decay)
            if found is not None or self.phases.ended:
                return found
        return None

    def _unfolded(self, axis: int, observed: NDArray[np.bool_]) -> tuple[UnfoldedModel, float]:
        """The model of an unfolding of those entries, and its root mean square error on the held-out ones."""
        m, n, length = self.values.shape
        observations = GappedArray(unfolded(self.values, axis), unfolded(observed, axis)).observations()
        bound = min(self.settings.bound, *observations.shape)
        settings = MatrixSettings("auto", "squared", bound, self.settings.depth, UNFOLDING_FRACTION)
        phases = Phases(self.phases.run)
        selected = fit(observations, None, settings, self.rng, phases)[0]
        model = UnfoldedModel((m, n, length), axis, filled(selected.model.factors, observations))
        where = np.nonzero(self.held_out)
        error = math.sqrt(float(np.mean(np.square(model.at(where) - self.values[where]))))
        steps = sum(record["n_steps"] for record in phases.history)
        value = phases.history[-1]["value"] if phases.history else 0.0
        self.phases.add("unfolding", f"unfolding {axis}", selected.rank, steps, value, error)
        return model, error
