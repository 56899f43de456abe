"""Columns of ids in Arrow, by the rules that `dmc.recommend.tables.vocabulary` has for ids; and as bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmc._text_arrays import is_text, text_array
from dmc.distributed.arrow import WHOLE, decoded, from_bytes, kind_of, pa, pc, to_bytes
from dmc.recommend.tables.vocabulary import as_ids, whole_numbers

FEW = 1 << 18  # ids that are kept before those that occur again are left out


class Ids(NamedTuple):
    """The ids of a column of some rows.

    Attributes
    ----------
    known : (different,) int64 or text
        If `codes` are None, those of the entries.
    codes : (entries,) int32 or None
        Which of them each entry has.
    """

    known: NDArray[Any]
    codes: NDArray[np.int32] | None

    def spread(self, of_known: NDArray[Any]) -> NDArray[Any]:
        """(entries,) what is known of each id."""
        return of_known if self.codes is None else of_known[self.codes]

    def stored(self, as_text: bool) -> Any:
        """The entries as an Arrow array of `stored`."""
        found = stored(self.known, as_text)
        return found if self.codes is None else found.take(pa.array(self.codes))


def read_ids(column: Any, name: str) -> Ids:
    """The ids in an Arrow array, of which none may be missing: whole numbers as they are, of all else those that
    differ."""
    plain = decoded(column)
    if kind_of(plain.type) == WHOLE:
        if pa.types.is_boolean(plain.type):
            plain = plain.cast(pa.int8())
        return Ids(plain.to_numpy(zero_copy_only=False).astype(np.int64, copy=False), None)
    encoded = plain.dictionary_encode()
    return Ids(
        as_ids(encoded.dictionary.to_numpy(zero_copy_only=False), name),
        encoded.indices.to_numpy(zero_copy_only=False),
    )


def stored(ids: NDArray[Any], as_text: bool) -> Any:
    """Ids as an Arrow array of int64, or of UTF-8: of a type that is known before all of them are."""
    if not as_text:
        return pa.array(ids, pa.int64())
    return pa.array(as_bytes(ids if is_text(ids) else ids.astype(str)), pa.binary())


def restored(array: Any, numbers: bool) -> NDArray[Any]:
    """The ids of `stored`: as int64 if all ids of the column, here and elsewhere, are whole numbers; else as text."""
    if array.type == pa.int64():
        return np.asarray(array.to_numpy(zero_copy_only=False))
    texts = [one.decode("utf-8", "surrogateescape") for one in array.to_pylist()]
    text = text_array(texts)
    found = whole_numbers(text) if numbers else text
    assert found is not None
    return found


def as_bytes(text: NDArray[Any]) -> list[bytes]:
    """Texts in UTF-8; bytes that were none come out as they went in."""
    if text.dtype.kind == "O":
        return [one.encode("utf-8", "surrogateescape") for one in text.tolist()]
    try:
        return text.astype(bytes).tolist()
    except UnicodeEncodeError:  # not all are ASCII
        return [one.encode("utf-8", "surrogateescape") for one in text.tolist()]


def ids_to_bytes(array: Any) -> NDArray[np.uint8]:
    """Ids of `stored` on their way to another process."""
    return to_bytes(pa.record_batch([array], names=["id"]))


def ids_from_bytes(pieces: Iterable[NDArray[np.uint8]], like: Any) -> Any:
    """The ids that came from several processes, of an Arrow type, each once."""
    batches = [batch for batch in map(from_bytes, pieces) if batch is not None]
    return pc.unique(pa.chunked_array([batch.column(0) for batch in batches], like))


class Distinct:
    """The different ids of a column whose rows come some at a time; in time and room of about their number."""

    def __init__(self) -> None:
        self._known: Any = None
        self._pieces: list[Any] = []
        self._size = 0

    def add(self, array: Any) -> None:
        """Some more ids, of `stored`."""
        different = pc.unique(array)
        self._pieces.append(different)
        self._size += len(different)
        if self._size > FEW + (0 if self._known is None else len(self._known)):  # so each id is met a few times at most
            self.all(different.type)

    def all(self, like: Any) -> Any:
        """All of them as an Arrow array of that type."""
        pieces = self._pieces if self._known is None else [self._known, *self._pieces]
        self._known, self._pieces, self._size = pc.unique(pa.chunked_array(pieces, like)), [], 0
        return self._known
