"""The models of a recommender: fitted one after the other, served as their average, calibrated on unseen ratings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.recommend import bayesian, implicit, noise_free
from dmc.recommend.bayesian import VariationalFactorization
from dmc.recommend.intervals import Calibration, HeldOut
from dmc.recommend.network import MIN_HELD_OUT, NetworkSettings
from dmc.recommend.state import Course, Model
from dmc.solver.callbacks import Progress
from dmc.solver.loop import Callback
from dmc.solver.solution import Status

Described = tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]  # attributes of users, and of items

RANK = 16
CALIBRATED = 0.1  # share of the ratings that intervals are learnt from,
MAX_CALIBRATED = 20_000  # and how many at most


def fit(
    settings: Any,
    observations: Observations,
    rng: np.random.Generator,
    starts: Sequence[Any] = (),
    described: Described = (None, None),
) -> tuple[list[Model], Course]:
    """The models, fitted as a `Recommender` is set; what the fit tells of itself is the first one's."""
    members: list[Model] = []
    courses: list[Course] = []
    for number in range(len(starts) or settings.ensemble):
        watchers: list[Callback] = [*settings.callbacks, *([Progress()] if settings.verbose else [])]
        start = starts[number] if starts else None
        model: Model
        if settings.feedback == "implicit":
            model = implicit.fit(observations, settings.rank, rng, watchers, settings.device, start)
            status, n_iter, held_out, history = model.status, model.n_iter, math.nan, model.history
            if status is Status.MAX_STEPS:
                swept = len(model.errors)
                bayesian.warn(f"the preferences had not settled after {swept} sweeps; lists may still change")
            if not model.factors.U.any():
                bayesian.warn("every preference is 0: the fit ended before its first sweep; fit again")
            elif observations.density == 1:
                users, items = map(_checks.count, observations.shape, ("user", "item"))
                bayesian.warn(f"{users} chose all of {items}: preferences tell nothing apart; give more items")
        elif settings.depth is None and settings.device is None:
            model = bayesian.fit(observations, settings.rank, rng, watchers, start, described)
            model = noise_free.finish(model, observations)
            status, n_iter, held_out = model.status, len(model.errors), math.nan
            history = [{"n_steps": n + 1, "noise": noise} for n, noise in enumerate(model.errors)]
        else:
            model, status, n_iter, held_out, history = _network(settings, observations, rng, watchers)
        if status is Status.NONFINITE:
            raise FloatingPointError(f"the fit failed: {status}")
        if model.stopped_by == "interrupt":
            bayesian.warn_of_interrupt(n_iter)
        members.append(model)
        courses.append(Course(status, n_iter, held_out, history))
        if status is Status.STOPPED:
            return members, courses[0]._replace(status=status)
    return members, courses[0]


def _network(
    settings: Any, observations: Observations, rng: np.random.Generator, callbacks: Sequence[Callback]
) -> tuple[VariationalFactorization, Status, int, float, list[dict[str, Any]]]:
    depth = 3 if settings.depth is None else settings.depth
    rank = settings.rank or RANK
    trained = NetworkSettings(rank, depth, settings.l2, settings.validation_fraction, settings.device).fit(
        observations, rng, callbacks
    )
    status, n_steps = trained.solution.status, trained.solution.n_steps
    factors = trained.factors
    if status is not Status.NONFINITE:
        factors = factors.truncate(min(rank, factors.width, *factors.shape))
    noise = trained.held_out_error
    if not math.isfinite(noise):
        noise = math.sqrt(2 * trained.solution.value / observations.n_observed) * float(observations.values.std())
    history = [{"n_steps": n, "validation_rmse": error} for n, error in trained.errors]
    model = VariationalFactorization.of(factors, observations, trained.mean, noise)
    model = replace(model, stopped_by=trained.solution.stopped_by)
    return model, status, n_steps, trained.held_out_error, history


def calibrate(
    settings: Any, observations: Observations, rng: np.random.Generator, described: Described
) -> tuple[Calibration, list[Any]]:
    """How far predictions are off, of ratings that some models have not seen; and those models, to go on from.

    Two fits that begin apart may end apart, and then the errors of one say nothing of the other.
    """
    fraction = min(CALIBRATED, MAX_CALIBRATED / observations.n_observed)
    number = _checks.count(observations.n_observed, "rating is", "ratings are")
    too_few = f"{number} too few to hold some out for intervals"
    if fraction * observations.n_observed < MIN_HELD_OUT:
        raise ValueError(f"{too_few}; give more, or leave intervals out")
    try:
        train, held_out = observations.split(fraction, rng)
    except ValueError:
        raise ValueError(f"{too_few}, each the only one of its user or item; leave intervals out") from None
    members, _ = fit(settings, train, rng, described=described)
    ends, positions = range_of(observations), (held_out.rows, held_out.cols)
    predicted = np.clip(served(members).at(*positions) + np.float32(members[0].mean), *ends)
    counts = (
        count[at] for count, at in zip((train.pattern.row_counts, train.pattern.column_counts), positions, strict=True)
    )
    calibration = Calibration.learn(HeldOut(predicted, held_out.values, *counts), ends)
    rows, columns = (np.arange(size) for size in observations.shape)
    return calibration, [m.extended(observations, rows, columns, np.zeros(len(rows), bool)) for m in members]


def served(members: Sequence[Model]) -> Factors:
    """The average of some models; each side with a last line, for those who are not known."""
    each = [member.served() for member in members]
    row_bias, column_bias = (np.mean([getattr(f, name) for f in each], axis=0) for name in ("row_bias", "column_bias"))
    share = np.float32(1 / len(each))
    return Factors(np.hstack([f.U for f in each]), (), share * np.hstack([f.V for f in each]), row_bias, column_bias)


def range_of(observations: Observations) -> tuple[float, float]:
    return float(observations.values.min()), float(observations.values.max())
