"""Answers of one fit, though another thread may fit the estimator again meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")


def of_one_fit(query: Callable[Concatenate[T, P], R]) -> Callable[Concatenate[T, P], R]:
    """A method that sees the attributes as they were when it was called.

    `fit` replaces all of them in one assignment, of the estimator's dict, and never changes one that it has replaced.
    """

    @wraps(query)
    def asked(estimator: T, /, *args: P.args, **kwargs: P.kwargs) -> R:
        seen: Any = object.__new__(type(estimator))
        seen.__dict__ = vars(estimator)
        return query(seen, *args, **kwargs)

    return asked
