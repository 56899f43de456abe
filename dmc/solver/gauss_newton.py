"""The Gauss–Newton system of a two-factor model, matrix-free: one pass of the kernel for a product with its matrix."""

from __future__ import annotations

from typing import Any, Protocol

import array_api_compat

from dmc.factors import Array, Factors

BLOCKED = 16  # widths up to it take the preconditioner of lines, whose Gram matrices cost width² / 2 columns of a pass


class Linearised(Protocol):
    """What the system asks of a problem: see `dmc.solver.problem.MaskedLeastSquares`."""

    @property
    def curvature(self) -> float: ...

    @property
    def homogeneous(self) -> Any: ...

    def line_grams(self, factors: Factors) -> tuple[Array, Array]: ...

    def average_grams(self, factors: Factors) -> tuple[Array, Array]: ...


def check_applies(step: str, problem: object, factors: Factors) -> None:
    """Two-factor models of masked least squares problems are what the system is for; the step says so."""
    if factors.cores or factors.row_bias is not None:
        raise ValueError(
            f"{step} moves two-factor models without cores and row biases; these are {factors!r}: start from "
            "factors.truncate(rank), or take DiscrepantDescent"
        )
    if not hasattr(problem, "line_grams"):
        raise TypeError(f"{step} is for MaskedLeastSquares and this is {type(problem).__name__}; take another step")


class NormalEquations:
    """(JᵀWJ + D) δ = −gradient at a two-factor model X̂ = U·Vᵀ, with J(dU, dV) = dU·Vᵀ + U·dVᵀ on the entries.

    J of a direction is itself a two-factor model, [dU U]·[V dV]ᵀ, so that the gradient of the problem with data of
    zero there holds JᵀWJ times the direction in two of its four blocks. A column bias c of the model is one more
    unknown of each column, beside its line of V, and adds 1·dcᵀ to J.

    Parameters
    ----------
    problem : MaskedLeastSquares
    factors : Factors
        Without cores and row bias.
    penalty : (width,) array, optional
        D: a ridge for each column of both factors, in the units of the curvature times U²; a bias has none.
    """

    def __init__(self, problem: Linearised, factors: Factors, penalty: Array | None = None) -> None:
        xp = array_api_compat.array_namespace(factors.U)
        self._homogeneous = problem.homogeneous
        self._factors = factors
        self._penalty = factors.U[0] * 0 if penalty is None else penalty
        self._blocked = factors.width <= BLOCKED and penalty is None
        k, of_rows = factors.width, self._penalty
        grams = list(problem.line_grams(factors) if self._blocked else problem.average_grams(factors))
        of_columns = of_rows if factors.column_bias is None else xp.concat([of_rows, of_rows[:1] * 0])
        grams[0] = grams[0][..., :k, :k]  # a bias that stands beside V is no unknown of the rows
        self._inverses = [
            inverse(gram + _diagonal(xp, d)) for gram, d in zip(grams, (of_rows, of_columns), strict=True)
        ]

    def product(self, direction: Factors) -> Factors:
        """(JᵀWJ + D) times a direction."""
        U, V, k = self._factors.U, self._factors.V, self._factors.width
        xp = array_api_compat.array_namespace(U)
        wide = xp.concat([direction.U, U], axis=1), (), xp.concat([V, direction.V], axis=1)
        _, grad = self._homogeneous.value_and_grad(Factors(*wide, column_bias=direction.column_bias))
        d = self._penalty
        dU, dV = grad.U[:, :k] + d * direction.U, grad.V[:, k:] + d * direction.V
        return Factors(dU, (), dV, column_bias=grad.column_bias)

    def precondition(self, residual: Factors) -> Factors:
        """The residual times the inverse of the matrix' diagonal blocks: of every line, or of their average."""
        xp, bias, k = array_api_compat.array_namespace(residual.U), residual.column_bias, residual.width
        columns = residual.V if bias is None else xp.concat([residual.V, bias[:, None]], axis=1)
        U, V = (
            (inverse @ side[:, :, None])[:, :, 0] if self._blocked else side @ inverse
            for inverse, side in zip(self._inverses, (residual.U, columns), strict=True)
        )
        return Factors(U, (), V[:, :k], column_bias=None if bias is None else V[:, k])

    def solve(self, gradient: Factors, tol: float, max_products: int) -> Factors:
        """The direction δ by preconditioned conjugate gradients, from zero.

        The matrix is singular (U and V may be turned against each other); from zero the iterates have no part in that.

        Parameters
        ----------
        gradient : Factors
        tol : float
            Of the preconditioned residual, relative to that at the start.
        max_products : int
            Products with the matrix at most.
        """
        delta = gradient.map(lambda g: 0 * g)
        residual = gradient.map(lambda g: -g)
        z = self.precondition(residual)
        direction, size = z, _dot(residual, z)
        goal = tol**2 * size
        for _ in range(max_products):
            if not size > goal:
                break
            product = self.product(direction)
            bend = _dot(direction, product)
            if not bend > 0:
                break
            length = size / bend
            delta = delta.map(lambda x, d, a=length: x + a * d, direction)
            residual = residual.map(lambda r, h, a=length: r - a * h, product)
            z = self.precondition(residual)
            previous, size = size, _dot(residual, z)
            direction = z.map(lambda x, d, b=size / previous: x + b * d, direction)
        return delta


def _dot(a: Factors, b: Factors) -> float:
    return sum(float((x * y).sum()) for x, y in zip(a.arrays, b.arrays, strict=True))


def _diagonal(xp: Any, values: Array) -> Array:
    return values * xp.eye(values.shape[0], dtype=values.dtype, device=array_api_compat.device(values))


def inverse(gram: Array) -> Array:
    """Inverses of one matrix or of many. Lines with few entries have singular ones and get a little ridge: of the size
    of what rounding leaves in their own, for theirs may be larger than all others together."""
    xp = array_api_compat.array_namespace(gram)
    k = gram.shape[-1]
    traces = xp.linalg.trace(gram)
    mean = xp.mean(traces)
    ridge = 100 * xp.finfo(gram.dtype).eps * xp.where(traces > mean, traces, traces * 0 + mean) / max(k, 1)
    ridge = xp.where(ridge > 0, ridge, ridge * 0 + 1)  # numbers that may live on a device: nobody waits for them
    eye = xp.eye(k, dtype=gram.dtype, device=array_api_compat.device(gram))
    return xp.linalg.inv(gram + ridge[..., None, None] * eye)
