"""Would the tuned constants be chosen again? Each is judged beside a smaller and a larger value, all else as it is.

Judges and data are those of _judges.py. Left out are constants that bound memory, belong to a device, or say when a
user is warned: no loss tells of those.
"""

from __future__ import annotations

import importlib
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

import _judges
from _harness import main, record
from _judges import Trials, rated
from _rivals import DOUBAN, MOVIELENS


@dataclass(frozen=True)
class Concern:
    """An instance of tuned constants, its judge, and of each field other values: below and above the present one."""

    module: str
    instance: str
    trials: Callable[[], Trials]
    alternatives: dict[str, tuple[Any, ...]]

    def present(self) -> Any:
        return getattr(importlib.import_module(self.module), self.instance)


def of_completion(instance: str, trials: Callable[[], Trials], **alternatives: tuple[Any, ...]) -> Concern:
    return Concern("dmc.completion.tuning", instance, trials, alternatives)


def of_ratings(module: str, trials: Callable[[], Trials], **alternatives: tuple[Any, ...]) -> Concern:
    return Concern(f"dmc.recommend.{module}", "TUNING", trials, alternatives)


RATINGS = partial(rated, _judges.rating_error)
# fmt: off
CONCERNS = {
    "rank-search": of_completion(
        "RANK_SEARCH", _judges.planted, path_decay=(0.76, 0.88),
        rounds=(5, 40), min_oversampling=(1.02, 1.1), ample_oversampling=(1.5, 3.0), signflip_ratio=(1.05, 1.2),
        singular_value_gap=(2.0, 5.0), exact_gap=(1e2, 1e4), as_good=(0.003, 0.03),
        max_held_out=(3_000, 30_000), max_held_out_share=(0.1, 0.3), min_spare_entries=(1.1, 1.5),
    ),
    "restarts": of_completion(
        "RESTARTS", _judges.planted, wrong_turn_ratio=(0.3, 0.6), patience=(1.0, 4.0), worthwhile=(0.7, 1.0),
        doubtful=(2, 5), little=(1e-5, 1e-3),
    ),
    "selection": of_completion(
        "SELECTION", _judges.tables_and_planted, parts=(((2_000, 5), (8_000, 3)), ((12_000, 5), (50_000, 3))),
        narrow_columns=(32, 128), tall_ratio=(5, 20), max_width=(16, 64), sure_entries=(10.0, 40.0),
        sampled_rows=(10, 40), min_sampled_rows=(500, 2_000), min_noise=(0.003, 0.03), overwhelming_gain=(1.0, 4.0),
        hopeless_ratio=(1.05, 1.2),
    ),
    "scaling": of_completion("SCALING", _judges.tables_and_planted, min_gain=(0.2, 1.0), min_entries=(3, 10)),
    "factor-analysis": of_completion(
        "FACTOR_ANALYSIS", _judges.hidden_entries, loading_precision=(0.3, 3.0), noise_entries=(0.0, 20.0),
        min_information=(0.03, 0.3), tol=(3e-4, 3e-3), max_sweeps=(100, 400), min_sweeps=(6, 24),
        sweeps_from_sample=(3,), watched=(2_000, 20_000),
    ),
    "robust": of_completion(
        "ROBUST", _judges.outliers, deviations=(4.0, 7.0), rounds=(5, 20), reweighted=(3, 12), freedom=(1.0, 4.0),
        path_decay=(0.7, 0.92), path_steps=(50, 200), path_patience=(4, 16), path_min_change=(3e-4, 3e-3),
        path_matched=(1e-7, 1e-5), path_min_entries=(5, 20), path_max_ratio=(5.0, 20.0), held_out_share=(0.03, 0.1),
    ),
    "variational": of_ratings(
        "bayesian", RATINGS, min_start_width=(4, 8), max_start_width=(8, 16),
        entries_per_direction=(8, 18), growth=(1.25, 2.0), min_alive_share=(0.8, 0.95),
        min_signal_to_noise=(0.6, 1.0), new_variance=(0.1, 1.0), sweeps_before_priors=(1, 6),
        sweeps_before_growth=(3, 10), max_sweeps=(40, 160), tol=(0.02, 0.08), noise_tol=(0.003, 0.03),
        max_contraction=(0.8, 0.95), watched_entries=(5_000, 80_000),
    ),
    "priors": of_ratings(
        "factor_posterior", RATINGS, start_size=(0.03, 0.3), start_variance=(0.3, 3.0),
        reliability_entries=(10.0, 160.0),
    ),
    "cold-start": of_ratings("factor_posterior", _judges.cold, cold_start_ridge=(0.2, 2.0)),
    "presence": of_ratings(
        "presence_features", RATINGS, max_coordinates=(24, 96), count_power=(0.0, 0.5),
        power_steps=(2, 8), max_level=(2.0, 5.0),
    ),
    "noise-free": of_ratings(
        "noise_free", _judges.noise_free, max_steps=(20, 100), match_tol=(1e-6, 1e-4), min_oversampling=(1.1, 1.5),
        min_variance_share=(1e-5, 1e-3), min_information=(0.02, 0.1),
    ),
    "implicit": of_ratings("implicit", _judges.clicked, max_sweeps=(15, 60), tol=(3e-4, 3e-3)),
    "implicit-search": of_ratings(
        "implicit_search", _judges.clicked, unobserved_ratio=(5.0, 20.0), max_unobserved_weight=(0.25, 1.0),
        ridge=(0.012, 0.048), small_data_ratio=(2.0, 8.0), min_ridge_ratio=(1 / 32, 1 / 8), max_ridge_ratio=(4.0, 16.0),
        long_step=(1.5, 3.0), short_step=(1.2, 2.0), held_out=(0.05, 0.2), max_judges=(500, 8_000), places=(20, 100),
        first_rank=(32, 128), max_rank=(512, 2048), first_sweeps=(2, 8), more_sweeps=(2, 6),
    ),
    "network": of_ratings(
        "network", partial(rated, partial(_judges.rating_error, model="network"), (MOVIELENS, DOUBAN)),
        rank=(8, 32), depth=(2, 4), l2=(0.9, 1.9), validation_fraction=(0.05, 0.2), start_scale=(0.2, 0.45),
        rate=(0.015, 0.06), constant_steps=(20, 80), slack=(1e-4, 1e-2), patience=(20, 80), check_every=(2, 10),
    ),
    "intervals": of_ratings(
        "intervals", partial(rated, _judges.interval_score, (MOVIELENS, DOUBAN, "FilmTrust")), held_out=(0.05, 0.2),
        max_held_out=(5_000, 80_000), max_groups=(5, 20), min_group=(200, 800), min_scale=(1e-4, 1e-2),
    ),
    "list-ranking": of_ratings(
        "list_ranking", partial(rated, _judges.list_loss, (MOVIELENS, DOUBAN, "FilmTrust", "MovieTweetings 100K")),
        rank=(32, 128), rating_share=(0.125, 0.5), full_gain=(0.06, 0.25), held_out=(0.05, 0.2),
        max_held_out=(5_000, 80_000),
    ),
}
# fmt: on


