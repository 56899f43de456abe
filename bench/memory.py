"""Does a matrix of a million rows, a hundred thousand columns and ten million entries fit into two GiB?"""

import resource
import time

import numpy as np

import dmc
from _harness import main, record
from dmc.solver import initial, steps

M, N, OBSERVED, RANK, STEPS = 1_000_000, 100_000, 10_000_000, 8, 20


def entries() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct random positions, and a rank-3 matrix' values there."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, M, OBSERVED, dtype=np.int32)
    cols = rng.integers(0, N, OBSERVED, dtype=np.int32)
    A, B = rng.standard_normal((M, 3)), rng.standard_normal((N, 3))
    values = np.zeros(OBSERVED)
    for r in range(3):
        values += A[rows, r] * B[cols, r]
    return rows, cols, values


def peak() -> float:
    """GiB, of the whole process since it began."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def memory() -> None:
    """1,000,000 × 100,000 with 10,000,000 entries: peak memory of the process and seconds a step."""
    began = time.perf_counter()
    observations = dmc.Observations.from_entries(*entries(), (M, N), duplicates="last")
    prepared = time.perf_counter() - began
    began = time.perf_counter()
    problem = dmc.MaskedLeastSquares(observations)
    start = initial.compressed(observations, RANK)
    started = time.perf_counter() - began
    solution = dmc.solve(problem, start, steps.DiscrepantDescent(), max_steps=STEPS)
    record(
        "memory",
        "1,000,000 × 100,000, 10,000,000 observed, float64, rank bound 8, 20 steps",
        peak_gib=peak(),
        preparation_seconds=prepared,
        start_seconds=started,
        seconds_a_step=solution.seconds / STEPS,
    )


RUNS = {"memory": memory}

if __name__ == "__main__":
    main(RUNS)
