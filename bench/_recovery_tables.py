"""Tables of docs/benchmarks/completion.md and the figure of bench/recovery.py."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from _harness import cases
from _measured import given, repeated_by, table
from _planted import AS_DRAWN, MENDED

Row = dict[str, Any]
# C. Kümmerle, C. Mayrink Verdun, "A scalable second order method for ill-conditioned matrix completion from few
# samples", ICML 2021: medians read off figure 1, told the rank, relative error of the whole matrix. Not measured here.
MATRIX_IRLS = {1.05: 0.85, 1.1: 0.75, 1.2: 0.49, 1.4: 0.07, 1.5: 5e-13}
OURS = "MatrixCompletion()"


@repeated_by("uniform", of={"recovery": ("uniform | ",)})
def recovery_uniform() -> list[str]:
    rows = cases("recovery", "uniform | ")
    lines = table(
        "ρ",
        "drawn: part",
        "whole",
        "repaired: part",
        "whole",
        "rank",
        "σ to 1 %",
        "seconds",
    )
    pairs: dict[str, dict[str, Row]] = {}
    for name, row in rows.items():
        _, _, rho, _, pattern = name.split(" | ")
        pairs.setdefault(rho, {})[pattern] = row
    for rho, of in pairs.items():
        drawn, mended = of[AS_DRAWN], of[MENDED]
        lines.append(
            f"| {rho} | {drawn['of_determined']:.0%} | {whole(drawn)} | {mended['of_determined']:.0%} | "
            f"{whole(mended)} | {exact_rank(drawn, mended)} | {mended['smallest_to_1_percent']:.0%} | "
            f"{mended['median_seconds']:.2f} ({mended['largest_seconds']:.2f}) |"
        )
    return [*lines, "", f"{seeds(rows.values())} in each cell; the last two columns are of the repaired draws."]


def whole(row: Row) -> str:
    return f"{row['whole']:.0%} ({row['whole_determined']:.0%})"


def exact_rank(*rows: Row) -> str:
    """The least share, among those that have a success."""
    shares = [row["exact_rank"] for row in rows if row["exact_rank"] is not None]
    return f"{min(shares):.0%}" if shares else "–"


def seeds(rows: Iterable[Row]) -> str:
    counts = sorted({row["seeds"] for row in rows})
    said = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return "**One seed**" if counts == [1] else f"{said} seeds"


@repeated_by("condition", of={"recovery": ("condition | ",)})
def recovery_condition() -> list[str]:
    rows = cases("recovery", "condition | ")
    of: dict[str, dict[str, str]] = {}
    for name, row in rows.items():
        shape, rank, rho, kappa, _ = name.split(" | ")
        said = f"{row['whole']:.0%} / {row['smallest_to_1_percent']:.0%}"
        of.setdefault(f"| {shape} | {rank} | {rho} |", {})[kappa] = said
    kappas = list(next(iter(of.values())))
    lines = table("matrix", "rank", "ρ", *(f"κ = {kappa}" for kappa in kappas))
    lines += [f"{label} {' | '.join(found[kappa] for kappa in kappas)} |" for label, found in of.items()]
    return [*lines, "", f"{seeds(rows.values())} in each cell."]


HARDER = "patterns", "shapes", "tiny", "outliers"


@repeated_by(*HARDER, of={"recovery": tuple(f"{run} | " for run in HARDER)})
def recovery_harder() -> list[str]:
    lines = table(
        "matrix",
        "rank",
        "ρ",
        "positions",
        "part",
        "whole",
        "rank",
        "σ to 1 %",
        "seconds",
    )
    rows = {name: row for run in HARDER for name, row in of_run(run)}
    for name, row in rows.items():
        shape, rank, rho, _, pattern, *gross = name.split(" | ")
        pattern = pattern.replace(", mended", ", repaired")
        entries = f"{pattern}, {float(gross[0]):.0%} gross errors" if gross else pattern
        lines.append(
            f"| {shape} | {rank} | {rho} | {entries} | {row['of_determined']:.0%} | {whole(row)} | {exact_rank(row)} | "
            f"{row['smallest_to_1_percent']:.0%} | {row['median_seconds']:.2f} ({row['largest_seconds']:.2f}) |"
        )
    return [*lines, "", f"{seeds(rows.values())} in each row."]


def of_run(run: str) -> Iterable[tuple[str, Row]]:
    return cases("recovery", f"{run} | ").items()


@repeated_by("bounds", of={"recovery": ("bounds | ",)})
def recovery_bounds() -> list[str]:
    lines = table("`rank=`, at ρ = 1.2", "part", "seconds")
    rows = {name.partition(" | ")[0]: row for name, row in of_run("bounds")}
    for bound, row in rows.items():
        lines.append(f"| {bound} | {row['of_determined']:.0%} | {row['median_seconds']:.2f} |")
    return [*lines, "", f"{seeds(rows.values())} in each row."]


@repeated_by("rivals", of={"recovery": ("rivals | ",)})
def recovery_rivals() -> list[str]:
    of: dict[str, dict[str, Row]] = {}
    for name, row in of_run("rivals"):
        solver, _, case = name.partition(" | ")
        _, _, rho, kappa, _ = case.split(" | ")
        of.setdefault(solver, {})[f"ρ = {rho}" + (f", κ = {kappa}" if kappa != "1" else "")] = row
    kinds = list(of[OURS])
    lines = table("300 × 300, rank 5: error of the whole matrix, seconds", *kinds)
    for solver, found in of.items():
        cells = (f"{found[kind]['median_whole_error']:.0e}, {found[kind]['median_seconds']:.1f} s" for kind in kinds)
        lines.append(f"| {given(solver)} | {' | '.join(cells)} |")
    rows = [row for found in of.values() for row in found.values()]
    return [*lines, "", f"{seeds(rows)} in each cell (the command runs 10 seeds, and ρ = 1.2 and κ = 10,000 too)."]


@repeated_by("phase-transition", "phase-rivals", of={"recovery": ("phase | ",)})
def phase() -> list[str]:
    """The figure's right panel as a table."""
    of: dict[str, dict[str, Row]] = {}
    for name, row in of_run("phase"):
        solver, _, case = name.partition(" | ")
        of.setdefault(solver, {})[case.split(" | ")[2]] = row
    rhos = sorted({rho for found in of.values() for rho in found}, key=float)
    lines = table("determined part recovered", *(f"ρ = {rho}" for rho in rhos), "seeds")
    for solver, found in sorted(of.items(), key=lambda item: item[0] != OURS):
        cells = (f"{found[rho]['of_determined']:.0%}" if rho in found else "–" for rho in rhos)
        count = "/".join(map(str, sorted({row["seeds"] for row in found.values()})))
        lines.append(f"| {given(solver)} | {' | '.join(cells)} | {count} |")
    return lines


