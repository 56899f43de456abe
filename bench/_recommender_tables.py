"""Tables of docs/benchmarks/ratings.md, clicks.md, serving-and-shell.md and large.md, as lines of Markdown."""

from __future__ import annotations

from typing import Any

import numpy as np

from _harness import cases, load
from _measured import not_yet, repeated_by, table

# --- ratings

RATED = "MovieLens 100K, u1", "Douban"


@repeated_by(
    "ratings", "planted-ratings", of={"recommend": tuple(f"{n} | " for n in (*RATED, "planted"))}, script="recommend"
)
def ratings() -> list[str]:
    lines, settings = table("test RMSE", *RATED, "planted", "version"), []
    made = cases("recommend", "planted | ")
    for label, row in cases("recommend", f"{RATED[0]} | ").items():
        if "rank=" in label or "stopped" in label:
            continue
        errors = [cases("recommend", f"{name} | ")[label]["test_rmse"] for name in RATED]
        best = [found["test_rmse"] for name, found in made.items() if name == label or name.startswith(f"{label}, ")]
        best = [made[label]["test_rmse"]] if label in made else best
        errors += [min(best)] if best else []
        cells = [f"{error:.4f}" for error in errors] + ["–"] * (3 - len(errors))
        lines.append(f"| {label} | {' | '.join(cells)} | {row['version']} |")
        settings += [f"{label}: {chosen}"] if (chosen := _chosen(row)) else []
    return [*lines, "", f"Settings on MovieLens. {'. '.join(settings)}."]


def _chosen(row: dict[str, Any]) -> str:
    """The settings of a rival; ours are in its label."""
    shown = {name: value for name, value in row["settings"].items() if name not in ("verbose", "kind", "ensemble")}
    return ", ".join(f"{name.strip('_')} {value:g}" for name, value in shown.items())


@repeated_by("planted-ratings", of={"recommend": ("planted | ",)}, script="recommend")
def fits() -> list[str]:
    lines = table(
        "planted", "test RMSE", "seconds to fit", "training alone", "CPU s", "peak MB", "200,000 predictions, s", "fits"
    )
    for label, row in cases("recommend", "planted | ").items():
        if "rank=" in label:
            continue
        seconds = f"{row['seconds']:.2f} | {row['fit_seconds']:.2f} | {row['cpu_seconds']:.2f}"
        costs = f"{row['peak_mib'] * 2**20 / 1e6:.0f} | {row['predict_seconds']:.2f} | {row['rounds']}"
        lines.append(f"| {label} | {row['test_rmse']:.4f} | {seconds} | {costs} |")
    return lines


@repeated_by(
    "ratings",
    "planted-ratings",
    of={"recommend": tuple(f"{name} | dmc, rank=" for name in (*RATED, "planted"))},
    script="recommend",
)
def rank_bounds() -> list[str]:
    names = (*RATED, "planted")
    lines = table("test RMSE", *names)
    for rank in (8, 16, 128):
        errors = [f"{cases('recommend', f'{name} | dmc, ')[f'rank={rank}']['test_rmse']:.4f}" for name in names]
        lines.append(f"| `rank={rank}` | {' | '.join(errors)} |")
    return lines


@repeated_by("intervals", of={"recommend": ("intervals | ",)}, script="recommend")
def bounds_on_ratings() -> list[str]:
    lines = table(
        "90 % intervals", "cover, of the test ratings", "cover, least and most of the fifths", "mean width, stars"
    )
    for name, row in cases("recommend", "intervals | ").items():
        fifths = row["coverage_of_fifths"]
        covered = f"{row['coverage']:.1%} | {min(fifths):.1%} – {max(fifths):.1%}"
        lines.append(f"| {name} | {covered} | {row['width']:.2f} |")
    return lines


@repeated_by("deep-ratings", of={"recommend": ("deep | ",)})
def deep_ratings() -> list[str]:
    lines = table("width 256, 1,000 steps", "cores", "lowest test RMSE", "at step", "at the end", "training RMSE there")
    for name, row in cases("recommend", "deep | ").items():
        how, _, cores = name.partition(" | ")
        errors = (
            f"{row['lowest_rmse']:.3f} | {row['at_step']} | {row['last_rmse']:.3f} | {row['last_training_rmse']:.3f}"
        )
        lines.append(f"| {how} | {cores.split()[0]} | {errors} |")
    return lines


