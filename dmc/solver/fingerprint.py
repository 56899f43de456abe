"""The identity of a fit: a digest of its data, and its settings in words, by which a checkpoint recognises it."""

from __future__ import annotations

import hashlib
import types
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from typing import Any

import numpy as np

from dmc import _arrays
from dmc._locks import cached_property

DIGITS = 12  # of a digest in words
OWN = "dmc."  # classes of which the data are known; of others the value at the start is asked for, too


def digest(*values: Any) -> str:
    """Digest the numbers, text and arrays in some objects; the same in another process and on another machine.

    What an object has computed for itself (cached properties) and which code it calls do not count.
    """
    hashed = hashlib.blake2b(digest_size=16)
    for piece in _pieces(values, {}):
        hashed.update(piece)
    return hashed.hexdigest()


def of_problem(problem: Any, start: Any) -> str:
    """Digest a problem's data. How a class of your own computes is unknown, so its value at a start is included."""
    own = type(problem).__module__.startswith(OWN)
    return digest(problem) if own else digest(problem, f"{float(problem.value(start)):.6g}")


def told(value: Any) -> str:
    """Describe a setting in words that are the same in another process: arrays and generators by their digests."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(told, value))})"
    name = type(value).__name__
    if is_dataclass(value) and not isinstance(value, type) and not _is_data(value):
        return f"{name}({', '.join(f'{of.name}={told(getattr(value, of.name))}' for of in fields(value))})"
    if callable(value) and not hasattr(value, "__dict__"):
        return name
    return f"{name} {digest(value)[:DIGITS]}"


def _is_data(value: Any) -> bool:
    return any(_arrays.is_tensor(one) or isinstance(one, np.ndarray) for one in vars(value).values())


def _pieces(value: Any, met: dict[int, Any]) -> Iterator[bytes | memoryview]:
    """Bytes that distinguish a value from others."""
    if isinstance(value, types.ModuleType):
        yield b"module"
    elif isinstance(value, (types.FunctionType, types.MethodType, types.BuiltinFunctionType, type)):
        yield value.__name__.encode()
    elif value is None or isinstance(value, (bool, int, float, complex, str, bytes, np.generic, Enum)):
        yield f"{type(value).__name__} {value!r};".encode()
    elif isinstance(value, np.ndarray) or _arrays.is_tensor(value):
        host = np.ascontiguousarray(_arrays.place(value, None))
        yield f"{host.dtype.str} {host.shape};".encode()
        if host.dtype.hasobject:
            yield repr(host.tolist()).encode()
        else:
            yield host.reshape(-1).view(np.uint8).data
    elif isinstance(value, np.random.Generator):
        yield from _pieces(value.bit_generator.state, met)
    elif id(value) not in met:
        met[id(value)] = value
        yield f"{type(value).__name__}(".encode()
        for name, part in _parts(value):
            yield f"{name}=".encode()
            yield from _pieces(part, met)
        yield b")"


def _parts(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, (tuple, list)):
        return list(enumerate(value))
    if isinstance(value, (set, frozenset)):
        return [(i, one) for i, one in enumerate(sorted(value, key=repr))]
    if isinstance(value, partial):
        return [("func", value.func), ("args", value.args), ("keywords", value.keywords)]
    if type(value).__module__.startswith("dmc.kernels") or type(value).__module__ == "dmc._group":
        return []  # where it is computed, which does not change what is
    computed = {
        name for of in type(value).__mro__ for name, one in vars(of).items() if isinstance(one, cached_property)
    }
    return [(name, part) for name, part in sorted(getattr(value, "__dict__", {}).items()) if name not in computed]
