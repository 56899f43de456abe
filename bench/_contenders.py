"""A contender of recommend.py in a process of its own: what it is to do comes as JSON, what came of it goes back so.

Each is used as its manual says, by the quickest of its public ways. A toy problem first, so that what is loaded at the
first use is no part of any figure.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

THREADS = 2
USERS, ITEMS, WIDTH, LIKED = 100_000, 50_000, 64, 20  # of the model that is asked for everybody's list
SAMPLE = 200  # of its users, whose lists are checked


class Ratings(NamedTuple):
    """One rating a line; ids are whole numbers."""

    user: NDArray[Any]
    item: NDArray[Any]
    rating: NDArray[np.float32]


def movielens(folder: str) -> tuple[Ratings, Ratings]:
    parts = (np.loadtxt(Path(folder) / f"u1.{part}", dtype=np.int64) for part in ("base", "test"))
    return tuple(Ratings(p[:, 0], p[:, 1], p[:, 2].astype(np.float32)) for p in parts)


def douban(folder: str) -> tuple[Ratings, Ratings]:
    parts = (np.loadtxt(Path(folder) / f"{part}.csv", delimiter=",", skiprows=1) for part in ("train", "test"))
    return tuple(Ratings(p[:, 0].astype(np.int64), p[:, 1].astype(np.int64), p[:, 2].astype(np.float32)) for p in parts)


def archived(file: str) -> Callable[[str], tuple[Ratings, Ratings]]:
    """Training and test part of a set in an archive."""

    def load(folder: str) -> tuple[Ratings, Ratings]:
        with np.load(Path(folder) / file) as held:
            return tuple(Ratings(*(held[part + name] for name in ("row", "col", "val"))) for part in ("", "test_"))

    return load


def keep_split(folder: str, train: Ratings, test: Ratings) -> None:
    """Where the set SPLIT is read from."""
    parts = (("", train), ("test_", test))
    kept = {
        start + name: column for start, part in parts for name, column in zip(("row", "col", "val"), part, strict=True)
    }
    np.savez(Path(folder) / "split.npz", **kept)


SPLIT = "split"
SETS = {
    "MovieLens 100K, u1": movielens,
    "Douban": douban,
    "planted": archived("long_tail.npz"),
    SPLIT: archived("split.npz"),
}


# Ratings -------------------------------------------------------------------------------------------------------------


class Dmc:
    """Ours. `sweeps`: end the fit there, by a callback."""

    def __init__(self, sweeps: int | None = None, **settings: Any) -> None:
        import dmc

        callbacks = [lambda info: info.n_steps >= sweeps] if sweeps else []
        self.model = dmc.Recommender(n_threads=THREADS, callbacks=callbacks, **settings)

    def prepare(self, train: Ratings) -> None:
        self.table = train._asdict()

    def fit(self) -> None:
        self.model.fit(self.table)

    def predict(self, user: NDArray[Any], item: NDArray[Any]) -> NDArray[Any]:
        return self.model.predict({"user": user, "item": item})["prediction"]


class Cornac:
    def __init__(self, k: int, learning_rate: float, lambda_reg: float, max_iter: int) -> None:
        from cornac.models import MF

        self.model = MF(k=k, learning_rate=learning_rate, lambda_reg=lambda_reg, max_iter=max_iter)

    def prepare(self, train: Ratings) -> None:
        from cornac.data import Dataset

        self.data = Dataset.from_uir(list(zip(*(column.tolist() for column in train), strict=True)))

    def fit(self) -> None:
        self.model.fit(self.data)

    def predict(self, user: NDArray[Any], item: NDArray[Any]) -> NDArray[Any]:
        users, items, score, mean = self.data.uid_map, self.data.iid_map, self.model.score, self.data.global_mean
        pairs = zip(user.tolist(), item.tolist(), strict=True)  # all items of a user at a time takes longer
        return np.array([score(users[u], items[i]) if u in users and i in items else mean for u, i in pairs])


class Cmfrec:
    def __init__(self, **settings: Any) -> None:
        from cmfrec import CMF

        self.model = CMF(nthreads=THREADS, **settings)

    def prepare(self, train: Ratings) -> None:
        from scipy.sparse import coo_matrix

        positions = train.user.astype(np.int32), train.item.astype(np.int32)
        self.counts = [np.bincount(lines) for lines in positions]
        self.data = coo_matrix((train.rating, positions), shape=[len(counts) for counts in self.counts])

    def fit(self) -> None:
        self.model.fit(self.data)

    def predict(self, user: NDArray[Any], item: NDArray[Any]) -> NDArray[Any]:
        asked, known, predicted = [], np.ones(len(user), bool), np.full(len(user), self.model.glob_mean_)
        sides = zip((user, item), self.counts, (self.model.user_bias_, self.model.item_bias_), strict=True)
        for lines, counts, biases in sides:
            biases[counts == 0] = 0  # a line without ratings may be left with a bias of 1
            predicted += np.append(biases, 0)[np.minimum(lines, len(counts))]
            known &= lines < len(counts)
            asked.append(lines.astype(np.int32))
        predicted[known] = self.model.predict(*(lines[known] for lines in asked))  # it takes no others
        return predicted


class LensKit:
    def __init__(self, **settings: Any) -> None:
        from lenskit.als import BiasedMFScorer

        self.model = BiasedMFScorer(**settings)

    def prepare(self, train: Ratings) -> None:
        import pandas as pd
        from lenskit.data import from_interactions_df

        columns = dict(zip(("user_id", "item_id", "rating"), train, strict=True))
        self.data, self.mean = from_interactions_df(pd.DataFrame(columns)), float(train.rating.mean())

    def fit(self) -> None:
        from lenskit.training import TrainingOptions

        self.model.train(self.data, TrainingOptions(rng=0))

    def predict(self, user: NDArray[Any], item: NDArray[Any]) -> NDArray[Any]:
        from lenskit.data import ItemList, RecQuery

        predicted = np.empty(len(user))
        for one, places in by_user(user):
            predicted[places] = self.model(RecQuery(user_id=one), ItemList(item_ids=item[places])).scores()
        return np.where(np.isnan(predicted), self.mean, predicted)


class Surprise:
    def __init__(self, kind: str = "SVD", **settings: Any) -> None:
        import surprise

        self.model = getattr(surprise, kind)(random_state=0, **settings)

    def prepare(self, train: Ratings) -> None:
        import pandas as pd
        from surprise import Dataset, Reader

        scale = Reader(rating_scale=(float(train.rating.min()), float(train.rating.max())))
        self.data = Dataset.load_from_df(pd.DataFrame(train._asdict()), scale).build_full_trainset()

    def fit(self) -> None:
        self.model.fit(self.data)

    def predict(self, user: NDArray[Any], item: NDArray[Any]) -> NDArray[Any]:
        asked = zip(user.tolist(), item.tolist(), [0.0] * len(user), strict=True)
        return np.array([found.est for found in self.model.test(list(asked))])


def by_user(user: NDArray[Any]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each user, and the places where he stands."""
    order = np.argsort(user, kind="stable")
    ones, first = np.unique(user[order], return_index=True)
    yield from zip(ones.tolist(), np.split(order, first[1:]), strict=True)


