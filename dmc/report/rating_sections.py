"""Sections of a report on predicted ratings: how far they are off, and where."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dmc.plots import FIRST, SECOND, Line, Panel
from dmc.recommend.recommender import Recommender
from dmc.report import over_users
from dmc.report.digits import Measured, plain, rounded
from dmc.report.html import Row, Section
from dmc.report.judged import LEVEL, JudgedRatings, bins, by_count

PROMISED = f"{100 * LEVEL:g} %"
MAX_DISTINCT = 20  # ratings of a scale: of more, ranges are counted


def by_popularity(model: Recommender, judged: JudgedRatings) -> Section:
    from_mean = np.float32(model.mean_).astype(np.float64) - judged.actual
    rows = []
    for label, here in by_count(judged.popularity):
        errors = (over_users.rmse(of[here], judged.users[here]) for of in (judged.errors, from_mean))
        rows.append((label, int(here.sum()), *errors))
    labels, _, ours, mean = zip(*rows, strict=True)
    places = np.arange(len(rows))
    top = max(*(value + (error or 0) for value, error, _ in (*ours, *mean)), 1e-12)
    return Section(
        "Error by popularity",
        f"Root mean squared error on {judged.named}, by how often their item was rated in the fit, beside that "
        "of predicting the mean rating for all: of items that are seldom rated little is known. Whiskers are two "
        "standard errors each way.",
        ("ratings of the item", "judged", "RMSE", "of the mean"),
        rows,
        Panel(
            "",
            "ratings of the item in the fit, from … on",
            "RMSE (units of the ratings)",
            [
                Line(places, values(ours), "this model", {"color": FIRST}, bars=0.7, whiskers=ends(ours)),
                Line(places, values(mean), "the mean for all", {"color": SECOND, "marker": "o", "linestyle": "none"}),
            ],
            ylim=(0, 1.3 * top),
            xticks=tuple(short(label) for label in labels),
        ),
    )


def values(of: tuple[Measured, ...]) -> list[float]:
    return [one.value for one in of]


def ends(of: tuple[Measured, ...], errors: float = 2) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """So many standard errors below, and above; none where they are not known."""
    middle, half = np.array(values(of)), errors * np.array([np.nan if one.error is None else one.error for one in of])
    return middle - half, middle + half


def short(label: str) -> str:
    """The beginning of a range: there is little room below an axis."""
    return label.split("–")[0].rstrip("+").replace(",000", "k")


def calibration(judged: JudgedRatings) -> Section:
    rows: list[tuple[int, Measured, Measured]] = []
    for here in bins(judged):
        actual = over_users.mean(judged.actual[here], judged.users[here])
        predicted = float(judged.predicted[here].mean(dtype=np.float64))
        rows.append((len(here), Measured(predicted, actual.error, bare=True), actual))
    _, predicted_means, means = zip(*rows, strict=True)
    across = values(predicted_means)
    line = np.array([min(across + values(means)), max(across + values(means))])
    return Section(
        "Calibration",
        f"What {judged.named} are on average where the model predicts so much, in groups of about equal size. On the "
        "dashed line predictions are neither too bold nor too timid; whiskers are two standard errors each way.",
        ("group", "ratings", "mean predicted", "mean actual"),
        [(f"{number}", *row) for number, row in enumerate(rows, 1)],
        Panel(
            "",
            "mean predicted rating",
            "mean actual rating",
            [
                Line(line, line, "as predicted", {"color": SECOND, "linestyle": "--"}),
                Line(across, values(means), "this model", {"color": FIRST, "marker": "o"}, whiskers=ends(means)),
            ],
        ),
    )


def coverage(judged: JudgedRatings) -> Section | None:
    if judged.lower is None or judged.upper is None:
        return None
    inside = (judged.lower <= judged.actual) & (judged.actual <= judged.upper)
    width = judged.upper - judged.lower
    rows, shares, across = [], [], []
    for name, here in [*((f"{k}", here) for k, here in enumerate(bins(judged), 1)), ("all", np.arange(len(inside)))]:
        share = over_users.share(inside[here], judged.users[here])
        bounds = (Measured(end, share.measured().error, bare=True) for end in (share.low, share.high))
        predicted, wide = (float(of[here].mean(dtype=np.float64)) for of in (judged.predicted, width))
        rows.append((name, len(here), predicted, share.measured(), *bounds, wide))
        shares.append(share)
        across.append(predicted)
    _, low, high = shares[-1]
    held = (
        "That agrees with the promised share"
        if low <= LEVEL <= high
        else f"That is {'more' if low > LEVEL else 'less'} than was promised"
    )
    caution = "; but these ratings were fitted, which makes the share too good: use --test." if judged.own else "."
    del shares[-1], across[-1]
    found, lowest, highest = (list(of) for of in zip(*shares, strict=True))
    return Section(
        f"Coverage of the {PROMISED} intervals",
        f"How many of {judged.named} lie between the bounds given for them, by predicted rating, with 95 % intervals; "
        f"{PROMISED} are promised on average. {held}{caution}",
        ("group", "ratings", "mean predicted", "inside", "from", "to", "mean width"),
        rows,
        Panel(
            "",
            "mean predicted rating",
            "share inside the bounds",
            [
                Line(_around(across), [LEVEL] * 2, "promised", {"color": SECOND, "linestyle": "--"}),
                Line(across, found, "found", {"color": FIRST, "marker": "o"}, whiskers=(lowest, highest)),
            ],
            ylim=(max(0, min(0.8, *(low - 0.03 for low in lowest))), 1.02),
        ),
    )


def _around(across: list[float]) -> tuple[float, float]:
    """Ends of a line that is seen where there is one group alone, too."""
    least, most = min(across), max(across)
    more = (most - least) / 20 or max(abs(most), 1.0) / 20
    return least - more, most + more


def distribution(judged: JudgedRatings) -> Section:
    distinct = np.unique(judged.actual)
    of_scale = len(distinct) <= MAX_DISTINCT
    if of_scale:
        centres = distinct.astype(np.float64)
        labels = [plain(value) for value in distinct.tolist()]
    else:
        low, high = min(judged.actual.min(), judged.predicted.min()), max(judged.actual.max(), judged.predicted.max())
        edges = np.linspace(low, high, MAX_DISTINCT + 1)
        centres = (edges[1:] + edges[:-1]) / 2
        labels = [f"{rounded(a)} to {rounded(b)}" for a, b in pairwise(edges.tolist())]
    between = (centres[1:] + centres[:-1]) / 2
    nearest = [np.searchsorted(between, of) for of in (judged.actual, judged.predicted)]
    shares = [[over_users.mean(of == k, judged.users) for k in range(len(centres))] for of in nearest]
    rows: list[Row] = list(zip(labels, *shares, strict=True))
    gap = float(np.diff(centres).min()) if len(centres) > 1 else 1.0
    actual, predicted = (values(tuple(of)) for of in shares)
    return Section(
        "Ratings and predictions",
        f"How {judged.named} and their predictions are spread. Predictions are expected values, so they spread less "
        "than ratings do.",
        ("rating", "share of ratings", "share of predictions"),
        rows,
        Panel(
            "",
            "rating (predictions: the nearest one)" if of_scale else "rating",
            "share",
            [
                Line(centres, actual, "ratings", {"color": FIRST}, bars=0.8 * gap),
                Line(centres, predicted, "predictions", {"color": SECOND, "marker": "o"}),
            ],
            ylim=(0, 1.3 * max(*actual, *predicted)),
        ),
    )
