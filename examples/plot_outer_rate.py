"""Why the outer factors have to move, and why slowly: γ from 0 to 1 in compressed completion.

With Ω⊙X the subspaces that training moves in are not exactly low-dimensional: with frozen outer factors (γ = 0) the
error stalls. A 120×120 matrix of rank 3, 30 % observed, three layers.
"""

import sys
from pathlib import Path

import numpy as np

import dmc
from dmc import plots
from dmc.solver import callbacks, initial, steps

D, RANK, DEPTH, SCALE = 120, 3, 3, 1e-2


def main(folder: str = ".", n_steps: int = 6000) -> Path:
    rng = np.random.default_rng(0)
    P, s, Qt = np.linalg.svd(rng.standard_normal((D, D)))
    X = (P[:, :RANK] * s[:RANK]) @ Qt[:RANK]
    mask = rng.random(X.shape) < 0.3
    observations = dmc.observe(X, mask)

    def error(factors: dmc.Factors) -> float:
        return float(np.linalg.norm((factors.dense() - X)[~mask]) / np.linalg.norm(X[~mask]))

    lines = []
    for i, gamma in enumerate((0.0, 0.001, 0.01, 0.1)):
        history = callbacks.History(error=error)
        dmc.solve(
            dmc.MaskedLeastSquares(observations),
            initial.compressed(observations, RANK, DEPTH, SCALE),
            steps.DiscrepantDescent(0.01, gamma),
            max_steps=n_steps,
            tol=0,
            callbacks=[history],
            check_every=20,
        )
        lines.append(
            plots.Line(history.column("n_steps"), history.column("error"), f"γ = {gamma:g}", {"color": f"C{i}"})
        )
    path = Path(folder) / "outer_rate.png"
    panel = plots.Panel("frozen outer factors stall", "step", "relative error, unseen entries", lines, yscale="log")
    plots.panels([panel], path)
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
