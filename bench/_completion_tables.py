"""Tables of docs/benchmarks/completion.md, tables.md and large.md, but for those of bench/recovery.py."""

from __future__ import annotations

import numpy as np

from _harness import cases, load
from _measured import given, repeated_by, table

SHARES = "10%", "30%", "50%"
IMPUTERS = (
    "MatrixCompletion()",
    "mean",
    "KNNImputer",
    "IterativeImputer",
    "soft-impute, tuned",
    "IterativeImputer, trees",
)


@repeated_by("planted", of={"completion": ("2,000", "300")})
def completion() -> list[str]:
    lines = table("rank-5 matrix", "solver", "relative error", "rank of the result", "seconds")
    for row in load("completion"):
        case, _, solver = row["case"].partition(" | ")
        if solver:
            figures = f"{row['relative_error']:.0e} | {row['rank']} | {row['seconds']:.2f}"
            lines.append(f"| {case} | {given(solver)} | {figures} |")
    return lines


@repeated_by("photograph", of={"completion": ("photograph",)})
def photograph() -> list[str]:
    (row,) = cases("completion", "photograph").values()
    return [
        f"With 70 % of its pixels missing, the photograph is restored at {row['psnr']:.1f} dB (PSNR over the whole "
        f"image); filling the gaps with the mean colour gives {row['psnr_mean_fill']:.1f} dB."
    ]


# --- tables of data


def draws(label: str, share: str) -> dict[str, list[float]]:
    """The errors of an imputer on each table, one for every draw of the hidden entries."""
    found = {}
    for name, row in cases("tables", "").items():
        data, _, contender = name.partition(" | ")
        if contender == label and "errors" in row and share in row["errors"]:
            found[data] = row["errors"][share]
    return found


def imputed(label: str, share: str) -> dict[str, float]:
    """The mean of these errors over the draws, for each table."""
    return {data: float(np.mean(errors)) for data, errors in draws(label, share).items()}


def _codes(labels: tuple[str, ...]) -> list[str]:
    return [f"`{label}`" if "(" in label else label for label in labels]


OF_TABLES = tuple(f"{data} | {label}" for data in imputed("mean", SHARES[0]) for label in IMPUTERS)


@repeated_by("tables", of={"tables": OF_TABLES})
def tables() -> list[str]:
    lines = table("", *_codes(IMPUTERS))
    errors = {label: [imputed(label, share) for share in SHARES] for label in IMPUTERS}
    for name in errors["mean"][0]:
        cells = [" / ".join(f"{of_share[name]:.2f}" for of_share in errors[label]) for label in IMPUTERS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    means = [" / ".join(f"{np.mean(list(of_share.values())):.3f}" for of_share in errors[label]) for label in IMPUTERS]
    return [*lines, f"| mean of the seven | {' | '.join(means)} |"]


@repeated_by("tables", of={"tables": OF_TABLES})
def tables_spread() -> list[str]:
    """Smallest and largest error over the draws, with 30 % of the entries hidden."""
    lines = table("30 % hidden: range over the draws", *_codes(IMPUTERS))
    found = {label: draws(label, "30%") for label in IMPUTERS}
    for name in found["mean"]:
        cells = (f"{min(found[label][name]):.2f} – {max(found[label][name]):.2f}" for label in IMPUTERS)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    wins = sum(
        ours < theirs
        for name, of_name in found["MatrixCompletion()"].items()
        for ours, theirs in zip(of_name, found["IterativeImputer"][name], strict=True)
    )
    n = sum(map(len, found["MatrixCompletion()"].values()))
    return [*lines, "", f"On {wins} of the {n} draws the error is below that of IterativeImputer on the same draw."]


@repeated_by("large-table", of={"tables": ("large | ",)})
def large_table() -> list[str]:
    rows = cases("tables", "large | ")
    ours, theirs, transform = (rows[name] for name in ("MatrixCompletion()", "IterativeImputer", "transform"))
    return [
        f"A table of 10,000 × 50 with 30 % missing is filled in {ours['seconds']:.1f} s with an error of "
        f"{ours['error']:.3f}; IterativeImputer takes {theirs['seconds']:.1f} s, error {theirs['error']:.3f}. "
        f"`transform` fills 20,000 new rows of 40 columns in {transform['seconds']:.2f} s. One draw each."
    ]


@repeated_by("table-seeds", of={"tables": ("seeds | ",)})
def table_seeds() -> list[str]:
    lines = table("30 % hidden", "inside the 90 % interval", "error: range over five values of `random_state`")
    for name, row in cases("tables", "seeds | ").items():
        low, high = min(row["errors"]), max(row["errors"])
        lines.append(f"| {name} | {row['coverage']:.1%} | {low:.4f} – {high:.4f} |")
    return lines


# --- large matrices


@repeated_by("scaling", of={"scaling": ("100,", "300,", "1,", "3,", "10,", "exponent")})
def scaling() -> list[str]:
    lines = table("observed entries", "rows = columns", "seconds", "relative error", "rank found")
    rows = cases("scaling", "")
    for name, row in rows.items():
        if "side" in row:
            figures = f"{row['side']:,} | {row['seconds']:.2f} | {row['relative_error']:.0e} | {row['rank']}"
            lines.append(f"| {name.split()[0]} | {figures} |")
    exponent = rows["exponent"]["exponent"]
    return [*lines, "", f"Time grows with the number of entries to the power {exponent:.2f}."]


@repeated_by("large", of={"scaling": ("20,000",)})
def large_matrix() -> list[str]:
    (row,) = cases("scaling", "20,000").values()
    return [
        f"20,000 × 10,000 of rank 10 from 1.5 million entries, no rank bound given: {row['seconds']:.0f} s to a "
        f"relative error of {row['relative_error']:.0e}, {row['peak_gib']:.1f} GiB at the peak."
    ]


@repeated_by("memory", of={"memory": ("",)})
def memory() -> list[str]:
    (row,) = load("memory")
    return [f"{row['case']}: {row['peak_gib']:.1f} GiB at the peak, {row['seconds_a_step']:.1f} s a step."]


@repeated_by("checkpoint_cost", "checkpoint_kills", of={"checkpoints": ("",)})
def checkpoints() -> list[str]:
    lines = table(
        "fit",
        "CPU time with over without: median (range)",
        "file, MB",
        "same answer after `kill -9`",
        "steps taken twice: mean, most",
    )
    killed = cases("checkpoints", "kills | ")
    for name, row in cases("checkpoints", "cost | ").items():
        after = killed[name]
        cost = f"{row['ratio']:.2f} ({row['least']:.2f} – {row['most']:.2f}) | {row['file_bytes'] / 1e6:.1f}"
        same = f"{after['kills']} of {after['kills']}" if after["same"] else "no"
        lines.append(f"| {name} | {cost} | {same} | {after['lost_share']:.0%}, {after['most_lost']:.0%} |")
    return lines
