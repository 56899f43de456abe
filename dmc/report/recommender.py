"""A report of a fitted recommender: one HTML page that needs nothing else, to read and to pass on."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import metrics
from dmc.plots import FIRST, SECOND, Line, Panel
from dmc.recommend import evaluation
from dmc.recommend.recommender import Recommender
from dmc.recommend.settings import IN_FILES
from dmc.report import html, titles as item_titles
from dmc.report.html import Row, Section, written
from dmc.report.judged import LEVEL, Judged, bins, judge, own_ratings

LISTED = 12  # items whose neighbours are told,
NEIGHBOURS = 5  # and how many
NOTHING = 1e-3  # of the largest direction: one that is not drawn
SHOWN = 12  # rows of a long table
POPULARITY = (0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 100_000)  # where groups of items begin


def write(
    model: Recommender,
    path: str | os.PathLike[str],
    test: Any = None,
    titles: str | os.PathLike[str] | None = None,
    name: str = "Recommender",
) -> dict[str, Any]:
    """Write a report of a fitted recommender: one HTML file, with figures and without scripts, that loads nothing.

    Parameters
    ----------
    model : Recommender
    path : path
        Of the page; replaced if it exists.
    test : data frame, mapping of arrays, or path of a file, optional
        Ratings to judge by, with columns named as in the fit; left out: the model's own, and the page says so.
    titles : path, optional
        Of a file of item ids and titles: see `dmc.report.titles.names`.
    name : str
        What the page calls the model.

    Returns
    -------
    dict
        "rmse" and "mae" on the ratings that it is judged by, "n_ratings" of them, whether these are its "own", and how
        many "figures" the page has.

    Raises
    ------
    ValueError, TypeError, OSError
        If the ratings or the titles cannot be used, or the model holds preferences (implicit feedback) or was saved by
        a version that did not keep its ratings.
    ImportError
        If matplotlib is not installed.
    """
    if model.feedback == "implicit":
        raise ValueError(
            "this model was fitted to what happened, not to ratings, so there are no errors to report; judge its lists "
            "with dmc evaluate --model"
        )
    names = item_titles.names(model.items_, titles)
    judged = judge(model, test)
    found = [
        _rivals(model, test) if test is not None else None,
        _popularity(model, judged),
        _calibration(judged),
        _coverage(judged),
        _distribution(model, judged),
        _training(model),
        _spectrum(model),
        _nearest(model, names),
        _settings(model),
    ]
    sections = [section for section in found if section is not None]
    title = f"Report on {item_titles.readable(name)}"
    text = html.html(title, _how(model), _facts(model, judged), _notice(judged), sections, warns=judged.own)
    Path(path).write_text(text, encoding="utf-8")
    return {
        "rmse": metrics.rmse(judged.predicted, judged.actual),
        "mae": metrics.mae(judged.predicted, judged.actual),
        "n_ratings": len(judged.actual),
        "own": judged.own,
        "figures": sum(section.panel is not None for section in sections),
    }


# What is told -----------------------------------------------------------------------------------------------------


def _rivals(model: Recommender, test: Any) -> Section:
    verdicts = {"this model": evaluation.evaluate(model, test)}
    verdicts |= evaluation.baselines(own_ratings(model), test, 10, None, *model.columns_)
    measures = ("rmse", "mae", "precision", "recall", "ndcg", "coverage")
    labels = ("RMSE", "MAE", "precision", "recall", "NDCG", "coverage")
    first = verdicts["this model"]
    return Section(
        "Beside simple rivals",
        f"Errors of {first.n_ratings:,} predicted ratings (lower is better), and lists of {first.n} for "
        f"{first.n_users:,} users who rated something at least {written(first.relevant)}, the mean (higher is better). "
        "“biases” is the mean with a deviation of each user and item; “popularity” recommends what was rated most.",
        ("", *verdicts),
        [(label, *(getattr(v, name) for v in verdicts.values())) for label, name in zip(labels, measures, strict=True)],
    )


def _popularity(model: Recommender, judged: Judged) -> Section:
    group_of = np.searchsorted(POPULARITY, judged.popularity, side="right") - 1
    error, from_mean = (np.square(judged.actual - guess) for guess in (judged.predicted, np.float32(model.mean_)))
    rows = []
    for group in np.unique(group_of):
        here, begin = group_of == group, POPULARITY[group]
        end = POPULARITY[group + 1] - 1 if group + 1 < len(POPULARITY) else None
        label = f"{begin:,}" if begin == end else f"{begin:,}–{end:,}" if end else f"{begin:,}+"
        errors = (math.sqrt(float(squares[here].mean())) for squares in (error, from_mean))
        rows.append((label, int(here.sum()), *errors))
    labels, _, ours, mean = zip(*rows, strict=True)
    places = np.arange(len(rows))
    return Section(
        "Error by popularity",
        f"Root mean squared error on {judged.named}, by how often their item was rated in the fit, beside that "
        "of predicting the mean rating for all: of items that are seldom rated little is known.",
        ("ratings of the item", "judged", "RMSE", "of the mean"),
        rows,
        Panel(
            "",
            "ratings of the item in the fit, from … on",
            "RMSE (units of the ratings)",
            [
                Line(places, ours, "this model", {"color": FIRST}, bars=0.7),
                Line(places, mean, "the mean for all", {"color": SECOND, "marker": "o", "linestyle": "none"}),
            ],
            ylim=(0, 1.25 * max(*ours, *mean, 1e-12)),
            xticks=tuple(_short(label) for label in labels),
        ),
    )


def _short(label: str) -> str:
    """The beginning of a range: there is little room below an axis."""
    return label.split("–")[0].rstrip("+").replace(",000", "k")


def _calibration(judged: Judged) -> Section:
    rows = []
    for here in bins(judged):
        actual = judged.actual[here].astype(np.float64)
        error = 2 * float(actual.std()) / math.sqrt(len(here))
        rows.append((len(here), float(judged.predicted[here].mean(dtype=np.float64)), float(actual.mean()), error))
    _, predicted, mean, doubt = (np.array(column) for column in zip(*rows, strict=True))
    ends = np.array([min(predicted.min(), mean.min()), max(predicted.max(), mean.max())])
    return Section(
        "Calibration",
        f"What {judged.named} are on average where the model predicts so much, in groups of about equal size. On the "
        "dashed line predictions are neither too bold nor too timid; the band is two standard errors.",
        ("group", "ratings", "mean predicted", "mean actual", "± 2 s.e."),
        [(f"{number}", *row) for number, row in enumerate(rows, 1)],
        Panel(
            "",
            "mean predicted rating",
            "mean actual rating",
            [
                Line(ends, ends, "as predicted", {"color": SECOND, "linestyle": "--"}),
                Line(predicted, mean, "this model", {"color": FIRST, "marker": "o"}, (mean - doubt, mean + doubt)),
            ],
        ),
    )


def _coverage(judged: Judged) -> Section | None:
    if judged.lower is None or judged.upper is None:
        return None
    inside = (judged.lower <= judged.actual) & (judged.actual <= judged.upper)
    width = judged.upper - judged.lower
    groups = bins(judged)
    rows = [
        (len(here), *(float(of[here].mean(dtype=np.float64)) for of in (judged.predicted, inside, width)))
        for here in groups
    ]
    _, predicted, share, _ = zip(*rows, strict=True)
    everywhere = ("all", len(inside), float(judged.predicted.mean()), float(inside.mean()), float(width.mean()))
    caution = " They were fitted, so these shares flatter it: judge by --test." if judged.own else ""
    return Section(
        f"Coverage of the {LEVEL:.0%} intervals",
        f"How many of {judged.named} lie between the bounds given for them, by predicted rating; {LEVEL:.0%} are "
        f"promised on average.{caution}",
        ("group", "ratings", "mean predicted", "inside", "mean width"),
        [*((f"{number}", *row) for number, row in enumerate(rows, 1)), everywhere],
        Panel(
            "",
            "mean predicted rating",
            "share inside the bounds",
            [
                Line(predicted, [LEVEL] * len(rows), "promised", {"color": SECOND, "linestyle": "--"}),
                Line(predicted, share, "found", {"color": FIRST, "marker": "o"}),
            ],
            ylim=(min(0.5, *share), 1.02),
        ),
    )


def _distribution(model: Recommender, judged: Judged) -> Section:
    distinct = np.unique(judged.actual)
    if len(distinct) <= 20:
        centres = distinct.astype(np.float64)
        labels: list[object] = [f"{value:.6g}" for value in distinct.tolist()]
    else:
        low, high = min(judged.actual.min(), judged.predicted.min()), max(judged.actual.max(), judged.predicted.max())
        ends = np.linspace(low, high, 21)
        centres = (ends[1:] + ends[:-1]) / 2
        labels = [f"{a:.4g} to {b:.4g}" for a, b in pairwise(ends.tolist())]
    edges = (centres[1:] + centres[:-1]) / 2
    shares = [
        np.bincount(np.searchsorted(edges, values), minlength=len(centres)) / len(values)
        for values in (judged.actual, judged.predicted)
    ]
    gap = float(np.diff(centres).min()) if len(centres) > 1 else 1.0
    return Section(
        "Ratings and predictions",
        f"How {judged.named} and their predictions are spread. Predictions are means of what might be, so they keep to "
        "the middle more than ratings do.",
        ("rating", "share of ratings", "share of predictions"),
        [(label, *pair) for label, *pair in zip(labels, *(share.tolist() for share in shares), strict=True)],
        Panel(
            "",
            "rating" if len(distinct) > 20 else "rating (predictions: the nearest one)",
            "share",
            [
                Line(centres, shares[0], "ratings", {"color": FIRST}, bars=0.8 * gap),
                Line(centres, shares[1], "predictions", {"color": SECOND, "marker": "o"}),
            ],
            ylim=(0, 1.2 * float(np.max(shares))),
        ),
    )


def _training(model: Recommender) -> Section | None:
    if not model.history_:
        return None
    of_network = "validation_rmse" in model.history_[0]
    key = "validation_rmse" if of_network else "noise"
    unit, error = ("step", "error on held-out ratings") if of_network else ("sweep", "estimated noise")
    looks = [(look["n_steps"], look[key]) for look in model.history_]
    steps, errors = zip(*looks, strict=True)
    text = (
        "Root mean squared error on ratings that were held out, as training went on; the best model was kept."
        if of_network
        else "Standard deviation of a rating around its prediction, as the fit estimates it after each sweep over all "
        "ratings; it ends when sweeps no longer change the model."
    )
    return Section(
        "Training",
        text,
        (unit, error),
        [(f"{n:,}", value) for n, value in _some(looks)],
        Panel("", unit, error, [Line(steps, errors, "", {"color": FIRST, "marker": "."})]),
    )


def _spectrum(model: Recommender) -> Section:
    f = model.factors_
    sizes = np.asarray(f.singular_values()).astype(np.float64) / math.sqrt(math.prod(f.shape))
    kept = sizes[: max(2 * model.rank_, 20)]
    kept = kept[: max(1, int((kept > NOTHING * kept[:1]).sum()))]
    numbers = np.arange(1, len(kept) + 1)
    share = np.cumsum(sizes**2) / max(float(np.sum(sizes**2)), np.finfo(float).tiny)
    inside = numbers <= model.rank_
    lines = [Line(numbers[inside], kept[inside], "stand out of the noise", {"color": FIRST}, bars=0.7)]
    if not inside.all():
        lines.append(Line(numbers[~inside], kept[~inside], "do not", {"color": SECOND}, bars=0.7))
    return Section(
        "Spectrum of the low-rank part",
        "How much each direction of taste moves ratings: root mean square over all users and items, biases left out. "
        f"Directions that stand out of the noise: {model.rank_:,}; that is the rank.",
        ("direction", "size (units of the ratings)", "share of the squares so far"),
        [(f"{n}", size, part) for n, size, part in zip(numbers, kept, share, strict=False)],
        Panel("", "direction", "size (units of the ratings)", lines, ylim=(0, 1.25 * max(float(kept.max()), 1e-12)))
        if len(kept)
        else None,
    )


def _nearest(model: Recommender, names: NDArray[np.str_]) -> Section:
    n_ratings = np.bincount(model.observations_.cols, minlength=len(model.items_))
    most = np.argsort(-n_ratings, kind="stable")[:LISTED]
    found = model.similar_items(model.items_.ids[most], NEIGHBOURS)
    of = model.items_.positions(found[model.columns_[1]])
    similar = model.items_.positions(found["similar"])
    rows = []
    for place in most.tolist():
        mine = np.flatnonzero(of == place)
        near = [f"{names[similar[i]]} {found['similarity'][i]:.2f}" for i in mine]
        rows.append((str(names[place]), int(n_ratings[place]), "; ".join(near)))
    return Section(
        "Nearest items",
        "Items that the same people are predicted to rate alike, for those rated most often; behind each the cosine, "
        "1 at most.",
        ("item", "ratings", "nearest"),
        rows,
    )


def _some(rows: Sequence[Row]) -> list[Row]:
    """Evenly spaced ones of many, the first and the last among them."""
    places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), SHOWN)).round().astype(int))
    return [rows[place] for place in places]


# The head of the page, and its end --------------------------------------------------------------------------------


def _facts(model: Recommender, judged: Judged) -> dict[str, object]:
    where = "own ratings" if judged.own else "test ratings"
    return {
        "ratings": model.n_observed_,
        "users": len(model.users_),
        "items": len(model.items_),
        "of all pairs rated": f"{100 * model.n_observed_ / (len(model.users_) * len(model.items_)):.2g} %",
        "mean rating": model.mean_,
        "lowest to highest": " to ".join(f"{end:.6g}" for end in model.range_),
        "rank": model.rank_,
        "noise": model.noise_,
        f"RMSE, {where}": metrics.rmse(judged.predicted, judged.actual),
        f"MAE, {where}": metrics.mae(judged.predicted, judged.actual),
    }


def _how(model: Recommender) -> str:
    network = model.model == "network"
    kind, steps = ("a compressed deep network", "steps") if network else ("variational Bayes", "sweeps")
    many = f", the mean of {model.ensemble:,} models" if model.ensemble > 1 else ""
    return f"Fitted by {kind}{many}, in {model.n_iter_:,} {steps}; {model.status_}."


def _notice(judged: Judged) -> str:
    if judged.own:
        return (
            "No test ratings were given, so the model is judged by the ratings that it was fitted to; its errors on "
            "new ratings are larger. dmc report --test FILE judges it fairly."
        )
    strange = int((judged.popularity == 0).sum())
    unknown = f"; {strange:,} of them are of items without a rating in the fit" if strange else ""
    return f"Judged by {len(judged.actual):,} ratings that were given to test it{unknown}."


def _settings(model: Recommender) -> Section:
    kinds = (f"column of {kind}" for kind in ("users", "items", "ratings"))
    rows: list[Row] = list(zip(kinds, model.columns_, strict=True))
    for name in IN_FILES:
        value = getattr(model, name)
        rows.append((name.replace("_", " "), "not given" if value is None else str(value)))
    return Section("Settings", "What the fit was told.", ("setting", "value"), rows)
