"""How the multi-rank of a tensor is found along one of its axes: paths judged by held-out entries, and finishes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc.completion.tensors.phases import TensorPhases
from dmc.completion.tensors.tuning import TENSORS
from dmc.factors import Factors
from dmc.solver.kept_phases import Attributes
from dmc.tubal.containers import from_slices
from dmc.tubal.slice_finish import FinishPoint, finish_step, gap
from dmc.tubal.slice_path import PathPoint, SlicePath
from dmc.tubal.slices import SliceFactors, SliceLeastSquares

MOVING = ("point", "over", "n_steps", "error", "_mark", "_same", "_failed_at")  # of a trial, beside what it has judged


@dataclass(frozen=True)
class Judged:
    """A model of the training entries, and what held-out ones say of it.

    Attributes
    ----------
    model : SliceFactors
    error : float
        Root mean square over the held-out entries.
    level : float
        Of the penalty at which it was found; 0: without.
    n_steps : int
        Of the path.
    residual : float
        Root mean square over the training entries, before the path's step to it.
    """

    model: SliceFactors
    error: float
    level: float
    n_steps: int
    residual: float = math.nan


class Trial:
    """A path on the training entries, with what it has passed.

    Parameters
    ----------
    whole : SliceLeastSquares
        Of all entries.
    held_out : (length, rows, columns) bool array
        Entries among the observed ones that the path does not see.
    bound, depth : int
        Width of a slice at most; of the penalty.
    rng : numpy.random.Generator
    rounding : float
        Root mean square of residuals over that of entries which counts as none.
    name : str
        Of the candidate.

    Attributes
    ----------
    best : Judged or None
    over : bool
        Whether the path has done its work.
    """

    def __init__(
        self,
        whole: SliceLeastSquares,
        held_out: NDArray[np.bool_],
        bound: int,
        depth: int,
        rng: np.random.Generator,
        rounding: float,
        name: str,
    ) -> None:
        self.whole: SliceLeastSquares = whole
        self.held_out: NDArray[np.bool_] = held_out
        self.name: str = name
        self.bound: int = bound
        self.depth: int = depth
        self._rng = rng
        self.rounding: float = rounding
        left = (
            ~held_out if whole.mask[~held_out].any() else np.ones_like(held_out)
        )  # of a single entry there is no part
        self.train: SliceLeastSquares = SliceLeastSquares(whole.transform, whole.values * left, whole.mask * left)
        self._truth = whole.values[held_out]
        self._path = SlicePath(self.train, bound, depth, rng)
        self.point: PathPoint = self._path.start()
        self.best: Judged | None = None
        self.over: bool = self.train.size == 0
        self.n_steps: int = 0
        self.error: float = math.nan
        self._mark = (0, math.inf, 0)  # step, error and total width of the last improvement that counts
        self._same = 0
        self._failed_at = math.inf
        self._plateaus: list[Judged] = []

    @property
    def value(self) -> float:
        """The loss before the last step, relative to that at zero."""
        return self.point.value / self.train.zero_value if self.train.zero_value else 0.0

    def error_of(self, model: SliceFactors) -> float:
        """Root mean square on the held-out entries."""
        missed = self.whole.tensor(model)[self.held_out] - self._truth
        return math.sqrt(float(np.mean(np.square(missed))))

    def step(self) -> None:
        """One step down the path."""
        before, level = self.point.model.widths, self.point.level
        self.point = self._path.step(self.point, TENSORS.decays[0])
        self.n_steps += 1
        model, widths = self.point.model, self.point.model.widths
        self.error = self.error_of(model)
        residual = math.sqrt(2 * max(self.point.value, 0.0) / self.train.n_observed)
        here = Judged(model, self.error, level, self.n_steps, residual)
        if self.best is None or self.error < self.best.error:
            self.best = here
        self._same = self._same + 1 if (widths == before).all() else 0
        if self._same == TENSORS.plateau:
            self._plateaus.append(here)
        elif self._same > TENSORS.plateau:
            self._plateaus[-1] = here
        if self.error < self._mark[1] * (1 - TENSORS.better):
            self._mark = self.n_steps, self.error, int(widths.sum())
        waited = self.n_steps - self._mark[0]
        joined = widths.sum() > self._mark[2]
        self.over = (
            (waited >= TENSORS.soon and joined)
            or waited >= TENSORS.late
            or self.point.level < TENSORS.lowest
            or self.value < self.rounding**2
        )

    def standing(self) -> tuple[Any, ...]:
        """All that it needs to go on from here."""
        known = [None if one is None else tuple(vars(one).values()) for one in (self.best, *self._plateaus)]
        return *(getattr(self, name) for name in MOVING), known

    def stand(self, standing: tuple[Any, ...]) -> None:
        """Go on from there."""
        *moving, known = standing
        vars(self).update(zip(MOVING, moving, strict=True))
        self.best = None if known[0] is None else Judged(*known[0])
        self._plateaus = [Judged(*one) for one in known[1:]]

    @property
    def best_error(self) -> float:
        """Root mean square of the best model on the held-out entries; infinite before the first step."""
        return math.inf if self.best is None else self.best.error

    @property
    def nearly_exact(self) -> bool:
        """Whether a finish on all entries may match them."""
        return self._same >= 1 and self.value < min(TENSORS.nearly, TENSORS.retry * self._failed_at)

    def failed(self) -> None:
        """A finish from here has not matched the entries."""
        self._failed_at = self.value

    @property
    def few_entries(self) -> bool:
        """Whether what is left open looks like too few entries for an exact model rather than like noise."""
        if self.best is None:
            return False
        spread = math.sqrt(float(np.mean(np.square(self._truth))))
        return self.best.residual < TENSORS.overfitted * self.best.error or (
            self.best.error > TENSORS.unexplained * spread
        )

    def plateaus(self) -> list[Judged]:
        """The last multi-ranks that stayed for a while, and the best model's own."""
        return self._plateaus[-TENSORS.plateaus :]

    def factors(self) -> Factors:
        return from_slices(self.whole.transform, self.point.model)


