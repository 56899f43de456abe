"""Anybody's ids, of any kind, and the positions 0, 1, … that stand for them."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc._text_arrays import LETTER, ends_with_nul, is_text, text_array
from dmc._warn import warn

LONG = 64  # letters of a text, from which on looking at each letter of all of them takes more room than they do
DIGITS = 18  # as many as always fit into int64
WHOLE = re.compile("0|-?[1-9][0-9]*", re.ASCII)  # a number as it is written
PART = 1 << 20  # entries looked at together: what is made of them on the way stays in the caches


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Ids and the positions 0, 1, … that stand for them: rows of the users, columns of the items.

    Attributes
    ----------
    ids : (known,) int64 or text
        Sorted; ids[i] stands at position i. Text is of dtype object, where a few ids are very long: see
        `dmc._text_arrays.text_array`.
    """

    ids: NDArray[Any]

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def learn(cls, ids: NDArray[Any]) -> tuple[Vocabulary, NDArray[Any]]:
        """The vocabulary of the ids that occur, and (entries,) the position of each; int32 while they fit."""
        if not is_text(ids):
            return cls._learn_numbers(ids)
        given = ids.tolist()  # text: hashing all of it and sorting what differs is quicker than sorting all of it
        known = np.sort(text_array(list(set(given))))
        number = {id: position for position, id in enumerate(known.tolist())}
        return cls(known), np.fromiter(map(number.__getitem__, given), _checks.index_dtype(len(known)), len(given))

    @classmethod
    def _learn_numbers(cls, ids: NDArray[np.int64]) -> tuple[Vocabulary, NDArray[Any]]:
        least, span = (int(ids.min()), int(ids.max()) - int(ids.min()) + 1) if len(ids) else (0, 1)
        if span > max(len(ids), 1):  # sorting takes less room
            known, positions = np.unique(ids, return_inverse=True)
            return cls(known), positions.astype(_checks.index_dtype(len(known)), copy=False)
        occurs = np.zeros(span, dtype=bool)  # a table of all numbers between: a tenth of the time of sorting
        for part in parts(len(ids)):
            occurs[ids[part] - least] = True
        known = np.flatnonzero(occurs)
        number: NDArray[Any] = np.empty(span, _checks.index_dtype(len(known)))
        number[known] = np.arange(len(known))
        positions = np.empty(len(ids), number.dtype)
        for part in parts(len(ids)):
            positions[part] = number[ids[part] - least]
        return cls(known + least), positions

    def extended(self, ids: NDArray[Any]) -> tuple[Vocabulary, NDArray[Any], NDArray[Any]]:
        """The vocabulary of these and more ids; the new position of each known id, and that of each of `ids`."""
        known, more = self.ids, ids
        if is_text(known) != is_text(more):
            known, more = (of if is_text(of) else of.astype(str) for of in (known, more))
        if known.dtype.kind != more.dtype.kind or known.dtype.itemsize != more.dtype.itemsize:
            whole, positions = Vocabulary.learn(text_array([*known.tolist(), *more.tolist()]))
        else:
            whole, positions = Vocabulary.learn(np.concatenate([known, more]))
        return whole, positions[: len(known)], positions[len(known) :]

    def positions(self, ids: Any, name: str = "ids") -> NDArray[np.int64]:
        """(entries,) the position of each id; −1 for one that is not known. 7 and "7" are the same id."""
        wanted = as_ids(as_column(ids, name), name)
        if not is_text(wanted):
            return self._places(wanted.astype(str) if is_text(self.ids) else wanted)
        if is_text(self.ids):
            return self._places(wanted)
        found = np.full(len(wanted), -1)  # a service is asked for "abc" where all ids are numbers
        numbers = {i: int(id) for i, id in enumerate(wanted.tolist()) if len(id) <= 20 and WHOLE.fullmatch(id)}
        numbers = {i: number for i, number in numbers.items() if -(1 << 63) <= number < 1 << 63}
        found[list(numbers)] = self._places(np.fromiter(numbers.values(), np.int64, len(numbers)))
        return found

    def _places(self, wanted: NDArray[Any]) -> NDArray[np.int64]:
        """(entries,) where ids of the vocabulary's own kind stand; −1 for one that is not known."""
        if len(self.ids) == 0:  # as those of the users of a process that has none
            return np.full(len(wanted), -1)
        narrow = wanted
        if self.ids.dtype.kind == "U" and wanted.dtype != self.ids.dtype:
            narrow = wanted.astype(self.ids.dtype)  # not the reverse: a long one would widen all that are known
        places = np.minimum(np.searchsorted(self.ids, narrow), len(self.ids) - 1)
        return np.where((self.ids[places] == narrow) & (narrow == wanted), places, -1)

    def lines(self, ids: Any, name: str = "ids") -> NDArray[np.int64]:
        """The name that `positions` had."""
        warn("Vocabulary.lines is now Vocabulary.positions; call that", DeprecationWarning)
        return self.positions(ids, name)


