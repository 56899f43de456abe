"""When a model is exact: its entries matched to rounding, and no other of its rank could match them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from dmc import _arrays
from dmc._locks import cached_property
from dmc.completion import tuning
from dmc.completion.results import rms
from dmc.factors import Array, Factors
from dmc.identifiability import Identifiability, stripped
from dmc.observations import Observations
from dmc.solver.gauss_newton import NormalEquations
from dmc.solver.problem import MaskedLeastSquares

Mask = NDArray[np.bool_]

SEED = [902, 3846]  # of movements: no seed that data are made with, for these are all too still along themselves


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
        self.problem: MaskedLeastSquares = problem
        self.observations: Observations = problem.observations
        self.intercept: bool = intercept
        self._rounding, self._rng = rounding, rng
        self.size: float = rms(self.observations.values)
        counts = self.observations.pattern.row_counts, self.observations.pattern.column_counts
        # The others have no part in it.
        self.filled: tuple[int, ...] = tuple(int((count > 0).sum()) for count in counts)

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
        missed = max(rms(self.left(model).values) / (self.size or 1.0), float(np.finfo(s.dtype).eps))
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
        if self.observations.n_observed == math.prod(self.filled):
            return False
        moves = _Movement(self.observations, model)
        # One direction in so many, if it is free, is left whole.
        least = tuning.RANK_SEARCH.free_movement / math.sqrt(moves.size)
        blocks = self._blocks(model.width)
        of_all = [moves.change(moves.drawn, *block) for block in blocks]
        for tol in (max(least / 5, moves.finest), moves.finest):
            free = moves.free(tol)
            changed = [moves.change(free, *block) for block in blocks]
            moved = [some for some, whole in zip(changed, of_all, strict=True) if some > least * whole]
            if not moved:
                return False
        return moves.seen(free) < tuning.RANK_SEARCH.movement_rounding * max(moved)

    def held(self, model: Factors) -> tuple[Mask, Mask]:
        """The rows and columns of the largest block that no movement changes which keeps the observed entries."""
        moves = _Movement(self.observations, model)
        return moves.still(moves.free(moves.finest))

    def _blocks(self, rank: int) -> list[tuple[Mask, Mask]]:
        """The rows and columns of each block that the pattern determines."""
        found = Identifiability.of(self.observations.pattern, rank, (rank, rank + self.intercept))
        return [(found.row_blocks == block, found.column_blocks == block) for block in range(found.n_blocks)]


class _Movement:
    """A random movement of a model, always the same for models of one form.

    Movements depend on the spaces that the factors span, and not on their sizes.
    """

    def __init__(self, observations: Observations, model: Factors) -> None:
        (m, n), rng = model.shape, np.random.default_rng(SEED)
        P, _, Q = model.svd()
        self._model = model = replace(model, U=P * math.sqrt(m), V=Q * math.sqrt(n))
        self._pattern = observations.pattern.to(None)

        def draw(like: Array) -> Array:
            drawn = rng.standard_normal(like.shape).astype(_arrays.numpy_dtype(like.dtype))
            return _arrays.place(drawn, observations.device)

        self._system = NormalEquations(MaskedLeastSquares(observations), model)
        self.drawn = self._system.flatten(model.map(draw))
        self._told = self._system.unflatten(-self._system.product(self.drawn))
        self.size = len(self.drawn)
        self.finest = math.sqrt(float(array_namespace(P).finfo(P.dtype).eps))

    def free(self, tol: float) -> Array:
        """What the observed entries do not determine of it."""
        solution = self._system.solve(self._told, tol, tuning.RANK_SEARCH.movement_products)
        return self.drawn - self._system.flatten(solution)

    def seen(self, movement: Array) -> float:
        """Root mean square change of the observed entries."""
        return math.sqrt(abs(float(movement @ self._system.product(movement))) / self._pattern.n_observed)

    def change(self, movement: Array, rows: Mask, cols: Mask) -> float:
        """Root mean square change of some rows' and columns' entries, to first order."""
        own, by = self._model.to(None), self._system.unflatten(movement).to(None)
        left, right = [by.U, own.left], [own.V, by.V]
        if by.column_bias is not None:
            right.append(by.column_bias[:, None])
        U, V = np.concatenate(left, axis=1)[rows], np.concatenate(right, axis=1)[cols]
        squares = float(np.sum((U.T @ U) * (V.T @ V)))
        return math.sqrt(max(squares, 0.0) / max(len(U) * len(V), 1))

    def still(self, movement: Array) -> tuple[Mask, Mask]:
        """The most rows and columns that move as one: by U·M + w and −V·Mᵀ, which change no entry among them.

        M is told by the columns in which some row has entries; rows with many are tried.
        """
        own, by = (one.to(None) for one in (self._model, self._system.unflatten(movement)))
        k, size = own.width, math.sqrt(float(np.mean(np.square(_arrays.place(movement, None)))))
        bias = np.zeros((len(own.V), 0)) if by.column_bias is None else by.column_bias[:, None]
        of_columns = np.concatenate([by.V, bias], axis=1)
        best: tuple[Mask, Mask] = np.zeros(len(own.U), bool), np.zeros(len(own.V), bool)
        for row in np.argsort(-np.asarray(self._pattern.row_counts), kind="stable")[
            : tuning.RANK_SEARCH.movement_seeds
        ]:
            cols = self._pattern.by_row.indices[slice(*self._pattern.by_row.indptr[row : row + 2])]
            for _ in range(2):  # the second time by all that moved with them
                turn = np.linalg.lstsq(own.V[cols], -of_columns[cols], rcond=None)[0]
                shift = turn[:, k] if turn.shape[1] > k else 0
                off = np.abs(by.U - own.U @ turn[:, :k].T - shift).max(axis=1)
                off_columns = np.abs(of_columns + own.V @ turn).max(axis=1)
                rows, cols = (np.flatnonzero(some < 1e-2 * size) for some in (off, off_columns))
                if not len(cols):
                    break
            if len(rows) * len(cols) > np.count_nonzero(best[0]) * np.count_nonzero(best[1]):
                best = np.isin(np.arange(own.shape[0]), rows), np.isin(np.arange(own.shape[1]), cols)
        return best


def left(problem: MaskedLeastSquares, factors: Factors) -> Observations:
    """What a model leaves of the entries of a problem."""
    observations = problem.observations
    return observations.with_values(-problem.residual(factors)) if factors.width else observations
