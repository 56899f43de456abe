"""What the benches share: a record is one line of JSON with what is needed to judge it, and to run it again."""

from __future__ import annotations

import importlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from dmc import kernels

RESULTS = Path(__file__).parent / "results"


def record(bench: str, case: str, **figures: Any) -> None:
    """Append a result to bench/results/BENCH.jsonl, in place of an older one of the same case, and print it."""
    line = {
        "case": case,
        **{
            name: round(value, 6) if isinstance(value, float) and abs(value) > 1e-3 else value
            for name, value in figures.items()
        },
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _git("rev-parse", "--short", "HEAD") + ("+" if _git("status", "--porcelain", "dmc", "csrc") else ""),
        "kernel": kernels.chosen(),
        "cores": os.cpu_count(),
        "machine": _processor(),
        "versions": {name: version(name) for name in ("numpy", "scipy", "numba")},
    }
    path = RESULTS / f"{bench}.jsonl"
    kept = [row for row in load(bench) if row["case"] != case] if path.exists() else []
    path.write_text("".join(json.dumps(row) + "\n" for row in [*kept, line]))
    print(f"{bench}: {case}: " + ", ".join(f"{name} {line[name]}" for name in figures))


def load(bench: str) -> list[dict[str, Any]]:
    """The results of a bench, one dict for each case."""
    return [json.loads(line) for line in (RESULTS / f"{bench}.jsonl").read_text().splitlines()]


def cases(bench: str, prefix: str) -> dict[str, dict[str, Any]]:
    """The results whose case begins so, by what follows."""
    return {row["case"][len(prefix) :]: row for row in load(bench) if row["case"].startswith(prefix)}


def spread(function: Callable[[Any], Any], arguments: Iterable[Any], chunksize: int = 1) -> list[Any]:
    """In as many processes as there are cores, one thread each: seconds are those of one thread among others."""
    with ProcessPoolExecutor(os.cpu_count(), get_context("forkserver"), initializer=_one_thread) as executor:
        return list(executor.map(function, arguments, chunksize=chunksize))


def _one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    threadpool_limits(1)


def data_folder() -> Path:
    """The folder with the real ratings."""
    folder = Path(os.environ.get("DMC_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
    if not folder.is_dir():
        raise SystemExit(f"there is no folder {folder}: put the rating data there, or name their folder in DMC_DATA")
    return folder


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], capture_output=True, text=True, cwd=Path(__file__).parent.parent
    ).stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def main(runs: dict[str, Callable[[], None]]) -> None:
    """Run those that the command line names, or all."""
    for name in sys.argv[1:] or runs:
        if name not in runs:
            raise SystemExit(f"there is no run {name!r} here; there are {', '.join(runs)}")
        runs[name]()


def catalogue() -> dict[str, tuple[Path, str]]:
    """Of every run in this folder: its script, and what it asks, in a line; last the report, made from the others."""
    found = {}
    scripts = sorted(Path(__file__).parent.glob("[!_]*.py"), key=lambda path: (path.stem == "report", path.stem))
    for script in scripts:
        for name, run in importlib.import_module(script.stem).RUNS.items():
            if name in found:
                raise SystemExit(
                    f"both {found[name][0].name} and {script.name} have a run {name!r}; call one otherwise"
                )
            found[name] = (script, (run.__doc__ or "").partition("\n")[0])
    return found