def as_ids(values: NDArray[Any], name: str) -> NDArray[Any]:
    """Ids of any dtype as int64 if they are whole numbers, else as text; a missing one is refused."""
    if values.ndim != 1:
        raise ValueError(f"column {name!r} has shape {values.shape}; give one id for each entry")
    if values.dtype.kind in "iub" and (values.dtype != np.uint64 or not len(values) or int(values.max()) < 1 << 63):
        return values.astype(np.int64, copy=False)
    if values.dtype.kind == "O" and set(map(type, values)) == {str}:
        return _canonical(_of_texts(values.tolist(), name))
    if values.dtype == np.float16:  # which does not hold the bound of int64
        values = values.astype(np.float32)
    if values.dtype.kind == "f":
        refuse(np.isnan(values), "missing", name)
        refuse(np.isinf(values), "infinite", name)
    if values.dtype.kind in "MmO":
        refuse(np.asarray([is_missing(value) for value in values], dtype=bool), "missing", name)
        refuse(np.asarray([_is_infinite(value) for value in values], dtype=bool), "infinite", name)
    if values.dtype.kind == "f" and (values == np.floor(values)).all() and (abs(values) < 2.0**63).all():
        return values.astype(np.int64)
    return _canonical(values if values.dtype.kind == "U" else _of_texts([_as_text(value) for value in values], name))


def _of_texts(texts: Sequence[str], name: str) -> NDArray[Any]:
    """Text of a column of ids, none of which NumPy would cut short."""
    found = text_array(texts)
    if found.dtype.kind == "O" and ends_with_nul(texts):
        row, id = next((row, id) for row, id in enumerate(texts) if id.endswith("\0"))
        raise ValueError(
            f"column {name!r} holds the id {id[-20:]!r} in row {row}, which ends with a NUL character; remove it"
        )
    return found


def parts(count: int) -> Iterator[slice]:
    """So many entries, some at a time."""
    return (slice(first, first + PART) for first in range(0, count, PART))


def refuse(wrong: NDArray[np.bool_], how: str, name: str) -> None:
    """Raise if ids of a column are missing, infinite or empty: (entries,) which are."""
    if wrong.any():
        raise ValueError(
            f"column {name!r} holds {_checks.count(int(wrong.sum()), f'{how} id')}, the first in row "
            f"{int(np.argmax(wrong))}; drop those rows"
        )


def _canonical(text: NDArray[Any]) -> NDArray[Any]:
    """Texts that came as text or as floats: whole numbers if all are; "7.0" is 7, as pandas writes ids with gaps."""
    if text.dtype.itemsize > LETTER * LONG:
        text = text_array(text.tolist())
    if text.dtype.kind == "O" or text.dtype.itemsize > LETTER * LONG:  # of which one is longer than any number
        return text_array([id[:-2] if id.endswith(".0") and WHOLE.fullmatch(id[:-2]) else id for id in text.tolist()])
    numbers = whole_numbers(text)
    if numbers is not None:
        return numbers
    short = _without_point(text)
    if short is text:
        return text
    numbers = whole_numbers(short)
    return short if numbers is None else numbers


def _without_point(text: NDArray[Any]) -> NDArray[Any]:
    """Texts without the ".0" behind a whole number, "-0.0" and "007.0" as they are; themselves if there is none."""
    letters = _letters(text)
    if letters.shape[1] < 3:
        return text
    ends = np.maximum((letters != 0).sum(axis=1), 3)
    rows = np.arange(len(text))
    pointed = np.flatnonzero((letters[rows, ends - 1] == ord("0")) & (letters[rows, ends - 2] == ord(".")))
    if len(pointed) == 0:
        return text
    letters, points = letters.copy(), ends[pointed] - 2
    shortened = letters[pointed]
    shortened[np.arange(len(pointed)), points] = shortened[np.arange(len(pointed)), points + 1] = 0
    whole = _are_whole(shortened, points)
    letters[pointed[whole]] = shortened[whole]
    return letters.view(f"U{letters.shape[1]}").reshape(-1)


