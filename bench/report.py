"""From bench/results: tables of the README and of docs/, between `<!-- bench:NAME -->` and `<!-- end -->`, and
bench/figures."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from _adapter_tables import adapters_panels, differences, few_samples, ranks
from _distributed_tables import dealing, faults, processes, several_machines, sizes
from _harness import cases, load, main
from _lecture_results import follows_full, follows_full_panels, narrow_panels, separation_panels, speed_panels
from _recommender_tables import (
    cold_items,
    large_clicks,
    large_ratings,
    lists_of_ratings,
    nights,
    serving,
    settings_of,
    sparse_clicks,
    sparse_ratings,
)
from _recovery_tables import (
    noise,
    phase_panels,
    random_problems,
    recovery_bounds,
    recovery_condition,
    recovery_harder,
    recovery_rivals,
    recovery_uniform,
    seconds,
)
from _tensor_tables import metro, planted_tensors, tensor_photograph
from _tuning_tables import skip_less_layer, skip_tuning_panels, ways_to_tune
from dmc import plots
from network_curves import SETS as NETWORK_SETS

ROOT = Path(__file__).parent.parent


def completion() -> list[str]:
    lines = ["| planted rank-5 matrix | solver | relative error | rank found | seconds |", "|---|---|---|---|---|"]
    for row in load("completion"):
        case, _, solver = row["case"].partition(" | ")
        if solver:
            lines.append(
                f"| {case} | `{solver}` | {row['relative_error']:.0e} | {row['rank']} | {row['seconds']:.2f} |"
            )
    return lines


def imputed(label: str, share: str) -> dict[str, float]:
    """Of each table, the error of an imputer: the mean over draws."""
    found = {}
    for name, row in cases("tables", "").items():
        table, _, contender = name.partition(" | ")
        if contender == label and "errors" in row and share in row["errors"]:
            found[table] = float(np.mean(row["errors"][share]))
    return found


SHARES = "10%", "30%", "50%"
IMPUTERS = (
    "MatrixCompletion()",
    "mean",
    "KNNImputer",
    "IterativeImputer",
    "soft-impute, tuned",
    "IterativeImputer, trees",
)


def tables() -> list[str]:
    lines = [
        "| | " + " | ".join(f"`{i}`" if "(" in i else i for i in IMPUTERS) + " |",
        "|---|" + "---|" * len(IMPUTERS),
    ]
    errors = {label: [imputed(label, share) for share in SHARES] for label in IMPUTERS}
    for table in errors["mean"][0]:
        cells = [" / ".join(f"{of_share[table]:.2f}" for of_share in errors[label]) for label in IMPUTERS]
        lines.append(f"| {table} | {' | '.join(cells)} |")
    means = [" / ".join(f"{np.mean(list(of_share.values())):.3f}" for of_share in errors[label]) for label in IMPUTERS]
    return [*lines, f"| all seven | {' | '.join(means)} |"]


def large_table() -> list[str]:
    rows = cases("tables", "large | ")
    ours, theirs, transform = (rows[name] for name in ("MatrixCompletion()", "IterativeImputer", "transform"))
    coverage = [row["coverage"] for row in cases("tables", "seeds | ").values()]
    return [
        f"10,000 × 50 with 30 % missing are filled in {ours['seconds']:.1f} s (IterativeImputer: "
        f"{theirs['seconds']:.1f} s, "
        f"error {theirs['error']:.3f} against {ours['error']:.3f}), 20,000 new rows of 40 columns in "
        f"{transform['seconds']:.2f} s. Of the hidden entries of the seven tables (30 %), {min(coverage):.0%} to "
        f"{max(coverage):.0%} lie within 1.64 standard deviations of `predict(…, return_std=True)`: 90 % should."
    ]


def scaling() -> list[str]:
    large, exponent = (next(iter(cases("scaling", name).values())) for name in ("20,000", "exponent"))
    return [
        f"20,000 × 10,000 of rank 10 from 1.5 million entries, no bound given: {large['seconds']:.0f} s to a relative "
        f"error of {large['relative_error']:.0e}, {large['peak_gib']:.1f} GiB at most. From 100,000 to 10,000,000 "
        f"entries time grows with their number to the power {exponent['exponent']:.2f}."
    ]


def photograph() -> list[str]:
    row = next(row for row in load("completion") if row["case"].startswith("photograph"))
    return [
        f"A photograph of which 70 % is missing comes back at {row['psnr']:.1f} dB; "
        f"filled with its mean it has {row['psnr_mean_fill']:.1f} dB."
    ]


RATED = "MovieLens 100K, u1", "Douban"


def ratings() -> list[str]:
    lines = ["| | " + " | ".join(RATED) + " | planted |", "|---|---|---|---|"]
    made = cases("recommend", "planted | ")
    for label in cases("recommend", f"{RATED[0]} | "):
        if "rank=" in label or "stopped" in label:
            continue
        errors = [cases("recommend", f"{name} | ")[label]["test_rmse"] for name in RATED]
        best = [row["test_rmse"] for name, row in made.items() if name == label or name.startswith(f"{label}, ")]
        best = [made[label]["test_rmse"]] if label in made else best
        errors += [min(best)] if best else []
        cells = [f"{error:.4f}" for error in errors] + [""] * (3 - len(errors))
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines


def fits() -> list[str]:
    lines = [
        "| planted | test RMSE | seconds to fit | training alone | CPU s | peak MB | 200,000 predictions, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for label, row in cases("recommend", "planted | ").items():
        if "rank=" in label:
            continue
        seconds = f"{row['seconds']:.2f} | {row['fit_seconds']:.2f} | {row['cpu_seconds']:.2f}"
        costs = f"{row['peak_mib'] * 2**20 / 1e6:.0f} | {row['predict_seconds']:.2f}"
        lines.append(f"| {label} | {row['test_rmse']:.4f} | {seconds} | {costs} |")
    return lines


def rank_bounds() -> list[str]:
    names = (*RATED, "planted")
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for rank in (8, 16, 128):
        errors = [f"{cases('recommend', f'{name} | dmc, ')[f'rank={rank}']['test_rmse']:.4f}" for name in names]
        lines.append(f"| `rank={rank}` | {' | '.join(errors)} |")
    return lines


def bounds_on_ratings() -> list[str]:
    def share(name: str, row: dict[str, Any]) -> str:
        fifths = row["coverage_of_fifths"]
        return f"| {name} | {row['coverage']:.1%} | {min(fifths):.1%} … {max(fifths):.1%} | {row['width']:.2f} |"

    lines = ["| inside the bounds for 90 % | of the test ratings | of each fifth by predicted rating | width |"]
    return [*lines, "|---|---|---|---|", *(share(*case) for case in cases("recommend", "intervals | ").items())]


def clicks() -> list[str]:
    lines = ["| MovieLens 100K, four stars and more as clicks | NDCG@10 | seconds to fit |", "|---|---|---|"]
    for name, row in cases("recommend", "clicks | ").items():
        lines.append(f"| {name}{settings_of(row)} | {row['ndcg']:.4f} | {row['seconds']:.1f} |")
    return lines


def lists() -> list[str]:
    lines = ["| ten of 50,000 items for each of 100,000 users, k = 64 | users a second | peak MB |", "|---|---|---|"]
    for name, row in cases("recommend", "lists | ").items():
        lines.append(f"| {name} | {row['users_a_second']:,.0f} | {row['peak_mib'] * 2**20 / 1e6:.0f} |")
    return lines


def deep_ratings() -> list[str]:
    lines = [
        "| width 256, 1,000 steps | cores | lowest test RMSE | at step | at the end | training RMSE there |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in cases("recommend", "deep | ").items():
        how, _, cores = name.partition(" | ")
        errors = (
            f"{row['lowest_rmse']:.3f} | {row['at_step']} | {row['last_rmse']:.3f} | {row['last_training_rmse']:.3f}"
        )
        lines.append(f"| {how} | {cores.split()[0]} | {errors} |")
    return lines


def memory() -> list[str]:
    (row,) = load("memory")
    return [f"{row['case']}: {row['peak_gib']:.1f} GiB at most, {row['seconds_a_step']:.1f} s a step."]


def kernel_speed() -> list[str]:
    lines = [
        "| entries, float32 | k | torch | torch, ours with bfloat16 | numba | one thread | share of the roofline |",
        "|---|---|---|---|---|---|---|",
    ]
    for size in ("in cache", "out of cache"):
        for name, row in cases("kernels", size).items():
            count, _, width = name.strip(", ").partition(" | ")
            share = f"{row['share_of_roofline']:.0%}" if "share_of_roofline" in row else ""
            torch, half, numba, alone = (
                f"{row[ratio]:.1f}"
                for ratio in ("torch_over_native", "torch_over_bfloat16", "numba_over_native", "one_thread_over_native")
            )
            lines.append(f"| {size}, {count} | {width} | {torch} | {half} | {numba} | {alone} | {share} |")
    return lines


def kernel_use() -> list[str]:
    steps = [f"{row['step_over_kernel']:.2f} ({name})" for name, row in cases("kernels", "whole step, ").items()]
    widths = next(iter(cases("kernels", "every width").values()))
    large = list(cases("kernels", "preparation, ").items())[-1]
    return [
        f"A whole step of the solver on 1000 × 1000 (200,000 entries, k = 20, three cores) takes {' and '.join(steps)} "
        f"times as long as the two kernel calls in it. No width from 1 to 130 takes more than "
        f"{widths['worst_over_next']:.1f} times as long as the next one of 8, 16, 32, 64, 128, 130. "
        f"Preparing {large[0]} takes {large[1]['seconds']:.0f} s and {large[1]['bytes_an_entry']:.0f} bytes an entry."
    ]


def machine() -> list[str]:
    row = load("recommend")[0]
    return [f"Measured on {row['cores']} cores of an {row['machine']} ({row['kernel']} kernel)."]


def against_full() -> list[str]:
    small, large = cases("compressed_vs_full", "d=300 | "), cases("compressed_vs_full", "d=1000 | ")
    lines = [
        "| network, d = 300 | recovery error | steps to it | steps to 1e-6 of the first | seconds, set-up included |",
        "|---|---|---|---|---|",
    ]
    for name, row in small.items():
        reached = f"{row['steps_to_1e_6']:,}" if row["steps_to_1e_6"] else "never"
        lines.append(f"| {name} | {row['error']:.0e} | {row['steps']:,} | {reached} | {row['seconds']:.1f} |")
    ratio = [rows["full width"]["seconds_a_step"] / rows["compressed"]["seconds_a_step"] for rows in (small, large)]
    whole = small["full width"]["seconds"] / small["compressed"]["seconds"]
    return [
        *lines,
        "",
        f"The full-width network takes {whole:.0f} times as long as the compressed one at d = 300, set-up included; a "
        f"step of it {ratio[0]:.0f} times as long, and {ratio[1]:.0f} times at d = 1000.",
    ]


def depth() -> list[str]:
    lines = ["| layers | relative error: median, and range of 5 seeds | steps (median) |", "|---|---|---|"]
    for name, row in cases("depth", "few samples | depth ").items():
        errors = row["errors"]
        spread = f"{np.median(errors):.0e} ({min(errors):.0e} to {max(errors):.0e})"
        lines.append(f"| {name} | {spread} | {np.median(row['steps']):,.0f} |")
    return lines


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


SECTIONS = (
    recovery_uniform,
    recovery_bounds,
    recovery_condition,
    recovery_harder,
    recovery_rivals,
    seconds,
    random_problems,
    noise,
    scaling,
    completion,
    photograph,
    tables,
    large_table,
    against_full,
    follows_full,
    depth,
    ratings,
    large_ratings,
    fits,
    rank_bounds,
    bounds_on_ratings,
    sparse_ratings,
    cold_items,
    lists_of_ratings,
    clicks,
    sparse_clicks,
    large_clicks,
    nights,
    serving,
    lists,
    deep_ratings,
    memory,
    several_machines,
    kernel_speed,
    kernel_use,
    machine,
)


PAGES: dict[str, Sequence[Callable[[], list[str]]]] = {
    "README.md": SECTIONS,
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
    """The tables of README and docs/, and bench/figures, from the results that are there."""
    for page in PAGES:
        (ROOT / page).write_text(written(page))
    folder = Path(__file__).parent / "figures"
    folder.mkdir(exist_ok=True)
    for name, panels in FIGURES.items():
        plots.panels(panels(), folder / f"{name}.png")


RUNS = {"report": report}

if __name__ == "__main__":
    main(RUNS)
