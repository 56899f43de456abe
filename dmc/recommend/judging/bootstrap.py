"""How far figures would differ with other users: intervals by the bootstrap, paired tests by flipping signs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmc import _checks

PART = 1 << 22  # signs drawn together

Floats = NDArray[np.float64]
# Figures, (…, q), of sums over users, (…, k): a mean is a sum over the number of users, which is a sum of ones.
Statistic = Callable[[Floats], Floats]


class Drawing(NamedTuple):
    """How intervals are made."""

    confidence: float
    n_resamples: int
    seed: int | np.random.Generator


def settings(confidence: float, n_resamples: int, seed: int | np.random.Generator) -> Drawing:
    """Checked."""
    _checks.generator(seed, "seed")
    confidence = _checks.real(confidence, "confidence", 0, 1, open_ends=True)
    return Drawing(confidence, _checks.integer(n_resamples, "n_resamples", 10), seed)


def named(
    names: Sequence[str], contributions: Floats, statistic: Statistic, drawing: Drawing | None
) -> dict[str, tuple[float, float]]:
    """The bounds of each figure; none where nothing is to be drawn, or there is only one user to draw from."""
    if drawing is None or len(contributions) < 2:
        return {}
    drawn = resampled(contributions, statistic, drawing.n_resamples, _checks.generator(drawing.seed, "seed"))
    low, high = intervals(contributions, statistic, drawn, drawing.confidence)
    return dict(zip(names, zip(low.tolist(), high.tolist(), strict=True), strict=True))


def resampled(contributions: Floats, statistic: Statistic, n_resamples: int, rng: np.random.Generator) -> Floats:
    """Figures of as many users again, drawn from them with replacement, many times over.

    Parameters
    ----------
    contributions : (users, k) float64
        What each user adds to the sums.
    statistic : callable
        From sums, (…, k), to figures, (…, q).
    n_resamples : int
    rng : numpy.random.Generator

    Returns
    -------
    (n_resamples, q) float64
    """
    size = len(contributions)
    sums = np.empty((n_resamples, contributions.shape[1]))
    columns = np.ascontiguousarray(contributions.T)
    for row in sums:
        times = np.bincount(rng.integers(0, size, size, dtype=np.int32), minlength=size)
        row[:] = columns @ times.astype(np.float64)
    return statistic(sums)


def intervals(contributions: Floats, statistic: Statistic, drawn: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Bounds of figures: the bootstrap's, corrected for bias and acceleration (BCa; Efron, 1987).

    Parameters
    ----------
    contributions : (users, k) float64
        Of at least two users.
    statistic : callable
    drawn : (n_resamples, q) float64
        What `resampled` gave for these.
    confidence : float
        With which probability an interval is to hold the figure of endlessly many such users.

    Returns
    -------
    low, high : (q,) float64
    """
    from scipy.special import ndtr, ndtri

    total = contributions.sum(axis=0)
    estimate, without_one = statistic(total), statistic(total - contributions)
    rounding = 1e-12 * np.abs(estimate)  # shares of few users repeat: what is equal but for it counts half
    below = ((drawn < estimate - rounding).mean(axis=0) + (drawn <= estimate + rounding).mean(axis=0)) / 2
    least = 0.5 / len(drawn)  # so that a figure outside of all that was drawn has bounds, too
    bias = ndtri(np.clip(below, least, 1 - least))
    leverage = without_one.mean(axis=0) - without_one
    spread = np.square(leverage).sum(axis=0) ** 1.5
    acceleration = np.divide((leverage**3).sum(axis=0), 6 * spread, out=np.zeros_like(spread), where=spread > 0)
    tails = bias + ndtri(np.array([[(1 - confidence) / 2], [(1 + confidence) / 2]]))  # (2, q)
    shares = ndtr(bias + tails / (1 - acceleration * tails))
    bounds = np.array([np.quantile(drawn[:, k], shares[:, k]) for k in range(drawn.shape[1])])
    return bounds[:, 0], bounds[:, 1]


def sign_flip_test(differences: Floats, n_flips: int, rng: np.random.Generator) -> Floats:
    """How often differences of pairs sum up to as much by chance alone, each sign being as likely as the other.

    Parameters
    ----------
    differences : (pairs, q) float64
    n_flips : int
    rng : numpy.random.Generator

    Returns
    -------
    (q,) float64
        Two-sided p-values, at least 1 / (n_flips + 1): the test is exact, for any number of flips.
    """
    total = differences.sum(axis=0)
    # What is equal but for rounding is as extreme: so p is 1 where there are no differences.
    observed = np.abs(total) * (1 - 1e-12)
    extreme = np.ones(differences.shape[1])
    part = max(1, PART // max(len(differences), 1))
    for first in range(0, n_flips, part):
        n = min(part, n_flips - first)
        bits = np.unpackbits(rng.integers(0, 256, (n, -(-len(differences) // 8)), np.uint8), axis=1)
        flipped = bits[:, : len(differences)].astype(np.float64) @ differences
        extreme += (np.abs(total - 2 * flipped) >= observed).sum(axis=0)
    return extreme / (n_flips + 1)
