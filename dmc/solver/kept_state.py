"""Conversion of a fit's state to what a file holds, and back: trees for JSON, and arrays. There is no pickle and no
import by name: whatever is not a plain value is rebuilt like the object at the same place in the starting state.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _arrays
from dmc._group import Group
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.pattern import Pattern
from dmc.solver.solution import Status

FACTORS = ("U", "cores", "V", "row_bias", "column_bias")
GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
SAFE = "?bhilqBHILQfd"  # dtypes that the container has; others go in as bytes
REMEDY = (
    "keep arrays, Factors, numbers, text, tuples, lists, dicts, numpy.random.Generators and dataclasses of these there"
)
# What the resumed fit has itself: nothing that changes.
CALLABLES = (types.FunctionType, types.MethodType, types.BuiltinFunctionType, type, partial)
GIVEN = (Group, Observations, Pattern)


class Unkept(TypeError):
    """Raised for a state that cannot be kept."""


class Arrays:
    """Arrays by name, each stored once however often it occurs.

    Attributes
    ----------
    stored : dict of str to array
        One-dimensional: the numbers as they lie in memory.
    """

    def __init__(self, stored: Mapping[str, NDArray[Any]] | None = None) -> None:
        self.stored: dict[str, NDArray[Any]] = dict(stored or {})
        self._names: dict[int, list[Any]] = {}
        self._met: list[Any] = []  # whose id is not to be another's meanwhile
        self._made: dict[str, Any] = {}

    def add(self, array: Any) -> list[Any]:
        """Store a copy of an array or tensor, and return its description for the tree."""
        known = self._names.get(id(array))
        if known is None:
            host, device = _arrays.place(array, None), _arrays.of(array)
            if host.dtype.hasobject:
                raise Unkept(f"an array of {host.dtype}")
            flat, strides = _flattened(host)
            name = f"{len(self.stored)}"
            self.stored[name] = flat if flat.dtype.char in SAFE else flat.view(np.uint8)
            known = ["array", name, flat.dtype.str, list(host.shape), strides, device]
            self._names[id(array)] = known
            self._met.append(array)
        return known

    def made(self, told: Sequence[Any]) -> Any:
        """Rebuild the array, with the same memory order, on which the bits of sums depend."""
        _, name, dtype, shape, strides, device = told
        if name not in self._made:
            flat = self.stored[name].view(np.dtype(dtype)).copy()
            if device is None:
                steps = [step * flat.itemsize for step in strides]
                self._made[name] = np.lib.stride_tricks.as_strided(flat, shape, steps)
            else:
                self._made[name] = _arrays.place(flat, device).as_strided(shape, strides)
        return self._made[name]


def _flattened(array: NDArray[Any]) -> tuple[NDArray[Any], list[int]]:
    """A copy of the numbers as they lie in memory, and the distance of neighbours along each axis."""
    size, strides = array.itemsize, array.strides
    if array.flags.c_contiguous or min(strides, default=0) <= 0 or any(step % size for step in strides):
        array = np.ascontiguousarray(array).reshape(array.shape)
        return array.reshape(-1).copy(), [step // size for step in array.strides]
    if array.flags.f_contiguous:
        return array.ravel(order="F").copy(), [step // size for step in strides]
    span = 1 + sum((n - 1) * step // size for n, step in zip(array.shape, strides, strict=True))
    flat = np.zeros(span if array.size else 0, array.dtype)
    np.lib.stride_tricks.as_strided(flat, array.shape, strides)[...] = array
    return flat, [step // size for step in strides]


class _Plain:
    """Of the size of any object that has only attributes; an object of a compiled module, such as a file, is larger."""


def pack(value: Any, like: Any, arrays: Arrays, where: str = "") -> Any:
    """Convert a state to a tree for JSON.

    Parameters
    ----------
    value : object
    like : object
        What stands at its place at the start of a fit: what is no plain value has to be of a class that occurs there.
    arrays : Arrays
        Gets the arrays of it.
    where : str
        The place, for the error.

    Raises
    ------
    Unkept
        If there is something in it that cannot be kept.
    """
    return _Packing(arrays, classes_of(like)).packed(value, like, where)


def unpack(tree: Any, like: Any, arrays: Arrays) -> Any:
    """Rebuild what was packed; a random generator is put into the kept state in place.

    Raises
    ------
    ValueError, KeyError, TypeError, IndexError
        If the tree is no such tree, or is not of a state like that.
    """
    return _Unpacking(arrays, classes_of(like)).unpacked(tree, like)


def classes_of(like: Any) -> dict[str, type]:
    """The classes that occur in a state, by name."""
    found: dict[str, type] = {Status.__name__: Status}
    for value in _everything(like, set()):
        if not isinstance(value, (type, types.ModuleType)):
            found[type(value).__qualname__] = type(value)
    return found


def _everything(value: Any, met: set[int]) -> Iterator[Any]:
    if id(value) in met:
        return
    met.add(id(value))
    yield value
    inner: Sequence[Any] = ()
    if isinstance(value, (tuple, list)):
        inner = value
    elif isinstance(value, dict):
        inner = list(value.values())
    elif _has_parts(value):
        inner = list(vars(value).values())
    for one in inner:
        yield from _everything(one, met)


def _has_parts(value: Any) -> bool:
    """Whether an object consists of its attributes alone."""
    plain = (np.ndarray, np.random.Generator, Enum, Factors, types.ModuleType, *CALLABLES, *GIVEN)
    whole = isinstance(value, plain) or _arrays.is_tensor(value) or is_problem(value)
    return not whole and hasattr(value, "__dict__") and type(value).__basicsize__ == _Plain.__basicsize__


class _Packing:
    def __init__(self, arrays: Arrays, classes: dict[str, type]) -> None:
        self.arrays, self.classes = arrays, classes

    def packed(self, value: Any, like: Any, where: str) -> Any:
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, np.generic):
            return ["scalar", self._array(np.asarray(value), where)]
        if isinstance(value, np.ndarray) or _arrays.is_tensor(value):
            return self._array(value, where)
        if isinstance(value, Factors):
            return ["factors", [self.packed(getattr(value, name), None, f"{where}.{name}") for name in FACTORS]]
        if type(value) in (tuple, list, dict):
            return self._collection(value, like, where)
        if isinstance(value, np.random.Generator):
            return self._generator(value, where)
        return self._object(value, like, where)

    def _array(self, array: Any, where: str) -> list[Any]:
        try:
            return self.arrays.add(array)
        except Unkept as error:
            raise Unkept(f"{error} at {where or 'the top'}") from None

    def _collection(self, value: Any, like: Any, where: str) -> list[Any]:
        if type(value) is dict:
            keys = [self.packed(key, None, f"a key of {where or 'it'}") for key in value]
            of = [self.packed(one, child(like, key), f"{where}[{key!r}]") for key, one in value.items()]
            return ["dict", keys, of]
        inner = [self.packed(one, child(like, i), f"{where}[{i}]") for i, one in enumerate(value)]
        return [type(value).__name__, inner]

    def _generator(self, generator: np.random.Generator, where: str) -> list[Any]:
        name = type(generator.bit_generator).__name__
        if name not in GENERATORS:
            raise Unkept(f"a random generator of kind {name} at {where}")
        return ["random", name, self.packed(generator.bit_generator.state, None, where)]

    def _object(self, value: Any, like: Any, where: str) -> list[Any]:
        given = isinstance(value, GIVEN) and type(value) is type(like)
        name = type(value).__qualname__
        if given or (value is like and (isinstance(value, CALLABLES) or is_problem(value))):
            return ["same"]
        if self.classes.get(name) is not type(value):
            raise Unkept(f"{_described(value)} at {where or 'the top'}")
        if isinstance(value, Enum):
            return ["enum", name, value.name]
        if isinstance(value, tuple):  # a named one
            return ["named", name, [self.packed(one, child(like, i), f"{where}[{i}]") for i, one in enumerate(value)]]
        if not _has_parts(value):
            raise Unkept(f"{_described(value)} at {where or 'the top'}")
        parts = vars(value)
        inner = {key: self.packed(one, child(like, key), f"{where}.{key}") for key, one in parts.items()}
        return ["object", name, inner]


class _Unpacking:
    def __init__(self, arrays: Arrays, classes: dict[str, type]) -> None:
        self.arrays, self.classes = arrays, classes
        self._kinds: dict[str, Callable[[list[Any], Any], Any]] = {
            "array": lambda tree, like: arrays.made(tree),
            "scalar": lambda tree, like: arrays.made(tree[1])[()],
            "factors": lambda tree, like: Factors(*(self.unpacked(one, None) for one in tree[1])),
            "tuple": lambda tree, like: tuple(self._inner(tree[1], like)),
            "list": lambda tree, like: self._inner(tree[1], like),
            "dict": self._dict,
            "random": self._generator,
            "same": lambda tree, like: like,
            "enum": lambda tree, like: self.classes[tree[1]][tree[2]],  # type: ignore[index]
            "named": lambda tree, like: self.classes[tree[1]](*self._inner(tree[2], like)),
            "object": self._object,
        }

    def unpacked(self, tree: Any, like: Any) -> Any:
        return self._kinds[tree[0]](tree, like) if isinstance(tree, list) else tree

    def _inner(self, trees: Sequence[Any], like: Any) -> list[Any]:
        return [self.unpacked(tree, child(like, i)) for i, tree in enumerate(trees)]

    def _dict(self, tree: list[Any], like: Any) -> dict[Any, Any]:
        keys = [self.unpacked(key, None) for key in tree[1]]
        return {key: self.unpacked(one, child(like, key)) for key, one in zip(keys, tree[2], strict=True)}

    def _generator(self, tree: list[Any], like: Any) -> np.random.Generator:
        if tree[1] not in GENERATORS:
            raise ValueError(f"there is no random generator {tree[1]}")
        state = self.unpacked(tree[2], None)
        fits = isinstance(like, np.random.Generator) and type(like.bit_generator).__name__ == tree[1]
        found = like if fits else np.random.Generator(getattr(np.random, tree[1])(0))
        found.bit_generator.state = state
        return found

    def _object(self, tree: list[Any], like: Any) -> Any:
        of = self.classes[tree[1]]
        if not isinstance(of, type) or issubclass(of, (*CALLABLES, *GIVEN)):
            raise ValueError(f"{tree[1]} is not made of its attributes")
        found = of.__new__(of)
        vars(found).update({key: self.unpacked(one, child(like, key)) for key, one in tree[2].items()})
        return found


def child(like: Any, key: Any) -> Any:
    """The object at a place within another; None if there is none."""
    if isinstance(like, (tuple, list)):
        return like[key] if isinstance(key, int) and key < len(like) else None
    if isinstance(like, dict):
        return like.get(key)
    return getattr(like, "__dict__", {}).get(key) if isinstance(key, str) else None


def is_problem(value: Any) -> bool:
    """Whether it is a problem, which a state may refer to and the resumed fit has itself."""
    return hasattr(type(value), "value_and_grad")


def _described(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"