@repeated_by("random-problems", of={"recovery": ("random problems",)})
def random_problems() -> list[str]:
    (row,) = cases("recovery", "random problems").values()
    return [
        f"Of {row['problems']:,} such matrices, {row['faults']:,} ended in anything but finite predictions or an error "
        f"message that names the problem; the slowest took {row['largest_seconds']:.0f} s. (The command runs 10,000.)"
    ]


@repeated_by("recovery-time", of={"recovery": ("time | ",)})
def seconds() -> list[str]:
    lines = table("matrix of rank 5", "solver", "seconds", "largest relative error", "runs")
    for name, row in cases("recovery", "time | ").items():
        d, _, solver = name.partition(" | ")
        runs = "20 seeds" if "exact_rank" in row else "5 runs of one seed" if solver.startswith(OURS[:6]) else "1"
        figures = f"{row['median_seconds']:.2f} | {row['largest_error']:.0e} | {runs}"
        lines.append(f"| {d} × {d} | {given(solver)} | {figures} |")
    return lines


@repeated_by("noise", of={"recovery": ("noise | ",)})
def noise() -> list[str]:
    lines = table(
        "noise σ",
        "ρ",
        "relative error",
        "over the oracle's: median",
        "worst of 20 seeds",
        "tuned soft-impute's, 5 seeds",
    )
    for name, row in cases("recovery", "noise | ").items():
        ours = f"{row['error']:.3f} | {row['over_oracle']:.2f} | {row['over_oracle_worst']:.2f}"
        lines.append(f"| {name} | {ours} | {row['soft_impute_over_oracle']:.2f} |")
    return lines


@repeated_by("units", of={"recovery": ("units | ",)})
def units() -> list[str]:
    lines = table("data", "largest relative error of 20 seeds")
    return [
        *lines,
        *(f"| {name} | {row['largest_error']:.0e} |" for name, row in cases("recovery", "units | ").items()),
    ]
