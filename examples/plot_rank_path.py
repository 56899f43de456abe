"""How the rank shows itself: down the penalty's path directions join, the spurious ones leave, the true ones grow.

A matrix of rank 5 with singular values from 1 to .1, from two entries for each degree of freedom.
"""

import sys
from pathlib import Path

import numpy as np

import dmc
from dmc import plots
from dmc.solver import initial
from dmc.solver.rank_path import RankPath


def main(folder: str = ".", d: int = 300, rank: int = 5, max_steps: int = 30) -> Path:
    rng = np.random.default_rng(1)
    P, Q = (np.linalg.qr(rng.standard_normal((d, rank)))[0] for _ in range(2))
    planted = np.geomspace(1, 0.1, rank)
    X = (P * planted) @ Q.T
    mask = rng.random((d, d)) < 2 * rank * (2 * d - rank) / d**2
    observations = dmc.observe(X, mask)
    problem = dmc.MaskedLeastSquares(observations)
    step = RankPath(bound=4 * rank)
    found = np.full((max_steps + 1, 4 * rank), np.nan)

    def note(info: dmc.StepInfo) -> None:
        s = info.factors.singular_values()
        found[info.n_steps, : len(s)] = s

    start = initial.spectral(observations, 1).scaled(1 - step.level)
    dmc.solve(problem, start, step, max_steps=max_steps, tol=0, check_every=1, callbacks=[note])
    steps = np.arange(max_steps + 1)
    widths = np.sum(~np.isnan(found), axis=1)
    lines = [
        plots.Line(steps, found[:, rank:], "", {"color": "0.6", "linewidth": 1, "marker": ".", "markersize": 4}),
        plots.Line(steps, found[:, :rank], f"{rank} largest", {"color": "C0", "linewidth": 2}),
        plots.Line(
            steps, np.tile(planted, (len(steps), 1)), "planted", {"color": "C3", "linewidth": 1, "linestyle": ":"}
        ),
        plots.Line(
            steps, problem.target_norm * step.level * step.decay**steps, "level", {"color": "k", "linestyle": "--"}
        ),
    ]
    path = Path(folder) / "rank_path.png"
    plots.panels(
        [
            plots.Panel(
                "the true directions grow, the others leave",
                "step down the path",
                "singular value of the model",
                lines,
                yscale="log",
                ylim=(1e-4, 2),
            ),
            plots.Panel(
                f"the width settles at the rank ({rank})",
                "step down the path",
                "directions in the model",
                [plots.Line(steps, widths, "", {"color": "C0", "marker": "o", "markersize": 4})],
                ylim=(0, None),
            ),
        ],
        path,
    )
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
