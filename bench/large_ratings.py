"""Does a file of a hundred million ratings become a model on two processors, in a minute and a half and six GiB?

Planted ratings of 480,189 users and 17,770 items (the size of Netflix' prize), both with a long tail: 3.5, biases of
users and items (standard deviation .4 each), eight interactions (.6 in all) and noise (.5). They are made, and fitted,
in processes of their own, so that the memory of the making is not counted. The oracle is told the items' factors and
biases, the variances and the noise, and predicts with the posterior mean of each user.
"""

import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from scipy import sparse

import dmc
from _harness import main, record

USERS, ITEMS, RANK = 480_189, 17_770, 8
LEVEL, BIAS, INTERACTIONS, FALL, NOISE = 3.5, 0.4, 0.6, 0.8, 0.5
BLOCK = 4_000_000  # ratings made at a time: all of some users
HELD_OUT = 400_000


class Truth(NamedTuple):
    """Rating = LEVEL + users · (items, 1) + item_bias, without the noise."""

    users: np.ndarray  # (users, RANK + 1): factors, and last the bias
    items: np.ndarray  # (items, RANK)
    item_bias: np.ndarray  # (items,)
    variances: np.ndarray  # (RANK + 1,) of the users' unknowns


def truth(rng: np.random.Generator) -> Truth:
    weights = FALL ** np.arange(RANK)
    weights *= INTERACTIONS / np.sqrt(np.sum(weights**2))
    variances = np.append(weights, BIAS**2)
    items = np.sqrt(weights) * rng.standard_normal((ITEMS, RANK))
    users = np.sqrt(variances) * rng.standard_normal((USERS, RANK + 1))
    return Truth(users, items, BIAS * rng.standard_normal(ITEMS), variances)


