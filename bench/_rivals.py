"""What the benches of the Recommender share: whether its rivals are installed, and answers from processes of their own.

The rivals (constraints-recommend.txt) have an environment of their own, which `make bench-recommend` makes.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from _contenders import THREADS

MOVIELENS, DOUBAN, PLANTED = "MovieLens 100K, u1", "Douban", "planted"
DISTRIBUTIONS = {
    "Cornac": "cornac",
    "cmfrec": "cmfrec",
    "LensKit": "lenskit",
    "Surprise": "scikit-surprise",
    "implicit": "implicit",
}


def grid(**choices: Any) -> list[dict[str, Any]]:
    """All combinations; what is not a list is the same in each."""
    lists = [values if isinstance(values, list) else [values] for values in choices.values()]
    return [dict(zip(choices, chosen, strict=True)) for chosen in itertools.product(*lists)]


def rivals_here() -> bool:
    """Whether all of them are installed; says so if not."""
    try:
        for name in DISTRIBUTIONS.values():
            metadata.version(name)
    except metadata.PackageNotFoundError:
        print("recommend: left out: the rivals are not in this environment; run: make bench-recommend")
        return False
    return True


def version(contender: str) -> str:
    """Of the package a contender comes from; those that are a few lines of NumPy have that of NumPy."""
    try:
        return metadata.version(DISTRIBUTIONS.get(contender, contender))
    except metadata.PackageNotFoundError:
        return f"bench, numpy {metadata.version('numpy')}"


def run(task: str, blas: int = THREADS, script: str = "_contenders.py", **arguments: Any) -> list[dict[str, float]]:
    """What a contender answers, from a process of its own."""
    threads = {f"{name}_NUM_THREADS": str(THREADS) for name in ("OMP", "RAYON", "LK", "MKL", "NUMBA")}
    ended = subprocess.run(
        [sys.executable, Path(__file__).with_name(script), json.dumps([task, arguments])],
        env=os.environ | threads | {"OPENBLAS_NUM_THREADS": str(blas)},
        capture_output=True,
        text=True,
    )
    if ended.returncode:
        raise SystemExit(f"{task} {arguments} failed:\n{ended.stderr}")
    return [json.loads(line) for line in ended.stdout.splitlines()]


def medians(results: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(result[name] for result in results) for name in results[0]}


def each(results: list[dict[str, float]], name: str) -> list[float]:
    """A figure of every split, fold or seed, to be kept beside their median."""
    return [round(result[name], 5) for result in results]
