"""A column of text in the room of numbers: what a file of a hundred million ratings becomes while it is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc.recommend.tables.vocabulary import PART, Vocabulary, as_ids, parts, whole_numbers

WIDE = 100  # letters: a column with longer texts (titles, reviews) does not give every entry the room of the longest
MAX_LEVELS = 1 << 20  # different texts, from which on a column most of whose texts are new is kept as it is
LARGE = 1 << 25  # bytes of an array that has memory of its own, which goes back to the system when it is freed
SPAN = 1 << 24  # a table of so many numbers takes little room, however few of them occur
MAX_LOSS = 1e-3  # of the range of numbers, by rounding to float32

Integers = NDArray[np.integer]
Piece = tuple[str, NDArray[Any]]  # "number", "code" or "text", and the entries


class _Levels(dict[str, int]):
    """Texts and their codes 0, 1, …: one that is looked up for the first time gets the next."""

    def __missing__(self, text: str) -> int:
        self[text] = code = len(self)
        return code


class PackedColumn:
    """The texts of a column, added some at a time, as whole numbers or as codes of the texts that occur.

    A piece whose texts are whole numbers as they are written ("7", not "007" or "7.0") is an array of them, of the
    narrowest dtype; of any other, each text is the number of a level. What is told of a column does not depend on how
    it came in pieces.

    Attributes
    ----------
    levels : dict of str to int
        Different texts of the pieces that are codes, in the order met, and their codes.
    """

    def __init__(self) -> None:
        self.levels: _Levels = _Levels()
        self._pieces: list[Piece] = []
        self._size = self._n_gathered = self._n_bytes = 0  # entries, pieces that are large, bytes of those that are not

    def __len__(self) -> int:
        return self._size

    # --- pieces come in

    def add(self, texts: Sequence[str]) -> None:
        """Some texts, at least one."""
        if max(map(len, texts)) > WIDE:
            return self._append("text", np.asarray(texts, object))
        if texts[0].removeprefix("-").isdigit() and (numbers := whole_numbers(np.asarray(texts, str))) is not None:
            return self.add_numbers(numbers)
        self.add_words(texts)

    def add_words(self, texts: Sequence[str]) -> None:
        """Some texts, none of them long, not all of them whole numbers."""
        if self._hardly_repeats():
            return self._append("text", np.char.encode(np.asarray(texts, str), "utf-8", "surrogateescape"))
        codes = np.fromiter(map(self.levels.__getitem__, texts), np.int64, len(texts))
        self._append("code", codes.astype(_narrowest(0, len(self.levels))))

    def add_numbers(self, numbers: Integers) -> None:
        """Some whole numbers, at least one."""
        self._append("number", numbers.astype(_narrowest(int(numbers.min()), int(numbers.max()))))

    def add_codes(self, texts: Sequence[str], codes: Integers) -> None:
        """Some texts, each once, and which of them each entry is."""
        if max(map(len, texts)) > WIDE or self._hardly_repeats():
            return self._append("text", np.asarray(texts, object)[codes])
        of_text = np.fromiter(map(self.levels.__getitem__, texts), np.int64, len(texts))
        self._append("code", of_text[codes].astype(_narrowest(0, len(self.levels))))

    def _hardly_repeats(self) -> bool:
        """Whether most texts are new, as times and titles are, so that codes would take more room than they do."""
        return len(self.levels) > max(MAX_LEVELS, self._size // 2)

    def _append(self, kind: str, piece: NDArray[Any]) -> None:
        self._pieces.append((kind, piece))
        self._size += len(piece)
        self._n_bytes += piece.nbytes
        if self._n_bytes >= LARGE:
            self._gather()

    def _gather(self) -> None:
        """Small pieces of one kind become a large one."""
        small = self._pieces[self._n_gathered :]
        del self._pieces[self._n_gathered :]
        for kind, run in groupby(small, key=lambda piece: piece[0]):
            self._pieces.append((kind, np.concatenate([piece for _, piece in run])))
        self._n_gathered, self._n_bytes = len(self._pieces), 0

    def _parts(self) -> Iterator[Piece]:
        """The pieces, some entries at a time."""
        return ((kind, piece[part]) for kind, piece in self._pieces for part in parts(len(piece)))

    # --- and what they are

    def text(self) -> NDArray[Any]:
        """(entries,) the texts as they were given; as objects if one is long."""
        levels = np.asarray(list(self.levels), str)
        pieces = [_as_text(kind, piece, levels) for kind, piece in self._pieces]
        if any(piece.dtype == object for piece in pieces):
            pieces = [piece.astype(object) for piece in pieces]
        return np.concatenate(pieces)

    def floats(self, dtype: type[np.floating] = np.float32) -> NDArray[Any] | None:
        """(entries,) the numbers that the texts are, where the dtype holds them well; None where that is to be asked of
        the texts: one is no number, or is rounded."""
        if not all(map(_checks.is_number, self.levels)):
            return None
        of_level = np.asarray(list(self.levels), str).astype(np.float64)
        with np.errstate(over="ignore"):
            rounded = of_level.astype(dtype)
        numbers = [
            end for kind, piece in self._pieces if kind == "number" for end in (int(piece.min()), int(piece.max()))
        ]
        ends = np.concatenate([of_level, np.asarray(numbers, np.float64)])
        exact = 2 ** (np.finfo(dtype).nmant + 1)  # whole numbers up to here are as they are
        texts = any(kind == "text" for kind, _ in self._pieces)
        if texts or not np.isfinite(rounded).all() or max(map(abs, numbers), default=0) > exact:
            return None
        if np.abs(of_level - rounded).max(initial=0) > MAX_LOSS * np.ptp(ends) > 0:
            return None
        values, first = np.empty(self._size, dtype), 0
        for kind, piece in self._parts():
            values[first : first + len(piece)] = piece if kind == "number" else rounded[piece]
            first += len(piece)
        return values

    def learn(self, name: str) -> tuple[Vocabulary, Integers]:
        """As `Vocabulary.learn` of `as_ids` of the texts: by number and by level, and not by entry."""
        if any(kind == "text" for kind, _ in self._pieces):
            return Vocabulary.learn(as_ids(self.text(), name))
        numbers = _Numbers([piece for kind, piece in self._pieces if kind == "number"])
        levels = np.asarray(list(self.levels), str)
        ids = as_ids(np.concatenate([numbers.known.astype(str), levels]) if len(levels) else numbers.known, name)
        vocabulary, position = Vocabulary.learn(ids)
        of_number, of_level = position[: len(numbers.known)], position[len(numbers.known) :]
        numbers.stand_for(of_number)
        positions, first = np.empty(self._size, position.dtype), 0
        for kind, piece in self._parts():
            positions[first : first + len(piece)] = numbers.of(piece) if kind == "number" else of_level[piece]
            first += len(piece)
        return vocabulary, positions


class _Numbers:
    """The different whole numbers of some pieces, and what stands for each.

    Attributes
    ----------
    known : (known,) int64
        Ascending.
    """

    def __init__(self, pieces: Sequence[Integers]) -> None:
        self._least = min((int(piece.min()) for piece in pieces), default=0)
        span = max((int(piece.max()) for piece in pieces), default=-1) - self._least + 1
        self._dense = span <= max(sum(map(len, pieces)), SPAN)
        if self._dense:  # a table of all numbers between: a tenth of the time of sorting
            occurs = np.zeros(span, bool)
            for part in _parts_of(pieces):
                occurs[part.astype(np.int64) - self._least] = True
            self.known = np.flatnonzero(occurs) + self._least
        else:
            self.known = _different(pieces)

    def stand_for(self, positions: Integers) -> None:
        """(known,) what is to stand for each."""
        self._positions = positions
        if self._dense and len(self.known):
            self._positions = np.empty(int(self.known[-1]) - self._least + 1, positions.dtype)
            self._positions[self.known - self._least] = positions

    def of(self, numbers: Integers) -> Integers:
        wide = numbers.astype(np.int64)
        return self._positions[wide - self._least if self._dense else np.searchsorted(self.known, wide)]


def _parts_of(pieces: Sequence[Integers]) -> Iterator[Integers]:
    return (piece[part] for piece in pieces for part in parts(len(piece)))


def _different(pieces: Sequence[Integers]) -> NDArray[np.int64]:
    """The different numbers, ascending; sorted some at a time, for there may be room for them only once."""
    known, met, n_met = np.empty(0, np.int64), list[NDArray[np.int64]](), 0
    for part in _parts_of(pieces):
        met.append(_once(part.astype(np.int64)))
        n_met += len(met[-1])
        if n_met > max(len(known), PART):  # so each is merged a few times only
            known, met, n_met = _once(np.concatenate([known, *met])), [], 0
    return _once(np.concatenate([known, *met]))


def _once(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sorted, each once: a fraction of the time of `np.unique`, which makes a table of hashes."""
    numbers = np.sort(numbers)
    return numbers[np.append(True, numbers[1:] != numbers[:-1])] if len(numbers) else numbers


def _narrowest(least: int, most: int) -> type[np.signedinteger]:
    for dtype in (np.int8, np.int16, np.int32):
        if np.iinfo(dtype).min <= least and most <= np.iinfo(dtype).max:
            return dtype
    return np.int64


def _as_text(kind: str, piece: NDArray[Any], levels: NDArray[Any]) -> NDArray[Any]:
    if kind == "number":
        return piece.astype(str)
    if kind == "code":
        return levels[piece]
    return piece if piece.dtype == object else np.char.decode(piece, "utf-8", "surrogateescape")
