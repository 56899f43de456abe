"""How fast is the fused kernel, native and by numba, beside the same in SciPy's words? (pytest bench/kernels.py)"""

from __future__ import annotations

import ctypes
import os
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from _harness import main, record
from dmc import MaskedLeastSquares, Observations, kernels, solve
from dmc.solver import initial, steps

M, N, OBSERVED = 20_000, 5_000, 2_000_000


@pytest.fixture(scope="module")
def observations() -> Observations:
    rng = np.random.default_rng(0)
    rows, cols = rng.integers(0, M, OBSERVED), rng.integers(0, N, OBSERVED)
    return Observations.from_entries(rows, cols, rng.standard_normal(OBSERVED, np.float32), (M, N), "last")


def with_scipy(left, right, observations):
    """Unfused: predictions in chunks, then two sparse products."""
    pattern, chunk = observations.pattern, 1 << 16
    residual = np.concatenate(
        [
            np.einsum("ek,ek->e", left[pattern.rows[i : i + chunk]], right[pattern.cols[i : i + chunk]])
            for i in range(0, pattern.n_observed, chunk)
        ]
    )
    residual -= observations.values
    R = sparse.csr_array((residual, pattern.cols, pattern.by_row.indptr), shape=observations.shape)
    return 0.5 * float(residual @ residual), R @ right, R.T @ left


@pytest.mark.parametrize("width", [8, 16, 20, 32, 64])
@pytest.mark.parametrize("name", ["native", "numba", "scipy"])
def test_masked_residual_grad(benchmark, observations, name, width):
    rng = np.random.default_rng(1)
    left, right = (rng.standard_normal((lines, width), np.float32) for lines in (M, N))
    benchmark.group = f"width {width}"
    if name == "scipy":
        benchmark.pedantic(with_scipy, (left, right, observations), rounds=3, warmup_rounds=1)
        return
    kernel = kernels.select(name)
    target = observations.pattern.both_orders(observations.values)
    benchmark.pedantic(
        partial(kernels.residual_gradients, kernel),
        (left, right, observations.pattern, target),
        rounds=7,
        warmup_rounds=2,
    )


def speed() -> None:
    """The fused kernel, native and by numba, beside the same written with SciPy."""
    if failed := pytest.main([__file__, "--benchmark-enable", "--benchmark-only", "--benchmark-sort=name"]):
        raise SystemExit(failed)


def with_torch(observations: Observations):
    """As a torch user would: sampled_addmm for the residual, two prepared CSR products; values go to column order."""
    import torch

    pattern = observations.pattern
    by_row, by_column = (
        torch.sparse_csr_tensor(
            torch.from_numpy(order.indptr.astype(np.int64)),
            torch.from_numpy(order.indices.astype(np.int64)),
            torch.from_numpy(values),
            size=shape,
        )
        for order, values, shape in (
            (pattern.by_row, observations.values, observations.shape),
            (pattern.by_column, pattern.both_orders(observations.values).by_column, observations.shape[::-1]),
        )
    )
    numbers = np.arange(pattern.n_observed)
    to_columns = torch.from_numpy(pattern.both_orders(numbers).by_column)
    crow, col = by_column.crow_indices(), by_column.col_indices()

    def step(left, right):
        residual = torch.sparse.sampled_addmm(by_row, left, right.T, beta=-1.0)
        r = residual.values()
        back = torch.sparse_csr_tensor(crow, col, r[to_columns], size=by_column.shape)
        return 0.5 * float(r @ r), residual @ right, back @ left

    return step


SIZES = {
    "in cache": (20_000, 5_000, 2_000_000, (8, 16, 32, 64, 128), 9),
    "out of cache": (400_000, 200_000, 10_000_000, (16, 32, 64, 128), 7),
}
PROBE = Path(__file__).parent.parent / "build" / "lab" / "gather.so"  # made by `make lab`


def drawn(m: int, n: int, count: int) -> Observations:
    """Entries at random positions, float32."""
    rng = np.random.default_rng(0)
    positions = rng.integers(0, m, count), rng.integers(0, n, count)
    return Observations.from_entries(*positions, rng.standard_normal(count, np.float32), (m, n), "last")


