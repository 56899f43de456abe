"""The kernel in compiled code (dmc._core)."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from dmc._extensions import core
from dmc.factors import Factors
from dmc.pattern import COLUMNS, ROWS, BothOrders, Pattern, plain

Real = NDArray[Any]  # float32 or float64


def masked_product(left: Real, right: Real, pattern: Pattern) -> Real:
    out: Real = core.masked_product(pattern.prepared(ROWS), plain(left), plain(right))
    return out


def weighted_sums(side: int, other: Real, pattern: Pattern, coefficients: Real | None = None) -> Real:
    sums: Real = core.weighted_sums(pattern.prepared(side), plain(other), coefficients)
    return sums


def residual_gradient(
    side: int,
    own: Real,
    other: Real,
    pattern: Pattern,
    target: Real | None = None,
    weights: Real | None = None,
    gather_dtype: str | None = None,
) -> tuple[float, Real]:
    run = core.residual_gradient if gather_dtype is None else core.residual_gradient_bfloat16
    loss, d_own = run(pattern.prepared(side), plain(own), plain(other), target, weights)
    return loss, d_own


def value_and_grad(
    factors: Factors,
    pattern: Pattern,
    target: BothOrders,
    weights: BothOrders | None,
    l2: tuple[Real, Real] | None,
    gather_dtype: str | None = None,
) -> tuple[float, Factors]:
    """A whole step's share of a `MaskedLeastSquares` in one call: its value, and its gradient by every factor."""
    run = core.value_and_grad if gather_dtype is None else core.value_and_grad_bfloat16
    f = factors.map(plain)
    w, penalties = (None, None) if weights is None else weights, (None, None) if l2 is None else l2
    entries = pattern.prepared(ROWS), pattern.prepared(COLUMNS)
    value, *gradient = run(*entries, f.U, f.cores, f.V, f.row_bias, f.column_bias, *target, *w, *penalties)
    return value, Factors(*gradient)


def solve_normal_equations(
    left: Real,
    right: Real,
    pattern: Pattern,
    weights: Real | None,
    diagonal: Real,
    blocks: tuple[Real, Real],
    right_side: Real,
    tol: float,
    max_products: int,
) -> Real:
    """The whole solve of `dmc.solver.gauss_newton.NormalEquations` in one call.

    Parameters
    ----------
    left, right : (rows, column unknowns) and (columns, row unknowns) arrays
    weights : (observed,) array or None
        In row order.
    diagonal, right_side : (unknowns,) arrays
    blocks : pair of arrays
        The matrix' diagonal blocks of the rows and of the columns, packed upper triangles (rows, k(k+1)/2), which
        get a little ridge; or an inverse (1, k, k) that is common to all.
    tol, max_products
        See there.
    """
    entries = pattern.prepared(ROWS), pattern.prepared(COLUMNS)
    sides = plain(left), plain(right)
    given = (pattern.column_order, *sides, weights, diagonal, *blocks, right_side)
    solution: Real = core.solve_normal_equations(*entries, *given, tol, max_products)[0]
    return solution


def describe() -> str:
    return f"C++, {core.instruction_set()}, {core.max_threads()} threads"
