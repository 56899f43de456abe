"""How often, how exactly and how fast is a planted matrix recovered by a solver told nothing, and by its rivals?

A success has ‖X̂ − X‖/‖X‖ ≤ 1e-6 over the rows and columns that the observed positions can determine at the planted
rank (`_planted.determined`): beside it stands how often the whole matrix is met, and how often it can be. Seeds are
others than those that settings were chosen on.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import dmc
from _completion_rivals import (
    TOLD_THE_RANK,
    descent,
    iterative_svd,
    published,
    singular_value_thresholding,
    soft_impute,
)
from _harness import main, record, spread
from _planted import AS_DRAWN, MENDED, PATTERNS, Case, Problem, make
from _random_problems import random_problems
from _recovery_tables import OURS
from dmc.solver import steps

SUCCESS = 1e-6
SEEDS = range(1000, 1040)
FEW = SEEDS[:20]  # where a fit takes seconds


class Outcome(NamedTuple):
    """Of one fit: relative errors, how far off the smallest singular value is, what it took, and what was said."""

    core: float
    whole: float
    off: float
    rank: int
    seconds: float
    share: float  # of the entries that can be determined
    told: bool  # it warned; of rivals nothing is asked
    raised: str = ""


def told_nothing(t: Problem, bound: int | None = None) -> dmc.MatrixCompletion:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it failed shows in the figures
        return dmc.MatrixCompletion(rank=bound).fit(t.observations)


def outcome(case: Case, settings: dict[str, Any], seed: int) -> Outcome:
    """Of MatrixCompletion."""
    t = make(case, seed)
    share = float(t.rows.mean() * t.columns.mean())
    began = time.perf_counter()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            model = dmc.MatrixCompletion(**settings).fit(t.observations)
        except Exception as error:  # counted, and the other seeds go on
            return Outcome(np.inf, np.inf, np.inf, 0, time.perf_counter() - began, share, True, repr(error))
    seconds = time.perf_counter() - began
    completed = model.complete()
    return Outcome(*t.errors(completed), off(t, completed), model.rank_, seconds, share, bool(said))


def off(t: Problem, completed: NDArray[np.float64]) -> float:
    """How far the smallest singular value of what can be known is from the planted one, relative to that."""
    if not min(t.rows.sum(), t.columns.sum()) >= t.rank:
        return np.nan
    found, true = (np.linalg.svd(t.determined(M), compute_uv=False)[t.rank - 1] for M in (completed, t.X))
    return float(abs(found / true - 1))


def told_the_rank(case: Case, name: str, seed: int) -> Outcome:
    """Of a rival."""
    t = make(case, seed)
    began = time.perf_counter()
    completed = TOLD_THE_RANK[name](t, case.rank)
    seconds = time.perf_counter() - began
    share = float(t.rows.mean() * t.columns.mean())
    return Outcome(*t.errors(completed), off(t, completed), case.rank, seconds, share, told=True)


def summary(outcomes: Sequence[Outcome], rank: int) -> dict[str, Any]:
    """Shares of the seeds, and medians; where nothing can be determined nothing is asked."""
    asked = [found for found in outcomes if found.share]
    won = [found for found in asked if found.core <= SUCCESS]
    failed = [found for found in asked if not found.core <= SUCCESS]
    return {
        "seeds": len(asked),
        "of_determined": len(won) / max(len(asked), 1),
        "whole": sum(found.whole <= SUCCESS for found in asked) / max(len(asked), 1),
        "whole_determined": sum(found.share == 1 for found in asked) / max(len(asked), 1),
        "exact_rank": sum(found.rank == rank for found in won) / len(won) if won else None,
        "smallest_to_1_percent": sum(found.off <= 0.01 for found in asked) / max(len(asked), 1),
        "median_error": _median([found.core for found in asked]),
        "median_whole_error": _median([found.whole for found in asked]),
        "median_seconds": _median([found.seconds for found in asked]),
        "largest_seconds": max((found.seconds for found in asked), default=None),
        "failed_untold": sum(not found.told for found in failed),
        "raised": sum(bool(found.raised) for found in asked),
    }


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if len(values) else None


# --- runs


def rates(run: str, cases: Iterable[Case], seeds: Sequence[int] = SEEDS, **settings: Any) -> None:
    for case in cases:
        found = spread(partial(outcome, case, settings), seeds)
        record("recovery", f"{run} | {case}", **summary(found, case.rank))


def uniform() -> None:
    """300 × 300, rank 5: share recovered by oversampling, positions as drawn, and repaired as in the literature."""
    for pattern in (AS_DRAWN, MENDED):
        rates("uniform", [Case(rho=rho, pattern=pattern) for rho in (1.05, 1.1, 1.2, 1.3, 1.4, 1.6, 2, 3)])


def condition() -> None:
    """Condition numbers up to 1e10, at 300 × 300 of rank 5 and 1000 × 1000 of rank 10."""
    for shape, rank, seeds in (((300, 300), 5, SEEDS), ((1000, 1000), 10, FEW)):
        kappas = 1, 1e2, 1e4, 1e6, 1e8, 1e10
        rates("condition", [Case(shape, rank, rho, kappa) for rho in (2, 3) for kappa in kappas], seeds)


def patterns() -> None:
    """Uneven positions: long tails, a band, a quarter missing; 300 × 300, rank 5."""
    uneven = [name for name in PATTERNS if name != MENDED]
    rates("patterns", [Case(rho=rho, pattern=pattern) for pattern in uneven for rho in (2, 3)])


def shapes() -> None:
    """Ranks from 2 to 50, and shapes up to 20,000 × 50."""
    wide = [Case((250, 400), 4, 1.2), Case((2000, 200), 5, 1.5), Case((20_000, 50), 5, 2, pattern=AS_DRAWN)]
    ranks = [Case((300, 300), rank, 1.5) for rank in (2, 10, 20)]
    rates("shapes", [*wide, *ranks, Case((500, 500), 40, 1.5), Case((1000, 1000), 50, 2)], FEW)


def tiny() -> None:
    """12 × 10 to 40 × 30."""
    of = [((12, 10), 2, 1.5), ((12, 10), 2, 2), ((20, 15), 3, 1.5), ((40, 30), 3, 1.5)]
    rates("tiny", [Case(shape, rank, rho) for shape, rank, rho in of])


def outliers() -> None:
    """300 × 300, rank 5: gross errors of ten spreads in 1 to 10 % of the entries, loss="robust"."""
    rates("outliers", [Case(rho=5, outliers=share) for share in (0.01, 0.05, 0.1)], loss="robust")


def bounds() -> None:
    """300 × 300, rank 5, ρ = 1.2: no rank given, the exact rank, and bounds above it."""
    for bound in (None, 5, 10, 20):
        rates(f"bounds | {bound or 'none'}", [Case(rho=1.2)], rank=bound)


RIVAL_CASES = [Case(rho=rho, kappa=kappa) for rho, kappa in ((1.2, 1), (1.4, 1), (2, 1), (2, 100), (2, 1e4))]


def rivals(cases: Sequence[Case] = RIVAL_CASES, run: str = "rivals", seeds: Sequence[int] = SEEDS[:10]) -> None:
    """300 × 300, rank 5: share recovered, and seconds, beside solvers that are given the rank."""
    for case in cases:
        rates(f"{run} | {OURS}", [case], seeds)
        for name in TOLD_THE_RANK:
            found = spread(partial(told_the_rank, case, name), seeds)
            record("recovery", f"{run} | {name}, told rank {case.rank} | {case}", **summary(found, case.rank))


OVERSAMPLINGS = 1.05, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 2, 2.5


def phase_transition() -> None:
    """1000 × 1000, rank 5, κ = 10, as in MatrixIRLS' paper: error and share recovered by oversampling, 20 seeds."""
    rates(f"phase | {OURS}", [Case((1000, 1000), rho=rho, kappa=10) for rho in OVERSAMPLINGS], FEW)


