"""Tables of docs/benchmarks/kernels.md, from the results of bench/kernels.py."""

from __future__ import annotations

from _harness import cases
from _measured import repeated_by, table

SIZES = "in cache", "out of cache"
RATIOS = "torch_over_native", "torch_over_bfloat16", "numba_over_native", "one_thread_over_native"


@repeated_by("kernel-ratios", of={"kernels": SIZES})
def kernel_speed() -> list[str]:
    lines = table(
        "entries, float32",
        "width k",
        "torch",
        "torch (ours gathers bfloat16)",
        "numba",
        "ours, one thread",
        "share of the roofline",
    )
    for size in SIZES:
        for name, row in cases("kernels", size).items():
            count, _, width = name.strip(", ").partition(" | ")
            share = f"{row['share_of_roofline']:.0%}" if "share_of_roofline" in row else "–"
            ratios = " | ".join(f"{row[ratio]:.1f}" for ratio in RATIOS)
            lines.append(f"| {size}, {count} | {width} | {ratios} | {share} |")
    return lines


@repeated_by("whole-step", "kernel-widths", "preparation", of={"kernels": ("whole step", "every width", "preparation")})
def kernel_use() -> list[str]:
    steps = [f"{row['step_over_kernel']:.2f} ({name})" for name, row in cases("kernels", "whole step, ").items()]
    (widths,) = cases("kernels", "every width").values()
    found = [
        f"- A step of the solver on 1,000 × 1,000 (200,000 entries, width 20, three cores) takes {' and '.join(steps)} "
        "times as long as the two kernel calls in it.",
        f"- No width from 1 to 130 takes more than {widths['worst_over_next']:.2f} times as long as the next one up "
        f"among 8, 16, 32, 64, 128 and 130 (the worst is {widths['worst_width']}).",
    ]
    for name, row in cases("kernels", "preparation, ").items():
        spent = f"{row['seconds']:.1f} s and {row['bytes_an_entry']:.0f} bytes an entry"
        found.append(f"- Preparing {name} takes {spent}.")
    return found
