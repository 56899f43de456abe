"""Thousands of small odd matrices: does a fit ever fail in another way than by a sentence, predict NaN, or hang?"""

from __future__ import annotations

import re
import signal
import time
import warnings
from collections import Counter
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

import dmc
from _harness import record, spread

N_PROBLEMS, SEED, LIMIT = 10_000, 1_000_000, 20  # seconds
REFUSED = "is observed; at least one has to be"  # what a ValueError may say of these problems


class Hang(BaseException):
    """A fit took longer than LIMIT; no `except Exception` stops it."""


@dataclass(frozen=True)
class Found:
    """What came of a problem: its seed, "" or what went wrong, and the seconds it took."""

    seed: int
    fault: str
    seconds: float


def problem(seed: int) -> tuple[NDArray[Any], dict[str, Any]]:
    """A matrix of 2 … 60 rows and columns with NaN where it was not observed, and settings of a fit."""
    rng = np.random.default_rng(seed)
    m, n = (round(size) for size in np.exp(rng.uniform(np.log(2), np.log(60), 2)))
    rank = int(rng.integers(1, min(m, n) + 1)) if rng.random() < 0.5 else int(rng.integers(1, min(m, n, 4) + 1))
    X = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n))
    X *= 10.0 ** -rng.uniform(0, 12, n) if rng.random() < 0.1 else 1
    X += rng.choice([0, 0, 0.1, 1]) * rng.standard_normal((m, n))
    X = rng.choice([_plain, _discrete, _zeros, _constant, _levels, _gross])(X, rng)
    X *= rng.choice([1, 1, 10.0 ** rng.uniform(-30, 30)])
    hidden = rng.random((m, n)) >= rng.choice([rng.uniform(0.01, 1), rng.uniform(0.1, 0.6), 1])
    hidden |= rng.choice([0, 0, 0.2]) > rng.random((m, 1))  # rows without any entry
    hidden |= rng.choice([0, 0, 0.2]) > rng.random((1, n))
    if rng.random() < 0.02:
        hidden[:] = True
        hidden[rng.integers(m), rng.integers(n)] = False  # a single entry
    X = np.where(hidden, np.nan, X).astype(rng.choice([np.float32, np.float64]))
    return X, _settings(rng, min(m, n))


def _settings(rng: np.random.Generator, least: int) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if rng.random() < 0.2:
        settings["rank"] = int(rng.integers(1, least + 1))
    if rng.random() < 0.2:
        settings["loss"] = "robust"
    if rng.random() < 0.3:
        settings["scale"] = str(rng.choice(["columns", "rows", "none"]))
    return settings


# --- kinds of entries


def _plain(X: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    return X


def _discrete(X: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    return np.round(X * rng.choice([0.3, 1, 3]))


def _zeros(X: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    return np.where(rng.random(X.shape) < rng.uniform(0.5, 1), 0, X)


def _constant(X: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Some columns, or some rows, are the same throughout; sometimes all are."""
    share = rng.choice([0.3, 1])
    X = np.where(rng.random((1, X.shape[1])) < share, rng.choice([0, 1, 1e6]), X)
    return X if rng.random() < 0.5 else np.where(rng.random((len(X), 1)) < 0.3, X[:, :1], X)


def _levels(X: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Columns in units of their own."""
    return X * 10.0 ** rng.uniform(-4, 4, X.shape[1]) + 10.0 ** rng.uniform(-4, 4, X.shape[1])


def _gross(X: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    return np.where(rng.random(X.shape) < 0.03, 10.0 ** rng.uniform(1, 8) * X, X)


# --- the fits


def fault(X: NDArray[Any], settings: dict[str, Any]) -> str:
    """What goes wrong in a fit and in its predictions; empty if nothing does, or if it is refused with a sentence."""
    try:
        model = dmc.MatrixCompletion(**settings).fit(X)
        answers = {
            "complete": model.complete(),
            "predict": model.predict(*np.indices(X.shape).reshape(2, -1)),
            "transform": model.transform(X),
        }
    except Exception as error:  # what else is raised is what is looked for
        return "" if type(error) is ValueError and REFUSED in str(error) else repr(error)
    for name, answer in answers.items():
        if not np.isfinite(answer).all():
            return f"{name} has NaN or inf"
    return ""


def tried(seed: int) -> Found:
    X, settings = problem(seed)

    def stop(signum: int, frame: FrameType | None) -> None:
        raise Hang

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    began = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = fault(X, settings)
    except Hang:
        found = f"longer than {LIMIT} s"
    finally:
        signal.alarm(0)
    return Found(seed, found, time.perf_counter() - began)


def random_problems(count: int = N_PROBLEMS) -> None:
    """10,000 small odd matrices: how many fits end without finite predictions or a worded error."""
    found = spread(tried, range(SEED, SEED + count), chunksize=20)
    wrong = [one for one in found if one.fault]
    for one in wrong:
        print(f"seed {one.seed}: {one.fault}")
    kinds = Counter(re.sub(r"[-+\d.e]+", "…", one.fault) for one in wrong)
    seconds = [one.seconds for one in found]
    record(
        "recovery",
        "random problems",
        problems=count,
        faults=len(wrong),
        kinds=dict(kinds),
        seeds=[one.seed for one in wrong[:20]],
        median_seconds=float(np.median(seconds)),
        largest_seconds=max(seconds),
    )
