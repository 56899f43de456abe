"""Does the Recommender's deep network keep what it reached? Its held-out error step by step, and the end of fits.

Beside the rule with which it trains, plain Adam at a constant rate, as it trained before. All constants
were chosen on other ratings: held-out tenths of the training parts of MovieLens u1, Douban and instruments.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

import dmc
from _contenders import Ratings
from _harness import main, record
from _rivals import DOUBAN, MOVIELENS
from dmc import metrics
from dmc.recommend import network
from sparse_ratings import splits
from tune import replaced

SETS = (MOVIELENS, "FilmTrust", "MovieTweetings 100K")
SEEDS = range(5)
RANKS, DEPTHS = (16, 128), (0, 2, 3)  # widths 32 and 256
STEPS = 200
RULES: dict[str, dict[str, Any]] = {
    "as it trains": {},
    "plain Adam": {"rate": 0.03, "constant_steps": 10**9, "slack": 1e30},
}


def by(rule: str, **settings: Any) -> AbstractContextManager[None]:
    return replaced(network.TUNING, replace(network.TUNING, **RULES[rule], **settings))


def curves() -> None:
    """MovieLens 100K, FilmTrust, MovieTweetings: the held-out error over 200 steps without stopping, 5 seeds."""
    for rank, name, depth, rule in product(RANKS, SETS, DEPTHS, RULES):
        curves_of(name, rank, depth, rule)


def curves_of(name: str, rank: int, depth: int, rule: str) -> None:
    errors, steps = zip(*(curve(train, rule, rank, depth, seed) for seed, train, _ in parts(name)), strict=True)
    leaps, ends = zip(*(leap_and_end(np.array(course)) for course in errors), strict=True)
    record(
        "network_curves",
        f"curve | {name} | width {2 * rank} | depth {depth} | {rule}",
        lowest=[min(course) for course in errors],
        leaps=leaps,
        ends=ends,
        steps=steps[0],
        errors=errors,
    )


def curve(train: Ratings, rule: str, rank: int, depth: int, seed: int) -> tuple[list[float], list[int]]:
    """Errors on the tenth that the fit itself holds out, at its looks, with no patience to end it."""
    course: list[dict[str, Any]] = []
    with by(rule, max_steps=STEPS, patience=STEPS + 1, check_every=5):
        model = dmc.Recommender(
            model="network",
            rank=rank,
            depth=depth,
            random_state=seed,
            n_threads=1,
            callbacks=[lambda info: info.n_steps >= STEPS],  # before it is trained again on all ratings
        )
        course = model.fit(train._asdict()).history_
    return [round(look["validation_rmse"], 4) for look in course], [look["n_steps"] for look in course]


def leap_and_end(course: np.ndarray) -> tuple[float, float]:
    """The highest error after the lowest, and the last, over the lowest."""
    at = int(np.argmin(course))
    return round(float(course[at:].max() / course[at]), 4), round(float(course[-1] / course[at]), 4)


def parts(name: str) -> Iterator[tuple[int, Ratings, Ratings]]:
    """Seed, training and test part: of each seed another split, or another start where the split is one."""
    found = list(splits(name))
    for seed in SEEDS:
        yield seed, *found[seed if len(found) > 1 else 0]


def depths() -> None:
    """The same sets and Douban: test RMSE and seconds of complete fits with no, two and three cores, by both rules."""
    for rank, name, depth in product(RANKS, (*SETS, DOUBAN), DEPTHS):
        fits_of(name, rank, depth)


def fits_of(name: str, rank: int, depth: int) -> None:
    kept: dict[str, list[tuple[float, float, int]]] = {rule: [] for rule in RULES}
    for seed, train, test in parts(name):
        for rule in RULES:
            kept[rule].append(fitted(train, test, rule, rank, depth, seed))
    before = [seconds for _, seconds, _ in kept["plain Adam"]]
    for rule, results in kept.items():
        errors, seconds, counts = zip(*results, strict=True)
        record(
            "network_curves",
            f"fit | {name} | width {2 * rank} | depth {depth} | {rule}",
            test_rmse=statistics.mean(errors),
            deviation=statistics.stdev(errors),
            test_rmse_of_seeds=[round(error, 5) for error in errors],
            seconds=statistics.median(seconds),
            seconds_ratio=statistics.median(a / b for a, b in zip(seconds, before, strict=True)),
            steps=counts,
        )


def fitted(train: Ratings, test: Ratings, rule: str, rank: int, depth: int, seed: int) -> tuple[float, float, int]:
    """Test RMSE, seconds, and steps of the final training."""
    model = dmc.Recommender(model="network", rank=rank, depth=depth, random_state=seed, n_threads=1)
    with by(rule):
        began = time.perf_counter()
        model.fit(train._asdict())
        seconds = time.perf_counter() - began
    predicted = model.predict({"user": test.user, "item": test.item})["prediction"]
    return metrics.rmse(predicted, test.rating), seconds, model.n_iter_


RUNS = {"network-curves": curves, "network-depths": depths}

if __name__ == "__main__":
    main(RUNS)
