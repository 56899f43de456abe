"""Figures of the library beside others: tables, completion, ratings, kernels, size."""

from __future__ import annotations

from typing import Any

import numpy as np

from _completion_tables import IMPUTERS, SHARES, draws
from _harness import cases
from _recovery_tables import MATRIX_IRLS, of_run
from dmc import plots


def tables() -> list[plots.Panel]:
    """One panel for each table: the error of each imputer by how much is hidden, with the range over draws."""
    hidden = [int(share.removesuffix("%")) for share in SHARES]
    panels = []
    for data in draws("mean", SHARES[0]):
        lines = []
        for i, label in enumerate(IMPUTERS):
            errors = np.array([draws(label, share)[data] for share in SHARES])
            places = np.array(hidden) + 0.9 * (i - len(IMPUTERS) / 2)  # beside each other, not over each other
            style = plots.style(label.removesuffix("()"), markersize=3, linewidth=1.1 if i else 2)
            spread = errors.min(axis=1), errors.max(axis=1)
            lines.append(plots.Line(places, errors.mean(axis=1), label.removesuffix("()"), style, whiskers=spread))
        first = len(panels) % 4 == 0
        ylabel = "error ÷ spread of column" if first else ""
        ticks = plots.Panel(data, "entries hidden, %", ylabel, lines, ylim=(0, 1.25), xlim=(0, 60))
        panels.append(ticks)
    return panels


RECOMMENDERS = {"dmc": "Recommender"}


def recommend() -> list[plots.Panel]:
    """Error by time on planted ratings; a deep network's error by steps, with and without regularisation."""
    points: dict[str, list[tuple[float, float]]] = {}
    for name, row in cases("recommend", "planted | ").items():
        if "rank=" not in name and "ensemble" not in name:
            points.setdefault(name.partition(", ")[0], []).append((row["seconds"], row["test_rmse"]))
    by_time = []
    for name, found in points.items():
        seconds, errors = zip(*sorted(found), strict=True)
        named = RECOMMENDERS.get(name, name)
        by_time.append(plots.Line(seconds, errors, named, plots.style(named, markersize=6)))
    courses: dict[str, list[plots.Line]] = {"regularised": [], "not regularised": []}
    for name, row in cases("recommend", "deep | ").items():
        how, _, cores = name.partition(" | ")
        steps, errors, _ = (np.array(column)[1:] for column in zip(*row["course"], strict=True))
        courses[how].append(plots.Line(steps, errors, cores, plots.style(cores, marker="")))
    note = "MovieLens 100K, u1; one seed"
    return [
        plots.Panel(
            "Planted ratings: error by time",
            "seconds, preparation included",
            "test RMSE",
            by_time,
            xscale="log",
            note="1.8 million ratings of a long tail, noise 0.500; each point a number of sweeps or epochs",
            wide=True,
        ),
        plots.Panel(
            "Regularised, a deep network keeps what it reached",
            "step",
            "test RMSE",
            courses["regularised"],
            xscale="log",
            ylim=(0.915, 1.0),
            note=note,
        ),
        plots.Panel(
            "Without it, training on and on does harm",
            "step",
            "test RMSE",
            courses["not regularised"],
            xscale="log",
            ylim=(0.915, 1.3),
            note=note,
        ),
    ]


