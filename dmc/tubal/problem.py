"""Least squares on the observed entries of a tensor, over two factor tensors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmc import _checks
from dmc._locks import cached_property
from dmc.factors import Factors
from dmc.solver.protocol import Problem, check_fit
from dmc.tubal.algebra import Transform
from dmc.tubal.containers import from_slices, to_slices
from dmc.tubal.slices import SliceEquations, SliceFactors, SliceLeastSquares, gradient
from dmc.tubal.transforms import TubeTransform, transform_of


class TubalLeastSquares(Problem):
    """Least squares on the observed entries of a tensor of low tubal rank, ½ Σ_Ω (X̂ − X)² with X̂ = U ∗ Vᵀ.

    The product is that of `dmc.tubal.product`: with the Fourier transform X̂_ijt = Σ_k Σ_s U_iks V_jk,(s−t mod length).
    `Factors(U, (), V)` holds the factor tensors as real matrices, flattened lateral slice by lateral slice: ``U``
    (rows, width·length) with column k·length + s, ``V`` (columns, width·length). So `dmc.solve` moves them by
    `DiscrepantDescent`, `Adam`, `Momentum`, and `Backtracking(GaussNewton())`, from a start of `dmc.tubal.small_random`
    or `dmc.tubal.spectral`.

    What does not apply: cores and biases, which are refused; `RankPath`, `ScaledDescent` and `AlternatingLeastSquares`,
    which treat columns of factors as directions of a matrix (`dmc.TensorCompletion` has the path by slices); and the
    methods ``dense``, ``at``, ``rank``, ``singular_values`` and ``truncate`` of the factors, which would multiply the
    flat matrices: use `tensor`, and apply `dmc.tubal.multi_rank` and `truncate` to its result.

    Parameters
    ----------
    tensor : three-way array
        NaN where an entry is missing. Kept in float32; all else becomes float64.
    mask : bool array of the same shape, optional
        True where an entry was observed; other entries are not read.
    tube : {0, 1, 2}
        The axis along which the tubes lie; the first of the others are the rows, the second the columns.
    transform : {"dft", "dct"}, or (length, length) orthogonal array
        Along the tubes.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns.
    length : int
        Length of the tubes.
    transform : FourierTube or OrthogonalTube
        Along the tubes.
    slices : SliceLeastSquares
        The same problem over models of the transformed slices.

    Raises
    ------
    ValueError
        If the tensor is not three-way, holds infinite values or no observed entry; if the mask does not fit it; if the
        transform is not orthogonal.

    References
    ----------
    M. Kilmer, C. Martin, "Factorization strategies for third-order tensors", 2011; S. Karnik et al., "Implicit
    regularization for tubal tensor factorizations via gradient descent", 2024 (arXiv 2410.16247).

    Examples
    --------
    >>> import numpy as np
    >>> import dmc
    >>> rng = np.random.default_rng(0)
    >>> X = dmc.tubal.product(rng.standard_normal((12, 1, 6)), rng.standard_normal((1, 10, 6)))
    >>> problem = dmc.TubalLeastSquares(X, mask=rng.random(X.shape) < 0.6)
    >>> step = dmc.steps.Backtracking(dmc.steps.GaussNewton())
    >>> found = dmc.solve(problem, dmc.tubal.spectral(problem, 1), step, tol=1e-12, check_every=1)
    >>> bool(np.abs(problem.tensor(found.factors) - X).max() < 1e-9)
    True
    """

    def __init__(
        self, tensor: ArrayLike, mask: ArrayLike | None = None, *, tube: int = 2, transform: Transform = "dft"
    ) -> None:
        values, observed = read_tensor(tensor, mask)
        self.tube: int = _checks.integer(tube, "tube", 0, 2)
        self.transform: TubeTransform = transform_of(transform, values.shape[self.tube])
        self.slices: SliceLeastSquares = slice_problem(values, observed, self.tube, self.transform)
        length, rows, columns = self.slices.values.shape
        self.length: int = length
        self.shape: tuple[int, int] = (rows, columns)

    @property
    def curvature(self) -> float:
        """The observed share of the entries, times the square of the product's scale (the length for "dft")."""
        return self.slices.share * self.transform.scale**2

    @property
    def target_norm(self) -> float:
        """Approximate largest singular value of the slices sought, over the product's scale."""
        return self.slices.size / self.transform.scale

    @cached_property
    def rounding(self) -> float:
        """The value if every residual were one unit in the last place of a typical entry."""
        return self.slices.zero_value * float(np.finfo(self.slices.values.dtype).eps) ** 2

    def value(self, factors: Factors) -> float:
        return self.slices.value(self._model(factors))

    def value_and_grad(self, factors: Factors) -> tuple[float, Factors]:
        model = self._model(factors)
        value, by_slices = self.slices.gradient_by_slices(model)
        return value, self._gradient(gradient(model, by_slices))

    def normal_equations(self, factors: Factors) -> TubalEquations:
        """Set up the linear system of a Gauss–Newton step, for `dmc.steps.GaussNewton`.

        Parameters
        ----------
        factors : Factors
            Where.

        Returns
        -------
        TubalEquations
            The system.
        """
        return TubalEquations(self, self._model(factors))

    def tensor(self, factors: Factors) -> NDArray[Any]:
        """Multiply the factor tensors.

        Parameters
        ----------
        factors : Factors
            Flat factor tensors, such as ``solution.factors``.

        Returns
        -------
        three-way array
            The completed tensor X̂, in the axes of the given one.
        """
        return np.moveaxis(self.slices.tensor(self._model(factors)), 0, self.tube)

    def _model(self, factors: Factors) -> SliceFactors:
        if factors.cores or factors.row_bias is not None or factors.column_bias is not None:
            raise ValueError(
                f"TubalLeastSquares is over two factor tensors without cores and biases; these are {factors!r}: start "
                "from dmc.tubal.small_random or dmc.tubal.spectral"
            )
        check_fit(factors, self.shape, self.slices.values)
        if factors.width % self.length:
            raise ValueError(
                f"the factors are {factors.width} wide, which is not a multiple of the tubes' {self.length} entries; "
                "flatten factor tensors (rows, width, length) with dmc.tubal.flatten"
            )
        return to_slices(self.transform, factors)

    def _gradient(self, slopes: SliceFactors) -> Factors:
        return from_slices(self.transform, slopes).map(lambda slope: self.transform.scale * slope)


