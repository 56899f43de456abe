"""How far figures would be off with other users: standard errors that take a user's ratings for one draw.

Ratings of one user are alike, so that many of them tell less than as many of different users. The errors are those of
ratios of sums over users, linearised (Cochran, Sampling Techniques, 1977, ch. 9): what the bootstrap over users finds,
without drawing.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmc.report.digits import Measured

Z = 1.959964  # standard errors on each side of a 95 % interval


def mean(values: NDArray[Any], users: NDArray[np.int64]) -> Measured:
    """The mean of what users' ratings show.

    Parameters
    ----------
    values : (ratings,) real numbers or bool
        At least one.
    users : (ratings,) int64
        Whose each is, counted from 0; if all are of one user, ratings are taken for draws.

    Returns
    -------
    Measured
        Without an error if there is one rating.
    """
    values = np.asarray(values, dtype=np.float64)
    middle = float(values.mean())
    n_users = int(np.count_nonzero(np.bincount(users)))
    if n_users == 1:
        users, n_users = np.arange(len(values)), len(values)
    if n_users < 2:
        return Measured(middle)
    off = np.bincount(users, values - middle)
    return Measured(middle, math.sqrt(float(np.square(off).sum()) * n_users / (n_users - 1)) / len(values))


def rmse(errors: NDArray[Any], users: NDArray[np.int64]) -> Measured:
    """The root of the mean square: parameters as of `mean`."""
    square, doubt, _ = mean(np.square(np.asarray(errors, dtype=np.float64)), users)
    root = math.sqrt(square)
    return Measured(root, doubt / (2 * root) if doubt is not None and root > 0 else None)


class Share(NamedTuple):
    """A share and its 95 % interval."""

    value: float
    low: float
    high: float

    def measured(self) -> Measured:
        """To be written with the digits that the interval leaves it."""
        return Measured(self.value, (self.high - self.low) / (2 * Z), bare=True)


def share(inside: NDArray[np.bool_], users: NDArray[np.int64]) -> Share:
    """How many are inside: with Wilson's interval, which tells something where all or none are, too.

    As many ratings count as would be as sure if they were of different users (Kish's design effect).

    Parameters
    ----------
    inside : (ratings,) bool
        At least one.
    users : (ratings,) int64
    """
    found, error, _ = mean(inside, users)
    size, binomial = float(len(inside)), found * (1 - found)
    if error and binomial > 0:
        size = min(size, size * binomial / (size - 1) / error**2)
    middle = (found + Z**2 / (2 * size)) / (1 + Z**2 / size)
    half = Z * math.sqrt(binomial / size + (Z / (2 * size)) ** 2) / (1 + Z**2 / size)
    return Share(found, max(min(middle - half, found), 0.0), min(max(middle + half, found), 1.0))  # but for rounding


def standard_error(bounds: tuple[float, float] | None) -> float | None:
    """Of a 95 % interval: what a figure's digits go by."""
    return None if bounds is None else (bounds[1] - bounds[0]) / (2 * Z)
