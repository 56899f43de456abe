"""The parts of half a sweep of least squares over all pairs, for lines whose entries are spread over processes, a block
of coordinates at a time. Compiled, or plain. See csrc/all_pairs.h.

A line's system is the upper triangle of its matrix (16, 16), row by row, its number of the gradient behind each row.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _extensions
from dmc._extensions import Entries
from dmc.pattern import SparseIndex

BLOCK = 16  # coordinates: wider ones go no further in a sweep (MovieLens, CiteULike) and cost more
SYSTEM = BLOCK * (BLOCK + 3) // 2  # numbers
ROW, COLUMN = np.triu_indices(BLOCK, m=BLOCK + 1)  # of each in the matrix with the gradient as its last column

Float = NDArray[np.float32]


def grams(other: Float, unobserved: float) -> Float:
    """The weight of unobserved pairs times the products of all columns with those of each block.

    Parameters
    ----------
    other : (other lines, width) float32 array
        Of which processes hold some each: what they return is to be added.

    Returns
    -------
    (blocks times width, 16) float32 array
    """
    if _extensions.core is not None:
        return np.asarray(_extensions.core.block_grams(other, unobserved))
    return plain_grams(other, unobserved)


def plain_grams(other: Float, unobserved: float) -> Float:
    """What the compiled core does."""
    products = unobserved * (other.T.astype(np.float64) @ other)
    blocks = products.reshape(len(products), -1, BLOCK).transpose(1, 0, 2)
    return np.ascontiguousarray(blocks.reshape(-1, BLOCK), np.float32)


def sums(
    of: Entries | SparseIndex,
    weights: Float,
    pulls: Float,
    unobserved: float,
    other: Float,
    predicted: Float,
    lines: slice,
) -> Float:
    """What the entries add to the systems of some lines in a block.

    Parameters
    ----------
    of, weights, pulls, unobserved, predicted
        As of `dmc.recommend.all_pairs.half_sweep`.
    other : (other lines, 16) float32 array
        The block.
    lines : slice

    Returns
    -------
    (lines, 152) float32 array
    """
    given = of, weights, pulls, unobserved, other, predicted, lines
    return plain_sums(*given) if _extensions.core is None else np.asarray(_extensions.core.block_sums(*given))


def plain_sums(
    of: SparseIndex,
    weights: Float,
    pulls: Float,
    unobserved: float,
    other: Float,
    predicted: Float,
    lines: slice,
) -> Float:
    """What the compiled core does."""
    begin, end, _ = lines.indices(len(of.indptr) - 1)
    found = np.zeros((end - begin, SYSTEM), np.float32)
    for i in range(begin, end):
        at = slice(of.indptr[i], of.indptr[i + 1])
        v, more = other[of.indices[at]].astype(np.float64), weights[at].astype(np.float64) - unobserved
        matrix, gradient = (v.T * more) @ v, v.T @ (more * predicted[at] - pulls[at])
        found[i - begin] = np.column_stack([matrix, gradient])[ROW, COLUMN]
    return found


def steps(of_lines: Float, products: Float, ridge: Float, own: Float, block: int) -> tuple[Float, float]:
    """The steps of lines in a block, which are taken back from `own`, in place.

    Parameters
    ----------
    of_lines : (parts, lines, 152) float32 array
        Of `sums`, over some of their entries each: they are added in float64, in this order.
    products : (blocks times width, 16) float32 array
        Of `grams`, over the whole other side.
    ridge : (lines,) float32 array
    own : (lines, width) float32 array
    block : int

    Returns
    -------
    steps : (lines, 16) float32 array
    fall : float
        By how much the value falls.
    """
    if _extensions.core is not None:
        return _extensions.core.block_steps(of_lines, products, ridge, own, block)
    return plain_steps(of_lines, products, ridge, own, block)


def plain_steps(of_lines: Float, products: Float, ridge: Float, own: Float, block: int) -> tuple[Float, float]:
    """What the compiled core does."""
    at = slice(block * BLOCK, (block + 1) * BLOCK)
    system = np.zeros((len(own), BLOCK, BLOCK + 1))
    system[:, ROW, COLUMN] = of_lines.sum(axis=0, dtype=np.float64).astype(np.float32)
    matrix, gradient = system[:, :, :BLOCK], system[:, :, BLOCK]
    matrix = np.triu(matrix) + np.triu(matrix, 1).transpose(0, 2, 1)
    of_block: NDArray[Any] = products.reshape(-1, own.shape[1], BLOCK)[block].astype(np.float64)
    matrix += of_block[at] + ridge[:, None, None] * np.eye(BLOCK)
    gradient = gradient + own @ of_block + ridge[:, None] * own[:, at]
    step = np.linalg.solve(matrix, gradient[:, :, None])[:, :, 0].astype(np.float32)
    own[:, at] -= step
    return step, 0.5 * float(np.vdot(gradient, step))


def predict(of: Entries | SparseIndex, other: Float, back: Float, predicted: Float, lines: slice) -> None:
    """Move the predictions of the entries of some lines after these steps (lines, 16) in a block, in place."""
    if _extensions.core is None:
        plain_predict(of, other, back, predicted, lines)
    else:
        _extensions.core.block_predict(of, other, back, predicted, lines)


def plain_predict(of: SparseIndex, other: Float, back: Float, predicted: Float, lines: slice) -> None:
    """What the compiled core does."""
    begin, end, _ = lines.indices(len(of.indptr) - 1)
    at = slice(of.indptr[begin], of.indptr[end])
    of_entries = np.repeat(back, np.diff(of.indptr[begin : end + 1]), axis=0)
    predicted[at] -= np.einsum("ec,ec->e", other[of.indices[at]], of_entries)
