"""Factor tensors as `dmc.Factors`: real matrices, flattened lateral slice by lateral slice."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc.factors import Factors
from dmc.tubal.slices import SliceFactors
from dmc.tubal.transforms import TubeTransform


def flatten(tensor: NDArray[Any]) -> NDArray[Any]:
    """Flatten a factor tensor into a matrix, lateral slice by lateral slice, for `dmc.Factors`.

    Parameters
    ----------
    tensor : (rows, width, length) array
        The factor tensor.

    Returns
    -------
    (rows, width·length) array
        Column k·length + s is entry s of the tubes of lateral slice k.

    Examples
    --------
    >>> import numpy as np
    >>> from dmc import tubal
    >>> tubal.flatten(np.arange(6).reshape(1, 2, 3))
    array([[0, 1, 2, 3, 4, 5]])
    """
    return np.ascontiguousarray(tensor).reshape(len(tensor), -1)


def unflatten(matrix: NDArray[Any], length: int) -> NDArray[Any]:
    """Restore a factor tensor from a flat matrix: the inverse of `flatten`.

    Parameters
    ----------
    matrix : (rows, width·length) array
        Such as ``factors.U``.
    length : int
        Length of the tubes.

    Returns
    -------
    (rows, width, length) array
        The factor tensor.

    Examples
    --------
    >>> import numpy as np
    >>> from dmc import tubal
    >>> tubal.unflatten(np.arange(6).reshape(1, 6), length=3)
    array([[[0, 1, 2],
            [3, 4, 5]]])
    """
    return matrix.reshape(len(matrix), -1, length)


def to_slices(transform: TubeTransform, factors: Factors) -> SliceFactors:
    """Convert to the models of the slices whose dense slices are those of the product of the factor tensors."""
    root = math.sqrt(transform.scale)

    def side(matrix: NDArray[Any]) -> NDArray[Any]:
        tubes = unflatten(matrix, transform.length).transpose(2, 0, 1)
        return root * transform.forward(np.ascontiguousarray(tubes))

    return SliceFactors(side(np.asarray(factors.U)), side(np.asarray(factors.V)))


def from_slices(transform: TubeTransform, model: SliceFactors) -> Factors:
    """Convert back: the inverse of `to_slices`."""
    root = math.sqrt(transform.scale)

    def side(slices: NDArray[Any]) -> NDArray[Any]:
        return flatten((transform.backward(slices) / root).transpose(1, 2, 0))

    return Factors(side(model.U), (), side(model.V))
