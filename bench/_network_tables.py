"""Tables of docs/benchmarks/compressed-against-full.md: networks, their starts and their rates."""

from __future__ import annotations

from typing import Any

import numpy as np

from _harness import cases
from _measured import repeated_by, table

Row = dict[str, Any]


@repeated_by("trajectory-300", "trajectory-1000", of={"compressed_vs_full": ("",)})
def against_full() -> list[str]:
    small, large = cases("compressed_vs_full", "d=300 | "), cases("compressed_vs_full", "d=1000 | ")
    lines = table(
        "network, d = 300",
        "recovery error at the end",
        "steps run",
        "steps to 1e-6 of the first error",
        "seconds, setup included",
        "ms a step",
    )
    for name, row in small.items():
        reached = f"{row['steps_to_1e_6']:,}" if row["steps_to_1e_6"] else "never"
        spent = f"{row['seconds']:.1f} | {1e3 * row['seconds_a_step']:.2f}"
        lines.append(f"| {name} | {row['error']:.0e} | {row['steps']:,} | {reached} | {spent} |")
    ratio = [rows["full width"]["seconds_a_step"] / rows["compressed"]["seconds_a_step"] for rows in (small, large)]
    whole = small["full width"]["seconds"] / small["compressed"]["seconds"]
    return [
        *lines,
        "",
        f"At d = 300 the full-width network takes {whole:.0f} times as long as the compressed one, setup included, and "
        f"{ratio[0]:.0f} times as long a step; at d = 1,000 a step takes {ratio[1]:.0f} times as long (timed over "
        f"{large['full width']['steps']} steps: the full network was not run to its end). One seed.",
    ]


GOALS = ("steps_to_half", 0.5), ("steps_to_a_tenth", 0.1), ("steps_to_1e_2", 1e-2), ("steps_to_1e_6", 1e-6)


def reached(course: list[list[float]]) -> list[str]:
    """Steps to each of GOALS along the recovery errors at the looks of a run."""
    first = course[0][1]
    found = (next((n for n, error, *_ in course if error <= goal * first), None) for _, goal in GOALS)
    return ["never" if n is None else f"{n:,}" for n in found]


@repeated_by(
    "follow-100",
    "follow-300",
    "follow-1000",
    "trajectory-300",
    of={"follows_full": ("d=",), "compressed_vs_full": ("d=300 | full",)},
)
def follows_full() -> list[str]:
    """The full network and both compressed ones, at the published γ and at that of equal rates."""
    lines = table("d", "network", "steps to half of the first error", "to a tenth", "to 1e-2", "to 1e-6")
    for d in (100, 300, 1000):
        for name, row in cases("follows_full", f"d={d} | ").items():
            if "estimated_from_steps" in row:  # it is timed there, and trained to the end, if at all, elsewhere
                row = cases("compressed_vs_full", f"d={d} | ").get(name, {})
            cells = reached(row["course"]) if "course" in row else ["not run to the end", *["–"] * (len(GOALS) - 1)]
            lines.append(f"| {d:,} | {name} | {' | '.join(cells)} |")
    return [*lines, "", "One seed; looks every 250 steps at d = 100 and 300, every 500 at d = 1,000."]


@repeated_by("follow-why", "follow-100", of={"follows_full": ("why | ", "d=100 | ")})
def follows_why() -> list[str]:
    """One thing changed at a time: γ, the width r̂ of the start, the share observed, its subspace."""
    found = cases("follows_full", "why | ")
    lines = table(
        "d = 100: steps to half / to 1e-6", *(name.replace("%", " %").replace(" | ", " observed, ") for name in found)
    )
    labels = {_role(label): None for row in found.values() for label in row["runs"]}
    for role in labels:
        cells = [
            next((_pair(run) for label, run in row["runs"].items() if _role(label) == role), "–")
            for row in found.values()
        ]
        lines.append(f"| {role} | {' | '.join(cells)} |")
    return [*lines, "", *(later(kind) for kind in ("γ = 0.01", "γ = σ^(−2/3)"))]


def later(gamma: str) -> str:
    """How many more steps than the full network the closed start takes to 1e-6, on all matrices with 30 % observed."""
    whole = {_role(name): row for name, row in cases("follows_full", "d=100 | ").items()}
    every = [
        {_role(name): run for name, run in row["runs"].items()} for row in cases("follows_full", "why | 30%").values()
    ]
    more = [
        runs[f"closed, {gamma}"]["steps_to_1e_6"] / runs["full width"]["steps_to_1e_6"] - 1 for runs in (whole, *every)
    ]
    which = "the published γ = 0.01" if gamma == "γ = 0.01" else "the matching γ"
    shown = ", ".join(f"{round(100 * part):+d} %" for part in more)
    return (
        f"- Closed start, {which}: {shown} steps to 1e-6 against the full network on {len(more)} matrices "
        "with 30 % observed (seeds 0, 10 and 11)."
    )


def _role(label: str) -> str:
    """The label of a run without the number that differs from matrix to matrix."""
    label = "full width" if label == "full" else label
    before, _, gamma = label.partition("γ = ")
    return f"{before}γ = 0.01" if gamma == "0.01" else f"{before}γ = σ^(−2/3)" if gamma else label


