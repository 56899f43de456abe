"""One side of a two-factor model at a time, all of its rows at once: each a least squares problem of its own."""

from __future__ import annotations

from array_api_compat import array_namespace

from dmc.factors import Array, Factors
from dmc.pattern import COLUMNS
from dmc.solver.conjugate_gradients import conjugate_gradients
from dmc.solver.gauss_newton import inverse
from dmc.solver.problem import MaskedLeastSquares


def conjugate_gradient_rows(
    problem: MaskedLeastSquares, factors: Factors, gradient: Array, side: int, products: int
) -> Array:
    """The rows of one side after some conjugate gradients towards their minimum, the other side fixed.

    Every row takes steps of its own length; what is common to all is the preconditioner, the average row's matrix.

    Parameters
    ----------
    problem : MaskedLeastSquares
    factors : Factors
        Without cores and biases.
    gradient : (rows, width) array
        By that side, at the factors.
    side : int
        ROWS: those of U; COLUMNS: those of V.
    products : int
        Products with the rows' matrices: passes over the entries.
    """
    average = inverse(problem.average_gram(side, factors.U if side == COLUMNS else factors.V))
    rounding = array_namespace(gradient).finfo(gradient.dtype).eps ** 0.5  # which a singular system would blow up
    product = problem.gram_products(factors, side)
    move = conjugate_gradients(product, lambda r: r @ average, -gradient, rounding, products)
    return (factors.U, factors.V)[side] + move
