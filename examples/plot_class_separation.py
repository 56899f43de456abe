"""Progressive separation: layer by layer, a trained deep network moves the classes of scikit-learn's digits apart.

A linear network of six layers on whitened images, one-hot labels. Its loss is then ½‖W_6⋯W_1 − Y Xᵀ‖² up to a constant,
so that the network is fitted as a fully observed 10×64 matrix.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import dmc
from dmc import diagnostics, plots
from dmc.solver import initial, steps

DEPTH, SCALE = 6, 0.5


def main(folder: str = ".", n_steps: int = 4000) -> Path:
    images, labels = load_digits(return_X_y=True)
    centred = images - images.mean(axis=0)
    P, s, _ = np.linalg.svd(centred, full_matrices=False)
    X = P[:, s > 1e-6 * s[0]].T  # whitened: X Xᵀ = I
    Y = np.eye(10)[labels].T
    Y = Y - Y.mean(axis=1, keepdims=True)
    target = Y @ X.T
    problem = dmc.LeastSquares(target / np.linalg.norm(target, 2))
    start = initial.orthogonal(problem.matrix.shape, DEPTH, SCALE)
    found = dmc.solve(problem, start, steps.DiscrepantDescent(0.05), max_steps=n_steps, tol=1e-6).factors

    lines = []
    for name, network, style in (
        ("at the start", start, {"color": "0.6", "marker": "o", "linestyle": "--"}),
        ("trained", found, {"color": "C1", "marker": "o"}),
    ):
        features, ratios = X, [diagnostics.separation(X.T, labels).within_to_between]
        for W in diagnostics.layers(network):
            features = W @ features
            ratios.append(diagnostics.separation(features.T, labels).within_to_between)
        lines.append(plots.Line(range(DEPTH + 1), ratios, name, style))
    path = Path(folder) / "class_separation.png"
    panel = plots.Panel(
        "each layer separates the ten digits further",
        "layer (0: the whitened images)",
        "variance within ÷ between classes",
        lines,
        yscale="log",
    )
    plots.panels([panel], path)
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