class Biases:
    """The mean, and how far each user and each item is from it, each damped by as many ratings without a deviation.

    Koren, 2010 (doi 10.1145/1644873.1644874), section 2.1; repeated in turns. No sweeps: the mean alone.
    """

    def __init__(self, user_damping: float = 0, item_damping: float = 0, sweeps: int = 20) -> None:
        self.dampings, self.sweeps = (user_damping, item_damping), sweeps

    def prepare(self, train: Ratings) -> None:
        self.lines, self.mean = (train.user, train.item), float(train.rating.mean())
        self.values = train.rating - self.mean
        self.biases = [np.zeros(int(lines.max()) + 2) for lines in self.lines]  # the last of each: those not known

    def fit(self) -> None:
        counts = [np.bincount(lines, minlength=len(b)) for lines, b in zip(self.lines, self.biases, strict=True)]
        for _ in range(self.sweeps):
            for side in (1, 0):
                left = self.values - self.biases[1 - side][self.lines[1 - side]]
                sums = np.bincount(self.lines[side], left, len(self.biases[side]))
                self.biases[side] = sums / np.maximum(counts[side] + self.dampings[side], 1e-9)

    def predict(self, user: NDArray[Any], item: NDArray[Any]) -> NDArray[Any]:
        of_user, of_item = (b[np.minimum(n, len(b) - 1)] for n, b in zip((user, item), self.biases, strict=True))
        return self.mean + of_user + of_item


