"""How an argument is checked and an error worded: the thing, its value, the remedy, in one sentence."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dmc._arrays import Array
from dmc._warn import warn

T = TypeVar("T")


def count(n: int, noun: str, plural: str | None = None) -> str:
    """`3 rows`, `1 row`, `80,000 entries`."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def integer(value: object, name: str, minimum: int, maximum: int | None = None, remedy: str = "") -> int:
    """A whole number within bounds (both included)."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} is {value!r}; give a whole number of at least {minimum}")
    number = int(value)
    if number < minimum or (maximum is not None and number > maximum):
        bounds = f"at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
        raise ValueError(f"{name} is {number}; it has to be {bounds}" + (f": {remedy}" if remedy else ""))
    return number


def real(
    value: object, name: str, minimum: float = -math.inf, maximum: float = math.inf, open_ends: bool = False
) -> float:
    """A finite number within bounds; `open_ends` leaves the bounds themselves out."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} is {value!r}; give a number")
    number = float(value)
    inside = minimum < number < maximum if open_ends else minimum <= number <= maximum
    if not math.isfinite(number) or not inside:
        ends = "exclusive" if open_ends else "inclusive"
        raise ValueError(f"{name} is {number:g}; it has to be between {minimum:g} and {maximum:g} ({ends})")
    return number


def choice(value: object, name: str, allowed: Iterable[str]) -> str:
    """One of a few words."""
    words = list(allowed)
    if value not in words:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(map(repr, words))}")
    return str(value)


def rank(value: object, shape: tuple[int, ...]) -> int:
    """A rank bound for a matrix of that shape."""
    m, n = shape
    return integer(value, "rank", 1, min(m, n), f"a {m}×{n} matrix has no rank outside this range")


def as_float(values: object, name: str) -> NDArray[Any]:
    """An array of float32 (if it was float32 or float16) or float64; anything not a real number is refused."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{name} has rows of different lengths; give as many values in each") from None
    if array.dtype.kind in "OUS":
        try:
            if _holds_other_numerals(array):
                raise ValueError
            return np.asarray(array, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            bad = next((v for v in array.ravel().tolist() if not is_number(v)), None)
            raise TypeError(f"{name} holds {bad!r}, which is not a number; convert or drop it first") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} has dtype {array.dtype}; give real numbers (float32 or float64)")
    if array.dtype in (np.dtype(np.float32), np.dtype(np.float16)):
        return array.astype(np.float32, copy=False)
    return array.astype(np.float64, copy=False)


def _holds_other_numerals(array: NDArray[Any]) -> bool:
    """Whether a text in it can be no number but to Python's `float`."""
    if array.dtype.kind == "O":
        return any(isinstance(v, (str, bytes)) and not is_plain(v) for v in array.ravel().tolist())
    if array.dtype.itemsize == 0 or array.size == 0:
        return False
    flat: NDArray[Any] = np.ascontiguousarray(array).reshape(-1)
    letters: NDArray[Any] = flat.view(np.uint32 if array.dtype.kind == "U" else np.uint8)
    return bool(((letters > 127) | (letters == ord("_"))).any())


def is_plain(text: str | bytes) -> bool:
    """Whether it has no digits but 0 to 9, and no underscores: what `float` reads of it is a number to all programs."""
    return text.isascii() and (b"_" if isinstance(text, bytes) else "_") not in text  # type: ignore[operator]


def is_number(value: Any) -> bool:
    """Whether it can be read as a number: in text, with the digits 0 to 9, and none of Python's underscores between
    them, as all programs read it."""
    if isinstance(value, (str, bytes)) and not is_plain(value):
        return False
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def same_length(**arrays: Array) -> None:
    """One-dimensional arrays of one length."""
    for name, array in arrays.items():
        if array.ndim != 1:
            raise ValueError(f"{name} has shape {array.shape}; give a one-dimensional array")
    if len({a.shape[0] for a in arrays.values()}) > 1:
        lengths = ", ".join(f"{name} has {len(a):,}" for name, a in arrays.items())
        raise ValueError(f"the arrays differ in length: {lengths}; give one value for each entry")


def finite(values: NDArray[Any], name: str) -> None:
    """No NaN and no infinity; names the first one and their number."""
    # The sum is finite if every value is; the mask is built only when it is not (or when it overflows).
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum()):
            return
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise ValueError(
            f"{name} holds {count(len(bad), 'value')} that {'is' if len(bad) == 1 else 'are'} not finite, the first "
            f"({values.ravel()[bad[0]]}) at entry {bad[0]}; drop them, or mark them as missing"
        )