def gathering(observations: Observations, line_bytes: int) -> Callable[[], float]:
    """Seconds in which this machine gathers the lines of both passes and no more, fetched ahead as suits it best."""
    if not PROBE.exists():
        raise SystemExit(f"the probe of the roofline, {PROBE}, is not there; run: make lab")
    probe = ctypes.CDLL(str(PROBE)).gather
    probe.restype = ctypes.c_double
    pattern = observations.pattern
    sides = []
    for order, lines in ((pattern.by_row, observations.shape[1]), (pattern.by_column, observations.shape[0])):
        spare = np.ones(lines * line_bytes + 64, np.int8)
        table = spare[-spare.ctypes.data % 64 :][: lines * line_bytes]
        sides.append((table, order.indices))

    def once(ahead: int, level: int) -> float:
        return sum(
            probe(
                *(ctypes.c_void_p(array.ctypes.data) for array in (table, indices)),
                *(ctypes.c_int64(number) for number in (len(indices), line_bytes, ahead)),
                level,
                os.cpu_count(),
            )
            for table, indices in sides
        )

    best = min(((ahead, level) for ahead in (16, 32, 64) for level in (2, 3)), key=lambda way: once(*way))
    return partial(once, *best)


def interleaved(contenders: dict[str, Callable[[], float]], repeats: int) -> dict[str, np.ndarray]:
    """Seconds of each (what it returns, or what it took), in turns: the machine's drift is everybody's."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, run in contenders.items():
            began = time.perf_counter()
            own = run()
            seconds[name].append(own if isinstance(own, float) else time.perf_counter() - began)
    return {name: np.array(times) for name, times in seconds.items()}


def ratios() -> None:
    """float32, in and out of cache: torch, numba, one thread, bfloat16 over the kernel; its share of the roofline."""
    import torch

    for size, (m, n, count, widths, repeats) in SIZES.items():
        observed = drawn(m, n, count)
        pattern, target, rival = observed.pattern, observed.pattern.both_orders(observed.values), with_torch(observed)
        for width in widths:
            rng = np.random.default_rng(1)
            left, right = (rng.standard_normal((lines, width), np.float32) for lines in (m, n))
            tensors = torch.from_numpy(left), torch.from_numpy(right)
            native, numba = (partial(kernels.residual_gradients, kernels.select(name)) for name in ("native", "numba"))
            arguments = left, right, pattern, target

            def alone(native=native, arguments=arguments):
                with kernels.threads(1):
                    native(*arguments)

            contenders = {
                "native": partial(native, *arguments),
                "bfloat16": partial(native, *arguments, gather_dtype="bfloat16"),
                "numba": partial(numba, *arguments),
                "torch": partial(rival, *tensors),
            }
            losses = {name: run()[0] for name, run in contenders.items()}  # also warms them up
            assert np.allclose(list(losses.values()), losses["native"], rtol=1e-2)
            gathered = {"gather": gathering(observed, 4 * width)} if width >= 16 else {}
            times = interleaved(contenders | {"one thread": alone} | gathered, repeats)
            figures = {
                f"{name.replace(' ', '_')}_over_native": float(np.median(times[name] / times["native"]))
                for name in ("torch", "numba", "one thread", "bfloat16")
            }
            figures["torch_over_bfloat16"] = float(np.median(times["torch"] / times["bfloat16"]))
            if gathered:  # the bound also moves an index and a target for each entry of each pass
                bound = times["gather"] * (4 * width + 8) / (4 * width)
                figures["share_of_roofline"] = float(np.median(bound / times["native"]))
                figures["gather_gb_per_second"] = 2 * count * 4 * width / float(np.median(times["gather"])) / 1e9
            record(
                "kernels",
                f"{size}, {count:,} entries | {width}",
                native_seconds=float(np.median(times["native"])),
                **figures,
            )


def every_width() -> None:
    """Widths 1 to 130, in cache: time of each over that of the next one up among 8, 16, 32, 64, 128, 130."""
    m, n, count, *_ = SIZES["in cache"]
    observed = drawn(m, n, count)
    target, native = (
        observed.pattern.both_orders(observed.values),
        partial(kernels.residual_gradients, kernels.select("native")),
    )
    rng = np.random.default_rng(1)
    sides = [rng.standard_normal((lines, 130), np.float32) for lines in (m, n)]
    contenders = {
        str(width): partial(
            native, *(np.ascontiguousarray(side[:, :width]) for side in sides), observed.pattern, target
        )
        for width in range(1, 131)
    }
    interleaved(contenders, 1)
    times = {int(name): float(np.median(t)) for name, t in interleaved(contenders, 9).items()}
    over = {w: t / times[next(up for up in (8, 16, 32, 64, 128, 130) if up >= w)] for w, t in times.items()}
    worst = max(over, key=over.__getitem__)
    record(
        "kernels",
        "every width",
        worst_over_next=over[worst],
        worst_width=worst,
        seconds=[round(times[width], 6) for width in sorted(times)],
    )


def whole_step() -> None:
    """1000 × 1000, 200,000 entries, k = 20, three cores: a step of the solver over the two kernel calls in it."""
    m = n = 1000
    for dtype in (np.float32, np.float64):
        rng = np.random.default_rng(0)
        flat = rng.choice(m * n, 200_000, replace=False)
        observed = Observations.from_entries(flat // n, flat % n, rng.standard_normal(len(flat)).astype(dtype), (m, n))
        start = initial.compressed(observed, rank=10, depth=3, scale=0.1, seed=0)
        problem, rule = MaskedLeastSquares(observed), steps.DiscrepantDescent(rate=1e-4, outer_ratio=0.01)
        target, kernel = observed.pattern.both_orders(observed.values), kernels.select("native")
        left, right = np.ascontiguousarray(start.left), start.right

        def kernel_alone(arguments=(left, right, observed.pattern, target), kernel=kernel):
            for _ in range(100):
                kernels.residual_gradients(kernel, *arguments)

        def solver(problem=problem, start=start, rule=rule):
            solve(problem, start, rule, max_steps=100, tol=0, check_every=100)

        times = interleaved({"kernel": kernel_alone, "step": solver}, 15)
        record(
            "kernels",
            f"whole step, {np.dtype(dtype)}",
            step_over_kernel=float(np.median(times["step"] / times["kernel"])),
            step_seconds=float(np.median(times["step"])) / 100,
        )


def preparation() -> None:
    """10,000,000 and 100,000,000 shuffled entries (480,189 × 17,770, float32): seconds to prepare, memory an entry."""
    m, n = 480_189, 17_770
    for count in (10_000_000, 100_000_000):
        rng = np.random.default_rng(0)
        # Distinct by construction: multiples of a number that has no divisor in common with m·n.
        flat = np.arange(count, dtype=np.int64) * 1_000_003_001 % (m * n)
        rng.shuffle(flat)
        rows, cols = (flat // n).astype(np.int32), (flat % n).astype(np.int32)
        del flat
        values = rng.standard_normal(count, np.float32)
        began = time.perf_counter()
        observed = Observations.from_entries(rows, cols, values, (m, n))
        target = observed.pattern.both_orders(observed.values)
        seconds = time.perf_counter() - began
        del rows, cols, values
        pattern = observed.pattern
        arrays = {id(a): a for a in (*pattern.by_row, *pattern.by_column, pattern.rows, *target, observed.values)}
        record(
            "kernels",
            f"preparation, {count:,} entries",
            seconds=seconds,
            bytes_an_entry=sum(a.nbytes for a in arrays.values()) / count,
            peak_gib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        )
        del observed, target, pattern, arrays


RUNS = {
    "kernels": speed,
    "kernel-ratios": ratios,
    "kernel-widths": every_width,
    "whole-step": whole_step,
    "preparation": preparation,
}

if __name__ == "__main__":
    main(RUNS)
