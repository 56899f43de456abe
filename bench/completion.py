"""Is a planted matrix recovered exactly without being told its rank, and what do the rivals in this house reach?

The rivals start from the spectral start, with the exact rank and with twice as much; set-up is inside the clock.
"""

import time

import numpy as np

import dmc
from _harness import main, record
from dmc import datasets, metrics
from dmc.solver import initial, steps

RANK = 5
CASES = {
    "2,000 × 1,500, 10 % observed": {"shape": (2000, 1500), "observed": 0.1},
    "300 × 300, 30 % observed": {"shape": (300, 300), "observed": 0.3},
    "300 × 300, 30 % observed, condition 100": {"shape": (300, 300), "observed": 0.3, "condition": 100.0},
}


def two_factor(observations: dmc.Observations, rank: int) -> dmc.Factors:
    start = initial.spectral(observations, rank)
    problem = dmc.MaskedLeastSquares(observations)
    step = steps.Backtracking(steps.ScaledDescent())
    return dmc.solve(problem, start, step, max_steps=1000, tol=1e-12).factors


def planted() -> None:
    """Rank-5 matrices, rank not given, beside two factors given the rank: error, rank, seconds."""
    dmc.MatrixCompletion().fit(datasets.planted((50, 50), 2, 0.5).observations)  # what is imported at first use
    for name, case in CASES.items():
        problem = datasets.planted(rank=RANK, **case)
        truth = problem.A @ problem.B.T
        rivals = {
            "MatrixCompletion(rank=10)": lambda o: dmc.MatrixCompletion(rank=2 * RANK).fit(o).factors_,
            "MatrixCompletion()": lambda o: dmc.MatrixCompletion().fit(o).factors_,
            "two factors, told rank 5": lambda o: two_factor(o, RANK),
            "two factors, told rank 10": lambda o: two_factor(o, 2 * RANK),
        }
        for rival, fit in rivals.items():
            began = time.perf_counter()
            factors = fit(problem.observations)
            seconds = time.perf_counter() - began
            error = float(np.linalg.norm(factors.dense() - truth) / np.linalg.norm(truth))
            record("completion", f"{name} | {rival}", relative_error=error, rank=factors.width, seconds=seconds)


def photograph() -> None:
    """A photograph with 70 % of its pixels missing: PSNR beside filling with the mean."""
    image, mask = datasets.photograph(0.3)
    began = time.perf_counter()
    models = [dmc.MatrixCompletion().fit(image[..., c], mask=mask) for c in range(3)]
    seconds = time.perf_counter() - began
    completed = np.stack([np.clip(model.complete(), 0, 1) for model in models], axis=2)
    restored = np.where(mask[..., None], image, completed)
    filled = np.where(mask[..., None], image, image[mask].mean(axis=0))
    record(
        "completion",
        "photograph, 70 % missing",
        psnr=metrics.psnr(restored, image),
        psnr_mean_fill=metrics.psnr(filled, image),
        seconds=seconds,
    )


RUNS = {"planted": planted, "photograph": photograph}

if __name__ == "__main__":
    main(RUNS)
