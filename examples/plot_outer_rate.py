"""Why the outer factors have to move, and at which rate: γ from 0 to σ^(−2/3) in compressed completion.

With Ω⊙X the subspaces that training moves in are not exactly low-dimensional: with frozen outer factors (γ = 0) the
error stalls. Near the solution, what lies outside of the subspace is learnt by the outermost layer alone: in the
full-width network at the rate η σ^(4/3), in the compressed one at γη σ², with σ the matrix' singular values. So the two
end at the same speed with γ = σ^(−2/3), and the published γ = .01 makes a tail. A 120×120 matrix of rank 3, 30 %
observed, three layers.
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

    def line(start: dmc.Factors, gamma: float, name: str, style: dict) -> plots.Line:
        history = callbacks.History(error=error)
        dmc.solve(
            dmc.MaskedLeastSquares(observations),
            start,
            steps.DiscrepantDescent(0.01, gamma),
            max_steps=n_steps,
            tol=0,
            callbacks=[history],
            check_every=20,
        )
        return plots.Line(history.column("n_steps"), history.column("error"), name, style)

    compressed = initial.compressed(observations, RANK, DEPTH, SCALE)
    thick = {"color": "k", "linewidth": 3.5, "alpha": 0.35}
    lines = [line(initial.orthogonal(X.shape, DEPTH, SCALE), 1.0, "full width", thick)]
    for i, gamma in enumerate((0.0, 0.001, 0.01)):
        lines.append(line(compressed, gamma, f"γ = {gamma:g}", {"color": f"C{i}"}))
    alike = float(s[0] ** (-2 / DEPTH))
    lines.append(line(compressed, alike, f"γ = {alike:.2f} = σ^(−2/3)", {"color": "C3"}))
    path = Path(folder) / "outer_rate.png"
    title = "outer factors: frozen they stall,\nat γ = σ^(−2/3) they end like the full network"
    panel = plots.Panel(title, "step", "relative error, unseen entries", lines, yscale="log")
    plots.panels([panel], path)
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
