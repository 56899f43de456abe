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
    pairs: Annotated[Path, typer.Argument(help="Pairs to predict, one per row: user, item. - reads standard input.")],
    output: TableOutput = None,
    interval: Annotated[
        float | None,
        typer.Option(help="Add bounds that hold with this probability, such as 0.9 (needs `dmc fit --intervals`)."),
    ] = None,
    unknown: Annotated[
        Literal["mean", "error", "nan"] | None,
        typer.Option(
            help="For unknown users and items: what is expected of them (default: mean), an error, or nothing (nan)."
        ),
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
    user: Annotated[
        list[str] | None, typer.Option("--user", metavar="<user>", help="A user to recommend to. Repeatable.")
    ] = None,
    users: Annotated[
        Path | None, typer.Option("--users", help="File of users, one per line, or a table. - reads standard input.")
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Number of items for each user.")] = 10,
    items: Annotated[
        list[str] | None,
        typer.Option(
            "--items", metavar="<item>", help="Recommend only these: an item, or a file of items. Repeatable."
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude", metavar="<item>", help="Never recommend these: an item, or a file of items. Repeatable."
        ),
    ] = None,
    include_rated: Annotated[
        bool, typer.Option("--include-rated", help="Include items that the user has rated or chosen.")
    ] = False,
    titles: Titles = None,
    output: TableOutput = None,
    as_json: Json = False,
) -> None:
    """Recommend items to one user, to the users in a file, or to all.

    Items that a user has rated or chosen are left out.
    """
    if user and users is not None:
        raise WrongUse("--user and --users are both given; give only one of them")
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
    typer.echo(f"dmc: {who} unknown: popular items follow", err=True)
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
        raise ValueError("the model has a column 'title', and --titles would add another one; leave --titles out")
    return names(model.items_, titles)


def _with_titles(found: dict[str, Any], names: Any, model: Any, column: str) -> dict[str, Any]:
    return found if names is None else {**found, "title": names[model.items_.positions(found[column])]}


def similar(
    model: Model,
    item: Annotated[list[str], typer.Option("--item", metavar="<item>", help="An item. Repeatable.")],
    n: Annotated[int, typer.Option("-n", min=1, help="Number of similar items for each.")] = 10,
    titles: Titles = None,
    output: TableOutput = None,
    as_json: Json = False,
) -> None:
    """List the items most similar to an item.

    Items are similar if the same users are predicted to rate them alike.
    """
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
    user: Annotated[str, typer.Option("--user", help="The user.")],
    item: Annotated[str, typer.Option("--item", help="The item whose prediction to explain.")],
    n: Annotated[int, typer.Option("-n", min=1, help="Number of ratings at most.")] = 10,
    titles: Titles = None,
    as_json: Json = False,
) -> None:
    """List the user's ratings that explain a prediction.

    Each rating has a contribution to the prediction, above or below 0; the largest come first.
    """
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
    folder: Annotated[Path, typer.Argument(help="Folder for the files; created if it does not exist.")],
    format: Annotated[Literal["npy", "parquet"], typer.Option(help="File format; parquet needs pyarrow.")] = "npy",
    vectors: Annotated[
        Literal["prediction", "ranking"],
        typer.Option(
            help="Vectors whose products are the predictions minus the mean, or sort items as `dmc recommend` does."
        ),
    ] = "prediction",
    as_json: Json = False,
) -> None:
    """Write ids and vectors of users and items for other programs.

    For example for a vector database, which has to use the inner product and not cosines.
    """
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