class TubalEquations:
    """The Gauss–Newton system at flat factors, as `GaussNewton` asks for it."""

    def __init__(self, problem: TubalLeastSquares, model: SliceFactors) -> None:
        self._transform, self._equations = problem.transform, SliceEquations(problem.slices, model)

    def solve(self, grad: Factors, tol: float, max_products: int) -> Factors:
        """Compute the direction from the gradient with respect to the flat factors."""
        slopes = to_slices(self._transform, grad.map(lambda slope: slope / self._transform.scale))
        return from_slices(self._transform, self._equations.solve(slopes, tol, max_products))


def slice_problem(
    values: NDArray[Any], observed: NDArray[np.bool_], tube: int, transform: TubeTransform
) -> SliceLeastSquares:
    """Make the problem of the slices from a tensor and its observed mask, in their own axes."""
    mask = np.ascontiguousarray(np.moveaxis(observed, tube, 0))
    tubes = np.where(mask, np.moveaxis(values, tube, 0), 0)
    return SliceLeastSquares(transform, np.ascontiguousarray(tubes, dtype=values.dtype), mask.astype(values.dtype))


def read_tensor(
    X: Any, mask: Any = None, missing_values: float | None = math.nan
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Read a three-way tensor and which of its entries were observed.

    Parameters
    ----------
    X : three-way array
        In a masked array, masked entries are missing.
    mask : array of the same shape, optional
        True where an entry was observed.
    missing_values : float, optional
        A number that stands for a missing entry, beside NaN.

    Raises
    ------
    ValueError, TypeError
        If it is not three-way, is empty, holds infinite values, or none of its entries was observed; if the mask is not
        boolean, or True where X is NaN.
    """
    if np.ma.isMaskedArray(X):
        if mask is not None:
            raise ValueError("a mask was given with a masked array, which has its own; leave one of them out")
        mask, X = ~np.ma.getmaskarray(X), X.data
    values = _checks.as_float(X, "X")
    if values.ndim != 3:
        raise ValueError(f"X has shape {values.shape}; give a tensor of three ways" + _other(values.ndim))
    if values.size == 0:
        raise ValueError(f"X has shape {values.shape}; give at least one entry along each way")
    missing = np.isnan(values)
    if missing_values is not None:
        missing |= values == missing_values
    observed = ~missing if mask is None else _checked_mask(mask, values, missing)
    if not observed.any():
        raise ValueError(f"none of the {values.size:,} entries of X is observed; at least one has to be")
    infinite = np.argwhere(observed & ~np.isfinite(values))
    if len(infinite):
        raise ValueError(
            f"X holds {_checks.count(len(infinite), 'infinite value')}, the first at {tuple(infinite[0].tolist())}; "
            "replace by NaN what is missing"
        )
    return values, observed


def _other(ways: int) -> str:
    if ways == 2:
        return ", or a matrix to dmc.MatrixCompletion"
    return ", two of them put together with reshape" if ways > 3 else ""


def _checked_mask(mask: Any, values: NDArray[Any], missing: NDArray[np.bool_]) -> NDArray[np.bool_]:
    observed = np.asarray(mask)
    if observed.dtype.kind != "b":
        if observed.dtype.kind not in "iuf" or not np.isin(observed, (0, 1)).all():
            raise TypeError(f"mask has dtype {observed.dtype}; give booleans, True where an entry was observed")
        observed = observed.astype(bool)
    if observed.shape != values.shape:
        raise ValueError(f"mask has shape {observed.shape} and X {values.shape}; give one truth value for each entry")
    clash = np.argwhere(observed & np.isnan(values))
    if len(clash):
        raise ValueError(
            f"{_checks.count(len(clash), 'entry is', 'entries are')} NaN where the mask says observed, the first at "
            f"{tuple(clash[0].tolist())}; set the mask to False there"
        )
    return observed & ~missing
