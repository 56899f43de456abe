"""The tables of docs/guide/adapters.md, and the figure of bench/adapters.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from _harness import cases
from _measured import repeated_by

Row = dict[str, Any]
LORA, PEFT, DEEP = "LoRA, A normal", "LoRA, as peft", "deep"
WORDS = {
    "head only": "the head alone",
    LORA: 'LoRA, A standard normal (`layers=2, start="normal"`)',
    PEFT: 'LoRA as peft starts it (`layers=2, start="kaiming"`)',
    DEEP: "deep (`layers=3`)",
    "compressed, rank 8": "deep, compressed, rank 8",
    "compressed, rank 4": "deep, compressed, rank 4",
}


@repeated_by("adapters", "adapter-steps", of={"adapters": ("samples | ", "step | ")}, script="adapters")
def few_samples() -> list[str]:
    lines = [
        "| | Pearson, 64 pairs | Pearson, 256 pairs | rate (γ) | parameters | σ2/σ1 | stable rank | a step |",
        "|---|---|---|---|---|---|---|---|",
    ]
    few, more, steps = (cases("adapters", prefix) for prefix in ("samples | 64 | ", "samples | 256 | ", "step | "))
    for name, words in WORDS.items():
        row, rate, learnt = more[name], "–", "– | – | – | –"
        if "parameters" in row:
            rate = f"{row['rate']:g}" + (f" ({row['outer_ratio']:g})" if "compressed" in name else "")
            learnt = (
                f"{row['parameters']:,.0f} | {row['second_over_first']:.3f} | {row['stable_rank']:.2f} | "
                f"{steps[name]['of_lora']:.2f}"
            )
        lines.append(f"| {words} | {_spread(few.get(name))} | {_spread(row)} | {rate} | {learnt} |")
    return lines


@repeated_by(
    "adapter-rank", "adapter-memory", of={"adapters": ("rank | ", "β2 = .99 | ", "samples | 256 | ")}, script="adapters"
)
def ranks() -> list[str]:
    found = {(8, name): row for name, row in cases("adapters", "samples | 256 | ").items()}
    for case, row in cases("adapters", "rank | ").items():
        width, _, name = case.partition(" | ")
        found[int(width), name] = row
    widths = sorted({width for width, _ in found})
    lines = ["| rank | " + " | ".join(map(str, widths)) + " |", "|---|" + "---|" * len(widths)]
    for name in (LORA, PEFT, DEEP):
        rows = [found.get((width, name)) for width in widths]
        lines.append(f"| {name}: Pearson | " + " | ".join(map(_spread, rows)) + " |")
        directions = ("–" if row is None else f"{row['above_a_tenth']:.0f}" for row in rows)
        lines.append(f"| {name}: directions above σ1/10 | " + " | ".join(directions) + " |")
    short = {int(case.partition(" | ")[0]): row for case, row in cases("adapters", "β2 = .99 | ").items()}
    lines.append("| deep, β2 = .99: Pearson | " + " | ".join(_spread(short.get(width)) for width in widths) + " |")
    return lines


def _spread(row: Row | None) -> str:
    if row is None:
        return "–"
    return f"{row['pearson']:.3f} ± {row['spread']:.3f}"


@repeated_by("adapters", of={"adapters": ("samples | 256 | ",)}, script="adapters")
def differences() -> list[str]:
    rows = cases("adapters", "samples | 256 | ")
    lines = []
    for rival in (LORA, PEFT):
        each = np.subtract(rows[DEEP]["of_each"], rows[rival]["of_each"])
        lines.append(
            f"- Deep minus {WORDS[rival].partition(' (')[0]}, 256 pairs, seed by seed: "
            f"{', '.join(f'{value:+.3f}' for value in each)}; mean {each.mean():+.3f}."
        )
    return lines
