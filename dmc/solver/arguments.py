"""Checks of the arguments of `solve`, with messages for what is not a problem, start, step or callback."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from scipy import sparse

from dmc import _arrays, _checks
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.solver.protocol import Problem, Step

WRAP = {True: "dmc.MaskedLeastSquares(observations)", False: "dmc.LeastSquares(matrix)"}


def check_arguments(problem: object, start: object, step: object, callbacks: object) -> None:
    """Raise a TypeError, in one sentence, for anything that is not a problem, Factors, a step, or a list of callbacks.

    A problem or a step need not derive from `Problem` or `Step`, if it has all their members.
    """
    check_problem_and_start(problem, start)
    _check_step(step)
    _checks.callables(callbacks, "callbacks")
    assert isinstance(callbacks, (list, tuple))
    for callback in callbacks:
        if inspect.isclass(callback):
            raise TypeError(f"callbacks holds the class {callback.__name__}; give an instance, {callback.__name__}()")


def check_problem_and_start(problem: object, start: object) -> None:
    """Raise a TypeError if the problem or the Factors are not ones."""
    _check_problem(problem)
    if not isinstance(start, Factors):
        raise TypeError(f"start is {_described(start)}; give {_start_from(start)}")


def _check_problem(problem: object) -> None:
    if inspect.isclass(problem):
        raise TypeError(f"problem is the class {problem.__name__}; give an instance, {problem.__name__}(…)")
    if isinstance(problem, Observations) or _is_matrix(problem):
        remedy = WRAP[isinstance(problem, Observations) or sparse.issparse(problem)]
        more = " or, with gaps, dmc.MaskedLeastSquares(dmc.observe(matrix))" if remedy == WRAP[False] else ""
        raise TypeError(f"problem is {_described(problem)}; give {remedy}{more}")
    missing = _missing(problem, Problem)
    if "value_and_grad" in missing:
        raise TypeError(
            f"problem is {_described(problem)}; give one such as dmc.MaskedLeastSquares(observations), or derive from "
            "dmc.Problem"
        )
    if missing:
        raise TypeError(f"{type(problem).__name__} lacks {' and '.join(missing)}; derive it from dmc.Problem")
    if inspect.getattr_static(problem, "value_and_grad") is vars(Problem)["value_and_grad"]:
        raise TypeError(f"{type(problem).__name__} has no value_and_grad, which every problem needs; define it")


def _check_step(step: object) -> None:
    if inspect.isclass(step):
        raise TypeError(f"step is the class {step.__name__}; give an instance, {step.__name__}()")
    if _missing(step, Step):
        raise TypeError(
            f"step is {_described(step)}; give one of dmc.steps, such as dmc.steps.DiscrepantDescent(), or derive from "
            "dmc.Step"
        )
    if type(step).__call__ is Step.__call__:
        raise TypeError(f"{type(step).__name__} has no __call__, which makes a step; define it")


def _missing(value: object, protocol: type) -> list[str]:
    """The members of a protocol that an object lacks. Properties are not evaluated, which may take long."""
    absent = object()
    names = [name for name in vars(protocol) if not name.startswith("_")] + ["__call__"] * (protocol is Step)
    return [name for name in names if inspect.getattr_static(value, name, absent) is absent]


def _is_matrix(value: object) -> bool:
    return isinstance(value, (np.ndarray, list)) or _arrays.is_tensor(value) or sparse.issparse(value)


def _start_from(start: object) -> str:
    if isinstance(start, Observations) or _is_matrix(start):
        return "dmc.initial.compressed(data, rank), or Factors of your own"
    return "what a function of dmc.initial returns, or Factors of your own"


def _described(value: Any) -> str:
    """Describe a value in a few words: itself, if it is short, else its type."""
    if value is None or isinstance(value, (str, bytes, bool, int, float)):
        return repr(value) if len(repr(value)) < 40 else f"a {type(value).__name__}"
    if inspect.isclass(value):
        return f"the class {value.__name__}"
    if inspect.isroutine(value):
        return f"the function {value.__name__}"
    if isinstance(value, np.ndarray) or _arrays.is_tensor(value):
        return f"an array of shape {tuple(value.shape)}"
    name = type(value).__name__
    return f"{'an' if name[:1] in 'AEIOU' else 'a'} {name}"
