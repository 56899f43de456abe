"""Whole rows predicted from what was observed of them: imputation, and how well it does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dmc import kernels
from dmc.completion import robust
from dmc.completion.model import Model, in_units
from dmc.completion.results import rms
from dmc.completion.tables import Bounds
from dmc.factors import Factors
from dmc.inputs import GappedArray
from dmc.observations import Observations
from dmc.solver import row_solve
from dmc.solver.row_solve import RowEntries

Float = NDArray[np.float64]
Rows = GappedArray | Observations

IN_CACHE = 1 << 16  # numbers of rows that are held at a time: all that is done with them stays in the cache
PARTS = 5  # that the entries of a row are held out in, one after the other, to be scored


def predict(model: Model, rows: Rows, unit: float, *, robustly: bool) -> NDArray[np.floating]:
    """(rows, columns) what a model predicts of rows, folded in by their entries; on the host.

    Parameters
    ----------
    model : Model
    rows : GappedArray or Observations
        In the data's units,
    unit : float
        of which this is the model's.
    robustly : bool
        Whether entries that are grossly wrong are to be left out.
    """
    with kernels.sharing_cores(model.factors.width):
        if isinstance(rows, GappedArray):
            if not robustly and model.scaling.side != "rows":
                return _predicted(model, rows, unit)
            rows = rows.observations()
        folded, _ = fold_in(model, _in_model_units(rows, unit), robustly=robustly)
    return np.asarray(in_units(folded, unit).dense())


def with_observed(completed: NDArray[np.floating], rows: Rows) -> NDArray[np.floating]:
    """Predictions (rows, columns) with the observed entries in their places, which they are written to."""
    values = rows.values if isinstance(rows, GappedArray) else rows.to(None).values
    completed = completed.astype(np.result_type(completed, values), copy=False)
    if isinstance(rows, GappedArray):
        np.copyto(completed, values, where=rows.observed)
    else:
        host = rows.to(None)
        completed[host.rows, host.cols] = values
    return completed


def score(model: Model, rows: Rows, unit: float, bounds: Bounds, spreads: Float, *, robustly: bool) -> float:
    """Minus the root mean square error on entries that are taken for missing, each once, over their columns' spreads.

    Parameters
    ----------
    model, rows, unit, robustly
        As of `predict`.
    bounds : Bounds
    spreads : (columns,) float64
    """
    with kernels.sharing_cores(model.factors.width):
        if isinstance(rows, GappedArray):
            if not robustly and model.scaling.side != "rows":
                return _score(model, rows, unit, bounds, spreads)
            rows = rows.observations()
        observations = rows.to(None)
        part, missed = _deal(observations), np.empty(observations.n_observed)
        for hidden in (part == i for i in range(PARTS)):
            held_out = observations.take(hidden)
            folded, _ = fold_in(model, _in_model_units(observations.take(~hidden), unit), robustly=robustly)
            predicted = in_units(folded, unit).at(held_out.rows, held_out.cols)
            missed[hidden] = bounds.clipped(predicted, held_out.cols) - held_out.values
    return -rms(missed / spreads[observations.cols])


def fold_in(
    model: Model, observations: Observations, *, robustly: bool, covariances: bool = False
) -> tuple[Factors, Float | None]:
    """`Model.fold_in` of NumPy observations in the model's units, by all entries or those that agree."""
    if robustly:
        return robust.fold_in(model, observations, covariances=covariances)
    return model.fold_in(observations, covariances=covariances)


def with_rows(model: Model, observations: Observations, which: NDArray[np.bool_]) -> Factors:
    """The factors with some rows (rows,) bool, that had no part in the fit, by their entries in the model's units."""
    factors = model.factors
    folded, _ = model.fold_in(observations.take(which[observations.rows]))
    bias = factors.row_bias
    if bias is not None:
        assert folded.row_bias is not None
        bias = np.where(which, folded.row_bias, bias)
    return replace(factors, U=np.where(which[:, None], folded.U, factors.U), row_bias=bias)


