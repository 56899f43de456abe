"""Figures of trained models: a recommender's network, adapters, tuning of few layers."""

from __future__ import annotations

import numpy as np

from _adapter_tables import DEEP, LORA, PEFT, WORDS
from _harness import cases
from _tuning_tables import SIZES, WORDS as WAYS, measured
from dmc import plots
from network_curves import SETS

FEW, MANY = plots.style("few samples")["color"], plots.style("many samples")["color"]


def network_curves() -> list[plots.Panel]:
    """Held-out curves at width 256: median and range over seeds; and plain Adam's seeds where they are known."""
    panels = []
    for name in SETS:
        lines, lowest = [], np.inf
        for depth in (0, 2, 3):
            style = plots.style(f"{depth} cores", marker="")
            for rule, row in cases("network_curves", f"curve | {name} | width 256 | depth {depth} | ").items():
                errors, steps = np.array(row["errors"])[:, 1:], row["steps"][1:]  # step 0 has no place on a log axis
                lowest = min(lowest, errors.min())
                if rule == "plain Adam":
                    thin = {"color": plots.SOFT, "linestyle": "-", "linewidth": 0.8}
                    lines.append(plots.Line(steps, errors.T, f"{depth} cores, constant rate (each seed)", thin))
                else:
                    edges = errors.min(axis=0), errors.max(axis=0)
                    lines.append(plots.Line(steps, np.median(errors, axis=0), f"{depth} cores", style, spread=edges))
        if lines:
            limits = (0.985 * lowest, 1.15 * lowest)
            note = "width 256; median and range, 5 seeds"
            panels.append(plots.Panel(name, "step", "held-out RMSE", lines, xscale="log", ylim=limits, note=note))
    return panels


def adapters() -> list[plots.Panel]:
    """Adapters on few sentence pairs, each at its own rate; and by rank."""
    more, few = (cases("adapters", f"samples | {n} | ") for n in (256, 64))
    names, bars = list(WORDS), []
    for k, (rows, label, color) in enumerate(((few, "64 pairs", FEW), (more, "256 pairs", MANY))):
        there = [name for name in names if name in rows]
        heights = [rows[name]["pearson"] for name in there]
        ends = [[rows[name]["pearson"] + sign * rows[name]["spread"] for name in there] for sign in (-1, 1)]
        places = np.asarray([names.index(name) for name in there]) + 0.36 * (k - 0.5)
        bars.append(plots.Line(places, heights, label, {"color": color}, bars=0.34, whiskers=tuple(ends)))
    ticks = ["head\nonly", "LoRA,\nA normal", "LoRA,\nas peft", "deep", "compressed,\nrank 8", "compressed,\nrank 4"]
    short = {int(case.partition(" | ")[0]): row for case, row in cases("adapters", "β2 = .99 | ").items()}
    by_rank = {}
    for name in (LORA, PEFT, DEEP, f"{DEEP}, β2 = .99"):
        by_rank[name] = {8: more[name]} if name in more else short
        for case, row in cases("adapters", "rank | ").items():
            if case.endswith(f" | {name}"):
                by_rank[name][int(case.partition(" | ")[0])] = row
    ranks, lines = sorted(set().union(*by_rank.values())), []
    for name, found in by_rank.items():
        there = sorted(found)
        each = np.asarray([found[rank]["of_each"] for rank in there])
        places, spread = [ranks.index(rank) for rank in there], (each.min(axis=1), each.max(axis=1))
        lines.append(plots.Line(places, each.mean(axis=1), name, plots.style(name), spread))
    label = "Pearson correlation, test pairs"
    return [
        plots.Panel(
            "Few sentence pairs, each method at its own rate",
            "",
            label,
            bars,
            xticks=ticks,
            ylim=(0, None),
            note="STS-B; mean and standard deviation over 5 seeds",
        ),
        plots.Panel(
            "By the rank of the adapter",
            "rank",
            label,
            lines,
            xticks=[str(rank) for rank in ranks],
            ylim=(0, None),
            note="256 pairs; mean and range over 5 seeds",
        ),
    ]


def skip_tuning() -> list[plots.Panel]:
    """Ways to tune: accuracy, and how far the features collapsed."""
    names = [way for way in WAYS if any(way in measured(n) for n in SIZES)]
    panels = []
    for key, each, title, note, label in (
        ("accuracy", "of_each", "Accuracy, each way at its own rate", "mean", "accuracy, unseen sentences"),
        ("nc1", "nc1_of_each", "How far the features collapsed", "median", "NC1 on the training samples"),
    ):
        series = []
        for k, n in enumerate(SIZES):
            rows = {way: row for way, row in measured(n).items() if way in names}
            there = [i for i, way in enumerate(names) if way in rows]
            heights = [rows[names[i]][key] for i in there]
            ends = tuple([end(rows[names[i]][each]) for i in there] for end in (min, max))
            places = np.asarray(there) + 0.2 * (k - 0.5)
            style = plots.style(("few samples", "many samples")[k], linestyle="", markersize=7)  # no zero for bars here
            series.append(plots.Line(places, heights, f"{n:,} samples", style, whiskers=ends))
        ticks = [name.replace(" ", "\n") for name in names]
        chance = [plots.Threshold(0.5, "chance", at=0)] if key == "accuracy" else []
        limits, scale = ((0.48, None), "linear") if key == "accuracy" else ((None, None), "log")
        said = {"yscale": scale, "ylim": limits, "thresholds": chance, "note": f"SST-2; {note} and range over seeds"}
        panels.append(plots.Panel(title, "", label, series, xticks=ticks, **said))
    return panels
