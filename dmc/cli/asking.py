"""What is asked of a saved model: dmc predict, recommend, similar, explain, export."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import dmc
from dmc.cli.arguments import Model, TableOutput, Titles, given, opened, refuse_stdin_twice
from dmc.cli.ids import in_file, listed, named
from dmc.cli.interrupts import told_of_interrupts
from dmc.cli.output import Json, show, show_json
from dmc.cli.wording import WrongUse, check_share
from dmc.cli.writers import check_table_output, table_writer

PLACES = 200_000  # of lists that are made at a time: users times items of each


def predict(
    model: Model,
    pairs: Annotated[Path, typer.Argument(help="One pair a line: user, item. - is the standard input.")],
    output: TableOutput = None,
    interval: Annotated[
        float | None,
        typer.Option(help="Also bounds that hold with this probability, such as 0.9; of a model fitted --intervals."),
    ] = None,
    unknown: Annotated[
        Literal["mean", "error", "nan"] | None,
        typer.Option(help="For users and items that are not known: what is expected of such, an error, or nothing."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Predict the ratings of pairs of a user and an item."""
    check_share(interval, "--interval")
    check_table_output(output, model)
    recommender = dmc.Recommender.load(model)
    found = recommender.predict(
        opened(pairs, recommender.columns_[:2], whole=True), **given(interval=interval, unknown=unknown)
    )
    with table_writer(output, as_json, "predictions") as write:
        write(found)


def recommend(
    model: Model,
    user: Annotated[list[str] | None, typer.Option("--user", help="Whom to recommend to; may be said again.")] = None,
    users: Annotated[
        Path | None, typer.Option("--users", help="File of users, one a line or a table; - is the standard input.")
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="How many items for each user.")] = 10,
    items: Annotated[
        list[str] | None, typer.Option("--items", help="Only these: an item, or a file of items; may be said again.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", help="None of these: an item or a file; may be said again.")
    ] = None,
    include_rated: Annotated[
        bool, typer.Option("--include-rated", help="Also what a user has rated or chosen.")
    ] = False,
    titles: Titles = None,
    output: TableOutput = None,
    as_json: Json = False,
) -> None:
    """The best items for a user, for those in a file, or for all; of those not rated yet."""
    if user and users is not None:
        raise WrongUse("--user and --users are both given; say one of them")
    refuse_stdin_twice(users, *(items or ()), *(exclude or ()))
    check_table_output(output, model)
    recommender = dmc.Recommender.load(model)
    names = _titles(recommender, titles)
    of_users, of_items, _ = recommender.columns_
    asked = _asked(recommender, user or None, users)
    options = {
        "filter_already_liked_items": not include_rated,
        **given(
            items=listed(items, of_items, recommender.items_, "--items"),
            filter_items=listed(exclude, of_items, recommender.items_, "--exclude"),
        ),
    }
    with table_writer(output, as_json, "recommendations") as write:
        n = min(n, len(recommender.items_))
        for part in _parts(len(asked), n):
            found = recommender.recommend({of_users: asked[part]}, n, **options)
            write(_with_titles(found, names, recommender, of_items))


def _asked(model: Any, user: list[str] | None, users: Path | None) -> Any:
    """(asked,) ids of users, each once, as they were in the fit if all of them are known; who is not is told."""
    of_users = model.columns_[0]
    if user is not None:
        ids = named(user, of_users)
    elif users is not None:
        ids = in_file(str(users), of_users)
    else:
        return model.users_.ids
    ids = _each_once(ids)
    known = model.users_.positions(ids)
    strangers = ids[known < 0].tolist()
    if not strangers:
        return model.users_.ids[known]
    if len(strangers) == 1:
        who = f"user {strangers[0]!r} is"
    else:
        who = f"{len(strangers):,} of {len(ids):,} users, such as {strangers[0]!r}, are"
    typer.echo(f"dmc: {who} not known: what is chosen often and rated high follows", err=True)
    return ids


def _each_once(ids: Any) -> Any:
    """In the order met: a file of users may be a log, where each has many lines."""
    import numpy as np

    return ids[np.sort(np.unique(ids, return_index=True)[1])]


def _parts(count: int, n: int) -> Iterator[slice]:
    """Users, some at a time; an empty part where there are none, for the names of the columns."""
    size = max(PLACES // n, 1)
    return (slice(first, first + size) for first in range(0, max(count, 1), size))


def _titles(model: Any, titles: Path | None) -> Any:
    """(items,) what to call each item, or None: its titles were not given."""
    if titles is None:
        return None
    from dmc.report.titles import names

    if "title" in model.columns_[:2]:
        raise ValueError("the model has a column 'title', and --titles would make another one; leave --titles out")
    return names(model.items_, titles)


def _with_titles(found: dict[str, Any], names: Any, model: Any, column: str) -> dict[str, Any]:
    return found if names is None else {**found, "title": names[model.items_.positions(found[column])]}


def similar(
    model: Model,
    item: Annotated[list[str], typer.Option("--item", help="An item; may be said again.")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many for each.")] = 10,
    titles: Titles = None,
    output: TableOutput = None,
    as_json: Json = False,
) -> None:
    """The items most like an item: those that the same users are predicted to rate alike."""
    check_table_output(output, model)
    recommender = dmc.Recommender.load(model)
    name, items = recommender.columns_[1], recommender.items_
    names = _titles(recommender, titles)
    found = recommender.similar_items(item, n)
    found[name] = items.ids[items.positions(found[name])]  # as they were in the ratings, not as they were typed
    with table_writer(output, as_json, "similar") as write:
        write(_with_titles(found, names, recommender, "similar"))


def explain(
    model: Model,
    user: Annotated[str, typer.Option("--user", help="Whose prediction.")],
    item: Annotated[str, typer.Option("--item", help="Of which item.")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many ratings at most.")] = 10,
    titles: Titles = None,
    as_json: Json = False,
) -> None:
    """Which of a user's ratings speak for an item, and which against it; those that count most come first."""
    recommender = dmc.Recommender.load(model)
    of_users, of_items, _ = recommender.columns_
    names = _titles(recommender, titles)
    found = _with_titles(recommender.explain(user, item, n), names, recommender, of_items)
    prediction = float(recommender.predict({of_users: [user], of_items: [item]})["prediction"][0])
    if not as_json:
        name = item if names is None else names[recommender.items_.positions([item])[0]]
        mean = "" if recommender.feedback == "implicit" else f"; {recommender.mean_:.2f} is the mean rating"
        typer.echo(f"user {user}, item {name}: {prediction:.2f} predicted{mean}")
    with table_writer(None, as_json, "contributions", prediction=prediction) as write:
        write(found)


def export(
    model: Model,
    folder: Annotated[Path, typer.Argument(help="Where to write; made if it is not there.")],
    format: Annotated[Literal["npy", "parquet"], typer.Option(help="Parquet needs pyarrow.")] = "npy",
    vectors: Annotated[
        Literal["prediction", "ranking"],
        typer.Option(help="Whose products are the predictions less the mean, or order items as `dmc recommend` does."),
    ] = "prediction",
    as_json: Json = False,
) -> None:
    """Write ids and vectors of users and items for other programs, such as vector databases of inner products."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; give the path of a folder")
    recommender = dmc.Recommender.load(model)
    with told_of_interrupts():
        files = [str(path) for path in recommender.export(folder, format, vectors=vectors)]
    if as_json:
        show_json({"files": files, "mean": recommender.mean_})
        return
    of_products = [("mean", f"{recommender.mean_:.6g}, to add to the products")] * (vectors == "prediction")
    show([*(("wrote", file) for file in files), *of_products])