class TubeSearch:
    """What is done along one axis, once it was chosen: exact models, candidates without penalty, the fit to all of it.

    Parameters
    ----------
    trial : Trial
    phases : TensorPhases
    """

    def __init__(self, trial: Trial, phases: TensorPhases) -> None:
        self.trial: Trial = trial
        self.phases: TensorPhases = phases

    def exact_from(self, model: SliceFactors) -> SliceFactors | None:
        """The model that matches all entries to rounding, if a finish leads there by fewer degrees of freedom."""
        whole = self.trial.whole
        if not self.decisive(model):
            return None
        reached = self.finish(whole, model, "exact")
        if not self._matched(reached):
            return None
        cut = gap(reached.model.svd()[1], TENSORS.exact_gap)
        if cut is not None:
            trimmed = reached.model.above(cut)
            if trimmed.widths.sum() < reached.model.widths.sum():
                shorter = self.finish(whole, trimmed, "exact")
                reached = shorter if self._matched(shorter) else reached
        return reached.model

    def _matched(self, at: FinishPoint) -> bool:
        return at.value <= self.trial.rounding**2 * self.trial.whole.zero_value

    def explore(self, decay: float) -> SliceFactors | None:
        """The exact model to which a path on all entries leads, if one does."""
        whole = self.trial.whole
        path = SlicePath(whole, self.trial.bound, self.trial.depth, self.trial._rng)
        state = _Exploring(path.start())

        def advance() -> None:
            before = state.point.model.widths
            state.point = path.step(state.point, decay)
            state.same = state.same + 1 if (state.point.model.widths == before).all() else 0

        def measured() -> tuple[float, float, bool]:
            value = 1.0 if math.isnan(state.point.value) else state.point.value / whole.zero_value
            free = whole.freedom(state.point.model.widths)
            state.lost = free > TENSORS.freest * whole.n_observed or state.point.level < TENSORS.lowest
            settled = state.same >= 1 and value < min(TENSORS.nearly, TENSORS.retry * state.failed_at)
            return value, state.point.level, settled or state.lost

        while not (self.phases.ended or state.lost):
            shown = lambda: self._shown(state.point.model)  # noqa: E731
            taken = self.phases.go(advance, measured, shown, TENSORS.path_steps, course=Attributes(state))
            value = state.point.value / whole.zero_value
            self.phases.add("path", self.trial.name, state.point.model.width, taken, value, None)
            if taken == 0 or state.lost or self.phases.ended:
                return None
            found = self.exact_from(state.point.model)
            if found is not None or not self.decisive(state.point.model):
                return found
            state.failed_at = value
        return None

    def decisive(self, model: SliceFactors) -> bool:
        """Whether it is no accident if a model of such widths matches all entries."""
        whole = self.trial.whole
        return whole.n_observed >= TENSORS.min_oversampling * whole.freedom(model.widths)

    def _shown(self, model: SliceFactors) -> Factors:
        return from_slices(self.trial.whole.transform, model)

    def finish(self, problem: SliceLeastSquares, model: SliceFactors, name: str) -> FinishPoint:
        """Gauss–Newton steps without penalty, until they gain nothing."""
        state = _Finishing(FinishPoint.of(problem, model))
        zero = problem.zero_value or 1.0

        def advance() -> None:
            state.point = finish_step(problem, state.point)

        def measured() -> tuple[float, float, bool]:
            value, before = state.point.value, state.point.before
            gained = before < math.inf and value > (1 - TENSORS.least_gain) * before
            done = gained or value <= TENSORS.exact_rounding**2 * zero
            return value / zero, min(value / before, 1.0) if 0 < before < math.inf else 1.0, done

        shown = lambda: self._shown(state.point.model)  # noqa: E731
        taken = self.phases.go(advance, measured, shown, TENSORS.finish_steps, course=Attributes(state))
        error = None if problem is self.trial.whole else self.trial.error_of(state.point.model)
        self.phases.add(name, self.trial.name, state.point.model.width, taken, state.point.value / zero, error)
        return state.point

    def judged(self) -> Judged | None:
        """The best of the path's model and of those of its multi-ranks without penalty; None before the first step."""
        penalised = best = self.trial.best
        for there in self.trial.plateaus():
            if best is None or self.phases.ended:
                break
            if self.trial.train.freedom(there.model.widths) * TENSORS.min_oversampling < self.trial.train.n_observed:
                model = self.finish(self.trial.train, there.model, "without penalty").model
                plain = Judged(model, self.trial.error_of(model), 0.0, there.n_steps)
                bar = (1 + TENSORS.as_good) * best.error if best is penalised else best.error
                best = plain if plain.error < bar else best
        return best

    def fitted(self, chosen: Judged) -> SliceFactors:
        """The chosen kind of model, fitted to all entries."""
        whole = self.trial.whole
        if chosen.level == 0:
            return self.finish(whole, chosen.model, "final").model
        path = SlicePath(whole, self.trial.bound, self.trial.depth, self.trial._rng)
        # The level is in units of the size, which is another of all entries.
        state = _Exploring(path.start(chosen.level * self.trial.train.size / whole.size, chosen.model))

        def advance() -> None:
            state.point = replace(path.step(state.point, 1.0), level=state.point.level)

        def measured() -> tuple[float, float, bool]:
            value = 1.0 if math.isnan(state.point.value) else state.point.value / whole.zero_value
            return value, state.point.level, False

        shown = lambda: self._shown(state.point.model)  # noqa: E731
        taken = self.phases.go(advance, measured, shown, TENSORS.steady_steps, planned=True, course=Attributes(state))
        value = state.point.value / whole.zero_value
        self.phases.add("final", self.trial.name, state.point.model.width, taken, value, None)
        return state.point.model


@dataclass
class _Exploring:
    """A path under way."""

    point: PathPoint
    same: int = 0
    failed_at: float = math.inf
    lost: bool = False


@dataclass
class _Finishing:
    """A finish under way."""

    point: FinishPoint
