"""The command line: dmc demo | fit | predict | recommend | evaluate | bench | doctor."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import io
import json
import os
import platform
import subprocess
import sys
import time
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

from dmc import __version__, _compiled, datasets, evaluation, kernels, metrics, plots
from dmc.estimator import MatrixCompletion
from dmc.ratings import Table
from dmc.recommender import Recommender

app = typer.Typer(
    help="Compressed deep matrix completion: fill in a matrix from few of its entries.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="End with one line of JSON, for machines.")]
UserColumn = Annotated[str, typer.Option("--user", help="Column of the users.")]
ItemColumn = Annotated[str, typer.Option("--item", help="Column of the items.")]
RatingColumn = Annotated[str, typer.Option("--rating", help="Column of the ratings.")]


def main() -> None:
    """Run the command line; what goes wrong is said in one sentence, with exit status 1."""
    warnings.showwarning = lambda message, *_, **__: typer.echo(f"dmc: {message}", err=True)
    try:
        app()
    except (ValueError, TypeError, OSError, ImportError, MemoryError, FloatingPointError) as error:
        typer.echo(f"dmc: {error}", err=True)
        sys.exit(1)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to draw the photograph.")] = Path(
        "dmc-demo.png"
    ),
    as_json: Json = False,
) -> None:
    """Recover a planted matrix, and restore a photograph of which 70 % is missing."""
    _check_output(output)
    found = {"planted": _demo_planted(), "photograph": _demo_photograph(output)}
    if as_json:
        typer.echo(json.dumps(found))


def _demo_planted() -> dict[str, Any]:
    typer.echo(
        "A planted matrix: 2,000 × 1,500, rank 5, 10 % of its entries observed; told only that the rank is at most 10"
    )
    problem = datasets.planted((2000, 1500), 5, 0.1)
    began = time.perf_counter()
    model = MatrixCompletion(rank=10, verbose=_interactive()).fit(problem.observations)
    seconds = time.perf_counter() - began
    truth = problem.A @ problem.B.T
    error = float(np.linalg.norm(model.complete() - truth) / np.linalg.norm(truth))
    _table(
        [
            ("rank found", f"{model.rank_}"),
            ("relative error, all entries", f"{error:.1e}"),
            ("steps", f"{model.n_iter_:,}"),
            ("seconds", f"{seconds:.1f}"),
            ("status", str(model.status_)),
        ]
    )
    return {"relative_error": error, "rank": model.rank_, "seconds": seconds, "status": model.status_.name}


def _demo_photograph(output: Path) -> dict[str, Any]:
    typer.echo("\nA photograph: 427 × 640 pixels, 70 % of them missing; each colour a matrix, no rank given")
    image, mask = datasets.photograph(0.3)
    began = time.perf_counter()
    restored, ranks = np.empty_like(image), []
    for colour in range(3):
        model = MatrixCompletion(verbose=_interactive()).fit(image[..., colour], mask=mask)
        restored[..., colour] = np.where(mask, image[..., colour], np.clip(model.complete(), 0, 1))
        ranks.append(model.rank_)
    seconds = time.perf_counter() - began
    filled = np.where(mask[..., None], image, image[mask].mean(axis=0))
    ours, mean_fill = metrics.psnr(restored, image), metrics.psnr(filled, image)
    plots.restoration(image, mask, restored, output, (f"mean-fill: {mean_fill:.1f} dB", f"PSNR {ours:.1f} dB"))
    _table(
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


@app.command()
def fit(
    ratings: Annotated[Path, typer.Argument(help="Text file, one rating a line: user, item, rating.")],
    test: Annotated[Path | None, typer.Option("--test", help="Ratings to judge by; they are not fitted.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Where to save the model.")] = None,
    user: UserColumn = "user",
    item: ItemColumn = "item",
    rating: RatingColumn = "rating",
    duplicates: Annotated[Literal["error", "mean", "last"], typer.Option(help="Of repeated ratings.")] = "error",
    threads: Annotated[int | None, typer.Option(help="Threads to use; all cores if left out.", min=1)] = None,
    device: Annotated[str | None, typer.Option(help="Where to train: cuda for a GPU; the host if left out.")] = None,
    as_json: Json = False,
) -> None:
    """Fit a recommender to a file of ratings. Ctrl-C ends with the best so far, saved if -o was given."""
    judged = Table.open(test, (user, item, rating)) if test else None
    if judged is not None:  # what is wrong with it is told before the work
        for column in (user, item):
            judged.ids(column)
        judged.numbers(rating)
    _check_output(output)
    began = time.perf_counter()
    model = Recommender(n_threads=threads, device=device, verbose=_interactive()).fit(
        ratings, user, item, rating, duplicates
    )
    seconds = time.perf_counter() - began
    if output is not None:
        model.save(output)
    result: dict[str, Any] = {"train_rmse": _rmse(model, Table.open(ratings, (user, item, rating)), rating)}
    if judged is not None:
        result["test_rmse"] = _rmse(model, judged, rating)
    result |= {
        "fit_seconds": seconds,
        "rank": model.rank_,
        "status": model.status_.name,
        "n_observed": model.n_observed_,
        "n_users": len(model.users_),
        "n_items": len(model.items_),
        "steps": model.n_iter_,
    }
    if as_json:
        typer.echo(json.dumps(result))
    else:
        shown = [(key.replace("_", " "), f"{v:.4f}" if isinstance(v, float) else str(v)) for key, v in result.items()]
        _table([*shown, ("model", str(output) if output else "not saved: say -o FILE")])


def _rmse(model: Recommender, table: Table, rating: str) -> float:
    user, item, _ = model.columns_
    predicted = model.predict({user: table.column(user), item: table.column(item)})["prediction"]
    return metrics.rmse(predicted, table.numbers(rating))


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A model that `dmc fit -o` saved.")],
    pairs: Annotated[Path, typer.Argument(help="Text file, one pair a line: user, item.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="CSV file to write, in place of the screen.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Predict the ratings of pairs of a user and an item."""
    _check_output(output)
    _write(Recommender.load(model).predict(pairs), output, as_json, "predictions")


