"""A contender of clicks.py in a process of its own: clicks in, lists out.

Each is a function of the clicks, as numbers of users and items, and of its settings; what it gives back makes the lists
of some users, as two arrays of numbers, best first for each user and without what he clicked.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import _neighbours
from _contenders import SETS, THREADS, Ratings, answer

Pairs = tuple[NDArray[Any], NDArray[Any]]
Serve = Callable[[NDArray[Any], int], Pairs]
BATCH = 500  # users whose scores are made at a time


def dmc_lists(rows: NDArray[Any], cols: NDArray[Any], **setting: Any) -> Serve:
    import dmc

    model = dmc.Recommender(feedback="implicit", n_threads=THREADS, **setting).fit({"user": rows, "item": cols})

    def serve(asked: NDArray[Any], n: int) -> Pairs:
        lists = model.recommend(asked, n=n)
        return lists["user"], lists["item"]

    return serve


def implicit_lists(rows: NDArray[Any], cols: NDArray[Any], **setting: Any) -> Serve:
    from implicit.als import AlternatingLeastSquares

    X = matrix(rows, cols)
    model = AlternatingLeastSquares(num_threads=THREADS, **setting)
    model.fit(X, show_progress=False)

    def serve(asked: NDArray[Any], n: int) -> Pairs:
        best, _ = model.recommend(asked, X[asked], N=n, filter_already_liked_items=True)
        return np.repeat(asked, best.shape[1]), best.ravel()

    return serve


def neighbour_lists(weigh: Callable[..., Any], rows: NDArray[Any], cols: NDArray[Any], **setting: Any) -> Serve:
    X = matrix(rows, cols)
    weights = weigh(X, **setting)

    def scores(some: NDArray[Any]) -> NDArray[Any]:
        found = X[some] @ weights
        return found if isinstance(found, np.ndarray) else found.toarray()

    return partial(best_unseen, X, scores)


def popular_lists(rows: NDArray[Any], cols: NDArray[Any]) -> Serve:
    X, counts = matrix(rows, cols), np.bincount(cols).astype(np.float32)
    return partial(best_unseen, X, lambda some: np.tile(counts, (len(some), 1)))


def best_unseen(X: Any, scores: Callable[[NDArray[Any]], NDArray[Any]], asked: NDArray[Any], n: int) -> Pairs:
    """The n items with the highest scores that a user has not clicked."""
    lists = []
    for begin in range(0, len(asked), BATCH):
        some = asked[begin : begin + BATCH]
        found = scores(some)
        found[X[some].nonzero()] = -np.inf
        best = np.argpartition(-found, n - 1, axis=1)[:, :n]
        order = np.argsort(-np.take_along_axis(found, best, axis=1), axis=1, kind="stable")
        lists.append(np.take_along_axis(best, order, axis=1))
    return np.repeat(asked, n), np.concatenate(lists).ravel()


def matrix(rows: NDArray[Any], cols: NDArray[Any]) -> Any:
    from scipy.sparse import csr_matrix  # implicit takes no arrays

    return csr_matrix((np.ones(len(rows), np.float32), (rows, cols)))


CONTENDERS: dict[str, Callable[..., Serve]] = {
    "dmc": dmc_lists,
    "implicit": implicit_lists,
    "EASE": partial(neighbour_lists, _neighbours.ease),
    "item-kNN": partial(neighbour_lists, _neighbours.item_knn),
    "RP3β": partial(neighbour_lists, _neighbours.rp3beta),
    "popularity": popular_lists,
}


def clicks(
    contender: str,
    name: str,
    folder: str,
    settings: list[dict[str, Any]],
    n: int,
    least: float = 1.0,
    rehearse: bool = False,
) -> Iterator[dict[str, float]]:
    """A fit for each of some settings: NDCG@n and recall@n of the test clicks; seconds to fit, and peak of memory.

    The clicks are the ratings that are at least so high. `rehearse`: of a tenth of the training clicks in the test's
    place, which is how settings may be chosen. Users without a click in training are left out; items without one are
    missed by everybody.
    """
    from dmc import metrics

    train, test = (Ratings(*(column[part.rating >= least] for column in part)) for part in SETS[name](folder))
    if rehearse:
        held_out = np.random.default_rng(0).random(len(train.user)) < 0.1
        train, test = (Ratings(*(column[which] for column in train)) for which in (~held_out, held_out))
    users, rows = np.unique(train.user, return_inverse=True)
    items, cols = np.unique(train.item, return_inverse=True)
    known = np.isin(test.user, users)
    relevant, asked = (test.user[known], test.item[known]), np.searchsorted(users, np.unique(test.user[known]))
    toy = np.nonzero(np.add.outer(np.arange(60), np.arange(50)) % 7 < 2)
    for i, setting in enumerate(settings):
        if i == 0:
            CONTENDERS[contender](*toy, **setting)(np.arange(60), 10)  # what is loaded at the first use
        began = time.perf_counter()
        serve = CONTENDERS[contender](rows, cols, **setting)
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        to, what = serve(asked, n)
        found = metrics.hits((users[to], items[what]), relevant)
        yield {
            "ndcg": metrics.ndcg(*found, n),
            "recall": metrics.recall(*found, n),
            "seconds": seconds,
            "peak_mib": peak,
        }


if __name__ == "__main__":
    answer({"clicks": clicks})
