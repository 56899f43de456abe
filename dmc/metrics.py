"""How good predictions and recommendations are."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmc import _checks


def rmse(predicted: ArrayLike, actual: ArrayLike) -> float:
    """Root mean squared error, in the units of the values.

    Parameters
    ----------
    predicted, actual : (entries,) real numbers

    Raises
    ------
    ValueError
        If the arrays are empty, differ in length or hold values that are not finite.
    """
    return math.sqrt(float(np.mean(np.square(_difference(predicted, actual)))))


def mae(predicted: ArrayLike, actual: ArrayLike) -> float:
    """Mean absolute error, in the units of the values.

    Parameters
    ----------
    predicted, actual : (entries,) real numbers

    Raises
    ------
    ValueError
        If the arrays are empty, differ in length or hold values that are not finite.
    """
    return float(np.mean(np.abs(_difference(predicted, actual))))


def psnr(restored: ArrayLike, original: ArrayLike, peak: float = 1.0) -> float:
    """Peak signal-to-noise ratio, in decibels; infinite where the two are equal.

    Parameters
    ----------
    restored, original : arrays of one shape
    peak : float
        The largest value that a pixel can have.
    """
    if np.shape(restored) != np.shape(original):
        raise ValueError(f"restored has shape {np.shape(restored)} and original {np.shape(original)}; make them equal")
    error = rmse(np.ravel(restored), np.ravel(original))
    return math.inf if error == 0 else 20 * math.log10(_checks.real(peak, "peak", 0, open_ends=True) / error)


def hits(
    recommended: tuple[ArrayLike, ArrayLike], relevant: tuple[ArrayLike, ArrayLike]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which recommended items are relevant: what `precision`, `recall`, `ndcg` and `average_precision` are made of.

    The rows are the users who have a relevant item, sorted; for others nothing can be found, and recommendations to
    them are left out.

    Parameters
    ----------
    recommended : pair of (recommended,) arrays of ids
        Users and items, as in the columns of `dmc.Recommender.recommend`: best first for each user.
    relevant : pair of (relevant,) arrays of ids
        Users and the items that are relevant to them, in any order; repeated pairs count once.

    Returns
    -------
    hit : (users, places) bool
        Whether the item in each place is relevant; false where fewer items were recommended.
    n_relevant : (users,) int64
        Relevant items of each user, recommended or not.

    Raises
    ------
    ValueError
        If arrays differ in length, no item is relevant, or an item is recommended to a user more than once.
    """
    (to, what), (whose, which) = (tuple(map(np.asarray, pair)) for pair in (recommended, relevant))
    _checks.same_length(users=to, items=what)
    _checks.same_length(users=whose, items=which)
    if len(whose) == 0:
        raise ValueError("no item is relevant to anybody; give at least one, or a lower rating from which they are")
    # Together, so that 7 and "7" are the same, as everywhere.
    _, lines = np.unique(np.concatenate([whose, to]), return_inverse=True)
    users, owners = np.unique(lines[: len(whose)], return_inverse=True)
    rows = np.minimum(np.searchsorted(users, lines[len(whose) :]), len(users) - 1)
    known = users[rows] == lines[len(whose) :]
    rows, what = rows[known], what[known]
    items, cols = np.unique(np.concatenate([which, what]), return_inverse=True)
    wanted = np.unique(owners * len(items) + cols[: len(which)])
    given = rows * len(items) + cols[len(which) :]
    if len(np.unique(given)) < len(given):
        raise ValueError("an item is recommended to a user more than once; give each once, best first")
    order = np.argsort(rows, kind="stable")
    counts = np.bincount(rows, minlength=len(users))
    places = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    hit = np.zeros((len(users), int(counts.max())), bool)
    hit[rows[order], places] = np.isin(given[order], wanted)
    return hit, np.bincount(wanted // len(items), minlength=len(users))


def precision(hit: ArrayLike, n_relevant: ArrayLike, n: int = 10) -> float:
    """Share of the first n places that hold relevant items, averaged over users; a place left empty is a miss.

    Parameters
    ----------
    hit : (users, places) bool
    n_relevant : (users,) integers
        Both from `hits`.
    n : int
        Places that count; there may be fewer or more.

    Raises
    ------
    ValueError
        If the arrays are not of these shapes, or a user has fewer relevant items than hits.
    """
    hit, _ = _ranked(hit, n_relevant, n)
    return float(np.mean(hit.sum(axis=1) / n))


def recall(hit: ArrayLike, n_relevant: ArrayLike, n: int = 10) -> float:
    """Share of a user's relevant items that are in the first n places, averaged over users.

    Parameters and errors are those of `precision`.
    """
    hit, n_relevant = _ranked(hit, n_relevant, n)
    return float(np.mean(hit.sum(axis=1) / n_relevant))


def ndcg(hit: ArrayLike, n_relevant: ArrayLike, n: int = 10) -> float:
    """Normalised discounted cumulative gain of the first n places, averaged over users.

    A relevant item in place p = 1, 2, … is worth 1 / log2(p + 1); 1 is the value of the best possible list (Järvelin
    and Kekäläinen, 2002). Parameters and errors are those of `precision`.
    """
    hit, n_relevant = _ranked(hit, n_relevant, n)
    worth = 1 / np.log2(np.arange(n) + 2)
    best = np.cumsum(worth)[np.minimum(n_relevant, n) - 1]
    return float(np.mean(hit @ worth[: hit.shape[1]] / best))


def average_precision(hit: ArrayLike, n_relevant: ArrayLike, n: int = 10) -> float:
    """Mean average precision: of the precisions at each hit in the first n places, missed items counting 0.

    1 is the value of the best possible list: the divisor is min(n, relevant items). Parameters and errors are those of
    `precision`.
    """
    hit, n_relevant = _ranked(hit, n_relevant, n)
    so_far = np.cumsum(hit, axis=1) / np.arange(1, hit.shape[1] + 1)
    return float(np.mean((hit * so_far).sum(axis=1) / np.minimum(n_relevant, n)))


def coverage(items: ArrayLike, n_items: int) -> float:
    """Share of the catalogue that is recommended to anybody.

    Parameters
    ----------
    items : (recommended,) ids
        The items of all recommendations.
    n_items : int
        Items that there are.

    Raises
    ------
    ValueError
        If more items are recommended than there are.
    """
    found = len(np.unique(np.asarray(items)))
    return found / _checks.integer(n_items, "n_items", max(found, 1), remedy=f"{found} are recommended")


def _ranked(hit: ArrayLike, n_relevant: ArrayLike, n: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """The first n places, checked."""
    _checks.integer(n, "n", 1)
    first, counts = np.asarray(hit), _checks.as_indices(n_relevant, "n_relevant")
    if first.dtype != bool or first.ndim != 2 or first.shape[:1] != counts.shape or len(counts) == 0:
        raise ValueError(
            f"hit has shape {first.shape} and dtype {first.dtype}, n_relevant shape {counts.shape}; give (users, "
            "places) of bool and (users,), of at least one user, as dmc.metrics.hits does"
        )
    short = np.flatnonzero(counts < np.maximum(first.sum(axis=1), 1))
    if len(short):
        raise ValueError(
            f"n_relevant is {counts[short[0]]} in row {short[0]}, which has {int(first[short[0]].sum())} hits; it has "
            "to be at least 1, and no less than the hits"
        )
    return first[:, :n], counts


def _difference(predicted: ArrayLike, actual: ArrayLike) -> np.ndarray:
    first = _checks.as_float(predicted, "predicted").astype(np.float64)
    second = _checks.as_float(actual, "actual").astype(np.float64)
    _checks.same_length(predicted=first, actual=second)
    if len(first) == 0:
        raise ValueError("there are no entries to compare; give at least one")
    _checks.finite(first, "predicted")
    _checks.finite(second, "actual")
    return first - second
