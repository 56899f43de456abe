"""What does a GPU give? Kernels beside cuSPARSE's, a problem of Netflix' size made there, compressed and full networks.

Made by `make gpu` on a machine that has one. Without, `--here` runs the same lines on the processor, small: a
rehearsal, whose figures are not kept.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

import _harness
from _harness import main
from dmc import Factors, MaskedLeastSquares, Observations, solve
from dmc._group import Share
from dmc.kernels import torch_operators
from dmc.solver import initial, steps
from dmc.solver.callbacks import EarlyStopping

HERE = "--here" in sys.argv
DEVICE = "cpu" if HERE else "cuda"
NETFLIX = (12_000, 740, 2_000_000) if HERE else (480_189, 17_770, 100_000_000)  # users, films, ratings
RANK, NOISE = 20, 0.5  # of the planted ratings; their interactions have standard deviation 1
PEAK = 4.8e12  # bytes a second of an H200's memory


def record(case: str, **figures: Any) -> None:
    """A result for bench/results/gpu-*.jsonl, with the device's name."""
    if HERE:
        print(case, figures)
        return
    bench = f"gpu-{case.partition(' | ')[0].replace(' ', '-')}"
    _harness.record(bench, case, device=torch.cuda.get_device_name(), torch=torch.__version__, **figures)


def milliseconds(contenders: dict[str, Callable[[], Any]], repeats: int = 11) -> dict[str, float]:
    """Median of each, in turns, by the device's own clock, after two runs to warm up."""
    for run in contenders.values():
        run(), run()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, run in contenders.items():
            times[name].append(_timed(run))
    return {name: statistics.median(found) for name, found in times.items()}


def _timed(run: Callable[[], Any]) -> float:
    if HERE:
        began = time.perf_counter()
        run()
        return 1e3 * (time.perf_counter() - began)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


def wait() -> None:
    if not HERE:
        torch.cuda.synchronize()


