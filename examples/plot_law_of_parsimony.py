"""The law of parsimony
====================

Of each layer of a deep linear network, training moves only a part of rank 2r. The first three panels show the
singular values of the first layer: 2r = 6 of them move, the other 24 shrink together, with whitened inputs exactly as
the theory predicts (dotted). The last panel shows how far the space of those 24 turns: not at all with whitened
inputs, with and without momentum; by tens of degrees if the inputs are not whitened, though the singular values look
the same.

The network has three full-width layers and an orthogonal start, and learns a map of rank 3 in 30 dimensions. The
theory (Yaras et al., arXiv 2306.01154) says of whitened inputs that d − 2r singular values of every layer shrink
together as ρ(t), and that their singular vectors never turn. With momentum the same holds with another formula for
ρ(t). Without whitening there is no formula.
"""

import sys
from pathlib import Path

import numpy as np

import dmc
from dmc import diagnostics, plots
from dmc.solver import callbacks, initial, steps

D, RANK, DEPTH, SCALE, RATE, DECAY, MOMENTUM = 30, 3, 3, 0.3, 0.05, 0.01, 0.9


def train(problem: dmc.LinearRegression, rule: dmc.Step, n_steps: int):
    """Steps; singular values of the two predicted blocks of W_1; degrees by which its spaces have turned."""
    start = initial.orthogonal(problem.shape, DEPTH, SCALE)
    _, gradient = problem.value_and_grad(start)
    form = diagnostics.parsimony(start, gradient, RANK)
    k = form.moving

    def moving_and_resting(network: dmc.Factors) -> np.ndarray:
        """Singular values of W_1's two blocks in the predicted coordinates."""
        D_1 = form.left[0].T @ diagnostics.layers(network)[0] @ form.right[0]
        return np.r_[np.linalg.svd(D_1[:k, :k], compute_uv=False), np.linalg.svd(D_1[k:, k:], compute_uv=False)]

    def turned(network: dmc.Factors) -> list[float]:
        """Degrees between the start and: the space of the d − 2r that rest, that of the r leading vectors."""
        _, _, Qt = np.linalg.svd(diagnostics.layers(network)[0])
        resting = Qt[RANK : D - RANK]  # of those that move r grow and r shrink
        pairs = (resting.T, form.right[0][:, k:]), (Qt[:RANK].T, form.right[0][:, :RANK])
        return [float(np.degrees(diagnostics.principal_angles(*pair).max())) for pair in pairs]

    history = callbacks.History(values=moving_and_resting, angles=turned)
    dmc.solve(problem, start, rule, max_steps=n_steps, tol=0, callbacks=[history], check_every=5)
    return (history.column(name) for name in ("n_steps", "values", "angles"))


def main(folder: str = ".", n_steps: int = 600) -> Path:
    rng = np.random.default_rng(0)
    P, Q = (np.linalg.qr(rng.standard_normal((D, RANK)))[0] for _ in range(2))
    of_rank = (P * [3.0, 2.0, 1.0]) @ Q.T
    turn = np.linalg.qr(rng.standard_normal((D, D)))[0]
    X = (turn * np.geomspace(1.4, 0.7, D)) @ turn.T  # inputs whose directions differ twofold in size
    plain = steps.DiscrepantDescent(RATE, 1.0, DECAY)
    # A tenth of the rate: with momentum β steps add up to 1/(1 − β) of it.
    heavy = steps.Momentum(steps.DiscrepantDescent((1 - MOMENTUM) * RATE, 1.0, DECAY / (1 - MOMENTUM)), MOMENTUM)
    white = dmc.LinearRegression(X, of_rank @ np.linalg.inv(X) @ X, whiten=True)
    runs = {
        "Whitened inputs": (white, plain, (RATE, DECAY, 0.0)),
        "Whitened, with momentum": (white, heavy, ((1 - MOMENTUM) * RATE, DECAY / (1 - MOMENTUM), MOMENTUM)),
        "Inputs not whitened": (dmc.LinearRegression(X, of_rank @ X), plain, None),
    }
    k, panels, turning = 2 * RANK, [], []
    for i, (name, (problem, rule, predicted)) in enumerate(runs.items()):
        t, values, angles = train(problem, rule, n_steps)
        lines = [
            plots.Line(t, values[:, :k], f"the 2r = {k} that move", {"color": plots.SECOND, "linewidth": 1.6}),
            plots.Line(t, values[:, k:], f"the other {D - k}", {"color": plots.FIRST, "linewidth": 3}),
        ]
        if predicted is not None:
            rate, decay, momentum = predicted
            rho = diagnostics.predicted_rho(DEPTH, SCALE, rate, n_steps, decay, momentum=momentum)
            style = {"color": plots.INK, "linestyle": ":", "linewidth": 1.6}
            lines.append(plots.Line(np.arange(n_steps + 1), rho, "ρ(t), predicted", style))
        note = f"{D} × {D}, rank {RANK}, three layers"
        panels.append(plots.Panel(name, "step", "singular values of W₁", lines, note=note))
        # At the start all singular values are equal, so that its singular vectors are any vectors: no angle at step 0.
        style = {"color": (plots.FIRST, plots.THIRD, plots.FOURTH)[i], "linestyle": ("-", (0, (4, 4)), "-.")[i]}
        style |= {"linewidth": (3.5, 1.6, 1.6)[i]}
        turning.append(plots.Line(t[1:], angles[1:, 0], name, style))
        if i == 0:
            leading = {"color": plots.SECOND, "linestyle": (0, (1, 1.2))}
            turning.append(plots.Line(t[1:], angles[1:, 1], f"the leading {RANK}", leading))
    title, note = f"How far the space of the {D - k} turns", f"leading {RANK}: with whitened inputs"
    panels.append(plots.Panel(title, "step", "largest angle to start, degrees", turning, ylim=(-4, 94), note=note))
    path = Path(folder) / "law_of_parsimony.png"
    plots.panels(panels, path, theme="both")
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
