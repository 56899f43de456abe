"""Fits that are killed again and again, and go on from their checkpoint: in the end all is as if none had been killed.

`python -m fuzz.checkpointed_fits` with tests/ on the path is the long form.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # what is forked below has no other threads

import numpy as np

import dmc
from dmc.solver import fingerprint

GAPS = 0.45  # share of a table that is missing
KEPT, RESULT = "fit.checkpoint", "result"


@cache
def _table(noise: float) -> Any:
    rng = np.random.default_rng(3)
    whole = rng.standard_normal((60, 3)) @ rng.standard_normal((3, 50)) + noise * rng.standard_normal((60, 50))
    return np.where(rng.random(whole.shape) < GAPS, np.nan, whole)


@cache
def _ratings() -> dict[str, Any]:
    rng = np.random.default_rng(4)
    users, items = np.nonzero(rng.random((150, 80)) < 0.3)
    likes = rng.standard_normal((150, 2)) @ rng.standard_normal((2, 80))
    ratings = 3 + likes[users, items] + 0.5 * rng.standard_normal(len(users))
    return {"user": users, "item": items, "rating": ratings.astype(np.float32)}


def _solved(callbacks: list[Any]) -> Any:
    problem = dmc.MaskedLeastSquares(dmc.observe(_table(0.3)))
    start = dmc.initial.gaussian((60, 50), 4, 2, 0.3)
    step = dmc.steps.Backtracking(dmc.steps.Adam())
    return dmc.solve(problem, start, step, max_steps=300, tol=0, callbacks=callbacks).factors.arrays


def _completed(callbacks: list[Any]) -> Any:
    model = dmc.MatrixCompletion(2, callbacks=callbacks).fit(_table(0.3)[:40, :30])
    return model.complete(), model.n_iter_, model.rank_, [record["value"] for record in model.history_]


def _tensor(callbacks: list[Any]) -> Any:
    return dmc.TensorCompletion(tube=2, callbacks=callbacks).fit(_table(0.1).reshape(12, 10, 25)).complete()


def _recommender(**settings: Any) -> Callable[[list[Any]], Any]:
    def fit(callbacks: list[Any]) -> Any:
        table = _ratings()
        if "feedback" in settings:
            table = {name: column[table["rating"] > 3] for name, column in table.items() if name != "rating"}
        model = dmc.Recommender(**settings, callbacks=callbacks).fit(table)
        course = [
            [float(value) for value in record.values() if not isinstance(value, str)] for record in model.history_
        ]
        return model.user_factors, model.item_factors, course

    return fit


FITS: dict[str, Callable[[list[Any]], Any]] = {
    "solve": _solved,
    "matrix": _completed,
    "tensor": _tensor,
    "bayes": _recommender(intervals=True, ensemble=2),
    "network": _recommender(model="network", rank=3),
    "clicks": _recommender(feedback="implicit"),
}


@cache
def whole(name: str) -> tuple[str, float]:
    """What a fit gives that nobody kills, as a digest; and the seconds that it takes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        FITS[name]([])  # what is made once
        began = time.monotonic()
        return fingerprint.digest(FITS[name]([])), time.monotonic() - began


def killed(name: str, folder: Path, rng: random.Random, kills: int) -> list[str]:
    """What is wrong after so many kills, at random moments, and a fit that is left alone."""
    expected, seconds = whole(name)
    for i in range(kills + 1):
        pid = os.fork()
        if pid == 0:
            _fit(name, folder)
        if i < kills:
            time.sleep(rng.uniform(0, seconds))
            os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status not in (0, -signal.SIGKILL):
            return [f"fit {i} ended with {status}: {(folder / RESULT).read_text()}"]
    found = (folder / RESULT).read_text()
    left = sorted(path.name for path in folder.iterdir() if path.name not in (KEPT, RESULT))
    return [f"the answer is another one: {found}"] * (found != expected) + [f"{one} stays" for one in left]


def _fit(name: str, folder: Path) -> None:
    """In a process of its own, which writes at every look, and what it has come to."""
    status = 1
    try:
        warnings.simplefilter("ignore")
        result = fingerprint.digest(FITS[name]([dmc.callbacks.Checkpoint(folder / KEPT, seconds=0)]))
        (folder / RESULT).write_text(result)
        status = 0
    except BaseException:
        (folder / RESULT).write_text(traceback.format_exc())
    finally:
        os._exit(status)


def main() -> None:
    """Kill many, and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60, help="fits")
    parser.add_argument("--kills", type=int, default=4, help="of each")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    faults = 0
    for i in range(given.count):
        name, seed = list(FITS)[i % len(FITS)], given.seed + i
        with tempfile.TemporaryDirectory() as folder:
            wrong = killed(name, Path(folder), random.Random(seed), given.kills)
        faults += bool(wrong)
        for line in wrong:
            print(f"{name}, seed {seed}: {line}")
    print(f"{given.count * given.kills} kills of {given.count} fits: {faults} went wrong")
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    main()