def _pair(run: Row) -> str:
    half, end = (f"{run[goal]:,}" if run[goal] else "never" for goal in ("steps_to_half", "steps_to_1e_6"))
    return f"{half} / {end}"


@repeated_by("follow-bound", of={"follows_full": ("bound | ",)})
def follows_bound() -> list[str]:
    lines = table("everything observed", "steps", "largest distance", "distance over the bound: least", "most")
    for name, row in cases("follows_full", "bound | ").items():
        ratios = f"{row['smallest_ratio']:.6f} | {row['largest_ratio']:.6f}"
        lines.append(f"| {name} | {row['steps']:,} | {row['largest_distance']:.1e} | {ratios} |")
    return lines


@repeated_by("narrow", of={"narrow": ("",)})
def narrow_networks() -> list[str]:
    lines = table("rank bound r̂ (width 2r̂)", "compressed: steps", "seconds", "narrow: steps", "seconds")
    rows = {tuple(name.split(" | ")): row for name, row in cases("narrow", "").items()}
    for bound in dict.fromkeys(bound for _, bound in rows):
        both = (rows[kind, bound] for kind in ("compressed", "narrow"))
        cells = (f"{row['steps']:,} | {row['seconds']:.1f}" for row in both)
        lines.append(f"| {bound} | {' | '.join(cells)} |")
    return [*lines, "", "Steps to 1e-6 of the first recovery error. One seed."]


@repeated_by("outer-rate", "kwon", of={"rates": ("",)})
def outer_rates() -> list[str]:
    lines = table("outer rate", "recovery error at the end", "steps to 1e-6 of the first error")
    for name, row in cases("rates", "").items():
        steps = f"{row['steps_to_1e_6']:,}" if row["steps_to_1e_6"] else "never"
        lines.append(f"| {name} | {row['error']:.0e} | {steps} |")
    return [*lines, "", "γ: d = 300, 40,000 steps; α: d = 100, until 1e-6. One seed."]


@repeated_by("few-samples", of={"depth": ("few samples | ",)})
def depths() -> list[str]:
    lines = table("layers", "relative error: median (range of 5 seeds)", "steps: median (range)")
    for name, row in cases("depth", "few samples | depth ").items():
        errors, steps = row["errors"], row["steps"]
        spread = f"{np.median(errors):.0e} ({min(errors):.0e} – {max(errors):.0e})"
        lines.append(f"| {name} | {spread} | {np.median(steps):,.0f} ({min(steps):,} – {max(steps):,}) |")
    return lines


@repeated_by("depth-and-width", of={"depth": ("width ",)})
def depth_and_width() -> list[str]:
    lines = table("width", "two layers: relative error", "three layers: relative error", "three layers: steps")
    rows = {tuple(name.split(" | depth ")): row for name, row in cases("depth", "width ").items()}
    for width in dict.fromkeys(width for width, _ in rows):
        errors = (rows[width, layers]["errors"] for layers in ("2", "3"))
        cells = " | ".join(f"{np.median(e):.0e} ({min(e):.0e} – {max(e):.0e})" for e in errors)
        steps = rows[width, "3"]["steps"]
        lines.append(f"| {width} | {cells} | {np.median(steps):,.0f} ({min(steps):,} – {max(steps):,}) |")
    return [*lines, "", "Median (range) of five seeds."]


@repeated_by("accuracy", of={"plateau": ("",)})
def plateau() -> list[str]:
    title = "estimated over measured length of the plateau"
    lines = table("start", f"{title}: smallest", "median", "largest", "within a factor of two")
    for name, row in cases("plateau", "estimated over measured | ").items():
        figures = " | ".join(f"{row[figure]:.2f}" for figure in ("smallest", "median", "largest"))
        lines.append(f"| {name} | {figures} | {row['within_a_factor_of_two']} of {row['settings']} |")
    return lines


@repeated_by("parsimony", "fully-observed", of={"theory": ("parsimony | ", "fully observed | ")})
def parsimony() -> list[str]:
    lines = table("start scale ε", "inputs", "largest entry outside the blocks", "ρ − predicted ρ", "ρ")
    for name, row in cases("theory", "parsimony | ").items():
        scale, _, inputs = name.partition(" | ")
        figures = f"{row['off_block']:.0e} | {row['rho_deviation']:.0e} | {row['rho']:.4f}"
        lines.append(f"| {scale.removeprefix('ε = ')} | {inputs} | {figures} |")
    bounds = [
        f"{row['compression_error']:.3e} of {row['bound']:.3e} ({name})"
        for name, row in cases("theory", "fully observed | ").items()
    ]
    return [*lines, "", f"Compression error and its bound, everything observed: {'; '.join(bounds)}."]


@repeated_by("sensing", of={"theory": ("sensing | ",)})
def sensing() -> list[str]:
    lines = table("network", "parameters", "relative error", "steps")
    for name, row in cases("theory", "sensing | ").items():
        lines.append(f"| {name} | {row['parameters']:,} | {row['relative_error']:.0e} | {row['steps']:,} |")
    return [*lines, "", "One seed."]
