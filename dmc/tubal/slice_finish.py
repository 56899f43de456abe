"""Gauss–Newton without a penalty on the slices' models, and the multi-rank at its end."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmc.tubal.slices import SliceEquations, SliceFactors, SliceLeastSquares, Slices, gradient

TOL, MAX_PRODUCTS = 0.1, 100  # of the loosest solve, and passes over the tensor for one step, as in GaussNewton
SHORTEST = 1e-4  # share of a step below which it is not taken


@dataclass(frozen=True)
class FinishPoint:
    """The state of a finish.

    Attributes
    ----------
    model : SliceFactors
    value : float
    by_slices : (slices, rows, columns) array
        The gradient by X̂.
    before : float
        The value before the last step; infinite before the first.
    """

    model: SliceFactors
    value: float
    by_slices: Slices
    before: float = math.inf

    @classmethod
    def of(cls, problem: SliceLeastSquares, model: SliceFactors) -> FinishPoint:
        return cls(model, *problem.gradient_by_slices(model))


def finish_step(problem: SliceLeastSquares, at: FinishPoint) -> FinishPoint:
    """One Gauss–Newton step, halved until the value does not rise; the same point, with `before` its value, where no
    step is short enough. Columns of zeros stay zero: the multi-rank does not rise."""
    floor = math.sqrt(float(np.finfo(at.by_slices.dtype).eps))
    gain = math.sqrt(at.value / at.before) if 0 < at.before < math.inf else TOL
    slopes = gradient(at.model, at.by_slices)
    delta = SliceEquations(problem, at.model).solve(slopes, max(min(TOL, gain), floor), MAX_PRODUCTS)
    share = 1.0
    while share >= SHORTEST:
        model = at.model.moved(delta, share)
        value, by_slices = problem.gradient_by_slices(model)
        if value <= at.value:
            return FinishPoint(model, value, by_slices, at.value)
        share /= 2
    return FinishPoint(at.model, at.value, at.by_slices, at.value)


def gap(singular_values: NDArray[np.float64], least: float) -> float | None:
    """A value between the two neighbours of largest ratio among those of all slices; None if no ratio exceeds the
    least.

    Parameters
    ----------
    singular_values : (slices, k) array
    least : float
    """
    s = np.sort(singular_values, axis=None)[::-1]
    s = s[s > 0]
    if len(s) < 2:
        return None
    ratios = s[:-1] / np.maximum(s[1:], s[0] * np.finfo(s.dtype).eps)
    at = int(ratios.argmax())
    return float(math.sqrt(s[at] * s[at + 1])) if ratios[at] > least else None
