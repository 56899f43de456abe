"""Where to start. Starts from the observed entries are defined here, random starts in `dmc.solver.layered`."""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy import sparse
from scipy.sparse.linalg import svds

from dmc import _arrays, _checks
from dmc._group import Share, spread_qr, spread_svd
from dmc.factors import Array, Factors
from dmc.observations import Observations
from dmc.solver.layered import Seed, checked_dtype, gaussian, narrow, normal, orthogonal, uniform
from dmc.solver.protocol import check_finite

__all__ = [
    "compressed",
    "compressed_from",
    "gaussian",
    "narrow",
    "normal",
    "orthogonal",
    "singular",
    "spectral",
    "uniform",
]

Target = Observations | Array

SPARE, POWER_STEPS = 8, 6  # directions beside those that are wanted, and turns, of `dealt_spectral`


def compressed(target: Target, rank: int, depth: int = 3, scale: float = 1e-2, seed: Seed = 0) -> Factors:
    """Start the compressed deep network: orthonormal outer factors spanning the subspace that training moves in.

    In closed form, for any shape: with Ω⊙X ≈ Σ σ_i p_i q_iᵀ (`rank` terms), V = [q z] and U = [w p], where w and z are
    random orthonormal complements, and every core is `scale` times the identity. This is the subspace that the
    published construction finds from the full-width network's first gradient (`compressed_from`), by one truncated SVD
    of the sparse matrix instead of O(d³).

    Parameters
    ----------
    target : Observations or (rows, columns) array
        The observed entries; an array is a fully observed matrix, or `LinearSensing.back_projection`. From torch
        tensors the factors are tensors, too, on the same device.
    rank : int
        Upper bound r̂ of the rank; the width is 2r̂, or the smaller side of the matrix if that is less.
    depth : int
        Number of cores L. With 0 there are the two outer factors alone, each times the square root of `scale`.
    scale : float
        The ε, in the data's units to the power 1/L.
    seed : int or numpy.random.Generator
        The same seed gives the same start.

    Returns
    -------
    Factors
        In the target's dtype.

    Examples
    --------
    >>> import dmc
    >>> observed = dmc.datasets.planted((30, 20), rank=2, observed=0.6).observations
    >>> dmc.initial.compressed(observed, rank=4)
    Factors(30×20, width 8, 3 cores)
    """
    rng, target = _checks.generator(seed, "seed"), _checked(target)
    rank = _checks.rank(rank, target.shape)
    depth = _checks.integer(depth, "depth", 0)
    scale = _checks.real(scale, "scale", 0, open_ends=True)
    checked_dtype(_arrays.numpy_dtype(target.dtype), scale)
    P, _, Q = _truncated_svd(target, rank, rng)
    more = min(2 * rank, *target.shape) - rank
    xp = array_api_compat.array_namespace(P)
    U = xp.concat([_complement(P, more, rng), P], axis=1)
    V = xp.concat([Q, _complement(Q, more, rng)], axis=1)
    if depth == 0:
        return Factors(U * scale**0.5, (), V * scale**0.5)
    return Factors(U, _identities(U, depth, scale), V)


def compressed_from(network: Factors, gradient: Factors, rank: int) -> Factors:
    """Compress the start of a given full-width network, as published (Yaras et al., arXiv 2406.04112, section 3).

    With G the gradient with respect to W_1 at the start of N layers, V spans the complement of N(G) ∩ N(Gᵀ W_1(0)), cut
    at `rank`, and U = W_N⋯W_1(0)·V/ε^N. Costs O(d³).

    Parameters
    ----------
    network : Factors
        From `orthogonal`.
    gradient : Factors
        Of the problem at `network`.
    rank : int
        Upper bound r̂ of the rank: the width is 2r̂.

    Returns
    -------
    Factors
        With as many cores as the network has layers, each ε times the identity.

    Examples
    --------
    >>> import dmc
    >>> observed = dmc.datasets.planted((20, 20), rank=2, observed=0.6).observations
    >>> problem, network = dmc.MaskedLeastSquares(observed), dmc.initial.orthogonal((20, 20), layers=3)
    >>> value, gradient = problem.value_and_grad(network)
    >>> dmc.initial.compressed_from(network, gradient, rank=2)
    Factors(20×20, width 4, 3 cores)
    """
    rank = _checks.rank(rank, network.shape)
    layers = network.depth + 2
    W_1 = network.V.T
    scale = float(np.linalg.norm(W_1, 2))
    left, _, right = np.linalg.svd(gradient.V.T, full_matrices=False)  # of G = ∇_{W_1}, (hidden, columns)
    V = np.linalg.qr(np.hstack([right[:rank].T, W_1.T @ left[:, :rank] / scale]))[0]
    U = network.left @ (W_1 @ V) / scale**layers
    return Factors(U, _identities(V, layers, scale), V)


