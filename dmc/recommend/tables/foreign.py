"""What others hand over: streams, frames, arrays; their ids, and their libraries' exceptions in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc.recommend.tables.text_source import reason_of
from dmc.recommend.tables.vocabulary import as_column

EXACT = 2**53  # whole numbers up to here are float64
NESTED = (list, dict, set, frozenset, np.ndarray)
HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # of a pair of surrogates; others stand for bytes
FIRST_HALF = 0xD800
SHOWN = 80  # letters of a value in a message


def is_stream(source: Any) -> bool:
    """Whether it is an open file; a reader of frames, as of pandas with a chunksize, has `read` too, but no lines."""
    if isinstance(source, Iterator) and not hasattr(source, "readline"):
        return False
    return hasattr(source, "read") and not hasattr(source, "columns")


def is_table(piece: Any) -> bool:
    """Whether it is a frame, or a mapping of columns and not of one row's values."""
    if isinstance(piece, Mapping):
        return all(hasattr(values, "__len__") and not isinstance(values, str) for values in piece.values())
    return hasattr(piece, "columns")


def as_array(values: Any, name: str) -> NDArray[Any]:
    """A column of a mapping; what is masked is missing."""
    if np.ma.isMaskedArray(values):
        found = np.asarray(values.data)
        if np.ma.getmaskarray(values).any():
            found = found.astype(object)
            found[np.ma.getmaskarray(values)] = None
        return found
    if isinstance(values, (list, tuple)) and bytes in set(map(type, values)):  # an array of bytes cuts off NUL
        return np.fromiter(values, object, len(values))
    return as_column(values, name)


def joined(pieces: Sequence[NDArray[Any]], name: str) -> NDArray[Any]:
    """Pieces of a column as one; as objects where whole numbers would be rounded."""
    try:
        kind = np.result_type(*pieces)
    except TypeError:
        shown = ", ".join(sorted({str(piece.dtype) for piece in pieces}))
        raise TypeError(f"column {name!r} holds {shown} in different pieces; convert all to one type") from None
    whole = [piece for piece in pieces if piece.dtype.kind in "iu" and len(piece)]
    if kind.kind == "f" and any(int(piece.max()) > EXACT or int(piece.min()) < -EXACT for piece in whole):
        pieces = [piece.astype(object) for piece in pieces]
    return np.concatenate(pieces)


def refuse_nested(values: NDArray[Any], name: str, what: str) -> None:
    """Raise if a row has several things where one belongs: an id, a time."""
    kinds = set(map(type, values)) if values.dtype.kind == "O" else set()
    if values.dtype.kind in "cV":
        raise ValueError(f"column {name!r} has dtype {values.dtype}; give {what} for each entry")
    wrong = tuple(kind for kind in kinds if issubclass(kind, NESTED) or _is_nameless(kind))
    if wrong:
        row = next(i for i, value in enumerate(values) if isinstance(value, wrong))
        found = f"column {name!r} holds {type(values[row]).__name__} in place of {what}"
        raise ValueError(f"{found}, the first in row {row}; give one for each entry")


def _is_nameless(kind: Any) -> bool:
    """Whether objects are told apart by where they stand in memory alone."""
    return kind.__repr__ is object.__repr__ and kind.__str__ is object.__str__


def refuse_no_ids(values: NDArray[Any], name: str) -> None:
    """Raise if an id is several things, or what no array of text or no file can hold: half a pair of surrogates (but
    those that stand for bytes), and NUL at its end."""
    refuse_nested(values, name, "an id")
    if values.dtype.kind not in "OU" or not _may_hold_no_text(values):
        return
    row = next((i for i, value in enumerate(values.tolist()) if _is_no_text(value)), None)
    if row is not None:
        what = f"column {name!r} holds {shown(values[row])}, which ends in NUL or has an unpaired surrogate"
        raise ValueError(f"{what}, the first in row {row}; drop those rows, or write ids as hexadecimal digits")


def _may_hold_no_text(values: NDArray[Any]) -> bool:
    """Whether they are to be looked at one by one: a look at all takes a fraction of that."""
    if values.dtype.kind == "U":
        letters: NDArray[Any] = np.ascontiguousarray(values).reshape(-1).view(np.uint32)
        return bool(letters.size and letters.max() >= FIRST_HALF)
    kinds = set(map(type, values))
    if kinds != {str}:
        return any(issubclass(kind, (str, bytes)) for kind in kinds)
    joined = "".join(values)
    return "\0" in joined or not (joined.isascii() or HALF.search(joined) is None)


def _is_no_text(value: object) -> bool:
    if isinstance(value, bytes):
        return value.endswith(b"\0")
    return isinstance(value, str) and (value.endswith("\0") or not (value.isascii() or HALF.search(value) is None))


def shown(value: object) -> str:
    """A value in a message: in one line, and not at any length."""
    text = repr(value.item() if isinstance(value, np.generic) else value)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


@contextmanager
def words_for_failure(what: str, remedy: str) -> Iterator[None]:
    """A block of a frame's library, whose exceptions are its own."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(f"{what} ({reason_of(error)}); {remedy}") from None
