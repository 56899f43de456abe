"""dmc fit, update and forget: a model from a table, and one that takes a day in, or leaves somebody out."""

from __future__ import annotations

import math
import time as clock
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import dmc
from dmc.cli.arguments import (
    CheckpointFile,
    Duplicates,
    Feedback,
    ItemColumn,
    ItemFeatures,
    Model,
    Rank,
    RatingColumn,
    Threads,
    TimeColumn,
    UserColumn,
    UserFeatures,
    WeightColumn,
    features,
    given,
    keeping,
    opened,
    refuse_stdin_twice,
    source,
)
from dmc.cli.ids import listed
from dmc.cli.interrupts import told_of_interrupts
from dmc.cli.output import Json, check_output, interactive, show, show_json
from dmc.cli.wording import WrongUse, of_options

Kind = Annotated[
    Literal["bayes", "network"] | None,
    typer.Option(help="Model of ratings: variational Bayes (default) or a compressed deep network."),
]
Intervals = Annotated[
    bool, typer.Option("--intervals", help="Also learn prediction intervals, for `dmc predict --interval`.")
]
Device = Annotated[str | None, typer.Option(help="Where to train a network or fit clicks, such as cuda.")]
ModelOutput = Annotated[
    Path | None, typer.Option("-o", "--output", help="File for the model. Default: it is not saved.")
]
# Of the lists of test users, and of those that the fit itself has held out.
LIST_MEASURES = ("recall", "precision", "ndcg", "coverage")


