"""Half a sweep of least squares over all pairs (see `all_pairs`) over lines that all processes hold, whose entries are
spread over the processes, with the lines of the other side.

Block by block as in one process: of a block each process sums what its entries add to the lines' systems, the owner of
a line adds these and solves, and all take its step. With n lines that is 4 n (152 + 16) bytes a block and process, the
share of its own less.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from dmc._extensions import Entries
from dmc._group import Group
from dmc.kernels import pair_blocks
from dmc.kernels.pair_blocks import BLOCK, SYSTEM
from dmc.pattern import SparseIndex

CHUNK = 1 << 14  # lines whose systems are held at a time, in 10 MB

Float = NDArray[np.float32]


def half_sweep(
    of: Entries | SparseIndex,
    weights: Float,
    pulls: Float,
    unobserved: float,
    ridge: Float,
    other: Float,
    own: Float,
    predicted: Float,
    group: Group,
) -> float:
    """Move the lines of one side once, the same in all processes, and the predictions of own entries with them.

    Parameters
    ----------
    of, weights, pulls, predicted
        Of own entries, as of `all_pairs.half_sweep`.
    ridge : (lines,) float32
        Of all entries; the same in all processes.
    other : (own other lines, width) float32
    own : (lines, width) float32
        The same in all processes. Lines without entries anywhere are to be zero, and stay it.

    Returns
    -------
    float
        By how much the value fell through the lines that this process solved: to be added.
    """
    products = group.sum(pair_blocks.grams(other, unobserved))
    blocks = [np.ascontiguousarray(other[:, c : c + BLOCK]) for c in range(0, other.shape[1], BLOCK)]
    total = 0.0
    for begin in range(0, len(own), CHUNK):
        lines = slice(begin, min(begin + CHUNK, len(own)))
        for block, panel in enumerate(blocks):
            sums = pair_blocks.sums(of, weights, pulls, unobserved, panel, predicted, lines)
            steps, fall = _steps(sums, products, ridge[lines], own[lines], block, group)
            pair_blocks.predict(of, panel, steps, predicted, lines)
            total += fall
    return total


def _steps(sums: Float, products: Float, ridge: Float, own: Float, block: int, group: Group) -> tuple[Float, float]:
    """(lines, 16) steps, which are taken back from `own`; and the fall of the lines that were solved here."""
    cuts = [len(sums) * p // group.size for p in range(group.size + 1)]
    parts = group.exchange([sums[a:b].reshape(-1) for a, b in itertools.pairwise(cuts)])
    mine = group.share(len(sums))
    of_mine = np.stack(parts).reshape(group.size, -1, SYSTEM)
    found, fall = pair_blocks.steps(of_mine, products, ridge[mine], own[mine], block)
    steps = np.concatenate(group.gather(found.reshape(-1))).reshape(-1, BLOCK)
    for others in (slice(0, mine.start), slice(mine.stop, None)):
        own[others, block * BLOCK : (block + 1) * BLOCK] -= steps[others]
    return steps, fall
