"""What one looks at while a deep linear network trains: spectra, subspaces, the predicted block form, compression."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import subspace_angles

from dmc import _checks
from dmc.collapse import ClassStatistics as ClassStatistics, Collapse as Collapse, collapse as collapse
from dmc.factors import Factors

__all__ = [
    "BlockForm",
    "ClassStatistics",
    "Collapse",
    "LayerSpectrum",
    "Parsimony",
    "Separation",
    "block_form",
    "collapse",
    "compression_bound",
    "compression_error",
    "effective_rank",
    "imbalance",
    "layer_spectrum",
    "layers",
    "parsimony",
    "predicted_rho",
    "principal_angles",
    "separation",
]

Matrix = NDArray[np.floating]


def layers(network: Factors) -> list[Matrix]:
    """The layers [W_1, …, W_L] of a deep network: Vᵀ, the cores from right to left, U."""
    return [network.V.T, *reversed(network.cores), network.U]


class LayerSpectrum(NamedTuple):
    """One layer's singular values and how far its singular vectors have turned since the start.

    Attributes
    ----------
    values : (k,) descending
    left_angles, right_angles : (k,) radians, from 0 to π/2
        Angle between each singular vector's present direction and the space that the start's vectors of the same place
        span, one by one.
    """

    values: Matrix
    left_angles: Matrix
    right_angles: Matrix


def layer_spectrum(layer: Matrix, bases: tuple[Matrix, Matrix]) -> LayerSpectrum:
    """Singular values of a layer, and the angles of its singular vectors to given bases.

    Parameters
    ----------
    layer : (rows, columns) array
    bases : ((rows, k), (columns, k)) arrays
        Orthonormal left and right vectors to compare with, in the same order.
    """
    P, s, Qt = np.linalg.svd(layer, full_matrices=False)
    k = min(len(s), bases[0].shape[1])

    def angles(now: Matrix, then: Matrix) -> Matrix:
        cosines = np.abs(np.sum(now[:, :k] * then[:, :k], axis=0))
        return np.arccos(np.clip(cosines, 0, 1))

    return LayerSpectrum(s, angles(P, bases[0]), angles(Qt.T, bases[1]))


def principal_angles(first: Matrix, second: Matrix) -> Matrix:
    """(k,) principal angles, in radians, descending, between the column spaces of two matrices (rows, k)."""
    return subspace_angles(first, second)


def effective_rank(singular_values: ArrayLike) -> float:
    """Exponential of the entropy of the normalised singular values (Roy & Vetterli, 2007): k if k are equal.

    Parameters
    ----------
    singular_values : (k,) non-negative numbers
    """
    s = np.asarray(singular_values, dtype=np.float64)
    if s.size == 0 or (s < 0).any() or not np.isfinite(s).all():
        raise ValueError("singular values have to be non-negative, finite, and at least one")
    total = s.sum()
    if total == 0:
        return 0.0
    p = s[s > 0] / total
    return float(np.exp(-np.sum(p * np.log(p))))


def imbalance(network: Factors) -> list[float]:
    """‖W_{l+1}ᵀ W_{l+1} − W_l W_lᵀ‖_F of each pair of neighbouring layers; gradient flow keeps it constant."""
    W = layers(network)
    return [float(np.linalg.norm(up.T @ up - down @ down.T)) for down, up in pairwise(W)]


class Parsimony(NamedTuple):
    """The predicted form of every layer at all times: W_l(t) = U_l · blkdiag(W̃_l(t), ρ_l(t) I) · V_lᵀ.

    Attributes
    ----------
    left, right : list of (d, d) arrays
        U_l and V_l for l = 1, …, L, the 2r directions that move first.
    moving : int
        Size of the block W̃_l, 2r.
    """

    left: list[Matrix]
    right: list[Matrix]
    moving: int


def parsimony(start: Factors, gradient: Factors, rank: int) -> Parsimony:
    """The invariant subspaces of a full-width network, from its ε-orthogonal start and the gradient there.

    The right space that stays put, V_{1,2}, is N(G) ∩ N(Gᵀ W_1(0)) with G the gradient by W_1; U_l = W_l(0) V_l/ε and
    V_{l+1} = U_l (Yaras et al., arXiv 2306.01154, theorem 1).

    Parameters
    ----------
    start : Factors
        From `dmc.initial.orthogonal`: square, or with as many rows as the rank, where the form holds for all layers but
        the last.
    gradient : Factors
        Of the problem at the start.
    rank : int
        Rank r of the target.
    """
    W = layers(start)
    scale = float(np.linalg.norm(W[0], 2))
    P, _, Qt = np.linalg.svd(gradient.V.T)
    moving = np.hstack([Qt[:rank].T, W[0].T @ P[:, :rank] / scale])
    basis, _ = np.linalg.qr(moving, mode="complete")
    left, right = [], []
    for layer in W:
        right.append(basis)
        basis = layer @ basis / scale
        left.append(basis)
    return Parsimony(left, right, moving.shape[1])


class BlockForm(NamedTuple):
    """A layer measured against its predicted form.

    Attributes
    ----------
    block : (2r, 2r) array
        W̃_l.
    rho : float
        Mean of the diagonal of the part that is predicted to be ρ_l I.
    off_block : float
        Largest entry, in absolute value, outside the two blocks.
    rest : float
        Largest deviation, in absolute value, of the second block from ρ_l I.
    """

    block: Matrix
    rho: float
    off_block: float
    rest: float


def block_form(network: Factors, form: Parsimony) -> list[BlockForm]:
    """Every layer in the coordinates of its predicted form, from the first to the last."""
    found = []
    k = form.moving
    for W, left, right in zip(layers(network), form.left, form.right, strict=True):
        D = left.T @ W @ right
        tail = D[k:, k:]
        n = min(tail.shape)
        rho = float(np.mean(np.diagonal(tail))) if n else 0.0
        off = [np.abs(D[:k, k:]).max(initial=0), np.abs(D[k:, :k]).max(initial=0)]
        rest = np.abs(tail - rho * np.eye(*tail.shape)).max(initial=0)
        found.append(BlockForm(D[:k, :k], rho, float(max(off)), float(rest)))
    return found


def predicted_rho(
    depth: int,
    scale: float,
    rate: float,
    n_steps: int,
    weight_decay: float = 0.0,
    square: bool = True,
    momentum: float = 0.0,
) -> Matrix:
    """ρ(t) of every layer, t = 0, …, n_steps, as the theory has it.

    Square last layer: ρ_l ← ρ_l (1 − ηλ) − η v_l with v_l ← β v_l + ρ_l ∏_{k≠l} ρ_k². A last layer with as many rows as
    the target's rank: ρ(t) = ε (1 − ηλ)^t in every other layer, with momentum or without, for no gradient reaches it
    (derived from Yaras et al., arXiv 2306.01154, whose case is β = 0).

    Parameters
    ----------
    depth : int
        Number of layers L.
    scale : float
        ε.
    rate, weight_decay : float
        η and λ.
    n_steps : int
    square : bool
        Whether the last layer is square.
    momentum : float
        β of ``Momentum(DiscrepantDescent(rate, 1, weight_decay), beta)``; weight decay does not pass through it.

    Returns
    -------
    (n_steps + 1,) float64
        The same for every layer, because all start from ε.
    """
    depth = _checks.integer(depth, "depth", 1)
    momentum = _checks.real(momentum, "momentum", 0, 1)
    rho = np.empty(n_steps + 1)
    rho[0], velocity = scale, 0.0
    for t in range(n_steps):
        velocity = momentum * velocity + (rho[t] ** (2 * depth - 1) if square else 0.0)
        rho[t + 1] = rho[t] * (1 - rate * weight_decay) - rate * velocity
    return rho


def compression_error(network: Factors, compressed: Factors) -> float:
    """‖W_L⋯W_1 − U·W̃_L⋯W̃_1·Vᵀ‖_F between a full-width network and its compressed one."""
    return float(np.linalg.norm(network.dense() - compressed.dense()))


def compression_bound(size: int, rank: int, rho: ArrayLike) -> float:
    """The bound of `compression_error`: √((d − 2r̂) ∏ ρ_l²), exact in full observation.

    Parameters
    ----------
    size : int
        d.
    rank : int
        r̂.
    rho : (L,) numbers
        ρ_l of every layer.
    """
    return math.sqrt(max(size - 2 * rank, 0)) * float(np.prod(np.asarray(rho, dtype=np.float64)))


class Separation(NamedTuple):
    """How far the classes lie apart in a layer's features.

    Attributes
    ----------
    within_to_between : float
        D = tr(Σ_W)/tr(Σ_B): variance within the classes over that between their means; falls from layer to layer.
    nc1 : float
        tr(Σ_W Σ_B⁺)/number of classes: within-class collapse (Papyan, Han & Donoho, 2020).
    """

    within_to_between: float
    nc1: float


def separation(features: ArrayLike, labels: ArrayLike) -> Separation:
    """Separation of classes in features: two of the measures of `collapse`, with its warnings.

    Parameters
    ----------
    features : (samples, k) array
    labels : (samples,) array of any values

    Raises
    ------
    ValueError
        If the lengths differ, a feature is not finite, or there are fewer than two classes.
    """
    found = collapse(features, labels)
    return Separation(found.within_to_between, found.nc1)
