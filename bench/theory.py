"""Where the theory is exact: fully observed factorization against its bound, and matrix sensing, small.

The compressed network starts as published from the full one's start; outer factors frozen in full observation.
"""

import time

import numpy as np

import dmc
from _harness import main, record
from dmc import diagnostics
from dmc.solver import initial, steps

D, RANK, DEPTH, SCALE, RATE = 60, 3, 3, 0.1, 0.05


def target(rng: np.random.Generator, d: int) -> np.ndarray:
    P, Q = (np.linalg.qr(rng.standard_normal((d, RANK)))[0] for _ in range(2))
    return (P * [1.0, 0.8, 0.6]) @ Q.T


def fully_observed() -> None:
    """d = 60, rank 3, L = 3, 2,000 steps, weight decay 0 and .01: measured compression error against its bound."""
    problem = dmc.LeastSquares(target(np.random.default_rng(0), D))
    start = initial.orthogonal((D, D), DEPTH, SCALE)
    _, gradient = problem.value_and_grad(start)
    form = diagnostics.parsimony(start, gradient, RANK)
    small = initial.compressed_from(start, gradient, RANK)
    for decay in (0.0, 0.01):
        began = time.perf_counter()
        full = dmc.solve(problem, start, steps.DiscrepantDescent(RATE, 1.0, decay), max_steps=2000, tol=0)
        compressed = dmc.solve(problem, small, steps.DiscrepantDescent(RATE, 0.0, decay), max_steps=2000, tol=0)
        blocks = diagnostics.block_form(full.factors, form)
        rho = diagnostics.predicted_rho(DEPTH, SCALE, RATE, 2000, decay)[-1]
        record(
            "theory",
            f"fully observed | λ = {decay:g}",
            compression_error=diagnostics.compression_error(full.factors, compressed.factors),
            bound=diagnostics.compression_bound(D, RANK, [block.rho for block in blocks]),
            off_block=max(block.off_block for block in blocks),
            rho_deviation=max(abs(block.rho - rho) for block in blocks),
            seconds_full=full.seconds,
            seconds_compressed=compressed.seconds,
            seconds=time.perf_counter() - began,
        )


def sensing() -> None:
    """d = 40, rank 3, 800 Gaussian measurements: full, compressed and narrow networks; relative error and seconds."""
    rng, d, measurements = np.random.default_rng(1), 40, 800
    X = target(rng, d)
    A = rng.standard_normal((measurements, d, d)) / np.sqrt(measurements)
    problem = dmc.LinearSensing(A, np.tensordot(A, X, 2))
    competitors = {
        "full width": (initial.orthogonal((d, d), DEPTH, 1e-2), 1.0),
        "compressed": (initial.compressed(problem.back_projection, RANK, DEPTH, 1e-2), 1.0),
        "narrow": (initial.narrow((d, d), 2 * RANK, DEPTH, 1e-2), 1.0),
    }
    for name, (start, outer) in competitors.items():
        solution = dmc.solve(problem, start, steps.DiscrepantDescent(0.1, outer), max_steps=6000, tol=1e-6)
        error = float(np.linalg.norm(solution.factors.dense() - X) / np.linalg.norm(X))
        record(
            "theory",
            f"sensing | {name}",
            relative_error=error,
            steps=solution.n_steps,
            seconds=solution.seconds,
            parameters=start.n_parameters,
        )


RUNS = {"fully-observed": fully_observed, "sensing": sensing}

if __name__ == "__main__":
    main(RUNS)
