"""Check that a problem is what `solve` takes: its gradient against differences of values, and its form."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from dmc import _arrays, _checks
from dmc.factors import Factors
from dmc.solver.arguments import check_problem_and_start
from dmc.solver.protocol import Problem, group_of

ROUNDING = 1e4  # in units of the last place: what sums in another order may differ by
DIRECTIONS = 3  # for each factor: one may happen to be orthogonal to what is wrong


class WrongGradient(ValueError):
    """Raised where the gradient of a problem is not the derivative of its value; the message names the factor."""


def check_problem(problem: Problem, factors: Factors, *, tol: float | None = None, seed: int = 0) -> float:
    """Check a problem of your own: whether its gradient is the derivative of its value, above all.

    It also checks that the gradient has the shapes, dtypes and device of the factors, that the scales are numbers, and
    that `value_and_grad` gives the same result when called again, does not change the factors, and does not overwrite a
    gradient that it returned before.

    Along random directions of each factor in turn, the slope according to the gradient is compared with a difference of
    values, central and extrapolated (Richardson): for polynomials of the degree of a deep network only rounding
    remains.

    Parameters
    ----------
    problem : Problem
        What to check.
    factors : Factors
        Where to check: of the problem's shape, dtype and device, and at no special point (neither zero nor the
        minimum).
    tol : float, optional
        Largest relative error accepted; by default 10⁻⁵ for float64 factors, 2·10⁻² for float32.
    seed : int
        Seed of the directions.

    Returns
    -------
    float
        The largest relative error; 0 where a slope differs by no more than rounding.

    Raises
    ------
    WrongGradient
        If a slope is off by more than the tolerance; a ValueError.
    ValueError
        If the two values differ or are not finite, the gradient has other shapes than the factors or another device, a
        scale is missing, negative or not finite, or a call changes what it should not.
    TypeError
        If the problem is not one, the factors are not Factors of float32 or float64, or `value_and_grad` does not
        return a number and Factors of their dtype.

    Examples
    --------
    >>> import numpy as np, dmc
    >>> problem = dmc.LeastSquares(np.random.default_rng(0).standard_normal((6, 5)))
    >>> dmc.check_problem(problem, dmc.initial.gaussian((6, 5), 3, depth=1, scale=0.7)) < 1e-6
    True
    """
    check_problem_and_start(problem, factors)
    size = group_of(problem).size
    if size > 1:
        raise ValueError(
            f"the rows of the problem are dealt among {size} processes; check it in one process, with all rows"
        )
    _check_factors(problem, factors)
    eps = float(array_namespace(factors.U).finfo(factors.U.dtype).eps)
    limit = (1e-5 if eps < 1e-10 else 2e-2) if tol is None else _checks.real(tol, "tol", 0, open_ends=True)
    value, gradient = _value_and_grad(problem, factors)
    _check_form(problem, factors, value, gradient, limit)
    _check_repeats(problem, factors, gradient, eps)
    rng, worst = np.random.default_rng(seed), 0.0
    for name, place in _names(factors):
        for _ in range(DIRECTIONS):
            direction = _direction(factors, place, rng)
            claimed = float((gradient.arrays[place] * direction.arrays[place]).sum())
            missed, measured = _missed(problem, factors, direction, claimed, eps, limit)
            if not missed <= limit:
                raise WrongGradient(
                    f"the gradient by {name} has the slope {claimed:.6g} along a direction in which the value rises by "
                    f"{measured:.6g}: an error of {missed:.1e}, and {limit:.0e} passes; fix value_and_grad of "
                    f"{type(problem).__name__}, or its value"
                )
            worst = max(worst, missed)
    return worst


def _check_form(problem: Problem, factors: Factors, value: float, gradient: Factors, limit: float) -> None:
    kind = type(problem).__name__
    alone = float(problem.value(factors))
    if not abs(alone - value) <= limit * max(abs(alone), abs(value)):
        raise ValueError(f"{kind} has the value {alone:.9g} and by value_and_grad {value:.9g}; both have to agree")
    found, wanted = ([tuple(a.shape) for a in f.arrays] for f in (gradient, factors))
    if found != wanted:
        raise ValueError(
            f"the gradient of {kind} has arrays of the shapes {found}; give those of the factors: {wanted}"
        )
    dtypes, dtype = {a.dtype for a in gradient.arrays}, factors.U.dtype
    if dtypes != {dtype}:
        names = " and ".join(sorted(map(str, dtypes)))
        raise TypeError(f"the gradient of {kind} is {names} and the factors {dtype}; give it in their dtype")
    elsewhere = {_arrays.of(a) for a in gradient.arrays} - {factors.device}
    if elsewhere:
        names = " and ".join("the host (NumPy)" if device is None else device for device in elsewhere)
        raise ValueError(f"the gradient of {kind} is on {names}; leave it where the factors are")
    for scale in ("curvature", "target_norm"):
        found = getattr(problem, scale)
        if found is None:
            raise ValueError(f"{kind} has no {scale}, which step rules are scaled by; define {scale}")
        number = float(found)
        if not (math.isfinite(number) and number >= 0):
            raise ValueError(f"the {scale} of {kind} is {number}; give a finite number that is not negative")


def _check_factors(problem: Problem, factors: Factors) -> None:
    dtypes = {str(_arrays.numpy_dtype(a.dtype)) for a in factors.arrays}
    if len(dtypes) > 1 or not dtypes <= {"float32", "float64"}:
        raise TypeError(f"the factors are {' and '.join(sorted(dtypes))}; make all of them float32 or all float64")
    if problem.device != factors.device:
        here, there = ("the host (NumPy)" if d is None else d for d in (factors.device, problem.device))
        raise ValueError(
            f"the factors are on {here} and {type(problem).__name__} computes on {there}; move them with "
            f"factors.to({problem.device!r}), or let its device be where its data are"
        )


def _value_and_grad(problem: Problem, factors: Factors) -> tuple[float, Factors]:
    """Compute both in a call that has to leave the factors unchanged."""
    kind, before = type(problem).__name__, factors.map(lambda a: a + 0)
    found: Any = problem.value_and_grad(factors)
    if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[1], Factors):
        what = f"a tuple of {len(found)}" if isinstance(found, tuple) else f"a {type(found).__name__}"
        if isinstance(found, tuple) and len(found) == 2:
            what = f"a number and a {type(found[1]).__name__}"
        raise TypeError(f"value_and_grad of {kind} returns {what}; return the value and the gradient, which is Factors")
    shape = tuple(getattr(found[0], "shape", ()))
    if shape:
        raise TypeError(f"the value of {kind} has shape {shape}; give one number, without dimensions")
    value = float(found[0])
    if not math.isfinite(value):
        raise ValueError(f"the value of {kind} is {value}; check where it is finite, or fix it")
    for (name, place), now in zip(_names(factors), factors.arrays, strict=True):
        if not bool((now == before.arrays[place]).all()):
            raise ValueError(f"value_and_grad of {kind} changes {name} of the factors; compute on a copy")
    return value, found[1]


def _check_repeats(problem: Problem, factors: Factors, gradient: Factors, eps: float) -> None:
    """Check that a second call gives the same, and that a call elsewhere changes nothing given before."""
    kind, first = type(problem).__name__, gradient.map(lambda a: a + 0)
    _value_and_grad(problem, factors.map(lambda a: 1.5 * a))
    for (name, place), now in zip(_names(factors), gradient.arrays, strict=True):
        if not bool((now == first.arrays[place]).all()) and bool((first.arrays[place] == first.arrays[place]).all()):
            raise ValueError(f"value_and_grad of {kind} writes over the gradient by {name} of an earlier call; copy it")
    again = _value_and_grad(problem, factors)[1]
    for (name, place), now in zip(_names(factors), again.arrays, strict=True):
        was = first.arrays[place]
        apart, size = (float(((a * a).sum()) ** 0.5) for a in (now - was, was))
        if apart > ROUNDING * eps * size:
            raise ValueError(
                f"value_and_grad of {kind} gives another gradient by {name} when it is called again, by "
                f"{apart / size:.1e} of its size; it may depend on the factors alone"
            )


def _names(factors: Factors) -> Iterator[tuple[str, int]]:
    """The name of each array in `factors.arrays`, and its position there."""
    names = ["U", *(f"cores[{i}]" for i in range(factors.depth)), "V"]
    names += [name for name in ("row_bias", "column_bias") if getattr(factors, name) is not None]
    return ((name, place) for place, name in enumerate(names))


def _direction(factors: Factors, place: int, rng: np.random.Generator) -> Factors:
    """Zero except in one array, which is random and as large as that of the factors."""
    moving, places = factors.arrays[place], iter(range(len(factors.arrays)))
    draw = rng.standard_normal(tuple(moving.shape)).astype(_arrays.numpy_dtype(moving.dtype))
    size = float((moving * moving).sum()) ** 0.5 or 1.0
    draw = _arrays.place(draw * (size / max(float(np.linalg.norm(draw)), 1e-300)), factors.device)
    return factors.map(lambda a: draw if next(places) == place else 0 * a)


def _missed(
    problem: Problem, factors: Factors, direction: Factors, claimed: float, eps: float, limit: float
) -> tuple[float, float]:
    """The relative error of the slope according to the gradient, and the measured slope, from the difference that
    agrees best: where second derivatives jump, as those of the Huber loss do, it has to be a short one.
    """
    errors = []
    for shorter in (1.0, 0.1, 0.01):
        # The error of the extrapolation, step⁴, is as large as that of rounding, eps/step.
        measured, rounding = _slope(problem, factors, direction, shorter * eps ** (1 / 5), eps)
        missed = max(abs(claimed - measured) - rounding, 0.0) / max(abs(claimed), abs(measured), 1e-300)
        errors.append((missed if math.isfinite(missed) else math.inf, measured))
        if missed <= limit:
            break
    return min(errors)


def _slope(problem: Problem, factors: Factors, direction: Factors, step: float, eps: float) -> tuple[float, float]:
    """The derivative of the value along a direction, and how much of it may be rounding error."""

    def value(share: float) -> float:
        return float(problem.value(factors.map(lambda a, d: a + share * d, direction)))

    wide, near = ((value(h) - value(-h)) / (2 * h) for h in (step, step / 2))
    rounding = 20 * eps * max(abs(value(step)), abs(value(-step))) / step
    return (4 * near - wide) / 3, rounding
