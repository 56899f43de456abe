"""What is installed here, and the benches of the source tree: dmc doctor, bench."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer

import dmc
from dmc.cli.output import Json, show, show_json


def bench(
    names: Annotated[list[str] | None, typer.Argument(help="Benches to run, or 'all'. Default: list them.")] = None,
) -> None:
    """Run benches of the source tree, each in its own process.

    They write to bench/results.
    """
    folder = Path(__file__).parents[2] / "bench"
    if not (folder / "_harness.py").is_file():
        raise FileNotFoundError(
            "the benches are in dmc's source tree; run this in an editable install (pip install -e .)"
        )
    sys.path.insert(0, str(folder))
    runs = importlib.import_module("_harness").catalogue()
    if not names:
        show([(name, question) for name, (_, question) in runs.items()])
        return
    for name in names:
        if name not in (*runs, "all"):
            raise ValueError(f"there is no bench {name!r}; `dmc bench` lists all of them")
    for name in runs if "all" in names else names:
        ended = subprocess.run([sys.executable, str(runs[name][0]), name])
        if ended.returncode:
            raise typer.Exit(ended.returncode)


def doctor(as_json: Json = False) -> None:
    """Show versions, processors, and which kernel is used and why."""
    from threadpoolctl import threadpool_info

    serving = dmc.kernels.chosen()
    report: dict[str, Any] = {
        "dmc": dmc.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {platform.system()}",
        "cores": os.cpu_count(),
        "kernel": serving,
        "kernels": [
            {"name": k.name, "available": k.available, "reason": k.reason, "remedy": k.remedy}
            for k in dmc.kernels.report()
        ],
        "cuda": _cuda(),
        "threads": {
            f"{'kernels' if pool['internal_api'] == 'dmc' else pool['user_api']} ({Path(pool['filepath']).name})": pool[
                "num_threads"
            ]
            for pool in threadpool_info()
        },
        "versions": {
            name: _version(name) for name in ("numpy", "scipy", "numba", "scikit-learn", "torch", "matplotlib")
        },
    }
    if as_json:
        show_json(report)
        return
    shown = {"dmc": "dmc", "python": "python", "machine": "machine", "processors": "cores"}
    show([(name, str(report[key])) for name, key in shown.items()])
    typer.echo("")
    for kernel in dmc.kernels.report():
        state = "serves" if kernel.name == serving else "available" if kernel.available else "missing"
        typer.echo(
            f"  kernel {kernel.name:10} {state:10} {kernel.reason}" + (f"; {kernel.remedy}" if kernel.remedy else "")
        )
    gpu = report["cuda"]
    state = "serves" if gpu["used"] else "missing"
    typer.echo(f"  {'CUDA':17} {state:10} {gpu['reason']}" + (f"; {gpu['remedy']}" if gpu["remedy"] else ""))
    typer.echo("")
    show(
        [
            *((f"threads of {name}", str(n)) for name, n in report["threads"].items()),
            *report["versions"].items(),
        ]
    )


def _cuda() -> dict[str, object]:
    """Whether the CUDA kernels serve torch tensors on a GPU here, why or why not, and what to do."""
    from dmc import _extensions

    obstacle = _extensions.cuda_obstacle()
    if obstacle is None and importlib.util.find_spec("torch") is None:
        obstacle = _extensions.Obstacle("torch is not installed", "run: pip install 'dmc[torch]'")
    if obstacle is None:  # only now: torch takes seconds to load
        obstacle = importlib.import_module("dmc.kernels.torch_compiled").cuda_obstacle()
    if obstacle is not None:
        return {"used": False, **obstacle._asdict()}
    return {"used": True, "reason": "dmc._cuda, for torch tensors on a GPU", "remedy": ""}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
