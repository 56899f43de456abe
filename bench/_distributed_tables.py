"""What README and docs/guide/several-machines.md show of distributed.py, distributed_kills.py and spark_als.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import _distributed_costs as costs
from _harness import cases
from _recommender_tables import not_yet

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


def machine_of(fit: str) -> str:
    row = next(row for _, row in starts(fit))
    return f"{row['cores']} cores of an {row['machine']}"


def megabytes(count: float) -> str:
    return f"{count / 1e6:.1f}" if count < 1e8 else f"{count / 1e6:.0f}"


def table(*columns: str) -> list[str]:
    """The head of one."""
    head = f"| {' | '.join(columns)} |"
    return [head, "|---" * (head.count("|") - 1) + "|"]


def several_machines() -> list[str]:
    """Of the README."""
    title = "1.26 million ratings, processes × threads"
    lines = table(title, "seconds in all", "reading, dealing", "fit", "MB sent a sweep", "test RMSE")
    for name, row in starts("bayes"):
        seconds = f"{row['seconds']:.1f} | {row['deal_seconds']:.1f} | {row['fit_seconds']:.1f}"
        lines.append(f"| {name} | {seconds} | {megabytes(row['sent_a_step'])} | {row['test_rmse']:.5f} |")
    return [*lines, "", *beside_spark()]


def beside_spark() -> list[str]:
    rows = cases("distributed", "spark | ")
    if not rows:
        return not_yet("spark")
    dmc, als = rows["dmc"], rows["ALS"]
    chosen = ", ".join(f"{name} {value}" for name, value in als["settings"].items())
    return [
        f"In one session of Spark {dmc['spark']} (`local[2]`) the same ratings take {dmc['seconds']:.1f} s, test RMSE "
        f"{dmc['test_rmse']:.4f}; pyspark's ALS, biases taken out first and tuned ({chosen}), {als['seconds']:.1f} s "
        f"for the last fit alone (its settings took {als['tuning_seconds']:.0f} s to find), {als['test_rmse']:.4f}. "
        f"Ten items for each of 60,000 users: "
        f"{dmc['lists_seconds']:.1f} s against {als['lists_seconds']:.1f} s."
    ]


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
    return [*lines, "", f"On {machine_of('bayes')}."]


def of_process(row: dict[str, Any]) -> str:
    sent = " / ".join(megabytes(row[f"{what}_a_step"]) for what in ("sent", "formula"))
    besides = megabytes(row["sent_dealing"] + row["sent_beside_steps"])
    most = (row[name] / 1e6 for name in ("started_bytes", "peak_bytes_dealing", "peak_bytes_fit"))
    held = f"{', '.join(f'{peak:.0f}' for peak in most)} / {(costs.PROGRAM + 1.3 * row['held_bytes']) / 1e6:.0f}"
    worth = f"RMSE {row['test_rmse']:.5f}" if "test_rmse" in row else f"NDCG@10 {row['ndcg']:.5f}"
    seconds = f"{row['seconds']:.1f} | {row['fit_seconds']:.1f} | {row['steps']}"
    return f"{seconds} | {sent} | {besides} | {held} | {row['difference']:.0e} | {worth}"


def dealing() -> list[str]:
    found = []
    for name, row in starts("dealing"):
        torch = "with" if row["torch"] else "without"
        found.append(
            f"{row['n'] / 1e6:.0f} million rows in {name} ({torch} torch): {row['seconds']:.1f} s, "
            f"{row['rows_a_second'] / 1e6:.1f} million a second, {row['peak_bytes'] / 1e6:.0f} MB at most, of which "
            f"{row['started_bytes'] / 1e6:.0f} before the first row."
        )
    row = measured()["address space | 4 × 1"]
    return [
        *found,
        f"A Parquet file of {row['file_bytes'] / 1e9:.2f} GB ({row['n'] / 1e6:.0f} million rows of long text ids) was "
        f"fitted by four processes that may have no more than {row['limit_bytes'] / 1e9:.2f} GB of address space each; "
        f"they took {row['address_space_bytes'] / 1e9:.2f}, and {row['peak_bytes_dealing'] / 1e9:.2f} of memory.",
    ]


def faults() -> list[str]:
    rows = cases("distributed", "kills | ")
    if not rows:
        return not_yet("distributed-kills")
    (row,) = rows.values()
    return [
        f"{row['kills']} times `kill -9` of one of three processes at a random moment of a fit of "
        f"{row['sweeps']} sweeps: {row['resumed_at_first_restart']} went on at the first restart; at most "
        f"{row['most_sweeps_lost']} of the sweeps that were done had to be done again; the noise found differs by "
        f"{row['largest_noise_difference']:.0e} at most from that of a fit of which no process is killed."
    ]


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
        f"Of one core of an {bayes['machine']} was measured: {of_rating * 1e9:.0f} ns a rating and sweep (at k = "
        f"{bayes['width']}, and counted as {longer:.1f} times that at k = {WIDTH}), and "
        f"{dealt['rows_a_second'] / 1e6:.1f} million rows dealt a second. Each process is given {CORES} cores for its "
        "sweeps, which are taken to be that many times as fast, and one for dealing. No fit of this size was run.",
    ]
