"""Ratings whose users are dealt among processes, and networks on them, as several processes and one train them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from dmc._group import ALONE, Group, Share
from dmc.observations import Observations
from dmc.recommend.network import NetworkFit, NetworkSettings, mean_and_unit
from dmc.recommend.network_model import NetworkModel
from dmc.solver import callbacks, initial
from dmc.solver.solution import StepInfo

SETTINGS = NetworkSettings(rank=3, depth=1, l2=1.3, validation_fraction=0.1, device=None)
N_PARTS, N_ITEMS = 20, 40
ENDS = {1: (0, 20), 2: (0, 6, 20), 3: (0, 1, 1, 20)}  # the first part of each process: uneven, and one without any


def shared(group: Group) -> tuple[Share, slice]:
    """Of 20 parts the first has one user, and the others each some."""
    users = np.array([1, *np.random.default_rng(0).integers(3, 9, N_PARTS - 1)])
    first, last = ENDS[group.size][group.rank], ENDS[group.size][group.rank + 1]
    before = np.concatenate([[0], np.cumsum(users)])
    parts = 3 * np.arange(N_PARTS)
    return Share(group, parts[first:last], users[first:last]), slice(before[first], before[last])


def ratings(rows: slice, weighted: bool = False) -> Observations:
    """Those of some users; the first has rated all items, and one item is rated once."""
    m, rng = int(shared(ALONE)[0].count), np.random.default_rng(1)
    seen = rng.random((m, N_ITEMS)) < 0.35
    seen[0] = True
    seen[1:, 0] = False
    values = 3 + rng.standard_normal((m, 2)) @ rng.standard_normal((2, N_ITEMS)) + 0.3 * rng.standard_normal(seen.shape)
    users, items = np.nonzero(seen)
    weights = rng.random(len(users)) + 0.5 if weighted else None
    whole = Observations.from_entries(users, items, values[seen].astype(np.float32), seen.shape, weights=weights)
    index, entries = whole.pattern.by_row.take(np.arange(m)[rows])
    own = None if whole.weights is None else whole.weights[entries]
    return Observations.from_lines(index, whole.values[entries], (rows.stop - rows.start, N_ITEMS), own)


def entries_of(observed: Observations, rows: slice) -> np.ndarray:
    return np.column_stack([observed.rows + rows.start, observed.cols])


def trained(group: Group, weighted: bool, settings: NetworkSettings = SETTINGS) -> tuple[NetworkFit, NetworkModel]:
    share, rows = shared(group)
    own = ratings(rows, weighted)
    found = settings.fit(own, np.random.default_rng(5), [], share)
    return found, NetworkModel.of(found, own, settings.rank, group)


def drawn(group: Group) -> dict[str, Any]:
    """What a fit draws at random, and what it finds of the ratings."""
    share, rows = shared(group)
    own, rng = ratings(rows), np.random.default_rng(5)
    start = initial.dealt_gaussian(share, N_ITEMS, 4, 2, 0.3, rng, np.float32)
    train, test = own.split(0.2, rng, share)
    stopping = callbacks.EarlyStopping(test, group=group)
    one_sided = callbacks.EarlyStopping(test)
    return {
        "U": start.U,
        "V": start.V,
        "cores": start.cores,
        "train": entries_of(train, rows),
        "test": entries_of(test, rows),
        "error": stopping.error(start),
        "own error": one_sided.error(start) if test.n_observed else 0.0,
        "scales": [mean_and_unit(ratings(rows, weighted), group) for weighted in (False, True)],
    }


def served(group: Group) -> NetworkModel:
    """The model of a network that has been trained in one process."""
    rows = shared(group)[1]
    fit, _ = trained(ALONE, False)
    f = fit.factors
    own = replace(f, U=f.U[rows], row_bias=f.row_bias[rows])
    return NetworkModel.of(replace(fit, factors=own), ratings(rows), SETTINGS.rank, group)


def stopped(group: Group) -> str | None:
    """What it says of a fit whose last process is asked to stop it."""
    share, rows = shared(group)

    def asked(info: StepInfo) -> bool:
        return group.rank == group.size - 1 and info.n_steps >= 10

    return SETTINGS.fit(ratings(rows), np.random.default_rng(5), [asked], share).solution.stopped_by


def all_of_a_process(group: Group) -> dict[str, Any]:
    return {
        "drawn": drawn(group),
        "trained": {
            "ratings": trained(group, False),
            "weighted": trained(group, True),
            "tensors": trained(group, True, replace(SETTINGS, device="cpu")),
        },
        "few": trained(group, False, replace(SETTINGS, validation_fraction=0.01))[1],
        "served": served(group),
        "stopped": stopped(group),
    }
