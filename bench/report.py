"""From bench/results: the tables of README and docs/, between `<!-- bench:NAME -->` and `<!-- end -->`, and
bench/figures."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from _adapter_tables import adapters_panels, differences, few_samples, ranks
from _completion_tables import (
    IMPUTERS,
    SHARES,
    checkpoints,
    completion,
    imputed,
    large_matrix,
    large_table,
    memory,
    photograph,
    scaling,
    table_seeds,
    tables,
    tables_spread,
)
from _distributed_tables import beside_spark, dealing, faults, processes, several_machines, sizes
from _harness import cases, main
from _kernel_tables import kernel_speed, kernel_use
from _lecture_results import follows_full_panels, narrow_panels, separation_panels, speed_panels
from _network_tables import (
    against_full,
    depth_and_width,
    depths,
    follows_bound,
    follows_full,
    follows_why,
    narrow_networks,
    outer_rates,
    parsimony,
    plateau,
    sensing,
)
from _readme_table import results
from _recommender_tables import (
    bounds_on_ratings,
    clicks,
    cold_items,
    deep_ratings,
    fits,
    large_clicks,
    large_ratings,
    lists,
    lists_of_ratings,
    network_fits,
    network_leaps,
    nights,
    rank_bounds,
    ratings,
    serving,
    sparse_clicks,
    sparse_ratings,
)
from _recovery_tables import (
    noise,
    phase,
    phase_panels,
    random_problems,
    recovery_bounds,
    recovery_condition,
    recovery_harder,
    recovery_rivals,
    recovery_uniform,
    seconds,
    units,
)
from _tensor_tables import metro, planted_tensors, tensor_photograph
from _tuning_tables import skip_less_layer, skip_tuning_panels, ways_to_tune
from dmc import plots
from network_curves import SETS as NETWORK_SETS

ROOT = Path(__file__).parent.parent


def against_full_panels() -> list[plots.Panel]:
    rows = cases("compressed_vs_full", "d=300 | ")
    by_steps, by_seconds = [], []
    for name, row in rows.items():
        steps, errors = (np.array(column) for column in zip(*row["course"], strict=True))
        style = {"linewidth": 2 if name in ("full width", "compressed") else 1.2}
        by_steps.append(plots.Line(steps, errors, name, style))
        seconds = row["seconds"] - row["seconds_a_step"] * (row["steps"] - steps)
        by_seconds.append(plots.Line(seconds[1:], errors[1:], name, style))
    ylabel = "recovery error"
    return [
        plots.Panel("the compressed network follows the full one …", "step", ylabel, by_steps, "log"),
        plots.Panel("… at a fraction of the cost", "seconds, set-up included", ylabel, by_seconds, "log", "log"),
    ]


def scaling_panels() -> list[plots.Panel]:
    rows = {
        int(name.split()[0].replace(",", "")): row for name, row in cases("scaling", "").items() if "entries" in name
    }
    counts = np.array(list(rows))
    seconds = np.array([row["seconds"] for row in rows.values()])
    linear = seconds[0] * counts / counts[0]
    lines = [
        plots.Line(counts, seconds, "MatrixCompletion(rank=10)", {"marker": "o"}),
        plots.Line(counts, linear, "linear", {"color": "0.6", "linestyle": "--"}),
    ]
    title = "time to an exact answer, rank 5"
    return [plots.Panel(title, "observed entries", "seconds, preparation included", lines, "log", "log")]


def rates_panels() -> list[plots.Panel]:
    lines = []
    for name, row in cases("rates", "γ").items():
        steps, errors = zip(*row["course"], strict=True)
        lines.append(plots.Line(steps, errors, f"γ{name}", {"linestyle": "--" if name == " = 1" else "-"}))
    return [
        plots.Panel(
            "outer factors must move, at a rate of their own (γ)",
            "step",
            "recovery error",
            lines,
            "log",
        )
    ]


def depth_panels() -> list[plots.Panel]:
    rows, lines = cases("depth", "width "), []
    for depth, colour in ((2, "C0"), (3, "C1")):
        mine = {int(name.split()[0]): row["errors"] for name, row in rows.items() if name.endswith(f"depth {depth}")}
        errors = np.array(list(mine.values()))
        lines.append(
            plots.Line(
                list(mine),
                np.median(errors, axis=1),
                f"{depth} layers",
                {"color": colour, "marker": "o"},
                (errors.min(axis=1), errors.max(axis=1)),
            )
        )
    return [
        plots.Panel(
            "a width above the rank (10) hurts two layers, not three\n(median and range of 5 seeds)",
            "width of the network (rank bound)",
            "relative error, whole matrix",
            lines,
            "log",
        )
    ]


def roofline_panels() -> list[plots.Panel]:
    shares, rivals = [], []
    sizes = {size: cases("kernels", size) for size in ("in cache", "out of cache")}
    found = {size: {int(name.rpartition("| ")[2]): row for name, row in rows.items()} for size, rows in sizes.items()}
    widths = sorted(set().union(*found.values()))
    for (size, rows), colour in zip(found.items(), ("C0", "C1"), strict=True):
        style = {"marker": "o", "color": colour}
        known = {widths.index(width): row for width, row in rows.items() if "share_of_roofline" in row}
        shares.append(plots.Line(list(known), [row["share_of_roofline"] for row in known.values()], size, style))
        for name, label, dashes in (("native", "", "-"), ("bfloat16", ", bfloat16", "--")):
            ratio = [row[f"torch_over_{name}"] for row in rows.values()]
            places = [widths.index(width) for width in rows]
            rivals.append(plots.Line(places, ratio, size + label, style | {"linestyle": dashes}))
    return [
        plots.Panel(title, "width of the factors, k", ylabel, lines, ylim=(0, None), xticks=[str(w) for w in widths])
        for title, ylabel, lines in (
            ("achieved, of what gathering alone takes", "share of the roofline", shares),
            ("torch's time over ours", "ratio", rivals),
        )
    ]


def recommend_panels() -> list[plots.Panel]:
    points: dict[str, list[tuple[float, float]]] = {}
    for name, row in cases("recommend", "planted | ").items():
        if "rank=" not in name and "ensemble" not in name:
            points.setdefault(name.partition(", ")[0], []).append((row["seconds"], row["test_rmse"]))
    fits = [
        plots.Line(*zip(*sorted(found), strict=True), name, {"marker": "o", "linewidth": 2.2 if name == "dmc" else 1.2})
        for name, found in points.items()
    ]
    courses = []
    for name, row in cases("recommend", "deep | ").items():
        how, _, cores = name.partition(" | ")
        steps, errors, _ = (np.array(column) for column in zip(*row["course"], strict=True))
        style = {"color": f"C{('0', '2', '3').index(cores[0])}", "linestyle": "-" if how == "regularised" else "--"}
        courses.append(plots.Line(steps, errors, f"{cores}, {how}", style))
    return [
        plots.Panel(
            "planted long tail: error by time (noise .500)",
            "seconds, preparation included",
            "test RMSE",
            fits,
            xscale="log",
        ),
        plots.Panel(
            "MovieLens 100K: a deep network trained on and on",
            "step",
            "test RMSE",
            courses,
            ylim=(0.9, 1.3),
        ),
    ]


def network_panels() -> list[plots.Panel]:
    """Held-out curves at width 256: the range over seeds of the rule in use, and plain Adam's where they are known."""
    panels = []
    for name in NETWORK_SETS:
        lines, lowest = [], np.inf
        for i, depth in enumerate((0, 2, 3)):
            color = plots.COLORS[i]
            for rule, row in cases("network_curves", f"curve | {name} | width 256 | depth {depth} | ").items():
                errors = np.array(row["errors"])
                middle, edges = np.median(errors, axis=0), (errors.min(axis=0), errors.max(axis=0))
                lowest = min(lowest, errors.min())
                if rule == "plain Adam":
                    style = {"color": color, "linestyle": "--", "linewidth": 0.9}
                    lines.append(plots.Line(row["steps"], errors.T, f"{depth} cores, constant rate", style))
                else:
                    lines.append(plots.Line(row["steps"], middle, f"{depth} cores", {"color": color}, spread=edges))
        if not lines:
            continue
        title, limits = f"{name}, width 256", (0.98 * lowest, 1.3 * lowest)
        panels.append(plots.Panel(title, "step", "held-out RMSE", lines, ylim=limits))
    return panels


