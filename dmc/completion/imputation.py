"""Whole rows predicted from what was observed of them: imputation, and how well it does."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dmc.completion.model import Model
from dmc.completion.tables import Bounds
from dmc.inputs import GappedArray
from dmc.observations import Observations
from dmc.solver import row_solve
from dmc.solver.row_solve import RowEntries

Float = NDArray[np.float64]

PARTS = 5  # that the entries of a row are held out in, one after the other, to be scored


def predicted(model: Model, table: GappedArray, unit: float) -> NDArray[np.floating]:
    """(rows, columns) what a model without scaled rows predicts of rows, folded in by their entries.

    Parameters
    ----------
    model : Model
    table : GappedArray
        In the data's units,
    unit : float
        of which this is the model's.
    """
    m, n = table.shape
    out = np.empty((m, n), np.result_type(model.factors.U, np.float32))
    for part in row_solve.chunks(m, max(model.row_model.moments.shape[1], n)):
        weights, values = _whitened(model, table, part, unit)
        _predict(model, RowEntries(weights, values), unit, out[part])
    return out


def score(model: Model, table: GappedArray, unit: float, bounds: Bounds, spreads: Float) -> float:
    """Minus the root mean square error on entries that are taken for missing, each once, over their columns' spreads.

    Parameters
    ----------
    model, table, unit
        As of `predicted`.
    bounds : Bounds
    spreads : (columns,) float64
    """
    m, n = table.shape
    rng, squares, count = np.random.default_rng(0), 0.0, 0
    out = np.empty((0, n))
    for rows in row_solve.chunks(m, max(model.row_model.moments.shape[1], n)):
        weights, values = _whitened(model, table, rows, unit)
        deal, truth = _dealt(table.observed[rows], rows.start, rng), table.values[rows]
        out = out if len(out) == len(truth) else np.empty(truth.shape, np.result_type(model.factors.U, np.float32))
        for hidden in (deal == i for i in range(PARTS)):
            kept = np.where(hidden, 0.0, weights)
            _predict(model, RowEntries(kept, kept * values), unit, out)
            missed = ((bounds.clipped(out) - truth) / spreads)[hidden]
            squares, count = squares + float(missed @ missed), count + len(missed)
    return -math.sqrt(squares / count)


def deal(observations: Observations) -> NDArray[np.int64]:
    """(observed,) the part, 0 … PARTS − 1, that each entry is dealt to: a row's entries evenly, at random."""
    pointers = observations.pattern.by_row.indptr
    shuffled = np.lexsort((np.random.default_rng(0).random(observations.n_observed), observations.rows))
    part = np.empty(observations.n_observed, np.int64)
    part[shuffled] = (np.arange(observations.n_observed) - pointers[observations.rows] + observations.rows) % PARTS
    return part


def _dealt(observed: NDArray[np.bool_], first: int, rng: np.random.Generator) -> NDArray[np.int8]:
    """(rows, columns) the same of a part of the rows, which begins at `first`; −1 where nothing was observed."""
    keys = np.full(observed.shape, 2.0)
    keys[observed] = rng.random(np.count_nonzero(observed))
    m, n = observed.shape
    part = np.empty((m, n), np.int8)
    turns = ((np.arange(PARTS)[:, None] + np.arange(n)) % PARTS).astype(np.int8)
    np.put_along_axis(part, np.argsort(keys, axis=1), turns[(first + np.arange(m)) % PARTS], axis=1)
    part[~observed] = -1
    return part


def _whitened(model: Model, table: GappedArray, rows: slice, unit: float) -> tuple[Float, Float]:
    """Weights of 0 and 1, and (value − base) / noise, zero where nothing was observed."""
    given, observed = model.row_model, table.observed[rows]
    weights = observed.astype(np.float64)
    values = table.values[rows] - unit * given.base
    values *= 1 / (unit * given.noise)
    return weights, np.where(observed, values, 0.0)


def _predict(model: Model, entries: RowEntries, unit: float, out: NDArray[np.floating]) -> None:
    factors = model.factors
    a, _ = model.row_model.posterior(entries)
    np.matmul(a, unit * factors.V.T, out=out, casting="same_kind")
    if factors.column_bias is not None:
        out += unit * factors.column_bias
