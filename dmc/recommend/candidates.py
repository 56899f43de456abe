"""The best of a user's own candidates: each user has another choice, as a page or a shop's stock gives it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc.factors import Factors
from dmc.pattern import SparseIndex
from dmc.recommend.tables.vocabulary import Vocabulary, as_column, as_ids

Positions = NDArray[np.int64]


def flattened(candidates: Mapping[Any, Any]) -> tuple[Positions, Any]:
    """(candidates,) whose each one is, by number among the mapping's keys, and their ids."""
    lists = [
        np.atleast_1d(as_column(list(ids) if isinstance(ids, (Iterator, Set)) else ids, "items"))
        for ids in candidates.values()
    ]
    owners = np.repeat(np.arange(len(lists)), [len(own) for own in lists])
    filled = [own for own in lists if len(own)]
    if len({own.dtype.kind for own in filled}) == 1:
        return owners, np.concatenate(filled)
    return owners, [id for own in filled for id in own.tolist()]  # each as it is: an array would change some


def of_each(
    users: NDArray[Any], name: str, candidates: Mapping[Any, Any], owners: Positions, positions: Positions
) -> SparseIndex:
    """What each of the users asked for may be recommended.

    Parameters
    ----------
    users : (asked,) ids
    name : str
        The column of users.
    candidates : mapping of user ids to item ids
    owners, positions : (candidates,) int64
        As `flattened` gave them; of the items in the vocabulary, −1 where one is not known: those are left out.

    Returns
    -------
    SparseIndex
        A row for each user asked for; columns ascend, each once.

    Raises
    ------
    ValueError
        If a user is no key of the mapping.
    """
    keys, numbers = Vocabulary.learn(as_ids(as_column(list(candidates), name), name))
    at = keys.positions(users, name) if len(keys) else np.full(len(users), -1)
    if (at < 0).any():
        first, others = users[at < 0][0].item(), int((at < 0).sum()) - 1
        more = f" and {_checks.count(others, 'other user')}" if others else ""
        raise ValueError(
            f"items has no candidates for {name} {first!r}{more}; give a list for each, even if it is empty"
        )
    known = positions >= 0
    width = int(positions.max(initial=0)) + 1
    pairs = np.sort(numbers[owners[known]].astype(np.int64) * width + positions[known])
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]  # once each
    indptr = np.searchsorted(pairs, width * np.arange(len(keys) + 1))
    return SparseIndex(indptr, pairs % width).take(at)[0]


def without(candidates: SparseIndex, others: SparseIndex, n_items: int) -> SparseIndex:
    """Rows of candidates less those of another index with as many rows."""
    (mine, numbers), (theirs, _) = (_pairs(index, n_items) for index in (candidates, others))
    left = ~np.isin(mine, theirs, assume_unique=True)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(numbers[left], minlength=len(candidates.indptr) - 1))])
    return SparseIndex(indptr, candidates.indices[left])


def _pairs(index: SparseIndex, n_items: int) -> tuple[Positions, Positions]:
    """Each entry as one number, and its row."""
    rows = np.repeat(np.arange(len(index.indptr) - 1), np.diff(index.indptr))
    return rows * n_items + index.indices, rows


def best(factors: Factors, rows: Positions, n: int, candidates: SparseIndex) -> Positions:
    """(rows, n or fewer) the candidates of largest value in each row, best first; −1 where none is left."""
    n, counts = _checks.integer(n, "n", 1), np.diff(candidates.indptr)
    asked = np.repeat(np.arange(len(rows)), counts)
    scores = factors.at(rows[asked], candidates.indices)
    order = np.lexsort((-scores, asked))  # of equal ones the lower column first, as they ascend
    places = np.arange(len(order)) - np.repeat(candidates.indptr[:-1], counts)
    found = np.full((len(rows), min(n, int(counts.max(initial=0)))), -1)
    listed = places < n
    found[asked[listed], places[listed]] = candidates.indices[order[listed]]
    return found
