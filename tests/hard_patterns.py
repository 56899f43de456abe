"""Planted matrices of patterns that make completion hard: hardly more entries than freedom, power laws, bands."""

import numpy as np

from dmc import observe
from dmc.identifiability import Identifiability
from dmc.observations import Observations


def power_law(size: int, share: float, rng: np.random.Generator, exponent: float = 1.0) -> np.ndarray:
    """Rows and columns observed as often as words are used, but each at least five times."""
    weight = (1.0 + np.arange(size)) ** -exponent
    keys = rng.exponential(size=(size, size)) / np.outer(weight, weight)
    mask = keys <= np.quantile(keys, share)
    mask |= keys <= np.sort(keys, axis=1)[:, 4:5]
    return mask | (keys <= np.sort(keys, axis=0)[4])


def band(size: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """Half of the entries near the diagonal."""
    rows, cols = np.indices((size, size))
    return (abs(rows - cols) <= share * size) & (rng.random((size, size)) < 0.5)


def uniform(size: int, share: float, rng: np.random.Generator) -> np.ndarray:
    return rng.random((size, size)) < share


def planted(pattern, size: int, share: float, seed: int, rank: int = 3) -> tuple[np.ndarray, Observations]:
    """The truth, and what was observed of it."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((size, rank)) @ rng.standard_normal((rank, size))
    return truth, observe(truth, pattern(size, share, rng))


def missed(model: np.ndarray, truth: np.ndarray, observed: Observations, rank: int) -> float:
    """Relative error in the entries that the pattern can determine."""
    m, n = truth.shape
    known = Identifiability.of(observed.pattern, rank).known(np.arange(m)[:, None], np.arange(n))
    return float(np.linalg.norm((model - truth)[known]) / np.linalg.norm(truth[known]))
