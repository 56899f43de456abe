"""What a checkpoint costs a fit, and how much is lost by a kill.

The fits are of seconds, where the one write at the end weighs most. Costs are of processor time, with and without a
checkpoint in turn. Kills come at random moments of a process that writes sixty times a fit.
"""

import os
import random
import signal
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import dmc
from _harness import main, record

KILLS, PAIRS = 3, 2
SECONDS = 60.0  # as a Checkpoint has it, unless it is told


def solved(callbacks: list[Any]) -> Any:
    observed = dmc.datasets.planted((1500, 1200), 10, 0.3).observations
    start = dmc.initial.gaussian(observed.shape, 20, 2, 0.1)
    return dmc.solve(
        dmc.MaskedLeastSquares(observed), start, dmc.steps.Adam(), max_steps=400, tol=0, callbacks=callbacks
    ).factors.U


def completed(callbacks: list[Any]) -> Any:
    rng = np.random.default_rng(5)
    whole = rng.standard_normal((300, 8)) @ rng.standard_normal((8, 200)) + 0.5 * rng.standard_normal((300, 200))
    table = np.where(rng.random(whole.shape) < 0.4, whole, np.nan)
    return dmc.MatrixCompletion(callbacks=callbacks).fit(table).factors_.V


def ratings(**settings: Any) -> Callable[[list[Any]], Any]:
    def fit(callbacks: list[Any]) -> Any:
        rng = np.random.default_rng(6)
        users, items = np.unique(rng.integers(0, [6000, 1500], (400_000, 2)), axis=0).T
        likes = np.einsum("ij,ij->i", rng.standard_normal((6000, 8))[users], rng.standard_normal((1500, 8))[items])
        table = {"user": users, "item": items, "rating": (3 + likes + rng.standard_normal(len(users))).astype("f4")}
        if "feedback" in settings:
            table = {name: table[name][likes > 1] for name in ("user", "item")}
        return dmc.Recommender(**settings, callbacks=callbacks).fit(table).item_factors

    return fit


FITS = {
    "solve": solved,
    "MatrixCompletion": completed,
    "Recommender, bayes": ratings(),
    "Recommender, network": ratings(model="network", rank=8),
    "Recommender, clicks": ratings(feedback="implicit", rank=64),
}


def cost() -> None:
    """CPU seconds with a checkpoint over those without, and the size of its file."""
    for name, fit in FITS.items():
        fit([])
        ratios, plain = [], []
        for _ in range(PAIRS):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "checkpoint"
                spent = []
                for callbacks in ([], [dmc.callbacks.Checkpoint(path, SECONDS)]):
                    began = time.process_time()
                    fit(callbacks)
                    spent.append(time.process_time() - began)
                ratios.append(spent[1] / spent[0])
                plain.append(spent[0])
                size = path.stat().st_size
        record(
            "checkpoints",
            f"cost | {name}",
            ratio=float(np.median(ratios)),
            least=min(ratios),
            most=max(ratios),
            seconds_of_processor=float(np.median(plain)),
            file_bytes=size,
        )


def kills() -> None:
    """A fit that is killed once and resumed: whether the answer is the same, and the share of steps taken twice."""
    for name, fit in FITS.items():
        steps: list[int] = []
        began = time.perf_counter()
        expected = fit([_counting(steps)])
        seconds, whole, rng, lost, same = time.perf_counter() - began, len(steps), random.Random(1), [], True
        for _ in range(KILLS):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "checkpoint"
                before = _killed(fit, path, rng.uniform(0.1, 0.9) * seconds, seconds / 60, Path(folder) / "steps")
                after: list[int] = []
                same &= bool(np.array_equal(fit([_counting(after), dmc.callbacks.Checkpoint(path)]), expected))
            lost.append((before + len(after) - whole) / whole)
        record(
            "checkpoints",
            f"kills | {name}",
            same=same,
            lost_share=float(np.mean(lost)),
            most_lost=max(lost),
            kills=KILLS,
            interval_share=1 / 60,
            seconds=seconds,
        )


def _counting(steps: list[int]) -> Callable[[Any], None]:
    """Takes down looks."""
    return lambda info: steps.append(info.n_steps) if info.status is None else None


def _killed(fit: Callable[[list[Any]], Any], path: Path, after: float, interval: float, counted: Path) -> int:
    """In a fork that is killed: how many looks it came to."""
    pid = os.fork()
    if pid == 0:
        with open(counted, "ab", buffering=0) as file:
            fit([lambda info: file.write(b".") and None, dmc.callbacks.Checkpoint(path, interval)])
        os._exit(0)
    time.sleep(after)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return counted.stat().st_size if counted.exists() else 0


RUNS = {"checkpoint_cost": cost, "checkpoint_kills": kills}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(RUNS)
