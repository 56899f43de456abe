"""Fits of `dmc.distributed.Recommender`, for tests of several processes."""

from __future__ import annotations

import numpy as np

from dmc.distributed import Recommender


def ratings(seed=0, clicks=False, text=True):
    """A table with ids of text; users 0 has half of the items."""
    rng = np.random.default_rng(seed)
    m, n = 300, 80
    positions = np.union1d(rng.permutation(m * n)[:5000], np.arange(0, n, 2))
    user, item = positions // n, positions % n
    U, V = rng.standard_normal((m, 3)), rng.standard_normal((n, 3))
    rating = 3 + 0.5 * (U[user] * V[item]).sum(axis=1) + 0.3 * rng.standard_normal(len(user))
    kept = rating > 3 if clicks else np.ones(len(user), bool)
    order = rng.permutation(np.flatnonzero(kept))
    found = {"user": np.array([f"u{i}" for i in user]) if text else user, "item": item}
    found |= {} if clicks else {"rating": rating.astype(np.float32)}
    return {name: column[order] for name, column in found.items()}


def batches(table, rank, size):
    """Some of the rows of a table, as Arrow record batches: the last process has none."""
    import pyarrow as pa

    whole = pa.RecordBatch.from_pydict(table)
    if size == 1:
        return [whole]
    own = np.flatnonzero(np.arange(whole.num_rows) % (size - 1) == rank)
    return [] if rank == size - 1 else [whole.take(pa.array(own))]


def fit(group, settings, clicks=False, folder=None, **given):
    """Ids and predictions for all items of the own users; the course of the fit."""
    table = ratings(clicks=clicks)
    found = Recommender(**settings).fit(batches(table, group.rank, group.size), group=group, **given)
    if folder is not None:
        found.save(folder)
    own = found.own_
    predicted = own.mean_ + own.user_factors @ own.item_factors.T
    return own.users_.ids, predicted, own.n_iter_, own.rank_, own.range_, own.items_.ids, own.status_.name


def whole(found):
    """The users of all processes, in the order of their ids, and their predictions."""
    ids = np.concatenate([of_one[0] for of_one in found])
    order = np.argsort(ids)
    return ids[order], np.concatenate([of_one[1] for of_one in found])[order]
