"""Measures of predictions, and of recommendations (from `list_hits`, `list_metrics` and `catalogue_metrics`)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from dmc import _checks
from dmc.catalogue_metrics import coverage, novelty
from dmc.list_hits import gains, hits
from dmc.list_metrics import (
    Averaged,
    average_precision,
    graded_ndcg,
    hit_rate,
    ndcg,
    precision,
    recall,
    reciprocal_rank,
)

__all__ = [
    "Averaged",
    "average_precision",
    "coverage",
    "gains",
    "graded_ndcg",
    "hit_rate",
    "hits",
    "mae",
    "ndcg",
    "novelty",
    "precision",
    "psnr",
    "recall",
    "reciprocal_rank",
    "rmse",
]


def rmse(predicted: ArrayLike, actual: ArrayLike) -> float:
    """Compute the root mean squared error.

    Parameters
    ----------
    predicted, actual : (entries,) real numbers
        The values to compare.

    Returns
    -------
    float
        In the units of the values.

    Raises
    ------
    ValueError
        If the arrays are empty, differ in length or hold values that are not finite.

    Examples
    --------
    >>> from dmc import metrics
    >>> metrics.rmse([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 6.0])
    1.0
    """
    return math.sqrt(float(np.mean(np.square(_difference(predicted, actual)))))


def mae(predicted: ArrayLike, actual: ArrayLike) -> float:
    """Compute the mean absolute error.

    Parameters
    ----------
    predicted, actual : (entries,) real numbers
        The values to compare.

    Returns
    -------
    float
        In the units of the values.

    Raises
    ------
    ValueError
        If the arrays are empty, differ in length or hold values that are not finite.

    Examples
    --------
    >>> from dmc import metrics
    >>> metrics.mae([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 6.0])
    0.5
    """
    return float(np.mean(np.abs(_difference(predicted, actual))))


def psnr(restored: ArrayLike, original: ArrayLike, peak: float = 1.0) -> float:
    """Compute the peak signal-to-noise ratio of a restored image.

    Parameters
    ----------
    restored, original : arrays of one shape
        The images.
    peak : float
        The largest value that a pixel can have.

    Returns
    -------
    float
        In decibels; infinite where the two are equal.

    Raises
    ------
    ValueError
        If the shapes differ, or a value is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from dmc import metrics
    >>> round(metrics.psnr(np.full((4, 4), 0.6), np.full((4, 4), 0.5)), 6)
    20.0
    """
    if np.shape(restored) != np.shape(original):
        raise ValueError(f"restored has shape {np.shape(restored)} and original {np.shape(original)}; make them equal")
    error = rmse(np.ravel(restored), np.ravel(original))
    return math.inf if error == 0 else 20 * math.log10(_checks.real(peak, "peak", 0, open_ends=True) / error)


def _difference(predicted: ArrayLike, actual: ArrayLike) -> np.ndarray:
    first = _checks.as_float(predicted, "predicted").astype(np.float64)
    second = _checks.as_float(actual, "actual").astype(np.float64)
    _checks.same_length(predicted=first, actual=second)
    if len(first) == 0:
        raise ValueError("there are no entries to compare; give at least one")
    _checks.finite(first, "predicted")
    _checks.finite(second, "actual")
    return first - second
