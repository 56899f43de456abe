"""Ratings where there are few: errors beside tuned rivals, and lists beside the most popular items.

Of the sets without a split of their own a random tenth is held out, five times (the seeds 0 to 4); of pairs that are
rated more than once the last rating counts. Every rival has, for each split, the settings of a grid that are best on a
tenth of its training part, and is then fitted to all of that; ours has its defaults. Predictions are clipped to the
range of the training ratings; of users and items that are not in it each says what it says: the mean, or a bias.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

import dmc
from _contenders import SETS, SPLIT, THREADS, Ratings, keep_split
from _harness import data_folder, main, record
from _rivals import DOUBAN, MOVIELENS, each, grid, rivals_here, run, version
from dmc.recommend import evaluation

FILES = {"instruments": "instruments", "FilmTrust": "filmtrust", "MovieTweetings 100K": "movietweetings"}
FOLDERS = {MOVIELENS: "ml-100k", DOUBAN: "douban"}  # these have a split of their own
SEEDS = range(5)
CASES: dict[str, tuple[str, list[dict[str, Any]]]] = {  # by label: contender, settings
    "dmc": ("dmc", [{}]),
    "dmc, ensemble=8": ("dmc", [{"ensemble": 8}]),
    "biases, tuned": ("biases", grid(user_damping=[1, 2, 4, 8, 16, 32], item_damping=[1, 2, 4, 8, 16, 32])),
    "cmfrec CMF": (
        "cmfrec",
        grid(k=[4, 16, 40], lambda_=[1, 3, 6, 12, 25], niter=15, verbose=False, add_implicit_features=[False, True]),
    ),
    "Surprise SVD": ("Surprise", grid(n_factors=[8, 50], n_epochs=[20, 40], reg_all=[0.05, 0.1, 0.2, 0.4])),
    "mean only": ("biases", [{"sweeps": 0}]),
}


def sparse_ratings() -> None:
    """Instruments, FilmTrust, MovieTweetings, MovieLens u1, Douban: RMSE, ours by default, rivals tuned on held-out."""
    if not rivals_here():
        return
    for name in (*FILES, *FOLDERS):
        kept: dict[str, list[dict[str, Any]]] = {case: [] for case in CASES}
        with tempfile.TemporaryDirectory() as folder:
            for train, test in splits(name):
                settings = {case: best(folder, train, *tried) for case, tried in CASES.items()}
                keep_split(folder, train, test)
                for case, (contender, _) in CASES.items():
                    found = run("ratings", contender=contender, name=SPLIT, folder=folder, settings=[settings[case]])
                    kept[case] += [result | {"setting": settings[case]} for result in found]
        for case, results in kept.items():
            contender, tried = CASES[case]
            record(
                "recommend",
                f"sparse | {name} | {case}",
                test_rmse=statistics.median(result["test_rmse"] for result in results),
                test_rmse_of_splits=each(results, "test_rmse"),
                seconds=statistics.median(result["seconds"] for result in results),
                settings=[result["setting"] for result in results],
                tried=len(tried),
                version=version(contender),
            )


def splits(name: str) -> Iterator[tuple[Ratings, Ratings]]:
    """Training and test part: the set's own, or of each seed those with a random tenth held out."""
    if name in FOLDERS:
        yield SETS[name](str(data_folder() / FOLDERS[name]))
        return
    file = data_folder() / "ratings" / f"{FILES[name]}.csv"
    user, item, rating = np.loadtxt(file, delimiter=",", skiprows=1, usecols=(0, 1, 2)).T
    every = last_of_each(Ratings(user.astype(np.int64), item.astype(np.int64), rating.astype(np.float32)))
    for seed in SEEDS:
        yield held_out(every, seed)


def last_of_each(ratings: Ratings) -> Ratings:
    """Of repeated pairs the last alone, in the order of the table."""
    keys = ratings.user * (ratings.item.max() + 1) + ratings.item
    _, from_the_end = np.unique(keys[::-1], return_index=True)
    kept = np.sort(len(keys) - 1 - from_the_end)
    return Ratings(*(column[kept] for column in ratings))


def held_out(ratings: Ratings, seed: int) -> tuple[Ratings, Ratings]:
    """All but a random tenth, and that tenth."""
    n_test = round(len(ratings.user) / 10)
    order = np.random.default_rng(seed).permutation(len(ratings.user))
    return tuple(Ratings(*(column[np.sort(part)] for column in ratings)) for part in (order[n_test:], order[:n_test]))


def best(folder: str, train: Ratings, contender: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    """Of some settings those with the smallest error on a tenth of the training part."""
    if len(choices) == 1:
        return choices[0]
    keep_split(folder, *held_out(train, seed=12_345))  # no seed of a split
    found = run("ratings", contender=contender, name=SPLIT, folder=folder, settings=choices)
    return choices[int(np.argmin([result["test_rmse"] for result in found]))]


def lists_from_ratings() -> None:
    """MovieLens u1, FilmTrust, MovieTweetings: NDCG@10 of lists, from ratings and from the pairs alone."""
    for name in (MOVIELENS, "FilmTrust", "MovieTweetings 100K"):
        kept: dict[str, list[dict[str, float]]] = {}
        for train, test in splits(name):
            for case, reached in judged_lists(train._asdict(), test._asdict()).items():
                figures = {"ndcg": reached.ndcg, "recall": reached.recall, "coverage": reached.coverage}
                kept.setdefault(case, []).append(figures)
        for case, results in kept.items():
            found = {figure: statistics.median(result[figure] for result in results) for figure in results[0]}
            record("recommend", f"lists of ratings | {name} | {case}", **found, ndcg_of_splits=each(results, "ndcg"))


def judged_lists(train: dict[str, Any], test: dict[str, Any]) -> dict[str, evaluation.Evaluation]:
    """All by the same items: those whose test rating is at least the mean, also where clicks are fitted."""
    relevant = float(np.mean(test["rating"]))
    judge = partial(evaluation.evaluate, test=test, relevant=relevant, confidence=None)
    pairs = {column: train[column] for column in ("user", "item")}
    return {
        "dmc": judge(dmc.Recommender(n_threads=THREADS).fit(train)),
        'dmc, feedback="implicit"': judge(dmc.Recommender(feedback="implicit", n_threads=THREADS).fit(pairs)),
        "popularity": judge(evaluation.Popularity(train)),
    }


RUNS = {"sparse-ratings": sparse_ratings, "lists-from-ratings": lists_from_ratings}

if __name__ == "__main__":
    main(RUNS)
