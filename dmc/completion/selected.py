"""What is chosen among: models fitted to part of the entries and to all, and what held-out entries said of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmc.completion.model import Model
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.pattern import SparseIndex

Float = NDArray[np.float64]


class Fitted(NamedTuple):
    """A model in the data's units: factors, and each column's noise where the fit has learnt it."""

    factors: Factors
    noise: Float | None


@dataclass(frozen=True)
class Candidate:
    """A kind of model, fitted to all but one part of the entries, and how it is fitted to all."""

    trained: Fitted
    finish: Callable[[], Fitted]


@dataclass(frozen=True, eq=False)
class Selected:
    """A fitted model, and what held-out entries said of it.

    Attributes
    ----------
    model : Model
    exact : bool
        Whether all entries are matched to rounding by fewer degrees of freedom.
    rank : int
        Of the widest block.
    ranks : (rows,) and (columns,) int arrays
        Entries of each line that its block takes to be determined: as many as an exact model is wide; of others one,
        for they lean on all lines.
    rows, cols : (held out,) integers
        Entries that were held out; of an exact model none are.
    errors, mean_errors, across_errors : (held out,) float64
        By which the kind of model that was chosen missed them, and the means of their columns, and of their rows; in
        the data's units.
    unexplained, unexplained_across : float
        Root mean square of the errors over that of the columns' means, and of the rows', in units of each line's
        spread.
    """

    model: Model
    exact: bool
    rank: int
    ranks: tuple[NDArray[np.int64], NDArray[np.int64]]
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    errors: Float
    mean_errors: Float
    across_errors: Float
    unexplained: float
    unexplained_across: float


def transposed(observations: Observations) -> Observations:
    pattern = observations.pattern
    return Observations(pattern.transposed, pattern.both_orders(observations.values).by_column)


def submatrix(
    observations: Observations, rows: NDArray[np.bool_], cols: NDArray[np.bool_]
) -> tuple[Observations, NDArray[np.bool_]]:
    """The NumPy observations in some rows and columns, numbered anew; and which (observed,) they are."""
    keep = rows[observations.rows] & cols[observations.cols]
    counts = np.bincount(observations.rows[keep], minlength=len(rows))[rows]
    number = np.cumsum(cols) - 1
    lines = SparseIndex(np.concatenate([[0], np.cumsum(counts)]), number[observations.cols[keep]])
    shape = int(rows.sum()), int(cols.sum())
    return Observations.from_lines(lines, observations.values[keep], shape), keep
