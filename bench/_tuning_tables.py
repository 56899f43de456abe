"""The table of docs/guide/collapse-and-transfer.md, and the figure of bench/skip_tuning.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from _harness import cases
from _measured import repeated_by
from dmc import plots

SIZES = (64, 1024)
WORDS = {
    "linear probe": "`LinearProbe`",
    "one layer": "`LayerTuning`",
    "skip connection": "`SkipConnectionTuning`",
    "everything": "`FullTuning`",
}


def measured(n: int) -> dict[str, Any]:
    """The ways that have results with so many samples."""
    return cases("skip_tuning", f"samples | {n} | ")


@repeated_by("skip-tuning", of={"skip_tuning": ("samples | ",)}, script="skip_tuning")
def ways_to_tune() -> list[str]:
    lines = [
        "| | share of the parameters | "
        + " | ".join(f"accuracy, {n:,} samples (seeds) | NC1, {n:,} samples" for n in SIZES)
        + " |",
        "|---" * (2 + 2 * len(SIZES)) + "|",
    ]
    for way, words in WORDS.items():
        rows = [measured(n).get(way) for n in SIZES]
        there = [row for row in rows if row]
        if not there:
            continue
        told = [_told(row) if row else "– | –" for row in rows]
        lines.append(f"| {words} | {there[0]['share']:.3%} | " + " | ".join(told) + " |")
    return lines


def _told(row: dict[str, Any]) -> str:
    return f"{row['accuracy']:.3f} ± {row['spread']:.3f} ({len(row['of_each'])}) | {row['nc1']:.2g}"


@repeated_by("skip-tuning", of={"skip_tuning": ("samples | ",)}, script="skip_tuning")
def skip_less_layer() -> list[str]:
    lines = []
    for n in SIZES:
        skip, layer = (np.asarray(measured(n)[way]["of_each"]) for way in ("skip connection", "one layer"))
        lines.append(
            f"- Skip connection minus one layer, {n:,} samples, seed by seed: "
            f"{', '.join(f'{value:+.3f}' for value in skip - layer)}; mean {np.mean(skip - layer):+.3f}."
        )
    return lines


def skip_tuning_panels() -> list[plots.Panel]:
    names = [way for way in WORDS if any(way in measured(n) for n in SIZES)]
    panels = []
    for key, each, title, label in (
        (
            "accuracy",
            "of_each",
            "SST-2, each way at its own rate\n(mean and range over seeds)",
            "accuracy, unseen sentences",
        ),
        ("nc1", "nc1_of_each", "How far the features collapsed\n(median and range over seeds)", "NC1 on the samples"),
    ):
        bars = []
        for k, n in enumerate(SIZES):
            rows = {way: row for way, row in measured(n).items() if way in names}
            there = [i for i, way in enumerate(names) if way in rows]
            heights = [rows[names[i]][key] for i in there]
            ends = tuple([end(rows[names[i]][each]) for i in there] for end in (min, max))
            places = np.asarray(there) + 0.36 * (k - 0.5)
            style = {"color": plots.COLORS[k]}
            bars.append(plots.Line(places, heights, f"{n:,} samples", style, bars=0.34, whiskers=ends))
        ticks = [name.replace(" ", "\n") for name in names]
        limits, scale = ((0.5, None), "linear") if key == "accuracy" else ((None, None), "log")
        panels.append(plots.Panel(title, "", label, bars, xticks=ticks, ylim=limits, yscale=scale))
    return panels
