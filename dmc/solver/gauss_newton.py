"""Gauss–Newton steps of a two-factor model, and their linear system: matrix-free, on flat arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from array_api_compat import array_namespace, device as where

from dmc import _checks
from dmc._group import ALONE, Group
from dmc._locks import cached_property
from dmc.factors import Array, Factors
from dmc.pattern import COLUMNS, ROWS
from dmc.solver.conjugate_gradients import conjugate_gradients
from dmc.solver.problem import MaskedLeastSquares
from dmc.solver.protocol import Problem, Step

SHORT = 1e-3  # share of the average block that goes to one of fewer entries than unknowns; as kShort in the core
BLOCKED = 16  # widths up to it take the preconditioner of rows, whose Gram matrices cost width² / 2 columns of a pass


def check_applies(step: str, problem: Problem, factors: Factors) -> MaskedLeastSquares:
    """Return the problem if the linear system is defined for it and the model is a two-factor one; else raise."""
    if not isinstance(problem, MaskedLeastSquares):
        raise TypeError(
            f"{step} is for MaskedLeastSquares and this is {type(problem).__name__}, whose linear systems it does not "
            "know; use DiscrepantDescent, ScaledDescent or Adam, which need value and gradient alone"
        )
    if factors.cores or factors.row_bias is not None:
        raise ValueError(
            f"{step} moves two-factor models without cores and row biases; these are {factors!r}: start from "
            "factors.truncate(rank), or use DiscrepantDescent"
        )
    return problem


@dataclass(frozen=True)
class GaussNewton(Step):
    """Gauss–Newton steps for a two-factor model: superlinear convergence at any condition number.

    Superlinear, that is, where the entries can be matched exactly. Each step solves the linearised least squares
    problem, matrix-free, by preconditioned conjugate gradients: loosely far from the solution, and more exactly the
    closer it is (Eisenstat & Walker, 1996). Put `Backtracking` around it, and solve with ``check_every=1``.

    Parameters
    ----------
    tol : float
        Relative residual of the loosest solve.
    max_products : int
        The largest number of passes over the entries per step.

    Notes
    -----
    It works with `MaskedLeastSquares`, and with problems that define ``normal_equations(factors)``: an object whose
    ``solve(gradient, tol, max_products)`` returns the approximate solution δ of JᵀJ·δ = −gradient.

    References
    ----------
    P. Zilber, B. Nadler, "GNMR: a provable one-line algorithm for low rank matrix recovery", 2022 (arXiv 2106.12933).

    Examples
    --------
    >>> import dmc
    >>> observed = dmc.datasets.planted((60, 50), rank=2, observed=0.4, condition=10).observations
    >>> step = dmc.steps.Backtracking(dmc.steps.GaussNewton())
    >>> start = dmc.initial.spectral(observed, rank=2)
    >>> solution = dmc.solve(dmc.MaskedLeastSquares(observed), start, step, check_every=1)
    >>> solution.status.name, solution.n_steps < 50
    ('CONVERGED', True)
    """

    tol: float = 0.1
    max_products: int = 100

    def __post_init__(self) -> None:
        _checks.real(self.tol, "tol", 0, 1, open_ends=True)
        _checks.integer(self.max_products, "max_products", 1)

    def init(self, problem: Problem, factors: Factors) -> tuple[Callable[[Factors], Equations], float]:
        own: Callable[[Factors], Equations] | None = getattr(problem, "normal_equations", None)
        return own or partial(NormalEquations, check_applies("GaussNewton", problem, factors)), math.inf

    def __call__(
        self, factors: Factors, value: float, grad: Factors, state: tuple[Callable[[Factors], Equations], float]
    ) -> tuple[Factors, tuple[Callable[[Factors], Equations], float]]:
        equations, before = state
        value = float(value)
        floor = math.sqrt(float(array_namespace(grad.U).finfo(grad.U.dtype).eps))
        # What the last step gained, this one's solve may miss; below the floor there is only rounding.
        tol = max(min(self.tol, math.sqrt(value / before)), floor) if 0 < before < math.inf else self.tol
        delta = equations(factors).solve(grad, tol, self.max_products)
        return factors.map(lambda a, d: a + d, delta), (equations, value)


class Equations(Protocol):
    """The linear system of one Gauss–Newton step."""

    def solve(self, gradient: Factors, tol: float, max_products: int) -> Factors:
        """Solve JᵀJ·δ = −gradient approximately, to a relative residual or a number of products."""
        ...


class NormalEquations:
    """(JᵀWJ + D) δ = −gradient at a two-factor model X̂ = U·Vᵀ, with J(dU, dV) = dU·Vᵀ + U·dVᵀ on the entries.

    J applied to a direction is itself a two-factor model, [dU U]·[V dV]ᵀ: one product at the entries, then weighted
    sums of V for the rows and of U for the columns. A column bias c of the model is one more unknown of each column,
    beside its row of V, and adds 1·dcᵀ to J: the other side of V is then [U 1].

    Unknowns are one flat array: dU row by row, then dV, each row with its bias.

    Parameters
    ----------
    problem : MaskedLeastSquares
    factors : Factors
        Without cores and row bias.
    penalty : (width,) array, optional
        D: a ridge for each column of both factors, in the units of the curvature times U²; a bias has none.
    """

    def __init__(self, problem: MaskedLeastSquares, factors: Factors, penalty: Array | None = None) -> None:
        self._problem, self._biased = problem, factors.column_bias is not None
        self._left, self._right = factors.left, factors.V  # what the columns' unknowns, and the rows', stand beside
        self._penalty = penalty
        self._kernel = problem.kernel_for(self._left.shape[1] + self._right.shape[1])
        self.blocked: bool = factors.width <= BLOCKED and penalty is None

    @cached_property
    def _ridges(self) -> tuple[Array, Array]:
        """(k,) diagonal of D for the unknowns of each row, and of each column."""
        xp = array_namespace(self._left)
        # The last number is the bias'.
        of_columns = xp.zeros(self._left.shape[1], dtype=self._left.dtype, device=where(self._left))
        of_rows = of_columns[: self._right.shape[1]] if self._penalty is None else self._penalty
        return of_rows, xp.concat([of_rows, of_columns[self._right.shape[1] :]])

    @cached_property
    def _diagonal(self) -> Array:
        """(unknowns,) the diagonal of D."""
        l2, (of_rows, of_columns) = self._problem.l2, self._ridges
        return self._flat(l2[ROWS][:, None] + of_rows, l2[COLUMNS][:, None] + of_columns)

    @cached_property
    def _inverses(self) -> tuple[Array, ...]:
        """Inverses of the diagonal blocks, (rows, k, k) and (columns, k, k), or of their averages, (1, k, k) each."""
        others = enumerate((self._right, self._left))
        if self.blocked:
            dealt = self._problem.group, ALONE
            return tuple(inverse(self._block_of_each(side, other), dealt[side]) for side, other in others)
        return tuple(
            inverse(self._problem.average_gram(side, other) + _diagonal(ridge))[None]
            for (side, other), ridge in zip(others, self._ridges, strict=True)
        )

    def _block_of_each(self, side: int, other: Array) -> Array:
        """(rows, k, k) or (columns, k, k) diagonal blocks, made regular. The block of a row with fewer entries than
        unknowns is singular, and its inverse would send the row far off: it gets a share of the average block.
        """
        xp = array_namespace(other)
        short = xp.astype(self._problem.counts(side) < other.shape[1], other.dtype)
        share = SHORT * short[:, None, None]
        return self._problem.grams(side, other) + share * self._problem.average_gram(side, other)

    def flatten(self, factors: Factors) -> Array:
        """(unknowns,) array from a direction or gradient."""
        return self._flat(*_sides(factors))

    def unflatten(self, unknowns: Array) -> Factors:
        return self._factors(*self._parts(unknowns))

    def _factors(self, rows: Array, columns: Array) -> Factors:
        k = rows.shape[1]
        return (
            Factors(rows, (), columns[:, :k], column_bias=columns[:, k]) if self._biased else Factors(rows, (), columns)
        )

    def _flat(self, rows: Array, columns: Array) -> Array:
        return array_namespace(rows).concat([rows.reshape(-1), columns.reshape(-1)])

    def _parts(self, unknowns: Array) -> tuple[Array, Array]:
        """(rows, k) and (columns, k), the latter with biases."""
        (m, column_width), (n, row_width) = self._left.shape, self._right.shape
        return unknowns[: m * row_width].reshape(m, row_width), unknowns[m * row_width :].reshape(n, column_width)

    def product(self, direction: Array) -> Array:
        """(unknowns,) product of JᵀWJ + D with a direction."""
        rows, columns = self._parts(direction)
        problem, left, right = self._problem, self._left, self._right
        pattern, weights, xp = problem.pattern, problem.weights, array_namespace(direction)
        along = self._kernel.masked_product(
            xp.concat([rows, left], axis=1), xp.concat([right, columns], axis=1), pattern
        )
        both = pattern.both_orders(along if weights is None else weights.by_row * along)
        of_rows = self._kernel.weighted_sums(ROWS, right, pattern, both.by_row)
        of_columns = self._kernel.weighted_sums(COLUMNS, left, pattern, both.by_column)
        if problem.unobserved_weight:
            everywhere = rows @ (right.T @ right) + left @ (columns.T @ right)
            of_rows = of_rows + problem.unobserved_weight * everywhere
            everywhere = columns @ (left.T @ left) + right @ (rows.T @ left)
            of_columns = of_columns + problem.unobserved_weight * everywhere
        return self._flat(of_rows, problem.group.sum(of_columns)) + self._diagonal * direction

    def _dot(self, a: Array, b: Array) -> Array:
        """(1,) inner product of (1, unknowns) arrays; only the first process adds the columns, which all have."""
        group, rows = self._problem.group, self._left.shape[0] * self._right.shape[1]
        own = slice(None) if group.rank == 0 else slice(rows)
        return group.sum(array_namespace(a).vecdot(a[:, own], b[:, own]))

    def precondition(self, residual: Array) -> Array:
        """(unknowns,) product of a residual with the inverse diagonal blocks, of every row or averaged."""
        parts = zip(self._inverses, self._parts(residual), strict=True)
        of_rows, of_columns = (
            (inverse @ side[:, :, None])[:, :, 0] if len(inverse) != 1 else side @ inverse[0] for inverse, side in parts
        )
        return self._flat(of_rows, of_columns)

    def solve(self, gradient: Factors, tol: float, max_products: int) -> Factors:
        """Solve for the direction δ by preconditioned conjugate gradients, from zero.

        The matrix is singular, as U and V may be rotated against each other; from zero the iterates stay out of its
        null space.

        Parameters
        ----------
        gradient : Factors
        tol : float
            Of the preconditioned residual, relative to that at the start.
        max_products : int
            Products with the matrix at most.
        """
        problem = self._problem
        simple = problem.group.size == 1 and not problem.unobserved_weight
        native = getattr(self._kernel, "solve_normal_equations", None) if simple else None
        if native is None:
            found = conjugate_gradients(
                lambda d: self.product(d[0])[None],
                lambda r: self.precondition(r[0])[None],
                -self.flatten(gradient)[None],
                tol,
                max_products,
                self._dot,
            )
            return self.unflatten(found[0])
        weights = None if problem.weights is None else problem.weights.by_row
        ridges = (None, None) if self._penalty is None else self._ridges
        model = self._left, self._right, problem.pattern, weights, problem.curvature, problem.l2
        return self._factors(*native(*model, ridges, self.blocked, _sides(gradient), tol, max_products))


def _sides(factors: Factors) -> tuple[Array, Array]:
    """(rows, k) and (columns, k), the latter with biases."""
    V, bias = factors.V, factors.column_bias
    return factors.U, V if bias is None else array_namespace(V).concat([V, bias[:, None]], axis=1)


def _diagonal(values: Array) -> Array:
    return values * array_namespace(values).eye(len(values), dtype=values.dtype, device=where(values))


def inverse(gram: Array, group: Group = ALONE) -> Array:
    """Invert one matrix or many. Rows with few entries have singular ones, which get a small ridge, of the size of the
    rounding error in each: it may be larger than all the others together. The others are those of all processes.
    """
    xp = array_namespace(gram)
    k = gram.shape[-1]
    traces = xp.linalg.trace(gram)
    mean = xp.mean(traces) if group.size == 1 else group.sum(xp.sum(traces)) / int(group.sum(len(traces)))
    ridge = 100 * xp.finfo(gram.dtype).eps * xp.where(traces > mean, traces, traces * 0 + mean) / max(k, 1)
    ridge = xp.where(ridge > 0, ridge, ridge * 0 + 1)  # numbers that may live on a device: nobody waits for them
    eye = xp.eye(k, dtype=gram.dtype, device=where(gram))
    ridge = xp.astype(ridge, gram.dtype)  # of a single matrix it is a number, which NumPy 1 has made float64
    return xp.linalg.inv(gram + ridge[..., None, None] * eye)
