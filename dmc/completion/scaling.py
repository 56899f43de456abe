"""Where the columns, or the rows, of a table lie and how far they spread: its units, which no model depends on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from dmc.completion import tuning
from dmc.factors import Factors
from dmc.observations import Observations

Float = NDArray[np.float64]
Side = Literal["none", "columns", "rows"]


@dataclass(frozen=True, eq=False)
class Scaling:
    """Location and spread of each line of one side of a table.

    Attributes
    ----------
    side : {"none", "columns", "rows"}
    location, spread : (lines,) float64, in the data's units
        Of the columns if nothing is scaled: 0 and 1.
    constant : (lines,) bool
        Whether all that was observed of a line is one value.
    """

    side: Side
    location: Float
    spread: Float
    constant: NDArray[np.bool_]

    @classmethod
    def of(cls, observations: Observations, side: Side, weights: NDArray[Any] | None = None) -> Scaling:
        """Of NumPy observations, with weights (observed,) of their entries."""
        lines = observations.shape[0] if side == "rows" else observations.shape[1]
        if side == "none":
            return cls(side, np.zeros(lines), np.ones(lines), np.zeros(lines, bool))
        at = observations.rows if side == "rows" else observations.cols
        x = np.asarray(observations.values).astype(np.float64)
        w = np.ones(len(x)) if weights is None else weights
        total = np.maximum(np.bincount(at, w, lines), 1e-300)
        unit = np.zeros(lines)  # of each line, so that squares stay inside the range of floats
        np.maximum.at(unit, at, abs(x))
        unit = np.where(unit > 0, unit, 1.0)
        scaled, first = x / unit[at], np.zeros(lines)
        # The mean, and once more of what it leaves: an offset of a million spreads would round the spread away.
        for _ in range(2):
            first += np.bincount(at, w * (scaled - first[at]), lines) / total
        spread = unit * np.sqrt(np.bincount(at, w * (scaled - first[at]) ** 2, lines) / total)
        location = unit * first
        eps = float(np.finfo(observations.dtype).eps)
        constant = ~(spread > tuning.SCALING.min_spread * eps * abs(location))
        exact = np.zeros(lines)
        exact[at] = x  # of a constant line any of its values
        return cls(side, np.where(constant, exact, location), np.where(constant, 1.0, spread), constant)

    def standardised(self, observations: Observations) -> Observations:
        """The entries with location 0 and spread 1 in each line."""
        at = observations.rows if self.side == "rows" else observations.cols
        values = (np.asarray(observations.values).astype(np.float64) - self.location[at]) / self.spread[at]
        return observations.with_values(np.where(self.constant[at], 0.0, values))

    def restored(self, factors: Factors) -> Factors:
        """Factors of the standardised matrix, in the data's units: with a bias for each line of the side."""
        s, location = self.spread, self.location
        if self.side == "none":
            return factors
        if self.side == "rows":
            bias = 0 if factors.row_bias is None else factors.row_bias
            return Factors(factors.U * s[:, None], (), factors.V, location + s * bias)
        bias = 0 if factors.column_bias is None else factors.column_bias
        return Factors(factors.U, (), factors.V * s[:, None], None, location + s * bias)


def gain(observations: Observations, side: Side) -> float:
    """Nats an entry by which a side's levels and spreads describe NumPy entries better than one size for all does, as
    independent Gaussians.

    The mean and spread of a row or column are told at a cost of log N for both (Schwarz, 1978), and one size at no
    cost.
    """
    x = np.asarray(observations.values).astype(np.float64)
    x = x / (float(abs(x).max()) or 1.0)
    n = len(x)
    none = 0.5 * math.log(max(float(np.mean(x * x)), 1e-300))
    at, count = (
        (observations.rows, observations.shape[0]) if side == "rows" else (observations.cols, observations.shape[1])
    )
    counts = np.bincount(at, minlength=count)
    mean = np.bincount(at, x, count) / np.maximum(counts, 1)
    squares = np.bincount(at, (x - mean[at]) ** 2, count) / np.maximum(counts - 1, 1)
    half = np.maximum(counts - 1, 1) / 2
    short = np.log(half) - digamma(half)  # by which the logarithm of a variance from few entries is too small
    told = math.log(n) + 0.5 * counts * (np.log(np.where(squares > 0, squares, 1)) + short)
    # Constant rows or columns say nothing of units: rows of zeros are many in tables of flags.
    return none - float(np.where((counts >= tuning.SCALING.min_entries) & (squares > 0), told, none * counts).sum()) / n
