"""A compressed network takes the same path as the full-width one, in a fraction of the time.

Completion of a 120×120 matrix of rank 3 from 30 % of its entries, three layers, the same rate and start scale. The
outer factors of the compressed network move at γ times the rate of its cores: at γ = σ^(−2/3), with σ the matrix'
largest singular value, it follows the full-width network to the end; at the published γ = .01 until it has escaped; at
γ = 0 it stalls. A random network that is as narrow waits twice as long before it escapes. Set-up is inside the clock.
"""

import sys
import time
from pathlib import Path

import numpy as np

import dmc
from dmc import plots
from dmc.solver import initial, steps

D, RANK, DEPTH, SCALE = 120, 3, 3, 1e-2


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
            {"color": "k", "linewidth": 3, "alpha": 0.35},
        ),
        f"compressed, γ = σ^(−2/3) = {alike:.2f}": (
            lambda: initial.compressed(observations, RANK, DEPTH, SCALE),
            alike,
            {"color": "C3"},
        ),
        "compressed, γ = .01": (lambda: initial.compressed(observations, RANK, DEPTH, SCALE), 0.01, {"color": "C1"}),
        "compressed, γ = 0": (
            lambda: initial.compressed(observations, RANK, DEPTH, SCALE),
            0.0,
            {"color": "C0", "linestyle": "--"},
        ),
        f"random, as narrow ({2 * RANK})": (
            lambda: initial.narrow(X.shape, 2 * RANK, DEPTH, SCALE),
            1.0,
            {"color": "C2"},
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
            max_steps=n_steps if "narrow" not in name else 2 * n_steps,
            tol=0,
            callbacks=[watch],
            check_every=25,
        )
        n, seconds, error = np.asarray(course).T
        by_step.append(plots.Line(n, error, "", style))  # the legend stands beside
        by_time.append(plots.Line(seconds, error, name, style))
    path = Path(folder) / "compressed_follows_full.png"
    label = "relative error, unseen entries"
    plots.panels(
        [
            plots.Panel("the same path, step by step", "step", label, by_step, yscale="log"),
            plots.Panel(
                "in a fraction of the time", "seconds, set-up included", label, by_time, yscale="log", xscale="log"
            ),
        ],
        path,
    )
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
