"""Tables of docs/benchmarks/several-machines.md and docs/guide/several-machines.md: distributed.py, spark_als.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import _distributed_costs as costs
from _harness import cases
from _measured import not_yet, repeated_by, table

WIDTH, CORES, WIRE = 16, 16, 1.25e9  # of the sizes below: factors, cores of a process, bytes a second (10 Gbit)


class Asked(NamedTuple):
    """Sizes of which the page says what they take."""

    ratings: float
    users: float
    items: float
    processes: tuple[int, ...]


SIZES = Asked(1e9, 1e7, 5e5, (1, 8, 64)), Asked(1e10, 1e8, 2e6, (8, 64))


def measured() -> dict[str, dict[str, Any]]:
    return cases("distributed", "")


def starts(fit: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of a fit, the numbers of processes and threads, and what was found."""
    return ((name.partition(" | ")[2], row) for name, row in measured().items() if name.startswith(f"{fit} | "))


def megabytes(count: float) -> str:
    return f"{count / 1e6:.1f}" if count < 1e8 else f"{count / 1e6:.0f}"


@repeated_by("distributed-bayes", of={"distributed": ("bayes | ",)})
def several_machines() -> list[str]:
    title = "1.26 million ratings, processes × threads"
    lines = table(title, "seconds in all", "reading, dealing", "fit", "MB sent a sweep", "test RMSE")
    for name, row in starts("bayes"):
        seconds = f"{row['seconds']:.1f} | {row['deal_seconds']:.1f} | {row['fit_seconds']:.1f}"
        lines.append(f"| {name} | {seconds} | {megabytes(row['sent_a_step'])} | {row['test_rmse']:.5f} |")
    return lines


@repeated_by("spark", of={"distributed": ("spark | ",)}, script="spark_als")
def beside_spark() -> list[str]:
    rows = cases("distributed", "spark | ")
    if not rows:
        return not_yet()
    lines = table(
        f"Spark {rows['dmc']['spark']}, `local[2]`", "seconds of a fit", "each", "seconds of the lists", "test RMSE"
    )
    for name, row in rows.items():
        each = ", ".join(f"{seconds:.1f}" for seconds in row["each"])
        figures = f"{row['seconds']:.1f} | {each} | {row['lists_seconds']:.1f} | {row['test_rmse']:.4f}"
        chosen = ", ".join(f"{setting} {value}" for setting, value in row.get("settings", {}).items())
        lines.append(f"| {name}{f' ({chosen})' if chosen else ', defaults'} | {figures} |")
    return [*lines, "", f"The search for ALS's settings took {rows['ALS']['tuning_seconds']:.0f} s more."]


@repeated_by(
    "distributed-bayes",
    "distributed-clicks",
    "distributed-network",
    of={"distributed": ("bayes | ", "clicks | ", "network | ")},
)
def processes() -> list[str]:
    """Of the page: what was sent and held, beside the formulas."""
    lines = table(
        "fit | processes × threads | seconds in all | fit | steps",
        "MB a step: sent / formula | MB besides",
        "MB at most: program, dealing, fit / 1.3 × formula + 400",
        "largest difference / spread | held out",
    )
    for fit in ("bayes", "clicks", "network"):
        lines += [f"| {fit} | {name} | {of_process(row)} |" for name, row in starts(fit)]
    return lines


def of_process(row: dict[str, Any]) -> str:
    sent = " / ".join(megabytes(row[f"{what}_a_step"]) for what in ("sent", "formula"))
    besides = megabytes(row["sent_dealing"] + row["sent_beside_steps"])
    most = (row[name] / 1e6 for name in ("started_bytes", "peak_bytes_dealing", "peak_bytes_fit"))
    held = f"{', '.join(f'{peak:.0f}' for peak in most)} / {(costs.PROGRAM + 1.3 * row['held_bytes']) / 1e6:.0f}"
    worth = f"RMSE {row['test_rmse']:.5f}" if "test_rmse" in row else f"NDCG@10 {row['ndcg']:.5f}"
    seconds = f"{row['seconds']:.1f} | {row['fit_seconds']:.1f} | {row['steps']}"
    return f"{seconds} | {sent} | {besides} | {held} | {row['difference']:.0e} | {worth}"


