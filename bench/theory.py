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


def parsimony() -> None:
    """d = 30, rank 3, L = 3, 600 steps: the block form of whitened inputs, with momentum, and without whitening."""
    rng, d, decay, beta = np.random.default_rng(2), 30, 0.01, 0.9
    X = rng.standard_normal((d, d))
    P, _, Qt = np.linalg.svd(X)
    inputs, of_rank = (P * np.geomspace(1.4, 0.7, d)) @ Qt, target(rng, d) * 3
    plain = steps.DiscrepantDescent(RATE, 1.0, decay)
    slow = RATE * (1 - beta), decay / (1 - beta)
    heavy = steps.Momentum(steps.DiscrepantDescent(slow[0], 1.0, slow[1]), beta)
    runs = {
        "whitened": (True, plain, (RATE, decay, 0.0)),
        "whitened, momentum": (True, heavy, (*slow, beta)),
        "not whitened": (False, plain, (RATE, decay, 0.0)),
    }
    for scale in (0.3, 0.1, 0.03):
        for name, (whiten, rule, (rate, lam, momentum)) in runs.items():
            problem = dmc.LinearRegression(inputs, of_rank @ inputs, whiten=whiten)
            start = initial.orthogonal((d, d), DEPTH, scale)
            form = diagnostics.parsimony(start, problem.value_and_grad(start)[1], RANK)
            found = dmc.solve(problem, start, rule, max_steps=600, tol=0)
            blocks = diagnostics.block_form(found.factors, form)
            rho = diagnostics.predicted_rho(DEPTH, scale, rate, 600, lam, momentum=momentum)[-1]
            record(
                "theory",
                f"parsimony | ε = {scale:g} | {name}",
                off_block=max(block.off_block for block in blocks),
                rest=max(block.rest for block in blocks),
                rho_deviation=max(abs(block.rho - rho) for block in blocks),
                rho=float(rho),
                value=found.value,
                seconds=found.seconds,
            )


def separation() -> None:
    """60 orthonormal inputs in 64 dimensions, 10 classes: within ÷ between, layer by layer, by depth, start and ε."""
    rng, classes, each, d = np.random.default_rng(3), 10, 6, 64
    X = np.linalg.qr(rng.standard_normal((d, classes * each)))[0]
    labels = np.repeat(np.arange(classes), each)
    problem = dmc.LinearRegression(X, np.eye(classes)[labels].T / each**0.5)
    kinds = {"orthogonal": initial.orthogonal, "normal": initial.normal, "uniform": initial.uniform}
    cases = [("orthogonal", depth, 0.3) for depth in (3, 5, 7)] + [(kind, 5, 0.3) for kind in ("normal", "uniform")]
    for kind, depth, scale in [*cases, *(("orthogonal", 4, scale) for scale in (0.5, 0.3, 0.1))]:
        start = kinds[kind]((classes, d), depth, scale)
        solution = dmc.solve(problem, start, steps.DiscrepantDescent(0.1), max_steps=6000, tol=0, check_every=100)
        features, ratios = X, [diagnostics.separation(X.T, labels).within_to_between]
        for W in diagnostics.layers(solution.factors)[:-1]:
            features = W @ features
            ratios.append(diagnostics.separation(features.T, labels).within_to_between)
        factors = np.array(ratios[1:]) / ratios[:-1]
        record(
            "theory",
            f"separation | {kind} | {depth} layers | ε = {scale:g}",
            ratios=ratios,
            smallest_factor=float(factors.min()),
            largest_factor=float(factors.max()),
            value=solution.value,
            seconds=solution.seconds,
        )


RUNS = {"fully-observed": fully_observed, "sensing": sensing, "parsimony": parsimony, "separation": separation}

if __name__ == "__main__":
    main(RUNS)
