"""Why the outer factors have to move, and at which rate
=====================================================

The error of compressed completion for four rates γ of the outer factors, beside the full-width network. With frozen
outer factors (γ = 0) it stalls; with γ = .001 and the published γ = .01 it has a tail; with γ = σ^(−2/3), where σ is
the largest singular value of the matrix, it falls as fast as that of the full-width network.

With Ω⊙X the subspaces that training moves in are not exactly low-dimensional. Near the solution, what lies outside
the subspace is learned by the outermost layer alone: in the full-width network at the rate η σ^(4/3), in the
compressed one at γ η σ². So the two end at the same speed with γ = σ^(−2/3). How low each ends depends on the small
start: the full-width network keeps more of it.
"""

import sys
from pathlib import Path

import numpy as np

import dmc
from dmc import plots
from dmc.solver import callbacks, initial, steps

D, RANK, DEPTH, SCALE = 120, 3, 3, 1e-2
PLATEAU = 1500  # before this step every network still waits


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
        after = history.column("n_steps") >= PLATEAU
        return plots.Line(history.column("n_steps")[after], history.column("error")[after], name, style)

    compressed = initial.compressed(observations, RANK, DEPTH, SCALE)
    lines = [line(initial.orthogonal(X.shape, DEPTH, SCALE), 1.0, "full width", plots.style("full width"))]
    for gamma, named in ((0.0, "0"), (0.001, ".001"), (0.01, ".01")):
        lines.append(line(compressed, gamma, f"γ = {named}", plots.style(f"compressed, γ = {named}", marker="")))
    alike = float(s[0] ** (-2 / DEPTH))
    lines.append(line(compressed, alike, f"γ = {alike:.2f} = σ^(−2/3)", plots.style("compressed", marker="")))
    path = Path(folder) / "outer_rate.png"
    title = "Frozen outer factors stall; at γ = σ^(−2/3) they end as fast as full width"
    note = f"{D} × {D}, rank {RANK}, 30 % observed, three layers; from step {PLATEAU:,}, where the plateau ends"
    panel = plots.Panel(title, "step", "relative error, unseen entries", lines, yscale="log", note=note)
    plots.panels([panel], path, theme="both")
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
