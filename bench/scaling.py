"""Does the time to an exact answer grow linearly with the number of entries? And a large problem to its end."""

import resource
import time

import numpy as np

import dmc
from _harness import main, record

RANK, OVERSAMPLING = 5, 10


def entries(m: int, n: int, rank: int, count: int, seed: int = 0):
    """Distinct random positions in no order, and the values of a random matrix of that rank; its factors."""
    rng = np.random.default_rng(seed)
    A, B = rng.standard_normal((m, rank)), rng.standard_normal((n, rank))
    places = np.unique(rng.integers(0, m * n, int(1.1 * count)))
    rows, cols = np.divmod(rng.permutation(places)[:count], n)
    values = np.zeros(count)
    for r in range(rank):
        values += A[rows, r] * B[cols, r]
    return rows, cols, values, A, B


def solve(m: int, n: int, rank: int, count: int, bound: int | None, seed: int = 0) -> dict[str, float]:
    rows, cols, values, A, B = entries(m, n, rank, count, seed)
    began = time.perf_counter()
    observations = dmc.Observations.from_entries(rows, cols, values, (m, n))
    prepared = time.perf_counter() - began
    model = dmc.MatrixCompletion(rank=bound).fit(observations)
    seconds = time.perf_counter() - began
    rng = np.random.default_rng(1)
    i, j = rng.integers(0, m, 100_000), rng.integers(0, n, 100_000)
    truth = np.sum(A[i] * B[j], axis=1)
    error = float(np.linalg.norm(model.predict(i, j) - truth) / np.linalg.norm(truth))
    return {"seconds": seconds, "preparation_seconds": prepared, "relative_error": error, "rank": model.rank_}


def scaling() -> None:
    """100,000 to 10,000,000 entries at ten for each degree of freedom, rank 5, bound 10: seconds, and the exponent."""
    solve(1000, 1000, 2, 20_000, None)  # what is imported at first use
    counts, seconds = [], []
    for count in (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000):
        d = round(count / OVERSAMPLING / RANK / 2)
        found = solve(d, d, RANK, count, 2 * RANK)
        counts.append(count)
        seconds.append(found["seconds"])
        record("scaling", f"{count:,} entries", side=d, **found)
    record("scaling", "exponent", exponent=float(np.polyfit(np.log(counts), np.log(seconds), 1)[0]))


def large() -> None:
    """20,000 × 10,000, rank 10, five entries for each degree of freedom, no bound: error, seconds, peak memory."""
    m, n, rank = 20_000, 10_000, 10
    found = solve(m, n, rank, 5 * rank * (m + n - rank), None)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    record("scaling", "20,000 × 10,000, rank 10", **found, peak_gib=peak)


RUNS = {"scaling": scaling, "large": large}

if __name__ == "__main__":
    main(RUNS)
