"""A fit as a whole: the side that has units, its blocks, its outliers, and rows that count several times."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dmc.completion import tuning
from dmc.completion.blocks import select_blocks
from dmc.completion.phases import Phases
from dmc.completion.results import Selected, Settings
from dmc.completion.robust import select_robustly
from dmc.completion.scaling import Side, gain
from dmc.completion.selection import select
from dmc.observations import Observations

Float = NDArray[np.float64]


def fit(
    counted: Observations, weights: Float | None, settings: Settings, rng: np.random.Generator, phases: Phases
) -> tuple[Selected, NDArray[np.bool_]]:
    """Fit entries of about unit size.

    Returns
    -------
    Selected
    (observed,) bool
        Which entries it leaves out as grossly wrong.
    """
    side: Side = "rows" if settings.scale == "rows" else "columns"
    if settings.scale == "auto":
        host = counted.to(None)
        side = "columns" if gain(host, "columns") + tuning.SCALING.min_gain >= gain(host, "rows") else "rows"

    def fit_block(block: Observations, w: Float | None) -> Selected:
        return select(block, w, settings, side, rng, phases)

    choose = partial(select_blocks, select=fit_block)
    if settings.loss == "robust":
        return select_robustly(counted, weights, min(settings.bound, *counted.shape), side, phases, choose)
    return choose(counted, weights), np.zeros(counted.n_observed, bool)


def fit_repeated(
    counted: Observations,
    weights: Float | None,
    repeats: NDArray[np.int64] | None,
    settings: Settings,
    rng: np.random.Generator,
    phases: Phases,
) -> tuple[Selected, NDArray[np.bool_]]:
    """The same, of rows that stand there as often as they count (rows,); `weights` say it of the entries. If `repeats`
    is None each of them does once."""
    if repeats is None:
        return fit(counted, weights, settings, rng, phases)
    host = counted.to(None)
    often, origin = host.repeat_rows(repeats)
    selected, outliers = fit(often.to(counted.device), None, settings, rng, phases)
    model = selected.model.of_rows(origin, host.pattern, weights)
    of_rows = np.full(len(repeats), selected.ranks[0].max())
    of_rows[origin] = selected.ranks[0]
    selected = replace(
        selected,
        model=model,
        ranks=(of_rows, selected.ranks[1]),
        held_out=replace(selected.held_out, rows=origin[selected.held_out.rows]),
    )
    left_out = np.zeros(host.n_observed, bool)
    left_out[host.locate(origin[often.rows[outliers]], often.cols[outliers])] = True
    return selected, left_out
