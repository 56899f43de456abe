"""A problem whose rows are dealt among processes, and its factors in one piece again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dmc import _arrays
from dmc._group import Group
from dmc.factors import Array, Factors
from dmc.solver.dealt import DealtLeastSquares

__all__ = ["DealtLeastSquares", "gather_factors"]


def gather_factors(factors: Factors, group: Group) -> Factors:
    """The factors of all rows, in every process: for small ones.

    Parameters
    ----------
    factors : Factors
        U and row bias of own rows; what is left is the same in all processes.
    group : Group

    Returns
    -------
    Factors
        The rows of one process after those of the other, in the order of the processes; where the factors were.
    """

    def gathered(own: Array) -> Array:
        host = np.ascontiguousarray(_arrays.place(own, None))
        pieces = [piece.reshape(-1, *host.shape[1:]) for piece in group.gather(host.reshape(-1))]
        return _arrays.place(np.concatenate(pieces), factors.device)

    row_bias = None if factors.row_bias is None else gathered(factors.row_bias)
    return replace(factors, U=gathered(factors.U), row_bias=row_bias)