@app.command()
def recommend(
    model: Annotated[Path, typer.Argument(help="A model that `dmc fit -o` saved.")],
    user: Annotated[list[str], typer.Option("--user", help="Whom to recommend to; may be said again.")],
    n: Annotated[int, typer.Option("-n", help="How many items for each user.")] = 10,
    as_json: Json = False,
) -> None:
    """The best items for a user, of those not rated yet."""
    recommender = Recommender.load(model)
    known = recommender.users_.lines(np.asarray(user))
    for name in [u for u, line in zip(user, known, strict=True) if line < 0]:
        typer.echo(f"dmc: user {name!r} is not known: the items that are best on average follow", err=True)
    _write(recommender.recommend(user, n), None, as_json, "recommendations")


@app.command()
def evaluate(
    ratings: Annotated[Path | None, typer.Argument(help="Ratings to fit; a part of them judges, if no --test.")] = None,
    model: Annotated[Path | None, typer.Option("--model", help="A saved model to judge, in place of RATINGS.")] = None,
    test: Annotated[Path | None, typer.Option("--test", help="Ratings to judge by, not in the fit.")] = None,
    split: Annotated[
        Literal["random", "user", "time"],
        typer.Option(help="Judge by any ratings, by a share of each user's, by the latest."),
    ] = "random",
    test_fraction: Annotated[float, typer.Option(help="Share of the ratings to judge by.")] = 0.2,
    relevant: Annotated[
        float | None, typer.Option(help="Rating from which an item is relevant; their mean if left out.")
    ] = None,
    n: Annotated[int, typer.Option("-n", help="How many items to recommend.")] = 10,
    seed: Annotated[int, typer.Option(help="Of the split.")] = 0,
    user: UserColumn = "user",
    item: ItemColumn = "item",
    rating: RatingColumn = "rating",
    timestamp: Annotated[str, typer.Option("--time", help="Column of the times, for --split time.")] = "timestamp",
    duplicates: Annotated[Literal["error", "mean", "last"], typer.Option(help="Of repeated ratings.")] = "error",
    as_json: Json = False,
) -> None:
    """Judge a recommender by ratings that it has not seen, beside simple rivals; without --model, one is fitted."""
    if (ratings is None) == (model is None) or (model is not None and test is None):
        raise ValueError("evaluate takes RATINGS to fit, or --model MODEL with --test FILE; give one of the two")
    if model is not None:
        found = {"recommender": evaluation.evaluate(Recommender.load(model), test, n, relevant)}
    else:
        named = (user, item, rating, timestamp)
        train, judged = (Table.open(path, named) for path in (ratings, test or ratings))
        if test is None:
            train, judged = evaluation.split(train, split, test_fraction, seed, user, timestamp)
        found = evaluation.baselines(
            train, judged, n, relevant, user, item, rating
        )  # first: it is quick to tell what is wrong
        fitted = Recommender(verbose=_interactive()).fit(train, user, item, rating, duplicates)
        found = {"recommender": evaluation.evaluate(fitted, judged, n, relevant), **found}
    if as_json:
        typer.echo(json.dumps({name: verdict.asdict() for name, verdict in found.items()}))
        return
    verdict = found["recommender"]
    typer.echo(
        f"{verdict.n_ratings:,} test ratings; lists of {n} for {verdict.n_users:,} users with items rated "
        f"{verdict.relevant:.4g} or more"
    )
    measures = ("rmse", "mae", "precision", "recall", "ndcg", "average_precision", "coverage")
    lines = {name: [getattr(verdict, m) for m in measures] for name, verdict in found.items()}
    shown = [
        (name, "  ".join("–".rjust(9) if v is None else f"{v:9.4f}" for v in line)) for name, line in lines.items()
    ]
    _table([("", "  ".join(m.replace("average_", "avg ").rjust(9) for m in measures)), *shown])


