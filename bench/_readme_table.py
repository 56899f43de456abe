"""The README's one table: a row for each field, this library beside the best of its rivals."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from _completion_tables import IMPUTERS, imputed
from _harness import cases
from _measured import table
from _recovery_tables import OURS

Row = dict[str, Any]


class Found(NamedTuple):
    """A row of the table; `page` is in docs/, and called `title`."""

    what: str
    ours: str
    best_rival: str
    page: str
    title: str


def results() -> list[str]:
    lines = table("what is measured", "dmc", "best rival", "more")
    rows = [*of_matrices(), *of_tensors(), *of_ratings(), *of_clicks(), *of_networks(), *of_size()]
    return [
        *lines,
        *(f"| {row.what} | {row.ours} | {row.best_rival} | [{row.title}](docs/{row.page}) |" for row in rows),
    ]


def best(rows: dict[str, Row], figure: str, largest: bool = False) -> tuple[str, float]:
    """Of the contenders that are not ours, the best one's label and figure."""
    rivals = {label: row[figure] for label, row in rows.items() if not label.startswith("dmc")}
    label = (max if largest else min)(rivals, key=rivals.__getitem__)
    return label, rivals[label]


def of_matrices() -> list[Found]:
    completion = "benchmarks/completion.md", "completion"
    rho = {
        name.partition(" | ")[0]: row
        for name, row in cases("recovery", "phase | ").items()
        if name.split(" | ")[3] == "1.3"
    }
    ours = rho.pop(OURS)
    most = max(row["of_determined"] for row in rho.values())
    rivals = {label: row for label, row in rho.items() if row["of_determined"] == most}
    names = ", ".join(label.partition(",")[0].removesuffix(" as in GNMR") for label in rivals)
    noisy = cases("recovery", "noise | ")["0.1 | 4"]
    mean = {label: float(np.mean(list(imputed(label, "30%").values()))) for label in IMPUTERS}
    imputer = min((label for label in IMPUTERS if label != OURS), key=mean.__getitem__)
    return [
        Found(
            "1,000 × 1,000 of rank 5, few entries (ρ = 1.3): runs that recover it",
            f"{ours['of_determined']:.0%} of {ours['seeds']}",
            f"{most:.0%} of {min(row['seeds'] for row in rivals.values())} ({names}; given the rank)",
            *completion,
        ),
        Found(
            "noise 0.1: error over that of an oracle which knows the rank",
            f"{noisy['over_oracle']:.2f}",
            f"{noisy['soft_impute_over_oracle']:.2f} (tuned soft-impute)",
            *completion,
        ),
        Found(
            "seven tables, 30 % hidden: mean error, in column standard deviations",
            f"{mean[OURS]:.3f}",
            f"{mean[imputer]:.3f} ({imputer})",
            "benchmarks/tables.md",
            "tables",
        ),
    ]


def of_tensors() -> list[Found]:
    metro = cases("tensors", "metro | 40% random | ")["square roots"]
    what = "metro passengers as a tensor, 40 % missing: RMSE at entries above 0"
    ours, published = (
        f"{metro['rmse_where_anybody']:.1f} (axis given, square roots)",
        "30.0 (BTMF, as published; other masks)",
    )
    return [Found(what, ours, published, "guide/tensors.md", "tensors")]


def of_ratings() -> list[Found]:
    page = "benchmarks/ratings.md", "ratings"
    movielens, filmtrust, cold = (
        cases("recommend", f"{prefix} | ") for prefix in ("MovieLens 100K, u1", "sparse | FilmTrust", "cold items")
    )
    found = []
    for what, rows in (
        ("MovieLens 100K u1: test RMSE (rivals tuned on the test ratings)", movielens),
        ("FilmTrust, few ratings: test RMSE, median of 5 splits", filmtrust),
        ("MovieLens, items without ratings: test RMSE, median of 5 folds", cold),
    ):
        label, error = best(rows, "test_rmse")
        found.append(Found(what, f"{rows['dmc']['test_rmse']:.4f}", f"{error:.4f} ({label})", *page))
    return found


def of_clicks() -> list[Found]:
    page = "benchmarks/clicks.md", "clicks"
    few, many, lists = (cases("recommend", f"{prefix} | ") for prefix in ("clicks", "large clicks", "lists"))
    fair = {label: row for label, row in few.items() if "test clicks" not in label}
    few_label, few_ndcg = best(fair, "ndcg", largest=True)
    many_label, many_recall = best(many, "recall", largest=True)
    _, quickest = best(lists, "users_a_second", largest=True)
    short = (label.partition(",")[0] + ", tuned" for label in (few_label, many_label))
    return [
        Found("MovieLens as clicks: NDCG@10", f"{few['dmc']['ndcg']:.4f}", f"{few_ndcg:.4f} ({next(short)})", *page),
        Found(
            "a million planted clicks: recall@20",
            f"{many['dmc']['recall']:.4f}",
            f"{many_recall:.4f} ({next(short)})",
            *page,
        ),
        Found(
            "ten of 50,000 items for 100,000 users: users a second",
            f"{lists['dmc']['users_a_second']:,.0f}",
            f"{quickest:,.0f} (implicit)",
            "benchmarks/serving-and-shell.md",
            "serving",
        ),
    ]


def of_networks() -> list[Found]:
    rows, kernel = cases("compressed_vs_full", "d=300 | "), cases("kernels", "in cache, 2,000,000 entries | ")["32"]
    small, full = rows["compressed"], rows["full width"]
    return [
        Found(
            f"compressed against full-width network, d = 300, {small['steps']:,} steps: seconds",
            f"{small['seconds']:.1f}",
            f"{full['seconds']:.1f} (full width)",
            "benchmarks/compressed-against-full.md",
            "networks",
        ),
        Found(
            "masked product and gradient, 32 factors: time",
            "1",
            f"{kernel['torch_over_native']:.1f} × (torch)",
            "benchmarks/kernels.md",
            "kernels",
        ),
    ]


def of_size() -> list[Found]:
    large = cases("large_ratings", "")["100,000,000 ratings"]
    spark = cases("distributed", "spark | ")
    sides = {name: f"{row['test_rmse']:.4f}, {row['seconds']:.1f} s" for name, row in spark.items()}
    return [
        Found(
            f"100 million planted ratings: test RMSE ({large['seconds']:.0f} s, {large['peak_gib']:.1f} GiB)",
            f"{large['rmse']:.4f}",
            f"{large['oracle_rmse']:.4f} (an oracle)",
            "benchmarks/large.md",
            "large data",
        ),
        Found(
            "1.26 million ratings in Spark: test RMSE, seconds",
            sides["dmc"],
            f"{sides['ALS']} (pyspark's ALS, tuned)",
            "benchmarks/several-machines.md",
            "several machines",
        ),
    ]
