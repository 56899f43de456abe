"""The tables of docs/guide/tensors.md, from the results of bench/tensors.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from _harness import cases
from _measured import repeated_by, table

PUBLISHED = {
    "40% random": "BTMF 30.0 / .240, HaLRTC 31.8 / .190",
    "70% random": "LRTC-TNN 29.6 / .202",
    "40% days": "TRMF 37.9 / .260, BTMF 46.0",
}
WORDS = {
    "40% random": "40 % at random",
    "70% random": "70 % at random",
    "40% days": "40 % of the stations' days, whole",
}


@repeated_by("planted-tensors", of={"tensors": ("planted | ",)})
def planted_tensors() -> list[str]:
    told = cases("tensors", "planted | ")
    lines = table(
        "planted tensor", "recovered, multi-rank exact", "CPU seconds, slowest of 5 seeds", "with `tube=` given"
    )
    for name, row in told.items():
        case, _, how = name.partition(" | ")
        if how != "nothing told":
            continue
        ratio = row["largest_ratio_to_oracle"]
        what = f"{row['found']} of {row['seeds']}"
        if ratio is not None:
            what = f"error {ratio:.4f} × that of Gauss–Newton given the multi-rank"
        named = told[f"{case} | tube told"]["most_processor_seconds"]
        words = case.replace("r=3 ", "").replace("noise 0.1", "noise .1")
        lines.append(f"| {words} | {what} | {row['most_processor_seconds']:.1f} | {named:.1f} |")
    return lines


@repeated_by("metro", "metro-unfoldings", "tensor-candidates", of={"tensors": ("metro | ", "candidates | ")})
def metro() -> list[str]:
    lines = table("missing", "counts", "square roots", "best unfolding, square roots", "published")
    for kind, words in WORDS.items():
        ours = " | ".join(_told(cases("tensors", f"metro | {kind} | ")[how]) for how in ("counts", "square roots"))
        lines.append(f"| {words} | {ours} | {_best_unfolding(kind)} | {PUBLISHED[kind]} |")
    return lines


def _told(row: dict[str, Any]) -> str:
    return f"{row['rmse']:.1f} ({row['rmse_where_anybody']:.1f} / {row['mape']:.3f})"


def _best_unfolding(kind: str) -> str:
    whole = cases("tensors", f"metro | {kind} | unfolding ")
    if whole:
        best = min(whole.values(), key=lambda row: row["rmse"])
        return f"{best['rmse']:.1f} ({best['masks']} masks)"
    masks = cases("tensors", f"candidates | {kind}, mask ").values()
    errors = [np.mean([row[f"unfolding_{axis}"] for row in masks]) for axis in range(3)]
    return f"{min(errors):.1f} ({len(masks)} masks)"


@repeated_by("tensor-photograph", of={"tensors": ("photograph | ",)})
def tensor_photograph() -> list[str]:
    lines = [
        "| 70 % missing of | tube = colours | the axis that is taken | channel by channel |",
        "|---|---|---|---|",
    ]
    for name, words in (("entries", "single entries"), ("pixels", "whole pixels")):
        rows = cases("tensors", f"photograph | 213×320 | {name} | ")
        found = [f"{rows[how]['decibels_where_missing']:.1f} dB" for how in ("tube 2", "tube auto", "channels apart")]
        lines.append(f"| {words} | " + " | ".join(found) + " |")
    return lines
