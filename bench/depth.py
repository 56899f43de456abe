"""Does depth make a network immune to a width that is too large, and to few samples? Depth 2 against 3 (and 4).

Every layer at one rate, .2/(p σ^(2−2/L)): a tenth of the limit of stability at the solution. ε = 1e-2 at depths 2 and 3
and 1e-1 at depth 4, where the plateau, of length 1/(η p σ ε^(L−2)), is then as long as at depth 3.
"""

import numpy as np

import dmc
from _harness import main, record
from dmc.solver import initial, steps

SEEDS = range(5)
SCALE = {2: 1e-2, 3: 1e-2, 4: 1e-1}


def planted(d: int, rank: int, n_observed: int, seed: int):
    rng = np.random.default_rng(seed)
    P, s, Qt = np.linalg.svd(rng.standard_normal((d, d)))
    X = (P[:, :rank] * s[:rank]) @ Qt[:rank]
    X /= np.linalg.norm(X, 2)
    mask = np.zeros(d * d, bool)
    mask[rng.choice(d * d, n_observed, replace=False)] = True
    return X, dmc.observe(X, mask.reshape(d, d))


def train(observations: dmc.Observations, X, width: int, depth: int, seed: int, most: int) -> tuple[float, int]:
    """Relative error over the whole matrix, and steps, when the entries are matched to 1e-4."""
    start = initial.narrow(X.shape, width, depth, SCALE[depth], seed)
    problem = dmc.MaskedLeastSquares(observations)
    zero = problem.value(start.scaled(0))

    def matched(info: dmc.StepInfo) -> bool:
        return info.value <= 1e-8 * zero

    rate = 0.2 / problem.curvature
    solution = dmc.solve(
        problem, start, steps.DiscrepantDescent(rate), max_steps=most, tol=0, callbacks=[matched], check_every=20
    )
    error = np.linalg.norm(solution.factors.dense() - X) / np.linalg.norm(X)
    return float(error), solution.n_steps


def depth_and_width() -> None:
    """d = 100, rank 10, 30 % observed: width 10 to 100, depth 2 and 3, over 5 seeds."""
    for depth in (2, 3):
        for width in (10, 20, 40, 70, 100):
            runs = []
            for seed in SEEDS:
                X, observations = planted(100, 10, 3000, seed)
                runs.append(train(observations, X, width, depth, seed, 20_000))
            errors, counts = zip(*runs, strict=True)
            record("depth", f"width {width} | depth {depth}", errors=list(errors), steps=list(counts))


def few_samples() -> None:
    """d = 100, rank 5, 2,000 of 10,000 entries (Arora et al.): full-width, depth 2, 3 and 4, over 5 seeds."""
    for depth in (2, 3, 4):
        runs = []
        for seed in SEEDS:
            X, observations = planted(100, 5, 2000, 100 + seed)
            runs.append(train(observations, X, 100, depth, seed, 60_000))
        errors, counts = zip(*runs, strict=True)
        record("depth", f"few samples | depth {depth}", errors=list(errors), steps=list(counts))


def start_scale() -> None:
    """d = 100, rank 5, 30 % observed, width 20: ε from .2 to .005 at depth 2, 3, 4: steps to half the value, error."""
    for depth in (2, 3, 4):
        for scale in (0.2, 0.1, 0.05, 0.02, 0.01, 0.005):
            runs = []
            for seed in range(3):
                X, observations = planted(100, 5, 3000, 200 + seed)
                problem = dmc.MaskedLeastSquares(observations)
                start = initial.narrow(X.shape, 20, depth, scale, seed)
                first, escaped = problem.value(start.scaled(0)), []

                def watch(info: dmc.StepInfo, first=first, escaped=escaped) -> bool:
                    if info.value <= first / 2:
                        escaped.append(info.n_steps)
                    return info.value <= 1e-8 * first

                rule = steps.DiscrepantDescent(0.2 / problem.curvature)
                found = dmc.solve(problem, start, rule, max_steps=10_000, tol=0, callbacks=[watch]).factors
                error = np.linalg.norm(found.dense() - X) / np.linalg.norm(X)
                runs.append((float(error), escaped[0] if escaped else None))
            errors, escapes = zip(*runs, strict=True)
            record("depth", f"ε = {scale:g} | depth {depth}", errors=list(errors), steps_to_half=list(escapes))


RUNS = {"depth-and-width": depth_and_width, "few-samples": few_samples, "start-scale": start_scale}

if __name__ == "__main__":
    main(RUNS)