def singular(
    target: Target, rank: int, layers: int = 3, scale: float = 1e-2, seed: Seed = 0, *, depth: int | None = None
) -> Factors:
    """Start every layer of a network at scale ε on the target's leading singular vectors.

    U = εP, V = εQ and cores ε times the r̂×r̂ identity, with P and Q the leading singular vectors (Kwon et al.,
    arXiv 2311.05061, C-DLN). Train its outer factors at a rate above that of the cores (1 to 5 times).

    Parameters
    ----------
    target : Observations or (rows, columns) array
        The observed entries, or a fully observed matrix.
    rank : int
        Upper bound r̂ of the rank, here also the width.
    layers : int
        Number of layers N, at least 2; the Factors have N − 2 cores.
    scale : float
        The ε.
    seed : int or numpy.random.Generator
        The same seed gives the same start.
    depth : int, optional
        Old name of `layers`; deprecated.

    Returns
    -------
    Factors
        In the target's dtype.

    Examples
    --------
    >>> import dmc
    >>> observed = dmc.datasets.planted((30, 20), rank=2, observed=0.6).observations
    >>> dmc.initial.singular(observed, rank=4, layers=3)
    Factors(30×20, width 4, 1 core)
    """
    rng, target = _checks.generator(seed, "seed"), _checked(target)
    rank = _checks.rank(rank, target.shape)
    layers = _checks.integer(_checks.renamed("depth", depth, "layers", layers), "layers", 2)
    scale = _checks.real(scale, "scale", 0, open_ends=True)
    checked_dtype(_arrays.numpy_dtype(target.dtype), scale)
    P, _, Q = _truncated_svd(target, rank, rng)
    return Factors(P * scale, _identities(P, layers - 2, scale), Q * scale)


def spectral(target: Target, rank: int, seed: Seed = 0) -> Factors:
    """Start a two-factor model from the truncated SVD of Ω⊙X over the observed share, split evenly.

    Parameters
    ----------
    target : Observations or (rows, columns) array
        The observed entries, or a fully observed matrix.
    rank : int
        Rank r of the model, which this start needs to know.
    seed : int or numpy.random.Generator
        The same seed gives the same start.

    Returns
    -------
    Factors
        Without cores, in the target's dtype.

    Examples
    --------
    >>> import dmc
    >>> observed = dmc.datasets.planted((30, 20), rank=2, observed=0.6).observations
    >>> start = dmc.initial.spectral(observed, rank=2)
    >>> start
    Factors(30×20, width 2, 0 cores)
    >>> dmc.solve(dmc.MaskedLeastSquares(observed), start, dmc.steps.ScaledDescent()).status.name
    'CONVERGED'
    """
    rng, target = _checks.generator(seed, "seed"), _checked(target)
    rank = _checks.rank(rank, target.shape)
    P, s, Q = _truncated_svd(target, rank, rng)
    density = target.density if isinstance(target, Observations) else 1.0
    root = (s / density) ** 0.5
    return Factors(P * root, (), Q * root)


def dealt_gaussian(
    share: Share,
    n_columns: int,
    width: int,
    depth: int = 0,
    scale: float = 1e-2,
    seed: Seed = 0,
    dtype: DTypeLike = np.float64,
) -> Factors:
    """Start from independent normal entries, for the rows of one process.

    Whatever the number of processes, each row of the matrix gets the same row of U. Unlike in `gaussian`, `scale` is
    that of the entries, because the norm of a layer grows with its rows.

    Parameters
    ----------
    share : Share
        The rows of this process.
    n_columns : int
        Columns of the matrix.
    width : int
        Inner dimension.
    depth : int
        Number of cores.
    scale : float
        Standard deviation of the outer factors' entries; that of the cores' entries is this over √width, so that their
        spectral norm is about twice the scale.
    seed : int or numpy.random.Generator
        The same, or in the same state, in all processes.
    dtype : dtype
        Either float32 or float64.

    Returns
    -------
    Factors
        With the rows of U that belong to this process.
    """
    width = _checks.integer(width, "width", 1)
    depth = _checks.integer(depth, "depth", 0)
    scale = _checks.real(scale, "scale", 0, open_ends=True)
    dtype, rng = checked_dtype(dtype, scale), _checks.generator(seed, "seed")

    def draw(of: np.random.Generator, rows: int, deviation: float) -> NDArray[Any]:
        return (deviation * of.standard_normal((rows, width))).astype(dtype)

    return Factors(
        share.draw(rng, share.rows, lambda of_part, rows: draw(of_part, rows, scale)),
        [draw(rng, width, scale / width**0.5) for _ in range(depth)],
        draw(rng, n_columns, scale),
    )


