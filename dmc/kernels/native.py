"""The kernel in compiled code (dmc._core)."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from dmc import _checks
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
    """Compute the value and the whole gradient of a `MaskedLeastSquares` in one call."""
    run = core.value_and_grad if gather_dtype is None else core.value_and_grad_bfloat16
    f, cores = factors, [plain(W) for W in factors.cores]
    biases = (None if b is None else plain(b) for b in (f.row_bias, f.column_bias))
    w, penalties = (None, None) if weights is None else weights, (None, None) if l2 is None else l2
    entries = pattern.prepared(ROWS), pattern.prepared(COLUMNS)
    value, *gradient = run(*entries, plain(f.U), cores, plain(f.V), *biases, *target, *w, *penalties)
    return value, Factors(*gradient)


def solve_normal_equations(
    left: Real,
    right: Real,
    pattern: Pattern,
    weights: Real | None,
    curvature: float,
    l2: tuple[Real, Real],
    ridges: tuple[Real | None, Real | None],
    of_lines: bool,
    gradient: tuple[Real, Real],
    tol: float,
    max_products: int,
) -> tuple[Real, Real]:
    """Solve `dmc.solver.gauss_newton.NormalEquations` in one call: (rows, k) and (columns, k).

    Parameters
    ----------
    left, right : (rows, column unknowns) and (columns, row unknowns) arrays
    weights : (observed,) array or None
        In row order.
    curvature : float
        Mean weight of an entry of the whole matrix.
    l2 : pair of arrays
        A ridge for each row, and each column.
    ridges : pair of arrays or None
        A ridge for each unknown of a row, and of a column, the same for all of them.
    of_lines : bool
        Whether the preconditioner has the diagonal blocks of all rows and columns, or their averages.
    gradient : pair of arrays
        (rows, row unknowns) and (columns, column unknowns).
    tol, max_products
        As there. With a loose tolerance it computes in single precision.
    """
    entries = pattern.prepared(ROWS), pattern.prepared(COLUMNS)
    model = pattern.column_order, plain(left), plain(right), weights
    system = curvature, *l2, *ridges, of_lines, *map(plain, gradient)
    rows, columns, _ = core.solve_normal_equations(*entries, *model, *system, tol, max_products)
    return rows, columns


def describe() -> str:
    return f"C++, {core.instruction_set()}, {_checks.count(core.max_threads(), 'thread')}"
