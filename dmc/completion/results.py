"""What is chosen among: models fitted to part of the entries and to all, and what held-out entries said of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from dmc.completion.model import Model
from dmc.factors import Array, Factors
from dmc.observations import Observations
from dmc.pattern import SparseIndex
from dmc.solver.solution import Status

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """What `MatrixCompletion` was told of the model.

    Attributes
    ----------
    scale : {"auto", "none", "columns", "rows"}
    loss : {"squared", "robust"}
    bound : int
        Of the rank.
    depth : int
    fraction : float
        Held out.
    """

    scale: str
    loss: str
    bound: int
    depth: int
    fraction: float


class Fitted(NamedTuple):
    """A model in the data's units: factors, each column's noise where the fit has learnt it, and how the fit ended."""

    factors: Factors
    noise: Float | None
    status: Status = Status.CONVERGED


@dataclass(frozen=True)
class Candidate:
    """A kind of model, fitted to all but one part of the entries, and how it is fitted to all.

    Attributes
    ----------
    trained : Fitted
        To the part.
    finish : callable
        Fits it to all.
    exact : Fitted or None
        The exact model that it has led to.
    """

    trained: Fitted
    finish: Callable[[], Fitted]
    exact: Fitted | None = None


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What held-out entries said of the kind of model that was chosen; empty where none were held out.

    Attributes
    ----------
    rows, cols : (held out,) integers
    errors, mean_errors, across_errors : (held out,) float64
        By which that kind missed them, and the means of their columns, and of their rows; in the data's units.
    unexplained, unexplained_across : float
        Root mean square of the errors over that of the columns' means, and of the rows', in units of the spread of each
        row or column.
    """

    rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    cols: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    errors: Float = field(default_factory=lambda: np.zeros(0))
    mean_errors: Float = field(default_factory=lambda: np.zeros(0))
    across_errors: Float = field(default_factory=lambda: np.zeros(0))
    unexplained: float = 0.0
    unexplained_across: float = 0.0

    def transposed(self) -> HeldOut:
        return HeldOut(
            self.cols,
            self.rows,
            self.errors,
            self.across_errors,
            self.mean_errors,
            self.unexplained_across,
            self.unexplained,
        )

    @classmethod
    def together(
        cls, parts: Sequence[tuple[HeldOut, NDArray[np.int64], NDArray[np.int64]]], n_observed: Float
    ) -> HeldOut:
        """Of parts of a matrix, each with the rows and the columns that it has of the whole; of so many entries."""
        found = [one for one, _, _ in parts]
        share = n_observed / n_observed.sum()
        rows = np.concatenate([rows[one.rows] for one, rows, _ in parts])
        cols = np.concatenate([cols[one.cols] for one, _, cols in parts])
        return cls(
            rows,
            cols,
            np.concatenate([one.errors for one in found]),
            np.concatenate([one.mean_errors for one in found]),
            np.concatenate([one.across_errors for one in found]),
            float(share @ [one.unexplained for one in found]),
            float(share @ [one.unexplained_across for one in found]),
        )


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
        Entries of each row and column that its block takes to be determined: as many as an exact model is wide; of
        others one, for they lean on all rows and columns.
    held_out : HeldOut
    status : Status
        How the fit of the model ended.
    """

    model: Model
    exact: bool
    rank: int
    ranks: tuple[NDArray[np.int64], NDArray[np.int64]]
    held_out: HeldOut = field(default_factory=HeldOut)
    status: Status = Status.CONVERGED


def transposed(observations: Observations) -> Observations:
    """The same entries, of the transposed matrix."""
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


def filled(factors: Factors, observations: Observations) -> Factors:
    """NumPy factors in which a row or column of which nothing is known has the average of the others."""

    def fill(factor: Array | None, counts: Array) -> Any:
        known = counts > 0
        if factor is None or known.all() or not known.any():
            return factor
        return np.where(known[:, None] if factor.ndim > 1 else known, factor, factor[known].mean(0))

    rows, columns = observations.pattern.row_counts, observations.pattern.column_counts
    U, V = fill(factors.U, rows), fill(factors.V, columns)
    return Factors(U, (), V, fill(factors.row_bias, rows), fill(factors.column_bias, columns))


def rms(values: Array) -> float:
    """Root mean square, wherever the values are; NaN if there are none."""
    xp = array_namespace(values)
    return math.sqrt(float(xp.mean(xp.astype(values, xp.float64) ** 2))) if len(values) else math.nan


def rms_of_columns(values: Float, cols: Array, n: int) -> Float:
    """(columns,) that of the values in each column; NaN where there is none."""
    counts = np.bincount(cols, minlength=n)
    squares = np.bincount(cols, np.square(values), n)
    return np.asarray(np.where(counts > 0, np.sqrt(squares / np.maximum(counts, 1)), np.nan))