def non_negative(values: Any, name: str, shape: tuple[int, ...], what: str) -> NDArray[Any]:
    """`as_float` of finite numbers of at least 0, in an array of that shape: `what` says of what there is one each."""
    array = as_float(values, name)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; give {shape}, {what}")
    finite(array, name)
    if (array < 0).any():
        raise ValueError(f"{name}: the smallest is {array.min():g}; none may be negative")
    return array


def indices(values: Any, size: int, axis: str) -> NDArray[Any]:
    """Whole numbers from 0 to size − 1, as one-dimensional int32 (int64 where they do not fit)."""
    array = as_indices(values, f"{axis} indices")
    if array.size:
        low, high = int(array.min()), int(array.max())
        if low < 0 or high >= size:
            wrong = low if low < 0 else high
            hint = (
                f"; indices that start at 1 need dmc.Recommender or {axis}s - 1"
                if low > 0 and high == size
                else f"; use indices from 0 to {size - 1}, or give a larger shape"
            )
            raise ValueError(f"{axis} index {wrong} is out of range for {count(size, axis)} (0…{size - 1}){hint}")
    return array.astype(index_dtype(size), copy=False)


def as_indices(values: object, name: str) -> NDArray[Any]:
    """Whole numbers in a one-dimensional array, whatever their dtype."""
    array = np.asarray(values)
    if array.ndim == 0:
        array = array.reshape(1)
    if array.ndim != 1:
        raise ValueError(f"{name} have shape {array.shape}; give a one-dimensional array")
    if array.dtype.kind in "iu":
        return array
    if array.size == 0:
        return array.astype(np.int64)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or (array != np.floor(array)).any():
            bad = array[~np.isfinite(array) | (array != np.floor(array))][0]
            raise ValueError(f"{name} hold {bad}, which is not a whole number; give integers")
        return array.astype(np.int64)
    raise TypeError(f"{name} have dtype {array.dtype}; give integers, or use dmc.Recommender for ids of any kind")


def index_dtype(size: int) -> type[np.signedinteger[Any]]:
    """int32 while indices below `size` fit, which halves the memory traffic; int64 beyond."""
    return np.int32 if size <= np.iinfo(np.int32).max else np.int64


def shape(value: Any, minimum: int = 1) -> tuple[int, int]:
    """Two whole numbers, each at least the minimum."""
    try:
        m, n = value
    except (TypeError, ValueError):
        raise ValueError(f"shape is {value!r}; give two whole numbers, (rows, columns)") from None
    return integer(m, "the number of rows", minimum), integer(n, "the number of columns", minimum)


def generator(seed: object, name: str = "random_state") -> np.random.Generator:
    """A random generator: the one given, or one from a seed (None: another at each call)."""
    if seed is not None and not isinstance(seed, (int, np.integer, np.random.Generator)):
        raise TypeError(f"{name} is {seed!r}; give a whole number, a numpy.random.Generator or None")
    if isinstance(seed, (int, np.integer)) and seed < 0:
        raise ValueError(f"{name} is {seed}; a seed has to be at least 0")
    return np.random.default_rng(seed)


def callables(values: object, name: str) -> None:
    """A sequence of things that can be called."""
    if not isinstance(values, (list, tuple)):
        raise TypeError(f"{name} is {values!r}; give a list")
    for value in values:
        if not callable(value):
            raise TypeError(
                f"{name} holds {value!r}, which cannot be called; give callbacks such as those of dmc.callbacks"
            )


def memory(n_bytes: int, what: str, remedy: str) -> None:
    """Refuse an array larger than the machine's memory before the system kills the process for it."""
    try:
        available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not a POSIX system: leave it to the allocator
        return
    if n_bytes > available:
        raise MemoryError(
            f"{what} would take {n_bytes / 2**30:,.0f} GiB and this machine has {available / 2**30:,.0f}; {remedy}"
        )


def renamed(old: str, given: T | None, new: str, value: T) -> T:
    """The value of a parameter that may have been given by its old name, which warns."""
    if given is None:
        return value
    warn(f"{old} is now {new}; give {new}={given!r}", DeprecationWarning)
    return given
