"""Arrow, by which rows come, wait and travel; and what a column of it holds, in words."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import ipc, parquet
except ImportError:
    raise ImportError(
        "the data of several processes are read by pyarrow, which is not installed; run: pip install pyarrow"
    ) from None

__all__ = ["decoded", "from_bytes", "give_back", "ipc", "kind_of", "pa", "parquet", "pc", "to_bytes"]

WHOLE, LARGE, REAL, TEXT, NOTHING = "whole numbers", "unsigned 64-bit numbers", "real numbers", "text", "nothing"
NUMBERS = "numbers"


def give_back() -> None:
    """Free memory goes back to the system, where it is kept for arrays to come: what dealing took, a fit does not."""
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of the GNU C library
    if trim is not None:
        trim(0)


def kind_of(column_type: Any, as_number: bool = False) -> str:
    """What a column of an Arrow type holds; types of one kind go together.

    Parameters
    ----------
    column_type : pyarrow.DataType
    as_number : bool
        All types of numbers are one kind, as for ratings.
    """
    types = pa.types
    if types.is_dictionary(column_type):
        return kind_of(column_type.value_type, as_number)
    whole = types.is_integer(column_type) or types.is_boolean(column_type)
    if as_number and (whole or types.is_floating(column_type) or types.is_decimal(column_type)):
        return NUMBERS
    if whole:
        return LARGE if column_type == pa.uint64() else WHOLE
    if types.is_floating(column_type):
        return REAL
    if types.is_null(column_type):
        return NOTHING
    texts = types.is_string(column_type) or types.is_large_string(column_type) or types.is_string_view(column_type)
    return TEXT if texts else str(column_type)


def decoded(column: Any) -> Any:
    """An Arrow array as plain values: no dictionary, no extension type."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    return column.cast(pa.large_string()) if pa.types.is_string_view(column.type) else column


def to_bytes(batch: Any) -> NDArray[np.uint8]:
    """Rows on their way to another process; none at all take no byte."""
    if batch.num_rows == 0:
        return np.zeros(0, np.uint8)
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return np.frombuffer(sink.getvalue(), np.uint8)


def from_bytes(received: NDArray[np.uint8]) -> Any:
    """The rows of `to_bytes`, which stay where they are; None if there are none."""
    if len(received) == 0:
        return None
    return ipc.open_stream(pa.py_buffer(received)).read_next_batch()
