"""Where a compressed network follows the full one, and where not
==============================================================

A compressed network takes the path of the full-width one in a fraction of the time, if its outer factors move at the
right rate: γ times that of its cores. The figure shows the error on unseen entries by step and by second. With the
published γ = .01 the compressed network follows until it has left the plateau, and then falls behind: to 1e-5 it
takes about twice as many steps. With γ = σ^(−2/3), where σ is the largest singular value of the matrix, it follows to
the end. With γ = 0 it stalls, and a random network that is as narrow waits twice as long on the plateau.

**Why.** Once the leading directions are learned, what is left lies outside the subspace that the compression keeps,
and the outermost layer alone learns it. In the full-width network it does so at the rate η σ^(4/3), in the compressed
one at γ η σ². The two are equal at γ = σ^(−2/3), and a smaller γ makes a tail.

**Setting.** A 120 × 120 matrix of rank 3, 30 % observed, three layers, the same rate and start scale for all. Set-up
is inside the clock. The benchmark page :doc:`/benchmarks/compressed-against-full` has larger matrices.
"""

import sys
import time
from pathlib import Path

import numpy as np

import dmc
from dmc import plots
from dmc.solver import initial, steps

D, RANK, DEPTH, SCALE = 120, 3, 3, 1e-2
GOALS = {0.1: "a tenth", 1e-5: "1e-5"}  # relative errors that the figure marks
PLATEAU = 1500  # before this step every network still waits


def main(folder: str = ".", n_steps: int = 5000) -> Path:
    rng = np.random.default_rng(0)
    P, s, Qt = np.linalg.svd(rng.standard_normal((D, D)))
    X = (P[:, :RANK] * s[:RANK]) @ Qt[:RANK]
    mask = rng.random(X.shape) < 0.3
    observations = dmc.observe(X, mask)
    alike = float(s[0] ** (-2 / DEPTH))
    competitors = {
        "full width": (
            lambda: initial.orthogonal(X.shape, DEPTH, SCALE),
            1.0,
            plots.style("full width"),
        ),
        f"compressed, γ = σ^(−2/3) = {alike:.2f}": (
            lambda: initial.compressed(observations, RANK, DEPTH, SCALE),
            alike,
            plots.style("compressed", marker=""),
        ),
        "compressed, γ = .01": (
            lambda: initial.compressed(observations, RANK, DEPTH, SCALE),
            0.01,
            plots.style("compressed, γ = .01", marker=""),
        ),
        "compressed, γ = 0": (
            lambda: initial.compressed(observations, RANK, DEPTH, SCALE),
            0.0,
            plots.style("compressed, γ = 0", marker=""),
        ),
        f"random, as narrow (width {2 * RANK})": (
            lambda: initial.narrow(X.shape, 2 * RANK, DEPTH, SCALE),
            1.0,
            plots.style("narrow", marker=""),
        ),
    }
    by_step, by_time = [], []
    for name, (start, outer_ratio, style) in competitors.items():
        began = time.perf_counter()
        course: list[tuple[int, float, float]] = []

        def watch(info: dmc.StepInfo, course=course, began=began) -> None:
            error = np.linalg.norm((info.factors.dense() - X)[~mask]) / np.linalg.norm(X[~mask])
            course.append((info.n_steps, time.perf_counter() - began, error))

        rule = steps.DiscrepantDescent(0.01, outer_ratio)
        dmc.solve(
            dmc.MaskedLeastSquares(observations),
            start(),
            rule,
            max_steps=n_steps,
            tol=0,
            callbacks=[watch],
            check_every=25,
        )
        n, seconds, error = np.asarray(course).T
        by_step.append(plots.Line(n[n >= PLATEAU], error[n >= PLATEAU], name, style))
        by_time.append(plots.Line(seconds[n >= PLATEAU], error[n >= PLATEAU], name, style))
        reached = [int(n[error <= goal][0]) if (error <= goal).any() else None for goal in GOALS]
        print(f"{name:36} {reached[0]} steps to a tenth, {reached[1]} to 1e-5")
    path = Path(folder) / "compressed_follows_full.png"
    label, goals = "relative error, unseen entries", [plots.Threshold(*goal) for goal in GOALS.items()]
    note = f"{D} × {D}, rank {RANK}, 30 % observed; each curve from step {PLATEAU:,}"
    plots.panels(
        [
            plots.Panel(
                "By step: γ makes the tail",
                "step",
                label,
                by_step,
                yscale="log",
                note=note,
                thresholds=goals,
            ),
            plots.Panel(
                "By time: a fraction",
                "seconds, set-up included",
                label,
                by_time,
                yscale="log",
                xscale="log",
                note=note,
                thresholds=goals,
            ),
        ],
        path,
        theme="both",
    )
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
