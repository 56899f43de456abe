"""Bayesian matrix factorisation of ratings: what held-out ratings would have to choose is learnt by the fit itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dmc import _checks, kernels
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
from dmc.recommend.factor_posterior import FactorPosterior, entries_of_sides
from dmc.recommend.presence_features import pattern_features
from dmc.solver.loop import Callback, Look, Run
from dmc.solver.solution import Status, StepInfo


@dataclass(frozen=True)
class VariationalTuning:
    """How wide the model begins, how it grows, and when it has arrived.

    Chosen on held-out tenths of the training parts of MovieLens 100K and Douban and of instruments, FilmTrust and
    MovieTweetings (seeds 100–102).

    Attributes
    ----------
    min_start_width, max_start_width : int
        Directions to begin with.
    entries_per_direction : float
        Entries of a typical row or column for each direction to begin with, between those bounds.
    growth : float
        Times as many directions, while most of them are alive.
    min_alive_share : float
        Which share is most of them.
    min_signal_to_noise : float
        Strength of a direction that is alive, over that at which noise hides one.
    new_variance : float
        Of the prior of directions that join: a wide one drowns the weak ones that are there.
    sweeps_before_priors : int
        Of one width, before the priors are learnt.
    sweeps_before_growth : int
        After those, before it is asked whether more directions are to join.
    max_sweeps : int
        After those before the priors, of the last width.
    tol : float
        Of the noise: predictions that have less than this before them have arrived.
    noise_tol : float
        Relative change of the noise in a sweep: one that is below has arrived.
    max_contraction : float
        Ratio of two moves that is believed.
    refit_ratio : float
        Times as many observations, or as wide a spread, as a model was fitted to: it begins anew.
    watched_entries : int
        Whose predictions are watched.
    large, sample : int
        Entries from which on the first sweeps are of some rows only, and about how many those have: columns, priors and
        the width need no more to begin with.
    min_sample_signal_to_noise : float
        Directions of the sample that are weaker are not taken on.
    """

    min_start_width: int = 6
    max_start_width: int = 10
    entries_per_direction: float = 12
    growth: float = 1.5
    min_alive_share: float = 0.9
    min_signal_to_noise: float = 0.8
    new_variance: float = 0.3
    sweeps_before_priors: int = 3
    sweeps_before_growth: int = 5
    max_sweeps: int = 80
    tol: float = 0.04
    noise_tol: float = 0.01
    max_contraction: float = 0.9
    refit_ratio: float = 1.2
    watched_entries: int = 20_000
    large: int = 12_000_000
    sample: int = 4_000_000
    min_sample_signal_to_noise: float = 0.1


TUNING = VariationalTuning()

Float = NDArray[np.float32]
Attributes = tuple[Float | None, Float | None]


def fit(
    observations: Observations,
    rank: int | None = None,
    seed: int | np.random.Generator = 0,
    callbacks: Sequence[Callback] = (),
    start: VariationalFactorization | None = None,
    attributes: Attributes = (None, None),
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

    Warns
    -----
    UserWarning
        If it has not settled after so many sweeps.

    References
    ----------
    Y. J. Lim, Y. W. Teh, "Variational Bayesian approach to movie rating prediction", 2007; B. Lakshminarayanan et al.,
    "Robust Bayesian matrix factorisation", 2011 (rows that differ in their noise).
    """
    bound = min(observations.shape) if rank is None else _checks.integer(rank, "rank", 1)
    bound = min(bound, *observations.shape)
    if observations.dtype != np.float32:
        raise TypeError(f"the observations are {observations.dtype}; make them float32")
    if start is not None and not _goes_on(start, observations):
        attributes, start = (start.rows.attributes, start.columns.attributes), None
    with kernels.sharing_cores(TUNING.max_start_width), Run(callbacks) as run:
        rng = _checks.generator(seed)
        begin = partial(_Fit.cold, run, observations, bound, rng, attributes)
        found = _Fit.warm(run, start, bound, rng) if start else begin()
        if found.to_the_end() is Status.MAX_STEPS and start is None:
            found = _with_second_start(run, found, begin)
    if run.status is Status.MAX_STEPS:
        warn(f"the fit had not settled after {len(found.errors)} sweeps: predictions still move, and may be off")
    return found.model()


