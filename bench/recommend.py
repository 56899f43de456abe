"""How good and how quick is the Recommender with its defaults, beside what people use today at its best settings?

The rivals (constraints-recommend.txt) have an environment of their own, which `make bench-recommend` makes. Each fit of
each contender is a process of its own; they run in turns, two threads each, and the median counts. On MovieLens and
Douban a rival has, of a grid, the settings that are best on the test ratings themselves: a gift.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from _contenders import THREADS, movielens
from _harness import data_folder, main, record
from _rivals import DOUBAN, MOVIELENS, PLANTED, grid, medians, rivals_here, run, version

# By label: the contender, its grid on the real ratings, and its settings on the planted ones, which were searched for
# among more; rounds of each: once, where it takes a minute.
RIVALS: dict[str, tuple[str, list[dict[str, Any]], dict[str, dict[str, Any]], int]] = {
    "Cornac MF": (
        "Cornac",
        grid(k=[8, 32], learning_rate=[0.005, 0.01], lambda_reg=[0.02, 0.05, 0.1], max_iter=[20, 40, 80, 150]),
        {
            f"{n} epochs": {"k": 8, "learning_rate": rate, "lambda_reg": 0.02, "max_iter": n}
            for n, rate in ((150, 0.005), (40, 0.015), (20, 0.02))
        },
        5,
    ),
    "cmfrec CMF": (
        "cmfrec",
        grid(k=[8, 16, 40], lambda_=[3, 5, 8, 12, 20], niter=15, verbose=False, add_implicit_features=[False, True]),
        {f"{n} sweeps": {"k": 8, "lambda_": ridge, "niter": n, "verbose": False} for n, ridge in ((15, 2), (8, 3))},
        5,
    ),
    "LensKit ALS": (
        "LensKit",
        grid(embedding_size=[8, 25], regularization=[0.03, 0.1, 0.2, 0.3, 0.5], epochs=20),
        {"20 epochs": {"embedding_size": 8, "regularization": 0.03, "epochs": 20}},
        5,
    ),
    "Surprise SVD": (
        "Surprise",
        grid(n_factors=[8, 50], n_epochs=[20, 40, 80], reg_all=[0.05, 0.1, 0.15]),
        {f"60 epochs, rate {rate}": {"n_factors": 8, "n_epochs": 60, "lr_all": rate} for rate in (0.007, 0.01)},
        1,
    ),
    "Surprise SVD++": ("Surprise", grid(kind="SVDpp", n_factors=20, n_epochs=[20, 40], reg_all=[0.05, 0.1]), {}, 1),
}
OURS: dict[str, tuple[dict[str, Any], int]] = {
    "dmc": ({}, 5),
    "dmc, ensemble=8": ({"ensemble": 8}, 1),
    "dmc, stopped after 6 sweeps": ({"sweeps": 6}, 5),
    **{f"dmc, rank={rank}": ({"rank": rank}, 1) for rank in (8, 16, 128)},
}


def ratings() -> None:
    """MovieLens 100K and Douban: test RMSE, seconds, memory; ours by default, rivals by a grid."""
    measure(MOVIELENS, DOUBAN)


def planted_ratings() -> None:
    """Planted long tail of 1,800,000 ratings: the same, rivals by a longer search."""
    measure(PLANTED)


def measure(*names: str) -> None:
    if not rivals_here():
        return
    with folders() as folder:
        for name in names:
            jobs, rounds = {}, {}
            for label, (setting, times) in OURS.items():
                jobs[label], rounds[label] = ("dmc", setting), times
            for label, (contender, choices, known, times) in RIVALS.items():
                if name == PLANTED:
                    chosen = {f"{label}, {how}": setting for how, setting in known.items()}
                else:
                    found = run("ratings", contender=contender, name=name, folder=folder[name], settings=choices)
                    errors = [result["test_rmse"] for result in found]
                    chosen = {label: choices[int(np.argmin(errors))]}
                for case, setting in chosen.items():
                    jobs[case], rounds[case] = (contender, setting), times
            kept: dict[str, list[dict[str, float]]] = {case: [] for case in jobs}
            for turn in range(max(rounds.values())):
                for case, (contender, setting) in jobs.items():
                    if turn < rounds[case]:
                        arguments = {"contender": contender, "name": name, "folder": folder[name]}
                        kept[case] += run("ratings", **arguments, settings=[setting])
            for case, results in kept.items():
                contender, setting = jobs[case]
                record(
                    "recommend",
                    f"{name} | {case}",
                    **medians(results),
                    rounds=len(results),
                    settings=setting,
                    version=version(contender),
                )


def intervals() -> None:
    """MovieLens 100K, Douban, three random tenths of FilmTrust: share of the test ratings inside 90 % intervals."""
    with folders() as folder:
        for name in (MOVIELENS, DOUBAN):
            (found,) = run("intervals", name=name, folder=folder[name], probability=0.9)
            record("recommend", f"intervals | {name}", **found)
    for seed in range(3):
        of = {"name": "FilmTrust", "folder": str(data_folder() / "ratings"), "seed": seed}
        (found,) = run("intervals", probability=0.9, **of)
        record("recommend", f"intervals | FilmTrust, tenth of seed {seed}", **found)


def lists() -> None:
    """Ten items for each of 100,000 users out of 50,000, width 64: users a second, ours and implicit's."""
    if not rivals_here():
        return
    contenders = {
        "dmc": ("dmc", 100_000, 2),
        **{f"implicit, {batch:,} users a call": ("implicit", batch, 1) for batch in (1_000, 10_000, 100_000)},
        "implicit, 10,000 users a call, BLAS with two threads": ("implicit", 10_000, 2),
    }
    kept: dict[str, list[dict[str, float]]] = {case: [] for case in contenders}
    for _ in range(3):
        for case, (contender, batch, blas) in contenders.items():
            kept[case] += run("lists", blas, contender=contender, batch=batch)
    for case, results in kept.items():
        used = version(contenders[case][0])
        record("recommend", f"lists | {case}", **medians(results), rounds=len(results), version=used)