def pairs(n: int, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Distinct pairs, n in all, in blocks: users ascending, all pairs of a user in one block."""
    activity = rng.lognormal(0, 1.0, USERS)
    popularity = rng.permutation((np.arange(ITEMS) + 30.0) ** -0.9)
    upto = np.cumsum(popularity) / popularity.sum()
    n_before = np.rint(n * np.cumsum(activity) / activity.sum()).astype(np.int64)
    cuts = np.unique(np.append(np.searchsorted(n_before, np.arange(BLOCK, n, BLOCK)), USERS))
    first = done = 0
    for last in cuts:
        wanted, keys = int(n_before[last - 1] - done), np.empty(0, np.int64)
        among = np.cumsum(activity[first:last]) / activity[first:last].sum()
        while len(keys) < wanted:  # a pair drawn twice counts once
            more = int(1.5 * (wanted - len(keys))) + 1000
            users = first + np.searchsorted(among, np.sort(rng.random(more)))
            keys = np.unique(np.concatenate([keys, users * ITEMS + np.searchsorted(upto, rng.random(more))]))
        kept = np.delete(keys, rng.choice(len(keys), len(keys) - wanted, replace=False))
        yield kept // ITEMS, kept % ITEMS
        first, done = int(last), int(n_before[last - 1])


def oracle(told: Truth, users: np.ndarray, items: np.ndarray, ratings: np.ndarray) -> np.ndarray:
    """(users, RANK + 1) the posterior means of some users, numbered from 0; all zero of one without a rating."""
    d = RANK + 1
    shown = np.column_stack([told.items, np.ones(ITEMS)])
    seen = sparse.csr_array((np.ones(len(users)), (users, items)), shape=(int(users.max()) + 1, ITEMS))
    left = sparse.csr_array((ratings - LEVEL - told.item_bias[items], (users, items)), shape=seen.shape)
    grams = (seen @ (shown[:, :, None] * shown[:, None, :]).reshape(ITEMS, d * d)).reshape(-1, d, d)
    return np.linalg.solve(grams + NOISE**2 * np.diag(1 / told.variances), (left @ shown)[:, :, None])[..., 0]


def make(folder: str, n: int, seed: int = 0) -> float:
    """Write ratings.parquet, and held_out.npz of other pairs; returns what the oracle's predictions of these miss."""
    rng = np.random.default_rng(seed)
    told, missed = truth(rng), []
    number_of_user, number_of_item = (rng.permutation(3 * lines)[:lines] for lines in (USERS, ITEMS))  # with gaps
    held: dict[str, list[np.ndarray]] = {"user": [], "item": [], "rating": []}
    schema = pa.schema([("user", pa.int64()), ("item", pa.int64()), ("rating", pa.float32())])
    with pq.ParquetWriter(f"{folder}/ratings.parquet", schema) as file:
        for users, items in pairs(n + HELD_OUT, rng):
            ratings = LEVEL + np.einsum("ij,ij->i", told.users[users, :-1], told.items[items])
            ratings += told.users[users, -1] + told.item_bias[items] + NOISE * rng.standard_normal(len(users))
            test = rng.random(len(users)) < HELD_OUT / (n + HELD_OUT)
            first = users[0]
            test &= np.bincount(users[~test] - first, minlength=users[-1] - first + 1)[users - first] > 0
            found = oracle(told, users[~test] - first, items[~test], ratings[~test])[users[test] - first]
            predicted = LEVEL + np.einsum("ij,ij->i", found[:, :-1], told.items[items[test]]) + found[:, -1]
            missed.append(predicted + told.item_bias[items[test]] - ratings[test])
            columns = {"user": number_of_user[users], "item": number_of_item[items], "rating": ratings}
            order = rng.permutation(np.flatnonzero(~test))
            file.write_table(pa.table({name: values[order] for name, values in columns.items()}, schema))
            for name, values in columns.items():
                held[name].append(values[test])
    np.savez(f"{folder}/held_out.npz", **{name: np.concatenate(parts) for name, parts in held.items()})
    return float(np.sqrt(np.mean(np.concatenate(missed) ** 2)))


def fit(folder: str) -> dict[str, Any]:
    began, used = time.perf_counter(), time.process_time()
    model = dmc.Recommender().fit(f"{folder}/ratings.parquet")
    figures = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - used}
    figures["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    held_out = dict(np.load(f"{folder}/held_out.npz"))
    left = model.predict(held_out)["prediction"] - held_out["rating"]
    error = float(np.sqrt(np.mean(left.astype(np.float64) ** 2)))
    sweeps, status = model.n_iter_, model.status_.name
    return {"n": model.n_observed_, **figures, "rmse": error, "rank": model.rank_, "sweeps": sweeps, "status": status}


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function gives, in a process of its own that begins anew."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def measured(n: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        told = apart(make, folder, n)
        size = Path(folder, "ratings.parquet").stat().st_size / 2**30
        record("large_ratings", f"{n:,} ratings", **apart(fit, folder), oracle_rmse=told, file_gib=size)


def smaller() -> None:
    """10,000,000 ratings of 480,189 users from a Parquet file: seconds, peak memory, error beside the oracle's."""
    measured(10_000_000)


def large() -> None:
    """100,000,000 ratings of 480,189 users from a Parquet file: seconds, peak memory, error beside the oracle's."""
    measured(100_000_000)


FIT_WITHIN = """
import json, resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]),) * 2)
import dmc
began = time.perf_counter()
model = dmc.Recommender().fit(sys.argv[1])
figures = {"seconds": time.perf_counter() - began, "n": model.n_observed_, "noise": model.noise_, "rank": model.rank_}
most = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmPeak"))
print(json.dumps(figures | {"address_space_gib": most / 2**20}))
"""


def write_csv(folder: str, n: int) -> None:
    """ratings.csv of the ratings of `make`, in half stars, with a time."""
    make(folder, n)
    rng, without_header = np.random.default_rng(1), pa_csv.WriteOptions(include_header=False)
    with open(f"{folder}/ratings.csv", "wb") as file:
        file.write(b"user,item,rating,timestamp\n")
        for batch in pq.ParquetFile(f"{folder}/ratings.parquet").iter_batches():
            stars = np.clip(np.rint(2 * batch.column("rating").to_numpy().astype(np.float64)), 1, 10) / 2
            columns = {"user": batch.column("user"), "item": batch.column("item"), "rating": stars}
            columns["timestamp"] = rng.integers(10**9, 15 * 10**8, len(stars))
            pa_csv.write_csv(pa.table(columns), file, without_header)


def csv_in_little_memory() -> None:
    """A CSV of 2 GB (75,000,000 ratings) fitted within 2.5 GiB of address space: seconds, and how much it takes."""
    with tempfile.TemporaryDirectory() as folder:
        apart(write_csv, folder, 75_000_000)
        path, limit = Path(folder, "ratings.csv"), 5 << 29
        command = [sys.executable, "-W", "ignore", "-c", FIT_WITHIN, path, str(limit)]
        threads = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}  # the stack of each is address space
        run = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | threads)
        size = path.stat().st_size / 1e9
        record("large_csv", "a CSV within 2.5 GiB", **json.loads(run.stdout), file_gb=size)


RUNS = {"ratings-1e7": smaller, "ratings-1e8": large, "ratings-csv": csv_in_little_memory}

if __name__ == "__main__":
    main(RUNS)
