"""Fits of which each process has some rows, for tests of several processes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dmc._group import N_PARTS, Group, Share
from dmc.observations import Observations
from dmc.recommend import bayesian, implicit, network


def planted(shape=(400, 120), n_entries=9000, seed=0, weights=False, noise=0.3):
    """Ratings with a long tail, row 0 with half of all columns; which part each row is in."""
    rng = np.random.default_rng(seed)
    m, n = shape
    U, V = rng.standard_normal((m, 3)), rng.standard_normal((n, 3))
    popular = rng.pareto(1.5, n) + 0.1
    positions = np.unique(
        rng.integers(0, m, 2 * n_entries) * n + rng.choice(n, 2 * n_entries, p=popular / popular.sum())
    )
    positions = rng.permutation(positions)[:n_entries]
    positions = np.union1d(positions, np.arange(0, n, 2))
    rows, cols = positions // n, positions % n
    values = 3 + 0.5 * (U[rows] * V[cols]).sum(axis=1) + noise * rng.standard_normal(len(rows))
    given = rng.uniform(0.5, 2, len(rows)).astype(np.float32) if weights else None
    whole = Observations.from_entries(rows, cols, values.astype(np.float32), shape, weights=given)
    return whole, np.sort(rng.integers(0, N_PARTS, m))


def dealt(whole: Observations, part_of: np.ndarray, group: Group, uneven: bool = False):
    """The rows of this process, of those sorted by part: about as many parts for each, or all but none for the last."""
    edges = [N_PARTS * p // group.size for p in range(group.size + 1)]
    if uneven and group.size > 2:  # the last process has none
        edges = [N_PARTS * p // (group.size - 1) for p in range(group.size)] + [N_PARTS]
    own = (part_of >= edges[group.rank]) & (part_of < edges[group.rank + 1])
    parts, rows = np.unique(part_of[own], return_counts=True)
    index, places = whole.pattern.by_row.take(own)
    weights = None if whole.weights is None else whole.weights[places]
    shape = (int(own.sum()), whole.shape[1])
    return Observations.from_lines(index, whole.values[places], shape, weights), Share(group, parts, rows)


def fit_bayes(group: Group, shape, n_entries, seed, weights=False, uneven=False, tuning=None, keeper=None, noise=0.3):
    """Noise, precision, predictions for all pairs, sweeps, and rank."""
    whole, part_of = planted(shape, n_entries, seed, weights, noise)
    own, share = dealt(whole, part_of, group, uneven)
    kept = {} if keeper is None else {"keeper": keeper(group, share)}
    before = bayesian.TUNING  # the process is there for other tests, too
    bayesian.TUNING = replace(before, **(tuning or {}))
    try:
        model = bayesian.fit(own, seed=3, share=share, **kept)
    finally:
        bayesian.TUNING = before
    predicted = np.concatenate([part.reshape(-1, shape[1]) for part in group.gather(model.factors.dense().ravel())])
    return model.noise, model.precision, predicted + model.mean, model.n_iter, model.rank, model.status.name


def fit_clicks(group: Group, shape, n_entries, seed, uneven=False, keeper=None, rank=None):
    """The value, predictions for all pairs, sweeps, rank and settings."""
    whole, part_of = planted(shape, n_entries, seed)
    counts = whole.take(np.asarray(whole.values) > 3).with_values(
        np.ones(int((np.asarray(whole.values) > 3).sum()), np.float32)
    )
    filled = counts.pattern.row_counts > 0
    counts, part_of = counts.among(np.flatnonzero(filled), np.arange(shape[1])), part_of[filled]
    own, share = dealt(counts, part_of, group, uneven)
    kept = {} if keeper is None else {"keeper": keeper(group, share)}
    model = implicit.fit(own, rank, seed=3, share=share, **kept)
    predicted = np.concatenate([part.reshape(-1, shape[1]) for part in group.gather(model.factors.dense().ravel())])
    return model.errors[-1], predicted, model.n_iter, model.factors.width, model.settings, model.status.name


def fit_network(group: Group, shape, n_entries, seed, uneven=False, keeper=None, depth=2):
    """The held-out error, predictions for all pairs, steps, and the step with the smallest error."""
    whole, part_of = planted(shape, n_entries, seed)
    own, share = dealt(whole, part_of, group, uneven)
    kept = {} if keeper is None else {"keeper": keeper(group, share)}
    how = network.NetworkSettings(4, depth, 1.3, 0.1, None)
    found = how.fit(own, np.random.default_rng(3), (), share, **kept)
    predicted = np.concatenate([part.reshape(-1, shape[1]) for part in group.gather(found.factors.dense().ravel())])
    return found.held_out_error, predicted, found.solution.n_steps, len(found.errors), found.solution.value