def deep_ratings() -> None:
    """MovieLens 100K, networks of width 256 without early stopping: test RMSE by steps; no, two and three cores."""
    import dmc
    from dmc import kernels, metrics
    from dmc._group import Share
    from dmc.recommend.network import TUNING
    from dmc.recommend.tables.vocabulary import Vocabulary
    from dmc.solver import initial

    train, test = movielens(str(data_folder() / "ml-100k"))
    users, rows = Vocabulary.learn(train.user)
    items, cols = Vocabulary.learn(train.item)
    shape = len(users), len(items)
    mean, unit = float(train.rating.mean()), float(train.rating.std())
    observed = dmc.Observations.from_entries(rows, cols, (train.rating - mean) / np.float32(unit), shape)
    places = users.positions(test.user), items.positions(test.item)
    known = places[1] >= 0
    asked, actual = tuple(place[known] for place in places), test.rating[known]
    counts = observed.pattern.row_counts, observed.pattern.column_counts
    biases = dict(zip(("row_bias", "column_bias"), (np.zeros(size, np.float32) for size in shape), strict=True))

    # As the Recommender trains, and without its regularisation: then the start has to be small, and the steps.
    for how, l2, scale, rate in (
        ("regularised", 1.3, TUNING.start_scale, TUNING.rate),
        ("not regularised", 0.0, 0.03, 1e-3),
    ):
        problem = dmc.MaskedLeastSquares(observed, l2=tuple(l2 * count**0.5 for count in counts))
        for depth in (0, 2, 3):
            drawn = initial.dealt_gaussian(Share.whole(shape[0]), shape[1], 256, depth, scale, 0, np.float32)
            start = replace(drawn, **biases)
            course: list[tuple[int, float, float]] = []

            def look(info: dmc.StepInfo, course=course) -> bool:
                predicted = np.clip(info.factors.at(*asked) * unit + mean, train.rating.min(), train.rating.max())
                fitted = metrics.rmse(info.factors.at(observed.rows, observed.cols), observed.values) * unit
                course.append((info.n_steps, round(metrics.rmse(predicted, actual), 4), round(fitted, 4)))
                return False

            with kernels.threads(THREADS):
                dmc.solve(problem, start, TUNING.step(rate), max_steps=1000, tol=0, callbacks=[look], check_every=20)
            at_step, lowest, _ = min(course, key=lambda look: look[1])
            record(
                "recommend",
                f"deep | {how} | {depth} cores",
                lowest_rmse=lowest,
                at_step=at_step,
                last_rmse=course[-1][1],
                last_training_rmse=course[-1][2],
                course=sorted(set(course)),
            )


@contextmanager
def folders() -> Iterator[dict[str, str]]:
    """Where each set is; the planted one is made there."""
    with tempfile.TemporaryDirectory() as made:
        subprocess.run([sys.executable, data_folder() / "planted.py", made], check=True)
        yield {MOVIELENS: str(data_folder() / "ml-100k"), DOUBAN: str(data_folder() / "douban"), PLANTED: made}


RUNS = {
    "ratings": ratings,
    "planted-ratings": planted_ratings,
    "intervals": intervals,
    "lists": lists,
    "deep-ratings": deep_ratings,
}

if __name__ == "__main__":
    main(RUNS)
