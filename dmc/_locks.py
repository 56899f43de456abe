"""Locks and cached values that threads share, and that a process which was forked meanwhile finds free."""

from __future__ import annotations

import functools
import os
from threading import Lock
from typing import Any, TypeVar, overload
from weakref import WeakSet

T = TypeVar("T")

_made: WeakSet[Any] = WeakSet()


def lock() -> Any:
    """A lock that a forked process finds open: who held it in the parent is not there to give it back."""
    made = Lock()
    _made.add(made)
    return made


def _open_all() -> None:
    for made in _made:
        made._at_fork_reinit()  # as the standard library does with its own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_open_all)


class cached_property(functools.cached_property[T]):
    """functools' own without a lock, as it is from Python 3.12 on.

    That of 3.11 is one for all objects of a class: what one of them takes seconds for the others wait for, and a
    process that is forked meanwhile waits for ever. Here two threads that ask first may both compute, and both get what
    the first of them found.
    """

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> cached_property[T]: ...
    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> T: ...
    def __get__(self, instance: object | None, owner: type[Any] | None = None) -> cached_property[T] | T:
        if instance is None:
            return self
        name = self.attrname
        assert name is not None
        known: dict[str, Any] = vars(instance)
        if name not in known:
            value = self.func(instance)
            if getattr(type(instance), name) is not self:  # asked by super(), for what goes into the value of the name
                return value
            known.setdefault(name, value)
        found: T = known[name]
        return found
