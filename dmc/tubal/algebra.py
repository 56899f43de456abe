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
    """Multiply two tensors: the slices of the product, after the transform, are the products of the slices.

    With the Fourier transform it is the t-product, Σ_k a_ik ∗ b_kj with circular convolutions of tubes.

    Parameters
    ----------
    A : (rows, inner, length) array
        Left tensor.
    B : (inner, columns, length) array
        Right tensor.
    transform : {"dft", "dct"}, (length, length) orthogonal array, or transform
        Along the tubes: the discrete Fourier transform, the discrete cosine transform, or an orthogonal matrix.

    Returns
    -------
    (rows, columns, length) array
        The product A ∗ B.

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
    """Transpose a tensor: the slices of the result, after the transform, are the conjugate transposes of the slices.

    With the Fourier transform each frontal slice is transposed, and those from the second on are put in reverse order.

    Parameters
    ----------
    A : (rows, columns, length) array
        The tensor.
    transform : {"dft", "dct"}, (length, length) orthogonal array, or transform
        Along the tubes, as in `product`.

    Returns
    -------
    (columns, rows, length) array
        The transpose Aᵀ.

    Examples
    --------
    >>> from dmc import tubal
    >>> tubal.transpose([[[1.0, 2.0, 3.0]]])
    array([[[1., 3., 2.]]])
    """
    A = _tensor(A, "A")
    along = transform_of(transform, A.shape[2])
    return _back(along, _slices(along, A).conj().transpose(0, 2, 1))


def identity(n: int, length: int, transform: Transform = "dft") -> Tensor:
    """Make the identity of `product`: every slice of it, after the transform, is an identity matrix.

    Parameters
    ----------
    n : int
        Rows and columns.
    length : int
        Length of the tubes.
    transform : {"dft", "dct"}, (length, length) orthogonal array, or transform
        Along the tubes, as in `product`.

    Returns
    -------
    (n, n, length) array
        The tensor I, with A ∗ I = A.

    Examples
    --------
    >>> from dmc import tubal
    >>> tubal.identity(1, 3)
    array([[[1., 0., 0.]]])
    """
    n = _checks.integer(n, "n", 1)
    along = transform_of(transform, length)
    eye = np.broadcast_to(np.eye(n), (len(along.weights), n, n)) / along.scale
    return _back(along, eye.astype(along.dtype(np.float64)))


def svd(A: ArrayLike, transform: Transform = "dft") -> tuple[Tensor, Tensor, Tensor]:
    """Decompose A = U ∗ S ∗ Vᵀ by the slices' singular value decompositions (t-SVD).

    Parameters
    ----------
    A : (rows, columns, length) array
        The tensor.
    transform : {"dft", "dct"}, (length, length) orthogonal array, or transform
        Along the tubes, as in `product`.

    Returns
    -------
    U : (rows, k, length) array
        Orthogonal, Uᵀ ∗ U = I; k is the smaller of rows and columns.
    S : (k, k, length) array
        Only the tubes on its diagonal are not zero.
    V : (columns, k, length) array
        Orthogonal.

    Examples
    --------
    >>> import numpy as np
    >>> from dmc import tubal
    >>> A = np.random.default_rng(0).standard_normal((4, 3, 5))
    >>> U, S, V = tubal.svd(A)
    >>> bool(np.allclose(tubal.product(tubal.product(U, S), tubal.transpose(V)), A))
    True
    """
    A = _tensor(A, "A")
    along = transform_of(transform, A.shape[2])
    P, s, Qh = np.linalg.svd(_slices(along, A), full_matrices=False)
    middle = (s[:, :, None] * np.eye(s.shape[1])).astype(P.dtype)
    factors = P / along.scale, middle, Qh.conj().transpose(0, 2, 1) / along.scale
    U, S, V = (_back(along, factor) for factor in factors)
    return U, S, V


def singular_values(A: ArrayLike, transform: Transform = "dft") -> NDArray[np.float64]:
    """Compute the singular values of each slice of the transform.

    The transform is the one that `product` multiplies in: without normalisation for "dft", of whose conjugate
    frequencies only one each is returned, which makes length//2 + 1 slices.

    Parameters
    ----------
    A : (rows, columns, length) array
        The tensor.
    transform : {"dft", "dct"}, (length, length) orthogonal array, or transform
        Along the tubes, as in `product`.

    Returns
    -------
    (slices, k) array
        Descending; k is the smaller of rows and columns.

    Examples
    --------
    >>> from dmc import tubal
    >>> tubal.singular_values(tubal.identity(2, 4))
    array([[1., 1.],
           [1., 1.],
           [1., 1.]])
    """
    A = _tensor(A, "A")
    along = transform_of(transform, A.shape[2])
    return np.asarray(along.scale * np.linalg.svd(_slices(along, A), compute_uv=False))


def singular_tubes(A: ArrayLike, transform: Transform = "dft") -> Tensor:
    """Compute the tubes on the diagonal of S in `svd`.

    Parameters
    ----------
    A : (rows, columns, length) array
        The tensor.
    transform : {"dft", "dct"}, (length, length) orthogonal array, or transform
        Along the tubes, as in `product`.

    Returns
    -------
    (k, length) array
        One row for each tube; k is the smaller of rows and columns.

    Examples
    --------
    >>> from dmc import tubal
    >>> tubal.singular_tubes(tubal.identity(2, 4)).round(9)
    array([[1., 0., 0., 0.],
           [1., 0., 0., 0.]])
    """
    A = _tensor(A, "A")
    along = transform_of(transform, A.shape[2])
    s = np.linalg.svd(_slices(along, A), compute_uv=False)
    return np.asarray(along.backward(s.astype(along.dtype(A.dtype))).T)


def multi_rank(A: ArrayLike, transform: Transform = "dft", tol: float | None = None) -> NDArray[np.int64]:
    """Compute the rank of each slice of the transform.

    Parameters
    ----------
    A : (rows, columns, length) array
        The tensor.
    transform : {"dft", "dct"}, (length, length) orthogonal array, or transform
        Along the tubes, as in `product`.
    tol : float, optional
        Singular values above `tol` times the largest of all slices count; by default the largest dimension times the
        machine epsilon.

    Returns
    -------
    (slices,) int array
        The ranks.

    Examples
    --------
    >>> from dmc import tubal
    >>> tubal.multi_rank([[[1.0, 1.0, 1.0, 1.0]]])  # constant: only frequency 0
    array([1, 0, 0])
    """
    A = _tensor(A, "A")
    s = singular_values(A, transform)
    tol = max(A.shape) * float(np.finfo(A.dtype).eps) if tol is None else _checks.real(tol, "tol", 0)
    return np.asarray((s > tol * s.max(initial=0)).sum(1), dtype=np.int64)


def rank(A: ArrayLike, transform: Transform = "dft", tol: float | None = None) -> int:
    """Compute the tubal rank: the largest of `multi_rank`.

    Parameters
    ----------
    A : (rows, columns, length) array
        The tensor.
    transform : {"dft", "dct"}, (length, length) orthogonal array, or transform
        Along the tubes, as in `product`.
    tol : float, optional
        As in `multi_rank`.

    Returns
    -------
    int
        The tubal rank.

    Examples
    --------
    >>> import numpy as np
    >>> from dmc import tubal
    >>> rng = np.random.default_rng(0)
    >>> tubal.rank(tubal.product(rng.standard_normal((5, 2, 3)), rng.standard_normal((2, 4, 3))))
    2
    """
    return int(multi_rank(A, transform, tol).max())


def truncate(A: ArrayLike, rank: int | Sequence[int], transform: Transform = "dft") -> Tensor:
    """Find the nearest tensor of a tubal rank, or of a multi-rank.

    Parameters
    ----------
    A : (rows, columns, length) array
        The tensor.
    rank : int, or (slices,) ints
        Of all slices (at least 1), or of each, as `multi_rank` counts them (at least 0).
    transform : {"dft", "dct"}, (length, length) orthogonal array, or transform
        Along the tubes, as in `product`.

    Returns
    -------
    (rows, columns, length) array
        The nearest tensor in the Frobenius norm.

    Raises
    ------
    ValueError
        If a rank is out of range, or their number is not that of the slices.

    Examples
    --------
    >>> import numpy as np
    >>> from dmc import tubal
    >>> tubal.rank(tubal.truncate(np.random.default_rng(0).standard_normal((5, 4, 3)), 2))
    2
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
