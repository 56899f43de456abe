"""Is the plateau's length estimated rightly? Beside training, on settings that its constants were not chosen on.

Shapes, ranks, shares observed, depths, scales, rates and step rules are drawn at random; measured is the step at which
the largest singular value is first half of that sought.
"""

import statistics
from collections.abc import Callable

import numpy as np

import dmc
from _harness import main, record
from dmc.solver import initial, steps

DRAWS, LONGEST = 12, 5000  # settings of each start; steps of those that are measured
SCALES = {2: (1e-4, 1e-2), 3: (0.02, 0.05, 0.1), 4: (0.15, 0.25)}  # by layers
STARTS: dict[str, Callable[[dmc.Observations, int, int, float], dmc.Factors]] = {
    "orthogonal, full width": lambda o, r, N, e: initial.orthogonal(o.shape, N, e),
    "normal, full width": lambda o, r, N, e: initial.normal(o.shape, N, e),
    "uniform, narrow": lambda o, r, N, e: initial.uniform(o.shape, N, e, width=3 * r),
    "orthogonal, narrow": lambda o, r, N, e: initial.narrow(o.shape, 2 * r, N, e),
    "on the singular vectors": lambda o, r, N, e: initial.singular(o, r, N, e),
    "compressed": lambda o, r, N, e: initial.compressed(o, r, N, e),
}


def rules(rate: float) -> dict[str, dmc.Step]:
    descent = steps.DiscrepantDescent(rate)
    return {
        "a rate": descent,
        "momentum": steps.Momentum(steps.DiscrepantDescent(rate / 10), 0.9),
        "backtracking": steps.Backtracking(descent),
        "normalised": steps.DiscrepantDescent(),
    }


def measured(problem: dmc.Problem, start: dmc.Factors, step: dmc.Step, expected: float) -> int | None:
    every = max(1, int(expected / 100))
    found = dmc.solve(
        problem,
        start,
        step,
        max_steps=int(4 * expected) + 100,
        tol=0,
        callbacks=[lambda info: info.factors.singular_values()[0] >= problem.target_norm / 2],
        check_every=every,
    )
    return found.n_steps if found.stopped_by else None


def accuracy() -> None:
    """Length of the plateau, estimated over measured: smallest, median and largest of 12 settings of each start."""
    for number, (name, make) in enumerate(STARTS.items()):
        rng, ratios, never = np.random.default_rng([18, number]), [], 0
        while len(ratios) + never < DRAWS:
            d, layers, rank = (int(rng.choice(among)) for among in ((30, 60, 90), (2, 3, 4), (1, 2, 4)))
            shape = d, int(d * rng.choice([0.6, 1, 1.5]))
            observed = dmc.datasets.planted(shape, rank, float(rng.choice([0.25, 0.5, 1])), seed=int(rng.integers(1e6)))
            problem = dmc.MaskedLeastSquares(observed.observations)
            start = make(observed.observations, rank, layers, float(rng.choice(SCALES[layers])))
            rate = rng.choice([0.02, 0.1]) / (problem.curvature * problem.target_norm ** (2 - 2 / layers))
            choice = rules(rate)
            step = choice[str(rng.choice(list(choice)))]
            expected = dmc.plateau_steps(problem, start, step)
            if expected > LONGEST:
                continue
            taken = measured(problem, start, step, expected)
            never += taken is None
            ratios += [] if taken is None else [expected / taken]
        record(
            "plateau",
            f"estimated over measured | {name}",
            settings=len(ratios) + never,
            within_a_factor_of_two=sum(0.5 < ratio < 2 for ratio in ratios),
            smallest=min(ratios),
            median=statistics.median(ratios),
            largest=max(ratios),
        )


RUNS = {"accuracy": accuracy}

if __name__ == "__main__":
    main(RUNS)