def _write(columns: dict[str, Any], output: Path | None, as_json: bool, name: str) -> None:
    rows = list(zip(*(np.asarray(values).tolist() for values in columns.values()), strict=True))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([f"{v:.4f}" if isinstance(v, float) else v for v in row] for row in rows)
    content = text.getvalue().encode("utf-8", "surrogateescape")  # ids of another encoding come back as they were
    if output is not None:
        output.write_bytes(content)
    if as_json:
        typer.echo(json.dumps({name: [dict(zip(columns, row, strict=True)) for row in rows]}))
    elif output is None:
        typer.echo(content, nl=False)


def _check_output(path: Path | None) -> None:
    """Whether a file can be written there, before the work and not after it."""
    if path is None:
        return
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the path of a file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to save {path.name} in; make it first")


@app.command()
def bench(
    names: Annotated[list[str] | None, typer.Argument(help="Runs, or 'all' of them; without: what there is.")] = None,
) -> None:
    """Run benches of the source tree by name, each in a process of its own; they write to bench/results."""
    folder = Path(__file__).parent.parent / "bench"
    if not (folder / "_harness.py").is_file():
        raise FileNotFoundError(
            "the benches are in dmc's source tree; say this in an editable install: pip install -e ."
        )
    sys.path.insert(0, str(folder))
    runs = importlib.import_module("_harness").catalogue()
    if not names:
        _table([(name, question) for name, (_, question) in runs.items()])
        return
    for name in names:
        if name not in (*runs, "all"):
            raise ValueError(f"there is no bench {name!r}; `dmc bench` lists those there are")
    for name in runs if "all" in names else names:
        ended = subprocess.run([sys.executable, str(runs[name][0]), name])
        if ended.returncode:
            raise typer.Exit(ended.returncode)


@app.command()
def doctor(as_json: Json = False) -> None:
    """What this installation has: versions, cores, which kernel serves and why."""
    from threadpoolctl import threadpool_info

    serving = kernels.chosen()
    report: dict[str, Any] = {
        "dmc": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {platform.system()}",
        "cores": os.cpu_count(),
        "kernel": serving,
        "kernels": [
            {"name": k.name, "available": k.available, "reason": k.reason, "remedy": k.remedy} for k in kernels.report()
        ],
        "cuda": _cuda(),
        "threads": {
            f"{pool['user_api']} ({Path(pool['filepath']).name})": pool["num_threads"] for pool in threadpool_info()
        },
        "versions": {
            name: _version(name) for name in ("numpy", "scipy", "numba", "scikit-learn", "torch", "matplotlib")
        },
    }
    if as_json:
        typer.echo(json.dumps(report))
        return
    _table([(name, str(report[name])) for name in ("dmc", "python", "machine", "cores")])
    typer.echo("")
    for kernel in kernels.report():
        state = "serves" if kernel.name == serving else "available" if kernel.available else "missing"
        typer.echo(
            f"  kernel {kernel.name:10} {state:10} {kernel.reason}" + (f"; {kernel.remedy}" if kernel.remedy else "")
        )
    gpu = report["cuda"]
    state = "serves" if gpu["used"] else "missing"
    typer.echo(f"  {'CUDA':17} {state:10} {gpu['reason']}" + (f"; {gpu['remedy']}" if gpu["remedy"] else ""))
    typer.echo("")
    _table(
        [
            *((f"threads of {name}", str(n)) for name, n in report["threads"].items()),
            *report["versions"].items(),
        ]
    )


def _cuda() -> dict[str, Any]:
    """Whether the CUDA kernels serve torch tensors on a GPU here, why or why not, and what to do."""
    obstacle = _compiled.cuda_obstacle()
    if obstacle is None and importlib.util.find_spec("torch") is None:
        obstacle = _compiled.Obstacle("torch is not installed", "run: pip install 'dmc[torch]'")
    if obstacle is None:  # only now: torch takes seconds to load
        obstacle = importlib.import_module("dmc.torch_compiled").cuda_obstacle()
    if obstacle is not None:
        return {"used": False, **obstacle._asdict()}
    return {"used": True, "reason": "dmc._cuda, for torch tensors on a GPU", "remedy": ""}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _table(rows: list[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        typer.echo(f"  {name:{width}}  {value}")


def _interactive() -> bool:
    """Progress bars are for people."""
    return sys.stderr.isatty()
