"""Tensors of low tubal rank, and what is seen of them, for several test files."""

from __future__ import annotations

import numpy as np

from dmc import tubal
from dmc.tubal.problem import slice_problem
from dmc.tubal.slices import SliceLeastSquares


def planted(
    shape: tuple[int, int, int] = (16, 14, 6),
    rank: int = 2,
    share: float = 0.7,
    seed: int = 0,
    noise: float = 0.0,
    transform: object = "dft",
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The tensor, its tubes along the last axis and its entries about 1; the same with noise; and the mask."""
    rng = np.random.default_rng(seed)
    m, n, length = shape
    X = tubal.product(rng.standard_normal((m, rank, length)), rng.standard_normal((rank, n, length)), transform)
    X /= X.std()
    return X, X + noise * rng.standard_normal(shape), rng.random(shape) < share


def slices_of(values: np.ndarray, mask: np.ndarray, transform: object = "dft") -> SliceLeastSquares:
    return slice_problem(values, mask, 2, tubal.transform_of(transform, values.shape[2]))
