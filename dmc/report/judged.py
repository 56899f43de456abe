"""Ratings beside their predictions: what a report judges a recommender by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc.recommend.recommender import Recommender
from dmc.recommend.table import Table

LEVEL = 0.9  # of the intervals that are judged
BINS = 10  # of predictions


@dataclass(frozen=True)
class Judged:
    """Ratings beside their predictions; `lower` and `upper` where the model has learnt intervals.

    Attributes
    ----------
    popularity : (ratings,) int64
        In how many ratings of the fit the item occurs.
    own : bool
        Whether these are the ratings that were fitted.
    """

    popularity: NDArray[np.int64]
    actual: NDArray[Any]
    predicted: NDArray[Any]
    lower: NDArray[Any] | None
    upper: NDArray[Any] | None
    own: bool

    @property
    def named(self) -> str:
        return "the model's own ratings" if self.own else "the test ratings"


def own_ratings(model: Recommender) -> dict[str, NDArray[Any]]:
    """The table that was fitted."""
    known = model.observations_
    columns = (model.users_.ids[known.rows], model.items_.ids[known.cols], np.asarray(known.values))
    return dict(zip(model.columns_, columns, strict=True))


def judge(model: Recommender, test: Any) -> Judged:
    """Test ratings beside their predictions; the model's own, if there are none."""
    user, item, rating = model.columns_
    table = Table.open(own_ratings(model) if test is None else test, model.columns_)
    pairs, actual = {name: table.ids(name) for name in (user, item)}, table.numbers(rating)
    if len(actual) == 0:
        raise ValueError("there are no test ratings; give at least one")
    found = model.predict(pairs, interval=LEVEL if model.intervals else None)
    n_ratings = np.append(np.bincount(model.observations_.cols, minlength=len(model.items_)), 0)
    popularity = n_ratings[model.items_.positions(pairs[item])]  # the last is a stranger's
    return Judged(popularity, actual, found["prediction"], found.get("lower"), found.get("upper"), test is None)


def bins(judged: Judged) -> list[NDArray[np.int64]]:
    """Places of the ratings, in groups of about equal size by their prediction, low ones first; ties stay together."""
    edges = np.unique(np.quantile(judged.predicted, np.arange(1, BINS) / BINS))
    group_of = np.searchsorted(edges, judged.predicted, side="right")
    return [np.flatnonzero(group_of == group) for group in np.unique(group_of)]
