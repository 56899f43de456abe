"""Sections of a report on the model itself: how it was fitted, what it holds, what is near to what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc.plots import COLORS, FIRST, SECOND, Line, Panel
from dmc.recommend.recommender import Recommender
from dmc.recommend.settings import IN_FILES
from dmc.report.digits import Measured, rounded
from dmc.report.html import Row, Section
from dmc.report.judged import n_ratings

MOST_RATED = 12  # items whose neighbours are told,
NEIGHBOURS = 5  # and how many
NOTHING = 1e-3  # of the largest direction: one that is not drawn
SHOWN = 12  # rows of a long table
MARKERS = "osD^v"


def training(model: Recommender) -> Section | None:
    """The course of a fit to ratings."""
    if not model.history_:
        return None
    of_network = "validation_rmse" in model.history_[0]
    key = "validation_rmse" if of_network else "noise"
    unit, error = ("step", "error on held-out ratings") if of_network else ("sweep", "estimated noise")
    looks = [(look["n_steps"], look[key]) for look in model.history_]
    text = (
        "Root mean squared error on ratings that were held out, as training went on; the best model was kept."
        if of_network
        else "Standard deviation of a rating around its prediction, as the fit estimates it after each sweep over all "
        "ratings; it ends when sweeps no longer change the model."
    )
    return _course("Training", text, unit, error, looks)


def search(model: Recommender, trials: Sequence[dict[str, Any]]) -> Section | None:
    """The search for the ridge and the rank of preferences: what each setting reached on held-out clicks."""
    if not trials:
        return None
    rank = model.user_factors.shape[1] - 2  # two columns are those of biases, which preferences do not have
    of_this = [trial for trial in trials if trial["rank"] == rank] or trials
    best = max(of_this, key=lambda trial: trial["ndcg"])
    lines = []
    for k, width in enumerate(sorted({trial["rank"] for trial in trials})):
        of_rank = sorted((trial["ridge"], trial["ndcg"], trial["noise"]) for trial in trials if trial["rank"] == width)
        ridges, scores, noise = (np.array(column) for column in zip(*of_rank, strict=True))
        style = {"color": COLORS[k % len(COLORS)], "marker": MARKERS[k % len(MARKERS)]}
        lines.append(Line(ridges, scores, f"rank {width:,}", style, whiskers=(scores - noise, scores + noise)))
    return Section(
        "Search for the rank and the ridge",
        "How well fits without a tenth of the clicks rank that tenth (NDCG of the first 50 places, higher is better), "
        "in the order tried. ± is the standard error of the gain over the best before, of the first its own: a weaker "
        "ridge or a higher rank has to gain more. "
        f"The fit to all clicks has factors {rank:,} wide; with rank {best['rank']:,} a ridge of "
        f"{rounded(best['ridge'])} did best.",
        ("trial", "rank", "ridge", "NDCG, held out"),
        [
            (f"{k}", trial["rank"], trial["ridge"], Measured(trial["ndcg"], trial["noise"]))
            for k, trial in enumerate(trials, 1)
        ],
        Panel("", "ridge", "NDCG on held-out clicks", lines, xscale="log"),
    )


def descent(model: Recommender) -> Section | None:
    """The last fit of preferences, to all clicks."""
    looks = [(look["n_steps"], look["value"]) for look in model.history_ if look.get("phase") == "fit"]
    if not looks or looks[-1][1] <= 0:
        return None
    last = looks[-1][1]
    above = [(n - looks[0][0] + 1, 100 * (value / last - 1)) for n, value in looks]
    text = (
        "The fit to all clicks: how far the penalised squared error over all pairs of users and items was above its "
        "last value after each sweep. It begins with the best of the search, if there was one."
    )
    return _course("Descent", text, "sweep", "above the last value (%)", above)


def _course(title: str, text: str, unit: str, measure: str, looks: Sequence[tuple[int, float]]) -> Section:
    steps, values = zip(*looks, strict=True)
    return Section(
        title,
        text,
        (unit, measure),
        [(f"{n:,}", value) for n, value in _some(looks)],
        Panel("", unit, measure, [Line(steps, values, "", {"color": FIRST, "marker": "."})]),
    )


def spectrum(model: Recommender) -> Section:
    f, clicks = model.factors_, model.feedback == "implicit"
    sizes = np.asarray(f.singular_values()).astype(np.float64) / math.sqrt(math.prod(f.shape))
    kept = sizes[: max(2 * model.rank_, 20)]
    kept = kept[: max(1, int((kept > NOTHING * kept[:1]).sum()))]
    numbers = np.arange(1, len(kept) + 1)
    share = np.cumsum(sizes**2) / max(float(np.sum(sizes**2)), np.finfo(float).tiny)
    inside = numbers <= model.rank_
    rows: list[Row] = [(f"{n}", size, part) for n, size, part in zip(numbers, kept, share, strict=False)]
    unit = "size (preference)" if clicks else "size (units of the ratings)"
    lines = [
        Line(numbers[inside], kept[inside], "" if clicks else "stand out of the noise", {"color": FIRST}, bars=0.7)
    ]
    if not inside.all():
        lines.append(Line(numbers[~inside], kept[~inside], "do not", {"color": SECOND}, bars=0.7))
    text = (
        f"How much each direction of taste moves preferences: root mean square over all users and items. "
        f"{model.rank_:,} directions have more than a thousandth of the largest one's size."
        if clicks
        else "How much each direction of taste moves ratings: root mean square over all users and items, biases left "
        f"out. Directions that stand out of the noise: {model.rank_:,}; that is the rank."
    )
    return Section(
        "Spectrum of the low-rank part",
        text,
        ("direction", unit, "share of the squares so far"),
        _some(rows) if len(rows) > 2 * SHOWN else rows,
        Panel("", "direction", unit, lines, ylim=(0, 1.25 * max(float(kept.max()), 1e-12))) if len(kept) else None,
    )


def nearest(model: Recommender, names: NDArray[np.str_]) -> Section:
    counts = n_ratings(model)
    most = np.argsort(-counts, kind="stable")[:MOST_RATED]
    most = most[counts[most] > 0]
    found = model.similar_items(model.items_.ids[most], NEIGHBOURS)
    of = model.items_.positions(found[model.columns_[1]])
    similar = model.items_.positions(found["similar"])
    rows = []
    for place in most.tolist():
        mine = np.flatnonzero(of == place)
        near = [f"{names[similar[i]]} {found['similarity'][i]:.2f}" for i in mine]
        rows.append((str(names[place]), int(counts[place]), "; ".join(near)))
    alike, often, what = (
        ("to prefer", "chosen", "users") if model.feedback == "implicit" else ("to rate alike", "rated", "ratings")
    )
    return Section(
        "Nearest items",
        f"Items that the same people are predicted {alike}, for those {often} most often; behind each the cosine, "
        "1 at most.",
        ("item", what, "nearest"),
        rows,
    )


def settings(model: Recommender) -> Section:
    kinds = (f"column of {kind}" for kind in ("users", "items", "ratings"))
    rows: list[Row] = list(zip(kinds, model.columns_, strict=True))
    for name in IN_FILES:
        value = getattr(model, name)
        rows.append((name.replace("_", " "), "not given" if value is None else str(value)))
    return Section("Settings", "Parameters of the fit.", ("setting", "value"), rows)


def _some(rows: Sequence[Any]) -> list[Any]:
    """Evenly spaced ones of many, the first and the last among them."""
    places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), SHOWN)).round().astype(int))
    return [rows[place] for place in places]
