"""What the hosts' test files share. `make integrations` runs them beside the real packages."""

from __future__ import annotations

import os

import numpy as np
import pytest

os.environ.setdefault("LK_NUM_PROCS", "1")  # LensKit would start processes for ever so few users


def pytest_configure(config: pytest.Config) -> None:
    for mark in ("slow", "eval"):  # which LensKit's own suites bear
        config.addinivalue_line("markers", f"{mark}: of LensKit's test suites")


@pytest.fixture(scope="session")
def ratings() -> dict[str, np.ndarray]:
    """7,000 of 300 users and 150 items, long tail, biases and two tastes; noise of .3 on a scale from 1 to 5."""
    rng = np.random.default_rng(5)
    users, items, count = 300, 150, 7000
    weights = np.outer(rng.gamma(2, 1, users), 1 / np.arange(3, items + 3) ** 0.7).ravel()
    cells = rng.choice(users * items, count, replace=False, p=weights / weights.sum())
    u, i = np.divmod(cells, items)
    taste, style = rng.standard_normal((users, 2)), rng.standard_normal((items, 2))
    exact = 3 + 0.4 * rng.standard_normal(users)[u] + 0.4 * rng.standard_normal(items)[i]
    exact += 0.5 * np.sum(taste[u] * style[i], axis=1)
    rating = np.clip(exact + 0.3 * rng.standard_normal(count), 1, 5)
    return {"user": u + 1, "item": 10 * i + 3, "rating": rating, "timestamp": rng.permutation(count)}
