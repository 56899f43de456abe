"""Bounds for predicted ratings, learnt from ratings that the model had not seen: wide for pairs it knows little of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from dmc import _checks

BEYOND = 1e9  # times a pair's scale: beyond any rating

Float = NDArray[np.float64]


@dataclass(frozen=True)
class IntervalTuning:
    """What was chosen for intervals, on held-out parts of the training ratings of MovieLens 100K, Douban and FilmTrust.

    Attributes
    ----------
    held_out : float
        Share of the ratings that intervals are learnt from.
    max_held_out : int
        Ratings that they are learnt from at most.
    max_groups : int
        Groups by predicted rating at most.
    min_group : int
        Held-out ratings that each group should have at least.
    tails : tuple of float
        Shares of what may lie outside the bounds that may lie below them: the shortest bounds of these count.
    min_scale : float
        Squared scale of a pair at least, relative to the average.
    """

    held_out: float = 0.1
    max_held_out: int = 20_000
    max_groups: int = 10
    min_group: int = 400
    tails: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    min_scale: float = 1e-3


TUNING = IntervalTuning()


class HeldOut(NamedTuple):
    """Ratings that a model has not seen."""

    predicted: NDArray[Any]  # (held out,) inside the scale
    actual: NDArray[Any]
    of_user: NDArray[Any]  # (held out,) ratings of the same user that the model has seen
    of_item: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Calibration:
    """How far predictions are off: conformal quantiles of residuals that are divided by a scale of the pair.

    The squared scale is c₀ + c₁/(1 + ratings of the user) + c₂/(1 + ratings of the item). Residuals are signed and
    grouped by the predicted rating, in groups that overlap; between the centres of groups their quantiles are
    interpolated. So bounds are wide where little is known, lopsided towards the ends of the scale, and continuous.

    They hold for pairs like those that were held out, a random part of the ratings. Later ratings are others, and
    bounds for 90 % have held 83–87 % of them: judge by ``dmc.evaluation.split(by="time")``.

    Attributes
    ----------
    scale : (3,) float64
        c₀, c₁, c₂.
    centres : (groups,) float64
        Predicted ratings, ascending.
    pointers : (groups + 1,) int64
        Where in `residuals` each group's begin.
    residuals : (any,) float64
        Ascending in each group. The first and the last are no residuals but what reaches the ends of the scale.

    References
    ----------
    V. Vovk, A. Gammerman, G. Shafer, "Algorithmic learning in a random world", 2005; J. Lei et al., "Distribution-free
    predictive inference for regression", 2018 (arXiv 1604.04173).
    """

    scale: Float
    centres: Float
    pointers: NDArray[np.int64]
    residuals: Float

    @classmethod
    def learn(cls, held_out: HeldOut, ends: tuple[float, float]) -> Calibration:
        """From held-out ratings, on a scale with these ends."""
        predicted = held_out.predicted.astype(np.float64)
        residuals = held_out.actual - predicted
        scale = _scale(residuals, held_out.of_user, held_out.of_item)
        spread = _spread(scale, held_out.of_user, held_out.of_item)
        order = np.argsort(predicted, kind="stable")
        predicted, spread, residuals = predicted[order], spread[order], residuals[order]
        n = len(predicted)
        groups = max(1, min(TUNING.max_groups, 2 * n // TUNING.min_group - 1))  # each overlaps half of the next
        edges = np.linspace(0, n, groups + 2).round().astype(int)
        centres, parts = [], []
        for first, last in zip(edges[:-2], edges[2:], strict=True):
            own = slice(first, last)
            lowest = ((ends[0] - predicted[own]) / spread[own]).min()
            highest = ((ends[1] - predicted[own]) / spread[own]).max()
            parts.append(np.concatenate([[lowest], np.sort(residuals[own] / spread[own]), [highest]]))
            centres.append(predicted[own].mean())
        pointers = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
        return cls(scale, np.array(centres), pointers, np.concatenate(parts))

    def bounds(
        self, predicted: NDArray[Any], of_user: NDArray[Any], of_item: NDArray[Any], probability: float
    ) -> tuple[Float, Float]:
        """Between which ratings lie with a probability.

        Parameters
        ----------
        predicted : (pairs,) float
            Inside the scale; the bounds may reach beyond.
        of_user, of_item : (pairs,) integers
            Ratings that the user and the item have.
        probability : float

        Returns
        -------
        lower, upper : (pairs,) float64
        """
        probability = _checks.real(probability, "interval", 0, 1, open_ends=True)
        own = [
            _window(self.residuals[first:last], probability)
            for first, last in zip(self.pointers[:-1], self.pointers[1:], strict=True)
        ]
        spread = _spread(self.scale, of_user, of_item)
        lower, upper = (np.interp(predicted, self.centres, side) for side in zip(*own, strict=True))
        return predicted + spread * lower, predicted + spread * upper

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What `from_arrays` needs."""
        return dict(vars(self))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Calibration:
        """The same again."""
        return cls(*(arrays[name] for name in ("scale", "centres", "pointers", "residuals")))


def _scale(residuals: Float, of_user: NDArray[Any], of_item: NDArray[Any]) -> Float:
    """(3,) the squared scale's coefficients, by non-negative least squares on the squared residuals."""
    squares = np.square(residuals)
    average = float(squares.mean())
    if not average > 0:
        return np.array([1.0, 0, 0])
    found, _ = nnls(_known(of_user, of_item), squares / average)
    return average * np.array([max(found[0], TUNING.min_scale), *found[1:]])


def _spread(scale: Float, of_user: NDArray[Any], of_item: NDArray[Any]) -> Float:
    return np.sqrt(_known(of_user, of_item) @ scale)


def _known(of_user: NDArray[Any], of_item: NDArray[Any]) -> Float:
    """(pairs, 3) what the squared scale is a sum of."""
    return np.column_stack([np.ones(len(of_user)), 1 / (1.0 + of_user), 1 / (1.0 + of_item)])


def _window(values: Float, probability: float) -> tuple[float, float]:
    """The shortest of some bounds around 0 that hold the next residual with a probability.

    Between the i-th and the j-th of n residuals lies the next one, if it is one like them, with probability
    (j − i)/(n + 1); before the first and behind the last stand the ends of the scale.
    """
    n = len(values) - 2
    inside = math.ceil((n + 1) * probability)
    if inside > n:
        return -BEYOND, BEYOND
    least = max(0, int(np.searchsorted(values, 0)) - inside)
    most = min(int(np.searchsorted(values, 0, side="right")) - 1, n + 1 - inside)
    first = np.clip(np.rint(np.array(TUNING.tails) * (n + 1 - inside)).astype(int), least, most)
    best = first[np.argmin(values[first + inside] - values[first])]
    return float(values[best]), float(values[best + inside])
