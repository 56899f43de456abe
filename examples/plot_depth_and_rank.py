"""Depth makes a rank bound harmless
=================================

Completion by random networks of two, three and four layers. Two layers over-fit as soon as the network is wider than
the rank of the matrix; three do not. The price is a wait: a small start ε stays on a plateau for about 1/ε^(N−2)
steps with N layers, and a larger one ends with a larger error. Wider networks leave the plateau sooner.

A 60 × 60 matrix of rank 4, 40 % observed; widths from 4 to 40, three seeds each.
"""

import sys
from pathlib import Path

import numpy as np

import dmc
from dmc import plots
from dmc.solver import initial, steps

D, RANK = 60, 4


def train(width: int, depth: int, seed: int, max_steps: int, scale: float = 1e-2) -> tuple[float, float]:
    """Relative error over the whole matrix once the entries are matched to 1e-4; steps until half of the value is
    gone. NaN if that did not come to pass."""
    rng = np.random.default_rng(seed)
    P, s, Qt = np.linalg.svd(rng.standard_normal((D, D)))
    X = (P[:, :RANK] * (s[:RANK] / s[0])) @ Qt[:RANK]
    problem = dmc.MaskedLeastSquares(dmc.observe(X, rng.random(X.shape) < 0.4))
    start = initial.narrow(X.shape, width, depth, scale, seed)
    first, escaped = problem.value(start.scaled(0)), []

    def watch(info: dmc.StepInfo) -> bool:
        if info.value <= first / 2:
            escaped.append(info.n_steps)
        return info.value <= 1e-8 * first

    rule = steps.DiscrepantDescent(0.2 / problem.curvature)
    found = dmc.solve(problem, start, rule, max_steps=max_steps, tol=0, callbacks=[watch])
    if not escaped:
        return np.nan, np.nan
    return float(np.linalg.norm(found.factors.dense() - X) / np.linalg.norm(X)), float(escaped[0])


def main(
    folder: str = ".",
    widths: tuple[int, ...] = (4, 8, 16, 28, 40),
    scales: tuple[float, ...] = (0.2, 0.1, 0.05, 0.02, 0.01),
    seeds: int = 3,
    max_steps: int = 6000,
) -> Path:
    def lines(column: int, xs: tuple[float, ...], found: dict[int, np.ndarray]) -> list[plots.Line]:
        return [
            plots.Line(
                xs,
                np.median(runs[..., column], axis=1),
                f"{depth} layers",
                plots.style(f"{depth} layers"),
                (runs[..., column].min(axis=1), runs[..., column].max(axis=1)),
            )
            for depth, runs in found.items()
        ]

    def runs(depths: tuple[int, ...], *settings: tuple[int, float]) -> dict[int, np.ndarray]:
        """(settings, seeds, 2) errors and waits, by depth."""
        return {
            depth: np.array([[train(w, depth, s, max_steps, scale) for s in range(seeds)] for w, scale in settings])
            for depth in depths
        }

    by_width = runs((2, 3), *((width, 1e-2) for width in widths))
    by_scale = runs((2, 3, 4), *((widths[len(widths) // 2], scale) for scale in scales))
    wide, error = "width of the network", "relative error, whole matrix"
    needed = "steps to half of the first value"
    of, median = f"{D} × {D}, rank {RANK}", f"median and range of {seeds} seeds"
    middle = f"width {widths[len(widths) // 2]}; {median}"
    path = Path(folder) / "depth_and_rank.png"
    plots.panels(
        [
            plots.Panel(
                "A width above the rank hurts two layers, not three",
                wide,
                error,
                lines(0, widths, by_width),
                yscale="log",
                note=f"{of}; {median}",
                thresholds=[plots.Threshold(RANK, "rank", "x", 0.5)],
            ),
            plots.Panel(
                "Wider networks leave the plateau sooner",
                wide,
                needed,
                lines(1, widths, by_width),
                "log",
                note=f"ε = 0.01; {median}",
            ),
            plots.Panel(
                "A small start waits, the longer the deeper",
                "scale of the start, ε",
                needed,
                lines(1, scales, by_scale),
                "log",
                "log",
                note=middle,
            ),
            plots.Panel(
                "A large start leaves an error",
                "scale of the start, ε",
                error,
                lines(0, scales, by_scale),
                "log",
                "log",
                note=f"{middle}; without those still waiting",
            ),
        ],
        path,
        columns=2,
        theme="both",
    )
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
