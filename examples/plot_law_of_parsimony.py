"""The law of parsimony: of each layer of a deep linear network only a 2r-dimensional part is trained.

A 30×30 matrix of rank 3, fully observed, and a full-width network of three layers from an orthogonal start. The theory
(Yaras et al., arXiv 2306.01154) says that d − 2r singular values of every layer shrink together as ρ(t), and that their
singular vectors never turn.
"""

import sys
from pathlib import Path

import numpy as np

import dmc
from dmc import diagnostics, plots
from dmc.solver import callbacks, initial, steps

D, RANK, DEPTH, SCALE, RATE, DECAY = 30, 3, 3, 0.3, 0.05, 0.01


def main(folder: str = ".", n_steps: int = 600) -> Path:
    rng = np.random.default_rng(0)
    P, Q = (np.linalg.qr(rng.standard_normal((D, RANK)))[0] for _ in range(2))
    problem = dmc.LeastSquares((P * [3.0, 2.0, 1.0]) @ Q.T)
    start = initial.orthogonal((D, D), DEPTH, SCALE)
    _, gradient = problem.value_and_grad(start)
    form = diagnostics.parsimony(start, gradient, RANK)
    k = form.moving

    def moving_and_resting(network: dmc.Factors) -> np.ndarray:
        """Singular values of W_1's two blocks in the predicted coordinates."""
        D_1 = form.left[0].T @ diagnostics.layers(network)[0] @ form.right[0]
        return np.r_[np.linalg.svd(D_1[:k, :k], compute_uv=False), np.linalg.svd(D_1[k:, k:], compute_uv=False)]

    def turned(network: dmc.Factors) -> np.ndarray:
        """Degrees between W_1's singular spaces and their start: the r leading vectors, and those that rest."""
        _, s, Qt = np.linalg.svd(diagnostics.layers(network)[0])
        rho = np.median(s)
        resting = np.argsort(np.abs(s - rho))[: D - k]
        leading = diagnostics.principal_angles(Qt[:RANK].T, form.right[0][:, :RANK]).max()
        rest = diagnostics.principal_angles(Qt[resting].T, form.right[0][:, k:]).max()
        return np.degrees([leading, rest])

    history = callbacks.History(values=moving_and_resting, angles=turned)
    rule = steps.DiscrepantDescent(RATE, 1.0, DECAY)
    dmc.solve(problem, start, rule, max_steps=n_steps, tol=0, callbacks=[history], check_every=5)
    t, values, angles = (history.column(name) for name in ("n_steps", "values", "angles"))
    # At the start all singular values are equal, so that its singular vectors are any vectors: no angle at step 0.
    rho = diagnostics.predicted_rho(DEPTH, SCALE, RATE, n_steps, DECAY)
    path = Path(folder) / "law_of_parsimony.png"
    plots.panels(
        [
            plots.Panel(
                f"W₁: {k} singular values move, {D - k} shrink together",
                "step",
                "singular value",
                [
                    plots.Line(t, values[:, :k], f"the 2r = {k} that move", {"color": "C1", "linewidth": 1.6}),
                    plots.Line(t, values[:, k:], f"the other {D - k}", {"color": "C0", "linewidth": 1.6}),
                    plots.Line(
                        np.arange(n_steps + 1),
                        rho,
                        "ρ(t), predicted",
                        {"color": "k", "linestyle": ":", "linewidth": 1.6},
                    ),
                ],
            ),
            plots.Panel(
                "the resting space does not turn",
                "step",
                "largest angle to the start (degrees)",
                [
                    plots.Line(t[1:], angles[1:, 1], f"space of the {D - k} that rest", {"color": "C0"}),
                    plots.Line(t[1:], angles[1:, 0], f"the {RANK} leading vectors", {"color": "C1"}),
                ],
                ylim=(-4, 94),
            ),
        ],
        path,
    )
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