def phase_rivals() -> None:
    """Solvers that are given the rank, in the setting of `phase-transition`, five seeds each: half an hour."""
    for rho in OVERSAMPLINGS:
        case = Case((1000, 1000), rho=rho, kappa=10)
        for name in ("ScaledGD", "R2RILS", "Gauss–Newton as in GNMR"):
            found = spread(partial(told_the_rank, case, name), SEEDS[:5])
            record("recovery", f"phase | {name}, told rank 5 | {case}", **summary(found, case.rank))


def timed(function: Callable[[], NDArray[np.float64]], t: Problem) -> tuple[float, float]:
    began = time.perf_counter()
    completed = function()
    return time.perf_counter() - began, t.errors(completed)[1]


def recovery_time() -> None:
    """Seconds, setup included: 1000 × 1000 and 500 × 500 at 20 %, 300 × 300 at 30 %, beside solvers given the rank."""
    cases = {
        d: Case((d, d), rho=share * d * d / (5 * (2 * d - 5))) for d, share in ((300, 0.3), (500, 0.2), (1000, 0.2))
    }
    told_nothing(make(Case((50, 50), 2, 3), 0))  # what is imported at first use
    for d, bound in ((1000, 20), (500, None)):
        runs = []
        for seed in FEW:
            t = make(cases[d], seed)
            began = time.perf_counter()
            model = told_nothing(t, bound)
            runs.append((time.perf_counter() - began, t.errors(model.complete())[1], model.rank_))
        seconds, errors, ranks = zip(*runs, strict=True)
        record(
            "recovery",
            f"time | {d} | MatrixCompletion({f'rank={bound}' if bound else ''})",
            median_seconds=float(np.median(seconds)),
            largest_error=max(errors),
            exact_rank=sum(rank == 5 for rank in ranks) / len(ranks),
        )
    t = make(cases[500], SEEDS[0])
    others = {
        "ScaledGD, told rank 5": lambda: descent(t, 5, steps.ScaledDescent()),
        "Gauss–Newton, told rank 5": lambda: descent(t, 5, steps.GaussNewton(), 30),
        "iterative SVD, told rank 5": lambda: iterative_svd(t, 5),
        "singular value thresholding": lambda: singular_value_thresholding(t),
        "soft-impute": lambda: list(soft_impute(t, np.geomspace(0.5, 0.005, 10), 100))[-1],
    }
    for name, solver in others.items():
        seconds, error = timed(solver, t)
        record("recovery", f"time | 500 | {name}", median_seconds=seconds, largest_error=error)
    t = make(cases[300], SEEDS[0])
    seconds, error = timed(lambda: published(t, 1e-8), t)
    record("recovery", "time | 300 | published training, told rank 5", median_seconds=seconds, largest_error=error)
    ours = [timed(lambda: told_nothing(t, 20).complete(), t) for _ in range(5)]
    seconds, error = float(np.median([s for s, _ in ours])), max(e for _, e in ours)
    record("recovery", "time | 300 | MatrixCompletion(rank=20)", median_seconds=seconds, largest_error=error)


