"""The state of a descent: factors that a step rule moves, and what is measured of them."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from dmc._group import Group
from dmc._locks import cached_property
from dmc.factors import Array, Factors
from dmc.solver.fingerprint import told
from dmc.solver.kept_phases import Course
from dmc.solver.kept_state import Unkept
from dmc.solver.plateau import LEARNT, steps_left
from dmc.solver.problem import MaskedLeastSquares
from dmc.solver.protocol import Problem, Step, group_of
from dmc.solver.solution import Look, Status

GAIN = 0.9  # of the last value: above it a step gains nothing, where only rounding is left


class Standing(NamedTuple):
    """The state of a phase of `solve` at a look.

    Attributes
    ----------
    n_steps : int
        Steps of the phase.
    factors : Factors
        The present point.
    state : object
        That of the step rule; None: it is made anew.
    scales : list of float
        By which convergence is decided.
    """

    n_steps: int
    factors: Factors
    state: Any
    scales: list[float]


class Descent(Course):
    """Factors that a step rule moves down a problem, and what is measured of them."""

    def __init__(self, problem: Problem, start: Factors, step: Step, tol: float) -> None:
        self.problem: Problem = problem
        self.step: Step = step
        self.tol: float = tol
        self.told: str = f"the state of {type(step).__name__}"
        self.factors: Factors = start
        self.accepted: Factors = start
        self.value: float = math.nan  # at the accepted point: the last that counts, and is finite
        self._state: Any = None
        self._begun = False
        self._as_it_was: str | None = None  # the step
        self._at: tuple[Array | float, Factors] | None = None  # value and gradient at the factors, once they are known
        self._largest, self._ceiling = 0.0, math.nan
        self._before = math.inf  # the value at the last look
        self._at_look: tuple[Factors, Any, list[float]] = start, None, []  # what that began with

    def _value_and_grad(self) -> tuple[Any, Factors]:
        if self._at is None:
            self._at = self.problem.value_and_grad(self.factors)
        return self._at

    @cached_property
    def _rounding(self) -> float:
        """The problem's `rounding`, if it has one: a problem of your own need not."""
        return self.problem.rounding if isinstance(self.problem, MaskedLeastSquares) else 0.0

    def advance(self) -> None:
        moved: object = self.step(self.factors, *self._value_and_grad(), self._state)
        if not (isinstance(moved, tuple) and len(moved) == 2):
            kind = f"{type(self.step).__name__} returned {type(moved).__name__}"
            raise TypeError(f"{kind}; a step returns the next factors and the next state, such as `factors, None`")
        self.factors, self._state = moved
        self._at = None

    def at_look(self, n_steps: int) -> Standing:
        """The state at the last look, which was at this step."""
        return Standing(n_steps, *self._at_look)

    def go_on(self, at: Standing) -> None:
        """Resume from a state."""
        self.factors, self._begun = at.factors, True
        self._state = self.step.init(self.problem, at.factors) if at.state is None else at.state
        self._largest, self._ceiling, self._before = at.scales

    def standing(self) -> tuple[Any, ...]:
        self._begin()
        self._refuse_memory()
        return self.factors, self._state, [self._largest, self._ceiling, self._before], self.accepted, self.value

    def stand(self, standing: tuple[Any, ...]) -> None:
        self.factors, self._state, scales, self.accepted, self.value = standing
        self._begun = True
        self._largest, self._ceiling, self._before = scales

    def outcome(self) -> tuple[Factors, float]:
        return self.accepted, self.value

    def repeat(self, outcome: tuple[Factors, float]) -> None:
        self.accepted, self.value = outcome

    def _begin(self) -> None:
        """Make the state of the step rule, once."""
        if not self._begun:
            self._begun = True
            self._state = self.step.init(self.problem, self.factors)

    def _refuse_memory(self) -> None:
        """Refuse a step rule that keeps something in itself, which a resumed fit would not have."""
        if self._as_it_was is None:
            self._as_it_was = told(self.step)
        elif self._as_it_was != told(self.step):
            raise Unkept(
                f"{type(self.step).__name__} changes its own attributes, which a checkpoint cannot keep; what it "
                "remembers belongs in the state that it returns"
            )

    def look(self) -> Look:
        self._at_look = self.factors, self._state, [self._largest, self._ceiling, self._before]
        first = math.isnan(self._ceiling)
        self._begin()
        accepted, value, grad = self.step.accepted_point(self.factors, *self._value_and_grad(), self._state)
        value, norm = float(value), _norm(grad, group_of(self.problem))
        if not (math.isfinite(value) and math.isfinite(norm)):
            return Look(value, norm, lambda: accepted, Status.NONFINITE)
        ratio = norm / (self._largest or norm) if norm > 0 else 0.0
        # A gradient that explodes above the start's value must not make later ones look small.
        self._ceiling = value if first else self._ceiling
        self._largest = max(self._largest, norm) if value <= self._ceiling else self._largest
        self.accepted, self.value = accepted, value
        # Down at rounding steps go on while they gain, for small singular values; then they would only stir it.
        matched = self._rounding >= value > GAIN * self._before
        self._before = value
        converged = value == 0 or ratio <= self.tol or matched
        plateau = partial(steps_left, self.problem, accepted, self.step) if value > LEARNT * self._ceiling else None
        return Look(value, ratio, lambda: accepted, Status.CONVERGED if converged else None, plateau)


def _norm(grad: Factors, group: Group) -> float:
    """Norm of the gradient over the rows of all processes; the first alone adds the rest, which all of them have."""
    squares = np.array([float((array * array).sum()) for array in grad.arrays])
    if group.rank > 0:
        squares[[array is not grad.U and array is not grad.row_bias for array in grad.arrays]] = 0
    return math.sqrt(sum(group.sum(squares).tolist()))