def positions(users: int, films: int, wanted: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Distinct places with long tails: users log-normal (sigma 1), films (place + 30)^-0.9, in random order."""
    generator = torch.Generator(DEVICE).manual_seed(seed)
    user_share = torch.randn(users, device=DEVICE, generator=generator, dtype=torch.float64).exp()
    film_share = (torch.arange(films, device=DEVICE, dtype=torch.float64) + 30) ** -0.9
    film_share = film_share[torch.randperm(films, device=DEVICE, generator=generator)]
    ends = [(share / share.sum()).cumsum(0) for share in (user_share, film_share)]
    keys = torch.empty(0, dtype=torch.int64, device=DEVICE)
    while len(keys) < wanted:
        n = int(1.2 * (wanted - len(keys))) + 1000
        lines = [
            torch.searchsorted(end, torch.rand(n, device=DEVICE, generator=generator, dtype=torch.float64)).clamp_max(
                len(end) - 1
            )
            for end in ends
        ]
        keys = torch.unique(torch.cat([keys, lines[0] * films + lines[1]]))
    keys = keys[torch.randperm(len(keys), device=DEVICE, generator=generator)[:wanted]]
    return keys // films, keys % films


def with_cusparse(observations: Observations) -> Callable[..., Any]:
    """As a torch user would: sampled_addmm for the residual, two prepared CSR products; values go to column order."""
    pattern, order = observations.pattern, observations.pattern.column_order
    by_row, by_column = (
        torch.sparse_csr_tensor(lines.indptr.int(), lines.indices, values, size=shape, check_invariants=False)
        for lines, values, shape in (
            (pattern.by_row, observations.values, observations.shape),
            (pattern.by_column, observations.values[order], observations.shape[::-1]),
        )
    )

    def step(left: torch.Tensor, right: torch.Tensor) -> tuple[Any, Any, Any]:
        residual = torch.sparse.sampled_addmm(by_row, left, right.T, beta=-1.0)
        r = residual.values()
        back = torch.sparse_csr_tensor(
            by_column.crow_indices(), by_column.col_indices(), r[order], size=by_column.shape, check_invariants=False
        )
        return 0.5 * (r @ r), residual @ right, back @ left

    return step


def gpu_kernels() -> None:
    """|Ω| = 1e8, long tails, float32: cuSPARSE over our kernel, its share of the bound, of a copy's bandwidth."""
    users, films, wanted = NETFLIX
    generator = torch.Generator(DEVICE).manual_seed(1)
    rows, cols = positions(users, films, wanted)
    values = torch.randn(wanted, device=DEVICE, generator=generator)
    observed = Observations.from_entries(rows, cols, values, (users, films))
    del rows, cols, values
    target = observed.pattern.both_orders(observed.values)
    pattern, rival = torch_operators.pattern_tensors(observed.pattern), with_cusparse(observed)
    big = torch.empty(1 << (20 if HERE else 30), device=DEVICE)
    other = torch.empty_like(big)
    copied = 2 * 4 * len(big) / (1e-3 * milliseconds({"copy": partial(other.copy_, big)})["copy"])  # bytes a second
    del big, other
    for width in (16, 32, 64, 128):
        left, right = (torch.randn(n, width, device=DEVICE, generator=generator) for n in (users, films))
        kernel = partial(torch_operators.masked_residual_grad, left, right, *pattern, *target, None, None)
        contenders = {
            "float32": kernel,
            "bfloat16": partial(kernel, "bfloat16"),
            "cusparse": partial(rival, left, right),
        }
        losses = {name: float(run()[0]) for name, run in contenders.items()}
        assert max(losses.values()) < 1.01 * min(losses.values()), losses
        times = milliseconds(contenders)
        moved = {name: 2 * wanted * (size * width + 8) for name, size in (("float32", 4), ("bfloat16", 2))}
        figures = {
            f"{name}_{what}": figure
            for name, n_bytes in moved.items()
            for what, figure in {
                "ms": times[name],
                "share_of_bound": n_bytes / (0.85 * PEAK) / (1e-3 * times[name]),
                "share_of_copy": n_bytes / copied / (1e-3 * times[name]),
                "cusparse_over_ours": times["cusparse"] / times[name],
            }.items()
        }
        record(f"kernels | {width}", entries=wanted, copy_gb_per_second=copied / 1e9, **figures)


def gpu_netflix() -> None:
    """480,189 × 17,770, 1e8 entries, planted rank 20 + noise, made on the device: seconds to 1 % above the floor."""
    users, films, wanted = NETFLIX
    generator = torch.Generator(DEVICE).manual_seed(2)
    held_out = wanted // 100
    rows, cols = positions(users, films, wanted + held_out)
    P, Q = (torch.randn(n, RANK, device=DEVICE, generator=generator) for n in (users, films))
    P /= RANK**0.5  # a typical entry has standard deviation 1
    values = torch.cat(
        [(P[i] * Q[j]).sum(1) for i, j in zip(rows.split(1 << 24), cols.split(1 << 24), strict=True)]
    ) + NOISE * torch.randn(len(rows), device=DEVICE, generator=generator)
    test = Observations.from_entries(rows[:held_out], cols[:held_out], values[:held_out], (users, films))
    rows, cols, values = (a[held_out:].clone() for a in (rows, cols, values))
    solver(rows, cols, values, test, 2)  # what is made once in a process: libraries are loaded, kernels chosen
    wait()
    began = time.perf_counter()
    watch, prepared = solver(rows, cols, values, test, 1000)
    wait()
    seconds = time.perf_counter() - began
    floor = oracle(Observations.from_entries(rows, cols, values, (users, films)), P, Q, test)
    record(
        "netflix | rank bound 32",
        entries=wanted,
        seconds=seconds,
        preparation_seconds=prepared,
        steps=watch.best_step,
        rmse=watch.best_error,
        floor=floor,
        above_floor=watch.best_error / floor - 1,
    )


def solver(
    rows: torch.Tensor, cols: torch.Tensor, values: torch.Tensor, test: Observations, max_steps: int
) -> tuple[EarlyStopping, float]:
    """From shuffled entries to a model; seconds of the preparation."""
    began = time.perf_counter()
    observed = Observations.from_entries(rows, cols, values, test.shape)
    ridge = 2 * NOISE**2 * RANK**0.5  # about that of a prior in which both sides share the size of an entry
    problem = MaskedLeastSquares(observed, l2=ridge, gather_dtype="bfloat16")
    start = initial.dealt_gaussian(Share.whole(test.shape[0]), test.shape[1], 32, 2, 0.1, 0, "float32").to(DEVICE)
    wait()
    prepared = time.perf_counter() - began
    watch = EarlyStopping(test, patience=30, min_change=1e-3)
    solve(problem, start, steps.Adam(0.03), max_steps=max_steps, tol=0, callbacks=[watch], check_every=10)
    return watch, prepared


def oracle(observed: Observations, P: torch.Tensor, Q: torch.Tensor, test: Observations) -> float:
    """Test error of the best that can be done knowing the films' true factors: each user by Bayes' rule."""
    precision = NOISE**2 * RANK * torch.eye(RANK, device=DEVICE, dtype=torch.float64)
    first, second = (torch.as_tensor(a, device=DEVICE) for a in torch.triu_indices(RANK, RANK))
    pattern = torch_operators.pattern_tensors(observed.pattern)
    ones = torch.ones_like(observed.values)
    squares = Q[:, first] * Q[:, second]
    upper = torch_operators.masked_sums(ones, P.new_zeros(len(P), len(first)), squares, *pattern)[0].double()
    grams = torch.empty(len(P), RANK, RANK, device=DEVICE, dtype=torch.float64)
    grams[:, first, second] = grams[:, second, first] = upper
    sums = torch_operators.masked_sums(observed.values, torch.zeros_like(P), Q, *pattern)[0].double()
    best = torch.linalg.solve(grams + precision, sums[:, :, None])[:, :, 0].float()
    return EarlyStopping(test).error(Factors(best, (), Q))


def gpu_full() -> None:
    """d = 1000 to 8000, 20 % observed, float32: seconds a step of the full network over those of the compressed one."""
    for d in (200,) if HERE else (1000, 2000, 4000, 8000):
        generator = torch.Generator(DEVICE).manual_seed(3)
        A, B = (torch.randn(d, 5, device=DEVICE, generator=generator) for _ in range(2))
        X = A @ B.T
        rows, cols = torch.nonzero(torch.rand(d, d, device=DEVICE, generator=generator) < 0.2, as_tuple=True)
        observed = Observations.from_entries(rows, cols, X[rows, cols], (d, d))
        problem, rule = MaskedLeastSquares(observed), steps.DiscrepantDescent(5e-3 / d, 0.01)
        Q = [torch.linalg.qr(torch.randn(d, d, device=DEVICE, generator=generator))[0] * 1e-3 for _ in range(3)]
        starts = {
            "full": Factors(Q[0], [Q[1]], Q[2]),
            "compressed": initial.compressed(observed, rank=10, depth=3, scale=1e-3),
        }

        def run(start: Factors, n: int, problem=problem, rule=rule) -> None:
            solve(problem, start, rule, max_steps=n, tol=0, check_every=n)

        n = 10
        times = milliseconds({name: partial(run, start, n) for name, start in starts.items()}, 5)
        record(
            f"full | {d}",
            full_ms=times["full"] / n,
            compressed_ms=times["compressed"] / n,
            full_over_compressed=times["full"] / times["compressed"],
        )


RUNS = {"gpu-kernels": gpu_kernels, "gpu-netflix": gpu_netflix, "gpu-full": gpu_full}

if __name__ == "__main__":
    if not (HERE or torch.cuda.is_available()):
        raise SystemExit("torch sees no GPU here; on a machine with one: make gpu (`dmc doctor` says what is missing)")
    sys.argv = [a for a in sys.argv if a != "--here"]
    main(RUNS)