@repeated_by("network-depths", of={"network_curves": ("fit | ",)})
def network_fits() -> list[str]:
    lines = table('`model="network"`: test RMSE', "width", "no cores", "2 cores", "3 cores")
    found: dict[tuple[str, str], dict[str, str]] = {}
    for name, row in cases("network_curves", "fit | ").items():
        data, width, depth, rule = name.split(" | ")
        if rule == "as it trains":
            cell = f"{row['test_rmse']:.4f} ± {row['deviation']:.4f}"
            found.setdefault((data, width.split()[1]), {})[depth.split()[1]] = cell
    for (data, width), of_depth in sorted(found.items(), key=lambda item: int(item[0][1])):
        lines.append(f"| {data} | {width} | {' | '.join(of_depth.get(depth, '–') for depth in '023')} |")
    return [*lines, "", "Mean ± standard deviation over five seeds; –: not measured."]


@repeated_by("network-curves", of={"network_curves": ("curve | ",)})
def network_leaps() -> list[str]:
    lines = table("held-out error over 200 steps", "width", "cores", "rule", "highest after lowest: worst", "median")
    for name, row in cases("network_curves", "curve | ").items():
        data, width, depth, rule = name.split(" | ")
        leaps = f"{max(row['leaps']):.2f} | {np.median(row['leaps']):.2f}"
        lines.append(f"| {data} | {width.split()[1]} | {depth.split()[1]} | {rule} | {leaps} |")
    return lines


@repeated_by("sparse-ratings", of={"recommend": ("sparse | ",)}, script="sparse_ratings")
def sparse_ratings() -> list[str]:
    return crossed("sparse", "test_rmse", "test_rmse_of_splits")


@repeated_by("lists-from-ratings", of={"recommend": ("lists of ratings | ",)})
def lists_of_ratings() -> list[str]:
    return crossed("lists of ratings", "ndcg", "ndcg_of_splits")


@repeated_by("cold-items", of={"recommend": ("cold items | ",)}, script="cold_items")
def cold_items() -> list[str]:
    rows = cases("recommend", "cold items | ")
    lines = table("a fifth of the items without ratings", "RMSE, median of the folds", "each fold")
    for name, row in rows.items():
        each = ", ".join(f"{error:.3f}" for error in row["test_rmse_of_folds"])
        lines.append(f"| {name} | {row['test_rmse']:.4f} | {each} |")
    return lines if rows else not_yet()


def crossed(prefix: str, figure: str, each: str = "") -> list[str]:
    """A row for each contender, a column for each set; with `each`, the range over its splits in brackets."""
    rows = {tuple(name.split(" | ")): row for name, row in cases("recommend", f"{prefix} | ").items()}
    names, labels = (list(dict.fromkeys(part)) for part in zip(*rows, strict=True)) if rows else ([], [])
    lines = table("", *names)
    for label in labels:
        cells = [_ranged(rows[name, label], figure, each) if (name, label) in rows else "–" for name in names]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines if rows else not_yet()


def _ranged(row: dict[str, Any], figure: str, each: str) -> str:
    found = row[each] if each else []
    spread = f" ({min(found):.3f} – {max(found):.3f})" if len(found) > 1 else ""
    return f"{row[figure]:.4f}{spread}"


# --- clicks


@repeated_by("clicks", of={"recommend": ("clicks | ",)}, script="clicks")
def clicks() -> list[str]:
    lines = table(
        "MovieLens 100K u1, four stars and more as clicks", "NDCG@10: mean", "three seeds", "recall@10", "seconds"
    )
    for name, row in cases("recommend", "clicks | ").items():
        seeds = sorted(set(row["ndcg_of_seeds"]))
        spread = "deterministic" if len(seeds) == 1 else f"{seeds[0]:.4f} – {seeds[-1]:.4f}"
        figures = f"{row['ndcg']:.4f} | {spread} | {row['recall']:.4f} | {row['seconds']:.1f}"
        lines.append(f"| {name}{settings_of(row)} | {figures} |")
    return lines


