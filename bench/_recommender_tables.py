"""The README's tables of sparse_ratings.py, cold_items.py and clicks.py, as lines of Markdown."""

from __future__ import annotations

from typing import Any

from _harness import cases, load


def sparse_ratings() -> list[str]:
    return crossed("sparse", "test_rmse", "sparse-ratings")


def lists_of_ratings() -> list[str]:
    return crossed("lists of ratings", "ndcg", "lists-from-ratings")


def cold_items() -> list[str]:
    rows = cases("recommend", "cold items | ")
    lines = ["| a fifth of the items without ratings | RMSE, median | each fold |", "|---|---|---|"]
    for name, row in rows.items():
        each = ", ".join(f"{error:.3f}" for error in row["test_rmse_of_folds"])
        lines.append(f"| {name} | {row['test_rmse']:.4f} | {each} |")
    return lines if rows else not_yet("cold-items")


def sparse_clicks() -> list[str]:
    return costs("sparse clicks", "citeulike", "sparse-clicks")


def large_clicks() -> list[str]:
    return costs("large clicks", "planted clicks, 50,000 × 20,000", "large-clicks")


def crossed(prefix: str, figure: str, run: str) -> list[str]:
    """A row for each contender, a column for each set."""
    rows = {tuple(name.split(" | ")): row for name, row in cases("recommend", f"{prefix} | ").items()}
    names, labels = (list(dict.fromkeys(part)) for part in zip(*rows, strict=True)) if rows else ([], [])
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for label in labels:
        cells = [f"{rows[name, label][figure]:.4f}" if (name, label) in rows else "" for name in names]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines if rows else not_yet(run)


def costs(prefix: str, title: str, run: str) -> list[str]:
    """What lists from clicks are worth, and what they cost."""
    rows = cases("recommend", f"{prefix} | ")
    lines = [f"| {title} | recall@20 | NDCG@20 | seconds to fit | peak MB |", "|---|---|---|---|---|"]
    for name, row in rows.items():
        worth = f"{row['recall']:.4f} | {row['ndcg']:.4f}"
        lines.append(
            f"| {name}{settings_of(row)} | {worth} | {row['seconds']:.1f} | {row['peak_mib'] * 2**20 / 1e6:.0f} |"
        )
    return lines if rows else not_yet(run)


def settings_of(row: dict[str, Any]) -> str:
    """Those of a rival, in brackets; ours are in its label."""
    shown = {name: value for name, value in row["settings"].items() if name not in ("rank", "random_state")}
    return f" ({', '.join(f'{name} {value}' for name, value in shown.items())})" if shown else ""


def not_yet(run: str) -> list[str]:
    return [f"Not measured yet: `dmc bench {run}`."]


def large_ratings() -> list[str]:
    lines = []
    for name, row in cases("large_ratings", "").items():
        lines.append(
            f"{name}: {row['seconds']:.0f} s ({row['cpu_seconds']:.0f} s of processor time), {row['peak_gib']:.1f} GiB "
            f"at most, test RMSE {row['rmse']:.4f}; the oracle's is {row['oracle_rmse']:.4f}."
        )
    (row,) = load("large_csv")
    lines.append(
        f"{row['n'] / 1e6:.0f} million others from a CSV of {row['file_gb']:.1f} GB: {row['seconds']:.0f} s, in "
        f"{row['address_space_gib']:.2f} GiB of address space, where no more than 2.5 are given."
    )
    return lines


def nights() -> list[str]:
    (row,) = load("shell")
    seconds = row["seconds"]
    steps = ", ".join(f"{step} {seconds[step]:.1f}" for step in ("fit", "evaluate", "lists of all", "update"))
    return [f"{steps}, lists again {seconds['lists again']:.1f}: {row['altogether']:.0f} s altogether."]


def serving() -> list[str]:
    lines = ["| milliseconds, median / 99 of 100 | in the process | over HTTP |", "|---|---|---|"]
    here, there = (cases("serving", f"{where} | ") for where in ("library", "HTTP"))
    for name in dict.fromkeys([*here, *there]):
        both = (here.get(name), there.get(name))
        shown = (f"{of['p50_ms']:.2f} / {of['p99_ms']:.2f}" if of else "–" for of in both)
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return lines