@repeated_by("distributed-dealing", "distributed-address-space", of={"distributed": ("dealing | ", "address space | ")})
def dealing() -> list[str]:
    found = []
    for name, row in starts("dealing"):
        torch = "with" if row["torch"] else "without"
        found.append(
            f"- {row['n'] / 1e6:.0f} million rows in {name} ({torch} torch): {row['seconds']:.1f} s, "
            f"{row['rows_a_second'] / 1e6:.1f} million rows a second, {row['peak_bytes'] / 1e6:.0f} MB at the peak, of "
            f"which {row['started_bytes'] / 1e6:.0f} MB before the first row."
        )
    row = measured()["address space | 4 × 1"]
    return [
        *found,
        f"- A Parquet file of {row['file_bytes'] / 1e9:.2f} GB ({row['n'] / 1e6:.0f} million rows with long text ids) "
        f"is fitted by four processes that are limited to {row['limit_bytes'] / 1e9:.2f} GB of address space each; "
        f"they use {row['address_space_bytes'] / 1e9:.2f} GB of it and {row['peak_bytes_dealing'] / 1e9:.2f} GB of "
        "memory.",
    ]


@repeated_by("distributed-kills", of={"distributed": ("kills | ",)})
def faults() -> list[str]:
    rows = cases("distributed", "kills | ")
    if not rows:
        return not_yet()
    (row,) = rows.values()
    return [
        f"One of three processes was killed (`kill -9`) at a random moment of a fit of {row['sweeps']} sweeps, "
        f"{row['kills']} times: {row['resumed_at_first_restart']} fits resumed at the first restart, at most "
        f"{row['most_sweeps_lost']} finished sweep had to be repeated, and the largest difference of the estimated "
        f"noise from that of an undisturbed fit is {row['largest_noise_difference']:g}."
    ]


@repeated_by("distributed-bayes", "distributed-dealing", of={"distributed": ("bayes | 1 × 1", "dealing | 1 × 1")})
def sizes() -> list[str]:
    """What large fits take, by the formulas, and by the rates of one core that were measured."""
    rows = measured()
    bayes, dealt = rows["bayes | 1 × 1"], rows["dealing | 1 × 1"]
    # Sums over entries, and solves, take about as long as there are moments.
    longer = costs.moments(WIDTH) / costs.moments(bayes["width"])
    of_rating = bayes["step_seconds"] / bayes["n"] * longer
    lines = table(
        f"ratings (users × items), k = {WIDTH} | processes | GB a process | GB sent, process and sweep",
        "seconds of it at 10 Gbit | seconds of computing, sweep | seconds of dealing",
    )
    for asked in SIZES:
        name = f"{asked.ratings:.0e} ({asked.users:.0e} × {asked.items:.0e})".replace("e+0", "e").replace("e+", "e")
        for size in asked.processes:
            held = costs.held(asked.ratings / size, asked.users / size, asked.items, WIDTH) + costs.PROGRAM
            sent = costs.sent_by_bayes(int(asked.items), WIDTH, size)
            computing = of_rating * asked.ratings / size / CORES
            seconds = f"{sent / WIRE:.1f} | {computing:.1f} | {asked.ratings / size / dealt['rows_a_second']:.0f}"
            lines.append(f"| {name} | {size} | {held / 1e9:.1f} | {sent / 1e9:.2f} | {seconds} |")
    return [
        *lines,
        "",
        f"**Estimates: no fit of this size was run.** They follow from two rates measured on one core of an "
        f"{bayes['machine']}: {of_rating * 1e9:.0f} ns for a rating and sweep at k = {WIDTH} ({longer:.1f} times what "
        f"was measured at k = {bayes['width']}), and {dealt['rows_a_second'] / 1e6:.1f} million rows dealt a second. "
        f"Each process is taken to have {CORES} cores, whose sweeps are {CORES} times as fast, and to deal with one.",
    ]