@repeated_by("sparse-clicks", of={"recommend": ("sparse clicks | ",)}, script="clicks")
def sparse_clicks() -> list[str]:
    return costs("sparse clicks", "citeulike")


@repeated_by("large-clicks", of={"recommend": ("large clicks | ",)}, script="clicks")
def large_clicks() -> list[str]:
    return costs("large clicks", "planted clicks, 50,000 × 20,000")


def costs(prefix: str, title: str) -> list[str]:
    """What lists from clicks are worth, and what they cost."""
    rows = cases("recommend", f"{prefix} | ")
    lines = table(title, "recall@20", "NDCG@20", "seconds to fit", "peak MB", "fits")
    for name, row in rows.items():
        worth = f"{_of_each(row, 'recall')} | {_of_each(row, 'ndcg')}"
        spent = f"{row['seconds']:.1f} | {row['peak_mib'] * 2**20 / 1e6:.0f} | {len(row['recall_of_each'])}"
        lines.append(f"| {name}{settings_of(row)} | {worth} | {spent} |")
    return lines if rows else not_yet()


def _of_each(row: dict[str, Any], name: str) -> str:
    low, high = min(row[f"{name}_of_each"]), max(row[f"{name}_of_each"])
    return f"{row[name]:.4f}" + (f" ({low:.4f} – {high:.4f})" if high > low else "")


def settings_of(row: dict[str, Any]) -> str:
    """Those of a rival, in brackets; ours are in its label."""
    shown = {name: value for name, value in row["settings"].items() if name not in ("rank", "random_state")}
    return f" ({', '.join(f'{name} {value}' for name, value in shown.items())})" if shown else ""


@repeated_by("lists", of={"recommend": ("lists | ",)}, script="recommend")
def lists() -> list[str]:
    title = "ten of 50,000 items for each of 100,000 users, 64 factors"
    lines = table(title, "users a second", "peak MB", "same as brute force")
    for name, row in cases("recommend", "lists | ").items():
        memory = f"{row['peak_mib'] * 2**20 / 1e6:.0f} | {row['as_brute_force']:.0%}"
        lines.append(f"| {name} | {row['users_a_second']:,.0f} | {memory} |")
    return lines


# --- large data, and service


@repeated_by("ratings-1e7", "ratings-1e8", "ratings-csv", of={"large_ratings": ("",), "large_csv": ("",)})
def large_ratings() -> list[str]:
    lines = table("planted ratings", "seconds", "CPU s", "peak GiB", "test RMSE", "the oracle's", "rank found")
    for name, row in cases("large_ratings", "").items():
        spent = f"{row['seconds']:.0f} | {row['cpu_seconds']:.0f} | {row['peak_gib']:.1f}"
        lines.append(f"| {name} | {spent} | {row['rmse']:.4f} | {row['oracle_rmse']:.4f} | {row['rank']} |")
    (row,) = load("large_csv")
    return [
        *lines,
        "",
        f"{row['n'] / 1e6:.0f} million such ratings in a CSV file of {row['file_gb']:.1f} GB: {row['seconds']:.0f} s, "
        f"in {row['address_space_gib']:.2f} GiB of address space; the process is allowed no more than 2.5.",
    ]


@repeated_by("shell", of={"shell": ("",)})
def nights() -> list[str]:
    (row,) = load("shell")
    lines = table("command", "seconds")
    lines += [f"| {step} | {seconds:.1f} |" for step, seconds in row["seconds"].items()]
    return [*lines, f"| altogether | {row['altogether']:.1f} |"]


@repeated_by("serving", of={"serving": ("",)})
def serving() -> list[str]:
    lines = table("milliseconds: median / 99th percentile", "in the process", "over HTTP")
    here, there = (cases("serving", f"{where} | ") for where in ("library", "HTTP"))
    for name in dict.fromkeys([*here, *there]):
        both = (here.get(name), there.get(name))
        shown = (f"{of['p50_ms']:.2f} / {of['p99_ms']:.2f}" if of else "–" for of in both)
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return lines
