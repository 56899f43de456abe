"""How often, how exactly and how fast is a planted matrix recovered by a solver told nothing, and by its rivals?

ρ is the number of entries over the degrees of freedom r(m + n − r); κ the condition number, singular values spaced
evenly on a log scale; a success has ‖X̂ − X‖/‖X‖ ≤ 1e-6. Entries are drawn uniformly among the patterns in which every
row and column has at least r, as in the literature: with fewer no solver can succeed. The rivals are plain NumPy, or
this library's rooms; a rival with a setting gets the best of several for each problem.
"""

import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
from threadpoolctl import threadpool_limits

import dmc
from _harness import main, record
from dmc.solver import initial, steps

SEEDS, SUCCESS = 20, 1e-6


@dataclass
class Task:
    """A planted matrix of unit mean square, and its observed entries."""

    X: np.ndarray
    mask: np.ndarray
    observations: dmc.Observations
    rank: int

    def error(self, completed: np.ndarray) -> float:
        return float(np.linalg.norm(completed - self.X) / np.linalg.norm(self.X))


def task(m: int, n: int, rank: int, rho: float, kappa: float = 1.0, noise: float = 0.0, seed: int = 0) -> Task:
    rng = np.random.default_rng(seed)
    P, Q = (np.linalg.qr(rng.standard_normal((lines, rank)))[0] for lines in (m, n))
    s = np.logspace(0, -np.log10(kappa), rank)
    X = (P * s) @ Q.T
    X *= np.sqrt(m * n) / np.linalg.norm(X)
    mask = pattern(m, n, rank, round(rho * rank * (m + n - rank)), rng)
    seen = X + noise * rng.standard_normal(X.shape) if noise else X
    return Task(X, mask, dmc.observe(seen, mask), rank)


