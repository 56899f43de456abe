"""Every function and class of the compiled core, called with what fits and with what does not."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dmc import _extensions
from fuzz import block_calls
from fuzz.binding_calls import Call, Draw
from fuzz.targets import Fault, Tried

core: Any = _extensions.core
IN_WORDS = (ValueError, TypeError, IndexError, OverflowError, MemoryError)
# AddressSanitizer ends the process where there is no room, in place of letting the core say so.
NO_ROOM = () if "libasan" in os.environ.get("LD_PRELOAD", "") else (2**31, 2**32 + 1, 2**45)
NUMBERS = (-1, 0, 1, 2, 3, 7, -(2**31), *NO_ROOM, -(2**63), 2**63 - 1, 2**63, 2**64, 10**30)
OTHERS = (None, "3", b"3", 1.5, float("nan"), True, 1j, [], [1], {}, (), slice(0, 1), object(), np.int8(3), print)
DTYPES = ("?", "i1", "u1", "i4", "i8", "u8", "f2", "f4", "f8", ">f4", ">i8", "c8", "U3", "O", "M8[s]", "f4,f4")
SLICES = (slice(-5, None), slice(3, 1), slice(0, 10**30), slice(0, 5, 2), slice("a", "b"), slice(None, None, -1))
WORST = {"f": (np.nan, np.inf, -np.inf, 1e300, -0.0, 5e-324), "i": (-1, 2**31 - 1, -(2**31), 2**63 - 1, 10**7)}

Array = np.ndarray
Change = Callable[[np.random.Generator, Array], Any]


def of_dtype(rng: np.random.Generator, a: Array) -> Any:
    dtype = np.dtype(str(rng.choice(DTYPES)))
    try:
        return a.astype(dtype)
    except (TypeError, ValueError, RuntimeError):  # of dates, of records
        return np.zeros(a.shape, dtype)


def of_shape(rng: np.random.Generator, a: Array) -> Any:
    forms = (a[None], a[..., None], a.ravel(), a[:-1].copy(), a[..., :-1].copy(), a[:0].copy(), a.reshape(-1)[:1])
    longer = np.concatenate([a, a[:1]]) if a.ndim else a
    return (*forms, longer, np.zeros((0, 0), a.dtype), np.zeros((), a.dtype), a.T.copy())[rng.integers(11)]


def of_layout(rng: np.random.Generator, a: Array) -> Any:
    spread = np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a
    room = np.zeros(a.nbytes + 1, np.uint8)
    unaligned = room[1:].view(a.dtype).reshape(a.shape)
    unaligned[...] = a
    constant = a.copy()
    constant.flags.writeable = False
    repeated = np.broadcast_to(a[:1] if a.ndim and len(a) else a, a.shape)
    return (np.asfortranarray(a), spread, unaligned, a[::-1], constant, repeated)[rng.integers(6)]


def of_values(rng: np.random.Generator, a: Array) -> Any:
    if not a.size or a.dtype.kind not in WORST:
        return a
    changed = a.copy()
    worst = WORST[a.dtype.kind]
    with np.errstate(over="ignore"):
        places = rng.integers(0, a.size, int(rng.integers(1, 4)))
        changed.reshape(-1)[places] = np.array(worst[rng.integers(len(worst))]).astype(a.dtype)
    return rng.permutation(changed) if rng.random() < 0.2 else changed


def of_kind(rng: np.random.Generator, a: Array) -> Any:
    others = (
        a.tolist(),
        memoryview(a.tobytes()),
        np.ma.array(a),
        a.view(np.matrix) if a.ndim == 2 else None,
        a.tobytes(),
    )
    return others[rng.integers(5)] if rng.random() < 0.5 else OTHERS[rng.integers(len(OTHERS))]


CHANGES: tuple[Change, ...] = (of_dtype, of_shape, of_layout, of_values, of_values, of_kind)


def changed(rng: np.random.Generator, value: Any, others: list[Any]) -> Any:
    """Something else in the place of an argument."""
    if rng.random() < 0.1:
        return others[rng.integers(len(others))]  # the same memory twice, or the wrong one
    if isinstance(value, list) and value and rng.random() < 0.8:
        place = int(rng.integers(len(value)))
        return [*value[:place], changed(rng, value[place], others), *value[place + 1 :]]
    if type(value) is Array and value.ndim and value.dtype.kind in "biuf":  # or it has been changed before
        return CHANGES[rng.integers(len(CHANGES))](rng, value)
    if isinstance(value, slice):
        return SLICES[rng.integers(len(SLICES))]
    if isinstance(value, (int, float)) and rng.random() < 0.7:
        return (*NUMBERS, np.nan, np.inf, -1.0, 1e308, 5e-324)[rng.integers(len(NUMBERS) + 5)]
    return OTHERS[rng.integers(len(OTHERS))]


def size_of(arguments: dict[str, Any]) -> int:
    """Bytes of what is given, and of what its numbers ask for: so many lines, so many places."""
    arrays = sum(value.nbytes for value in arguments.values() if isinstance(value, Array))
    return arrays + sum(8 * value for value in arguments.values() if type(value) is int and 0 < value < 2**24)


class Binding:
    """One function, or class, of the core."""

    def __init__(self, name: str) -> None:
        self.name, self._make = name, block_calls.CALLS[name]

    def prepare(self, folder: Path) -> None:
        self._run = getattr(core, self.name)
        np.set_printoptions(threshold=0, edgeitems=1)  # a refusal shows all arguments, which takes longer than all else

    def attempt(self, rng: np.random.Generator) -> Tried:
        call = self._make(Draw(rng))
        is_valid = not call.arguments or rng.random() < 0.3
        arguments = dict(call.arguments)
        if not is_valid:
            for name in rng.choice(list(arguments), int(rng.integers(1, 3))):
                arguments[str(name)] = changed(rng, arguments[str(name)], list(arguments.values()))
        held = references(arguments)
        before = fingerprints(call, arguments) if is_valid else {}
        try:
            answer = self._run(**arguments)
        except IN_WORDS as error:
            if is_valid:
                raise Fault(f"what fits is refused: {error}") from error
            if not str(error):
                raise Fault(f"{type(error).__name__} without a word") from error
            refused = True
        else:
            refused = False
            if is_valid:
                judged(call, answer, before)
            del answer
        if not refused and references(arguments) != held:
            raise Fault("a reference to an argument is left behind")
        return Tried(not refused, size_of(arguments))


def references(arguments: dict[str, Any]) -> list[int]:
    return [sys.getrefcount(value) for value in arguments.values() if isinstance(value, Array)]


def fingerprints(call: Call, arguments: dict[str, Any]) -> dict[str, bytes]:
    """What the function has no business to change."""
    return {k: v.tobytes() for k, v in arguments.items() if isinstance(v, Array) and k not in call.written}


def judged(call: Call, answer: Any, before: dict[str, bytes]) -> None:
    for name, bits in before.items():
        if call.arguments[name].tobytes() != bits:
            raise Fault(f"{name} was changed")
    if call.check is not None:
        call.check(answer)


# Whatever the core offers: a function without a call to try it with is a KeyError here.
TARGETS = [] if core is None else [Binding(name) for name in sorted(dir(core)) if not name.startswith("_")]
