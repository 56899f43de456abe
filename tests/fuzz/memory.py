"""RLIMIT_AS in steps of a megabyte through a fit: each ends well, or in a MemoryError in words with a size.

`python -m fuzz.memory` prints what did not. Each step is a forked child, where the imports are done.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import dmc

SECONDS = 120  # that a step may take


def fits(lines: int = 400) -> dict[str, Callable[[], object]]:
    """By name, one of each kind."""
    rng = np.random.default_rng(0)
    low_rank = rng.standard_normal((lines, 4)) @ rng.standard_normal((4, lines))
    gapped = np.where(rng.random((lines, lines)) < 0.3, low_rank, np.nan)
    users, items = rng.integers(0, lines, 20 * lines), rng.integers(0, lines // 2, 20 * lines)
    pairs = {"user": users, "item": items}
    rated = pairs | {"rating": rng.integers(1, 6, len(users)) * 1.0}
    cube = np.where(
        rng.random((20, 20, 20)) < 0.5, np.einsum("ia,ja,ka->ijk", *rng.standard_normal((3, 20, 2))), np.nan
    )
    problem = dmc.MaskedLeastSquares(dmc.observe(gapped))
    start = dmc.Factors(rng.standard_normal((lines, 8)), (), rng.standard_normal((lines, 8)))
    return {
        "MatrixCompletion": lambda: dmc.MatrixCompletion(rank=6).fit(gapped).complete(),
        "TensorCompletion": lambda: dmc.TensorCompletion().fit(cube),
        "explicit": lambda: dmc.Recommender(rank=4).fit(rated, duplicates="last").recommend(n=3),
        "implicit": lambda: dmc.Recommender(rank=4, feedback="implicit").fit(pairs, duplicates="last").recommend(n=3),
        "solve": lambda: dmc.solve(problem, start, dmc.steps.Adam(), max_steps=100),
    }


def walk(fit: Callable[[], object], rooms: Iterator[float] | range) -> list[tuple[float, int, str]]:
    """The rooms (MB beyond what the process holds) in which it ended otherwise: room, exit status, last words."""
    found = []
    for room in rooms:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            os._exit(_limited(fit, room))
        os.close(writing)
        with os.fdopen(reading, "rb") as said:
            words = said.read().decode(errors="replace").strip()[-300:]
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status:
            found.append((room, status, words))
    return found


def _limited(fit: Callable[[], object], room: float) -> int:
    import signal

    signal.alarm(SECONDS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + int(room * 2**20),) * 2)
    try:
        fit()
    except MemoryError as told:
        return 0 if any(map(str.isdigit, str(told))) else 3
    except Warning:
        return 0
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}".encode())
        return 4
    return 0


def main(rooms: int = 120) -> int:
    import warnings

    warnings.simplefilter("ignore")
    wrong = 0
    for name, fit in fits().items():
        for before in ("fresh", "after a fit"):
            if before == "after a fit":
                fit()
            found = walk(fit, range(rooms))
            wrong += len(found)
            sys.stdout.write(f"{name}, {before}: {rooms} steps, {len(found)} ended otherwise\n")
            sys.stdout.writelines(f"  {room} MB: exit {status}, {words}\n" for room, status, words in found[:5])
            sys.stdout.flush()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
