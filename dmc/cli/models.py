"""The commands on ratings and models: fit, predict, recommend, similar, explain, evaluate, report, export."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer

from dmc import metrics
from dmc.cli.output import Json, check_output, interactive, show, write
from dmc.recommend import evaluation
from dmc.recommend.recommender import Recommender
from dmc.recommend.table import Table
from dmc.report import recommender as reports, titles as item_titles

UserColumn = Annotated[str, typer.Option("--user", help="Column of the users.")]
ItemColumn = Annotated[str, typer.Option("--item", help="Column of the items.")]
RatingColumn = Annotated[str, typer.Option("--rating", help="Column of the ratings.")]
Duplicates = Annotated[Literal["error", "mean", "last"], typer.Option(help="Of repeated ratings.")]
Kind = Annotated[
    Literal["bayes", "network"] | None,
    typer.Option(help="Variational Bayes, which is the default, or a compressed deep network."),
]
Intervals = Annotated[bool, typer.Option("--intervals", help="Learn bounds for `dmc predict --interval` too.")]
Device = Annotated[str | None, typer.Option(help="Where to train a network: cuda for a GPU; the host if left out.")]
Model = Annotated[Path, typer.Argument(help="A model that `dmc fit -o` saved.")]
Titles = Annotated[
    Path | None, typer.Option("--titles", help="File with an item's id and title in each line, such as u.item.")
]


def fit(
    ratings: Annotated[Path, typer.Argument(help="Text file, one rating a line: user, item, rating.")],
    test: Annotated[Path | None, typer.Option("--test", help="Ratings to judge by; they are not fitted.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Where to save the model.")] = None,
    user: UserColumn = "user",
    item: ItemColumn = "item",
    rating: RatingColumn = "rating",
    duplicates: Duplicates = "error",
    model: Kind = None,
    depth: Annotated[int | None, typer.Option(help="Cores of the network; 3 if left out.", min=0)] = None,
    ensemble: Annotated[int, typer.Option(help="Models to average.", min=1)] = 1,
    intervals: Intervals = False,
    threads: Annotated[int | None, typer.Option(help="Threads to use; all cores if left out.", min=1)] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Fit a recommender to a file of ratings. Ctrl-C ends with the best so far, saved if -o was given."""
    columns = (user, item, rating)
    judged = _opened(test, columns) if test else None
    check_output(output)
    given = Table.open(ratings, columns)
    if model is None and (depth is not None or device is not None):
        typer.echo("dmc: this trains a network; say --model network, which the next release asks for", err=True)
        model = "network"
    began = time.perf_counter()
    fitted = Recommender(
        model=model,
        depth=depth,
        ensemble=ensemble,
        intervals=intervals,
        n_threads=threads,
        device=device,
        verbose=interactive(),
    ).fit(given, *columns, duplicates)
    seconds = time.perf_counter() - began
    if output is not None:
        fitted.save(output)
    result = {"train_rmse": _rmse(fitted, given, rating)}
    if judged is not None:
        result["test_rmse"] = _rmse(fitted, judged, rating)
    _show_fit(fitted, {**result, "fit_seconds": seconds}, output, as_json)


def _opened(test: Path, columns: tuple[str, str, str]) -> Table:
    """Ratings to judge by; what is wrong with them is told now, before the work."""
    judged, (user, item, rating) = Table.open(test, columns), columns
    for column in (user, item):
        judged.ids(column)
    judged.numbers(rating)
    return judged


def _show_fit(model: Recommender, figures: dict[str, float], output: Path | None, as_json: bool) -> None:
    result: dict[str, object] = {
        **figures,
        "rank": model.rank_,
        "status": model.status_.name,
        "n_observed": model.n_observed_,
        "n_users": len(model.users_),
        "n_items": len(model.items_),
        "steps": model.n_iter_,
    }
    if as_json:
        typer.echo(json.dumps(result))
        return
    shown = [(key.replace("_", " "), f"{v:.4f}" if isinstance(v, float) else str(v)) for key, v in result.items()]
    show([*shown, ("model", str(output) if output else "not saved: say -o FILE")])


def _rmse(model: Recommender, table: Table, rating: str) -> float:
    return metrics.rmse(model.predict(table)["prediction"], table.numbers(rating))


