"""How good a model is: dmc evaluate and dmc report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import dmc
from dmc.cli.arguments import (
    Duplicates,
    Feedback,
    ItemColumn,
    ItemFeatures,
    Model,
    Rank,
    RatingColumn,
    TimeColumn,
    Titles,
    UserColumn,
    UserFeatures,
    WeightColumn,
    features,
    given,
    opened,
    refuse_stdin_twice,
)
from dmc.cli.interrupts import told_of_interrupts
from dmc.cli.output import Json, check_output, interactive, show, show_json
from dmc.cli.wording import WrongUse, check_share

Verdicts = dict[str, dict[str, Any]]  # of the recommender and of its rivals: what `Evaluation.asdict` gives
TIME = "timestamp"  # the column of times, unless another is named
Split = Literal["random", "user", "time", "leave-last-out"]
NO_MEASURES = ("n", "relevant", "confidence")  # numbers that say how it was judged


def evaluate(
    ratings: Annotated[
        Path | None, typer.Argument(help="Ratings or clicks to fit. Without --test, a part of them is held out.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", help="Saved model to evaluate instead of fitting RATINGS; needs --test.")
    ] = None,
    test: Annotated[Path | None, typer.Option("--test", help="Test ratings or clicks, not in the fit.")] = None,
    split: Annotated[
        Split | None,
        typer.Option(
            help="Hold out random ratings (the default), a share of each user's, the latest, or each user's last one."
        ),
    ] = None,
    test_fraction: Annotated[float, typer.Option(help="Share of the ratings to hold out.")] = 0.2,
    folds: Annotated[
        int | None, typer.Option(min=2, help="Cross-validate with this number of folds, and average.")
    ] = None,
    relevant: Annotated[
        float | None, typer.Option(help="Rating from which an item counts as relevant. Default: the mean test rating.")
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Length of the recommended lists.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
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
    as_json: Json = False,
) -> None:
    """Evaluate a recommender on held-out ratings or clicks.

    A recommender is fitted to RATINGS, or a saved one is given by --model and --test. It is shown next to simple
    baselines. Ratings are judged by prediction errors and by lists, clicks by lists only.
    """
    _check_use(ratings, model, test, split, folds)
    check_share(test_fraction, "--test-fraction")
    refuse_stdin_twice(ratings, test, user_features, item_features)
    if model is not None and test is not None:
        judge = dmc.Recommender.load(model)
        judged = opened(test, (*judge.columns_, time))
        found = [{"recommender": dmc.evaluation.evaluate(judge, judged, n, relevant).asdict()}]
        _show_verdicts(found, judge.feedback == "implicit", as_json)
        return
    assert ratings is not None
    columns = (user, item, rating)
    table = opened(ratings, (*columns, time or TIME, weight))
    parts: Sequence[tuple[Any, Any]]
    if test is not None:
        parts = [(table, opened(test, (*columns, time, weight)))]
    else:
        parts = _split(table, split or "random", folds, test_fraction, seed, user, item, time or TIME)
    described = {"user_features": features(user_features, user), "item_features": features(item_features, item)}
    more = given(weight=weight, time=time if duplicates == "latest" else None, **described)
    found = []
    for train, judged in parts:
        rivals = dmc.evaluation.baselines(  # first: quick to tell what is wrong
            train, judged, n, relevant, *columns, feedback=feedback
        )
        fitted = dmc.Recommender(rank, feedback=feedback, verbose=interactive())
        with told_of_interrupts():
            fitted.fit(train, *columns, duplicates, **more)
        verdicts = {"recommender": dmc.evaluation.evaluate(fitted, judged, n, relevant), **rivals}
        found.append({name: verdict.asdict() for name, verdict in verdicts.items()})
    _show_verdicts(found, feedback == "implicit", as_json)


def _check_use(ratings: Any, model: Any, test: Any, split: Any, folds: Any) -> None:
    if (ratings is None) == (model is None) or (model is not None and test is None):
        raise WrongUse("evaluate takes RATINGS to fit, or --model MODEL with --test FILE; give one of the two")
    ways = [option for option, value in (("--test", test), ("--split", split), ("--folds", folds)) if value is not None]
    if len(ways) > 1:
        raise WrongUse(f"{' and '.join(ways)} both choose the test ratings; give only one of them")


def _split(
    table: Any, by: Split, folds: int | None, test_fraction: float, seed: int, user: str, item: str, time: str
) -> Sequence[tuple[Any, Any]]:
    """Parts to fit, each with one to judge by."""
    if folds is not None:
        return dmc.evaluation.split(table, "folds", seed=seed, user=user, item=item, time=time, n_folds=folds)
    return [dmc.evaluation.split(table, by, test_fraction, seed, user=user, item=item, time=time)]


def _show_verdicts(found: Sequence[Verdicts], clicks: bool, as_json: bool) -> None:
    """Of one split, or the means of several."""
    means = {name: _mean([verdicts[name] for verdicts in found]) for name in found[0]}
    if as_json:
        show_json(means if len(found) == 1 else {**means, "folds": found})
        return
    verdict = means["recommender"]
    relevant = verdict["relevant"]  # None of clicks, and of ratings none of which is left to judge by
    sought = "chosen" if clicks else "rated high" if relevant is None else f"rated {relevant:.4g} or more"
    of_folds = f" in each of {len(found)} folds" if len(found) > 1 else ""
    strangers = verdict.get("n_unknown_users", 0)
    typer.echo(
        f"{verdict['n_ratings']:,} test {'clicks' if clicks else 'ratings'}{of_folds}; lists of {verdict['n']} for "
        f"{verdict['n_users']:,} users with items {sought}"
        + (f", {strangers:,} of them not known" if strangers else "")
    )
    measures = [name for name, value in verdict.items() if isinstance(value, float) and name not in NO_MEASURES]
    intervals = verdict.get("intervals", {})
    last = [f"{verdict['confidence']:.0%} interval"] if intervals else []
    rows = [
        (measure, [_figure(of.get(measure)) for of in means.values()] + _bounds(intervals, measure))
        for measure in measures
    ]
    width = max(map(len, means))
    for name, fields in [("", [*means, *last]), *((name.replace("_", " "), fields) for name, fields in rows)]:
        typer.echo(f"  {name:17}  {'  '.join(field.rjust(width) for field in fields)}".rstrip())


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _bounds(intervals: dict[str, Sequence[float]], measure: str) -> list[str]:
    return [" to ".join(map(_figure, intervals[measure]))] if measure in intervals else []


def _mean(verdicts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of each measure over several folds, and of each count; what is no number is left out."""
    if len(verdicts) == 1:
        return verdicts[0]
    found: dict[str, Any] = {}
    for name, first in verdicts[0].items():
        values = [verdict[name] for verdict in verdicts]
        if first is None or any(value is None for value in values):
            found[name] = None
        elif isinstance(first, int):
            found[name] = round(sum(values) / len(values))
        elif isinstance(first, float):
            found[name] = first if values.count(first) == len(values) else sum(values) / len(values)
    return found


def report(
    model: Model,
    test: Annotated[Path | None, typer.Option("--test", help="Test ratings. Default: the fitted ratings.")] = None,
    titles: Titles = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="HTML file to write.")] = Path("dmc-report.html"),
    as_json: Json = False,
) -> None:
    """Write an HTML report about a model.

    It shows errors, calibration, training, spectrum and similar items, in one file that needs no network.
    """
    check_output(output, model, test, titles)
    from dmc.report import recommender as reports

    recommender = dmc.Recommender.load(model)
    judged = None if test is None else opened(test, recommender.columns_)
    with told_of_interrupts():
        found = reports.write(recommender, output, judged, titles, model.name)
    if as_json:
        show_json({"page": str(output), **found})
        return
    what = f"{found['n_ratings']:,} {'fitted' if found['own'] else 'test'} rows"
    measures = [
        (f"{name.replace('_', ' ')} ({what})", f"{value:.4f}")
        for name, value in found.items()
        if isinstance(value, float)
    ]
    show([*measures, ("page", str(output))])
