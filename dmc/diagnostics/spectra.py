"""Layers of a deep network: their singular values and subspaces, effective rank, and balance."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import subspace_angles

from dmc.factors import Factors

Matrix = NDArray[np.floating]


def layers(network: Factors) -> list[Matrix]:
    """List the layers [W_1, …, W_L] of a deep network: Vᵀ, the cores from right to left, U.

    Parameters
    ----------
    network : Factors
        The network, such as `dmc.initial.orthogonal` makes.

    Returns
    -------
    list of arrays
        From the first layer to the last.

    Examples
    --------
    >>> import dmc
    >>> network = dmc.initial.orthogonal((4, 6), layers=3)
    >>> [layer.shape for layer in dmc.diagnostics.layers(network)]
    [(6, 6), (6, 6), (4, 6)]
    """
    return [network.V.T, *reversed(network.cores), network.U]


class LayerSpectrum(NamedTuple):
    """One layer's singular values, and how far its singular vectors have turned; from `layer_spectrum`.

    Parameters
    ----------
    values : (k,) array
        Singular values, descending.
    left_angles, right_angles : (k,) arrays
        In radians, from 0 to π/2: the angle between each singular vector and the reference vector of the same place.

    Examples
    --------
    >>> import numpy as np
    >>> from dmc import diagnostics
    >>> spectrum = diagnostics.layer_spectrum(np.diag([3.0, 1.0]), (np.eye(2), np.eye(2)))
    >>> spectrum.values
    array([3., 1.])
    """

    values: Matrix
    left_angles: Matrix
    right_angles: Matrix


def layer_spectrum(layer: Matrix, bases: tuple[Matrix, Matrix]) -> LayerSpectrum:
    """Compute a layer's singular values, and the angles between its singular vectors and given ones.

    Parameters
    ----------
    layer : (rows, columns) array
        The layer.
    bases : ((rows, k), (columns, k)) arrays
        Orthonormal left and right vectors to compare with, in the same order, such as those of the start.

    Returns
    -------
    LayerSpectrum
        Of the leading k directions.

    Examples
    --------
    >>> import numpy as np
    >>> from dmc import diagnostics
    >>> spectrum = diagnostics.layer_spectrum(np.diag([3.0, 1.0]), (np.eye(2), np.eye(2)[:, ::-1]))
    >>> spectrum.left_angles, spectrum.right_angles.round(3)
    (array([0., 0.]), array([1.571, 1.571]))
    """
    P, s, Qt = np.linalg.svd(layer, full_matrices=False)
    k = min(len(s), bases[0].shape[1])

    def angles(now: Matrix, then: Matrix) -> Matrix:
        cosines = np.abs(np.sum(now[:, :k] * then[:, :k], axis=0))
        return np.arccos(np.clip(cosines, 0, 1))

    return LayerSpectrum(s, angles(P, bases[0]), angles(Qt.T, bases[1]))


def principal_angles(first: Matrix, second: Matrix) -> Matrix:
    """Compute the principal angles between the column spaces of two matrices.

    Parameters
    ----------
    first, second : (rows, k) arrays
        Of full column rank.

    Returns
    -------
    (k,) array
        In radians, descending.

    Examples
    --------
    >>> import numpy as np
    >>> from dmc import diagnostics
    >>> diagnostics.principal_angles(np.eye(3)[:, :2], np.eye(3)[:, 1:]).round(3)
    array([1.571, 0.   ])
    """
    return subspace_angles(first, second)


def effective_rank(singular_values: ArrayLike) -> float:
    """Compute the effective rank: the exponential of the entropy of the normalised singular values.

    It is k if k of them are equal and the others zero (Roy & Vetterli, 2007).

    Parameters
    ----------
    singular_values : (k,) non-negative numbers
        In any order.

    Returns
    -------
    float
        From 1 to k; 0 if all are zero.

    Raises
    ------
    ValueError
        If there is none, or one is negative or not finite.

    Examples
    --------
    >>> from dmc import diagnostics
    >>> round(diagnostics.effective_rank([5, 5, 0]), 6), round(diagnostics.effective_rank([5, 5, 0.1]), 2)
    (2.0, 2.1)
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
    """Compute ‖W_{l+1}ᵀ W_{l+1} − W_l W_lᵀ‖_F of each pair of adjacent layers; gradient flow keeps it constant.

    Parameters
    ----------
    network : Factors
        The network.

    Returns
    -------
    list of float
        From the first pair to the last; zeros if the network is balanced.

    Examples
    --------
    >>> import dmc
    >>> network = dmc.initial.orthogonal((6, 6), layers=3)
    >>> [round(found, 9) for found in dmc.diagnostics.imbalance(network)]
    [0.0, 0.0]
    """
    W = layers(network)
    return [float(np.linalg.norm(up.T @ up - down @ down.T)) for down, up in pairwise(W)]