def tables_panels() -> list[plots.Panel]:
    names, rivals = list(imputed("mean", SHARES[0])), [label for label in IMPUTERS if label != "mean"]
    panels = []
    for share in SHARES:
        first = share == SHARES[0]  # the legend stands there alone
        lines = []
        for i, label in enumerate(rivals):
            errors = imputed(label, share)
            places = np.arange(len(names)) + 0.15 * (i - (len(rivals) - 1) / 2)
            style = {"color": plots.FIRST if i == 0 else f"{0.9 - 0.19 * i:.2f}"}
            bars = [errors[name] for name in names]
            lines.append(plots.Line(places, bars, label if first else "", style, bars=0.14))
        means = imputed("mean", share)
        style = {"color": plots.SECOND, "linestyle": "", "marker": "_", "markersize": 22}
        levels = [means[name] for name in names]
        lines.append(plots.Line(np.arange(len(names)), levels, "mean of the column" if first else "", style))
        ticks = [name.replace(" ", "\n") for name in names]
        title = f"{share.replace('%', ' %')} of the entries hidden"
        panels.append(plots.Panel(title, "", "error, in spreads of the column", lines, xticks=ticks, ylim=(0, 1.65)))
    return panels


FIGURES = {
    "tables": tables_panels,
    "recommend": recommend_panels,
    "roofline": roofline_panels,
    "phase": phase_panels,
    "scaling": scaling_panels,
    "against_full": against_full_panels,
    "rates": rates_panels,
    "depth": depth_panels,
    "adapters": adapters_panels,
    "follows_full": follows_full_panels,
    "narrow": narrow_panels,
    "separation": separation_panels,
    "speed": speed_panels,
    "skip_tuning": skip_tuning_panels,
    "network_curves": network_panels,
}


