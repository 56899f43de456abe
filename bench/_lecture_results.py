"""Diagrams of the lecture's experiments: what follows what, and what makes training fast."""

from __future__ import annotations

import numpy as np

from _harness import cases
from dmc import plots

THICK = {"color": "k", "linewidth": 3.5, "alpha": 0.35}


ESCAPES = 30_000  # from this step on: what comes before is one plateau


def _course(points: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    steps, values = np.array([point for point in points if point[0] >= ESCAPES]).T
    return steps, values


def follows_full_panels() -> list[plots.Panel]:
    """Errors of the three networks at d = 100, their distances, and the bound where everything is observed."""
    rows = cases("follows_full", "d=100 | ")
    errors, apart = [], []
    for i, (name, row) in enumerate(rows.items()):
        style = THICK if name == "full width" else {"color": f"C{i}"}
        errors.append(plots.Line(*_course(row["course"]), name, style))
        if "distances" in row:
            apart.append(plots.Line(*_course(row["distances"]), name, style))
    bounds = []
    for i, (name, row) in enumerate(cases("follows_full", "bound | ").items()):
        steps, distance, bound = np.array(row["course"]).T
        bounds.append(plots.Line(steps, distance, name, {"color": f"C{i}", "marker": "o", "markersize": 3}))
        label = "bound √(d − 2r̂) ∏ ρ" if i == 0 else ""
        bounds.append(plots.Line(steps, bound, label, {"color": "k", "linestyle": ":"}))
    return [
        plots.Panel("d = 100, 30 % observed: γ makes the tail", "step", "recovery error", errors, "log"),
        plots.Panel("they part at each escape, and join again", "step", "distance ÷ norm of the matrix", apart, "log"),
        plots.Panel("all observed: as far apart as the bound says", "step", "distance", bounds, ylim=(0, None)),
    ]


def narrow_panels() -> list[plots.Panel]:
    """Compressed against random networks of the same width: steps and seconds by the rank bound."""
    rows = cases("narrow", "")
    found = {"steps": [], "seconds": []}
    for kind, colour in (("compressed", "C0"), ("narrow", "C1")):
        mine = {int(name.partition("| ")[2]): row for name, row in rows.items() if name.startswith(kind)}
        for measure, lines in found.items():
            values = [row[measure] for row in mine.values()]
            lines.append(plots.Line(list(mine), values, kind, {"color": colour, "marker": "o"}))
    return [
        plots.Panel(title, "rank bound r̂ (width 2r̂)", ylabel, found[measure], ylim=(0, None))
        for title, ylabel, measure in (
            ("a random narrow network needs more steps", "steps to 1e-6 of the first error", "steps"),
            ("and more time", "seconds, set-up included", "seconds"),
        )
    ]


def speed_panels() -> list[plots.Panel]:
    """Width, depth and ε against steps."""
    widths, scales = cases("depth", "width "), cases("depth", "ε = ")

    def line(rows: dict[float, dict], measure: str, depth: int) -> plots.Line:
        values = np.array([rows[x][measure] for x in rows], dtype=float)
        if "steps_to_half" in next(iter(rows.values())):  # one that has not escaped has no error to draw
            values[np.isnan(np.array([rows[x]["steps_to_half"] for x in rows], dtype=float))] = np.nan
        style = {"color": f"C{depth - 2}", "marker": "o"}
        spread = values.min(axis=1), values.max(axis=1)
        return plots.Line(list(rows), np.median(values, axis=1), f"{depth} layers", style, spread)

    def of_depth(rows: dict[str, dict], depth: int) -> dict[float, dict]:
        return {float(name.split()[0]): row for name, row in rows.items() if name.endswith(f"depth {depth}")}

    by_scale = {depth: of_depth(scales, depth) for depth in (2, 3, 4)}
    return [
        plots.Panel(
            "wider is faster (rank 10, ε = .01)",
            "width of the network",
            "steps until matched to 1e-4",
            [line(of_depth(widths, 3), "steps", 3)],
            "log",
        ),
        plots.Panel(
            "a small start waits, the deeper the longer",
            "scale of the start, ε",
            "steps until half of the value is gone",
            [line(rows, "steps_to_half", depth) for depth, rows in by_scale.items()],
            "log",
            "log",
        ),
        plots.Panel(
            "a large one leaves an error (once escaped)",
            "scale of the start, ε",
            "relative error, whole matrix",
            [line(rows, "errors", depth) for depth, rows in by_scale.items()],
            "log",
            "log",
        ),
    ]


def separation_panels() -> list[plots.Panel]:
    """Within ÷ between classes, layer by layer, by depth, start and ε."""
    rows = {tuple(name.split(" | ")): row for name, row in cases("theory", "separation | ").items()}

    def lines(chosen: list[tuple[str, str, str]], part: int) -> list[plots.Line]:
        found = []
        for i, key in enumerate(chosen):
            style = {"color": f"C{i}", "marker": "o", "markersize": 10 - 3 * i}
            ratios = rows[key]["ratios"]
            found.append(plots.Line(range(len(ratios)), ratios, key[part], style))
        return found

    by_depth = [("orthogonal", f"{depth} layers", "ε = 0.3") for depth in (3, 5, 7)]
    by_start = [(kind, "5 layers", "ε = 0.3") for kind in ("orthogonal", "normal", "uniform")]
    by_scale = [("orthogonal", "4 layers", f"ε = {scale}") for scale in (0.5, 0.3, 0.1)]
    labelled = "layer (0: the inputs)", "variance within ÷ between classes"
    return [
        plots.Panel("the same factor at every depth (ε = .3)", *labelled, lines(by_depth, 1), "log"),
        plots.Panel("from any start of norm ε (5 layers, ε = .3)", *labelled, lines(by_start, 0), "log"),
        plots.Panel("the smaller the start, the faster (4 layers)", *labelled, lines(by_scale, 2), "log"),
    ]
