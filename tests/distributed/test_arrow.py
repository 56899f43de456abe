"""Arrow's types in words, rows on their way, and pyarrow that is not there."""

import sys

import numpy as np
import pyarrow as pa
import pytest

from dmc.distributed.arrow import decoded, from_bytes, kind_of, to_bytes


def test_without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "dmc.distributed.arrow")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match="are read by pyarrow, which is not installed; run: pip install pyarrow"):
        __import__("dmc.distributed.arrow")


@pytest.mark.parametrize(
    ("column_type", "kind", "as_number"),
    [
        (pa.int8(), "whole numbers", "numbers"),
        (pa.bool_(), "whole numbers", "numbers"),
        (pa.uint64(), "unsigned 64-bit numbers", "numbers"),
        (pa.float16(), "real numbers", "numbers"),
        (pa.decimal128(9, 2), "decimal128(9, 2)", "numbers"),
        (pa.dictionary(pa.int8(), pa.large_string()), "text", "text"),
        (pa.string_view(), "text", "text"),
        (pa.null(), "nothing", "nothing"),
        (pa.timestamp("us"), "timestamp[us]", "timestamp[us]"),
    ],
    ids=str,
)
def test_kinds(column_type: pa.DataType, kind: str, as_number: str) -> None:
    assert kind_of(column_type) == kind
    assert kind_of(column_type, as_number=True) == as_number


def test_decoded_values_are_plain() -> None:
    assert decoded(pa.array(["b", "a", "b"]).dictionary_encode()).equals(pa.array(["b", "a", "b"]))
    assert decoded(pa.array(["b"], pa.string_view())).type == pa.large_string()
    ids = pa.array([bytes(range(16))], pa.binary(16))
    assert decoded(pa.ExtensionArray.from_storage(pa.uuid(), ids)).equals(ids)


def test_rows_arrive_as_they_left() -> None:
    batch = pa.record_batch({"user": pa.array(["a", "b", "a"]).dictionary_encode(), "value": pa.array([1.0, 2.0, 3.0])})
    sent = to_bytes(batch)
    assert sent.dtype == np.uint8
    assert from_bytes(sent.copy()).equals(batch)
    assert len(to_bytes(batch.slice(0, 0))) == 0
    assert from_bytes(sent[:0]) is None
