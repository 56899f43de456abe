"""What a file of a kind has to hold, declared: arrays with their dtypes, shapes and properties, and a header's fields.

Shapes are written in symbols: the first array with a symbol says how large it is, and the others have to agree. What is
wrong is a ValueError of a few words, to which who reads the file adds its name and what to do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

PART = 1 << 20  # entries looked at together
MOST_VARIANCE = 1e200  # so that a product of two is finite in float64
LARGEST = float(np.finfo(np.float32).max)
MOST = 1 << 53  # of whole numbers
SHOWN = 40  # letters of a value, in a message
NOTHING: Mapping[str, Any] = MappingProxyType({})
DEEP = 16  # levels of lists in what is kept as it was measured

Arrays = Mapping[str, NDArray[Any]]
Sizes = Mapping[str, int]
Property = Callable[[NDArray[Any], Arrays, Sizes], str | None]
"""Of an array, among the others of its file and their sizes: what it is instead, or None."""
Field = Callable[[str, Any], None]
"""Of a value in a header, by where it stands: raises a ValueError if it is another."""


class Array(NamedTuple):
    """What an array has to be.

    Attributes
    ----------
    dtypes : str
        "text", and NumPy's short names.
    shape : tuple
        Of sizes, symbols, and symbols with something added ("users+1").
    properties : tuple
        In which order they are looked at; not in a mapped file whose contents are trusted.
    optional : bool
    """

    dtypes: str
    shape: tuple[str | int, ...]
    properties: tuple[Property, ...] = ()
    optional: bool = False


def check_arrays(
    arrays: Arrays,
    table: Mapping[str, Array],
    sizes: Sizes = NOTHING,
    *,
    trusted: bool = False,
) -> dict[str, int]:
    """Check that the arrays of a file are those of a table.

    Parameters
    ----------
    arrays : mapping of str to array
    table : mapping of str to Array
        In the order in which sizes are taken from them.
    sizes : mapping of str to int
        Those that are known before.
    trusted : bool
        Leave out properties of mapped arrays, which would read all of them.

    Returns
    -------
    dict of str to int
        All sizes.

    Raises
    ------
    ValueError
    """
    for name in arrays:
        if name not in table:
            raise ValueError(f"it holds {name[:SHOWN]!r}, which no model of its kind has")
    found = dict(sizes)
    for name, wanted in table.items():
        if name in arrays:
            _fit(name, arrays[name], wanted, found)
        elif not wanted.optional:
            raise ValueError(f"it lacks {name!r}")
    for name, array in arrays.items():
        for told in () if trusted and is_mapped(array) else table[name].properties:
            wrong = told(array, arrays, found)
            if wrong is not None:
                raise ValueError(f"{name!r} {wrong}")
    return found


def is_mapped(array: NDArray[Any]) -> bool:
    """Whether an array lies in a file."""
    at: Any = array
    while at is not None and not isinstance(at, np.memmap):
        at = getattr(at, "base", None)
    return at is not None


def _fit(name: str, array: NDArray[Any], wanted: Array, sizes: dict[str, int]) -> None:
    kind = "text" if array.dtype.kind in "UO" else array.dtype.str[1:]
    if kind not in wanted.dtypes.split():
        raise ValueError(f"{name!r} has dtype {array.dtype} instead of {wanted.dtypes}")
    if array.ndim != len(wanted.shape):
        raise ValueError(f"{name!r} has shape {array.shape} instead of {len(wanted.shape)} dimensions")
    for size, symbol in zip(array.shape, wanted.shape, strict=True):
        expected = symbol
        if isinstance(symbol, str):
            base, _, more = symbol.partition("+")
            expected = sizes.setdefault(base, max(size - int(more or 0), 0)) + int(more or 0)
        if size != expected:
            raise ValueError(f"{name!r} has shape {array.shape}, and {symbol} is {expected} elsewhere")


# --- properties of arrays


def _pieces(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    flat = array.reshape(-1)
    return (flat[i : i + PART] for i in range(0, len(flat), PART))


def finite(array: NDArray[Any], arrays: Arrays, sizes: Sizes) -> str | None:
    good = all(np.isfinite(piece).all() for piece in _pieces(array))
    return None if good else "holds numbers that are not finite"


def within(largest: float) -> Property:
    """Finite, and no larger in size."""

    def told(array: NDArray[Any], arrays: Arrays, sizes: Sizes) -> str | None:
        good = not array.size or -largest <= float(array.min()) <= float(array.max()) <= largest
        return None if good else f"holds numbers that are not finite, or above {largest:g} in size"

    return told


def moderate(array: NDArray[Any], arrays: Arrays, sizes: Sizes) -> str | None:
    """Finite, and so is the sum of the squares, which fold-in and ranks take in float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = sum(float(np.dot(piece, piece)) for piece in _pieces(array))
    return None if total <= LARGEST else "holds numbers that are not finite, or whose squares are not"