PAGES: dict[str, Sequence[Callable[[], list[str]]]] = {
    "README.md": (results,),
    "docs/benchmarks/completion.md": (
        recovery_uniform,
        recovery_bounds,
        recovery_condition,
        recovery_harder,
        recovery_rivals,
        phase,
        seconds,
        completion,
        noise,
        units,
        random_problems,
        photograph,
    ),
    "docs/benchmarks/tables.md": (tables, tables_spread, table_seeds, large_table),
    "docs/benchmarks/ratings.md": (
        ratings,
        fits,
        rank_bounds,
        bounds_on_ratings,
        sparse_ratings,
        cold_items,
        lists_of_ratings,
        network_fits,
        network_leaps,
        deep_ratings,
    ),
    "docs/benchmarks/clicks.md": (clicks, sparse_clicks, large_clicks),
    "docs/benchmarks/serving-and-shell.md": (serving, lists, nights),
    "docs/benchmarks/kernels.md": (kernel_speed, kernel_use),
    "docs/benchmarks/large.md": (scaling, large_matrix, memory, large_ratings, checkpoints),
    "docs/benchmarks/compressed-against-full.md": (
        against_full,
        follows_full,
        follows_why,
        follows_bound,
        narrow_networks,
        outer_rates,
        depths,
        depth_and_width,
        plateau,
        parsimony,
        sensing,
    ),
    "docs/benchmarks/several-machines.md": (several_machines, beside_spark),
    "docs/guide/several-machines.md": (processes, dealing, sizes, faults),
    "docs/guide/tensors.md": (planted_tensors, metro, tensor_photograph),
    "docs/guide/adapters.md": (few_samples, differences, ranks),
    "docs/guide/collapse-and-transfer.md": (ways_to_tune, skip_less_layer),
}


def written(page: str) -> str:
    """A page with every table as the results have it."""
    text = (ROOT / page).read_text()
    for section in PAGES[page]:
        block = f"<!-- bench:{section.__name__} -->\n" + "\n".join(section()) + "\n<!-- end -->"
        places = re.findall(rf"<!-- bench:{section.__name__} -->.*?<!-- end -->", text, flags=re.DOTALL)
        if len(places) != 1:
            raise SystemExit(f"{page} has {len(places)} places for {section.__name__!r}; it needs one")
        text = text.replace(places[0], block)
    return text


def report() -> None:
    """The tables of README and docs/, and bench/figures, from the recorded results."""
    for page in PAGES:
        (ROOT / page).write_text(written(page))
    folder = Path(__file__).parent / "figures"
    folder.mkdir(exist_ok=True)
    for name, panels in FIGURES.items():
        plots.panels(panels(), folder / f"{name}.png")


RUNS = {"report": report}

if __name__ == "__main__":
    main(RUNS)
