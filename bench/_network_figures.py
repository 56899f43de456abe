"""Figures of deep linear networks: what follows what, what makes training fast, where it ends."""

from __future__ import annotations

import numpy as np

from _harness import cases
from dmc import plots

NETWORKS = {"compressed, outer factors frozen": "compressed, γ = 0"}


def _line(course: list[list[float]], name: str, contender: str, since: float = 0, **changes: object) -> plots.Line:
    """From a step on: what comes before is one plateau."""
    steps, values = np.array([point for point in course if point[0] >= since]).T
    return plots.Line(steps, values, name, plots.style(contender, marker="", **changes))


def against_full() -> list[plots.Panel]:
    """Networks at d = 300 by steps and by seconds."""
    by_steps, by_seconds = [], []
    for name, row in cases("compressed_vs_full", "d=300 | ").items():
        contender = NETWORKS.get(name, name)
        by_steps.append(_line(row["course"], name, contender, 20_000))
        seconds = [[row["seconds"] - row["seconds_a_step"] * (row["steps"] - n), error] for n, error in row["course"]]
        by_seconds.append(_line(seconds, name, contender, 1))
    first = next(iter(cases("compressed_vs_full", "d=300 | ").values()))["course"][0][1]
    reached = "1e-6 of the first"
    limits, note = (1e-10, 0.1), "300 × 300, rank 5, 30 % observed"
    return [
        plots.Panel(
            "Compressed: as many steps as full width",
            "step",
            "recovery error",
            by_steps,
            "log",
            ylim=limits,
            xlim=(20_000, 76_000),
            note=f"{note}; from step 20,000 on",
            thresholds=[plots.Threshold(1e-6 * first, reached, at=0.5)],  # where no curve is
        ),
        plots.Panel(
            "At a fraction of the time",
            "seconds, set-up included",
            "recovery error",
            by_seconds,
            "log",
            "log",
            ylim=limits,
            note=note,
            thresholds=[plots.Threshold(1e-6 * first, reached, at=0.66)],
        ),
    ]


OUTER_RATES = {
    "0": "compressed, γ = 0",
    "0.001": "compressed, γ = .001",
    "0.01": "compressed, γ = .01",
    "0.1": "compressed",
    "1": "compressed, γ = 1",
}


def rates() -> list[plots.Panel]:
    """The error at five rates of the outer factors."""
    lines = []
    for name, row in cases("rates", "γ = ").items():
        wide = {"linewidth": 3} if name == "0" else {}
        lines.append(_line(row["course"], f"γ = {name}", OUTER_RATES[name], 20_000, **wide))
    return [
        plots.Panel(
            "The outer factors must move, at γ times the rate of the cores",
            "step",
            "recovery error",
            lines,
            "log",
            ylim=(1e-16, 0.1),
            note="300 × 300, rank 5, 30 % observed, three layers; from step 20,000 on, where the plateau ends",
        )
    ]


def _of_depth(rows: dict[str, dict], depth: int) -> dict[float, dict]:
    return {float(name.split()[0]): row for name, row in rows.items() if name.endswith(f"depth {depth}")}


def _over_seeds(rows: dict[float, dict], measure: str, depth: int) -> plots.Line:
    """Median and range; of errors, of networks that have escaped alone."""
    values = np.array([rows[x][measure] for x in rows], dtype=float)
    if "steps_to_half" in next(iter(rows.values())):
        values[np.isnan(np.array([rows[x]["steps_to_half"] for x in rows], dtype=float))] = np.nan
    spread = values.min(axis=1), values.max(axis=1)
    name = f"{depth} layers"
    return plots.Line(list(rows), np.median(values, axis=1), name, plots.style(name), spread)


def depth() -> list[plots.Panel]:
    """The error of two and three layers by width."""
    rows = cases("depth", "width ")
    return [
        plots.Panel(
            "A width above the rank hurts two layers, not three",
            "width of the network (rank bound)",
            "relative error, whole matrix",
            [_over_seeds(_of_depth(rows, layers), "errors", layers) for layers in (2, 3)],
            "log",
            note="100 × 100, rank 10, 30 % observed; median and range of 5 seeds",
            thresholds=[plots.Threshold(10, "rank", "x", 0.5)],
        )
    ]


def speed() -> list[plots.Panel]:
    """Width, depth and ε against steps."""
    widths, scales = cases("depth", "width "), cases("depth", "ε = ")
    by_scale = {layers: _of_depth(scales, layers) for layers in (2, 3, 4)}
    start, note = "scale of the start, ε", "rank 5, width 20; median, range of 3 seeds"
    return [
        plots.Panel(
            "A wider network needs fewer steps",
            "width of the network",
            "steps until matched to 1e-4",
            [_over_seeds(_of_depth(widths, 3), "steps", 3)],
            "log",
            note="rank 10, ε = .01; median, range of 5 seeds",
            thresholds=[plots.Threshold(20_000, "stopped here")],
            ylim=(None, 27_000),
        ),
        plots.Panel(
            "A small start waits, the longer the deeper",
            start,
            "steps to half of the first value",
            [_over_seeds(rows, "steps_to_half", layers) for layers, rows in by_scale.items()],
            "log",
            "log",
            note=note,
        ),
        plots.Panel(
            "A large start leaves an error",
            start,
            "relative error, whole matrix",
            [_over_seeds(rows, "errors", layers) for layers, rows in by_scale.items()],
            "log",
            "log",
            note=f"{note}; without those still on the plateau",
        ),
    ]