def dealt_spectral(observations: Observations, rank: int, seed: Seed, share: Share) -> Factors:
    """Start as `spectral` does, approximately, for the rows of one process: by subspace iteration over all rows.

    Parameters
    ----------
    observations : Observations
        Of the rows of this process; NumPy arrays.
    rank : int
        Rank r of the model.
    seed : int or numpy.random.Generator
        The same, or in the same state, in all processes.
    share : Share
        The rows of this process.

    Returns
    -------
    Factors
        Without cores, with the rows of U that belong to this process.

    References
    ----------
    N. Halko, P. Martinsson, J. Tropp, "Finding structure with randomness", 2011 (arXiv 0909.4061).
    """
    check_finite(observations.values)
    group, matrix, n = share.group, observations.to_scipy(), observations.shape[1]
    width = min(rank + SPARE, n)
    Q = np.random.default_rng(seed).standard_normal((n, width)).astype(matrix.dtype)
    for _ in range(POWER_STEPS):
        P = spread_qr(np.asarray(matrix @ Q), group)[0]
        Q, s, turn = spread_svd(group.sum(np.asarray(matrix.T @ P)), group)
    density = group.sum(observations.n_observed) / (group.sum(observations.shape[0]) * n)
    root = ((s / density) ** 0.5).astype(matrix.dtype)[:rank]
    return Factors((P @ turn.T)[:, :rank] * root, (), Q[:, :rank] * root)


def _checked(target: Any) -> Target:
    """Observations, or a matrix of finite numbers."""
    if isinstance(target, Observations):
        check_finite(target.values)
        return target
    if target is None or hasattr(target, "observations"):
        what = "None" if target is None else type(target).__name__
        raise TypeError(f"the data to start from are {what}; give Observations, or a matrix")
    if sparse.issparse(target):
        raise TypeError(
            "the matrix to start from is sparse, where zero may be a value or a gap; give dmc.observe(matrix), or "
            "matrix.toarray()"
        )
    device = _arrays.of(target) if _arrays.is_tensor(target) else None
    matrix = _checks.as_float(target if device is None else _arrays.place(target, None), "the matrix to start from")
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(
            f"the data to start from have shape {matrix.shape}; give Observations, or a matrix of rows and columns"
        )
    if np.isnan(matrix).any():
        raise ValueError(
            f"the matrix to start from holds {_checks.count(int(np.isnan(matrix).sum()), 'NaN')}; where they mark "
            "missing entries, give dmc.observe(matrix)"
        )
    _checks.finite(matrix, "the matrix to start from")
    return _arrays.place(matrix, device)


def _truncated_svd(target: Target, rank: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Leading singular vectors (columns) and values, descending, of the matrix, zero where not observed."""
    values = target.values if isinstance(target, Observations) else target
    xp = array_api_compat.array_namespace(values)
    largest = float(xp.max(xp.abs(values))) or 1.0
    # Divided by the largest, squares stay inside the range of the dtype.
    scaled: Target = target.with_values(values / largest) if isinstance(target, Observations) else values / largest
    smaller, dtype = min(scaled.shape), _arrays.numpy_dtype(values.dtype)
    if not bool(xp.any(values != 0)):  # nothing to decompose, and nothing for ARPACK to start from
        P, Q = (rng.standard_normal((lines, rank)).astype(dtype) for lines in scaled.shape)
        s = np.zeros(rank, dtype)
    elif 2 * rank >= smaller:  # ARPACK wants fewer; one side is then as narrow as the result itself
        dense = scaled.to_scipy().toarray() if isinstance(scaled, Observations) else _arrays.place(scaled, None)
        P, s, Qt = np.linalg.svd(dense, full_matrices=False)
        P, s, Q = P[:, :rank], s[:rank], Qt[:rank].T
    else:
        matrix = scaled.linear_operator() if isinstance(scaled, Observations) else _arrays.place(scaled, None)
        P, s, Qt = svds(matrix, rank, v0=rng.standard_normal(smaller).astype(dtype), rng=rng)
        P, s, Q = P[:, ::-1], s[::-1], Qt[::-1].T
    # A matrix of lower rank leaves arbitrary vectors behind, not always orthonormal ones.
    P, s, Q = (_arrays.place(a, _arrays.of(values)) for a in (P, s.astype(dtype), Q))
    return _orthonormal(P), s * largest, _orthonormal(Q)


def _orthonormal(columns: Array) -> Array:
    """Orthonormal columns with the span and, where they were orthonormal already, the signs of the given ones."""
    xp = array_api_compat.array_namespace(columns)
    Q, R = xp.linalg.qr(columns)
    return Q * xp.astype(1 - 2 * xp.astype(xp.linalg.diagonal(R) < 0, xp.int32), Q.dtype)


def _identities(like: Array, count: int, scale: float) -> tuple[Array, ...]:
    """Cores for a factor like this one: `scale` times the identity."""
    xp = array_api_compat.array_namespace(like)
    return (scale * xp.eye(like.shape[1], dtype=like.dtype, device=array_api_compat.device(like)),) * count


def _complement(basis: Array, columns: int, rng: np.random.Generator) -> Array:
    """(lines, columns) random orthonormal columns, orthogonal to an orthonormal basis."""
    xp = array_api_compat.array_namespace(basis)
    draw = rng.standard_normal((basis.shape[0], columns)).astype(_arrays.numpy_dtype(basis.dtype))
    draw = _arrays.place(draw, _arrays.of(basis))
    for _ in range(2):  # twice is enough (Kahan): the second pass removes what rounding left
        draw = xp.linalg.qr(draw - basis @ (basis.T @ draw))[0]
    return draw