def predict(
    model: Model,
    pairs: Annotated[Path, typer.Argument(help="Text file, one pair a line: user, item.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="CSV file to write, in place of the screen.")
    ] = None,
    interval: Annotated[
        float | None,
        typer.Option(help="Also bounds that hold with this probability, such as 0.9; of a model fitted --intervals."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Predict the ratings of pairs of a user and an item."""
    check_output(output)
    write(Recommender.load(model).predict(pairs, interval=interval), output, as_json, "predictions")


def recommend(
    model: Model,
    user: Annotated[list[str], typer.Option("--user", help="Whom to recommend to; may be said again.")],
    n: Annotated[int, typer.Option("-n", help="How many items for each user.")] = 10,
    as_json: Json = False,
) -> None:
    """The best items for a user, of those not rated yet."""
    recommender = Recommender.load(model)
    known = recommender.users_.positions(np.asarray(user))
    for name in [u for u, position in zip(user, known, strict=True) if position < 0]:
        typer.echo(f"dmc: user {name!r} is not known: what is chosen often and rated high follows", err=True)
    write(recommender.recommend(user, n), None, as_json, "recommendations")


def similar(
    model: Model,
    item: Annotated[list[str], typer.Option("--item", help="An item; may be said again.")],
    n: Annotated[int, typer.Option("-n", help="How many for each.")] = 10,
    titles: Titles = None,
    as_json: Json = False,
) -> None:
    """The items most like an item: those that the same users are predicted to rate alike."""
    recommender = Recommender.load(model)
    name, items = recommender.columns_[1], recommender.items_
    names = item_titles.names(items, titles)
    found = recommender.similar_items(item, n)
    found[name] = items.ids[items.positions(found[name])]  # as they were in the ratings, not as they were typed
    if titles is not None:
        found |= {"title": names[items.positions(found["similar"])]}
    write(found, None, as_json, "similar")


def explain(
    model: Model,
    user: Annotated[str, typer.Option("--user", help="Whose prediction.")],
    item: Annotated[str, typer.Option("--item", help="Of which item.")],
    n: Annotated[int, typer.Option("-n", help="How many ratings at most.")] = 10,
    titles: Titles = None,
    as_json: Json = False,
) -> None:
    """Which of a user's ratings speak for an item, and which against it; those that count most come first."""
    recommender = Recommender.load(model)
    of_users, of_items, _ = recommender.columns_
    names = item_titles.names(recommender.items_, titles)
    found = recommender.explain(user, item, n)
    prediction = float(recommender.predict({of_users: [user], of_items: [item]})["prediction"][0])
    if titles is not None:
        found |= {"title": names[recommender.items_.positions(found[of_items])]}
    if not as_json:
        name = names[recommender.items_.positions([item])[0]]
        typer.echo(f"user {user}, item {name}: {prediction:.2f} predicted; {recommender.mean_:.2f} is the mean rating")
    write(found, None, as_json, "contributions", prediction=prediction)


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
    duplicates: Duplicates = "error",
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
            train, judged = evaluation.split(train, split, test_fraction, seed, user, item, timestamp)
        found = evaluation.baselines(
            train, judged, n, relevant, user, item, rating
        )  # first: quick to tell what is wrong
        fitted = Recommender(verbose=interactive()).fit(train, user, item, rating, duplicates)
        found = {"recommender": evaluation.evaluate(fitted, judged, n, relevant), **found}
    if as_json:
        typer.echo(json.dumps({name: verdict.asdict() for name, verdict in found.items()}))
        return
    _show_verdicts(found)


def _show_verdicts(found: dict[str, evaluation.Evaluation]) -> None:
    verdict = found["recommender"]
    typer.echo(
        f"{verdict.n_ratings:,} test ratings; lists of {verdict.n} for {verdict.n_users:,} users with items rated "
        f"{verdict.relevant:.4g} or more"
    )
    measures = ("rmse", "mae", "precision", "recall", "ndcg", "average_precision", "coverage")
    rows = {name: [getattr(verdict, m) for m in measures] for name, verdict in found.items()}
    shown = [(name, "  ".join("–".rjust(9) if v is None else f"{v:9.4f}" for v in row)) for name, row in rows.items()]
    show([("", "  ".join(m.replace("average_", "avg ").rjust(9) for m in measures)), *shown])


def report(
    model: Model,
    test: Annotated[
        Path | None, typer.Option("--test", help="Ratings to judge by; the model's own if left out.")
    ] = None,
    titles: Titles = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="The page to write.")] = Path("dmc-report.html"),
    as_json: Json = False,
) -> None:
    """Write a page about a model: errors, calibration, training, spectrum, nearest items. It needs no network."""
    check_output(output)
    found = reports.write(Recommender.load(model), output, test, titles, model.name)
    if as_json:
        typer.echo(json.dumps({"page": str(output), **found}))
        return
    judged = "its own ratings" if found["own"] else "test ratings"
    show([(f"rmse, {found['n_ratings']:,} {judged}", f"{found['rmse']:.4f}"), ("page", str(output))])


def export(
    model: Model,
    folder: Annotated[Path, typer.Argument(help="Where to write; made if it is not there.")],
    format: Annotated[Literal["npy", "parquet"], typer.Option(help="Parquet needs pyarrow.")] = "npy",
    as_json: Json = False,
) -> None:
    """Write ids and vectors of users and items for other programs, such as vector databases."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; give the path of a folder")
    recommender = Recommender.load(model)
    files = [str(path) for path in recommender.export(folder, format)]
    if as_json:
        typer.echo(json.dumps({"files": files, "mean": recommender.mean_}))
        return
    show([*(("wrote", file) for file in files), ("mean", f"{recommender.mean_:.6g}, to add to the products")])


COMMANDS = (fit, predict, recommend, similar, explain, evaluate, report, export)