FOLLOWING = {
    "full width": ("full width", {}),
    "closed, γ = 0.14": ("compressed", {}),
    "published, γ = 0.14": ("compressed", {"linestyle": (0, (1, 1.2)), "linewidth": 1.3}),
    "closed, γ = 0.01": ("compressed, γ = .01", {}),
    "published, γ = 0.01": ("compressed, γ = .01", {"linestyle": (0, (1, 1.2)), "linewidth": 1.3}),
}
MATCHING = "γ\u00a0=\u00a0σ^(−2/3)\u00a0=\u00a00.14"
BOUND = "√(d\u00a0−\u00a02r̂)\u00a0∏\u00a0ρ"
ESCAPES = 30_000  # from this step on: what comes before is one plateau


def follows_full() -> list[plots.Panel]:
    """Errors of the networks at d = 100, their distances, and how exactly the bound holds if all is observed."""
    rows = cases("follows_full", "d=100 | ")
    errors, apart = [], []
    for name, (contender, changes) in FOLLOWING.items():
        said = name.replace("closed", "closed start").replace("published", "published start")
        errors.append(_line(rows[name]["course"], said, contender, ESCAPES, **changes))
        if "distances" in rows[name]:
            apart.append(_line(rows[name]["distances"], said, contender, ESCAPES, **changes))
    first = rows["full width"]["course"][0][1]
    marks = [plots.Threshold(0.1 * first, "a tenth", at=0), plots.Threshold(1e-6 * first, "1e-6 of the first", at=0)]
    note = "100 × 100, rank 5, 30 % observed"
    return [
        plots.Panel(
            f"The closed start follows full width to a tenth of the error at γ = 0.01, and to the end at {MATCHING}",
            "step",
            "recovery error",
            errors,
            "log",
            note=f"{note}; from step 30,000 on, where the plateau ends",
            wide=True,
            thresholds=marks,
        ),
        plots.Panel(
            "They part at each step down, and join again",
            "step",
            "distance ÷ norm of matrix",
            apart,
            "log",
            note="from full width",
        ),
        _bound(),
    ]


def _bound() -> plots.Panel:
    lines = []
    for i, (name, row) in enumerate(cases("follows_full", "bound | ").items()):
        steps, distance, bound = np.array(row["course"]).T
        off = np.maximum(np.abs(distance / bound - 1), 1e-16)
        style = {"color": (plots.FIRST, plots.SECOND, plots.FOURTH)[i], "marker": "osD"[i], "markersize": 3}
        lines.append(plots.Line(steps[1:], off[1:], name.replace("d=", "d = "), style))
    return plots.Panel(
        "All observed: as far apart as the bound says",
        "step",
        "|distance ÷ bound − 1|",
        lines,
        "log",
        "log",
        note=f"outer factors frozen; bound {BOUND}",
        ylim=(1e-17, 1e-2),
    )


def narrow() -> list[plots.Panel]:
    """Compressed against random networks of the same width: steps and seconds by the rank bound."""
    found: dict[str, list[plots.Line]] = {"steps": [], "seconds": []}
    note = "300 × 300, rank 5, 30 % observed; one run each"
    for kind in ("compressed", "narrow"):
        mine = {int(name): row for name, row in cases("narrow", f"{kind} | ").items()}
        for measure, lines in found.items():
            lines.append(plots.Line(list(mine), [row[measure] for row in mine.values()], kind, plots.style(kind)))
    return [
        plots.Panel(title, "rank bound r̂ (width 2r̂)", label, found[measure], ylim=(0, None), note=note)
        for title, label, measure in (
            ("A random narrow network needs more steps", "steps to 1e-6 of the first error", "steps"),
            ("And more time", "seconds, set-up included", "seconds"),
        )
    ]


def separation() -> list[plots.Panel]:
    """Within ÷ between classes, layer by layer, by depth, start and ε."""
    rows = {tuple(name.split(" | ")): row for name, row in cases("theory", "separation | ").items()}

    def lines(chosen: list[tuple[str, str, str]], part: int) -> list[plots.Line]:
        found = []
        for i, key in enumerate(chosen):
            ratios, name = rows[key]["ratios"], key[part]
            scales = {"ε = 0.5": plots.SECOND, "ε = 0.3": plots.FIRST, "ε = 0.1": plots.THIRD}
            style = {"color": scales[name]} if name in scales else plots.style(name)
            # Large open marks below small full ones: some lines lie on each other.
            style |= {"marker": "osD"[i], "markersize": (10, 6.5, 3)[i], "markerfacecolor": "none" if i < 2 else ""}
            style = {key: value for key, value in style.items() if value != ""}
            found.append(plots.Line(range(len(ratios)), ratios, name, style))
        return found

    by_depth = [("orthogonal", f"{depth} layers", "ε = 0.3") for depth in (3, 5, 7)]
    by_start = [(kind, "5 layers", "ε = 0.3") for kind in ("orthogonal", "normal", "uniform")]
    by_scale = [("orthogonal", "4 layers", f"ε = {scale}") for scale in (0.5, 0.3, 0.1)]
    labelled = "layer (0: the inputs)", "variance within ÷ between"
    return [
        plots.Panel(
            "The same factor a layer at any depth", *labelled, lines(by_depth, 1), "log", note="of classes; ε = 0.3"
        ),
        plots.Panel("From any start of norm ε", *labelled, lines(by_start, 0), "log", note="5 layers, ε = 0.3"),
        plots.Panel("The smaller the start, the faster", *labelled, lines(by_scale, 2), "log", note="4 layers"),
    ]
