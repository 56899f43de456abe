"""A least-squares problem whose rows are dealt to several processes, and its factors in one piece again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dmc import _arrays
from dmc._group import Group
from dmc.factors import Array, Factors
from dmc.solver.dealt import DealtLeastSquares

__all__ = ["DealtLeastSquares", "gather_factors"]


def gather_factors(factors: Factors, group: Group) -> Factors:
    """Return the factors of all rows in every process; for factors that fit into memory.

    Parameters
    ----------
    factors : Factors
        U and row bias of this process's rows; the rest is the same in all processes.
    group : Group
        The processes, from `connected`.

    Returns
    -------
    Factors
        The rows of the processes one after another, in the order of the processes; on the device of `factors`.

    Examples
    --------
    >>> import numpy as np
    >>> import dmc
    >>> from dmc.distributed import connected, gather_factors
    >>> own = dmc.Factors(np.ones((4, 2)), (), np.ones((3, 2)))
    >>> with connected() as group:  # one process, as no launcher has started others
    ...     gather_factors(own, group).shape
    (4, 3)
    """

    def gathered(own: Array) -> Array:
        host = np.ascontiguousarray(_arrays.place(own, None))
        pieces = [piece.reshape(-1, *host.shape[1:]) for piece in group.gather(host.reshape(-1))]
        return _arrays.place(np.concatenate(pieces), factors.device)

    row_bias = None if factors.row_bias is None else gathered(factors.row_bias)
    return replace(factors, U=gathered(factors.U), row_bias=row_bias)