SHRINKAGES = (0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05, 0.02, 0.01)


def noise_outcome(case: Case, seed: int) -> tuple[float, float, float]:
    t = make(case, seed)
    P, s, Qt = np.linalg.svd(t.X)
    root = np.sqrt(s[:5])
    truth = dmc.Factors(P[:, :5] * root, (), Qt[:5].T * root)
    problem, step = dmc.MaskedLeastSquares(t.observations), steps.Backtracking(steps.GaussNewton())
    oracle = dmc.solve(problem, truth, step, max_steps=50, tol=1e-9, check_every=1).factors.dense()
    tried = seed < SEEDS[5]
    shrunken = min(t.errors(completed)[1] for completed in soft_impute(t, SHRINKAGES)) if tried else np.nan
    return t.errors(told_nothing(t, 20).complete())[1], t.errors(oracle)[1], shrunken


def noise() -> None:
    """300 × 300, rank 5, `rank=20`, noise of deviation σ: the error, and tuned soft-impute's, over the oracle's."""
    for sigma in (0.01, 0.1, 0.5, 1.0):
        for rho in (4.0, 8.0):
            found = spread(partial(noise_outcome, Case(rho=rho, noise=sigma)), FEW)
            ours, oracle, shrunken = np.array(found).T
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
        for seed in FEW:
            t = make(Case(rho=3), seed)
            scale = float(change(np.ones(1))[0])
            t.observations = t.observations.with_values(change(t.observations.values))
            errors.append(t.errors(told_nothing(t, 20).complete().astype(np.float64) / scale)[1])
        record("recovery", f"units | {name}", largest_error=max(errors))


RUNS = {
    "uniform": uniform,
    "condition": condition,
    "patterns": patterns,
    "shapes": shapes,
    "tiny": tiny,
    "outliers": outliers,
    "bounds": bounds,
    "rivals": rivals,
    "phase-transition": phase_transition,
    "phase-rivals": phase_rivals,
    "recovery-time": recovery_time,
    "noise": noise,
    "units": units,
    "random-problems": random_problems,
}

if __name__ == "__main__":
    main(RUNS)
