"""Bayesian matrix factorisation of ratings: what held-out ratings would have to choose is learnt by the fit itself."""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dmc import _checks, kernels
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.pattern import SparseIndex
from dmc.recommend.bayesian_model import (
    ALIVE,
    MAX_PRECISION,
    VariationalFactorization,
    factors_of,
    scaled,
    strengths,
    typical_count,
)
from dmc.recommend.factor_posterior import FactorPosterior
from dmc.recommend.presence_features import pattern_features
from dmc.solver.solution import Status, StepInfo

# How wide the model begins, how it grows, and when it has arrived: chosen on held-out tenths of the training parts of
# MovieLens 100K and Douban and of instruments, FilmTrust and MovieTweetings (seeds 100–102).
NARROWEST, START_WIDTH = 6, 10  # to begin with; between them
ENTRIES = 12  # of a typical line for each direction
GROWTH = 1.5  # times as many directions, while most of them are alive
MOST = 0.9  # share of the directions
NEW_VARIANCE = 0.3  # of the prior of those that join: a wide one drowns the weak ones that are there
PERIOD = 5  # sweeps of one width before it is asked
FIXED_SWEEPS = 3  # before the priors are learnt
MAX_SWEEPS = 80  # of the last width
TOL = 0.04  # of the noise: predictions that have less than this before them have arrived
SETTLED = 0.01  # relative change of the noise in a sweep: so has it
SLOWEST = 0.9  # ratio of two moves that is believed
MUCH = 1.2  # times as many observations, or as wide a spread, as a model was fitted to: it begins anew
WATCHED = 20_000  # entries whose predictions are watched
# Entries from which on the first sweeps are of some rows only, and about how many those have: columns, priors and the
# width need no more to begin with.
LARGE, SAMPLE = 12_000_000, 4_000_000
FAINT = 0.1  # times the strength at which noise hides a direction: such ones of the sample are not taken on

Float = NDArray[np.float32]
Attributes = tuple[Float | None, Float | None]
Callbacks = Sequence[Callable[[StepInfo], object]]


