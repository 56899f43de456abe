"""A matrix in blocks that share no entry: each is fitted and judged on its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag

from dmc.completion.model import Model
from dmc.completion.results import HeldOut, Selected, submatrix
from dmc.completion.scaling import Scaling, Side
from dmc.factors import Factors
from dmc.identifiability import connected
from dmc.observations import Observations
from dmc.pattern import Pattern
from dmc.solver.solution import Status

Float = NDArray[np.float64]
Part = tuple[NDArray[np.bool_], NDArray[np.bool_]]  # which rows and columns

# Of several blocks' endings, the last of these is the matrix' own.
ENDINGS = [Status.CONVERGED, Status.COMPLETED, Status.MAX_STEPS, Status.STOPPED, Status.NONFINITE]
MOST = 20  # blocks that are fitted alone; smaller ones are fitted together


def blocks_of(pattern: Pattern) -> list[Part]:
    """Rows and columns of each part of a NumPy pattern that is fitted alone; one, if all entries hang together.

    Rows and columns without any entry have no part in it: beside them the others would look sparser than they are.
    Blocks of one row or one column have nothing that is missing; together with those beyond the largest they are the
    last part.
    """
    m = pattern.shape[0]
    label = connected(np.asarray(pattern.rows), np.asarray(pattern.cols), pattern.shape)
    count = label.max() + 1
    entries = np.bincount(label[pattern.rows], minlength=count)
    filled = np.flatnonzero(entries)
    if len(filled) == 1:
        only = label == filled[0]
        return [(only[:m], only[m:])]
    narrowest = np.minimum(np.bincount(label[:m], minlength=count), np.bincount(label[m:], minlength=count))
    order = filled[np.argsort(-entries[filled], kind="stable")]
    alone = order[narrowest[order] > 1][:MOST]
    parts = [label == block for block in alone]
    rest = np.isin(label, np.setdiff1d(filled, alone))
    if rest.any():
        parts.append(rest)
    return [(part[:m], part[m:]) for part in parts]


def _single_vectors(block: Observations, weights: Float | None) -> Selected | None:
    """The model of blocks of one row or one column each; None if there are others among them."""
    pattern, values = block.pattern, block.values
    rows, cols = pattern.row_counts[pattern.rows], pattern.column_counts[pattern.cols]
    if not ((rows == 1) | (cols == 1)).all() or block.n_observed == 0:
        return None
    m, n = block.shape
    U, V = np.ones((m, 1), block.dtype), np.ones((n, 1), block.dtype)
    in_column = rows == 1  # the only entry of its row
    U[pattern.rows[in_column], 0] = values[in_column]
    V[pattern.cols[~in_column], 0] = values[~in_column]
    model = Model.of(Factors(U, (), V), Scaling.of(block, "none"), np.zeros(n), block, weights)
    return Selected(model, True, 1, (np.ones(m, np.int64), np.ones(n, np.int64)))


def _counts(host: Observations) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.asarray(host.pattern.row_counts), np.asarray(host.pattern.column_counts)


def select_blocks(
    observations: Observations, weights: Float | None, select: Callable[[Observations, Float | None], Selected]
) -> Selected:
    """Fit each block and put them together: between them, only levels of rows or columns are predicted."""
    host = observations.to(None)
    parts = blocks_of(host.pattern)
    if len(parts) == 1 and all(side.all() for side in parts[0]):
        alone = _single_vectors(host, weights) if min(np.count_nonzero(c) for c in _counts(host)) > 1 else None
        return alone or select(observations, weights)
    found = []
    for rows, cols in parts:
        block, entries = submatrix(host, rows, cols)
        of_block = None if weights is None else weights[entries]
        found.append(_single_vectors(block, of_block) or select(block.to(observations.device), of_block))
    return _together(found, parts, host, weights)


def _together(found: list[Selected], parts: list[Part], host: Observations, weights: Float | None) -> Selected:
    models = [one.model for one in found]
    sides = {model.scaling.side for model in models} - {"none"}
    side = sides.pop() if sides else "none"
    factors, scaling, noise = _units_together(models, parts, host, side)
    if side == "rows":
        model = Model.of(factors, scaling, noise, host, weights)
    else:
        mean = np.concatenate([model.mean for model in models])
        covariance = block_diag(*(model.covariance for model in models))
        model = Model(factors, scaling, noise, mean, covariance, host.pattern, weights)
    model = replace(model, calibration=float(np.mean([model.calibration for model in models])))
    ranks = tuple(np.ones(count, np.int64) for count in host.shape)
    for one, part in zip(found, parts, strict=True):
        for of_all, members, own in zip(ranks, part, one.ranks, strict=True):
            of_all[members] = own
    numbers = [
        (one.held_out, np.flatnonzero(part[0]), np.flatnonzero(part[1])) for one, part in zip(found, parts, strict=True)
    ]
    n_observed = np.array([one.model.pattern.n_observed for one in found], float)
    status = max((one.status for one in found), key=ENDINGS.index)
    exact, rank = all(one.exact for one in found), max(one.rank for one in found)
    return Selected(model, exact, rank, (ranks[0], ranks[1]), HeldOut.together(numbers, n_observed), status)


def _units_together(
    models: list[Model], parts: list[Part], host: Observations, side: Side
) -> tuple[Factors, Scaling, Float]:
    """Factors whose directions are those of one block after the other; levels, spreads and noise of the side that any
    of them scales, or of the columns."""
    (m, n), dtype = host.shape, host.dtype
    count, axis = (m, 0) if side == "rows" else (n, 1)
    width = sum(model.factors.width for model in models)
    U, V, bias = np.zeros((m, width), dtype), np.zeros((n, width), dtype), np.zeros(count, dtype)
    location, spread, noise, constant = np.zeros(count), np.ones(count), np.zeros(count), np.zeros(count, bool)
    at = 0
    for model, part in zip(models, parts, strict=True):
        factors, scaling, own = model.factors, model.scaling, part[axis]
        directions = slice(at, at + factors.width)
        U[part[0], directions], V[part[1], directions] = factors.U, factors.V
        at = directions.stop
        if scaling.side == side:
            location[own], spread[own], constant[own] = scaling.location, scaling.spread, scaling.constant
            noise[own] = model.noise
            given = factors.row_bias if side == "rows" else factors.column_bias
            bias[own] = 0 if given is None else given
        else:
            noise[own] = math.sqrt(float(np.mean(model.noise**2)))
    empty = ~np.any([part[axis] for part in parts], axis=0)
    for of_lines in (location, spread, noise):  # there what is typical
        of_lines[empty] = of_lines[~empty].mean()
    row_bias, column_bias = bias if side == "rows" else None, bias if side == "columns" else None
    return Factors(U, (), V, row_bias, column_bias), Scaling(side, location, spread, constant), noise
