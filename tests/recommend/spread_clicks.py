"""Fits to clicks of which each process has some rows, for tests of several processes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from spread_fits import dealt

from dmc._group import N_PARTS, Group
from dmc.kernels.pair_blocks import BLOCK
from dmc.observations import Observations
from dmc.recommend import implicit, implicit_search, spread_pairs
from dmc.recommend.all_pairs import AllPairs, Descent, Settings
from dmc.recommend.implicit_search import settings_for
from dmc.solver.loop import Run


def planted(shape=(301, 3000), each=9, seed=0):
    """Clicks of users who like the items of one group each, some old or dislikes; row 0 has half of all. And which part
    each row is in."""
    rng = np.random.default_rng(seed)
    m, n = shape
    rows = np.repeat(np.arange(1, m), each)
    cols = np.where(rng.random(len(rows)) < 0.7, rng.integers(0, n // 20, len(rows)) * 20 + rows % 20, 0)
    cols = np.where(cols == 0, rng.integers(0, n, len(rows)), cols)
    half = np.sort(rng.permutation(n)[: min(len(rows), n)])
    rows, cols = np.append(rows, np.zeros(len(half), int)), np.append(cols, half)
    counts = rng.choice([-1.0, 0.3, 1.0, 5.0], len(rows), p=[0.1, 0.1, 0.6, 0.2]).astype(np.float32)
    counts[rows < 20] = np.abs(counts[rows < 20])
    whole = Observations.from_entries(rows, cols, counts, shape, "last")
    return whole, np.sort(rng.integers(0, N_PARTS, m))


def told(group: Group, U, V):
    """Predictions of all pairs, in all processes."""
    own = (U @ V.T).ravel()
    return np.concatenate(group.gather(own)).reshape(-1, len(V))


def descend(group: Group, sweeps: int, width: int = 40, chunk: int = 0, **given):
    """(predictions, values, ridges of columns, V) after some sweeps."""
    spread_pairs.CHUNK = chunk or spread_pairs.CHUNK
    own, share = dealt(*planted(**given), group, uneven=True)
    problem = AllPairs.of(own.pattern, own.values, Settings(0.05, 0.1), share.group)
    descent = Descent.beginning(problem, None, width, np.random.default_rng(1))
    descent.run(Run(group=group), sweeps)
    return told(group, descent.U, descent.V), descent.values, problem.ridges[1], descent.V


def sent(group: Group, width: int):
    """Bytes that a process sends for one sweep, over those that the formula has."""
    own, share = dealt(*planted((301, 600), 9), group)
    problem = AllPairs.of(own.pattern, own.values, Settings(0.05, 0.1), share.group)
    descent = Descent.beginning(problem, None, width, np.random.default_rng(1))
    assert np.isfinite(descent.value)  # its sums, and those of the ridges, are none of the sweep
    before = getattr(group, "sent", 0)
    descent.sweep()
    others = (group.size - 1) / group.size
    formula = 4 * others * (width // BLOCK * 600 * (152 + 16) + 2 * width**2)
    return (getattr(group, "sent", 0) - before) / max(formula, 1)


def weights(group: Group):
    """Settings for full rows, of which those of the first process are clicked on once, those of the second often."""
    of_rows = [np.ones(4, np.float32), np.full(8, np.e, np.float32), np.zeros(0, np.float32)]
    counts = np.concatenate(of_rows) if group.size == 1 else of_rows[group.rank]
    return settings_for((len(counts) // 2, 2), counts, group=group)


def often(group: Group):
    """The same where what was clicked on once is in the last process alone."""
    counts = np.full(8, np.e**4, np.float32) if group.rank == 0 else np.full(8, np.e, np.float32)
    return settings_for((8, 1), counts, group=group)


def fit_clicks(group: Group, rank=None, judges=2000, stop_at=0, **given):
    """What is to be the same for any number of processes."""
    implicit_search.TUNING = replace(implicit_search.TUNING, max_judges=judges)
    own, share = dealt(*planted(**given), group, uneven=True)

    def enough(info):
        return info.n_steps >= stop_at

    model = implicit.fit(own, rank, 3, [enough] if stop_at and group.rank == 0 else [], share=share)
    return {
        "predictions": told(group, *(np.asarray(side) for side in (model.factors.U, model.factors.V))),
        "values": model.errors,
        "searched": [(trial["rank"], trial["ridge"], trial["ndcg"], trial["noise"]) for trial in model.searched],
        "settings": list(model.settings),
        "told": (model.factors.width, model.n_iter, model.status.name, model.n_searched, model.rank),
        "warm": model.warm[1],
        "stranger": model.served().U[-1] @ model.factors.V.T,
        "stopped_by": model.stopped_by,
    }


FITS = {"search": {}, "few judges": {"judges": 60, "rank": 20}, "wide": {"rank": 160}, "stopped": {"stop_at": 6}}


def everything(group: Group):
    """All of it, in processes that are started once."""
    return {
        "descent": descend(group, 5, chunk=700),
        "bytes": sent(group, 64),
        "weights": (weights(group), often(group)),
        **{name: fit_clicks(group, **given) for name, given in FITS.items()},
    }
