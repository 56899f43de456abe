"""Lists from clicks: the Recommender with nothing given, beside factorisations and item neighbourhoods at their best.

Every rival has the settings of a grid that are best on a tenth of the training clicks (of the first fold, where there
are folds), which nobody is asked to predict in the end. Recall is the share of all of a user's test clicks, also where
those are more than the places; NDCG is over that of the best possible list. Both are means over the users with a test
click.
"""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from _contenders import SPLIT, Ratings, keep_split
from _harness import data_folder, main, record
from _rivals import MOVIELENS, each, grid, rivals_here, run, version

LIKED = 4.0  # stars that count as a click
FOLDS, SEEDS = 5, range(3)
LARGE = 50_000, 20_000, 1_000_000  # users, items, clicks
TASTES, STRENGTH, ROUNDS = 20, 3.0, 3

Grids = dict[str, tuple[str, list[dict[str, Any]]]]  # by label: contender, settings
OURS: Grids = {
    "dmc": ("dmc", [{}]),
    "dmc, rank=64": ("dmc", [{"rank": 64}]),
    "dmc, rank=256": ("dmc", [{"rank": 256}]),
}
NEIGHBOURS: Grids = {
    "EASE": ("EASE", grid(l2=[30, 100, 300, 1000, 3000])),
    "item-kNN": ("item-kNN", grid(k=[20, 50, 100, 200, 400, 800])),
    "RP3β": ("RP3β", grid(alpha=[0.4, 0.7, 1.0], beta=[0.2, 0.4, 0.6, 0.8], k=[100, 400])),
    "popularity": ("popularity", [{}]),
}
ALS = "implicit ALS, best on held-out clicks"
ask = partial(run, "clicks", script="_click_contenders.py")


def best(measure: str, contender: str, choices: list[dict[str, Any]], **where: Any) -> dict[str, Any]:
    """Of some settings the best one; where there is a choice, on held-out clicks unless said otherwise."""
    if len(choices) == 1:
        return choices[0]
    seeded = [c | {"random_state": 0} for c in choices] if contender == "implicit" else choices
    found = ask(contender=contender, settings=seeded, **{"rehearse": True, **where})
    return choices[int(np.argmax([result[measure] for result in found]))]


def clicks() -> None:
    """MovieLens 100K as clicks (four stars and more): NDCG@10, ours by default, rivals tuned; three seeds."""
    if not rivals_here():
        return
    where = {"name": MOVIELENS, "folder": str(data_folder() / "ml-100k"), "least": LIKED, "n": 10}
    choices = grid(factors=[32, 64, 128, 256], regularization=[1, 3, 10, 30, 100], alpha=[1, 2, 4, 8])
    test_als = "implicit ALS, best on the test clicks"
    grids = OURS | {ALS: ("implicit", choices), test_als: ("implicit", choices)} | NEIGHBOURS
    cases = {
        label: (contender, best("ndcg", contender, tried, **where, rehearse=label != test_als))
        for label, (contender, tried) in grids.items()
    }
    kept: dict[str, list[dict[str, float]]] = {case: [] for case in cases}
    for seed in SEEDS:
        for case, (contender, setting) in cases.items():
            seeded = contender in ("dmc", "implicit")  # the others have no chance in them
            kept[case] += ask(
                contender=contender, settings=[setting | {"random_state": seed} if seeded else setting], **where
            )
    for case, results in kept.items():
        contender, setting = cases[case]
        record(
            "recommend",
            f"clicks | {case}",
            ndcg=float(np.mean([result["ndcg"] for result in results])),
            ndcg_of_seeds=each(results, "ndcg"),
            recall=float(np.mean([result["recall"] for result in results])),
            seconds=statistics.median(result["seconds"] for result in results),
            settings=setting,
            tried=len(grids[case][1]),
            version=version(contender),
        )


def sparse_clicks() -> None:
    """Citeulike, five random folds: recall@20 and NDCG@20, ours by default, rivals tuned on held-out clicks."""
    if not rivals_here():
        return
    user, item = np.loadtxt(data_folder() / "clicks" / "citeulike.csv", np.int64, delimiter=",", skiprows=1).T
    fold = np.random.default_rng(0).permutation(len(user)) % FOLDS
    every = Ratings(user, item, np.ones(len(user), np.float32))
    als = grid(factors=[256], regularization=[1, 3, 10, 30], alpha=[1, 4])  # a fit takes half a minute
    grids = OURS | {ALS: ("implicit", als)} | NEIGHBOURS
    cases: dict[str, tuple[str, dict[str, Any]]] = {}
    kept: dict[str, list[dict[str, float]]] = {case: [] for case in grids}
    with tempfile.TemporaryDirectory() as folder:
        where = {"name": SPLIT, "folder": folder, "n": 20}
        for held_out in range(FOLDS):
            keep_split(
                folder, *(Ratings(*(column[part] for column in every)) for part in (fold != held_out, fold == held_out))
            )
            if held_out == 0:
                cases = {case: (tried[0], best("recall", *tried, **where)) for case, tried in grids.items()}
            for case, (contender, setting) in cases.items():
                kept[case] += ask(contender=contender, settings=[setting], **where)
    for case, results in kept.items():
        contender, setting = cases[case]
        record(
            "recommend",
            f"sparse clicks | {case}",
            **figures(results),
            settings=setting,
            tried=len(grids[case][1]),
            version=version(contender),
        )