def _in_model_units(rows: Observations, unit: float) -> Observations:
    host = rows.to(None)
    return host.with_values(host.values / unit)


def _predicted(model: Model, table: GappedArray, unit: float) -> NDArray[np.floating]:
    """`predict` with a model without scaled rows."""
    out = np.empty(table.shape, _dtype(model))
    for rows, weights, values, room in _whitened(model, table, unit):
        _predict(model, RowEntries(weights, values), unit, out[rows], room)
    return out


def _score(model: Model, table: GappedArray, unit: float, bounds: Bounds, spreads: Float) -> float:
    """`score` of a model without scaled rows."""
    rng, squares = np.random.default_rng(0), 0.0
    for rows, weights, values, room in _whitened(model, table, unit):
        observed, truth = table.observed[rows], table.values[rows]
        dealt = _dealt(observed, rows.start, rng)
        out, missed = np.empty(truth.shape, _dtype(model)), np.zeros(truth.shape)
        for hidden in (dealt == i for i in range(PARTS)):
            kept = weights * ~hidden
            _predict(model, RowEntries(kept, kept * values), unit, out, room)
            np.copyto(missed, bounds.clipped(out), where=hidden)
        np.subtract(missed, truth, out=missed, where=observed)
        missed /= spreads
        squares += float(np.vdot(missed, missed))
    return -math.sqrt(squares / np.count_nonzero(table.observed))


def _deal(observations: Observations) -> NDArray[np.int64]:
    """(observed,) the part, 0 … PARTS − 1, that each entry is dealt to: a row's entries evenly, at random."""
    pointers = observations.pattern.by_row.indptr
    shuffled = np.lexsort((np.random.default_rng(0).random(observations.n_observed), observations.rows))
    part = np.empty(observations.n_observed, np.int64)
    part[shuffled] = (np.arange(observations.n_observed) - pointers[observations.rows] + observations.rows) % PARTS
    return part


def _dealt(observed: NDArray[np.bool_], first: int, rng: np.random.Generator) -> NDArray[np.int8]:
    """(rows, columns) the same of the next rows, which begin at `first`; −1 where nothing was observed."""
    m, n = observed.shape
    of_entries = np.full((m, n), 2.0)
    of_entries[observed] = rng.random(np.count_nonzero(observed))
    part = np.empty((m, n), np.int8)
    turns = ((np.arange(PARTS)[:, None] + np.arange(n)) % PARTS).astype(np.int8)
    np.put_along_axis(part, np.argsort(of_entries, axis=1), turns[(first + np.arange(m)) % PARTS], axis=1)
    part[~observed] = -1
    return part


def _whitened(model: Model, table: GappedArray, unit: float) -> Iterator[tuple[slice, Float, Float, Float]]:
    """Rows, a few at a time: which; weights of 0 and 1; (value − base) / noise, zero where nothing was observed; and
    room for their precisions. The arrays are the same ones each time."""
    given, (m, n) = model.row_model, table.shape
    base, precision, width = unit * given.base, 1 / (unit * given.noise), given.moments.shape[1]
    parts = list(row_solve.chunks(m, max(width, n), IN_CACHE))
    count = min(parts[0].stop, m)
    all_weights, all_values, room = np.empty((count, n)), np.empty((count, n)), np.empty((count, width))
    for part in parts:
        observed = table.observed[part]
        weights, values = all_weights[: len(observed)], all_values[: len(observed)]
        weights[:] = observed
        np.subtract(table.values[part], base, out=values)
        values *= precision
        np.copyto(values, 0, where=~observed)
        yield part, weights, values, room


def _dtype(model: Model) -> np.dtype[np.floating]:
    return np.result_type(model.factors.U, np.float32)


def _predict(model: Model, entries: RowEntries, unit: float, out: NDArray[np.floating], room: Float) -> None:
    factors = model.factors
    a, _ = model.row_model.posterior(entries, room=room)
    np.matmul(a, unit * factors.V.T, out=out, casting="same_kind")
    if factors.column_bias is not None:
        out += unit * factors.column_bias
