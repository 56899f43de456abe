"""Which places of recommendation lists hold relevant items, and of what grade: what the measures of lists take.

Users find all of it in `dmc.metrics`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmc import _checks


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
