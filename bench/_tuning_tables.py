"""The table of docs/guide/collapse-and-transfer.md, and the figure of bench/skip_tuning.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from _harness import cases
from _measured import repeated_by

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
