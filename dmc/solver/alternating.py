"""Alternating least squares: all rows of one side of a two-factor model at a time, each a problem of its own."""

from __future__ import annotations

from dataclasses import dataclass

from array_api_compat import array_namespace

from dmc import _checks
from dmc.factors import Array, Factors
from dmc.pattern import COLUMNS, ROWS
from dmc.solver.conjugate_gradients import conjugate_gradients
from dmc.solver.gauss_newton import check_applies, inverse
from dmc.solver.problem import MaskedLeastSquares
from dmc.solver.protocol import Problem, Step


@dataclass(frozen=True)
class AlternatingLeastSquares(Step):
    """Alternating least squares for a two-factor model: all rows, then all columns.

    This is how recommenders are often fitted. Each row's system is solved approximately, by a few conjugate gradient
    iterations from its present solution; no step raises the value.

    Parameters
    ----------
    products : int
        The largest number of passes over the entries for one side.

    References
    ----------
    G. Takács, I. Pilászy, D. Tikk, "Applications of the conjugate gradient method for implicit feedback collaborative
    filtering", 2011.

    Examples
    --------
    >>> import dmc
    >>> observed = dmc.datasets.planted((60, 50), rank=2, observed=0.4, noise=0.1).observations
    >>> problem, start = dmc.MaskedLeastSquares(observed, l2=0.1), dmc.initial.spectral(observed, rank=2)
    >>> dmc.solve(problem, start, dmc.steps.AlternatingLeastSquares()).status.name
    'CONVERGED'
    """

    products: int = 3

    def __post_init__(self) -> None:
        _checks.integer(self.products, "products", 1)

    def init(self, problem: Problem, factors: Factors) -> MaskedLeastSquares:
        return check_applies("AlternatingLeastSquares", problem, factors)

    def __call__(
        self, factors: Factors, value: float, grad: Factors, state: MaskedLeastSquares
    ) -> tuple[Factors, MaskedLeastSquares]:
        U = conjugate_gradient_rows(state, factors, grad.U, ROWS, self.products)
        factors = Factors(U, (), factors.V)
        by_V = state.side_gradient(factors, COLUMNS)
        return Factors(U, (), conjugate_gradient_rows(state, factors, by_V, COLUMNS, self.products)), state


def conjugate_gradient_rows(
    problem: MaskedLeastSquares, factors: Factors, gradient: Array, side: int, products: int
) -> Array:
    """Move the rows of one side towards their minimum by a few conjugate gradient iterations, the other side fixed.

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
