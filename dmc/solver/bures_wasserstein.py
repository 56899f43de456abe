"""Factorization of a covariance under the Bures–Wasserstein distance."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import ArrayLike, NDArray

from dmc import _arrays, _checks
from dmc._arrays import Array, Device
from dmc._locks import cached_property
from dmc.factors import Factors
from dmc.solver.dense_problems import finite_matrix
from dmc.solver.protocol import Problem, check_fit, dot


class BuresWasserstein(Problem):
    """Half the squared Bures–Wasserstein distance of the covariance X̂·X̂ᵀ from a given one, Σ = S·Sᵀ.

    This is the distance between the normal distributions of these covariances in the sense of optimal transport. With
    the generator X̂ (rows, any number of columns), a matrix of the factors,

        ½ BW²(X̂X̂ᵀ, SSᵀ) = ½‖X̂‖² + ½‖S‖² − ‖SᵀX̂‖_* = ½ min_O ‖X̂ − S·O‖²,  O of spectral norm one where square,

    computed as the sum of squares of the minimum, so that nothing cancels where the two agree: one QR decomposition of
    the model's right side and one SVD of a matrix as narrow as the model. At the minimum the curvature is one in every
    direction that the value depends on, however ill-conditioned Σ is: plain descent needs the same number of steps at
    any condition number, whereas with the Frobenius distance the number grows with it.

    Use it to study such landscapes and implicit bias, not to approximate a covariance that you have: the best generator
    of rank k is then known in closed form, by principal component analysis (`numpy.linalg.eigh`), and the value there
    is half the sum of the eigenvalues left out.

    Parameters
    ----------
    covariance : (rows, rows) array or torch tensor, optional
        Σ, symmetric and positive semidefinite. Kept in float32; all else becomes float64. A tensor is computed with on
        its device.
    factor : (rows, r) array or torch tensor, optional
        S, in place of Σ.

    Attributes
    ----------
    factor : (rows, r) array
        S; of a covariance, its eigenvectors times the roots of its positive eigenvalues.

    Raises
    ------
    ValueError
        If both or neither of the two are given; if it is not a matrix, holds values that are not finite, or only zeros;
        if a covariance is not square, not symmetric or not positive semidefinite.

    Notes ----- A generator of one layer W, moved by ``DiscrepantDescent(1.0, outer_ratio=0)`` between fixed outer
    factors, takes the step W ← S·polar(SᵀW), which ends at the minimum at once.

    References
    ----------
    R. Bhatia, T. Jain, Y. Lim, "On the Bures–Wasserstein distance between positive definite matrices", 2019
    (arXiv 1712.01504).

    Examples
    --------
    >>> import numpy as np, dmc
    >>> rng = np.random.default_rng(0)
    >>> problem = dmc.BuresWasserstein(factor=rng.standard_normal((20, 3)))
    >>> found = dmc.solve(problem, dmc.initial.gaussian((20, 20), 3), dmc.steps.DiscrepantDescent(0.1))
    >>> problem.distance(found.factors) < 1e-3
    True

    One layer, one step:

    >>> one_layer = dmc.Factors(np.eye(20), [rng.standard_normal((20, 20))], np.eye(20))
    >>> rule = dmc.steps.DiscrepantDescent(1.0, outer_ratio=0)
    >>> problem.distance(dmc.solve(problem, one_layer, rule, max_steps=1, tol=0).factors) < 1e-12
    True
    """

    curvature = 1.0

    def __init__(self, covariance: ArrayLike | None = None, *, factor: ArrayLike | None = None) -> None:
        if (covariance is None) == (factor is None):
            which = "both" if factor is not None else "neither"
            raise ValueError(f"{which} of covariance and factor are given; give one of them")
        given, name = (factor, "factor") if covariance is None else (covariance, "covariance")
        assert given is not None
        given = finite_matrix(given, name)
        device, S = _arrays.of(given), _arrays.place(given, None)
        if not S.any():
            raise ValueError("the covariance is zero; its generator is zero, and there is nothing to find")
        self.factor: Array = _arrays.place(_root(S) if factor is None else S, device)

    @property
    def device(self) -> Device:
        return _arrays.of(self.factor)

    def to(self, device: Device) -> BuresWasserstein:
        moved = copy.copy(self)
        moved.factor = _arrays.place(self.factor, _arrays.checked(device))
        return moved

    @cached_property
    def target_norm(self) -> float:
        """Spectral norm of S, the root of the largest eigenvalue of Σ."""
        return float(array_namespace(self.factor).linalg.matrix_norm(self.factor, ord=2))

    def distance(self, factors: Factors) -> float:
        """Compute the Bures–Wasserstein distance BW(X̂X̂ᵀ, Σ).

        Parameters
        ----------
        factors : Factors
            Of the generator X̂.

        Returns
        -------
        float
            In the units of S.
        """
        return (2 * self.value(factors)) ** 0.5

    def value(self, factors: Factors) -> float:
        return float(self._parts(factors)[0])

    def value_and_grad(self, factors: Factors) -> tuple[Any, Factors]:
        value, residual, Q, R = self._parts(factors)
        return value, factors.pull_back(residual @ R, Q @ (residual.T @ factors.left))

    def _parts(self, factors: Factors) -> tuple[Any, Array, Array, Array]:
        """The value, (rows, q) M, (columns, q) Q and (q, k) R: the gradient by X̂ is M·Qᵀ, and right = Q·R."""
        S, xp = self.factor, array_namespace(self.factor)
        check_fit(factors, (int(S.shape[0]), factors.shape[1]), S)
        Q, R = xp.linalg.qr(factors.right)
        short = factors.left @ R.T  # X̂ = short·Qᵀ
        product = S.T @ short
        if not bool(xp.all(xp.isfinite(product))):  # an outcome of too long a step, for which there is no decomposition
            return math.nan, math.nan * short, Q, R
        P, _, turn = xp.linalg.svd(product, full_matrices=False)
        along = S @ P
        residual, left_out = short - along @ turn, S - along @ P.T
        return 0.5 * (dot(residual, residual) + dot(left_out, left_out)), residual, Q, R


def _root(covariance: NDArray[Any]) -> NDArray[Any]:
    """(rows, r) S with S·Sᵀ a covariance, which is checked."""
    if covariance.shape[0] != covariance.shape[1]:
        raise ValueError(f"covariance has shape {covariance.shape}; give a square one, or its root S as factor=")
    largest, wide = float(np.abs(covariance).max()), covariance.astype(np.float64)
    rounding = 10 * len(wide) * float(np.finfo(covariance.dtype).eps)
    apart = np.abs(wide - wide.T)
    if apart.max() > rounding * largest:
        i, j = map(int, np.unravel_index(int(apart.argmax()), apart.shape))
        raise ValueError(
            f"covariance is not symmetric: entry ({i}, {j}) is {wide[i, j]:g} and ({j}, {i}) {wide[j, i]:g}; give "
            "(covariance + covariance.T) / 2, if that is what is meant"
        )
    values, vectors = np.linalg.eigh((wide + wide.T) / 2)
    if values[0] < -rounding * max(values[-1], 0.0):
        negative = _checks.count(int((values < -rounding * max(values[-1], 0.0)).sum()), "negative eigenvalue")
        raise ValueError(
            f"covariance is not positive semidefinite: it has {negative}, the most negative {values[0]:g}; give one of "
            "which all are at least 0"
        )
    kept = values > rounding * values[-1] / 10
    return (vectors[:, kept] * values[kept] ** 0.5)[:, ::-1].astype(covariance.dtype)
