"""Measures of recommendation lists, by which of their places hold relevant items.

Users find all of it in `dmc.metrics`; `docs/guide/metrics.md` says which conventions they follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import update_wrapper
from typing import Generic, NamedTuple, ParamSpec

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


def hits(
    recommended: tuple[ArrayLike, ArrayLike], relevant: tuple[ArrayLike, ArrayLike]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Mark the recommended items that are relevant: the input of `precision`, `recall`, `ndcg` and the like.

    The rows are the users who have a relevant item, sorted; recommendations to others are left out, as they cannot hit.

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

    Examples
    --------
    >>> from dmc import metrics
    >>> hit, n_relevant = metrics.hits((["ann", "ann"], ["tea", "rye"]), (["ann", "ann"], ["rye", "jam"]))
    >>> hit.tolist(), n_relevant.tolist()
    ([[False, True]], [2])
    >>> metrics.recall(hit, n_relevant, n=2)
    0.5
    """
    placed = _Placed.of(recommended, relevant)
    hit = np.zeros(placed.shape, bool)
    hit[placed.rows, placed.places] = placed.wanted >= 0
    return hit, placed.n_relevant


def gains(
    recommended: tuple[ArrayLike, ArrayLike], relevant: tuple[ArrayLike, ArrayLike], grades: ArrayLike, n: int = 10
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Look up the grade of each recommended item: the input of `graded_ndcg`.

    Parameters
    ----------
    recommended : pair of (recommended,) arrays of ids
        Users and items, best first for each user, as in `hits`.
    relevant : pair of (relevant,) arrays of ids
        Users and the items that are relevant to them, as in `hits`, with the same rows.
    grades : (relevant,) real numbers above 0
        How relevant each pair is: a count, a rating; of repeated pairs the highest.
    n : int
        Number of places that will count.

    Returns
    -------
    gain : (users, places) float64
        The grade of the item in each place; 0 where it is not relevant or there is none.
    ideal : (users, n) float64
        The user's highest grades, highest first; 0 where there are no more. If nobody has n, fewer columns, the last of
        which is 0.

    Raises
    ------
    ValueError, TypeError
        As `hits`, and if a grade is not a finite number above 0.

    Examples
    --------
    >>> from dmc import metrics
    >>> recommended, relevant = (["ann", "ann"], ["tea", "rye"]), (["ann", "ann"], ["rye", "jam"])
    >>> gain, ideal = metrics.gains(recommended, relevant, grades=[5, 3], n=2)
    >>> gain, ideal
    (array([[0., 5.]]), array([[5., 3.]]))
    >>> round(metrics.graded_ndcg(gain, ideal, n=2), 3)
    0.458
    """
    n = _checks.integer(n, "n", 1)
    placed = _Placed.of(recommended, relevant)
    values = _checks.as_float(grades, "grades").astype(np.float64)
    _checks.same_length(grades=values, relevant=placed.pair_of)
    _checks.finite(values, "grades")
    if (values <= 0).any():
        raise ValueError(f"grades: the smallest is {values.min():g}; relevant items need a grade above 0")
    best = np.zeros(len(placed.owners))
    np.maximum.at(best, placed.pair_of, values)
    gain = np.zeros(placed.shape)
    gain[placed.rows, placed.places] = np.where(placed.wanted >= 0, best[placed.wanted], 0)
    order = np.lexsort((-best, placed.owners))
    places = _places(placed.owners[order], len(placed.n_relevant))
    n = min(n, int(placed.n_relevant.max()) + 1)  # as far as there is anything
    ideal, first = np.zeros((len(placed.n_relevant), n)), places < n
    ideal[placed.owners[order][first], places[first]] = best[order][first]
    return gain, ideal


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


@Averaged
def novelty(users: ArrayLike, counts: ArrayLike, n_users: int) -> NDArray[np.float64]:
    """Mean self-information of a user's list, in bits, averaged over users: how little known its items are.

    An item that c of n_users have chosen has −log2(c / n_users); one that nobody has chosen counts as chosen by one
    (Vargas and Castells, 2011). An item that everybody has chosen has 0.

    Parameters
    ----------
    users : (recommended,) ids
        To whom each item is recommended; `per_user` is in their sorted order.
    counts : (recommended,) integers
        How many users have chosen the item.
    n_users : int
        Number of users who have chosen any.

    Returns
    -------
    float
        In bits; ``novelty.per_user(…)`` is that of each user.

    Raises
    ------
    ValueError
        If nothing is recommended, or a count is not from 0 to n_users.

    Examples
    --------
    >>> from dmc import metrics
    >>> metrics.novelty(["ann", "ann", "bob"], [4, 1, 2], n_users=4)
    1.0
    """
    to, chosen = np.asarray(users), _checks.as_indices(counts, "counts")
    _checks.same_length(users=to, counts=chosen)
    if len(to) == 0:
        raise ValueError("nothing is recommended; give at least one item")
    most = int(chosen.max())
    _checks.integer(n_users, "n_users", max(most, 1), remedy=f"an item is chosen by {most}")
    if (chosen < 0).any():
        raise ValueError(f"counts: the smallest is {chosen.min()}; none may be negative")
    _, rows = np.unique(to, return_inverse=True)
    bits = np.log2(n_users) - np.log2(np.maximum(chosen, 1))
    return np.bincount(rows, bits) / np.bincount(rows)


def coverage(items: ArrayLike, n_items: int) -> float:
    """Share of the catalogue that is recommended to anybody.

    Parameters
    ----------
    items : (recommended,) ids
        The items of all recommendations.
    n_items : int
        Size of the catalogue.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    ValueError
        If more items are recommended than exist.

    Examples
    --------
    >>> from dmc import metrics
    >>> metrics.coverage(["tea", "rye", "tea"], n_items=8)
    0.25
    """
    found = len(np.unique(np.asarray(items)))
    return found / _checks.integer(n_items, "n_items", max(found, 1), remedy=f"{found} are recommended")


class _Placed(NamedTuple):
    """Recommendations to users who have relevant items: rows, places, and which relevant pair each is."""

    rows: NDArray[np.int64]  # (placed,)
    places: NDArray[np.int64]  # (placed,)
    wanted: NDArray[np.int64]  # (placed,) the number of the relevant pair; −1: none
    shape: tuple[int, int]  # users, places
    n_relevant: NDArray[np.int64]  # (users,)
    owners: NDArray[np.int64]  # (pairs,) the row of each relevant pair, repeats merged
    pair_of: NDArray[np.int64]  # (relevant,) the pair of each that was given

    @classmethod
    def of(cls, recommended: tuple[ArrayLike, ArrayLike], relevant: tuple[ArrayLike, ArrayLike]) -> _Placed:
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
        pairs, pair_of = np.unique(owners * len(items) + cols[: len(which)], return_inverse=True)
        given = rows * len(items) + cols[len(which) :]
        if len(np.unique(given)) < len(given):
            raise ValueError("an item is recommended to a user more than once; give each once, best first")
        order = np.argsort(rows, kind="stable")
        rows, given = rows[order], given[order]
        places = _places(rows, len(users))
        nearest = np.minimum(np.searchsorted(pairs, given), len(pairs) - 1)
        return cls(
            rows,
            places,
            np.where(pairs[nearest] == given, nearest, -1),
            (len(users), int(places.max(initial=-1)) + 1),
            np.bincount(pairs // len(items), minlength=len(users)),
            pairs // len(items),
            pair_of,
        )


def _places(rows: NDArray[np.int64], n_rows: int) -> NDArray[np.int64]:
    """(entries,) 0, 1, … within each row, of sorted rows."""
    counts = np.bincount(rows, minlength=n_rows)
    return np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)


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
