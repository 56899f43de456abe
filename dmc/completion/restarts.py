"""Where else an exact model is sought, once a path on all entries has not led to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dmc.completion import cores, tuning
from dmc.completion.cores import Part
from dmc.completion.extension import extended
from dmc.completion.phases import Phase
from dmc.completion.rank_search import RankSearch
from dmc.completion.tuning import Restart


def restarted(search: RankSearch) -> Phase | None:
    """An exact model, by slower paths on parts of the matrix whose rows and columns check each other well, carried on
    to the others; None if none of them leads to one, or the first ones make it doubtful."""
    core = cores.densest(search.observations.pattern.to(None), search.carried)
    tried: list[bool] = []  # whether a path makes it doubtful that there is one
    for restart in tuning.RESTARTS.restarts:
        part = _part(search, core, restart)
        if part is None:
            continue
        inner = search.within(*part, weights=_weights(search, restart.spread))
        reached = inner.explore(restart.decay, tuning.RESTARTS.patience)
        found = None if reached.ended else _carried_on(search, inner, reached, part)
        if found is not None or search.phases.ended:
            return found
        if restart.share != 0:  # what has no gap is matched in any case
            tried.append(_doubtful(inner, reached))
        if len(tried) == tuning.RESTARTS.doubtful and all(tried):
            break
    return None


def _doubtful(inner: RankSearch, reached: Phase) -> bool:
    """Whether a path took more directions than entries can tell, or left more than a wrong turn does."""
    return inner.lost or reached.value > tuning.RESTARTS.little


def _part(search: RankSearch, core: Part | None, restart: Restart) -> Part | None:
    """The rows and columns of a restart; None if they promise nothing."""
    pattern = search.observations.pattern.to(None)
    everything = np.ones(pattern.shape[0], bool), np.ones(pattern.shape[1], bool)
    if restart.share is None:
        return core or everything
    if restart.share == 0:
        part = cores.complete(pattern)
        return part if min(side.sum() for side in part) > tuning.RESTARTS.narrowest else None
    part = cores.window(pattern, restart.share)
    m, n = (int(side.sum()) for side in part)
    rank = search.carried
    if min(m, n) <= 2 * rank:
        return None
    inside = np.count_nonzero(part[0][pattern.rows] & part[1][pattern.cols])
    whole = pattern.n_observed / search.exactness.freedom(rank)
    better = inside / search.exactness.freedom(rank, (m, n)) >= tuning.RESTARTS.worthwhile * whole
    return part if better else None


def _carried_on(search: RankSearch, inner: RankSearch, reached: Phase, part: Part) -> Phase | None:
    """The model of all that an exact one of a part leads to, if it is exact too."""
    if not inner.exactness.matched(reached.factors) or reached.factors.width >= min(inner.exactness.filled):
        return None
    start = extended(reached.factors.to(None), part, search.observations.to(None))
    whole = search.trim(search.polish(search.problem, start.to(search.observations.device)))
    return whole if search.exactness.certain(whole.factors) else None


def _weights(search: RankSearch, spread: float) -> NDArray[np.float64] | None:
    """Of all entries, on the host: given ones times random ones."""
    if not spread:
        return None
    random = np.exp(spread * search.rng.standard_normal(search.observations.n_observed))
    given = 1.0 if search.weights is None else np.asarray(search.weights)
    return np.asarray(random * given)
