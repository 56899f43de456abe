"""What a tensor's completion fits: models of the slices along one axis, or a two-factor model of an unfolding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc._locks import cached_property
from dmc.factors import Factors
from dmc.tubal.containers import from_slices, to_slices
from dmc.tubal.slices import SliceFactors
from dmc.tubal.transforms import TubeTransform

Shape = tuple[int, int, int]
NUMBERS = 1 << 22  # gathered at a time for single entries


@dataclass(frozen=True, eq=False)
class TubalModel:
    """A tensor of low tubal rank along one of its axes.

    Attributes
    ----------
    shape : (int, int, int)
    tube : int
    transform : TubeTransform
    slices : SliceFactors
    """

    shape: Shape
    tube: int
    transform: TubeTransform
    slices: SliceFactors

    @property
    def widths(self) -> NDArray[np.int64]:
        """(slices,) the multi-rank."""
        return self.slices.widths

    @cached_property
    def factors(self) -> Factors:
        """Flat, as those of `dmc.TubalLeastSquares`."""
        return from_slices(self.transform, self.slices)

    def dense(self) -> NDArray[Any]:
        """The whole tensor."""
        return np.moveaxis(self.transform.backward(self.slices.dense()), 0, self.tube)

    def at(self, where: tuple[NDArray[np.int64], ...]) -> NDArray[Any]:
        """(asked,) values at positions along the three axes."""
        (rows, cols), tubes = [where[axis] for axis in range(3) if axis != self.tube], where[self.tube]
        basis = self.transform.backward_rows()
        U, V = self.slices
        at_once = max(NUMBERS // max(len(U) * U.shape[2], 1), 1)
        found = np.empty(len(rows), U.real.dtype)
        for start in range(0, len(rows), at_once):
            part = slice(start, start + at_once)
            of_slices = (U[:, rows[part]] * V[:, cols[part]].conj()).sum(2)
            found[part] = (of_slices * basis[:, tubes[part]]).sum(0).real
        return found

    def scaled(self, unit: float) -> TubalModel:
        """The whole tensor times a positive number."""
        root = unit**0.5
        return TubalModel(self.shape, self.tube, self.transform, SliceFactors(*(root * side for side in self.slices)))

    @classmethod
    def of_factors(cls, shape: Shape, tube: int, transform: TubeTransform, factors: Factors) -> TubalModel:
        return cls(shape, tube, transform, to_slices(transform, factors))


@dataclass(frozen=True, eq=False)
class UnfoldedModel:
    """A tensor of which one unfolding has low rank: its columns one axis, its rows the two others.

    Attributes
    ----------
    shape : (int, int, int)
    axis : int
    factors : Factors
    """

    shape: Shape
    axis: int
    factors: Factors

    def dense(self) -> NDArray[Any]:
        """The whole tensor."""
        others = [n for axis, n in enumerate(self.shape) if axis != self.axis]
        return np.moveaxis(np.asarray(self.factors.dense()).reshape(*others, -1), 2, self.axis)

    def at(self, where: tuple[NDArray[np.int64], ...]) -> NDArray[Any]:
        """(asked,) values at positions along the three axes."""
        first, second = (axis for axis in range(3) if axis != self.axis)
        rows = where[first] * self.shape[second] + where[second]
        return np.asarray(self.factors.at(rows, where[self.axis]))

    def scaled(self, unit: float) -> UnfoldedModel:
        """The whole tensor times a positive number."""
        return UnfoldedModel(self.shape, self.axis, self.factors.scaled(unit))


TensorModel = TubalModel | UnfoldedModel


def unfolded(tensor: NDArray[Any], axis: int) -> NDArray[Any]:
    """(entries of a slice, length of the axis) the matrix whose columns are an axis."""
    return np.moveaxis(tensor, axis, 2).reshape(-1, tensor.shape[axis])
