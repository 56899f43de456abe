"""Whether a problem's gradient is the derivative of its value: by differences along random directions."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from array_api_compat import array_namespace

from dmc import _arrays, _checks
from dmc.factors import Factors
from dmc.solver.protocol import Problem, group_of

DIRECTIONS = 3  # for each factor: one may happen to be orthogonal to what is wrong


class WrongGradient(ValueError):
    """A problem whose gradient is not the derivative of its value; the message says by which factor."""


def check_problem(problem: Problem, factors: Factors, *, tol: float | None = None, seed: int = 0) -> float:
    """Check that a problem is what `dmc.solve` takes: that its gradient is the derivative of its value, above all.

    Along random directions of each factor in turn the slope that the gradient has is compared with a difference of
    values, central and extrapolated (Richardson), so that of polynomials as large as those of a deep network the
    rounding alone is left.

    Parameters
    ----------
    problem : Problem
    factors : Factors
        Where to check: of the problem's shape, dtype and device, and at no special point (not zero, not the minimum).
    tol : float, optional
        Relative error that passes; left out: 10⁻⁵ of float64 factors, 2·10⁻² of float32.
    seed : int
        Of the directions.

    Returns
    -------
    float
        The largest relative error.

    Raises
    ------
    WrongGradient
        If a slope is off by more than the tolerance.
    ValueError
        If the two values differ, the gradient has another form than the factors, or a scale is negative or not finite.
    """
    size = group_of(problem).size
    if size > 1:
        raise ValueError(
            f"the rows of the problem are dealt among {size} processes; check it in one process, with all rows"
        )
    value, gradient = problem.value_and_grad(factors)
    eps = float(array_namespace(factors.U).finfo(factors.U.dtype).eps)
    limit = (1e-5 if eps < 1e-10 else 2e-2) if tol is None else _checks.real(tol, "tol", 0, open_ends=True)
    _check_form(problem, factors, float(value), gradient, limit)
    rng, worst = np.random.default_rng(seed), 0.0
    for name, place in _names(factors):
        for _ in range(DIRECTIONS):
            direction = _direction(factors, place, rng)
            claimed = float((gradient.arrays[place] * direction.arrays[place]).sum())
            measured, rounding = _slope(problem, factors, direction, eps)
            missed = max(abs(claimed - measured) - rounding, 0.0) / max(abs(claimed), abs(measured), 1e-300)
            if not missed <= limit:
                raise WrongGradient(
                    f"the gradient by {name} has the slope {claimed:.6g} along a direction in which the value rises by "
                    f"{measured:.6g}: an error of {missed:.1e}, and {limit:.0e} passes; mend value_and_grad of "
                    f"{type(problem).__name__}, or its value"
                )
            worst = max(worst, missed)
    return worst


def _check_form(problem: Problem, factors: Factors, value: float, gradient: Factors, limit: float) -> None:
    kind = type(problem).__name__
    alone = float(problem.value(factors))
    if not abs(alone - value) <= limit * max(abs(alone), abs(value)):
        raise ValueError(f"{kind} has the value {alone:.9g} and by value_and_grad {value:.9g}; let both say the same")
    found, wanted = ([tuple(a.shape) for a in f.arrays] for f in (gradient, factors))
    if found != wanted:
        raise ValueError(
            f"the gradient of {kind} has arrays of the shapes {found}; give those of the factors: {wanted}"
        )
    for scale in ("curvature", "target_norm"):
        number = float(getattr(problem, scale))
        if not (math.isfinite(number) and number >= 0):
            raise ValueError(f"the {scale} of {kind} is {number}; give a finite number that is not negative")


def _names(factors: Factors) -> Iterator[tuple[str, int]]:
    """What each of `factors.arrays` is called, and its place there."""
    names = ["U", *(f"cores[{i}]" for i in range(factors.depth)), "V"]
    names += [name for name in ("row_bias", "column_bias") if getattr(factors, name) is not None]
    return ((name, place) for place, name in enumerate(names))


def _direction(factors: Factors, place: int, rng: np.random.Generator) -> Factors:
    """Zero but for one array, which is random and as large as that of the factors."""
    moving, places = factors.arrays[place], iter(range(len(factors.arrays)))
    draw = rng.standard_normal(tuple(moving.shape)).astype(_arrays.numpy_dtype(moving.dtype))
    size = float((moving * moving).sum()) ** 0.5 or 1.0
    draw = _arrays.place(draw * (size / max(float(np.linalg.norm(draw)), 1e-300)), factors.device)
    return factors.map(lambda a: draw if next(places) == place else 0 * a)


def _slope(problem: Problem, factors: Factors, direction: Factors, eps: float) -> tuple[float, float]:
    """The derivative of the value along a direction, and how much of it may be rounding."""
    step = eps ** (1 / 5)  # the error of the extrapolation, step⁴, is as large as that of rounding, eps/step

    def value(share: float) -> float:
        return float(problem.value(factors.map(lambda a, d: a + share * d, direction)))

    wide, near = ((value(h) - value(-h)) / (2 * h) for h in (step, step / 2))
    rounding = 20 * eps * max(abs(value(step)), abs(value(-step))) / step
    return (4 * near - wide) / 3, rounding