CONTENDERS = {
    "dmc": Dmc,
    "Cornac": Cornac,
    "cmfrec": Cmfrec,
    "LensKit": LensKit,
    "Surprise": Surprise,
    "biases": Biases,
}


def ratings(contender: str, name: str, folder: str, settings: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A fit for each of some settings: test error; of the first one also seconds and the peak of memory."""
    train, test = SETS[name](folder)
    low, high = train.rating.min(), train.rating.max()
    toy = np.arange(0, len(train.rating), len(train.rating) // 2000)
    model = CONTENDERS[contender](**settings[0])
    model.prepare(Ratings(*(column[toy] for column in train)))
    model.fit()
    model.predict(train.user[toy], train.item[toy])
    for setting in settings:
        model = CONTENDERS[contender](**setting)
        began, cpu = time.perf_counter(), time.process_time()
        model.prepare(train)
        prepared = time.perf_counter()
        model.fit()
        ended, cpu = time.perf_counter(), time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        asked = time.perf_counter()
        predicted = model.predict(test.user, test.item)
        answered = time.perf_counter()
        error = np.sqrt(np.mean((np.clip(predicted, low, high) - test.rating.astype(np.float64)) ** 2))
        yield {
            "test_rmse": float(error),
            "seconds": ended - began,
            "fit_seconds": ended - prepared,
            "cpu_seconds": cpu,
            "predict_seconds": answered - asked,
            "peak_mib": peak,
        }


def intervals(name: str, folder: str, probability: float, seed: int | None = None) -> Iterator[dict[str, Any]]:
    """Share of the test ratings inside our bounds, also by fifths of the predicted rating, and how far apart those are.

    `seed`: of the tenth that is held out of a set which has no test part of its own.
    """
    import dmc

    train, test = SETS[name](folder) if seed is None else filmtrust(folder, seed)
    model = dmc.Recommender(intervals=True, n_threads=THREADS).fit(train._asdict())
    asked = {"user": test.user, "item": test.item}
    found = model.predict(asked, interval=probability)
    inside = (found["lower"] <= test.rating) & (test.rating <= found["upper"])
    fifths = np.array_split(np.argsort(found["prediction"], kind="stable"), 5)
    yield {
        "coverage": float(inside.mean()),
        "coverage_of_fifths": [round(float(inside[fifth].mean()), 4) for fifth in fifths],
        "width": float((found["upper"] - found["lower"]).mean()),
    }


def filmtrust(folder: str, seed: int) -> tuple[Ratings, Ratings]:
    """FilmTrust, and a random tenth of it; of a repeated rating the last one counts."""
    table = np.loadtxt(Path(folder) / "filmtrust.csv", delimiter=",", skiprows=1)[::-1]
    _, once = np.unique(table[:, :2], axis=0, return_index=True)
    table = table[once]
    held_out = np.random.default_rng(seed).random(len(table)) < 0.1
    parts = table[~held_out], table[held_out]
    return tuple(Ratings(p[:, 0].astype(np.int64), p[:, 1].astype(np.int64), p[:, 2].astype(np.float32)) for p in parts)


# Lists for everybody -------------------------------------------------------------------------------------------------


def lists(contender: str, batch: int) -> Iterator[dict[str, Any]]:
    """The ten best items of each user, what they liked left out: users a second, and whether they are the best."""
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(0)
    U, V = (rng.standard_normal((lines, WIDTH), np.float32) for lines in (USERS, ITEMS))
    cols = np.sort(rng.integers(0, ITEMS, (USERS, LIKED), np.int32), axis=1).ravel()
    liked = csr_matrix((np.ones(len(cols), np.float32), cols, np.arange(USERS + 1) * LIKED), shape=(USERS, ITEMS))
    liked.sum_duplicates()
    _, ask = (_our_server if contender == "dmc" else _implicit_server)(U, V, liked)
    ask(np.arange(100))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    found = np.concatenate([ask(np.arange(i, min(i + batch, USERS))) for i in range(0, USERS, batch)])
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sample = rng.choice(USERS, SAMPLE, replace=False)
    same = []
    for user in sample:
        scores = V.astype(np.float64) @ U[user]
        scores[liked[user].indices] = -np.inf
        best = np.sort(scores)[::-1][:10]
        same.append(np.allclose(scores[found[user]], best, rtol=0, atol=1e-4) and len(set(found[user])) == 10)
    yield {
        "seconds": seconds,
        "users_a_second": USERS / seconds,
        "more_mib": (peak - before) / 1024,
        "peak_mib": peak / 1024,
        "as_brute_force": float(np.mean(same)),
    }


def _our_server(U: Any, V: Any, liked: Any) -> Any:
    """A Recommender that has these factors: what `fit` leaves behind, made by hand."""
    import dmc
    from dmc.pattern import SparseIndex
    from dmc.recommend.state import FitInfo, Fitted, Lazy, State
    from dmc.recommend.tables.vocabulary import Vocabulary

    sides = [np.vstack([side, np.zeros_like(side[:1])]) for side in (U, V)]  # the last: of those who are not known
    served = dmc.Factors(sides[0], (), sides[1], *(np.zeros(len(side), np.float32) for side in sides))
    model = dmc.Recommender(feedback="implicit")
    model._state = State(
        columns=("user", "item", "rating"),
        users=Vocabulary(np.arange(USERS)),
        items=Vocabulary(np.arange(ITEMS)),
        mean=0.0,
        range=(-np.inf, np.inf),
        left=served.left,
        right=served.right,
        seen=SparseIndex(liked.indptr.astype(np.int64), liked.indices),
        noise=np.nan,
        rank=WIDTH,
        fit_info=FitInfo(dmc.Status.CONVERGED, 0, np.nan, []),
        calibration=None,
        fitted=Lazy.of(Fitted(None, [])),
    )
    return model, lambda users: model.recommend(users, n=10)["item"].reshape(-1, 10)


def _implicit_server(U: Any, V: Any, liked: Any) -> Any:
    from implicit.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(factors=WIDTH, num_threads=THREADS)
    model.user_factors, model.item_factors = U, V
    return model, lambda users: model.recommend(users, liked[users], N=10, filter_already_liked_items=True)[0]


# ---------------------------------------------------------------------------------------------------------------------


def answer(tasks: dict[str, Callable[..., Iterator[dict[str, Any]]]]) -> None:
    """Do what the command line asks for."""
    task, arguments = json.loads(sys.argv[1])
    out, sys.stdout = os.fdopen(os.dup(1), "w"), sys.stderr  # what a rival prints is no answer
    for found in tasks[task](**arguments):
        print(json.dumps(found), file=out, flush=True)


TASKS = {"ratings": ratings, "intervals": intervals, "lists": lists}

if __name__ == "__main__":
    answer(TASKS)
