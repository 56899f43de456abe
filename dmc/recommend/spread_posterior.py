"""Posteriors of columns whose entries are spread over processes: summed, finished by their owners, and handed out."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc._extensions import Entries
from dmc._group import Group
from dmc.kernels import posterior

CHUNK = 1 << 24  # numbers of the columns that are summed at a time: there may be millions, of thousands each

Float = NDArray[np.float32]


def spread_step(
    group: Group,
    entries: Entries,
    values: Float,
    others: Float,
    precision: NDArray[np.floating[Any]],
    expected: Float,
    noise: NDArray[np.float64],
    moments: Float,
    weights: Float | None = None,
) -> tuple[Float, NDArray[np.float64], NDArray[np.float64]]:
    """What `kernels.posterior.step` returns, for lines that each process of a group has some entries of; but no errors.

    Of a chunk of lines each process sums its own entries. A part of the lines is each one's to finish: it gets the sums
    of all others for that part, adds them in float64 and in the order of the processes, and hands out the moments of
    the posteriors. So a process sends 2 (size − 1)/size times the moments of all lines.
    """
    count, size = moments.shape
    covariance = np.zeros_like(precision, dtype=np.float64)
    most = max(CHUNK // size, group.size)
    for begin in range(0, count, most):
        lines = slice(begin, min(begin + most, count))
        sums = posterior.sums(entries, values, others, weights, lines)
        cuts = [len(sums) * p // group.size for p in range(group.size + 1)]
        parts = [slice(a, b) for a, b in pairwise(cuts)]
        found = group.exchange([sums[part].ravel() for part in parts])
        total = found[0].astype(np.float64)
        for more in found[1:]:
            total += more
        own, here = parts[group.rank], moments[lines]
        of_own = here[own].copy()
        given = expected[lines][own], noise[lines][own]
        covariance += posterior.finish(total.astype(np.float32).reshape(-1, size), precision, *given, of_own)[1]
        for part, finished in zip(parts, group.gather(of_own.ravel()), strict=True):
            here[part] = finished.reshape(-1, size)
    means = posterior.means_in(moments, len(precision))
    return means, group.sum(covariance), np.full(count, np.nan)
