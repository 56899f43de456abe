"""Serve recommendations from an hnswlib index
===========================================

A Recommender's lists, looked up in an approximate index: fast in large catalogues, and nearly always the same.

It needs hnswlib beside dmc::

    python examples/index_hnswlib.py vectors
"""

import sys
from pathlib import Path

import hnswlib
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

    # From here on nothing but files and hnswlib.
    users, items = (np.load(Path(folder) / f"{side}s.npy") for side in ("user", "item"))
    of_users, of_items = (np.load(Path(folder) / f"{side}_factors.npy") for side in ("user", "item"))
    index = hnswlib.Index("ip", of_items.shape[1])  # inner products: neither "l2" nor "cosine"
    index.init_index(len(items), ef_construction=200, M=32, random_seed=0)
    index.add_items(of_items, num_threads=1)  # their labels: 0, 1, …

    # The index does not know what a user has rated already: ask for that much more, and leave it out.
    n, had = 10, rec.seen_
    most = int(np.diff(had.indptr).max())
    ask_for = min(n + most, len(items))
    index.set_ef(2 * ask_for)  # how many it looks at: more find more, and take longer
    found, _ = index.knn_query(of_users, ask_for)  # the second: one less the product
    expected = rec.recommend(users, n)
    right = 0
    for row, user in enumerate(users):
        left = found[row][~np.isin(found[row], had.indices[had.indptr[row] : had.indptr[row + 1]])][:n]
        right += np.isin(items[left], expected["item"][expected["user"] == user]).sum()
    print(f"{right / len(expected['item']):.2%} of the lists of recommend are found")

    # Somebody who is not in the model: a vector made of what he has rated.
    visitor = rec.user_vector([3, 14, 15], [5.0, 4.0, 1.0], vectors="ranking")
    found, _ = index.knn_query(visitor, n + 3)
    print("a visitor's list:", [item for item in items[found[0]].tolist() if item not in (3, 14, 15)][:n])
    return right / len(expected["item"])


if __name__ == "__main__":
    main(*sys.argv[1:])
