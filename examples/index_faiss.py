"""Serve recommendations from a FAISS index
========================================

A Recommender's lists, looked up in a FAISS index: serving needs two arrays and the ids, nothing else.

It needs faiss-cpu beside dmc::

    python examples/index_faiss.py vectors
"""

import sys
from pathlib import Path

import faiss
import numpy as np

import dmc


def ratings(seed: int = 0) -> dict[str, np.ndarray]:
    """Of 400 users with one of two tastes each, who mostly rate what they like."""
    rng = np.random.default_rng(seed)
    taste, style = rng.standard_normal((400, 2)), rng.standard_normal((200, 2))
    liking = taste @ style.T
    user, item = np.argwhere(rng.random(liking.shape) < 0.12 + 0.1 * np.tanh(liking)).T
    return {"user": user, "item": item, "rating": np.clip(3 + liking[user, item], 1, 5)}


def main(folder: str = "vectors") -> float:
    rec = dmc.Recommender().fit(ratings())
    # Not the vectors of predictions: lists go by what a user would choose, too.
    rec.export(folder, vectors="ranking")

    # From here on nothing but files and FAISS.
    users, items = (np.load(Path(folder) / f"{side}s.npy") for side in ("user", "item"))
    of_users, of_items = (np.load(Path(folder) / f"{side}_factors.npy") for side in ("user", "item"))
    index = faiss.IndexFlatIP(of_items.shape[1])  # inner products: neither distances nor cosines
    index.add(of_items)

    # The index does not know what a user has rated already: ask for that much more, and leave it out.
    n, had = 10, rec.seen_
    most = int(np.diff(had.indptr).max())
    _, found = index.search(of_users, min(n + most, len(items)))
    expected = rec.recommend(users, n)
    agreeing = 0
    for row, user in enumerate(users):
        left = found[row][~np.isin(found[row], had.indices[had.indptr[row] : had.indptr[row + 1]])][:n]
        agreeing += np.array_equal(items[left], expected["item"][expected["user"] == user])
    print(f"{agreeing} of {len(users)} lists are those of recommend")

    # Somebody who is not in the model: a vector made of what he has rated.
    visitor = rec.user_vector([3, 14, 15], [5.0, 4.0, 1.0], vectors="ranking")
    _, found = index.search(visitor[None], n + 3)
    print("a visitor's list:", [item for item in items[found[0]].tolist() if item not in (3, 14, 15)][:n])
    return agreeing / len(users)


if __name__ == "__main__":
    main(*sys.argv[1:])
