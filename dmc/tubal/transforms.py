"""Orthogonal transforms along the tubes of a tensor: real Fourier, cosine, or any orthogonal matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from dmc import _checks
from dmc._locks import cached_property

NAMES = ("dft", "dct")
ORTHOGONAL = 100.0  # of the unit roundoff times the length: above it a matrix is not orthogonal


@dataclass(frozen=True)
class FourierTube:
    """The real discrete Fourier transform, orthonormal: the transform of the t-product (Kilmer & Martin, 2011).

    Of the n conjugate frequencies of a real tube the first n//2 + 1 are kept, and an inner product counts those that
    have a mirror image twice.

    Parameters
    ----------
    length : int
        Length of the tubes.

    Examples
    --------
    >>> import numpy as np
    >>> from dmc import tubal
    >>> transform = tubal.FourierTube(4)
    >>> slices = transform.forward(np.ones(4))
    >>> slices.real, transform.backward(slices)
    (array([2., 0., 0.]), array([1., 1., 1., 1.]))
    """

    length: int
    name = "dft"

    @property
    def scale(self) -> float:
        """√length: the t-product multiplies slices of the transform without normalisation, √length times this one."""
        return math.sqrt(self.length)

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """(slices,) how often each slice counts in an inner product: once at frequency 0 and length/2, else twice."""
        weights = np.full(self.length // 2 + 1, 2.0)
        weights[self.real] = 1.0
        return weights

    @cached_property
    def real(self) -> NDArray[np.bool_]:
        """(slices,) whether a slice is real."""
        frequency = np.arange(self.length // 2 + 1)
        return (frequency == 0) | (2 * frequency == self.length)

    def forward(self, tubes: NDArray[Any]) -> NDArray[Any]:
        """Transform tubes.

        Parameters
        ----------
        tubes : (length, …) array
            Real.

        Returns
        -------
        (slices, …) array
            Complex.
        """
        return np.asarray(scipy.fft.rfft(tubes, axis=0, norm="ortho"))

    def backward(self, slices: NDArray[Any]) -> NDArray[Any]:
        """Transform slices back.

        Parameters
        ----------
        slices : (slices, …) array
            From `forward`.

        Returns
        -------
        (length, …) array
            Real.
        """
        return np.asarray(scipy.fft.irfft(slices, self.length, axis=0, norm="ortho"))

    def backward_rows(self) -> NDArray[Any]:
        """Make the matrix of `backward`.

        Returns
        -------
        (slices, length) complex array
            B, such that entry t of `backward` of slices s is the real part of Σ_f B_ft s_f.
        """
        frequency, time = np.arange(self.length // 2 + 1)[:, None], np.arange(self.length)
        waves = np.exp(2j * np.pi * frequency * time / self.length)
        return np.asarray(self.weights[:, None] * waves / math.sqrt(self.length))

    def dtype(self, of_tubes: Any) -> np.dtype[Any]:
        """Find the dtype of the slices.

        Parameters
        ----------
        of_tubes : dtype
            Of the tubes.

        Returns
        -------
        numpy.dtype
            Complex, of the same precision.
        """
        return np.result_type(of_tubes, np.complex64)


@dataclass(frozen=True, eq=False)
class OrthogonalTube:
    """A transform along the tubes by a real orthogonal matrix, each row of which makes a slice.

    Parameters
    ----------
    matrix : (length, length) array
        Kept as float64.
    name : str
        Shown in messages.

    Raises
    ------
    ValueError
        If the matrix is not orthogonal.

    Examples
    --------
    >>> import numpy as np
    >>> from dmc import tubal
    >>> tubal.OrthogonalTube(np.array([[0.6, 0.8], [-0.8, 0.6]])).forward(np.array([1.0, 0.0]))
    array([ 0.6, -0.8])
    """

    matrix: NDArray[Any]
    name: str = "matrix"
    scale: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        given = _checks.as_float(self.matrix, "transform")
        if given.ndim != 2 or given.shape[0] != given.shape[1]:
            raise ValueError(f"transform has shape {given.shape}; give a square matrix")
        _checks.finite(given, "transform")
        matrix = given.astype(np.float64)
        off = float(np.abs(matrix @ matrix.T - np.eye(len(matrix))).max(initial=0))
        if off > ORTHOGONAL * float(np.finfo(given.dtype).eps) * len(matrix):
            raise ValueError(
                f"transform is not orthogonal: transform @ transform.T differs from the identity by {off:.2g}; "
                "use, for instance, the first factor of numpy.linalg.qr(transform)"
            )
        object.__setattr__(self, "matrix", matrix)

    @property
    def length(self) -> int:
        """Length of the tubes."""
        return len(self.matrix)

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """(slices,) ones: every slice counts once in an inner product."""
        return np.ones(self.length)

    @cached_property
    def real(self) -> NDArray[np.bool_]:
        """(slices,) all true."""
        return np.ones(self.length, bool)

    def forward(self, tubes: NDArray[Any]) -> NDArray[Any]:
        """Transform tubes.

        Parameters
        ----------
        tubes : (length, …) array
            Real.

        Returns
        -------
        (slices, …) array
            Real.
        """
        return _times(self.matrix, tubes)

    def backward(self, slices: NDArray[Any]) -> NDArray[Any]:
        """Transform slices back.

        Parameters
        ----------
        slices : (slices, …) array
            From `forward`.

        Returns
        -------
        (length, …) array
            Real.
        """
        return _times(self.matrix.T, slices)

    def backward_rows(self) -> NDArray[Any]:
        """Return the matrix of `backward`.

        Returns
        -------
        (slices, length) array
            M, such that entry t of `backward` of slices s is Σ_f M_ft s_f.
        """
        return self.matrix

    def dtype(self, of_tubes: Any) -> np.dtype[Any]:
        """Find the dtype of the slices.

        Parameters
        ----------
        of_tubes : dtype
            Of the tubes.

        Returns
        -------
        numpy.dtype
            The same.
        """
        return np.dtype(of_tubes)


TubeTransform = FourierTube | OrthogonalTube


def _times(matrix: NDArray[Any], tubes: NDArray[Any]) -> NDArray[Any]:
    flat = tubes.reshape(len(tubes), -1)
    return (matrix.astype(tubes.dtype, copy=False) @ flat).reshape(tubes.shape)


def transform_of(transform: str | ArrayLike | TubeTransform, length: int) -> TubeTransform:
    """Make the transform of tubes of a given length.

    Parameters
    ----------
    transform : {"dft", "dct"}, or (length, length) array, or a transform
        The real discrete Fourier transform, the discrete cosine transform (type II), or a real orthogonal matrix.
    length : int
        Length of the tubes.

    Returns
    -------
    FourierTube or OrthogonalTube
        The transform; if one was given, itself.

    Raises
    ------
    ValueError
        If the matrix is not orthogonal or has another size.

    Examples
    --------
    >>> from dmc import tubal
    >>> tubal.transform_of("dft", 4)
    FourierTube(length=4)
    >>> tubal.transform_of("dct", 4).matrix.shape
    (4, 4)
    """
    length = _checks.integer(length, "length", 1)
    if isinstance(transform, (FourierTube, OrthogonalTube)):
        if transform.length != length:
            raise ValueError(
                f"transform is for tubes of {transform.length} entries and these have {length}; make one of that length"
            )
        return transform
    if isinstance(transform, str):
        _checks.choice(transform, "transform", NAMES)
        if transform == "dft":
            return FourierTube(length)
        return OrthogonalTube(scipy.fft.dct(np.eye(length), axis=0, norm="ortho"), "dct")
    matrix = _checks.as_float(transform, "transform")
    if matrix.shape != (length, length):
        raise ValueError(
            f"transform has shape {matrix.shape} and a tube {_checks.count(length, 'entry', 'entries')}; "
            f"give a {length}×{length} matrix"
        )
    return OrthogonalTube(matrix)
