"""Measures of recommendation lists, by which of their places hold relevant items.

Users find all of it in `dmc.metrics`; `docs/guide/metrics.md` says which conventions they follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import update_wrapper
from typing import Generic, ParamSpec

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmc import _checks

P = ParamSpec("P")


class Averaged(Generic[P]):
    """A measure of recommendation lists: call it for the mean over users, ``per_user`` for the value of each.

    The values of each user are what confidence intervals and paired comparisons need: see `dmc.evaluation`.

    Parameters
    ----------
    per_user : callable
        Returns (users,) values.

    Examples
    --------
    >>> from dmc import metrics
    >>> hit, n_relevant = metrics.hits((["ann", "bob"], ["rye", "tea"]), (["ann", "bob"], ["rye", "jam"]))
    >>> metrics.recall(hit, n_relevant), metrics.recall.per_user(hit, n_relevant)
    (0.5, array([1., 0.]))
    """

    def __init__(self, per_user: Callable[P, NDArray[np.float64]]) -> None:
        update_wrapper(self, per_user)
        self.per_user = per_user

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> float:
        return float(np.mean(self.per_user(*args, **kwargs)))

    def __reduce__(self) -> str:  # pickled by its name, as a function is
        return self.per_user.__name__


@Averaged
def precision(hit: ArrayLike, n_relevant: ArrayLike, n: int = 10) -> NDArray[np.float64]:
    """Share of the first n places that hold relevant items, averaged over users.

    A place left empty is a miss.

    Parameters
    ----------
    hit : (users, places) bool
        Whether the item in each place is relevant, from `hits`.
    n_relevant : (users,) integers
        Number of relevant items of each user, from `hits`.
    n : int
        Number of places that count; there may be fewer or more.

    Returns
    -------
    float
        Mean over users, from 0 to 1; ``precision.per_user(…)`` is that of each user.

    Raises
    ------
    ValueError
        If the arrays are not of these shapes, or a user has fewer relevant items than hits.

    Examples
    --------
    >>> from dmc import metrics
    >>> recommended = ["ann", "ann", "bob", "bob"], ["tea", "rye", "tea", "jam"]
    >>> hit, n_relevant = metrics.hits(recommended, (["ann", "ann", "bob"], ["rye", "jam", "tea"]))
    >>> metrics.precision(hit, n_relevant, n=2)
    0.5
    """
    hit, _ = _ranked(hit, n_relevant, n)
    return np.asarray(hit.sum(axis=1) / n)


@Averaged
def recall(hit: ArrayLike, n_relevant: ArrayLike, n: int = 10) -> NDArray[np.float64]:
    """Share of a user's relevant items that are in the first n places, averaged over users.

    The share is of all relevant items: users with more than n cannot reach 1.

    Parameters
    ----------
    hit : (users, places) bool
        Whether the item in each place is relevant, from `hits`.
    n_relevant : (users,) integers
        Number of relevant items of each user, from `hits`.
    n : int
        Number of places that count; there may be fewer or more.

    Returns
    -------
    float
        Mean over users, from 0 to 1; ``recall.per_user(…)`` is that of each user.

    Raises
    ------
    ValueError
        If the arrays are not of these shapes, or a user has fewer relevant items than hits.

    Examples
    --------
    >>> from dmc import metrics
    >>> recommended = ["ann", "ann", "bob", "bob"], ["tea", "rye", "tea", "jam"]
    >>> hit, n_relevant = metrics.hits(recommended, (["ann", "ann", "bob"], ["rye", "jam", "tea"]))
    >>> metrics.recall(hit, n_relevant, n=2)
    0.75
    """
    hit, n_relevant = _ranked(hit, n_relevant, n)
    return np.asarray(hit.sum(axis=1) / n_relevant)


@Averaged
def hit_rate(hit: ArrayLike, n_relevant: ArrayLike, n: int = 10) -> NDArray[np.float64]:
    """Share of the users who have a relevant item in the first n places.

    Parameters
    ----------
    hit : (users, places) bool
        Whether the item in each place is relevant, from `hits`.
    n_relevant : (users,) integers
        Number of relevant items of each user, from `hits`.
    n : int
        Number of places that count; there may be fewer or more.

    Returns
    -------
    float
        From 0 to 1; ``hit_rate.per_user(…)`` is that of each user.

    Raises
    ------
    ValueError
        If the arrays are not of these shapes, or a user has fewer relevant items than hits.

    Examples
    --------
    >>> from dmc import metrics
    >>> recommended = ["ann", "ann", "bob", "bob"], ["tea", "rye", "tea", "jam"]
    >>> hit, n_relevant = metrics.hits(recommended, (["ann", "ann", "bob"], ["rye", "jam", "tea"]))
    >>> metrics.hit_rate(hit, n_relevant, n=1)
    0.5
    """
    hit, _ = _ranked(hit, n_relevant, n)
    return np.asarray(hit.any(axis=1), np.float64)


@Averaged
def reciprocal_rank(hit: ArrayLike, n_relevant: ArrayLike, n: int = 10) -> NDArray[np.float64]:
    """Mean reciprocal rank (MRR): 1 / p where place p has the first relevant item, 0 if none of the first n has one.

    Parameters
    ----------
    hit : (users, places) bool
        Whether the item in each place is relevant, from `hits`.
    n_relevant : (users,) integers
        Number of relevant items of each user, from `hits`.
    n : int
        Number of places that count; there may be fewer or more.

    Returns
    -------
    float
        Mean over users, from 0 to 1; ``reciprocal_rank.per_user(…)`` is that of each user.

    Raises
    ------
    ValueError
        If the arrays are not of these shapes, or a user has fewer relevant items than hits.

    Examples
    --------
    >>> from dmc import metrics
    >>> recommended = ["ann", "ann", "bob", "bob"], ["tea", "rye", "tea", "jam"]
    >>> hit, n_relevant = metrics.hits(recommended, (["ann", "ann", "bob"], ["rye", "jam", "tea"]))
    >>> metrics.reciprocal_rank(hit, n_relevant, n=2)
    0.75
    """
    hit, _ = _ranked(hit, n_relevant, n)
    if hit.shape[1] == 0:
        return np.zeros(len(hit))
    return np.asarray(hit.any(axis=1) / (hit.argmax(axis=1) + 1))


@Averaged
def ndcg(hit: ArrayLike, n_relevant: ArrayLike, n: int = 10) -> NDArray[np.float64]:
    """Normalised discounted cumulative gain of the first n places, averaged over users; all relevant items alike.

    A relevant item in place p = 1, 2, … is worth 1 / log2(p + 1); the sum is divided by that of the best possible list
    (Järvelin and Kekäläinen, 2002), which has min(n, relevant items) of them.

    Parameters
    ----------
    hit : (users, places) bool
        Whether the item in each place is relevant, from `hits`.
    n_relevant : (users,) integers
        Number of relevant items of each user, from `hits`.
    n : int
        Number of places that count; there may be fewer or more.

    Returns
    -------
    float
        Mean over users, from 0 to 1; ``ndcg.per_user(…)`` is that of each user.

    Raises
    ------
    ValueError
        If the arrays are not of these shapes, or a user has fewer relevant items than hits.

    Examples
    --------
    >>> from dmc import metrics
    >>> recommended = ["ann", "ann", "bob", "bob"], ["tea", "rye", "tea", "jam"]
    >>> hit, n_relevant = metrics.hits(recommended, (["ann", "ann", "bob"], ["rye", "jam", "tea"]))
    >>> round(metrics.ndcg(hit, n_relevant, n=2), 3)
    0.693
    """
    hit, n_relevant = _ranked(hit, n_relevant, n)
    counting = np.minimum(n_relevant, n)
    worth = _discount(max(int(counting.max()), hit.shape[1]))
    best = np.cumsum(worth)[counting - 1]
    return hit @ worth[: hit.shape[1]] / best


@Averaged
def average_precision(hit: ArrayLike, n_relevant: ArrayLike, n: int = 10) -> NDArray[np.float64]:
    """Mean average precision (MAP): of the precisions at each hit in the first n places, missed items counting 0.

    The divisor is min(n, relevant items), so that the best possible list has the value 1.

    Parameters
    ----------
    hit : (users, places) bool
        Whether the item in each place is relevant, from `hits`.
    n_relevant : (users,) integers
        Number of relevant items of each user, from `hits`.
    n : int
        Number of places that count; there may be fewer or more.

    Returns
    -------
    float
        Mean over users, from 0 to 1; ``average_precision.per_user(…)`` is that of each user.

    Raises
    ------
    ValueError
        If the arrays are not of these shapes, or a user has fewer relevant items than hits.

    Examples
    --------
    >>> from dmc import metrics
    >>> recommended = ["ann", "ann", "bob", "bob"], ["tea", "rye", "tea", "jam"]
    >>> hit, n_relevant = metrics.hits(recommended, (["ann", "ann", "bob"], ["rye", "jam", "tea"]))
    >>> metrics.average_precision(hit, n_relevant, n=2)
    0.625
    """
    hit, n_relevant = _ranked(hit, n_relevant, n)
    so_far = np.cumsum(hit, axis=1) / np.arange(1, hit.shape[1] + 1)
    return (hit * so_far).sum(axis=1) / np.minimum(n_relevant, n)


@Averaged
def graded_ndcg(gain: ArrayLike, ideal: ArrayLike, n: int = 10, exponential: bool = False) -> NDArray[np.float64]:
    """Normalised discounted cumulative gain with graded relevance, averaged over users.

    An item of grade g in place p is worth g / log2(p + 1) (Järvelin and Kekäläinen, 2002), or (2^g − 1) / log2(p + 1)
    if `exponential` (Burges et al., 2005): use that for stars, not for counts, where only the largest would matter. The
    best possible list has the value 1. If all grades are 1, both are `ndcg`.

    Parameters
    ----------
    gain : (users, places) float
        The grade of the item in each place, from `gains`.
    ideal : (users, at least n) float
        The highest grades of each user, from `gains`; fewer columns, if the last is 0.
    n : int
        Number of places that count.
    exponential : bool
        Whether an item of grade g is worth 2^g − 1 instead of g.

    Returns
    -------
    float
        Mean over users, from 0 to 1; ``graded_ndcg.per_user(…)`` is that of each user.

    Raises
    ------
    ValueError
        If the arrays are not of these shapes, or a user's ideal list is worth nothing.

    Examples
    --------
    >>> from dmc import metrics
    >>> recommended, relevant = (["ann", "ann"], ["tea", "rye"]), (["ann", "ann"], ["rye", "jam"])
    >>> round(metrics.graded_ndcg(*metrics.gains(recommended, relevant, grades=[5, 3], n=2), n=2), 3)
    0.458
    """
    n = _checks.integer(n, "n", 1)
    gain, ideal = (_checks.as_float(a, name).astype(np.float64) for a, name in ((gain, "gain"), (ideal, "ideal")))
    if gain.ndim != 2 or ideal.ndim != 2 or len(gain) != len(ideal) or len(gain) == 0 or _ends_early(ideal, n):
        raise ValueError(
            f"gain has shape {gain.shape} and ideal {ideal.shape}; give (users, places) and (users, {n} or more), of "
            f"at least one user, as dmc.metrics.gains does with n={n}"
        )
    highest = ideal[:, :1]
    if (highest <= 0).any():
        raise ValueError(f"ideal is zero in row {int(np.argmin(highest))}; its first grade has to be above 0")
    gain, ideal = gain[:, :n], ideal[:, :n]
    if exponential:  # over 2^highest, which cancels out and would overflow
        gain, ideal = (np.exp2(g - highest) * -np.expm1(-g * math.log(2)) for g in (gain, ideal))
    worth = _discount(max(gain.shape[1], ideal.shape[1]))
    return gain @ worth[: gain.shape[1]] / (ideal @ worth[: ideal.shape[1]])


def _discount(n: int) -> NDArray[np.float64]:
    """(n,) what a hit in each place is worth."""
    return 1 / np.log2(np.arange(n) + 2)


def _ends_early(ideal: NDArray[np.float64], n: int) -> bool:
    """Whether grades that count may be missing: there are fewer than n, and the last is not 0 for all."""
    places = ideal.shape[1]
    return places < n and (places == 0 or bool(ideal[:, -1].any()))


def _ranked(hit: ArrayLike, n_relevant: ArrayLike, n: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Check the arrays, and cut them to the first n places."""
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
