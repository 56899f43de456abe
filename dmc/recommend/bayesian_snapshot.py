"""A Bayesian fit that goes on where it was: what is kept of it, and how it stands there again.

A row's posterior follows from its entries, the columns, the rows' prior, and how reliable the row was: so what is kept
is the point between the two halves of a sweep, and of the rows only their reliability.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc._group import Share
from dmc._keeper import Keeper, Snapshot
from dmc.observations import Observations
from dmc.recommend.bayesian_model import scaled
from dmc.recommend.factor_posterior import FactorPosterior, entries_of_sides
from dmc.recommend.presence_features import PresenceFeatures, pattern_features
from dmc.solver.loop import Run

PRIOR = ("covariance", "weights", "variances")


@dataclass(frozen=True)
class Given:
    """What a fit begins with.

    Attributes
    ----------
    start : int
        The first, or the second.
    chosen : (rows,) int64 or None
        Which of the own rows these are, where they are a sample.
    n_own : int
        How many own rows there are then.
    """

    run: Run
    observations: Observations
    bound: int
    rng: np.random.Generator
    attributes: tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]
    share: Share
    keeper: Keeper
    start: int = 1
    chosen: NDArray[np.int64] | None = None
    n_own: int = 0

    def kept(self) -> Snapshot | None:
        """What was kept of this very phase."""
        found = self.keeper.found("sweep")
        phase = [self.start, self.chosen is not None]
        with self.keeper.believing():
            return found if found is not None and found.numbers["phase"] == phase else None


Sides = tuple[float, float, FactorPosterior, FactorPosterior]  # mean and standard deviation, rows, columns


def sides_of(given: Given) -> Sides:
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


def _features(given: Given) -> tuple[PresenceFeatures, PresenceFeatures]:
    """Those of rows and columns, which are not found the same again by another number of processes."""
    name = "presence of the sample" if given.chosen is not None else "presence"
    kept = given.keeper.found(name)
    if kept is not None:
        with given.keeper.believing():
            if kept.numbers["start"] == given.start:
                return _features_again(given, kept)
    rows, columns = pattern_features(given.observations.pattern, given.rng, given.share.group)
    if given.keeper.keeps:
        numbers = {"start": given.start, "random": given.rng.bit_generator.state}
        numbers |= {name: [of.center, of.spread] for name, of in (("rows", rows), ("columns", columns))}
        of_rows = {"loadings": _of_all(given, columns.loadings)}
        given.keeper.keep(name, Snapshot(numbers, {"loadings": rows.loadings}, of_rows))
    return rows, columns


def _features_again(given: Given, kept: Snapshot) -> tuple[PresenceFeatures, PresenceFeatures]:
    numbers = kept.numbers
    given.rng.bit_generator.state = numbers["random"]
    return (
        PresenceFeatures(kept.arrays["loadings"], *numbers["rows"]),
        PresenceFeatures(_of_chosen(given, kept.of_rows["loadings"]), *numbers["columns"]),
    )


def between_sides(given: Given, rows: FactorPosterior, columns: FactorPosterior) -> Snapshot:
    """What the rows' half of a sweep begins with, but for numbers."""
    assert rows.reliability is not None
    arrays = {"columns.means": columns.means, "columns.moments": columns.moments}
    for side, name in ((columns, "columns"), (rows, "rows")):
        arrays |= {f"{name}.{part}": getattr(side, part) for part in PRIOR}
    return Snapshot({}, arrays, {"reliability": _of_all(given, rows.reliability)})


def sides_between(given: Given, kept: Snapshot, sides: Sides) -> Sides:
    """The sides as they were kept: all but the rows' means."""
    mean, unit, rows, columns = sides
    rows.means = np.zeros((len(rows.means), kept.arrays["columns.means"].shape[1]), np.float32)
    columns.means = kept.arrays["columns.means"]
    vars(columns)["moments"] = kept.arrays["columns.moments"]
    for side, name in ((columns, "columns"), (rows, "rows")):
        for part in PRIOR:
            setattr(side, part, kept.arrays[f"{name}.{part}"])
    rows.reliability = _of_chosen(given, kept.of_rows["reliability"])
    return mean, unit, rows, columns


def _of_all(given: Given, own: NDArray[Any]) -> NDArray[Any]:
    """Numbers of a sample of the rows, as those of all own rows."""
    if given.chosen is None:
        return own
    of_all = np.zeros((given.n_own, *own.shape[1:]), own.dtype)
    of_all[given.chosen] = own
    return of_all


def _of_chosen(given: Given, of_all: NDArray[Any]) -> NDArray[Any]:
    return of_all if given.chosen is None else of_all[given.chosen]
