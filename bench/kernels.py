"""How fast is the fused kernel, native and by numba, beside the same in SciPy's words? (pytest bench/kernels.py)"""

from __future__ import annotations

import time
from functools import partial

import numpy as np
import pytest
from scipy import sparse

from _harness import main, record
from dmc import Observations, kernels

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
    R = sparse.csr_array((residual, pattern.cols, pattern.by_row.pointers), shape=observations.shape)
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
        kernel.masked_residual_grad, (left, right, observations.pattern, target), rounds=7, warmup_rounds=2
    )


def speed() -> None:
    """The fused kernel, native and by numba, beside the same in SciPy's words."""
    raise SystemExit(pytest.main([__file__, "--benchmark-enable", "--benchmark-only", "--benchmark-sort=name"]))


def with_torch(observations: Observations):
    """As a torch user would: sampled_addmm for the residual, two prepared CSR products; values go to column order."""
    import torch

    pattern = observations.pattern
    by_row, by_column = (
        torch.sparse_csr_tensor(
            torch.from_numpy(order.pointers.astype(np.int64)),
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
    "in cache, 2,000,000 entries": (20_000, 5_000, 2_000_000, (8, 16, 32, 64, 128), 7),
    "out of cache, 10,000,000 entries": (400_000, 200_000, 10_000_000, (16, 32, 64, 128), 3),
}


def ratios() -> None:
    """float32, in and out of cache: time of torch's sampled_addmm and products, and of numba's kernel, over ours."""
    import torch

    for size, (m, n, count, widths, repeats) in SIZES.items():
        rng = np.random.default_rng(0)
        positions = rng.integers(0, m, count), rng.integers(0, n, count)
        observed = Observations.from_entries(*positions, rng.standard_normal(count, np.float32), (m, n), "last")
        target, rival = observed.pattern.both_orders(observed.values), with_torch(observed)
        for width in widths:
            left, right = (rng.standard_normal((lines, width), np.float32) for lines in (m, n))
            tensors = torch.from_numpy(left), torch.from_numpy(right)
            contenders = {
                name: partial(kernels.select(name).masked_residual_grad, left, right, observed.pattern, target)
                for name in ("native", "numba")
            }
            contenders["torch"] = partial(rival, *tensors)
            losses = {name: run()[0] for name, run in contenders.items()}  # also warms them up
            assert np.allclose(list(losses.values()), losses["native"], rtol=1e-3)
            seconds: dict[str, list[float]] = {name: [] for name in contenders}
            for _ in range(repeats):  # interleaved: the machine's drift is everybody's
                for name, run in contenders.items():
                    began = time.perf_counter()
                    run()
                    seconds[name].append(time.perf_counter() - began)
            mine = np.array(seconds["native"])
            record(
                "kernels",
                f"{size} | {width}",
                native_seconds=float(np.median(mine)),
                torch_over_native=float(np.median(np.array(seconds["torch"]) / mine)),
                numba_over_native=float(np.median(np.array(seconds["numba"]) / mine)),
            )


RUNS = {"kernels": speed, "kernel-ratios": ratios}

if __name__ == "__main__":
    main(RUNS)
