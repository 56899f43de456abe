"""Gradient descent under two distances of covariances
===================================================

How many steps plain gradient descent needs to find the factors of a covariance, by its condition number κ: nearly as
many at any κ under the Bures–Wasserstein distance (`dmc.BuresWasserstein`), more and more under the Frobenius norm.

Σ = SSᵀ is 20 × 20, with eigenvalues from 1 down to 1/κ. One layer, or the product of two, from an orthogonal start
makes a generator X, and gradient descent brings XXᵀ to Σ, each at the best rate of a grid. Under the first distance
the curvature at the minimum is one in every direction of one layer, so that the number of steps does not depend on κ;
under the second it falls with the eigenvalue. A curve ends where no rate arrives in 3,000 steps.

This compares two loss surfaces. To factorise a Σ that you hold, take its k leading eigenvectors.
"""

import sys
from pathlib import Path

import numpy as np

import dmc
from dmc import plots
from dmc.solver import initial, steps

D, SCALE = 20, 0.3
REACHED = 1e-4  # of the squared Bures–Wasserstein distance of zero
RATES = (0.1, 0.2, 0.4, 0.8)


class Frobenius(dmc.Problem):
    """⅛ ‖XXᵀ − SSᵀ‖², whose curvature at the minimum is σ² in the direction of a singular value σ of S."""

    curvature = 1.0

    def __init__(self, S: np.ndarray) -> None:
        self.covariance, self.target_norm = S @ S.T, float(np.linalg.norm(S, 2))

    def value_and_grad(self, factors: dmc.Factors) -> tuple[float, dmc.Factors]:
        X = factors.dense()
        residual = X @ X.T - self.covariance
        by_X = residual @ X / 2
        return float(np.sum(residual**2)) / 8, factors.pull_back(by_X @ factors.right, by_X.T @ factors.left)


def start(layers: int) -> dmc.Factors:
    """Square layers; a single one stands between outer factors that the rule leaves alone."""
    if layers > 1:
        return initial.orthogonal((D, D), layers, SCALE)
    return dmc.Factors(np.eye(D), [initial.orthogonal((D, D), 2, SCALE).U], np.eye(D))


def fewest(problem: dmc.Problem, measured: dmc.BuresWasserstein, layers: int, max_steps: int) -> float:
    """Steps until the covariance is reached, by the best rate; NaN if by none."""
    enough = REACHED * 0.5 * float(np.sum(np.asarray(measured.factor) ** 2))
    taken = [np.nan]
    for rate in RATES:
        limit = int(np.nanmin([*taken, max_steps]))
        rule = steps.DiscrepantDescent(rate, outer_ratio=float(layers > 1))
        found = dmc.solve(
            problem,
            start(layers),
            rule,
            max_steps=limit,
            tol=0,
            callbacks=[lambda info: measured.value(info.factors) <= enough],
            check_every=max(1, limit // 500),
        )
        taken.append(found.n_steps if found.stopped_by else np.nan)
    return float(np.nanmin(taken)) if not np.isnan(taken).all() else np.nan


def main(
    folder: str = ".",
    conditions: tuple[float, ...] = (1, 3, 10, 30, 100, 300, 1000),
    max_steps: int = 3000,
) -> Path:
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((D, D)))[0]
    lines, words = [], {1: "one layer", 2: "two layers"}
    for layers in words:
        counts: dict[str, list[float]] = {"Bures–Wasserstein": [], "Frobenius": []}
        for condition in conditions:
            S = basis * np.geomspace(1, condition**-0.5, D)
            wasserstein = dmc.BuresWasserstein(factor=S)
            for name, problem in zip(counts, (wasserstein, Frobenius(S)), strict=True):
                counts[name].append(fewest(problem, wasserstein, layers, max_steps))
        for name in counts:
            style = plots.style(name, **({} if layers == 1 else {"linestyle": "--", "markerfacecolor": "none"}))
            lines.append(plots.Line(np.array(conditions), np.array(counts[name]), f"{name}, {words[layers]}", style))
    path = Path(folder) / "bures_wasserstein.png"
    panel = plots.Panel(
        "Bures–Wasserstein descent hardly depends on the condition number",
        "condition number κ of Σ",
        f"steps to a relative distance² of {REACHED:g}",
        lines,
        xscale="log",
        yscale="log",
        note="20 × 20, best rate of four",
    )
    plots.panels([panel], path, theme="both")
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
