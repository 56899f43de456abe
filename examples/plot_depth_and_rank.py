"""Depth makes a rank bound harmless: two layers over-fit as the width grows, three do not.

A 60×60 matrix of rank 4 from 40 % of its entries; random narrow networks of width 4 to 40, over five seeds.
"""

import sys
from pathlib import Path

import numpy as np

import dmc
from dmc import plots
from dmc.solver import initial, steps

D, RANK = 60, 4


def train(width: int, depth: int, seed: int, max_steps: int) -> float:
    rng = np.random.default_rng(seed)
    P, s, Qt = np.linalg.svd(rng.standard_normal((D, D)))
    X = (P[:, :RANK] * (s[:RANK] / s[0])) @ Qt[:RANK]
    problem = dmc.MaskedLeastSquares(dmc.observe(X, rng.random(X.shape) < 0.4))
    start = initial.narrow(X.shape, width, depth, 1e-2, seed)
    matched = 1e-8 * problem.value(start.scaled(0))
    rule = steps.DiscrepantDescent(0.2 / problem.curvature)
    factors = dmc.solve(
        problem, start, rule, max_steps=max_steps, tol=0, callbacks=[lambda info: info.value <= matched]
    ).factors
    return float(np.linalg.norm(factors.dense() - X) / np.linalg.norm(X))


def main(
    folder: str = ".", widths: tuple[int, ...] = (4, 8, 16, 28, 40), seeds: int = 5, max_steps: int = 6000
) -> Path:
    lines = []
    for depth, colour in ((2, "C0"), (3, "C1")):
        errors = np.asarray([[train(w, depth, seed, max_steps) for seed in range(seeds)] for w in widths])
        lines.append(
            plots.Line(
                widths,
                np.median(errors, axis=1),
                f"{depth} layers",
                {"color": colour, "marker": "o"},
                (errors.min(axis=1), errors.max(axis=1)),
            )
        )
    path = Path(folder) / "depth_and_rank.png"
    panel = plots.Panel(
        f"a width above the rank ({RANK}) hurts two layers, not three\n(median and range of {seeds} seeds)",
        "width of the network (rank bound)",
        "relative error, whole matrix",
        lines,
        yscale="log",
    )
    plots.panels([panel], path)
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
