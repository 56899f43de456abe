"""A Bayesian fit that goes on where it was: what is kept of it, and how it stands there again.

A row's posterior follows from its entries, the columns, the rows' prior, and how reliable the row was: so what is kept
is the point between the two halves of a sweep, and of the rows only their reliability.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dmc._keeper import Snapshot
from dmc.recommend.bayesian_model import scaled
from dmc.recommend.factor_posterior import FactorPosterior, entries_of_sides
from dmc.recommend.presence_features import PresenceFeatures, pattern_features
from dmc.solver.solution import Status

if TYPE_CHECKING:
    from dmc.recommend.bayesian import _Fit, _Given

PRIOR = ("covariance", "weights", "variances")
COURSE = ("mean", "unit", "precision", "errors", "moves", "priors_from", "grown_at", "growing", "joining")


def sides_of(given: _Given) -> tuple[float, float, FactorPosterior, FactorPosterior]:
    """Mean and standard deviation of the data, and both sides without any direction yet."""
    group = given.share.group
    mean, unit, values = scaled(given.observations, group)
    of_rows, of_columns = entries_of_sides(given.observations, values, group)
    features = _features(given)
    rows = FactorPosterior.without_directions(
        of_rows, features[0], given.attributes[0], reliabilities=True, share=given.share
    )
    columns = FactorPosterior.without_directions(
        of_columns, features[1], given.attributes[1], reliabilities=False, entries_over=group
    )
    return mean, unit, rows, columns


def _features(given: _Given) -> tuple[PresenceFeatures, PresenceFeatures]:
    """Those of rows and columns, which are not found the same again by another number of processes."""
    name = "presence of the sample" if given.chosen is not None else "presence"
    kept = given.keeper.found(name)
    if kept is not None and kept.numbers["start"] == given.start:
        numbers = kept.numbers
        given.rng.bit_generator.state = numbers["random"]
        return (
            PresenceFeatures(kept.arrays["loadings"], *numbers["rows"]),
            PresenceFeatures(_of_chosen(given, kept.of_rows["loadings"]), *numbers["columns"]),
        )
    rows, columns = pattern_features(given.observations.pattern, given.rng, given.share.group)
    if given.keeper.keeps:
        numbers = {"start": given.start, "random": given.rng.bit_generator.state}
        numbers |= {name: [of.center, of.spread] for name, of in (("rows", rows), ("columns", columns))}
        of_rows = {"loadings": _of_all(given, columns.loadings)}
        given.keeper.keep(name, Snapshot(numbers, {"loadings": rows.loadings}, of_rows))
    return rows, columns


def between_sides(fit: _Fit, learn: bool) -> Snapshot:
    """What the rows' half of a sweep begins with."""
    columns, rows = fit.columns, fit.rows
    assert rows.reliability is not None
    arrays = {"columns.means": columns.means, "columns.moments": columns.moments}
    for side, name in ((columns, "columns"), (rows, "rows")):
        arrays |= {f"{name}.{part}": getattr(side, part) for part in PRIOR}
    numbers = {"learn": learn, "precision before": fit.precision}
    return Snapshot(numbers, arrays, {"reliability": _of_all(fit.given, rows.reliability)})


def with_course(fit: _Fit, between: Snapshot, status: Status | None) -> Snapshot:
    """What was kept between the sides, and where the fit stands behind the sweep."""
    numbers = between.numbers | {name: getattr(fit, name) for name in COURSE}
    numbers |= {"phase": [fit.given.start, fit.given.chosen is not None], "status": status and status.name}
    numbers |= {"random": fit.rng.bit_generator.state, "watched": fit.drawn_from}
    numbers |= {"n_steps": fit.run.n_steps, "max_steps": fit.run.max_steps}
    return between._replace(numbers=numbers)


def resumed(kind: type[_Fit], given: _Given, kept: Snapshot) -> _Fit:
    """A fit that stands where it was kept."""
    numbers, arrays = kept.numbers, kept.arrays
    mean, unit, rows, columns = sides_of(given)
    width = arrays["columns.means"].shape[1]
    rows.means = np.zeros((len(rows.means), width), np.float32)
    columns.means = arrays["columns.means"]
    vars(columns)["moments"] = arrays["columns.moments"]
    for side, name in ((columns, "columns"), (rows, "rows")):
        for part in PRIOR:
            setattr(side, part, arrays[f"{name}.{part}"])
    rows.reliability = _of_chosen(given, kept.of_rows["reliability"])
    given.rng.bit_generator.state = numbers["watched"]
    fit = kind(given, rows, columns, mean, unit, numbers["precision before"])
    fit.errors = numbers["errors"][:-1]
    fit.sweep_rows(numbers["learn"])
    fit.before = fit.watched_predictions(fit.factors())
    for name in COURSE:
        setattr(fit, name, numbers[name])
    given.rng.bit_generator.state = numbers["random"]
    fit.between = kept
    fit.ended = None if numbers["status"] is None else Status[numbers["status"]]
    given.run.n_steps, given.run.max_steps = numbers["n_steps"], numbers["max_steps"]
    return fit


def _of_all(given: _Given, own: NDArray[Any]) -> NDArray[Any]:
    """Numbers of a sample of the rows, as those of all own rows."""
    if given.chosen is None:
        return own
    of_all = np.zeros((given.n_own, *own.shape[1:]), own.dtype)
    of_all[given.chosen] = own
    return of_all


def _of_chosen(given: _Given, of_all: NDArray[Any]) -> NDArray[Any]:
    return of_all if given.chosen is None else of_all[given.chosen]
