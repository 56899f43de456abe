"""Bayesian matrix factorisation of ratings: what held-out ratings would have to choose is learnt by the fit itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dmc import _checks, kernels
from dmc._group import Share
from dmc._keeper import NOTHING_KEPT, Keeper, Snapshot
from dmc._warn import warn
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.recommend.bayesian_model import (
    MAX_PRECISION,
    VariationalFactorization,
    factors_of,
    scaled,
    strengths,
    typical_count,
)
from dmc.recommend.bayesian_sample import as_of_all_rows, begin_from_sample, keep_largest, some_rows
from dmc.recommend.bayesian_snapshot import Given, Sides, between_sides, sides_between, sides_of
from dmc.recommend.bayesian_tuning import VariationalTuning
from dmc.recommend.factor_posterior import FactorPosterior
from dmc.solver.loop import Callback, Run
from dmc.solver.solution import Look, Status, StepInfo

TUNING = VariationalTuning()
# Where a fit stands, as far as numbers tell.
COURSE = ("mean", "unit", "precision", "errors", "moves", "priors_from", "grown_at", "growing", "joining")

Float = NDArray[np.float32]
Attributes = tuple[Float | None, Float | None]


def fit(
    observations: Observations,
    rank: int | None = None,
    seed: int | np.random.Generator = 0,
    callbacks: Sequence[Callback] = (),
    start: VariationalFactorization | None = None,
    attributes: Attributes = (None, None),
    share: Share | None = None,
    keeper: Keeper = NOTHING_KEPT,
) -> VariationalFactorization:
    """Fit x_ij ≈ μ + b_i + c_j + ⟨u_i, v_j⟩ by variational Bayes.

    (u_i, b_i) is Gaussian around a linear function of the row's features, columns likewise; covariances, weights of the
    features, noise, and how reliable each row's entries are, are those under which the observations are likeliest (a
    variational bound on it). Sweeps give the posterior of all columns, then of all rows. Directions join while most of
    those that are there stand out of the noise, and shrink to nothing under the learnt covariance where the
    observations do not support them, so that the rank need not be known; nothing is held out. Ctrl-C ends the sweeps,
    with what was reached (`stopped_by`).

    Parameters
    ----------
    observations : Observations
        float32. The noise of an entry of weight w has 1/w of the others' variance: only ratios of weights count.
    rank : int, optional
        Directions at most; left out: as many as stand out of the noise.
    seed : int or numpy.random.Generator
        Of the first factors.
    callbacks : sequence of callables
        Each is called after each sweep, and once more at the end, with a `StepInfo`, whose value is the noise and whose
        factors come without the mean, both in the data's units; a true return value ends the fit. While the sweeps are
        of some of the rows, the others stand where these do on average. A second start goes on with the count.
    start : VariationalFactorization, optional
        A model of these observations to begin with, from its `extended`. One that has arrived stays about as it is; if
        a fifth of the observations is new, or their mean or spread is another, the fit begins anew.
    attributes : pair of (rows, any) and (columns, any) float32 arrays, optional
        Side information, each column of average zero: further features of the prior, so that rows and columns without
        entries have more to go by than the average. Of a `start` they are known already.
    share : Share, optional
        Which rows these are, of those of all processes, each of which calls this with its own; left out: all. The model
        is of the own rows, and of all columns.
    keeper : Keeper
        Gets what is needed to go on from after each sweep, and is asked for it first.

    Warns
    -----
    UserWarning
        If it has not settled after so many sweeps.

    References
    ----------
    Y. J. Lim, Y. W. Teh, "Variational Bayesian approach to movie rating prediction", 2007; B. Lakshminarayanan et al.,
    "Robust Bayesian matrix factorisation", 2011 (rows that differ in their noise).
    """
    share = share or Share.whole(observations.shape[0])
    n_rows = share.group.sum(observations.shape[0])
    bound = min(n_rows, observations.shape[1])
    bound = bound if rank is None else min(bound, _checks.integer(rank, "rank", 1))
    if observations.dtype != np.float32:
        raise TypeError(f"the observations are {observations.dtype}; make them float32")
    if start is not None and not _goes_on(start, observations):
        attributes, start = (start.rows.attributes, start.columns.attributes), None
    with kernels.sharing_cores(TUNING.max_start_width), Run(callbacks, share.group) as run:
        given = Given(run, observations, bound, _checks.generator(seed), attributes, share, keeper)
        found = _Fit.warm(given, start) if start else _Fit.first(given)
        if found.to_the_end() is Status.MAX_STEPS and start is None:
            found = _with_second_start(given, found)
    if run.status is Status.MAX_STEPS:
        warn(f"the fit did not converge in {len(found.errors)} sweeps: predictions still change and may be inaccurate")
    return found.model()


def _with_second_start(given: Given, first: _Fit) -> _Fit:
    """Some starts lead nowhere; another seldom does as well: the better one of a fit and of one that begins anew."""
    run, told, second = given.run, given.run.info, None
    if given.keeper.keeps and given.keeper.found("first") is None:
        given.keeper.keep("first", first.snapshot(Status.MAX_STEPS))
    with run.until_interrupted():
        second = _Fit.cold(replace(given, start=2))
        second.to_the_end()
    if second is not None and (run.status is Status.CONVERGED or second.noise < first.noise):
        return second
    run.info = told
    if run.status is Status.NONFINITE:  # but the first is not
        run.status = Status.MAX_STEPS
    return first


class _Fit:
    """Both sides, the noise, and what tells when they have arrived: begun, swept, looked at, and grown, by a `Run`."""

    def __init__(
        self,
        given: Given,
        rows: FactorPosterior,
        columns: FactorPosterior,
        mean: float,
        unit: float,
        precision: float,
    ) -> None:
        self.given, self.rows, self.columns = given, rows, columns
        self.run, self.bound, self.rng, self.group = given.run, given.bound, given.rng, given.share.group
        self.mean, self.unit, self.precision = mean, unit, precision
        self.errors, self.moves = list[float](), list[float]()  # after each sweep
        self.priors_from, self.grown_at, self.growing, self.joining = TUNING.sweeps_before_priors, 0, True, 0
        self.as_shown: Callable[[Factors], Factors] = lambda factors: factors
        self.n_entries = int(self.group.sum(int(rows.index.indptr[-1])))
        self.drawn_from = self.rng.bit_generator.state  # what is watched
        sample = given.share.sample(self.rng, TUNING.watched_entries, np.asarray(rows.index.indptr))
        # The rows of all entries would be as many numbers as the entries.
        self.watched = np.searchsorted(rows.index.indptr, sample, side="right") - 1, rows.index.indices[sample]
        self.before = np.zeros(len(sample), np.float32)
        self.between: Snapshot | None = None  # the columns' half of the last sweep and the rows'
        self.ended: Status | None = None  # before this process began
        self._swept = self._resumed = False  # since the last look

    # --- its beginnings

    @classmethod
    def first(cls, given: Given) -> _Fit:
        """From where processes that are no more have left it, or cold."""
        kept = given.keeper.found("first")
        return cls.cold(given) if kept is None else cls.resumed(given, kept)

    @classmethod
    def cold(cls, given: Given) -> _Fit:
        """From small random factors; of many observations, from what some of the rows tell of the columns."""
        kept = given.kept()
        if kept is not None:
            return cls.resumed(given, kept)
        if given.share.group.sum(given.observations.n_observed) > TUNING.large:
            return cls._of_sample(given)
        return cls._of_nothing(given)

    @classmethod
    def _of_nothing(cls, given: Given) -> _Fit:
        mean, unit, rows, columns = sides_of(given)
        width = typical_count(rows, columns) / TUNING.entries_per_direction
        width = int(np.clip(width, TUNING.min_start_width, TUNING.max_start_width))
        for side in (rows, columns):
            side.add_directions(min(given.bound, width), given.rng)
        return cls(given, rows, columns, mean, unit, 1.0)

    @classmethod
    def warm(cls, given: Given, start: VariationalFactorization) -> _Fit:
        """From a model of most of these observations, which settles how sure the sides are and then goes on."""
        sides = start.mean, start.unit, replace(start.rows), replace(start.columns)
        kept = given.kept()
        if kept is not None:
            return cls.resumed(given, kept, sides)
        fit = cls(given, sides[2], sides[3], start.mean, start.unit, start.precision)
        fit.before = fit.watched_predictions(fit.factors())
        return fit

    @classmethod
    def _of_sample(cls, given: Given) -> _Fit:
        mean, unit, rows, columns = sides_of(given)
        chosen, of_chosen, share = some_rows(given.observations, TUNING.sample, given.rng, given.share)
        attributes = (None, given.attributes[1])
        of_part = replace(
            given,
            observations=of_chosen,
            attributes=attributes,
            share=share,
            chosen=chosen,
            n_own=given.observations.shape[0],
        )
        kept = of_part.kept()
        part = cls._of_nothing(of_part) if kept is None else cls.resumed(of_part, kept)
        part.as_shown = partial(as_of_all_rows, chosen, len(rows.means), part.mean - mean, share.group)
        if part.to_the_end() is Status.NONFINITE:
            return cls._of_nothing(given)
        found = strengths(part.rows, part.columns, part.precision)
        width = share.group.first(int(np.sum(found > TUNING.min_sample_signal_to_noise)))
        keep_largest(part.rows, part.columns, width)
        shift, ratio = (part.mean - mean) / unit, part.unit / unit
        begin_from_sample((rows, columns), (part.rows, part.columns), shift, ratio, given.rng)
        rows.update_posterior(columns, part.precision)
        rows.update_prior()
        fit = cls(given, rows, columns, mean, unit, part.precision)
        fit.before = fit.watched_predictions(fit.factors())
        fit.errors, fit.moves = part.errors, part.moves
        fit.growing, fit.priors_from, fit.grown_at = False, len(fit.errors), len(fit.errors)
        return fit

    @classmethod
    def resumed(cls, given: Given, kept: Snapshot, sides: Sides | None = None) -> _Fit:
        """Where it stood when this was kept, with sides that are known already or made anew."""
        with given.keeper.believing():
            mean, unit, rows, columns = sides_between(given, kept, sides_of(given) if sides is None else sides)
            numbers, rng = kept.numbers, given.rng.bit_generator
            rng.state = numbers["watched"]
            fit = cls(given, rows, columns, mean, unit, numbers["precision before"])
            fit.errors = numbers["errors"][:-1]
            fit.sweep_rows(numbers["learn"])
            fit.before = fit.watched_predictions(fit.factors())
            for name in COURSE:
                setattr(fit, name, numbers[name])
            fit.between, fit.ended = kept, numbers["status"] and Status[numbers["status"]]
            fit._resumed = True
            rng.state = numbers["random"]
            given.run.go_on(numbers["n_steps"], numbers["seconds"])
            given.run.max_steps = numbers["max_steps"]
        return fit

    # --- its course

    def to_the_end(self) -> Status:
        """Sweep until it has arrived, and can grow no more, or somebody ends it."""
        most = TUNING.sweeps_before_priors + TUNING.max_sweeps
        if self.ended is Status.MAX_STEPS:
            self.run.status = self.ended
            return self.ended
        if self.between is not None:  # gone on with
            most = self.run.max_steps - self.run.n_steps
        if self.run.callbacks and self.run.info is None:  # to be told if it ends before its first look
            factors = self.as_shown(self.factors())
            self.run.info = StepInfo(0, most, self.noise, 1.0, 0.0, factors)
        return self.run.phase(self.sweep, self.look, most)

    def sweep(self) -> None:
        """All columns, all rows, and what they teach of the priors and the noise."""
        if self.joining:
            self.grow()
        learn = len(self.errors) >= self.priors_from
        self.columns.update_posterior(self.rows, self.precision)
        if learn:
            self.columns.update_prior()
        if self.given.keeper.keeps:
            numbers = {"learn": learn, "precision before": self.precision}
            self.between = between_sides(self.given, self.rows, self.columns)._replace(numbers=numbers)
        self.sweep_rows(learn)
        self._swept = True

    def sweep_rows(self, learn: bool) -> None:
        """The half of a sweep that goes by the columns alone, and by the rows' prior and reliability."""
        errors = self.rows.update_posterior(self.columns, self.precision, learn_reliability=learn)
        if learn:
            self.rows.update_prior()
        weighted = errors if self.rows.reliability is None else errors * self.rows.reliability
        of_all, counted = self.group.sum(errors.sum()), self.group.sum(weighted.sum())
        if self.errors:
            # No model is worse than the mean, and none more certain than its numbers.
            self.precision = float(np.clip(self.n_entries / max(counted, 1e-300), 1.0, MAX_PRECISION))
        noise = math.sqrt(max(of_all / self.n_entries, 1 / MAX_PRECISION))
        self.errors.append(self.unit * min(noise, 1.0))

    def look(self) -> Look | None:
        """Whether predictions and noise have arrived, and no more directions are to join."""
        if not self._swept:
            return self._as_it_was() if self._resumed else None
        self._swept, factors = False, self.factors()
        predicted = self.watched_predictions(factors)
        squares = np.square(predicted - self.before)
        if self.rows.reliability is not None:
            squares *= self.rows.reliability[self.watched[0]]  # each entry's move in units of its own noise
        self.before = predicted
        mean_square = float(self.group.sum(squares.sum()) / TUNING.watched_entries)
        self.moves.append(math.sqrt(mean_square * self.precision))
        status = None
        if not math.isfinite(self.moves[-1] + self.noise):
            status = Status.NONFINITE
        else:
            arrived = self._has_arrived()
            if not self._is_to_grow(arrived) and arrived:
                status = Status.CONVERGED
        if self.between is not None and status is not Status.NONFINITE and (status or self.given.keeper.due):
            self.given.keeper.keep("sweep", self.snapshot(status))
        return self._seen(factors, status)

    def _as_it_was(self) -> Look:
        """The look at which this was kept, before anybody was shown it."""
        self._resumed = False
        return self._seen(self.factors(), self.ended)

    def _seen(self, factors: Factors, status: Status | None) -> Look:
        ratio = self.moves[-1] / (max(self.moves) or 1.0)
        return Look(self.noise, ratio, lambda: self.as_shown(factors), status)

    def _has_arrived(self) -> bool:
        if len(self.errors) <= self.priors_from + 1:
            return False
        most, moves = TUNING.max_contraction, self.moves
        contraction = min(math.sqrt(moves[-1] / moves[-3]), most) if len(moves) > 2 and moves[-3] else most
        # What is still before the predictions is the sum of a geometric series.
        still = abs(self.errors[-1] / self.errors[-2] - 1) < TUNING.noise_tol
        return moves[-1] < TUNING.tol * (1 - contraction) and still

    def _is_to_grow(self, arrived: bool) -> bool:
        """Whether more directions join, as most of those that are there are alive, or it may still come to that."""
        lasted = len(self.errors) - self.grown_at
        due = arrived or lasted >= TUNING.sweeps_before_priors + TUNING.sweeps_before_growth
        if not self.growing or not due:
            return self.growing
        width = self.rows.means.shape[1] - 1
        if width >= self.bound or self._n_alive() < TUNING.min_alive_share * width:
            self.growing = False
            return False
        self.joining = min(math.ceil(TUNING.growth * width), self.bound) - width
        self.grown_at = len(self.errors)
        self.priors_from = self.grown_at + TUNING.sweeps_before_priors
        self.run.max_steps = self.run.n_steps + TUNING.sweeps_before_priors + TUNING.max_sweeps
        return True

    def grow(self) -> None:
        """The directions that are to join do so, on both sides or on none."""
        sides = self.rows, self.columns
        wider = [side.with_directions(self.joining, self.rng, TUNING.new_variance) for side in sides]
        for side, parts in zip(sides, wider, strict=True):  # Ctrl-C seldom comes between
            side.replace_parts(parts)
        self.joining = 0

    def _n_alive(self) -> int:
        found = strengths(self.rows, self.columns, self.precision)
        return int(self.group.first(int(np.sum(found > TUNING.min_signal_to_noise))))

    # --- what it has found

    def snapshot(self, status: Status | None) -> Snapshot:
        """All that is needed to go on from here; `status`: how it ended here, if it did."""
        assert self.between is not None
        numbers = self.between.numbers | {name: getattr(self, name) for name in COURSE}
        numbers |= {"phase": [self.given.start, self.given.chosen is not None], "status": status and status.name}
        numbers |= {"random": self.rng.bit_generator.state, "watched": self.drawn_from}
        numbers |= {"n_steps": self.run.n_steps, "max_steps": self.run.max_steps, "seconds": self.run.elapsed}
        return self.between._replace(numbers=numbers)

    @property
    def noise(self) -> float:
        return self.errors[-1] if self.errors else self.unit

    def factors(self) -> Factors:
        return factors_of(self.rows, self.columns, self.unit)

    def watched_predictions(self, factors: Factors) -> Float:
        return factors.at(*self.watched) * np.float32(1 / self.unit)

    def model(self) -> VariationalFactorization:
        rank, status = 0, self.run.status
        assert status is not None
        if status is not Status.NONFINITE:
            rank = self._n_alive()
            for side, other in ((self.columns, self.rows), (self.rows, self.columns)):
                side.place_cold_starts(other)
        return VariationalFactorization(
            self.factors(),
            self.mean,
            self.noise,
            rank,
            self.rows.alone(),
            self.columns.alone(),
            self.unit,
            self.precision,
            int(self.rows.index.indptr[-1]),
            self.errors,
            status,
            self.run.stopped_by,
        )


def _goes_on(start: VariationalFactorization, observations: Observations) -> bool:
    """Whether these are, by and large, the observations that a model was fitted to."""
    mean, unit, _ = scaled(observations)
    most = TUNING.refit_ratio
    alike = 1 / most < unit / start.unit < most and abs(mean - start.mean) < (most - 1) * start.unit
    return alike and observations.n_observed <= most * start.n_fitted
