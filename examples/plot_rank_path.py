"""How the rank shows itself along the penalty's path
==================================================

The singular values of a two-factor model as the penalty falls. Directions join one by one; the true ones grow to the
planted singular values (dotted), spurious ones leave again, and the number of directions settles at the rank.

The matrix has rank 5, singular values from 1 to .1, and two observed entries for each degree of freedom.
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
        plots.Line(
            steps, found[:, rank:], "others", {"color": plots.SECOND, "linewidth": 1, "marker": ".", "markersize": 5}
        ),
        plots.Line(steps, found[:, :rank], f"{rank} largest", {"color": plots.FIRST, "linewidth": 1.8}),
        plots.Line(
            steps, np.tile(planted, (len(steps), 1)), "planted", {"color": plots.INK, "linewidth": 1, "linestyle": ":"}
        ),
        plots.Line(
            steps,
            problem.target_norm * step.level * step.decay**steps,
            "penalty",
            {"color": plots.THIRD, "linestyle": "--"},
        ),
    ]
    path = Path(folder) / "rank_path.png"
    plots.panels(
        [
            plots.Panel(
                "True directions grow, others leave",
                "step down the path",
                "singular value of the model",
                lines,
                yscale="log",
                ylim=(3e-5, 2),
                note=f"{d} × {d}, rank {rank}",
            ),
            plots.Panel(
                "The width settles at the rank",
                "step down the path",
                "directions in the model",
                [plots.Line(steps, widths, "", {"color": plots.FIRST, "marker": "o", "markersize": 3})],
                ylim=(0, None),
                note=f"{d} × {d}, two entries a degree of freedom",
                thresholds=[plots.Threshold(rank, f"rank {rank}", at=0)],
            ),
        ],
        path,
        theme="both",
    )
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
