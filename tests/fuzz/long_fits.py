"""Fits that keep checkpoints, for somebody to kill: run again, they end as if nothing had been."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import dmc
from fuzz.scenes import table

Fit = Callable[[Path], np.ndarray]


class LongFit(NamedTuple):
    """`fit` keeps its checkpoint in a folder, where `files` says what may stand, and goes on from it."""

    name: str
    fit: Fit
    files: Callable[[str], bool]


def _solved(folder: Path) -> np.ndarray:
    observed = dmc.datasets.planted((30, 20), 2, 0.8).observations
    problem, start = dmc.MaskedLeastSquares(observed), dmc.initial.spectral(observed, 2)
    kept = dmc.callbacks.Checkpoint(folder / "fit.checkpoint", seconds=0)
    return dmc.solve(problem, start, dmc.steps.Adam(), max_steps=150, tol=0, callbacks=[kept]).factors.U


def _recommended(folder: Path) -> np.ndarray:
    kept = dmc.callbacks.Checkpoint(folder / "fit.checkpoint", seconds=0)
    model = dmc.Recommender(rank=2, random_state=0, n_threads=1, callbacks=[kept])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(table(300)).user_factors


def _distributed(folder: Path) -> np.ndarray:
    import pyarrow as pa

    from dmc.distributed import Recommender

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Recommender(rank=2, random_state=0).fit(pa.table(table(300)), checkpoint=folder)
    return model.own_.user_factors


def _of_processes(name: str) -> bool:
    return name == "LATEST.json" or name.endswith(("-all.safetensors", "-rows0.safetensors"))


def long_fits() -> Iterator[LongFit]:
    """All of them."""
    yield LongFit("solve", _solved, "fit.checkpoint".__eq__)
    yield LongFit("Recommender", _recommended, "fit.checkpoint".__eq__)
    yield LongFit("distributed.Recommender", _distributed, _of_processes)


def beside(fit: LongFit, folder: Path) -> list[str]:
    """What stands in the folder that is no checkpoint."""
    return sorted(name for name in os.listdir(folder) if not fit.files(name))
