"""The law of parsimony: the block form that it predicts of every layer, and what it says of the compressed network."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dmc import _checks
from dmc.diagnostics.spectra import Matrix, layers
from dmc.factors import Factors


class Parsimony(NamedTuple):
    """The predicted form of every layer at all times, W_l(t) = U_l · blkdiag(C_l(t), ρ_l(t) I) · V_lᵀ.

    Parameters
    ----------
    left, right : list of (d, d) arrays
        Bases U_l and V_l for l = 1, …, L, with the 2r directions that move first.
    moving : int
        Size of the block C_l, 2r.

    Examples
    --------
    >>> import numpy as np
    >>> import dmc
    >>> problem = dmc.LeastSquares(np.outer(np.ones(6), np.arange(6.0)))
    >>> start = dmc.initial.orthogonal((6, 6), layers=3)
    >>> dmc.diagnostics.parsimony(start, problem.value_and_grad(start)[1], rank=1).moving
    2
    """

    left: list[Matrix]
    right: list[Matrix]
    moving: int

    def __repr__(self) -> str:
        d = len(self.right[0])
        return f"Parsimony({len(self.left)} layers: {self.moving} of {d} directions move, {d - self.moving} rest)"


def parsimony(start: Factors, gradient: Factors, rank: int) -> Parsimony:
    """Predict the invariant subspaces of a full-width network, from its ε-orthogonal start and the gradient there.

    With G the gradient with respect to W_1 and N(·) the null space, the right vectors of W_1 that stay put span
    N(G) ∩ N(Gᵀ W_1(0)); U_l = W_l(0) V_l/ε and V_{l+1} = U_l (Yaras et al., arXiv 2306.01154, theorem 1).

    Parameters
    ----------
    start : Factors
        From `dmc.initial.orthogonal`: square, or with as many rows as the rank, where the form holds for all layers but
        the last.
    gradient : Factors
        Of the problem at the start, from its ``value_and_grad``.
    rank : int
        Rank r of the target, at most half of the width d. With a smaller one than the target's, the form does not hold.

    Returns
    -------
    Parsimony
        To be compared with the trained network by `block_form`.

    Raises
    ------
    TypeError
        If start or gradient are not Factors.
    ValueError
        If the layers of the start are not ε times orthogonal matrices, the gradient has other shapes, or the rank is
        out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import dmc
    >>> from dmc import diagnostics
    >>> rng = np.random.default_rng(0)
    >>> problem = dmc.LeastSquares(np.outer(rng.standard_normal(6), rng.standard_normal(6)))
    >>> start = dmc.initial.orthogonal((6, 6), layers=3, scale=0.1)
    >>> form = diagnostics.parsimony(start, problem.value_and_grad(start)[1], rank=1)
    >>> trained = dmc.solve(problem, start, dmc.steps.DiscrepantDescent(0.01), max_steps=500, tol=0).factors
    >>> [block.off_block < 1e-9 and block.rest < 1e-9 for block in diagnostics.block_form(trained, form)]
    [True, True, True]
    """
    for name, given in (("start", start), ("gradient", gradient)):
        if not isinstance(given, Factors):
            raise TypeError(
                f"{name} is a {type(given).__name__}; give Factors: _, gradient = problem.value_and_grad(start)"
            )
    W = layers(start)
    if (shapes := _shapes(start)) != _shapes(gradient):
        raise ValueError(f"the start has layers of {shapes} and the gradient {_shapes(gradient)}; take it at the start")
    scale = float(np.linalg.norm(W[0], 2))
    if not all(_is_orthogonal(layer, scale, len(W[0])) for layer in W):
        raise ValueError(
            f"the start, with layers of {shapes}, is not a full-width network whose layers are orthogonal and of one "
            "scale; start from dmc.initial.orthogonal"
        )
    rank = _checks.integer(rank, "rank", 1, len(W[0]) // 2, "2·rank of the directions move")
    P, _, Qt = np.linalg.svd(gradient.V.T)
    moving = np.hstack([Qt[:rank].T, W[0].T @ P[:, :rank] / scale])
    basis, _ = np.linalg.qr(moving, mode="complete")
    left, right = [], []
    for layer in W:
        right.append(basis)
        basis = layer @ basis / scale
        left.append(basis)
    return Parsimony(left, right, moving.shape[1])


def _shapes(network: Factors) -> str:
    return ", ".join("×".join(map(str, layer.shape)) for layer in layers(network))


def _is_orthogonal(layer: Matrix, scale: float, width: int) -> bool:
    """Whether its rows are orthonormal, but for a scale, and it is as wide as the network."""
    if layer.shape[1] != width:
        return False
    return bool(np.abs(layer @ layer.T - scale**2 * np.eye(len(layer))).max() <= 1e-4 * scale**2)


class BlockForm(NamedTuple):
    """A layer measured against its predicted form; from `block_form`.

    Parameters
    ----------
    block : (2r, 2r) array
        The block C_l.
    rho : float
        Mean of the diagonal of the part that is predicted to be ρ_l I.
    off_block : float
        Largest entry, in absolute value, outside the two blocks.
    rest : float
        Largest deviation, in absolute value, of the second block from ρ_l I.

    Examples
    --------
    >>> import numpy as np
    >>> import dmc
    >>> problem = dmc.LeastSquares(np.outer(np.ones(6), np.arange(6.0)))
    >>> start = dmc.initial.orthogonal((6, 6), layers=3, scale=0.1)
    >>> form = dmc.diagnostics.parsimony(start, problem.value_and_grad(start)[1], rank=1)
    >>> round(dmc.diagnostics.block_form(start, form)[0].rho, 6)
    0.1
    """

    block: Matrix
    rho: float
    off_block: float
    rest: float


def block_form(network: Factors, form: Parsimony) -> list[BlockForm]:
    """Measure every layer in the coordinates of its predicted form.

    Parameters
    ----------
    network : Factors
        The network at any time of its training.
    form : Parsimony
        From `parsimony`.

    Returns
    -------
    list of BlockForm
        From the first layer to the last.

    Raises
    ------
    ValueError
        If the network has other layers than the start of the form had.

    Examples
    --------
    >>> import numpy as np
    >>> import dmc
    >>> problem = dmc.LeastSquares(np.outer(np.ones(6), np.arange(6.0)))
    >>> start = dmc.initial.orthogonal((6, 6), layers=3, scale=0.1)
    >>> form = dmc.diagnostics.parsimony(start, problem.value_and_grad(start)[1], rank=1)
    >>> [layer.off_block < 1e-12 for layer in dmc.diagnostics.block_form(start, form)]
    [True, True, True]
    """
    found = []
    k = form.moving
    wanted = ", ".join(f"{len(left)}×{len(right)}" for left, right in zip(form.left, form.right, strict=True))
    if _shapes(network) != wanted:
        raise ValueError(f"the network has layers of {_shapes(network)} and the form is of {wanted}; give its network")
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
    """Compute ρ(t), the common singular value of the directions that stay, as the theory predicts it.

    Square last layer: ρ_l ← ρ_l (1 − ηλ) − η v_l with v_l ← β v_l + ρ_l ∏_{k≠l} ρ_k². A last layer with as many rows as
    the target's rank: ρ(t) = ε (1 − ηλ)^t in every other layer, with momentum or without, because no gradient reaches
    it (derived from Yaras et al., arXiv 2306.01154, whose case is β = 0).

    Parameters
    ----------
    depth : int
        Number of layers L of the full-width network, its first and last included: the ``layers`` of the start.
    scale : float
        Scale ε of the start.
    rate : float
        Learning rate η.
    n_steps : int
        Number of steps.
    weight_decay : float
        Weight decay λ.
    square : bool
        Whether the last layer is square.
    momentum : float
        The β of ``Momentum(DiscrepantDescent(rate, 1, weight_decay), beta)``; weight decay does not pass through it.

    Returns
    -------
    (n_steps + 1,) float64 array
        At t = 0, …, n_steps, the same for every layer, because all start from ε.

    Examples
    --------
    >>> from dmc import diagnostics
    >>> diagnostics.predicted_rho(depth=3, scale=0.1, rate=0.01, n_steps=2, weight_decay=1.0).round(6)
    array([0.1    , 0.099  , 0.09801])
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
    """Compute ‖W_L⋯W_1 − U·C_L⋯C_1·Vᵀ‖_F between a full-width network and its compressed one.

    Parameters
    ----------
    network, compressed : Factors
        Of the same shape.

    Returns
    -------
    float
        In the units of the data; see `compression_bound`.

    Examples
    --------
    >>> import dmc
    >>> network = dmc.initial.orthogonal((6, 6), layers=2, scale=1.0)
    >>> round(dmc.diagnostics.compression_error(network, network.scaled(0.5)), 6)  # 0.5·√6
    1.224745
    """
    return float(np.linalg.norm(network.dense() - compressed.dense()))


def compression_bound(size: int, rank: int, rho: ArrayLike) -> float:
    """Compute the theoretical bound of `compression_error`, √((d − 2r̂) ∏ ρ_l²), exact in full observation.

    Parameters
    ----------
    size : int
        Size d of the square matrix.
    rank : int
        The r̂ of the compressed network.
    rho : (L,) numbers
        The ρ_l of every layer, from `predicted_rho`.

    Returns
    -------
    float
        In the units of the data.

    Examples
    --------
    >>> from dmc import diagnostics
    >>> round(diagnostics.compression_bound(size=100, rank=5, rho=[0.1, 0.1, 0.1]), 6)
    0.009487
    """
    return math.sqrt(max(size - 2 * rank, 0)) * float(np.prod(np.asarray(rho, dtype=np.float64)))
