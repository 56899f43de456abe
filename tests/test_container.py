"""The head of a file is read only if all that it says fits the file; fuzz/loaders.py tries more."""

import io
import json

import numpy as np
import pytest
from safetensors.numpy import load as read_by_others, save as written_by_others

from dmc import _container

ONE = {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]}


def head(told, data=bytes(16)):
    raw = told if isinstance(told, bytes) else json.dumps(told).encode()
    whole = len(raw).to_bytes(8, "little") + raw + data
    return _container.read_head(io.BytesIO(whole), len(whole))


def test_what_others_write_is_read():
    arrays = {"a": np.arange(3.0), "b": np.array([[True, False]]), "c": np.zeros((0, 4), np.int32), "d": np.array(7)}
    whole = written_by_others(arrays, {"who": "others"})
    found = _container.read_head(io.BytesIO(whole), len(whole))
    assert found.metadata == {"who": "others"}
    for name, array in arrays.items():
        place = found.places[name]
        data = whole[found.begin + place.begin : found.begin + place.end]
        np.testing.assert_array_equal(np.frombuffer(data, place.dtype).reshape(place.shape), array)


def test_what_is_written_others_read():
    arrays = _container.ordered(
        {"a": np.arange(3, dtype=np.float32), "b": np.array([1, 2]), "c": np.array(True)}.items()
    )
    whole = bytes(_container.make_head(arrays, {"kind": "Thing"})) + b"".join(a.tobytes() for _, a in arrays)
    for name, array in read_by_others(whole).items():
        np.testing.assert_array_equal(array, dict(arrays)[name])
    assert whole[8 + _container.DIGEST_AT :].startswith(b"0" * _container.DIGITS + b'"')


WRONG = {
    "no object": b"[1]",
    "no JSON": b"{'a': 1}",
    "no UTF-8": b'{"\xff": 1}',
    "nested": b"[" * 100_000,
    "nested as deep as it is long": b"[" * 30_000 + b"]" * 30_000,
    "of nothing but lists": b'{"a":[' + b"[]," * 200_000 + b"[]]}",
    "twice": json.dumps({"a": ONE, "b": ONE}).replace("b", "a").encode(),
    "a number of digits": b'{"a":' + b"9" * 10_000 + b"}",
    "no dtype": {"a": {"shape": [2], "data_offsets": [0, 16]}},
    "another dtype": {"a": ONE | {"dtype": "BF16"}},
    "a list for a dtype": {"a": ONE | {"dtype": []}},
    "below zero": {"a": ONE | {"shape": [-2]}},
    "a huge shape": {"a": ONE | {"shape": [1 << 62, 1 << 62]}},
    "nothing of a huge shape": {"a": ONE, "b": {"dtype": "U8", "shape": [0, 1 << 40], "data_offsets": [16, 16]}},
    "a shape of floats": {"a": ONE | {"shape": [2.0]}},
    "a shape of flags": {"a": ONE | {"shape": [True]}},
    "too many dimensions": {"a": ONE | {"shape": [1] * 40 + [2]}},
    "another size": {"a": ONE | {"shape": [3]}},
    "behind the end": {"a": ONE | {"data_offsets": [8, 24]}},
    "backwards": {"a": ONE | {"data_offsets": [16, 0]}},
    "less than there is": {"a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}},
    "two in one place": {"a": ONE, "b": ONE},
    "a gap": {
        "a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
        "b": {"dtype": "U8", "shape": [4], "data_offsets": [12, 16]},
    },
    "not aligned": {
        "a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
        "b": {"dtype": "U64", "shape": [1], "data_offsets": [4, 12]},
    },
    "metadata of numbers": {"__metadata__": {"version": 4}, "a": ONE},
    "a list of metadata": {"__metadata__": [], "a": ONE},
}


@pytest.mark.parametrize("told", WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_refused_in_words(told):
    with pytest.raises(ValueError, match=r"^.{10,200}$") as refused:
        head(told)
    assert type(refused.value) is ValueError


@pytest.mark.parametrize(
    "raw", [b"", b"1234567", (1 << 63).to_bytes(8, "little") + b"{}", bytes(8), (9).to_bytes(8, "little") + b"{}"]
)
def test_lengths_that_are_none(raw):
    with pytest.raises(ValueError, match="it ends inside its header"):
        _container.read_head(io.BytesIO(raw), len(raw))


def test_long_headers_are_neither_written_nor_read(monkeypatch):
    monkeypatch.setattr(_container, "MOST_HEADER", 100)
    with pytest.raises(ValueError, match="at most 100 are read"):
        _container.make_head([], {"header": "x" * 100})
    with pytest.raises(ValueError, match="its header takes 139 bytes, and at most 100 are read"):
        head({"a": ONE | {"dtype": "x" * 80}})