def roofline() -> list[plots.Panel]:
    """Which share of the roofline the kernels reach, and how many times as long torch takes."""
    shares, rivals = [], []
    sizes = {size: cases("kernels", size) for size in ("in cache", "out of cache")}
    found = {size: {int(name.rpartition("| ")[2]): row for name, row in rows.items()} for size, rows in sizes.items()}
    widths = sorted(set().union(*found.values()))
    measured = [width for width in widths if all("share_of_roofline" in rows.get(width, {}) for rows in found.values())]
    for (size, rows), color, marker in zip(found.items(), (plots.FIRST, plots.SECOND), "os", strict=True):
        style: dict[str, Any] = {"marker": marker, "color": color, "markersize": 5}
        known = {measured.index(width): row for width, row in rows.items() if width in measured}
        shares.append(plots.Line(list(known), [row["share_of_roofline"] for row in known.values()], size, style))
        half = {"linestyle": (0, (3, 2)), "markerfacecolor": "none"}
        for name, label, extra in (("native", "", {}), ("bfloat16", ", bfloat16", half)):
            ratio = [row[f"torch_over_{name}"] for row in rows.values()]
            places = [widths.index(width) for width in rows]
            rivals.append(plots.Line(places, ratio, size + label, style | extra))
    xlabel, ticks = "width of the factors, k", [str(width) for width in widths]
    return [
        plots.Panel(
            "How near the kernels come to the roofline",
            xlabel,
            "share of the roofline",
            shares,
            ylim=(0, 1.15),
            xticks=[str(width) for width in measured],
            note="float32; the roofline: what gathering the factors alone takes",
            thresholds=[plots.Threshold(1, "roofline")],
        ),
        plots.Panel(
            "How many times as long torch takes",
            xlabel,
            "torch's time ÷ ours",
            rivals,
            ylim=(0, None),
            xticks=ticks,
            note="torch in float32; ours in float32, or in bfloat16",
            thresholds=[plots.Threshold(1, "as fast", at=0)],
        ),
    ]


SOLVERS = {
    "MatrixCompletion()": "MatrixCompletion",
    "Gauss–Newton as in GNMR": "Gauss–Newton as in GNMR",
    "R2RILS": "R2RILS",
    "ScaledGD": "ScaledGD",
}


def phase() -> list[plots.Panel]:
    """Error and success by oversampling, of the library and of solvers that are given the rank."""
    of: dict[str, dict[float, dict[str, Any]]] = {}
    for name, row in of_run("phase"):
        solver, _, case = name.partition(" | ")
        of.setdefault(solver, {})[float(case.split(" | ")[2])] = row
    errors, shares = [], []
    for solver, named in SOLVERS.items():
        (label,) = (name for name in of if name.startswith(solver))
        rhos = sorted(of[label])
        rows = [of[label][rho] for rho in rhos]
        style = plots.style(named)
        if named == "Gauss–Newton as in GNMR":  # R2RILS lies on it
            style |= {"markersize": 9, "markerfacecolor": "none"}
        words = label.replace("told", "given").replace("MatrixCompletion()", "MatrixCompletion, rank not given")
        errors.append(plots.Line(rhos, [row["median_whole_error"] for row in rows], words, style))
        shares.append(plots.Line(rhos, [row["of_determined"] for row in rows], words, style))
    irls = "MatrixIRLS, given rank 5, as published"
    errors.append(plots.Line(list(MATRIX_IRLS), list(MATRIX_IRLS.values()), irls, plots.style("MatrixIRLS")))
    xlabel = "entries ÷ degrees of freedom, ρ"
    return [
        plots.Panel(
            "The whole matrix",
            xlabel,
            "relative error, median",
            errors,
            "log",
            note="1,000 × 1,000, rank 5, condition 10",
            thresholds=[plots.Threshold(1e-6, "recovered")],
        ),
        plots.Panel(
            "What the entries can determine",
            xlabel,
            "share recovered to 1e-6",
            shares,
            ylim=(-0.04, 1.06),
            note="rows and columns that the entries fix",
        ),
    ]


def scaling() -> list[plots.Panel]:
    """Seconds by the number of entries, beside a line of slope one."""
    rows = {
        int(name.split()[0].replace(",", "")): row for name, row in cases("scaling", "").items() if "entries" in name
    }
    counts = np.array(list(rows))
    seconds = np.array([row["seconds"] for row in rows.values()])
    linear = seconds[0] * counts / counts[0]
    lines = [
        plots.Line(counts, seconds, "MatrixCompletion(rank=10)", plots.style("MatrixCompletion")),
        plots.Line(counts, linear, "in proportion to the entries", {"color": plots.SOFT, "linestyle": (0, (4, 3))}),
    ]
    return [
        plots.Panel(
            "Time to an exact answer grows about in proportion to the entries",
            "observed entries",
            "seconds, preparation included",
            lines,
            "log",
            "log",
            note="rank 5, ten entries a degree of freedom; relative error below 1e-15; one run each",
        )
    ]