def pattern(m: int, n: int, least: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` positions, uniform but for lines with fewer than `least`, which take some from lines with more."""
    mask = np.zeros(m * n, bool)
    mask[rng.choice(m * n, count, replace=False)] = True
    mask = mask.reshape(m, n)
    while True:
        rows, cols = mask.sum(axis=1), mask.sum(axis=0)
        if rows.min() >= least and cols.min() >= least:
            return mask
        if rows.min() < least:
            i = int(rows.argmin())
            j = int(rng.choice(np.flatnonzero(~mask[i])))
        else:
            j = int(cols.argmin())
            i = int(rng.choice(np.flatnonzero(~mask[:, j])))
        spare = np.argwhere(mask & (rows > least)[:, None] & (cols > least))
        mask[tuple(spare[rng.integers(len(spare))])] = False
        mask[i, j] = True


# --- solvers: each gives the completed matrix


def told_nothing(t: Task, bound: int | None = None) -> dmc.MatrixCompletion:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it failed shows in the figures
        return dmc.MatrixCompletion(rank=bound).fit(t.observations)


def descent(t: Task, rank: int, step: steps.Step, max_steps: int = 3000) -> np.ndarray:
    """Two factors from the spectral start."""
    problem = dmc.MaskedLeastSquares(t.observations)
    step = steps.Backtracking(step)
    return dmc.solve(
        problem, initial.spectral(t.observations, rank), step, max_steps=max_steps, tol=1e-11
    ).factors.dense()


def iterative_svd(t: Task, rank: int, max_steps: int = 2000) -> np.ndarray:
    """Fill in, cut to the rank, again (Troyanskaya et al., 2001)."""
    filled = np.where(t.mask, t.X, 0.0)
    for _ in range(max_steps):
        P, s, Qt = np.linalg.svd(filled, full_matrices=False)
        cut = (P[:, :rank] * s[:rank]) @ Qt[:rank]
        change = np.linalg.norm((cut - filled)[~t.mask])
        filled = np.where(t.mask, filled, cut)
        if change <= 1e-9 * np.linalg.norm(filled):
            break
    return filled


def soft_impute(t: Task, shares: Sequence[float], max_steps: int = 30) -> Iterator[np.ndarray]:
    """Fill in, shrink the singular values, again (Mazumder, Hastie, Tibshirani, 2010), from larger shrinkages down."""
    seen = np.zeros(t.mask.shape)
    seen[t.observations.rows, t.observations.cols] = t.observations.values
    largest = np.linalg.norm(seen, 2)
    completed = np.zeros_like(seen)
    for share in shares:
        for _ in range(max_steps):
            P, s, Qt = np.linalg.svd(np.where(t.mask, seen, completed), full_matrices=False)
            previous, completed = completed, (P * np.maximum(s - share * largest, 0)) @ Qt
            if np.linalg.norm(completed - previous) <= 1e-4 * np.linalg.norm(completed):
                break
        yield completed


def singular_value_thresholding(t: Task, max_steps: int = 1000) -> np.ndarray:
    """Cai, Candès & Shen, 2010, with their settings τ = 5√(mn), δ = 1.2/p."""
    m, n = t.mask.shape
    seen = np.where(t.mask, t.X, 0.0)
    tau, delta = 5 * np.sqrt(m * n), 1.2 / t.mask.mean()
    Y = np.ceil(tau / (delta * np.linalg.norm(seen, 2))) * delta * seen
    for _ in range(max_steps):
        P, s, Qt = np.linalg.svd(Y, full_matrices=False)
        completed = (P * np.maximum(s - tau, 0)) @ Qt
        residual = np.where(t.mask, seen - completed, 0.0)
        if np.linalg.norm(residual) <= 1e-7 * np.linalg.norm(seen):
            break
        Y += delta * residual
    return completed


def published(t: Task, goal: float) -> np.ndarray:
    """Compressed training as published: ε = 1e-3, γ = .01, dense residuals; told the rank; until that error."""
    problem = dmc.MaskedLeastSquares(t.observations, kernel="dense")
    start = initial.compressed(t.observations, t.rank, 3, 1e-3)
    rate = 5e-3 * 34 / np.linalg.norm(t.X, 2)  # theirs is for singular values of about 34 at this size
    done = [lambda info: t.error(info.factors.dense()) <= goal]
    step = steps.DiscrepantDescent(rate, 0.01)
    return dmc.solve(problem, start, step, max_steps=200_000, tol=0, callbacks=done, check_every=250).factors.dense()


# --- runs


def spread(function: Callable, arguments: Iterable) -> list:
    """In as many processes as there are cores, one thread each; not for timing."""
    with ProcessPoolExecutor(os.cpu_count(), get_context("forkserver"), initializer=one_thread) as executor:
        return list(executor.map(function, arguments))


def one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    threadpool_limits(1)


def outcome(arguments: tuple) -> tuple[float, int]:
    shape, rank, rho, kappa, bound, seed = arguments
    t = task(*shape, rank, rho, kappa, seed=seed)
    model = told_nothing(t, bound)
    return t.error(model.complete()), model.rank_


def success_rates() -> None:
    """Success of MatrixCompletion() by oversampling, condition and bound, 20 seeds, rank 5; exact ranks among them."""
    cases = [((300, 300), 3.0, kappa) for kappa in (1.0, 10.0, 100.0, 1e4)]
    cases += [((300, 300), rho, 1.0) for rho in (1.8, 1.4, 1.2)] + [((2000, 200), 2.0, 1.0)]
    for shape, rho, kappa in cases:
        for bound in (10, 20, None):
            found = spread(outcome, [(shape, 5, rho, kappa, bound, seed) for seed in range(SEEDS)])
            exact = [rank for error, rank in found if error <= SUCCESS]
            record(
                "recovery",
                f"success | {shape[0]}×{shape[1]} | {rho:g} | {kappa:g} | {bound or 'none'}",
                success=len(exact) / SEEDS,
                exact_rank=sum(rank == 5 for rank in exact) / max(len(exact), 1),
                median_error=float(np.median([error for error, _ in found])),
            )


def rival_outcome(arguments: tuple) -> bool:
    name, rho, kappa, seed = arguments
    t = task(100, 100, 3, rho, kappa, seed=seed)
    solvers: dict[str, Callable[[], float]] = {
        "MatrixCompletion()": lambda: t.error(told_nothing(t).complete()),
        "gradient descent, told rank 3": lambda: t.error(descent(t, 3, steps.DiscrepantDescent())),
        "ScaledGD, told rank 3": lambda: t.error(descent(t, 3, steps.ScaledDescent())),
        "ScaledGD, told rank 6": lambda: t.error(descent(t, 6, steps.ScaledDescent())),
    }
    return solvers[name]() <= SUCCESS


RIVALS = (
    "MatrixCompletion()",
    "gradient descent, told rank 3",
    "ScaledGD, told rank 3",
    "ScaledGD, told rank 6",
)
OVERSAMPLINGS = (1.1, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0)


def phase_transition() -> None:
    """100 × 100, rank 3: success by oversampling for κ = 1 and 100, ours and the rivals', 20 seeds.

    Of the rivals those that can reach 1e-6: soft-impute is biased, and iterative SVD takes thousands of dense SVDs.
    """
    for kappa in (1.0, 100.0):
        for name in RIVALS:
            rates = []
            for rho in OVERSAMPLINGS:
                found = spread(rival_outcome, [(name, rho, kappa, seed) for seed in range(SEEDS)])
                rates.append(sum(found) / SEEDS)
            record("recovery", f"phase | {kappa:g} | {name}", oversampling=OVERSAMPLINGS, success=rates)


def timed(function: Callable[[], np.ndarray], t: Task) -> tuple[float, float]:
    began = time.perf_counter()
    completed = function()
    return time.perf_counter() - began, t.error(completed)


def recovery_time() -> None:
    """Seconds, set-up included: 1000 × 1000 and 500 × 500 at 20 %, 300 × 300 at 30 %, beside rivals told the rank."""
    freedom = {d: 5 * (2 * d - 5) for d in (300, 500, 1000)}
    told_nothing(task(50, 50, 2, 3.0))  # what is imported at first use
    for d, share, bound in ((1000, 0.2, 20), (500, 0.2, None)):
        runs = []
        for seed in range(SEEDS):
            t = task(d, d, 5, share * d * d / freedom[d], seed=seed)
            began = time.perf_counter()
            model = told_nothing(t, bound)
            runs.append((time.perf_counter() - began, t.error(model.complete()), model.rank_))
        seconds, errors, ranks = zip(*runs, strict=True)
        record(
            "recovery",
            f"time | {d} | MatrixCompletion({f'rank={bound}' if bound else ''})",
            median_seconds=float(np.median(seconds)),
            largest_error=max(errors),
            exact_rank=sum(rank == 5 for rank in ranks) / SEEDS,
        )
    t = task(500, 500, 5, 0.2 * 500**2 / freedom[500])
    rivals = {
        "ScaledGD, told rank 5": lambda: descent(t, 5, steps.ScaledDescent()),
        "Gauss–Newton, told rank 5": lambda: descent(t, 5, steps.GaussNewton(), 30),
        "iterative SVD, told rank 5": lambda: iterative_svd(t, 5),
        "singular value thresholding": lambda: singular_value_thresholding(t),
        "soft-impute": lambda: list(soft_impute(t, np.geomspace(0.5, 0.005, 10), 100))[-1],
    }
    for name, solver in rivals.items():
        seconds, error = timed(solver, t)
        record("recovery", f"time | 500 | {name}", median_seconds=seconds, largest_error=error)
    t = task(300, 300, 5, 0.3 * 300**2 / freedom[300])
    seconds, error = timed(lambda: published(t, 1e-8), t)
    record("recovery", "time | 300 | published training, told rank 5", median_seconds=seconds, largest_error=error)
    ours = [timed(lambda: told_nothing(t, 20).complete(), t) for _ in range(5)]
    seconds, error = float(np.median([s for s, _ in ours])), max(e for _, e in ours)
    record("recovery", "time | 300 | MatrixCompletion(rank=20)", median_seconds=seconds, largest_error=error)


SHRINKAGES = (0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05, 0.02, 0.01)


def noise_outcome(arguments: tuple) -> tuple[float, float, float]:
    noise, rho, seed = arguments
    t = task(300, 300, 5, rho, noise=noise, seed=seed)
    P, s, Qt = np.linalg.svd(t.X)
    root = np.sqrt(s[:5])
    truth = dmc.Factors(P[:, :5] * root, (), Qt[:5].T * root)
    problem, step = dmc.MaskedLeastSquares(t.observations), steps.Backtracking(steps.GaussNewton())
    oracle = dmc.solve(problem, truth, step, max_steps=50, tol=1e-9, check_every=1).factors.dense()
    shrunken = min(t.error(completed) for completed in soft_impute(t, SHRINKAGES)) if seed < 5 else np.nan
    return t.error(told_nothing(t, 20).complete()), t.error(oracle), shrunken


def noise() -> None:
    """300 × 300, rank 5, bound 20, noise σ of the entries' size: error and tuned soft-impute's over the oracle's."""
    for sigma in (0.01, 0.1, 0.5, 1.0):
        for rho in (4.0, 8.0):
            ours, oracle, shrunken = np.array(spread(noise_outcome, [(sigma, rho, seed) for seed in range(SEEDS)])).T
            record(
                "recovery",
                f"noise | {sigma:g} | {rho:g}",
                error=float(np.median(ours)),
                over_oracle=float(np.median(ours / oracle)),
                over_oracle_worst=float(np.max(ours / oracle)),
                soft_impute_over_oracle=float(np.nanmedian(shrunken / oracle)),
            )


def units() -> None:
    """300 × 300, rank 5, ρ = 3, bound 20: largest error of 20 seeds in float32, and for data times 1e8 and 1e-8."""
    for name, change in {
        "float64": lambda v: v,
        "float32": lambda v: v.astype(np.float32),
        "times 1e8": lambda v: v * 1e8,
        "times 1e-8": lambda v: v * 1e-8,
    }.items():
        errors = []
        for seed in range(SEEDS):
            t = task(300, 300, 5, 3.0, seed=seed)
            scale = float(change(np.ones(1))[0])
            t.observations = t.observations.with_values(change(t.observations.values))
            errors.append(t.error(told_nothing(t, 20).complete().astype(np.float64) / scale))
        record("recovery", f"units | {name}", largest_error=max(errors))


RUNS = {
    "success-rates": success_rates,
    "phase-transition": phase_transition,
    "recovery-time": recovery_time,
    "noise": noise,
    "units": units,
}

if __name__ == "__main__":
    main(RUNS)
