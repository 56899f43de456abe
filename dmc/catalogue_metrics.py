"""Measures of recommendation lists against the catalogue: how little known their items are, and how many it shows.

Users find all of it in `dmc.metrics`; `docs/guide/metrics.md` says which conventions they follow.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmc import _checks
from dmc.list_metrics import Averaged


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
