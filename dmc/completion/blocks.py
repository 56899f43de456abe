"""A matrix in blocks that share no entry: each is fitted and judged on its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from dmc.completion.model import Model
from dmc.completion.scaling import Scaling
from dmc.completion.selected import Selected, submatrix
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.pattern import Pattern

Float = NDArray[np.float64]

MOST = 20  # blocks that are fitted alone; smaller ones are fitted together


def blocks_of(pattern: Pattern) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Rows and columns of each part of a NumPy pattern that is fitted alone; one, if all entries hang together.

    Blocks of one row or one column have nothing that is missing; together with those beyond the largest they are the
    last part.
    """
    m, n = pattern.shape
    ends = pattern.rows, m + pattern.cols.astype(np.int64)
    graph = sparse.coo_array((np.ones(len(ends[0]), np.int8), ends), shape=(m + n, m + n))
    label = connected_components(graph, directed=False)[1]
    count = label.max() + 1
    entries = np.bincount(label[pattern.rows], minlength=count)
    filled = np.flatnonzero(entries)
    if len(filled) == 1:  # lines without any entry stay with the others
        return [(np.ones(m, bool), np.ones(n, bool))]
    narrowest = np.minimum(np.bincount(label[:m], minlength=count), np.bincount(label[m:], minlength=count))
    order = filled[np.argsort(-entries[filled], kind="stable")]
    alone = order[narrowest[order] > 1][:MOST]
    parts = [label == block for block in alone]
    rest = np.isin(label, np.setdiff1d(filled, alone))
    if rest.any():
        parts.append(rest)
    return [(part[:m], part[m:]) for part in parts]


def _lines_alone(block: Observations, weights: Float | None) -> Selected | None:
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
    nothing, none = np.zeros(0), np.zeros(0, np.int64)
    model = Model.of(Factors(U, (), V), Scaling.of(block, "none"), np.zeros(n), block, weights)
    ranks = np.ones(m, np.int64), np.ones(n, np.int64)
    return Selected(model, True, 1, ranks, none, none, nothing, nothing, nothing, 0.0, 0.0)


def _counts(host: Observations) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return host.pattern.row_counts, host.pattern.column_counts


def select_blocks(
    observations: Observations, weights: Float | None, select: Callable[[Observations, Float | None], Selected]
) -> Selected:
    """Fit each block and put them together: between them, only levels of rows or columns are predicted."""
    host = observations.to(None)
    parts = blocks_of(host.pattern)
    if len(parts) == 1:
        alone = _lines_alone(host, weights) if min(np.count_nonzero(c) for c in _counts(host)) > 1 else None
        return alone or select(observations, weights)
    found = []
    for rows, cols in parts:
        block, entries = submatrix(host, rows, cols)
        of_block = None if weights is None else weights[entries]
        found.append(_lines_alone(block, of_block) or select(block.to(observations.device), of_block))
    return _together(found, parts, host, weights)


def _together(
    found: list[Selected],
    parts: list[tuple[NDArray[np.bool_], NDArray[np.bool_]]],
    host: Observations,
    weights: Float | None,
) -> Selected:
    (m, n), dtype = host.shape, host.dtype
    models = [one.model for one in found]
    width = sum(model.factors.width for model in models)
    U, V = np.zeros((m, width), dtype), np.zeros((n, width), dtype)
    sides = {model.scaling.side for model in models} - {"none"}
    side = sides.pop() if sides else "none"
    lines, axis = (m, 0) if side == "rows" else (n, 1)
    bias, location, spread = (np.zeros(lines, kind) for kind in (dtype, np.float64, np.float64))
    spread[:] = 1
    constant, noise = np.zeros(lines, bool), np.zeros(lines)
    mean, covariance = np.zeros(0), np.zeros((0, 0))
    at = 0
    for model, part in zip(models, parts, strict=True):
        rows, cols = part
        factors, k = model.factors, model.factors.width
        U[rows, at : at + k], V[cols, at : at + k] = factors.U, factors.V
        at += k
        own, scaling = part[axis], model.scaling
        if scaling.side == side:
            location[own], spread[own], constant[own] = scaling.location, scaling.spread, scaling.constant
            noise[own] = model.noise
            given = factors.row_bias if side == "rows" else factors.column_bias
            bias[own] = 0 if given is None else given
        else:
            noise[own] = math.sqrt(float(np.mean(model.noise**2)))
        mean = np.append(mean, model.mean)
        covariance = _diagonal(covariance, model.covariance)
    biases: dict[str, Any] = {"none": {}, "rows": {"row_bias": bias}, "columns": {"column_bias": bias}}
    factors = Factors(U, (), V, **biases[side])
    scaling = Scaling(side, location, spread, constant)
    whole = Model.of(factors, scaling, noise, host, weights)
    calibration = float(np.mean([model.calibration for model in models]))
    prior = (whole.mean, whole.covariance) if side == "rows" else (mean, covariance)
    whole = Model(factors, scaling, noise, *prior, host.pattern, weights, calibration)
    held = [
        np.concatenate([np.flatnonzero(part[i])[getattr(one, name)] for one, part in zip(found, parts, strict=True)])
        for i, name in enumerate(("rows", "cols"))
    ]
    names = "errors", "mean_errors", "across_errors"
    errors = [np.concatenate([getattr(one, name) for one in found]) for name in names]
    weight = np.array([one.model.pattern.n_observed for one in found], float)
    unexplained = [
        float(weight @ [getattr(one, name) for one in found] / weight.sum())
        for name in ("unexplained", "unexplained_across")
    ]
    exact = all(one.exact for one in found)
    rank = max(one.rank for one in found)
    ranks = np.ones(m, np.int64), np.ones(n, np.int64)
    for one, part in zip(found, parts, strict=True):
        for axis, of_lines in enumerate(part):
            ranks[axis][of_lines] = one.ranks[axis]
    return Selected(
        whole, exact, rank, ranks, held[0], held[1], errors[0], errors[1], errors[2], unexplained[0], unexplained[1]
    )


def _diagonal(a: Float, b: Float) -> Float:
    whole = np.zeros((len(a) + len(b),) * 2)
    whole[: len(a), : len(a)], whole[len(a) :, len(a) :] = a, b
    return whole
