"""Masked least squares over the slices of a transformed tensor, and the Gauss–Newton system of its two-factor model.

Tensors have the tube first here, (length, rows, columns), and slices as (slices, rows, columns). A model is one
two-factor model X̂_f = U_f·V_fᴴ for each slice; those narrower than the widest have columns of zeros.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmc._locks import cached_property
from dmc.solver.conjugate_gradients import conjugate_gradients
from dmc.tubal.transforms import TubeTransform

Slices = NDArray[Any]
RIDGE = 100.0  # units of roundoff of a slice's mean diagonal, beside it: columns of zeros are no singular matrix


class SliceFactors(NamedTuple):
    """One two-factor model for each slice.

    Attributes
    ----------
    U : (slices, rows, width) array
    V : (slices, columns, width) array
    """

    U: Slices
    V: Slices

    @property
    def widths(self) -> NDArray[np.int64]:
        """(slices,) number of columns that are not zero."""
        return ((self.U != 0).any(1) & (self.V != 0).any(1)).sum(1)

    @property
    def width(self) -> int:
        return int(self.U.shape[2])

    def dense(self) -> Slices:
        """(slices, rows, columns)."""
        return np.matmul(self.U, adjoint(self.V))

    def squares(self) -> NDArray[Any]:
        """(slices, width) the sum of squares of each column of both factors."""
        return _squares(self.U) + _squares(self.V)

    def svd(self) -> tuple[Slices, NDArray[Any], Slices]:
        """(slices, rows, k) P, (slices, k) s and (slices, columns, k) Q with P·diag(s)·Qᴴ each slice."""
        Q_left, left = np.linalg.qr(self.U)
        Q_right, right = np.linalg.qr(self.V)
        P, s, Qh = np.linalg.svd(left @ adjoint(right), full_matrices=False)
        return Q_left @ P, s, Q_right @ adjoint(Qh)

    def above(self, least: float | NDArray[Any]) -> SliceFactors:
        """Balanced factors of the directions whose singular values exceed a bound, one for all slices or one each."""
        P, s, Q = self.svd()
        return balanced(P, np.where(s > np.reshape(least, (-1, 1)), s, 0), Q)

    def cut(self, widths: NDArray[np.int64]) -> SliceFactors:
        """Balanced factors of the given number of leading directions of each slice."""
        P, s, Q = self.svd()
        return balanced(P, np.where(np.arange(s.shape[1]) < widths[:, None], s, 0), Q)

    def moved(self, by: SliceFactors, share: float) -> SliceFactors:
        return SliceFactors(self.U + share * by.U, self.V + share * by.V)


def balanced(P: Slices, s: NDArray[Any], Q: Slices) -> SliceFactors:
    """Factors of equal norm by descending singular values; trailing ones that are zero everywhere are left out."""
    width = max(int((s > 0).sum(1).max()), 1)
    root = np.sqrt(s[:, None, :width])
    return SliceFactors(*(np.ascontiguousarray(side[:, :, :width] * root) for side in (P, Q)))


class SliceLeastSquares:
    """½ ‖mask ⊙ (X̂ − X)‖² over models of the slices.

    Parameters
    ----------
    transform : TubeTransform
    values : (length, rows, columns) float array
        Zero where nothing was observed.
    mask : (length, rows, columns) array of the same dtype
        One where an entry was observed, else zero.
    """

    def __init__(self, transform: TubeTransform, values: Slices, mask: Slices) -> None:
        self.transform: TubeTransform = transform
        self.values: Slices = values
        self.mask: Slices = mask
        self.share: float = float(mask.mean(dtype=np.float64))

    @cached_property
    def n_observed(self) -> int:
        return int(self.mask.sum(dtype=np.float64))

    @cached_property
    def zero_value(self) -> float:
        """The value of the zero model."""
        return 0.5 * float(np.vdot(self.values, self.values))

    @cached_property
    def leading(self) -> NDArray[Any]:
        """(slices,) approximate largest singular value of each slice of the tensor sought."""
        if not self.share:
            return np.zeros(len(self.transform.weights))
        return np.asarray(np.linalg.norm(self.transform.forward(self.values), 2, axis=(1, 2)) / self.share)

    @property
    def size(self) -> float:
        return float(self.leading.max())

    def freedom(self, widths: NDArray[np.int64]) -> float:
        """Degrees of freedom of a model of these widths."""
        _, m, n = self.values.shape
        r = np.minimum(widths, min(m, n))
        return float(self.transform.weights @ (r * (m + n - r)))

    def short(self, model: SliceFactors, least: float) -> int:
        """Rows and columns with entries that do not determine the model there, given the other side.

        As many entries as unknowns do not suffice: of columns that are alike, several are worth one.

        Parameters
        ----------
        model : SliceFactors
        least : float
            Singular value of a row's equations, over that if all were observed, from which on it is determined.
        """
        P, s, Q = model.svd()
        kept = s > s.max(initial=0) * max(self.values.shape) * np.finfo(s.dtype).eps
        seen = self.mask > 0
        by_rows = self._undetermined(Q.conj(), kept, seen.transpose(1, 0, 2), least)
        return by_rows + self._undetermined(P, kept, seen.transpose(2, 0, 1), least)

    def _undetermined(self, side: Slices, kept: NDArray[np.bool_], seen: NDArray[np.bool_], least: float) -> int:
        """How many of (lines, length, others) seen lack an equation for an unknown, with (slices, others, k) side."""
        of_slice, of_direction = np.nonzero(kept)
        waves = (self.transform.backward_rows() / np.sqrt(self.transform.weights)[:, None])[of_slice]
        across, turning = side[of_slice, :, of_direction], ~self.transform.real[of_slice]
        found = 0
        for line in seen:
            if line.all() or not line.any():
                continue
            tubes, others = np.nonzero(line)
            equations = waves[:, tubes] * across[:, others]
            design = np.concatenate([equations.real, equations.imag[turning]])
            short = len(design) > len(tubes)
            found += short or (len(design) > 0 and np.linalg.eigvalsh(design @ design.T)[0] < least**2)
        return int(found)

    def tensor(self, model: SliceFactors) -> Slices:
        """(length, rows, columns)."""
        return self.transform.backward(model.dense())

    def residual(self, model: SliceFactors) -> Slices:
        """(length, rows, columns) X̂ − X where observed, else zero."""
        return self.tensor(model) * self.mask - self.values

    def value(self, model: SliceFactors) -> float:
        residual = self.residual(model)
        return 0.5 * float(np.vdot(residual, residual))

    def gradient_by_slices(self, model: SliceFactors) -> tuple[float, Slices]:
        """The value, and its gradient by each slice of X̂: (slices, rows, columns)."""
        residual = self.residual(model)
        return 0.5 * float(np.vdot(residual, residual)), self.transform.forward(residual)


def gradient(model: SliceFactors, by_slices: Slices) -> SliceFactors:
    """The gradient by both factors, in the inner product that counts a slice by its weight."""
    return SliceFactors(np.matmul(by_slices, model.V), adjoint(np.matmul(adjoint(model.U), by_slices)))


class SliceEquations:
    """(JᴴJ + D) δ = −gradient at a model, with J(dU, dV) = mask ⊙ (dU·Vᴴ + U·dVᴴ) of every slice.

    Matrix-free, by conjugate gradients. The mask couples the slices; the preconditioner takes it for the share that was
    observed, and is then the inverse of one small matrix for each slice and side: of share·VᴴV + D, and share·UᴴU + D.
    Unknowns are one flat real array.

    Parameters
    ----------
    problem : SliceLeastSquares
    model : SliceFactors
    penalty : (slices, width) array, optional
        D, for each column of both factors.
    """

    def __init__(self, problem: SliceLeastSquares, model: SliceFactors, penalty: NDArray[Any] | None = None) -> None:
        self._problem, self._model = problem, model
        self._adjoint_U, self._adjoint_V = adjoint(model.U), adjoint(model.V)
        self._penalty = None if penalty is None else penalty[:, None, :]
        self._inverses = self._inverse(self._adjoint_V @ model.V), self._inverse(self._adjoint_U @ model.U)
        weights = problem.transform.weights
        reals = 2 if np.iscomplexobj(model.U) else 1
        per_slice = (reals * side[0].size for side in model)
        self._weights = np.concatenate([np.repeat(weights, size) for size in per_slice]).astype(_real(model.U))

    def _inverse(self, gram: Slices) -> Slices:
        """(slices, width, width) of share·gram + D."""
        k = gram.shape[-1]
        system = self._problem.share * gram
        traces = np.trace(system, axis1=1, axis2=2).real
        ridge = RIDGE * np.finfo(traces.dtype).eps * np.maximum(traces, traces.max(initial=0) * 1e-3) / k
        diagonal = np.where(ridge > 0, ridge, 1)[:, None] + (0 if self._penalty is None else self._penalty[:, 0])
        system[:, np.arange(k), np.arange(k)] += diagonal
        return np.linalg.inv(system)

    def _flat(self, of: SliceFactors) -> NDArray[Any]:
        return np.concatenate([np.ascontiguousarray(side).reshape(-1).view(_real(side)) for side in of])

    def _sides(self, unknowns: NDArray[Any]) -> SliceFactors:
        U, V = self._model
        flat = unknowns.view(U.dtype)
        return SliceFactors(flat[: U.size].reshape(U.shape), flat[U.size :].reshape(V.shape))

    def product(self, unknowns: NDArray[Any]) -> NDArray[Any]:
        """(unknowns,) (JᴴJ + D) times a direction."""
        along, problem = self._sides(unknowns), self._problem
        left = np.concatenate([along.U, self._model.U], axis=2)
        right = np.concatenate([self._adjoint_V, adjoint(along.V)], axis=1)
        masked = problem.transform.backward(np.matmul(left, right))
        masked *= problem.mask
        back = problem.transform.forward(masked)
        of_U, of_V = np.matmul(back, self._model.V), adjoint(np.matmul(self._adjoint_U, back))
        if self._penalty is not None:
            of_U, of_V = of_U + self._penalty * along.U, of_V + self._penalty * along.V
        return self._flat(SliceFactors(of_U, of_V))

    def precondition(self, residual: NDArray[Any]) -> NDArray[Any]:
        U, V = self._sides(residual)
        return self._flat(SliceFactors(np.matmul(U, self._inverses[0]), np.matmul(V, self._inverses[1])))

    def solve(self, slopes: SliceFactors, tol: float, max_products: int) -> SliceFactors:
        """Solve for the direction δ, from zero.

        Parameters
        ----------
        slopes : SliceFactors
            The gradient.
        tol : float
            Of the preconditioned residual, relative to that at the start.
        max_products : int
            Products at most.
        """
        found = conjugate_gradients(
            lambda d: self.product(d[0])[None],
            lambda r: self.precondition(r[0])[None],
            -self._flat(slopes)[None],
            tol,
            max_products,
            lambda a, b: ((a[0] * self._weights) @ b[0])[None],
        )
        return self._sides(found[0])


def adjoint(slices: Slices) -> Slices:
    """(slices, b, a) of (slices, a, b), contiguous."""
    return np.ascontiguousarray(slices.conj().transpose(0, 2, 1))


def _squares(slices: Slices) -> NDArray[Any]:
    return np.asarray((slices.real**2 + slices.imag**2).sum(1) if np.iscomplexobj(slices) else (slices**2).sum(1))


def _real(slices: Slices) -> np.dtype[Any]:
    return slices.real.dtype
