"""The models of a recommender: fitted one after the other, served as their average, calibrated on unseen ratings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dmc import _checks
from dmc._group import ALONE, Group, Share
from dmc._keeper import NOTHING_KEPT, Keeper, Part, Snapshot
from dmc._warn import warn
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.recommend import bayesian, implicit, intervals, network, noise_free
from dmc.recommend.bayesian_model import VariationalFactorization
from dmc.recommend.intervals import Calibration, HeldOut
from dmc.recommend.models import RatingModel
from dmc.recommend.network_model import NetworkModel
from dmc.recommend.preferences import Preferences
from dmc.recommend.settings import RecommenderSettings
from dmc.recommend.side_information import NONE, SideInformation
from dmc.recommend.state import FitInfo
from dmc.solver.solution import Status

OVER = "over"  # the name of what is kept once a model is


def fit(
    settings: RecommenderSettings,
    observations: Observations,
    rng: np.random.Generator,
    starts: Sequence[RatingModel] = (),
    side_information: SideInformation = NONE,
    share: Share | None = None,
    keeper: Keeper = NOTHING_KEPT,
) -> tuple[list[RatingModel], FitInfo]:
    """The models; what the fit tells of itself is the first one's.

    Parameters
    ----------
    settings : RecommenderSettings
        Checked.
    observations : Observations
        The ratings, or counts.
    rng : numpy.random.Generator
    starts : sequence of models, optional
        Of the same kind: each is fitted further, and no others. A network starts anew.
    side_information : SideInformation, optional
        For variational Bayes.
    share : Share, optional
        Which rows these are, of those of all processes; left out: all.
    keeper : Keeper
        Gets what is needed to go on from.

    Raises
    ------
    FloatingPointError
        If a fit overflowed.
    """
    models: list[RatingModel] = []
    begin: Sequence[RatingModel | None] = starts or [None] * settings.ensemble
    for i, start in enumerate(begin):
        own = Part(keeper, f"model {i}") if len(begin) > 1 else keeper
        model = _fit_one(_watched(settings, own), observations, rng, start, side_information, share, own)
        if model.status is Status.NONFINITE:
            raise FloatingPointError(f"the fit failed: {model.status}")
        if model.stopped_by == "interrupt":
            warn(f"interrupted after {model.n_iter} steps: the model holds the best so far")
        models.append(model)
        if model.status is Status.STOPPED:
            break
        if len(begin) > 1:
            own.keep(OVER, Snapshot({}, {}, {}))
    return models, FitInfo.of(models)


def _watched(settings: RecommenderSettings, keeper: Keeper) -> RecommenderSettings:
    """Nobody is shown a second time what was over before this process began."""
    return settings if keeper.found(OVER) is None else replace(settings, callbacks=(), verbose=False)


def _fit_one(
    settings: RecommenderSettings,
    observations: Observations,
    rng: np.random.Generator,
    start: RatingModel | None,
    side_information: SideInformation,
    share: Share | None,
    keeper: Keeper,
) -> RatingModel:
    watchers = settings.watchers
    if settings.kind == "implicit":
        begin = start if isinstance(start, Preferences) else None
        found = implicit.fit(
            observations, settings.rank, rng, watchers, settings.device, begin, side_information, share, keeper
        )
        _warn_of_preferences(found, observations)
        return found
    if settings.kind == "network":
        how = settings.network
        fitted = how.fit(observations, rng, watchers, share, keeper)
        return NetworkModel.of(fitted, observations, how.rank, ALONE if share is None else share.group)
    before = start if isinstance(start, VariationalFactorization) else None
    model = bayesian.fit(observations, settings.rank, rng, watchers, before, side_information, share, keeper)
    return noise_free.finish(model, observations) if share is None else model


def _warn_of_preferences(found: Preferences, counts: Observations) -> None:
    if found.status is Status.MAX_STEPS:
        warn(f"the preferences did not converge in {len(found.errors)} sweeps; lists may still change")
    if not found.factors.U.any():
        warn("every preference is 0: the fit ended before its first sweep; fit again")
    elif counts.density == 1:
        users, items = map(_checks.count, counts.shape, ("user", "item"))
        warn(f"{users} chose all of {items}: there are no preferences to learn; give more items")


def calibrate(
    settings: RecommenderSettings,
    observations: Observations,
    rng: np.random.Generator,
    side_information: SideInformation,
    keeper: Keeper = NOTHING_KEPT,
) -> tuple[Calibration, list[RatingModel]]:
    """How far predictions are off, of ratings that some models have not seen; and those models, to go on from.

    Two fits that begin apart may end apart, and then the errors of one say nothing of the other.
    """
    tuning = intervals.TUNING
    fraction = min(tuning.held_out, tuning.max_held_out / observations.n_observed)
    number = _checks.count(observations.n_observed, "rating is", "ratings are")
    too_few = f"{number} too few to hold some out for intervals"
    if fraction * observations.n_observed < network.TUNING.min_held_out:
        raise ValueError(f"{too_few}; give more, or leave intervals out")
    try:
        train, held_out = observations.split(fraction, rng)
    except ValueError:
        raise ValueError(f"{too_few}, each the only one of its user or item; leave intervals out") from None
    own = Part(keeper, "calibration")
    models, _ = fit(_watched(settings, own), train, rng, side_information=side_information, keeper=own)
    own.keep(OVER, Snapshot({}, {}, {}))
    ends, positions = range_of(observations), (held_out.rows, held_out.cols)
    predicted = np.clip(served(models).at(*positions) + np.float32(models[0].mean), *ends)
    counts = (
        count[at] for count, at in zip((train.pattern.row_counts, train.pattern.column_counts), positions, strict=True)
    )
    calibration = Calibration.learn(HeldOut(predicted, np.asarray(held_out.values), *counts), ends)
    rows, columns = (np.arange(size) for size in observations.shape)
    return calibration, [m.extended(observations, rows, columns, np.zeros(len(rows), bool)) for m in models]


def served(models: Sequence[RatingModel]) -> Factors:
    """The average of some models; each side with a last row, for those who are not known."""
    each = [model.served() for model in models]
    row_bias, column_bias = (np.mean([getattr(f, name) for f in each], axis=0) for name in ("row_bias", "column_bias"))
    share = np.float32(1 / len(each))
    return Factors(np.hstack([f.U for f in each]), (), share * np.hstack([f.V for f in each]), row_bias, column_bias)


def range_of(observations: Observations, group: Group = ALONE) -> tuple[float, float]:
    """The lowest and the highest rating of all processes."""
    values = np.asarray(observations.values)
    ends = group.max(np.array([-values.min(initial=np.inf), values.max(initial=-np.inf)], np.float64))
    return -float(ends[0]), float(ends[1])