def fit(
    observations: Observations,
    rank: int | None = None,
    seed: int | np.random.Generator = 0,
    callbacks: Callbacks = (),
    start: VariationalFactorization | None = None,
    attributes: Attributes = (None, None),
) -> VariationalFactorization:
    """Fit x_ij ≈ μ + b_i + c_j + ⟨u_i, v_j⟩ by variational Bayes.

    (u_i, b_i) is Gaussian around a linear function of the row's features, columns likewise; covariances, weights of the
    features, noise, and how reliable each row's entries are, are those under which the observations are likeliest (a
    variational bound on it). Sweeps give the posterior of all columns, then of all rows. Directions join while most of
    those that are there stand out of the noise, and shrink to nothing under the learnt covariance where the
    observations do not support them, so that the rank need not be known; nothing is held out. Ctrl-C ends it with what
    was reached.

    Parameters
    ----------
    observations : Observations
        float32.
    rank : int, optional
        Directions at most; left out: as many as stand out of the noise.
    seed : int or numpy.random.Generator
        Of the first factors.
    callbacks : sequence of callables
        Each is called after each sweep with a `StepInfo`, whose value is the noise and whose factors come without the
        mean, both in the data's units; a true return value ends the fit. While the sweeps are of some of the rows, the
        others stand where these do on average.
    start : VariationalFactorization, optional
        A model of these observations to begin with, from its `extended`. One that has arrived stays about as it is; if
        a fifth of the observations is new, or their mean or spread is another, the fit begins anew.
    attributes : pair of (rows, any) and (columns, any) float32 arrays, optional
        What else is known of the lines, each column of average zero: further features of the prior, so that lines
        without entries have more to go by than the average. Of a `start` they are known already.

    Warns
    -----
    UserWarning
        If it was interrupted, or has not settled after so many sweeps.

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
    with kernels.sharing_cores(START_WIDTH):
        rng = _checks.generator(seed)
        cold = partial(_Run.cold, observations, bound, rng, attributes, callbacks)
        run = _Run.warm(start, observations, bound, rng) if start else cold()
        status = run.to_the_end(callbacks)
        if status is Status.MAX_STEPS and start is None:  # some starts lead nowhere: another seldom does as well
            again = cold()
            status_again = again.to_the_end(callbacks)
            if status_again is Status.CONVERGED or again.errors[-1] < run.errors[-1]:
                run = again
            status = status if status_again is Status.NONFINITE else status_again
    if status is Status.MAX_STEPS:
        warn(f"the fit had not settled after {len(run.errors)} sweeps: predictions still move, and may be off")
    return run.model(status)


class _Run:
    """The sweeps of a fit: both sides, the noise, and what tells when they have arrived."""

    def __init__(
        self,
        rows: FactorPosterior,
        columns: FactorPosterior,
        mean: float,
        unit: float,
        bound: int,
        rng: np.random.Generator,
        precision: float,
    ) -> None:
        self.rows, self.columns, self.mean, self.unit, self.bound, self.rng = rows, columns, mean, unit, bound, rng
        self.precision, self.errors = precision, list[float]()
        self.learn_from, self.grown_at, self.growing = FIXED_SWEEPS, 0, True
        self.moves, self.began, self.ended = list[float](), time.perf_counter(), False
        pointers, entries = rows.lines.indptr, int(rows.lines.indptr[-1])
        sample = rng.integers(0, entries, WATCHED)
        # The rows of all entries would be as many numbers as the entries.
        self.watched = np.searchsorted(pointers, sample, side="right") - 1, rows.lines.indices[sample]
        self.before = np.zeros(WATCHED, np.float32)

    @classmethod
    def cold(
        cls,
        observations: Observations,
        bound: int,
        rng: np.random.Generator,
        attributes: Attributes = (None, None),
        callbacks: Callbacks = (),
    ) -> _Run:
        """From small random factors; of many observations, from what some of the rows tell of the columns."""
        if observations.n_observed > LARGE:
            return cls._of_sample(observations, bound, rng, attributes, callbacks)
        return cls._of_nothing(observations, bound, rng, attributes)

    @classmethod
    def _of_nothing(
        cls, observations: Observations, bound: int, rng: np.random.Generator, attributes: Attributes
    ) -> _Run:
        mean, unit, rows, columns = _sides(observations, rng, attributes)
        width = int(np.clip(typical_count(rows, columns) / ENTRIES, NARROWEST, START_WIDTH))
        for side in (rows, columns):
            side.widen(min(bound, width), rng)
        return cls(rows, columns, mean, unit, bound, rng, 1.0)

    @classmethod
    def warm(
        cls, start: VariationalFactorization, observations: Observations, bound: int, rng: np.random.Generator
    ) -> _Run:
        """From a model of most of these observations, which settles how sure the sides are and then goes on."""
        rows, columns = replace(start.rows), replace(start.columns)
        run = cls(rows, columns, start.mean, start.unit, bound, rng, start.precision)
        run.before = run.factors().at(*run.watched) * np.float32(1 / run.unit)
        return run

    @classmethod
    def _of_sample(
        cls,
        observations: Observations,
        bound: int,
        rng: np.random.Generator,
        attributes: Attributes,
        callbacks: Callbacks,
    ) -> _Run:
        mean, unit, rows, columns = _sides(observations, rng, attributes)
        chosen, of_chosen = _some_rows(observations, rng)
        part = cls._of_nothing(of_chosen, bound, rng, (None, attributes[1]))
        looking_on = [_as_of_all_rows(callbacks, chosen, len(rows.means), part.mean - mean)] if callbacks else []
        ended = part.to_the_end(looking_on) is Status.STOPPED
        width = int(np.sum(strengths(part.rows, part.columns, part.precision) > FAINT))
        _cut(part.rows, part.columns, width)
        ratio = part.unit / unit
        columns.means, columns.covariance = part.columns.means * np.float32(ratio**0.5), part.columns.covariance * ratio
        columns.means[:, -1] *= np.float32(ratio**0.5)
        columns.means[:, -1] += np.float32((part.mean - mean) / unit)
        columns.regard(columns.of_lines)
        rows.widen(width, rng)
        spread = np.atleast_2d(np.cov(part.rows.means, rowvar=False, ddof=0)) * ratio
        rows.covariance = spread + part.rows.covariance * ratio
        rows.weights[0] = part.rows.means.mean(axis=0) * ratio**0.5
        rows.update(columns, part.precision)
        rows.learn()
        run = cls(rows, columns, mean, unit, bound, rng, part.precision)
        run.before = run.factors().at(*run.watched) * np.float32(1 / unit)
        run.errors, run.moves, run.began, run.ended = part.errors, part.moves, part.began, ended
        run.growing, run.learn_from, run.grown_at = False, len(run.errors), len(run.errors)
        return run

    def to_the_end(self, callbacks: Callbacks) -> Status:
        """Sweep until it has arrived, and can grow no more, or somebody ends it."""
        status = Status.STOPPED if self.ended else None
        try:
            while status is None:
                self.sweep()
                arrived = self.look()
                if not math.isfinite(self.moves[-1] + self.errors[-1]):
                    status = Status.NONFINITE
                elif not self.grow(arrived) and arrived:
                    status = Status.CONVERGED
                elif len(self.errors) >= self.grown_at + FIXED_SWEEPS + MAX_SWEEPS:
                    status = Status.MAX_STEPS
                info = self.info(status)
                asked = [callback(info) for callback in callbacks]  # every one of them
                if any(asked) and status is None:
                    status = Status.STOPPED
        except KeyboardInterrupt:
            warn_of_interrupt(len(self.errors))
            status, self.errors = Status.STOPPED, self.errors or [self.unit]
        return status

    def sweep(self) -> None:
        """All columns, all rows, and what they teach of the priors and the noise."""
        learn, entries = len(self.errors) >= self.learn_from, int(self.rows.lines.indptr[-1])
        for side, other in ((self.columns, self.rows), (self.rows, self.columns)):
            errors = side.update(other, self.precision, learn)
            if learn:
                side.learn()
        weighted = errors if self.rows.reliability is None else errors * self.rows.reliability
        if self.errors:
            # No model is worse than the mean, and none more certain than its numbers.
            self.precision = float(np.clip(entries / max(weighted.sum(), 1e-300), 1.0, MAX_PRECISION))
        noise = math.sqrt(max(errors.sum() / entries, 1 / MAX_PRECISION))
        self.errors.append(self.unit * min(noise, 1.0))

    def look(self) -> bool:
        """Whether predictions and noise have arrived."""
        predicted = self.factors().at(*self.watched) * np.float32(1 / self.unit)
        squares = np.square(predicted - self.before)
        if self.rows.reliability is not None:
            squares *= self.rows.reliability[self.watched[0]]  # each entry's move in units of its own noise
        moved = math.sqrt(float(np.mean(squares)) * self.precision)
        moves, self.before = self.moves, predicted
        slowing = min(math.sqrt(moved / moves[-2]), SLOWEST) if len(moves) > 1 and moves[-2] else SLOWEST
        moves.append(moved)
        if len(self.errors) <= self.learn_from + 1:
            return False
        # What is still before the predictions is the sum of a geometric series.
        return moved < TOL * (1 - slowing) and abs(self.errors[-1] / self.errors[-2] - 1) < SETTLED

    def grow(self, arrived: bool) -> bool:
        """More directions, if most of those that are there are alive; whether it may still come to that."""
        if not self.growing or not (arrived or len(self.errors) >= self.grown_at + FIXED_SWEEPS + PERIOD):
            return self.growing
        width = self.rows.means.shape[1] - 1
        alive = np.sum(strengths(self.rows, self.columns, self.precision) > ALIVE)
        if width >= self.bound or alive < MOST * width:
            self.growing = False
            return False
        more = min(math.ceil(GROWTH * width), self.bound) - width
        sides = self.rows, self.columns
        wider = [side.wider(more, self.rng, NEW_VARIANCE) for side in sides]
        for side, parts in zip(sides, wider, strict=True):  # Ctrl-C seldom comes between
            side.become(parts)
        self.grown_at = len(self.errors)
        self.learn_from = self.grown_at + FIXED_SWEEPS
        return True

    def factors(self) -> Factors:
        return factors_of(self.rows, self.columns, self.unit)

    def info(self, status: Status | None) -> StepInfo:
        most = self.grown_at + FIXED_SWEEPS + MAX_SWEEPS
        ratio, seconds = self.moves[-1] / (max(self.moves) or 1.0), time.perf_counter() - self.began
        return StepInfo(len(self.errors), most, self.errors[-1], ratio, seconds, self.factors(), status)

    def model(self, status: Status) -> VariationalFactorization:
        rank = 0
        if status is not Status.NONFINITE:
            rank = int(np.sum(strengths(self.rows, self.columns, self.precision) > ALIVE))
            for side, other in ((self.columns, self.rows), (self.rows, self.columns)):
                side.place_newcomers(other)
        return VariationalFactorization(
            self.factors(),
            self.mean,
            self.errors[-1],
            rank,
            self.rows,
            self.columns,
            self.unit,
            self.precision,
            int(self.rows.lines.indptr[-1]),
            self.errors,
            status,
        )


def _goes_on(start: VariationalFactorization, observations: Observations) -> bool:
    """Whether these are, by and large, the observations that a model was fitted to."""
    mean, unit, _ = scaled(observations)
    alike = 1 / MUCH < unit / start.unit < MUCH and abs(mean - start.mean) < (MUCH - 1) * start.unit
    return alike and observations.n_observed <= MUCH * start.n_fitted


def _sides(
    observations: Observations, rng: np.random.Generator, attributes: Attributes
) -> tuple[float, float, FactorPosterior, FactorPosterior]:
    """Mean and standard deviation of the data, and both sides without any direction yet."""
    pattern = observations.pattern
    mean, unit, values = scaled(observations)
    both = pattern.both_orders(values)
    features = pattern_features(pattern, rng)
    rows = FactorPosterior.begin(pattern.by_row, both.by_row, features[0], attributes[0], reliabilities=True)
    columns = FactorPosterior.begin(pattern.by_column, both.by_column, features[1], attributes[1], reliabilities=False)
    return mean, unit, rows, columns


def _as_of_all_rows(
    callbacks: Callbacks, chosen: NDArray[np.int64], count: int, shift: float
) -> Callable[[StepInfo], object]:
    """The callbacks of a fit to some of the rows: told of all, the others standing where those do on average."""

    def callback(info: StepInfo) -> bool:
        some = info.factors
        assert some.row_bias is not None
        assert some.column_bias is not None
        U, bias = np.repeat(some.U.mean(axis=0)[None], count, axis=0), np.full(count, some.row_bias.mean())
        U[chosen], bias[chosen] = some.U, some.row_bias
        told = replace(info, factors=Factors(U, (), some.V, bias, some.column_bias + np.float32(shift)), status=None)
        asked = [callback(told) for callback in callbacks]  # every one of them
        return any(asked)

    return callback


def _some_rows(observations: Observations, rng: np.random.Generator) -> tuple[NDArray[np.int64], Observations]:
    """Rows drawn by chance, ascending, that have about SAMPLE entries in all; and these entries."""
    by_row = observations.pattern.by_row
    counts = np.diff(by_row.indptr)
    order = rng.permutation(len(counts))
    chosen = np.sort(order[: int(np.searchsorted(np.cumsum(counts[order]), SAMPLE)) + 1])
    pointers = np.concatenate([[0], np.cumsum(counts[chosen])])
    places = np.repeat(by_row.indptr[chosen] - pointers[:-1], counts[chosen]) + np.arange(pointers[-1])
    lines = SparseIndex(pointers, by_row.indices[places])
    return chosen, Observations.from_lines(lines, observations.values[places], (len(chosen), observations.shape[1]))


def _cut(rows: FactorPosterior, columns: FactorPosterior, width: int) -> None:
    """Leave the directions in which the model is largest."""
    R, T = (np.linalg.qr(side.means[:, :-1].astype(np.float64))[1] for side in (rows, columns))
    P, s, Qt = np.linalg.svd(R @ T.T)
    root = np.sqrt(s[:width])
    rows.turn(np.linalg.pinv(R) @ P[:, :width] * root)
    columns.turn(np.linalg.pinv(T) @ Qt[:width].T * root)


def warn_of_interrupt(n_steps: int) -> None:
    """Ctrl-C ended a fit."""
    warn(f"interrupted after {n_steps} steps: the model holds the best so far")


def warn(message: str) -> None:
    """Told at the line that called for the fit, whichever room of dmc it went through."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals["__name__"].startswith("dmc."):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
