"""The algebra of tensors as matrices of tubes: product, transpose, decomposition, ranks, truncation.

A tensor is (rows, columns, length) here, its tubes along the last axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmc import _checks
from dmc.tubal.transforms import TubeTransform, transform_of

Tensor = NDArray[Any]
Transform = str | ArrayLike | TubeTransform


def product(A: ArrayLike, B: ArrayLike, transform: Transform = "dft") -> Tensor:
    """The tensor whose slices, after the transform along the tubes, are the products of those of A and of B.

    By the Fourier transform it is the t-product, Σ_k a_ik ∗ b_kj with circular convolutions of tubes.

    Parameters
    ----------
    A : (rows, inner, length) array
    B : (inner, columns, length) array
    transform : {"dft", "dct"}, (length, length) orthogonal array, or TubeTransform

    Returns
    -------
    (rows, columns, length) array

    Raises
    ------
    ValueError
        If the shapes do not fit each other, or the transform is not orthogonal.

    References
    ----------
    M. Kilmer, C. Martin, "Factorization strategies for third-order tensors", 2011; E. Kernfeld, M. Kilmer, S. Aeron,
    "Tensor–tensor products with invertible linear transforms", 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from dmc import tubal
    >>> tubal.product([[[1.0, 2.0, 3.0]]], [[[0.0, 1.0, 0.0]]])  # one tube times a shift
    array([[[3., 1., 2.]]])
    """
    A, B = _tensor(A, "A"), _tensor(B, "B")
    if A.shape[1] != B.shape[0] or A.shape[2] != B.shape[2]:
        raise ValueError(
            f"A has shape {A.shape} and B {B.shape}; the columns of A have to be the rows of B, and the tubes of one "
            "length"
        )
    along = transform_of(transform, A.shape[2])
    return _back(along, along.scale * np.matmul(_slices(along, A), _slices(along, B)))


def transpose(A: ArrayLike, transform: Transform = "dft") -> Tensor:
    """The tensor (columns, rows, length) whose slices, after the transform, are the conjugate transposes of those of A.

    By the Fourier transform that is each frontal slice transposed, those from the second on in reverse order.
    """
    A = _tensor(A, "A")
    along = transform_of(transform, A.shape[2])
    return _back(along, _slices(along, A).conj().transpose(0, 2, 1))


def identity(n: int, length: int, transform: Transform = "dft") -> Tensor:
    """The (n, n, length) tensor that leaves others as they are: every slice of it is an identity."""
    n = _checks.integer(n, "n", 1)
    along = transform_of(transform, length)
    eye = np.broadcast_to(np.eye(n), (len(along.weights), n, n)) / along.scale
    return _back(along, eye.astype(along.dtype(np.float64)))


def svd(A: ArrayLike, transform: Transform = "dft") -> tuple[Tensor, Tensor, Tensor]:
    """The decomposition A = U ∗ S ∗ Vᵀ by the slices' singular value decompositions (t-SVD).

    Returns
    -------
    U : (rows, k, length), S : (k, k, length), V : (columns, k, length)
        k the smaller of rows and columns; U and V orthogonal, Uᵀ ∗ U = I; S with tubes on its diagonal alone.
    """
    A = _tensor(A, "A")
    along = transform_of(transform, A.shape[2])
    P, s, Qh = np.linalg.svd(_slices(along, A), full_matrices=False)
    middle = (s[:, :, None] * np.eye(s.shape[1])).astype(P.dtype)
    factors = P / along.scale, middle, Qh.conj().transpose(0, 2, 1) / along.scale
    U, S, V = (_back(along, factor) for factor in factors)
    return U, S, V


def singular_values(A: ArrayLike, transform: Transform = "dft") -> NDArray[np.float64]:
    """(slices, k) singular values of each slice of the transform, descending; k the smaller of rows and columns.

    The transform is the one that `product` multiplies in: without normalisation for "dft", of whose conjugate
    frequencies there is one each, so that length//2 + 1 slices are told.
    """
    A = _tensor(A, "A")
    along = transform_of(transform, A.shape[2])
    return np.asarray(along.scale * np.linalg.svd(_slices(along, A), compute_uv=False))


def singular_tubes(A: ArrayLike, transform: Transform = "dft") -> Tensor:
    """(k, length) the tubes on the diagonal of S in `svd`."""
    A = _tensor(A, "A")
    along = transform_of(transform, A.shape[2])
    s = np.linalg.svd(_slices(along, A), compute_uv=False)
    return np.asarray(along.backward(s.astype(along.dtype(A.dtype))).T)


def multi_rank(A: ArrayLike, transform: Transform = "dft", tol: float | None = None) -> NDArray[np.int64]:
    """(slices,) rank of each slice of the transform.

    Parameters
    ----------
    A : (rows, columns, length) array
    transform : see `product`
    tol : float, optional
        A singular value counts above `tol` times the largest of all slices; by default the largest dimension times the
        machine epsilon.
    """
    A = _tensor(A, "A")
    s = singular_values(A, transform)
    tol = max(A.shape) * float(np.finfo(A.dtype).eps) if tol is None else _checks.real(tol, "tol", 0)
    return np.asarray((s > tol * s.max(initial=0)).sum(1), dtype=np.int64)


def rank(A: ArrayLike, transform: Transform = "dft", tol: float | None = None) -> int:
    """The tubal rank: the largest of `multi_rank`."""
    return int(multi_rank(A, transform, tol).max())


def truncate(A: ArrayLike, rank: int | Sequence[int], transform: Transform = "dft") -> Tensor:
    """The nearest tensor of that tubal rank, or of that multi-rank.

    Parameters
    ----------
    A : (rows, columns, length) array
    rank : int, or (slices,) ints
        Of all slices, or of each, as `multi_rank` counts them; at least 0, and 1 for the tubal rank.
    transform : see `product`
    """
    A = _tensor(A, "A")
    along = transform_of(transform, A.shape[2])
    slices, most = len(along.weights), min(A.shape[:2])
    if np.ndim(rank) == 0:
        ranks = np.full(
            slices, _checks.integer(rank, "rank", 1, most, f"a slice has {A.shape[0]}×{A.shape[1]} entries")
        )
    else:
        ranks = np.asarray([_checks.integer(r, "each of rank", 0, most) for r in np.asarray(rank).tolist()])
        if len(ranks) != slices:
            raise ValueError(f"rank has {_checks.count(len(ranks), 'number')}; give one for each of {slices} slices")
    P, s, Qh = np.linalg.svd(_slices(along, A), full_matrices=False)
    kept = np.where(np.arange(s.shape[1]) < ranks[:, None], s, 0)
    return _back(along, np.matmul(P * kept[:, None, :], Qh).astype(P.dtype))


def _tensor(values: ArrayLike, name: str) -> Tensor:
    array = _checks.as_float(values, name)
    if array.ndim != 3:
        raise ValueError(f"{name} has shape {array.shape}; give a tensor of three ways, the tubes along the last")
    if array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}; give at least one entry along each way")
    _checks.finite(array, name)
    return array


def _slices(along: TubeTransform, tensor: Tensor) -> Tensor:
    return along.forward(np.ascontiguousarray(np.moveaxis(tensor, 2, 0)))


def _back(along: TubeTransform, slices: Tensor) -> Tensor:
    return np.ascontiguousarray(np.moveaxis(along.backward(slices), 0, 2))
