"""Entries that are grossly wrong: found by what a model of the others leaves of them, and left out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dmc.completion import tuning
from dmc.completion.model import Model
from dmc.completion.phases import Phases
from dmc.completion.results import Selected, transposed
from dmc.completion.robust_path import MEDIAN_TO_DEVIATION, ReweightedPath, medians, trust
from dmc.completion.scaling import Scaling, Side
from dmc.completion.selection import too_large
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.solver.row_solve import LEAST_NOISE

Float = NDArray[np.float64]


def standardised_residuals(
    model: Model, observations: Observations, weights: Float | None = None, noise: Float | None = None
) -> Float:
    """(observed,) the size of each NumPy entry's residual over the typical one: of its line or of all, the larger, and
    not below the noise (lines,), if it is given: a wide model leaves less of it in the entries that were fitted."""
    predicted = np.asarray(model.factors.at(observations.rows, observations.cols))
    missed = np.abs(predicted.astype(np.float64) - observations.values)
    rows = model.scaling.side == "rows"
    at = observations.rows if rows else observations.cols
    scaled = missed / model.scaling.spread[at]
    if weights is not None:
        scaled = scaled * np.sqrt(weights)
    least = 0 if noise is None else noise / model.scaling.spread
    typical = MEDIAN_TO_DEVIATION * medians(scaled, at, len(model.scaling.spread))
    eps = float(np.finfo(observations.dtype).eps)
    rounding = 100 * eps * np.abs(observations.values).max(initial=0) / model.scaling.spread[at]
    overall = MEDIAN_TO_DEVIATION * float(np.median(scaled)) if len(scaled) else 0.0
    typical = np.maximum(np.maximum(typical, least), max(overall, 1e-300))
    return np.asarray(scaled / np.maximum(typical[at], rounding))


def gross(model: Model, observations: Observations, weights: Float | None = None) -> NDArray[np.int64]:
    """Positions among the entries of those so far from the others that the squared loss follows them.

    Those far from the model; none if there are too few to warn of, or if they are no more than the end of a long tail:
    then many lie half as far. And those apart from their column, however few, which the model may have followed.
    """
    deviations = standardised_residuals(model, observations, weights)
    far = tuning.ROBUST.gross_deviations
    found = deviations > far
    half = int((deviations > far / 2).sum())
    few = max(tuning.ROBUST.min_gross, tuning.ROBUST.min_gross_share * observations.n_observed, half / 2)
    if found.sum() < few:
        found[:] = False
    if model.scaling.side == "columns":
        found |= apart(observations)
    return np.flatnonzero(found)


def apart(observations: Observations) -> NDArray[np.bool_]:
    """(observed,) whether an entry is far from all others of its column, with none in between: a unit mistaken, or a
    decimal point. Long tails have some in between."""
    cols, n = np.asarray(observations.cols), observations.shape[1]
    values = np.asarray(observations.values, np.float64)
    off = np.abs(values - medians(values, cols, n)[cols])
    spread = MEDIAN_TO_DEVIATION * medians(off, cols, n)[cols]
    far, near = (off > limit * spread for limit in (tuning.ROBUST.apart, tuning.ROBUST.apart / 5))
    entries, far_ones, near_ones = (np.bincount(cols[of], minlength=n) for of in (spread > 0, far, near))
    some = (near_ones == far_ones) & (entries >= tuning.ROBUST.path_min_entries)
    few = far_ones <= np.maximum(1, tuning.ROBUST.apart_share * entries)
    return np.asarray(far & (some & few)[cols])


def select_robustly(
    observations: Observations,
    weights: Float | None,
    bound: int,
    side: Side,
    phases: Phases,
    select: Callable[[Observations, Float | None], Selected],
) -> tuple[Selected, NDArray[np.bool_]]:
    """Fit to the entries that agree with each other.

    A path that trusts entries the less the farther they lie from it says which may be wrong; a model of the others is
    fitted, and says anew, until nothing changes.

    Returns
    -------
    Selected
        Fitted without the outliers.
    (observed,) bool
        Which entries are outliers.
    """
    host = observations.to(None)
    outliers = np.zeros(host.n_observed, bool)
    if side == "rows":
        of_columns = None if weights is None else np.asarray(host.pattern.both_orders(weights).by_column)
        outliers[host.pattern.column_order] = _suspected(transposed(host), of_columns, bound, phases)
    else:
        outliers = _suspected(host, weights, bound, phases)
    seen: list[NDArray[np.bool_]] = []
    while True:
        seen.append(outliers)
        kept = None if weights is None else weights[~outliers]
        found = select(observations.take(~outliers), kept)
        deviations = standardised_residuals(found.model, host, weights, found.model.noise)
        deviations[outliers] = np.minimum(deviations[outliers], _predicted_deviations(found.model, host.take(outliers)))
        outliers = _minority(deviations, host)
        if phases.ended or len(seen) == tuning.ROBUST.rounds or any((outliers == before).all() for before in seen):
            return found, seen[-1]


def _predicted_deviations(model: Model, left_out: Observations) -> Float:
    """(entries,) of some that the model has not seen: residuals over what it says of its predictions there."""
    if too_large(model.factors):
        return np.full(left_out.n_observed, np.inf)
    rows, cols = np.asarray(left_out.rows), np.asarray(left_out.cols)
    missed = np.abs(np.asarray(model.factors.at(rows, cols)).astype(np.float64) - left_out.values)
    return np.asarray(missed / np.maximum(model.deviations(rows, cols), 1e-300))


def _suspected(host: Observations, weights: Float | None, bound: int, phases: Phases) -> NDArray[np.bool_]:
    """(observed,) entries far from where a path led that trusts such the less."""
    path = ReweightedPath(host, weights, bound)
    path.run(phases)
    return _minority(path.deviations, host)


def _minority(deviations: Float, host: Observations, columns: bool = True) -> NDArray[np.bool_]:
    """(observed,) outliers by their deviations, and of no line more than half: what is left has to tell the line."""
    outliers = deviations > tuning.ROBUST.deviations
    if columns:
        outliers &= ~_flags(host)
    for at in (host.rows, host.cols) if columns else (host.rows,):
        order = np.lexsort((-deviations, at))  # line by line, the largest first
        counts = np.bincount(at)
        place = np.empty(len(at), np.int64)
        place[order] = np.arange(len(at)) - np.repeat(np.cumsum(counts) - counts, counts)
        outliers &= place < counts[at] // 2
    return outliers


def fold_in(model: Model, observations: Observations, *, covariances: bool = False) -> tuple[Factors, Float | None]:
    """`Model.fold_in` of NumPy entries, as far as these agree with each other and with the columns."""
    trusted = np.ones(observations.n_observed)
    for _ in range(tuning.ROBUST.reweighted):
        folded, _ = model.fold_in(observations, trusted)
        predicted = np.asarray(folded.at(observations.rows, observations.cols))
        missed = np.abs(predicted.astype(np.float64) - observations.values)
        least = _noise(model, observations)
        typical = MEDIAN_TO_DEVIATION * medians(missed, observations.rows, observations.shape[0])
        trusted = trust(missed / np.maximum(typical[observations.rows], least))
    outliers = _minority(missed / least, observations, columns=False)
    return model.fold_in(observations.take(~outliers), covariances=covariances)


def _noise(model: Model, observations: Observations) -> Float:
    """(observed,) what an entry of a row may be off by: noise, or rounding."""
    eps = float(np.finfo(observations.dtype).eps)
    rounding = np.maximum(100 * eps, LEAST_NOISE) * np.abs(observations.values).max(initial=0)
    if model.scaling.side == "rows":
        noise = model.typical_noise * Scaling.of(observations, "rows").spread[observations.rows]
    else:
        noise = model.noise[observations.cols]
    return np.asarray(np.maximum(noise, max(rounding, 1e-300)))


def _flags(host: Observations) -> NDArray[np.bool_]:
    """(observed,) entries of columns with two values: the rarer one is no error."""
    n = host.shape[1]
    low, high = np.full(n, np.inf), np.full(n, -np.inf)
    np.minimum.at(low, host.cols, host.values)
    np.maximum.at(high, host.cols, host.values)
    between = (host.values != low[host.cols]) & (host.values != high[host.cols])
    return np.asarray((np.bincount(host.cols, between, n) == 0)[host.cols])