def _are_whole(letters: NDArray[np.uint32], lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(texts,) whether a text, at least a letter long, is a whole number as it is written: "-0" and "007" are not."""
    signed = letters[:, 0] == ord("-")
    first = np.where(signed, letters[:, 1], letters[:, 0])
    digits = (letters - np.uint32(ord("0")) <= 9).sum(axis=1)
    return (digits == lengths - signed) & (digits > 0) & ((first != ord("0")) | (lengths == 1))


def _letters(text: NDArray[Any]) -> NDArray[np.uint32]:
    """(texts, letters) their code points, zeros behind the text."""
    width = max(text.dtype.itemsize // 4, 1)
    return np.ascontiguousarray(text, dtype=f"U{width}").view(np.uint32).reshape(-1, width)


def whole_numbers(text: NDArray[Any]) -> NDArray[np.int64] | None:
    """Texts as int64, if each is a whole number as it is written: "007", "+7" and "-0" are not."""
    if len(text) == 0:
        return text.astype(np.int64)
    letters = _letters(text)
    negative = letters[:, 0] == ord("-")
    if negative.any():
        unsigned = np.pad(letters[:, 1:], ((0, 0), (0, 1)))
        letters = np.where(negative[:, None], unsigned, letters)
    length = (letters != 0).sum(axis=1)
    if length.max() > DIGITS:
        return _long_whole_numbers(text) if length.max() <= DIGITS + 1 else None
    digits = letters - np.uint32(ord("0"))  # anything else wraps around to far above 9
    leading_zero = (digits[:, 0] == 0) & ((length > 1) | negative)
    if (length == 0).any() or leading_zero.any():
        return None
    numbers = np.zeros(len(text), np.int64)
    for place in range(letters.shape[1]):
        inside = place < length
        if (inside & (digits[:, place] > 9)).any():
            return None
        numbers = np.where(inside, 10 * numbers + digits[:, place], numbers)
    return np.where(negative, -numbers, numbers)


def _long_whole_numbers(text: NDArray[Any]) -> NDArray[np.int64] | None:
    """The same where some may not fit into int64."""
    try:
        numbers = text.astype(np.int64)
    except (ValueError, OverflowError):
        return None
    return numbers if np.array_equal(numbers.astype(str), text) else None


def _is_infinite(value: object) -> bool:
    return isinstance(value, (float, np.floating)) and math.isinf(value)


def is_missing(value: object) -> bool:
    """None, NaN, NaT or pandas' NA, which alone is neither equal to itself nor different."""
    try:
        return value is None or bool(value != value)
    except TypeError:
        return True


def _as_text(value: object) -> str:
    """An id as text, so that 7, 7.0 and "7" are the same."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    if isinstance(value, np.datetime64):
        return _as_date(str(value))
    if isinstance(value, datetime.date):  # and times, those of pandas too
        return _as_date(value.isoformat())
    return str(value)


def _as_date(text: str) -> str:
    """A date, the same whatever type and precision it came in; with the time of day if that is not midnight."""
    day, _, clock = text.partition("T")
    if len(clock) < 8:
        clock = f"{clock or '00'}:00:00"[:8]
    elif "." in clock and "+" not in clock and "-" not in clock:
        clock = clock.rstrip("0").rstrip(".")
    return day if clock == "00:00:00" else f"{day}T{clock}"


def as_column(values: Any, name: str) -> NDArray[Any]:
    """An array of what was given for a column, whole numbers exact."""
    if isinstance(values, (list, tuple)):
        kinds = set(map(type, values))
        if kinds == {str}:
            return text_array(values)
        if kinds == {bytes} and any(value.endswith(b"\0") for value in values):
            return np.asarray(values, dtype=object)  # NumPy would drop the NUL
        if (str in kinds and len(kinds) > 1 and not kinds & {list, tuple}) or any(
            isinstance(v, int) and abs(v) > 2**53 for v in values
        ):
            return np.asarray(values, dtype=object)  # whole numbers that a common dtype might round, or write as text
    try:
        return np.asarray(values)
    except ValueError:
        raise ValueError(f"column {name} is not one value for each entry; give a one-dimensional array") from None
