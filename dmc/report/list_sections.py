"""Sections of a report on lists: to whom and of what they are good, and how much they keep to what is popular."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dmc import metrics
from dmc.plots import FIRST, SECOND, THIRD, Line, Panel
from dmc.recommend.judging.held_out import TestSet
from dmc.recommend.recommender import Recommender
from dmc.report import over_users
from dmc.report.digits import Measured, rounded
from dmc.report.html import Row, Section
from dmc.report.judged import LISTED, Lists, Positions, by_count, n_ratings
from dmc.report.rating_sections import ends, short, values

MEASURES = ("recall", "ndcg", "hit_rate")
HEADER = ("users", "recall", "NDCG", "hit rate", "recall by popularity")


def by_popularity(model: Recommender, tests: TestSet, ours: Lists, popular: Lists) -> Section:
    """How well items are found that many, or few, have chosen."""
    wanted = model.items_.positions(tests.wanted[1])
    counts = np.append(n_ratings(model), 0)[wanted]  # the last is a stranger's
    pairs = tests.wanted[0], np.where(wanted >= 0, wanted, -1 - np.unique(tests.wanted[1], return_inverse=True)[1])
    rows: list[Row] = []
    for label, here in by_count(counts):
        sought = pairs[0][here], pairs[1][here]
        rows.append((label, int(here.sum()), *_measured(ours, popular, sought)))
    return _section(
        "Lists by popularity of the wanted items",
        "Share of the items that users chose in the test that are in their lists, by how many users had chosen the "
        "item in the fit: items that few have chosen are harder to recommend. Each group counts only its own items; "
        "whiskers are two standard errors each way.",
        ("users of the item", "sought", *HEADER),
        rows,
        "users of the item in the fit, from … on",
    )


def by_activity(model: Recommender, tests: TestSet, ours: Lists, popular: Lists) -> Section:
    """How well users are served who have chosen much, or little."""
    n_own = np.append(np.diff(model.seen_.indptr), 0)[model.users_.positions(tests.listed)]
    wanted = tests.wanted[0], np.unique(tests.wanted[1], return_inverse=True)[1]
    known = model.items_.positions(tests.wanted[1])
    wanted = wanted[0], np.where(known >= 0, known, -1 - wanted[1])
    rows: list[Row] = []
    for label, group in by_count(n_own):
        here = group[wanted[0]]
        rows.append((label, int(here.sum()), *_measured(ours, popular, (wanted[0][here], wanted[1][here]))))
    return _section(
        "Lists by activity of the users",
        "The same, by how much the user had chosen in the fit: little is known about users who have chosen little.",
        ("items of the user", "sought", *HEADER),
        rows,
        "items of the user in the fit, from … on",
    )


def _measured(ours: Lists, popular: Lists, sought: tuple[Positions, Positions]) -> list[object]:
    """How many users seek, three measures of our lists, and the recall of the popular ones."""
    found = [metrics.hits((of.to, of.items), sought) for of in (ours, popular)]
    n_users = len(found[0][1])
    users = np.arange(n_users)
    of_ours = [over_users.mean(getattr(metrics, name).per_user(*found[0], LISTED), users) for name in MEASURES]
    return [n_users, *of_ours, over_users.mean(metrics.recall.per_user(*found[1], LISTED), users)]


def _section(title: str, text: str, header: Sequence[str], rows: Sequence[Row], xlabel: str) -> Section:
    labels, _, _, recall, _, _, popular = zip(*rows, strict=True)
    places, (low, high) = np.arange(len(rows)), ends(recall)
    top = max(*(value + 2 * (error or 0) for value, error, _ in (*recall, *popular)), 1e-3)
    return Section(
        title,
        text,
        header,
        rows,
        Panel(
            "",
            xlabel,
            f"recall in lists of {LISTED}",
            [
                Line(
                    places,
                    values(recall),
                    "this model",
                    {"color": FIRST},
                    bars=0.7,
                    whiskers=(np.maximum(low, 0), high),
                ),
                Line(places, values(popular), "popularity", {"color": SECOND, "marker": "o", "linestyle": "none"}),
            ],
            ylim=(0, 1.3 * top),
            xticks=tuple(short(label) for label in labels),
        ),
    )


def long_tail(model: Recommender, ours: Lists, popular: Lists | None, tests: TestSet | None) -> Section:
    """The popularity of what is recommended, beside that of what was chosen."""
    counts = n_ratings(model)
    kind = "chosen" if model.feedback == "implicit" else "rated"
    columns: list[tuple[str, Positions, Positions | None]] = [
        ("of the items", np.arange(len(counts)), None),
        (
            f"of what was {kind}",
            np.asarray(model.seen_.indices),
            np.repeat(np.arange(len(model.users_)), np.diff(model.seen_.indptr)),
        ),
        ("of the lists", ours.items, ours.to),
    ]
    if tests is not None:
        at = model.items_.positions(tests.wanted[1])
        columns.insert(2, ("of what was sought", at[at >= 0], tests.wanted[0][at >= 0]))
    if popular is not None:
        columns.append(("of lists by popularity", popular.items, popular.to))
    columns = [column for column in columns if len(column[1])]
    rows: list[Row] = []
    for label, here in by_count(counts):
        shares = [
            float(here.mean()) if users is None else over_users.mean(here[items], users) for _, items, users in columns
        ]
        rows.append((label, *shares))
    return Section(
        "The long tail",
        f"How popular the recommended items are. {_spread(model, ours, counts, kind)}",
        ("users of the item", *(f"share {name}" for name, _, _ in columns)),
        rows,
        _tail_panel([name for name, _, _ in columns], rows, kind),
    )


def _tail_panel(names: Sequence[str], rows: Sequence[Row], kind: str) -> Panel:
    labels = [str(row[0]) for row in rows]
    places = np.arange(len(rows))
    styles = {
        f"of what was {kind}": (f"{kind} in the fit", {"color": "#b0b0b0"}),
        "of the lists": ("lists of this model", {"color": FIRST, "marker": "o"}),
        "of lists by popularity": ("lists by popularity", {"color": SECOND, "marker": "s", "linestyle": ":"}),
        "of what was sought": ("sought in the test", {"color": THIRD, "marker": "D", "linestyle": "--"}),
    }
    lines, top = [], 0.0
    for k, name in enumerate(names, 1):
        if name not in styles:
            continue
        label, style = styles[name]
        shares = [share.value for row in rows if isinstance(share := row[k], Measured)]
        top = max(top, *shares)
        lines.append(Line(places, shares, label, style, bars=0.7 if "marker" not in style else None))
    xlabel = "users of the item in the fit, from … on"
    return Panel("", xlabel, "share", lines, ylim=(0, 1.45 * top), xticks=[short(label) for label in labels])


def _spread(model: Recommender, ours: Lists, counts: Positions, kind: str) -> str:
    """Coverage, novelty and concentration, in words."""
    n_items, recommended = len(counts), np.bincount(ours.items, minlength=len(counts))
    if not len(ours.items):
        return "Nothing is recommended."
    n_users = int((np.diff(model.seen_.indptr) > 0).sum())
    bits = over_users.mean(metrics.novelty.per_user(ours.to, counts[ours.items], n_users), np.unique(ours.to))
    covered = float((recommended > 0).mean())
    return (
        f"The lists of {len(ours.users):,} users hold {rounded(100 * covered)} % of the items; an item in "
        f"them carries {rounded(bits.value, bits.error)} bits on average, as one that one in {rounded(2**bits.value)} "
        f"users has. Half of all places go to {_half(recommended):,} of the {n_items:,} items; half of what was {kind} "
        f"in the fit to {_half(counts):,}."
    )


def _half(counts: NDArray[np.int64]) -> int:
    """How many items make up half."""
    down = np.cumsum(np.sort(counts)[::-1])
    return int(np.searchsorted(down, math.ceil(down[-1] / 2)) + 1)
