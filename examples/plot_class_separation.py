"""Progressive separation of classes
=================================

Each layer of a trained deep linear network moves classes apart by the same factor. The figure shows the variance
within classes over that between them, layer by layer, on a logarithmic axis: straight lines, which fall faster the
smaller the start.

The data are 60 of scikit-learn's digits, six of each class, made orthonormal, so that the inputs themselves do not
tell the classes apart. What the network has not learned passes every layer with the size ε of the start, what it has
learned with a size near one, so that the ratio falls by about ε² a layer at any depth (Wang et al., arXiv
2311.02960). Random starts of the same norm ε, most of whose singular values are smaller, separate faster.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import dmc
from dmc import diagnostics, plots
from dmc.solver import initial, steps

CLASSES, EACH = 10, 6


def digits() -> tuple[np.ndarray, np.ndarray]:
    """(64, 60) orthonormal images, and (60,) their digits."""
    images, labels = load_digits(return_X_y=True)
    chosen = np.concatenate([np.flatnonzero(labels == c)[:EACH] for c in range(CLASSES)])
    P, _, Qt = np.linalg.svd(images[chosen].T - images[chosen].mean(), full_matrices=False)
    return P @ Qt, labels[chosen]


def ratios(X: np.ndarray, labels: np.ndarray, network: dmc.Factors) -> list[float]:
    """Variance within ÷ between classes: of the inputs, and behind each layer but the last, which is the answer."""
    features, found = X, [diagnostics.separation(X.T, labels).within_to_between]
    for W in diagnostics.layers(network)[:-1]:
        features = W @ features
        found.append(diagnostics.separation(features.T, labels).within_to_between)
    return found


def trained(X: np.ndarray, labels: np.ndarray, start: dmc.Factors, n_steps: int) -> dmc.Factors:
    problem = dmc.LinearRegression(X, np.eye(CLASSES)[labels].T / EACH**0.5)  # of singular values 1
    return dmc.solve(problem, start, steps.DiscrepantDescent(0.1), max_steps=n_steps, tol=0, check_every=100).factors


def main(folder: str = ".", n_steps: int = 4000) -> Path:
    X, labels = digits()
    shape = CLASSES, len(X)

    def line(start: dmc.Factors, name: str, i: int) -> plots.Line:
        found = ratios(X, labels, trained(X, labels, start, n_steps))
        # Large open marks below small full ones: some lines lie on each other.
        style = plots.style(name) if name in plots.STYLES else {"color": (plots.SECOND, plots.FIRST, plots.THIRD)[i]}
        style |= {"marker": "osD"[i], "markersize": (10, 6.5, 3)[i]} | ({"markerfacecolor": "none"} if i < 2 else {})
        return plots.Line(range(len(found)), found, name, style)

    of_start = ratios(X, labels, initial.orthogonal(shape, 7, 0.3))
    untrained = plots.Line(range(len(of_start)), of_start, "not trained", {"color": plots.SOFT, "linestyle": ":"})
    by_depth = [line(initial.orthogonal(shape, depth, 0.3), f"{depth} layers", i) for i, depth in enumerate((3, 5, 7))]
    kinds = {"orthogonal": initial.orthogonal, "normal": initial.normal, "uniform": initial.uniform}
    by_kind = [line(start(shape, 5, 0.3), name, i) for i, (name, start) in enumerate(kinds.items())]
    by_scale = [
        line(initial.orthogonal(shape, 4, scale), f"ε = {scale:g}", i) for i, scale in enumerate((0.5, 0.3, 0.1))
    ]
    labelled = "layer (0: the images)", "variance within ÷ between"
    path = Path(folder) / "class_separation.png"
    plots.panels(
        [
            plots.Panel("The same factor at every depth", *labelled, [*by_depth, untrained], "log", note="ε = 0.3"),
            plots.Panel("From any start of norm ε", *labelled, by_kind, "log", note="5 layers, ε = 0.3"),
            plots.Panel("The smaller the start, the faster", *labelled, by_scale, "log", note="4 layers"),
        ],
        path,
        columns=3,
        theme="both",
    )
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