def _with_second_start(run: Run, first: _Fit, begin: Callable[[], _Fit]) -> _Fit:
    """Some starts lead nowhere; another seldom does as well: the better one of a fit and of one that begins anew."""
    told, second = run.info, None
    with run.until_interrupted():
        second = begin()
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
        run: Run,
        rows: FactorPosterior,
        columns: FactorPosterior,
        mean: float,
        unit: float,
        bound: int,
        rng: np.random.Generator,
        precision: float,
    ) -> None:
        self.run, self.rows, self.columns, self.bound, self.rng = run, rows, columns, bound, rng
        self.mean, self.unit, self.precision = mean, unit, precision
        self.errors, self.moves = list[float](), list[float]()  # after each sweep
        self.priors_from, self.grown_at, self.growing, self.joining = TUNING.sweeps_before_priors, 0, True, 0
        self.as_shown: Callable[[Factors], Factors] = lambda factors: factors
        indptr, entries = rows.index.indptr, int(rows.index.indptr[-1])
        sample = rng.integers(0, entries, TUNING.watched_entries)
        # The rows of all entries would be as many numbers as the entries.
        self.watched = np.searchsorted(indptr, sample, side="right") - 1, rows.index.indices[sample]
        self.before = np.zeros(TUNING.watched_entries, np.float32)
        self._swept = False  # since the last look

    # --- its beginnings

    @classmethod
    def cold(
        cls, run: Run, observations: Observations, bound: int, rng: np.random.Generator, attributes: Attributes
    ) -> _Fit:
        """From small random factors; of many observations, from what some of the rows tell of the columns."""
        if observations.n_observed > TUNING.large:
            return cls._of_sample(run, observations, bound, rng, attributes)
        return cls._of_nothing(run, observations, bound, rng, attributes)

    @classmethod
    def _of_nothing(
        cls, run: Run, observations: Observations, bound: int, rng: np.random.Generator, attributes: Attributes
    ) -> _Fit:
        mean, unit, rows, columns = _sides(observations, rng, attributes)
        width = typical_count(rows, columns) / TUNING.entries_per_direction
        width = int(np.clip(width, TUNING.min_start_width, TUNING.max_start_width))
        for side in (rows, columns):
            side.add_directions(min(bound, width), rng)
        return cls(run, rows, columns, mean, unit, bound, rng, 1.0)

    @classmethod
    def warm(cls, run: Run, start: VariationalFactorization, bound: int, rng: np.random.Generator) -> _Fit:
        """From a model of most of these observations, which settles how sure the sides are and then goes on."""
        rows, columns = replace(start.rows), replace(start.columns)
        fit = cls(run, rows, columns, start.mean, start.unit, bound, rng, start.precision)
        fit.before = fit._watched_predictions(fit.factors())
        return fit

    @classmethod
    def _of_sample(
        cls, run: Run, observations: Observations, bound: int, rng: np.random.Generator, attributes: Attributes
    ) -> _Fit:
        mean, unit, rows, columns = _sides(observations, rng, attributes)
        chosen, of_chosen = some_rows(observations, TUNING.sample, rng)
        part = cls._of_nothing(run, of_chosen, bound, rng, (None, attributes[1]))
        part.as_shown = partial(as_of_all_rows, chosen, len(rows.means), part.mean - mean)
        if part.to_the_end() is Status.NONFINITE:
            return cls._of_nothing(run, observations, bound, rng, attributes)
        found = strengths(part.rows, part.columns, part.precision)
        width = int(np.sum(found > TUNING.min_sample_signal_to_noise))
        keep_largest(part.rows, part.columns, width)
        begin_from_sample((rows, columns), (part.rows, part.columns), (part.mean - mean) / unit, part.unit / unit, rng)
        rows.update_posterior(columns, part.precision)
        rows.update_prior()
        fit = cls(run, rows, columns, mean, unit, bound, rng, part.precision)
        fit.before = fit._watched_predictions(fit.factors())
        fit.errors, fit.moves = part.errors, part.moves
        fit.growing, fit.priors_from, fit.grown_at = False, len(fit.errors), len(fit.errors)
        return fit

    # --- its course

    def to_the_end(self) -> Status:
        """Sweep until it has arrived, and can grow no more, or somebody ends it."""
        most = TUNING.sweeps_before_priors + TUNING.max_sweeps
        if self.run.callbacks and self.run.info is None:  # to be told if it ends before its first look
            factors = self.as_shown(self.factors())
            self.run.info = StepInfo(0, most, self.noise, 1.0, 0.0, factors)
        return self.run.phase(self.sweep, self.look, most)

    def sweep(self) -> None:
        """All columns, all rows, and what they teach of the priors and the noise."""
        if self.joining:
            self.grow()
        learn, entries = len(self.errors) >= self.priors_from, int(self.rows.index.indptr[-1])
        for side, other in ((self.columns, self.rows), (self.rows, self.columns)):
            errors = side.update_posterior(other, self.precision, learn_reliability=learn)
            if learn:
                side.update_prior()
        weighted = errors if self.rows.reliability is None else errors * self.rows.reliability
        if self.errors:
            # No model is worse than the mean, and none more certain than its numbers.
            self.precision = float(np.clip(entries / max(weighted.sum(), 1e-300), 1.0, MAX_PRECISION))
        noise = math.sqrt(max(errors.sum() / entries, 1 / MAX_PRECISION))
        self.errors.append(self.unit * min(noise, 1.0))
        self._swept = True

    def look(self) -> Look | None:
        """Whether predictions and noise have arrived, and no more directions are to join."""
        if not self._swept:
            return None
        self._swept, factors = False, self.factors()
        predicted = self._watched_predictions(factors)
        squares = np.square(predicted - self.before)
        if self.rows.reliability is not None:
            squares *= self.rows.reliability[self.watched[0]]  # each entry's move in units of its own noise
        self.before = predicted
        self.moves.append(math.sqrt(float(np.mean(squares)) * self.precision))
        status = None
        if not math.isfinite(self.moves[-1] + self.noise):
            status = Status.NONFINITE
        else:
            arrived = self._has_arrived()
            if not self._is_to_grow(arrived) and arrived:
                status = Status.CONVERGED
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
        return int(np.sum(found > TUNING.min_signal_to_noise))

    # --- what it has found

    @property
    def noise(self) -> float:
        return self.errors[-1] if self.errors else self.unit

    def factors(self) -> Factors:
        return factors_of(self.rows, self.columns, self.unit)

    def _watched_predictions(self, factors: Factors) -> Float:
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
            self.rows,
            self.columns,
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


def _sides(
    observations: Observations, rng: np.random.Generator, attributes: Attributes
) -> tuple[float, float, FactorPosterior, FactorPosterior]:
    """Mean and standard deviation of the data, and both sides without any direction yet."""
    mean, unit, values = scaled(observations)
    of_rows, of_columns = entries_of_sides(observations, values)
    features = pattern_features(observations.pattern, rng)
    rows = FactorPosterior.without_directions(of_rows, features[0], attributes[0], reliabilities=True)
    columns = FactorPosterior.without_directions(of_columns, features[1], attributes[1], reliabilities=False)
    return mean, unit, rows, columns