def least(minimum: float, *, infinite: bool = False) -> Property:
    """Finite, and at least so large."""

    def told(array: NDArray[Any], arrays: Arrays, sizes: Sizes) -> str | None:
        most = math.inf if infinite or array.dtype.kind != "f" else np.finfo(array.dtype).max
        good = all(((piece >= minimum) & (piece <= most)).all() for piece in _pieces(array))
        return None if good else f"holds numbers that are not finite and at least {minimum:g}"

    return told


def positive(array: NDArray[Any], arrays: Arrays, sizes: Sizes) -> str | None:
    good = all(((piece > 0) & (piece <= np.finfo(piece.dtype).max)).all() for piece in _pieces(array))
    return None if good else "holds numbers that are not finite and above 0"


def other_than_zero(array: NDArray[Any], arrays: Arrays, sizes: Sizes) -> str | None:
    return None if all((piece != 0).all() for piece in _pieces(array)) else "holds zeros"


def flags(array: NDArray[Any], arrays: Arrays, sizes: Sizes) -> str | None:
    return None if array.view(np.uint8).max(initial=0) <= 1 else "holds what is neither true nor false"


def ascending(array: NDArray[Any], arrays: Arrays, sizes: Sizes) -> str | None:
    """Each once."""
    return None if bool((array[1:] > array[:-1]).all()) else "is not in ascending order, each once"


def pointers(to: str) -> Property:
    """Where in an array of a size the part of each row begins, and the last ends."""

    def told(array: NDArray[Any], arrays: Arrays, sizes: Sizes) -> str | None:
        whole = len(array) > 0 and array[0] == 0 and array[-1] == sizes[to]
        return None if whole and bool((array[1:] >= array[:-1]).all()) else "does not divide what it divides"

    return told


def columns_of_rows(pointers: str, of: str) -> Property:
    """Numbers below a size, ascending in each row."""

    def told(array: NDArray[Any], arrays: Arrays, sizes: Sizes) -> str | None:
        if len(array) and (array.min() < 0 or array.max() >= sizes[of]):
            return f"holds numbers outside of 0 to {sizes[of] - 1}"
        begins = arrays[pointers][1:-1]
        begins = begins[(begins > 0) & (begins < len(array)) & (np.diff(begins, prepend=0) > 0)]
        falls = sum(
            int(np.count_nonzero(array[i + 1 : i + 1 + PART] <= array[i : i + PART][: len(array) - i - 1]))
            for i in range(0, len(array), PART)
        )
        between_rows = int(np.count_nonzero(array[begins] <= array[begins - 1]))
        return None if falls == between_rows else "is not in ascending order, each once, in each row"

    return told


def below(of: str, minimum: int = 0) -> Property:
    """Whole numbers below a size."""

    def told(array: NDArray[Any], arrays: Arrays, sizes: Sizes) -> str | None:
        good = not array.size or bool((array >= minimum).all() and (array < sizes[of]).all())
        return None if good else f"holds numbers outside of {minimum} to {sizes[of] - 1}"

    return told


def products_with(left: str) -> Property:
    """Finite products with the rows of another array: none is larger than that of the longest rows' lengths, nor than
    the sum of the products of what is largest in each column, where one side is large in the columns that the other
    has ones in."""

    def told(array: NDArray[Any], arrays: Arrays, sizes: Sizes) -> str | None:
        most = float(np.finfo(array.dtype).max)
        if longest(arrays[left]) * longest(array) <= most:
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            product = float(_largest_of_columns(arrays[left]) @ _largest_of_columns(array))
        return None if product <= most else f"and {left!r} have products that are not finite"

    return told


def _largest_of_columns(array: NDArray[Any]) -> NDArray[np.float64]:
    """NaN where there is one."""
    if not len(array):
        return np.zeros(array.shape[-1])
    return np.maximum(array.max(axis=0), -array.min(axis=0)).astype(np.float64)


