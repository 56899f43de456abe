"""When a model is exact: its entries matched to rounding, and no other of its rank could match them."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from dmc import _arrays
from dmc.completion import tuning
from dmc.completion.results import rms
from dmc.factors import Array, Factors
from dmc.identifiability import Identifiability, stripped
from dmc.observations import Observations
from dmc.solver.gauss_newton import NormalEquations
from dmc.solver.problem import MaskedLeastSquares

Mask = NDArray[np.bool_]


class Exactness:
    """What can be said of models that match the entries of one problem.

    Parameters
    ----------
    problem : MaskedLeastSquares
        Of entries of about unit size.
    intercept : bool
        Whether each column has a bias of its own.
    rounding : (columns,) array, optional
        Size of the rounding of the entries, where it is more than that of their own size: of data that were shifted.
    rng : numpy.random.Generator
        Of random signs and directions.
    """

    def __init__(
        self, problem: MaskedLeastSquares, intercept: bool, rounding: Array | None, rng: np.random.Generator
    ) -> None:
        self.problem, self.observations, self.intercept = problem, problem.observations, intercept
        self._rounding, self._rng = rounding, rng
        self.size = rms(self.observations.values)
        counts = self.observations.pattern.row_counts, self.observations.pattern.column_counts
        self.filled = tuple(int((count > 0).sum()) for count in counts)  # the others have no part in it

    def freedom(self, rank: int, shape: tuple[int, ...] | None = None) -> int:
        """Degrees of freedom of a model, of the rows and columns with entries or of so many."""
        m, n = shape or self.filled
        return rank * (m + n - rank) + (n - rank if self.intercept else 0)

    def oversampling(self, rank: int) -> float:
        """Observed entries for each degree of freedom of a rank; with nothing missing there are always enough."""
        n_observed = self.observations.n_observed
        return math.inf if n_observed == math.prod(self.filled) else n_observed / self.freedom(rank)

    def left(self, model: Factors) -> Observations:
        """What a model leaves of the entries."""
        return left(self.problem, model)

    def is_noise(self, residual: Observations) -> bool:
        """Whether residuals have hardly a larger spectral norm than with random signs, which leave no structure but
        noise in them.

        Rows and columns weigh the same: else the largest ones decide, with any signs.

        D. Hong, Y. Sheng, E. Dobriban, "Selecting the number of components in PCA via random signflips", 2020.
        """
        if residual.n_observed < tuning.RANK_SEARCH.min_signflip_entries:
            return False
        host = residual.to(None)
        values = np.asarray(host.values).astype(np.float64)
        for at, count in zip((host.rows, host.cols), host.shape, strict=True):
            size = np.sqrt(np.bincount(at, values * values, count) / np.maximum(np.bincount(at, minlength=count), 1))
            values = values / np.where(size > 0, size, 1.0)[at]
        signs = self._rng.choice([-1.0, 1.0], len(values))
        norm, by_chance = (host.with_values(some).spectral_norm() for some in (values, values * signs))
        return norm <= tuning.RANK_SEARCH.signflip_ratio * by_chance

    def to_rounding(self, residual: Observations) -> bool:
        """Whether no more is left of entries than rounding leaves.

        Above what their last bits leave, and below what a last step does, it is noise by its signs, or a direction yet
        to be found: the tenth decade of a condition number.
        """
        missed = rms(residual.values)
        if missed > self._tolerance * self.size:
            return False
        if missed <= self._last_bits * self.size or residual.n_observed < tuning.RANK_SEARCH.min_signflip_entries:
            return True
        return self.is_noise(residual)

    @cached_property
    def _last_bits(self) -> float:
        eps = float(array_namespace(self.observations.values).finfo(self.observations.dtype).eps)
        shifted = 0.0 if self._rounding is None else float(np.sqrt(np.mean(self._rounding**2)))
        return 30 * math.hypot(eps, shifted)

    @property
    def _tolerance(self) -> float:
        """What a match to rounding leaves of the entries at most, over their size."""
        return math.hypot(self._last_bits, tuning.RANK_SEARCH.last_step)

    def matched(self, model: Factors) -> bool:
        """Whether the entries are matched to rounding, those of each row and of each column by their own size."""
        residual = self.left(model)
        if not self.to_rounding(residual):
            return False
        missed, values = (_arrays.place(o.values, None).astype(np.float64) for o in (residual, self.observations))
        pattern = self.observations.pattern.to(None)
        loose = max(tuning.RANK_SEARCH.row_rounding, 1e3 * self._tolerance)
        for at, count in zip((pattern.rows, pattern.cols), pattern.shape, strict=True):
            of_missed, size = (np.bincount(at, x * x, count) for x in (missed, values))
            if (of_missed > loose**2 * size).any():
                return False
        return True

    def certain(self, model: Factors) -> bool:
        """Whether the entries are matched, and it is no accident: by fewer degrees of freedom where rows and columns
        check each other; without a direction of its own for a row or column with gaps, which would match whatever it
        holds; and so that no movement of the model keeps the entries and changes others."""
        if self._tolerance > tuning.RANK_SEARCH.max_rounding or not self.matched(model):
            return False
        return self._checked(model) and not self.apart(model) and not self.movable(model)

    def _checked(self, model: Factors) -> bool:
        """Whether there are entries to spare among the rows and columns that have more than tell them alone, and these
        have part in all directions."""
        pattern, rank = self.observations.pattern.to(None), model.width
        if pattern.n_observed == math.prod(self.filled):
            return True
        rows, cols = stripped(pattern, rank, rank + self.intercept)
        inside = int(np.count_nonzero(rows[pattern.rows] & cols[pattern.cols]))
        needed = tuning.RANK_SEARCH.min_oversampling * self.freedom(rank, (int(rows.sum()), int(cols.sum())))
        if inside == 0 or inside < needed:
            return False
        host = model.to(None)
        s = Factors(host.U[rows], (), host.V[cols]).singular_values()
        missed = max(rms(self.left(model).values) / self.size, float(np.finfo(s.dtype).eps))
        return bool(s[-1] > tuning.RANK_SEARCH.direction_rounding * missed * s[0])

    def apart(self, model: Factors) -> bool:
        """Whether a row or column with gaps has a direction of its own, which matches whatever it holds."""
        pattern, (m, n) = self.observations.pattern.to(None), self.filled
        for side, counts, others in ((model.U, pattern.row_counts, n), (model.V, pattern.column_counts, m)):
            Q, R = np.linalg.qr(_arrays.place(side, None).astype(np.float64))
            own = np.square(Q[:, np.abs(np.diag(R)) > 0]).sum(axis=1)
            if ((own > tuning.RANK_SEARCH.own_direction) & (counts > 0) & (counts < others)).any():
                return True
        return False

    def movable(self, model: Factors) -> bool:
        """Whether the model can be moved, to first order, so that other entries change and no observed one does.

        A random movement, less the one that the observed entries determine of it, found by conjugate gradients: what
        is left of it shows in entries that nothing determines. Rows and columns with fewer entries than unknowns do not
        count. Where the system is so ill-conditioned that the solve is not done in time, nothing is said against it.

        A. Singer, M. Cucuringu, "Uniqueness of low-rank matrix completion by rigidity theory", 2010 (arXiv 0902.3846).
        """
        pattern = self.observations.pattern.to(None)
        if pattern.n_observed == math.prod(self.filled):
            return False
        (m, n), xp = model.shape, array_namespace(model.U)
        P, _, Q = model.svd()  # movements depend on the spaces alone
        model = replace(model, U=P * math.sqrt(m), V=Q * math.sqrt(n))
        system = NormalEquations(MaskedLeastSquares(self.observations), model)
        movement = system.flatten(model.map(self._drawn))
        told = system.unflatten(-system.product(movement))
        # One direction in so many, if it is free, is left whole.
        least, eps = tuning.RANK_SEARCH.free_movement / math.sqrt(len(movement)), float(xp.finfo(P.dtype).eps)
        blocks = self._blocks(model.width)
        of_all = [_change(model, system.unflatten(movement), *block) for block in blocks]
        for tol in (max(least / 10, math.sqrt(eps)), math.sqrt(eps)):
            free = movement - system.flatten(system.solve(told, tol, tuning.RANK_SEARCH.movement_products))
            changed = [_change(model, system.unflatten(free), *block) for block in blocks]
            moved = [some for some, whole in zip(changed, of_all, strict=True) if some > least * whole]
            if not moved:
                return False
        seen = math.sqrt(abs(float(free @ system.product(free))) / pattern.n_observed)
        return seen < tuning.RANK_SEARCH.movement_rounding * max(moved)

    def _drawn(self, like: Array) -> Array:
        """Random numbers of the form of an array."""
        drawn = self._rng.standard_normal(like.shape).astype(_arrays.numpy_dtype(like.dtype))
        return _arrays.place(drawn, self.observations.device)

    def _blocks(self, rank: int) -> list[tuple[Mask, Mask]]:
        """The rows and columns of each block that the pattern determines."""
        found = Identifiability.of(self.observations.pattern, rank, (rank, rank + self.intercept))
        return [(found.row_blocks == block, found.column_blocks == block) for block in range(found.n_blocks)]


def _change(model: Factors, movement: Factors, rows: Mask, cols: Mask) -> float:
    """Root mean square change of some rows' and columns' entries, to first order, where a model moves."""
    own, by = model.to(None), movement.to(None)
    left, right = [by.U, own.left], [own.V, by.V]
    if by.column_bias is not None:
        right.append(by.column_bias[:, None])
    U, V = np.concatenate(left, axis=1)[rows], np.concatenate(right, axis=1)[cols]
    squares = float(np.sum((U.T @ U) * (V.T @ V)))
    return math.sqrt(max(squares, 0.0) / max(len(U) * len(V), 1))


def left(problem: MaskedLeastSquares, factors: Factors) -> Observations:
    """What a model leaves of the entries of a problem."""
    observations = problem.observations
    return observations.with_values(-problem.residual(factors)) if factors.width else observations
