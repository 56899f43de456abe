"""The law of parsimony: of each layer of a deep linear network only a 2r-dimensional part is trained.

A map of rank 3 in 30 dimensions, and a full-width network of three layers from an orthogonal start. The theory (Yaras
et al., arXiv 2306.01154) says of whitened inputs that d − 2r singular values of every layer shrink together as ρ(t),
and that their singular vectors never turn. With momentum the same holds with another formula for ρ(t). Without
whitening there is none: the singular values still make the same picture, though their vectors turn.
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
        "whitened inputs": (white, plain, (RATE, DECAY, 0.0)),
        "whitened, with momentum": (white, heavy, ((1 - MOMENTUM) * RATE, DECAY / (1 - MOMENTUM), MOMENTUM)),
        "inputs not whitened": (dmc.LinearRegression(X, of_rank @ X), plain, None),
    }
    k, panels, turning = 2 * RANK, [], []
    for i, (name, (problem, rule, predicted)) in enumerate(runs.items()):
        t, values, angles = train(problem, rule, n_steps)
        named = i == 0  # the legend stands there alone
        lines = [
            plots.Line(t, values[:, :k], named * f"the 2r = {k} that move", {"color": "C1", "linewidth": 1.6}),
            plots.Line(t, values[:, k:], named * f"the other {D - k}", {"color": "C0", "linewidth": 1.6}),
        ]
        if predicted is not None:
            rate, decay, momentum = predicted
            rho = diagnostics.predicted_rho(DEPTH, SCALE, rate, n_steps, decay, momentum=momentum)
            style = {"color": "k", "linestyle": ":", "linewidth": 1.6}
            lines.append(plots.Line(np.arange(n_steps + 1), rho, named * "ρ(t), predicted", style))
        panels.append(plots.Panel(f"{name}: W₁", "step", "singular value", lines))
        # At the start all singular values are equal, so that its singular vectors are any vectors: no angle at step 0.
        style = {"color": f"C{(0, 2, 3)[i]}", "linestyle": ("-", "--", "-.")[i]}
        turning.append(plots.Line(t[1:], angles[1:, 0], name, style))
        if named:
            turning.append(plots.Line(t[1:], angles[1:, 1], f"the {RANK} leading vectors, whitened", {"color": "C1"}))
    title = f"how far the space of the {D - k} that rest turns"
    panels.append(plots.Panel(title, "step", "largest angle to the start (degrees)", turning, ylim=(-4, 94)))
    path = Path(folder) / "law_of_parsimony.png"
    plots.panels(panels, path, columns=2)
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