def large_clicks() -> None:
    """A million planted clicks, 50,000 × 20,000: seconds to fit by rank, ours and implicit's ALS; recall@20."""
    if not rivals_here():
        return
    cases: dict[str, tuple[str, dict[str, Any], int]] = {  # the last: rounds
        "dmc": ("dmc", {}, ROUNDS),
        "dmc, rank=64": ("dmc", {"rank": 64}, ROUNDS),
        "dmc, rank=512": ("dmc", {"rank": 512}, 1),
        "dmc, rank=1024": ("dmc", {"rank": 1024}, 1),
        "implicit ALS, its defaults": ("implicit", {"factors": 64, "random_state": 0}, ROUNDS),
        "popularity": ("popularity", {}, 1),
    }
    choices = grid(factors=64, regularization=[3, 10, 30], alpha=[4, 12, 36], random_state=0)
    with tempfile.TemporaryDirectory() as folder:
        # Elsewhere: what this process has held is counted among the memory of those that it starts.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as elsewhere:
            elsewhere.submit(keep_planted, folder).result()
        where = {"name": SPLIT, "folder": folder, "n": 20}
        cases[ALS] = "implicit", best("recall", "implicit", choices, **where), ROUNDS
        kept: dict[str, list[dict[str, float]]] = {case: [] for case in cases}
        for turn in range(ROUNDS):
            for case, (contender, setting, times) in cases.items():
                if turn < times:
                    blas = 1 if contender == "implicit" else 2  # as it asks for itself
                    kept[case] += ask(blas, contender=contender, settings=[setting], **where)
    for case, results in kept.items():
        contender, setting, _ = cases[case]
        record(
            "recommend",
            f"large clicks | {case}",
            **figures(results),
            rounds=len(results),
            settings=setting,
            version=version(contender),
        )


def planted_clicks(n_users: int, n_items: int, n_clicks: int, seed: int = 0) -> tuple[Ratings, Ratings]:
    """Clicks of users with tastes, and a random tenth of them held out.

    Users and items are proposed by long tails, as in data/planted.py, and a proposal becomes a click with a probability
    that grows as exp(taste), up to 1: tastes have rank TASTES and are normal, of standard deviation about STRENGTH.
    """
    rng = np.random.default_rng(seed)
    activity = np.cumsum(rng.lognormal(0, 1.0, n_users))
    popularity = np.cumsum(rng.permutation((np.arange(n_items) + 30.0) ** -0.9))
    users, items = (
        np.sqrt(STRENGTH) * rng.standard_normal((lines, TASTES), np.float32) / TASTES**0.25
        for lines in (n_users, n_items)
    )
    keys = np.empty(0, np.int64)
    while len(keys) < n_clicks:
        row, col = (np.searchsorted(upto, upto[-1] * rng.random(n_clicks)) for upto in (activity, popularity))
        tastes = np.einsum("ij,ij->i", users[row], items[col])
        clicked = np.log(rng.random(len(row))) < tastes - 1.5 * STRENGTH
        keys = np.unique(np.concatenate([keys, row[clicked] * n_items + col[clicked]]))
    keys = rng.permutation(keys)[:n_clicks]
    every = Ratings(keys // n_items, keys % n_items, np.ones(n_clicks, np.float32))
    cut = n_clicks // 10
    return tuple(Ratings(*(column[part] for column in every)) for part in (slice(cut, None), slice(cut)))


def keep_planted(folder: str) -> None:
    keep_split(folder, *planted_clicks(*LARGE))


def figures(results: list[dict[str, float]]) -> dict[str, Any]:
    """Medians over folds or rounds, the lists' also of each of them."""
    found = {name: statistics.median(result[name] for result in results) for name in results[0]}
    return found | {f"{name}_of_each": each(results, name) for name in ("recall", "ndcg")}


RUNS = {"clicks": clicks, "sparse-clicks": sparse_clicks, "large-clicks": large_clicks}

if __name__ == "__main__":
    main(RUNS)
