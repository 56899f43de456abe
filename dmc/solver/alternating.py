"""One side of a two-factor model at a time, all of its lines at once: each a least squares problem of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import array_api_compat

from dmc.factors import Array, Factors
from dmc.solver.gauss_newton import inverse


class OfLines(Protocol):
    """What is asked of a problem: see `dmc.solver.problem.MaskedLeastSquares`."""

    def average_grams(self, factors: Factors) -> tuple[Array, Array]: ...

    def line_products(self, factors: Factors, side: int) -> Callable[[Array], Array]: ...


def towards_minimum(problem: OfLines, factors: Factors, gradient: Array, side: int, products: int) -> Array:
    """The lines of one side after some conjugate gradients towards their minimum, the other side fixed.

    Every line takes steps of its own length; what is common to all is the preconditioner, the average line's matrix.

    Parameters
    ----------
    problem : MaskedLeastSquares
    factors : Factors
        Without cores and biases.
    gradient : (lines, width) array
        By that side, at the factors.
    side : int
        0: U, 1: V.
    products : int
        Products with the lines' matrices: passes over the entries.
    """
    xp = array_api_compat.array_namespace(gradient)
    average = inverse(problem.average_grams(factors)[side])

    product = problem.line_products(factors, side)
    own = (factors.U, factors.V)[side]
    residual = -gradient
    direction = z = residual @ average
    size = xp.vecdot(residual, z)
    arrived = xp.finfo(gradient.dtype).eps * size  # what is left is rounding, which a singular system blows up
    for _ in range(products):
        bent = product(direction)
        length = _over(xp.where(size > arrived, size, size * 0), xp.vecdot(direction, bent))
        own = own + length * direction
        residual = residual - length * bent
        z = residual @ average
        previous, size = size, xp.vecdot(residual, z)
        direction = z + _over(size, previous) * direction
    return own


def _over(a: Array, b: Array) -> Any:
    """(lines, 1) a/b where b is positive, else 0: that line has arrived."""
    xp = array_api_compat.array_namespace(a)
    return xp.where(b > 0, a / xp.where(b > 0, b, b * 0 + 1), b * 0)[:, None]