# --- trying


@contextmanager
def replaced(present: Any, other: Any) -> Iterator[None]:
    """Every name of a loaded module of dmc that stands for the one instance stands for the other in here."""
    _swap(present, other)
    try:
        yield
    finally:
        _swap(other, present)  # also in modules that were loaded meanwhile


def _swap(old: Any, new: Any) -> None:
    for module in [module for name, module in sys.modules.items() if name.split(".")[0] == "dmc"]:
        for name in [name for name, value in vars(module).items() if value is old]:
            setattr(module, name, new)


def compare(concern: Concern, field: str) -> Iterator[dict[str, Any]]:
    """Of each alternative of a field: losses and seconds over those of the present value, in turns on the same data.

    The losses are geometric means over the trials of a data set, and `ratio` is one over the data sets.
    """
    present, seconds = concern.present(), []
    losses: dict[str, list[tuple[float, ...]]] = {}
    settings = [present, *(replace(present, **{field: value}) for value in concern.alternatives[field])]
    for data, trial in concern.trials():
        if not seconds:
            trial()  # what is loaded at the first use
        found = []
        for setting in settings:
            began = time.perf_counter()
            with replaced(present, setting):
                found.append((trial(), time.perf_counter() - began))
        reached, took = zip(*found, strict=True)
        losses.setdefault(data, []).append(reached)
        seconds.append(took)
    logs = {data: np.log(of_trials).mean(axis=0) for data, of_trials in losses.items()}  # losses are of all sizes
    total = np.sum(seconds, axis=0)
    for i, value in enumerate(concern.alternatives[field], start=1):
        gains = {data: float(log[i] - log[0]) for data, log in logs.items()}
        yield {
            "value": value,
            "present": getattr(present, field),
            "losses": {data: float(f"{np.exp(log[i]):.5g}") for data, log in logs.items()},
            "ratios": {data: round(float(np.exp(gain)), 4) for data, gain in gains.items()},
            "ratio": float(np.exp(np.mean(list(gains.values())))),
            "seconds_ratio": float(total[i] / total[0]),
        }


def run_of(name: str, concern: Concern) -> Callable[[], None]:
    def run() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of poor fits; their losses show it
            for field in concern.alternatives:
                for found in compare(concern, field):
                    record("tune", f"{name} | {field} | {found['value']}", **found)

    run.__doc__ = f"Loss with other values of {', '.join(concern.alternatives)}."
    return run


RUNS = {f"tune-{name}": run_of(name, concern) for name, concern in CONCERNS.items()}

if __name__ == "__main__":
    main(RUNS)