def fit(
    ratings: Annotated[
        Path, typer.Argument(help="Ratings or clicks, one per row: user, item, rating. - reads standard input.")
    ],
    test: Annotated[Path | None, typer.Option("--test", help="Test ratings, which are not fitted.")] = None,
    output: ModelOutput = None,
    feedback: Feedback = "explicit",
    user: UserColumn = "user",
    item: ItemColumn = "item",
    rating: RatingColumn = "rating",
    weight: WeightColumn = None,
    time: TimeColumn = None,
    duplicates: Duplicates = "error",
    user_features: UserFeatures = None,
    item_features: ItemFeatures = None,
    rank: Rank = None,
    model: Kind = None,
    depth: Annotated[
        int | None, typer.Option(help="Number of inner factors of the network. Default: 3.", min=0)
    ] = None,
    ensemble: Annotated[int, typer.Option(help="Number of models to average.", min=1)] = 1,
    intervals: Intervals = False,
    threads: Threads = None,
    device: Device = None,
    checkpoint: CheckpointFile = None,
    without_ratings: Annotated[
        bool,
        typer.Option(
            "--without-ratings", help="Leave the ratings out of the model file. Such a model cannot be updated."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Fit a recommender to ratings or clicks, and save it.

    Ctrl-C ends the fit early; the model found so far is saved if -o was given.
    """
    refuse_stdin_twice(ratings, test, user_features, item_features)
    check_output(output, ratings, test, user_features, item_features, checkpoint)
    columns = (user, item, rating)
    clicks = feedback == "implicit"
    judged = _opened(test, columns, clicks) if test else None
    if model is None and not clicks and (depth is not None or device is not None):
        typer.echo("dmc: this trains a network; add --model network, which the next release will require", err=True)
        model = "network"
    began = clock.perf_counter()
    with of_options():
        recommender = dmc.Recommender(
            rank,
            feedback=feedback,
            model=model,
            depth=depth,
            ensemble=ensemble,
            intervals=intervals,
            n_threads=threads,
            device=device,
            verbose=interactive(),
            callbacks=keeping(checkpoint),
        )
    described = {"user_features": features(user_features, user), "item_features": features(item_features, item)}
    more = given(weight=weight, time=time, **described)
    with told_of_interrupts():
        recommender.fit(source(ratings), *columns, duplicates, **more)  # which keeps the table no longer than needed
        seconds = clock.perf_counter() - began
        if output is not None:
            recommender.save(output, ratings=not without_ratings)
    figures = _of_lists(recommender, judged) if clicks else _of_ratings(recommender, judged)
    _show_fit(recommender, {**figures, "fit_seconds": seconds}, output, as_json)


def _opened(test: Path, columns: tuple[str, str, str], clicks: bool) -> Any:
    """Ratings to judge by; what is wrong with them is told now, before the work."""
    judged, (user, item, rating) = opened(test, columns), columns
    for column in (user, item):
        judged.ids(column)
    if not clicks:
        judged.numbers(rating)
    return judged


def _of_ratings(model: Any, judged: Any) -> dict[str, float]:
    """Errors on the fitted ratings, repeated ones merged, and on those to judge by."""
    from dmc.recommend.judging.held_out import TestSet

    fitted = model.observations_
    predicted = (model.factors_.at(fitted.rows, fitted.cols) + model.mean_).clip(*model.range_)
    found = {"train_rmse": dmc.metrics.rmse(predicted, fitted.values)}
    if judged is not None:
        new = TestSet.open([model], judged, 1, None)  # without the pairs that were fitted, which it tells of
        if len(new.values):
            squares, _, count = new.errors(model).sum(axis=0).tolist()
            found["test_rmse"] = math.sqrt(squares / count)
    return found


def _of_lists(model: Any, judged: Any) -> dict[str, float]:
    """How well lists hold what was chosen and not shown: in the search for the settings, and in the test clicks."""
    found = {}
    scores = [look["ndcg"] for look in model.history_ if "ndcg" in look]
    if scores:
        found["held_out_ndcg"] = float(max(scores))
    if judged is not None:
        verdict = dmc.evaluation.evaluate(model, judged)
        values = {f"test_{name}": getattr(verdict, name) for name in LIST_MEASURES}
        found |= {name: value for name, value in values.items() if value is not None}
    return found


def _show_fit(model: Any, figures: dict[str, float], output: Path | None, as_json: bool) -> None:
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
        show_json(result)
        return
    observed = "ratings" if model.feedback == "explicit" else "pairs"
    names = {"n_observed": observed, "n_users": "users", "n_items": "items", "held_out_ndcg": "held-out ndcg"}
    shown = [(names.get(key, key.replace("_", " ")), _figure(value)) for key, value in result.items()]
    show([*shown, ("model", str(output) if output else "not saved (use -o FILE)")])


def _figure(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def update(
    model: Model,
    new: Annotated[
        Path, typer.Argument(help="New ratings or clicks, with the columns of the fit. - reads standard input.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File for the new model. Default: MODEL is replaced.")
    ] = None,
    user_features: UserFeatures = None,
    item_features: ItemFeatures = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Add new ratings or clicks to a model, and refit it.

    New users and items are added, too. If a pair of user and item is already known, the new rating replaces the old
    one; clicks are added up. MODEL is replaced atomically, so others may read it at any time. Ctrl-C ends the fit early
    and keeps the model found so far.
    """
    refuse_stdin_twice(new, user_features, item_features)
    target = output or model
    check_output(target, new, user_features, item_features)
    recommender = dmc.Recommender.load(model)
    recommender.n_threads, recommender.verbose = threads, interactive()
    of_users, of_items, _ = recommender.columns_
    described = {"user_features": features(user_features, of_users), "item_features": features(item_features, of_items)}
    before, began = _sizes(recommender), clock.perf_counter()
    with told_of_interrupts():
        recommender.partial_fit(source(new), **given(**described))
        seconds = clock.perf_counter() - began
        recommender.save(target)
    after = _sizes(recommender)
    what = "clicks" if recommender.feedback == "implicit" else "ratings"
    gained = {f"n_new_{name}": after[name] - before[name] for name in after}
    if as_json:
        sizes = {f"n_{name}": count for name, count in after.items()}
        ending = {"status": recommender.status_.name, "seconds": seconds, "model": str(target)}
        show_json({**gained, **sizes, **ending})
        return
    names = {"users": "users", "items": "items", "observed": f"pairs with {what}"}
    shown = [(names[name], f"{after[name]:,}, {gained[f'n_new_{name}']:,} of them new") for name in after]
    show([*shown, ("status", recommender.status_.name), ("model", str(target))])


def forget(
    model: Model,
    user: Annotated[
        list[str] | None, typer.Option("--user", metavar="<user>", help="A user, or a file of users. Repeatable.")
    ] = None,
    item: Annotated[
        list[str] | None, typer.Option("--item", metavar="<item>", help="An item, or a file of items. Repeatable.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File for the new model. Default: MODEL is replaced.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Remove users or items from a model.

    Their ids, ratings, vectors and features are removed. If one of them is unknown, nothing is.
    """
    if not user and not item:
        raise WrongUse("no user or item to forget is given; use --user or --item")
    refuse_stdin_twice(*(user or ()), *(item or ()))
    target = output or model
    check_output(target)
    recommender = dmc.Recommender.load(model)
    of_users, of_items, _ = recommender.columns_
    before = _sizes(recommender)
    recommender.forget(listed(user or None, of_users, None, "--user"), listed(item or None, of_items, None, "--item"))
    with told_of_interrupts():
        recommender.save(target)
    forgotten = {name: count - _sizes(recommender)[name] for name, count in before.items()}
    if as_json:
        show_json({f"n_forgotten_{name}": count for name, count in forgotten.items()} | {"model": str(target)})
        return
    names = {"users": "users", "items": "items", "observed": "ratings or clicks"}
    shown = [(names[name], f"{count:,} forgotten") for name, count in forgotten.items()]
    show([*shown, ("model", str(target))])


def _sizes(model: Any) -> dict[str, int]:
    return {"users": len(model.users_), "items": len(model.items_), "observed": model.n_observed_}
