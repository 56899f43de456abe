"""Matrices and tables, some of whose entries are grossly wrong, for tests of what finds them."""

import numpy as np

from dmc import datasets


def planted(shape, rank, share, seed=0, noise=0.0) -> tuple[np.ndarray, np.ndarray]:
    """The truth, and what was observed of it."""
    problem = datasets.planted(shape, rank, share, seed=seed, noise=noise)
    x = np.full(shape, np.nan)
    x[problem.observations.rows, problem.observations.cols] = problem.observations.values
    return problem.A @ problem.B.T, x


def spoilt(x: np.ndarray, share: float, size: float = 10.0, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Some of the entries wrong by so many spreads, up or down; and which."""
    rng = np.random.default_rng(seed)
    seen = np.flatnonzero(np.isfinite(x))
    at = rng.choice(seen, round(share * len(seen)), replace=False)
    x = x.copy()
    x.ravel()[at] += size * np.nanstd(x) * rng.choice([-1, 1], len(at))
    rows, cols = np.unravel_index(np.sort(at), x.shape)
    return x, np.column_stack([rows, cols])


def table(seed: int, noise: float = 0.2, shape=(120, 8)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, entries and what is hidden of a table in units."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((shape[0], 2)) @ rng.standard_normal((2, shape[1]))
    truth = truth / truth.std(axis=0)
    hidden = rng.random(shape) < 0.25
    x = np.where(hidden, np.nan, truth + noise * rng.standard_normal(shape))
    units = np.logspace(-2, 2, shape[1])
    return (truth + 5) * units, (x + 5) * units, hidden