def longest(array: NDArray[Any]) -> float:
    """Length of the longest row."""
    if not array.size:
        return 0.0
    rows = array.reshape(-1, array.shape[-1])
    step = max(1, PART // array.shape[-1])
    parts = [rows[i : i + step] for i in range(0, len(rows), step)]
    with np.errstate(over="ignore", invalid="ignore"):
        square = np.max([np.einsum("ij,ij->i", part, part).max() for part in parts])
        if 0 < square <= LARGEST:
            return math.sqrt(square)
        unit = float(np.max([np.abs(part).max() for part in parts])) or 1.0
        return unit * math.sqrt(np.max([np.square(part / unit).sum(axis=1).max() for part in parts]))


def covariance(array: NDArray[Any], arrays: Arrays, sizes: Sizes) -> str | None:
    """Symmetric, and without negative variances but for rounding."""
    wrong = "is not a covariance: it has to be symmetric, with no negative variance in any direction"
    largest = float(np.abs(array).max(initial=0))
    if not largest <= MOST_VARIANCE or not np.allclose(array, array.T, rtol=1e-6, atol=1e-9 * largest):
        return wrong
    return None if not array.size or float(np.linalg.eigvalsh(array)[0]) >= -1e-9 * largest else wrong


def positive_definite(most: float) -> Property:
    """A covariance that can be inverted, of no larger variances."""

    def told(array: NDArray[Any], arrays: Arrays, sizes: Sizes) -> str | None:
        wrong = "is not a covariance: it has to be symmetric and positive definite"
        largest = float(np.abs(array).max(initial=0))
        if not largest <= most or not np.allclose(array, array.T, rtol=1e-6, atol=1e-9 * largest):
            return wrong
        try:
            np.linalg.cholesky(array.astype(np.float64))
        except np.linalg.LinAlgError:
            return wrong
        return None

    return told


# --- fields of headers


def _refuse(where: str, value: Any, wanted: str) -> None:
    shown = repr(value)[:SHOWN] if not isinstance(value, (list, dict)) else type(value).__name__
    raise ValueError(f"its {where} is {shown}, and has to be {wanted}")


def whole(minimum: int = 0, maximum: int = MOST) -> Field:
    def told(where: str, value: Any) -> None:
        if type(value) is not int or not minimum <= value <= maximum:
            _refuse(where, value, f"a whole number of at least {minimum}")

    return told


def real(minimum: float = -LARGEST, maximum: float = LARGEST, *, nan: bool = False, above: bool = False) -> Field:
    """A number within bounds; NaN, if it may be; the lower bound left out with `above`."""

    def told(where: str, value: Any) -> None:
        number = type(value) is float or (type(value) is int and abs(value) < 1 << 63)
        if number and nan and value != value:
            return
        if not number or not minimum <= value <= maximum or (above and value == minimum):
            _refuse(
                where, value, f"a number {'above' if above else 'of at least'} {minimum:g}, and at most {maximum:g}"
            )

    return told


def text(where: str, value: Any) -> None:
    if not isinstance(value, str):
        _refuse(where, value, "text")


def word(where: str, value: Any) -> None:
    if not isinstance(value, str) or len(value) > SHOWN:
        _refuse(where, value, f"a word of at most {SHOWN} letters")


def flag(where: str, value: Any) -> None:
    if not isinstance(value, bool):
        _refuse(where, value, "true or false")


def one_of(*words: Any) -> Field:
    def told(where: str, value: Any) -> None:
        if not any(type(value) is type(word) and value == word for word in words):
            _refuse(where, value, f"one of {', '.join(map(repr, words))}")

    return told


def or_none(field: Field) -> Field:
    def told(where: str, value: Any) -> None:
        if value is not None:
            field(where, value)

    return told


def any_of(*fields: Field) -> Field:
    """What one of several would take; what is wrong is told by the last."""

    def told(where: str, value: Any) -> None:
        for field in fields[:-1]:
            try:
                return field(where, value)
            except ValueError:
                continue
        return fields[-1](where, value)

    return told


def list_of(field: Field, length: int | None = None) -> Field:
    def told(where: str, value: Any) -> None:
        if not isinstance(value, list) or len(value) != (len(value) if length is None else length):
            _refuse(where, value, "a list" if length is None else f"a list of {length}")
        for i, one in enumerate(value):
            field(f"{where}[{i}]", one)

    return told


def record(fields: Mapping[str, Field], optional: Mapping[str, Field] = {}) -> Field:
    """An object with these fields, and no others."""

    def told(where: str, value: Any) -> None:
        if not isinstance(value, dict):
            _refuse(where, value, "an object")
        for name in value:
            if name not in fields and name not in optional:
                raise ValueError(f"its {where} has {name[:SHOWN]!r}, which no model of its kind has")
        for name, field in {**fields, **optional}.items():
            if name in value:
                field(f"{where}.{name}", value[name])
            elif name in fields:
                raise ValueError(f"its {where} lacks {name!r}")

    return told


def table_of(field: Field) -> Field:
    """An object with any names."""

    def told(where: str, value: Any) -> None:
        if not isinstance(value, dict):
            _refuse(where, value, "an object")
        for name, one in value.items():
            field(f"{where}.{name[:SHOWN]}", one)

    return told


def measured(where: str, value: Any) -> None:
    """What was measured on the way, which nothing is computed from: numbers, words, and lists of such."""
    _measured(where, value, DEEP)


def _measured(where: str, value: Any, levels: int) -> None:
    if isinstance(value, list) and levels:
        for one in value:
            _measured(where, one, levels - 1)
    elif isinstance(value, dict) and levels:
        for name, one in value.items():
            _measured(f"{where}.{name[:SHOWN]}", one, levels - 1)
    elif isinstance(value, int) and abs(value) > MOST:
        _refuse(where, value, f"a whole number of at most {MOST}")
    elif value is not None and not isinstance(value, (str, int, float)):
        _refuse(where, value, "a number or a word")
