"""Write the README's tables from bench/results: everything between `<!-- bench:NAME -->` and `<!-- end -->`."""

from __future__ import annotations

import re
from pathlib import Path

from _harness import load

README = Path(__file__).parent.parent / "README.md"


def completion() -> list[str]:
    lines = ["| planted rank-5 matrix | solver | relative error | rank found | seconds |", "|---|---|---|---|---|"]
    for row in load("completion"):
        case, _, solver = row["case"].partition(" | ")
        if solver:
            lines.append(
                f"| {case} | `{solver}` | {row['relative_error']:.0e} | {row['rank']} | {row['seconds']:.2f} |"
            )
    return lines


def photograph() -> list[str]:
    row = next(row for row in load("completion") if row["case"].startswith("photograph"))
    return [
        f"A photograph of which 70 % is missing comes back at {row['psnr']:.1f} dB; "
        f"filled with its mean it has {row['psnr_mean_fill']:.1f} dB."
    ]


def ratings() -> list[str]:
    lines = ["| ratings | test RMSE | seconds to fit |", "|---|---|---|"]
    return lines + [f"| {row['case']} | {row['test_rmse']:.4f} | {row['fit_seconds']:.1f} |" for row in load("ratings")]


def memory() -> list[str]:
    (row,) = load("memory")
    return [f"{row['case']}: {row['peak_gib']:.1f} GiB at most, {row['seconds_a_step']:.1f} s a step."]


def machine() -> list[str]:
    row = load("ratings")[0]
    return [f"Measured on {row['cores']} cores of an {row['machine']} ({row['kernel']} kernel)."]


def written(text: str) -> str:
    """The README with every table as the results have it."""
    for section in (completion, photograph, ratings, memory, machine):
        block = f"<!-- bench:{section.__name__} -->\n" + "\n".join(section()) + "\n<!-- end -->"
        places = re.findall(rf"<!-- bench:{section.__name__} -->.*?<!-- end -->", text, flags=re.DOTALL)
        if len(places) != 1:
            raise SystemExit(f"README.md has {len(places)} places for {section.__name__!r}; it needs one")
        text = text.replace(places[0], block)
    return text


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
