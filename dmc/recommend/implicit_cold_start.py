"""Users and items of clicks that have none yet: placed by what is known of them besides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc.factors import Factors
from dmc.observations import Observations
from dmc.recommend.all_pairs import confidence, line_sums
from dmc.recommend.side_information import SideInformation

Float = NDArray[np.float32]
Flags = NDArray[np.bool_] | None


@dataclass(frozen=True)
class ColdStartTuning:
    """How far attributes are believed.

    Chosen on clicks of MovieLens 100K (seeds 100–102), of which 300, 1,000 or 1,500 items are known by their clicks
    and all by genres and year: by lists of 20 from cold items (NDCG .25, .25, .25; by chance .03, .11, .03), from all
    (.216, .306, .395; with cold items left out .159, .290, .393), and by what lists lose where nobody chooses a cold
    one (.442, .419, .439 of .481, .439, .445).

    Attributes
    ----------
    ridge : float
        Rows of average weight that say attributes tell nothing, among 30, 100, 300.
    power : float
        Of a row's clicks, with which it counts, among 0, .5, 1: what few have chosen says less of where to expect new
        ones, but by clicks alone all new ones would be expected where the popular are.
    """

    ridge: float = 300.0
    power: float = 0.5


TUNING = ColdStartTuning()


def placed(factors: Factors, counts: Observations, attributes: SideInformation, among: tuple[Flags, Flags]) -> Factors:
    """Factors of clicks, with rows and columns without any where others of such attributes are on average.

    Parameters
    ----------
    factors : Factors
        Two-factor, float32.
    counts : Observations
    attributes : SideInformation
        Of rows and columns, of average zero; one of whom nothing is known has zeros alone, and stays.
    among : pair of (rows,) and (columns,) bool, or None
        Which ones may be placed; None: all.
    """
    pattern = counts.pattern
    sure = pattern.both_orders(confidence(counts.values))
    U, V = (
        side if known is None else _placed(np.asarray(side), line_sums(np.asarray(of), entries), known, some)
        for side, known, of, entries, some in zip(
            (factors.U, factors.V), attributes, sure, (pattern.by_row, pattern.by_column), among, strict=True
        )
    )
    return Factors(U, (), V)


def _placed(factor: Float, weights: NDArray[Any], attributes: Float, among: Flags) -> Float:
    """The factors of one side: ridge regression on those with clicks, whose clicks weigh so much (rows,) together."""
    new = (weights == 0) & attributes.any(axis=1)
    if among is not None:
        new &= among
    if not new.any() or not weights.any():
        return factor
    X = np.column_stack([np.ones(len(factor)), attributes]).astype(np.float64)
    w = weights**TUNING.power
    w = w / w[w > 0].mean()
    penalty = np.diag(np.append(1e-9, np.full(attributes.shape[1], TUNING.ridge)))
    W = np.linalg.solve((X.T * w) @ X + penalty, (X.T * w) @ factor.astype(np.float64))
    found = factor.copy()
    found[new] = X[new] @ W
    return found
