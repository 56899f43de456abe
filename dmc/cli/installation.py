"""What there is here, and whether it works: dmc demo, bench, doctor."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer

import dmc
from dmc.cli.interrupts import told_of_interrupts
from dmc.cli.output import Json, check_output, interactive, show, show_json


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to draw the photograph.")] = Path(
        "dmc-demo.png"
    ),
    as_json: Json = False,
) -> None:
    """Recover a planted matrix, and restore a photograph of which 70 % is missing."""
    check_output(output)
    found = {"planted": _demo_planted(), "photograph": _demo_photograph(output)}
    if as_json:
        show_json(found)


def _demo_planted() -> dict[str, object]:
    import numpy as np

    typer.echo(
        "A planted matrix: 2,000 × 1,500, rank 5, 10 % of its entries observed; told only that the rank is at most 10"
    )
    problem = dmc.datasets.planted((2000, 1500), 5, 0.1)
    began = time.perf_counter()
    model = dmc.MatrixCompletion(rank=10, verbose=interactive()).fit(problem.observations)
    seconds = time.perf_counter() - began
    truth = problem.A @ problem.B.T
    error = float(np.linalg.norm(model.complete() - truth) / np.linalg.norm(truth))
    show(
        [
            ("rank found", f"{model.rank_}"),
            ("relative error, all entries", f"{error:.1e}"),
            ("steps", f"{model.n_iter_:,}"),
            ("seconds", f"{seconds:.1f}"),
            ("status", str(model.status_)),
        ]
    )
    return {"relative_error": error, "rank": model.rank_, "seconds": seconds, "status": model.status_.name}


def _demo_photograph(output: Path) -> dict[str, object]:
    import numpy as np

    typer.echo("\nA photograph: 427 × 640 pixels, 70 % of them missing; each colour a matrix, no rank given")
    image, mask = dmc.datasets.photograph(0.3)
    began = time.perf_counter()
    restored, ranks = np.empty_like(image), []
    for colour in range(3):
        model = dmc.MatrixCompletion(verbose=interactive()).fit(image[..., colour], mask=mask)
        restored[..., colour] = np.where(mask, image[..., colour], np.clip(model.complete(), 0, 1))
        ranks.append(model.rank_)
    seconds = time.perf_counter() - began
    filled = np.where(mask[..., None], image, image[mask].mean(axis=0))
    ours, mean_fill = dmc.metrics.psnr(restored, image), dmc.metrics.psnr(filled, image)
    with told_of_interrupts():
        notes = (f"mean-fill: {mean_fill:.1f} dB", f"PSNR {ours:.1f} dB")
        dmc.plots.restoration(image, mask, restored, output, notes)
    show(
        [
            ("PSNR, missing pixels restored", f"{ours:.2f} dB"),
            ("PSNR, missing pixels filled with the mean", f"{mean_fill:.2f} dB"),
            ("gain", f"{ours - mean_fill:.2f} dB"),
            ("ranks of red, green, blue", ", ".join(map(str, ranks))),
            ("seconds", f"{seconds:.1f}"),
            ("before and after", str(output)),
        ]
    )
    return {
        "psnr": ours,
        "psnr_mean_fill": mean_fill,
        "ranks": ranks,
        "seconds": seconds,
        "figure": str(output),
    }


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
