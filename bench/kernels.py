"""How fast is the fused kernel, native and by numba, beside the same in SciPy's words? (pytest bench/kernels.py)"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from _harness import main
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


RUNS = {"kernels": speed}

if __name__ == "__main__":
    main(RUNS)
