"""Declared contents: every property refuses what it is there for, and takes what is right."""

from itertools import pairwise

import numpy as np
import pytest

from dmc import _contents
from dmc._contents import Array

TABLE = {
    "U": Array("f4 f8", ("rows", "width"), (_contents.finite,)),
    "bias": Array("f4", ("rows+1",), optional=True),
    "names": Array("text i8", ("columns",), (_contents.ascending,)),
    "two": Array("i8", (2,)),
}


def arrays(**others):
    found = {"U": np.zeros((3, 2)), "names": np.array(["a", "b"]), "two": np.array([1, 2])}
    return {name: array for name, array in (found | others).items() if array is not None}


def test_sizes_are_taken_from_the_first_that_has_them():
    assert _contents.check_arrays(arrays(), TABLE) == {"rows": 3, "width": 2, "columns": 2}
    assert _contents.check_arrays(arrays(bias=np.zeros(4, np.float32)), TABLE, {"rows": 3})["rows"] == 3


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"U": None}, "it lacks 'U'"),
        ({"more": np.zeros(1)}, "it holds 'more', which no model of its kind has"),
        ({"U": np.zeros((3, 2), int)}, "'U' has dtype int64 instead of f4 f8"),
        ({"U": np.zeros(3)}, r"'U' has shape \(3,\) instead of 2 dimensions"),
        ({"bias": np.zeros(3, np.float32)}, r"'bias' has shape \(3,\), and rows\+1 is 4 elsewhere"),
        ({"bias": np.zeros(0, np.float32)}, r"'bias' has shape \(0,\)"),
        ({"two": np.arange(3)}, r"'two' has shape \(3,\), and 2 is 2 elsewhere"),
        ({"U": np.full((3, 2), np.nan)}, "'U' holds numbers that are not finite"),
        ({"names": np.array(["b", "a"])}, "'names' is not in ascending order, each once"),
        ({"names": np.array(["a", "a"], object)}, "'names' is not in ascending order, each once"),
    ],
)
def test_arrays_that_are_others(others, message):
    with pytest.raises(ValueError, match=message):
        _contents.check_arrays(arrays(**others), TABLE)


def test_mapped_arrays_are_read_unless_they_are_trusted(tmp_path):
    np.full((3, 2), np.nan).tofile(tmp_path / "U")
    mapped = arrays(U=np.asarray(np.memmap(tmp_path / "U", np.float64, "r")).reshape(3, 2))
    _contents.check_arrays(mapped, TABLE, trusted=True)
    with pytest.raises(ValueError, match="not finite"):
        _contents.check_arrays(mapped, TABLE)


POINTERS, INDICES = np.array([0, 2, 2, 5]), np.array([0, 3, 1, 2, 3], np.int32)
GOOD = [
    (_contents.finite, np.array([1.0, -1e308])),
    (_contents.least(0), np.array([0.0, 1e308])),
    (_contents.least(0), np.array([0, 5])),
    (_contents.positive, np.array([1e-320, 1.0])),
    (_contents.flags, np.array([True, False])),
    (_contents.ascending, np.array([], int)),
    (_contents.pointers("entries"), POINTERS),
    (_contents.columns_of_rows("pointers", "columns"), INDICES),
    (_contents.below("columns"), np.array([3, 0, 0])),
    (_contents.below("columns", -1), np.array([-1])),
    (_contents.positive_definite(1e30), np.array([[2.0, 1], [1, 2]])),
    (_contents.covariance, np.zeros((2, 2))),
    (_contents.covariance, np.zeros((0, 0))),
    (_contents.moderate, np.full((3, 3), 1e18, np.float32)),
    (_contents.within(1e100), np.array([-3e38, 0], np.float32)),
    (_contents.products_with("left"), np.array([[1e10, 1]], np.float32)),
    (_contents.products_with("left"), np.array([[0, 1e30]], np.float32)),
    (_contents.products_with("left"), np.zeros((2, 0), np.float32)),
]
BAD = [
    (_contents.finite, np.array([1.0, np.inf])),
    (_contents.least(0), np.array([-1e-9])),
    (_contents.least(0), np.array([np.nan])),
    (_contents.least(0), np.array([np.inf])),
    (_contents.least(0), np.array([-1])),
    (_contents.positive, np.array([0.0])),
    (_contents.positive, np.array([np.nan])),
    (_contents.other_than_zero, np.array([1.0, 0.0])),
    (_contents.flags, np.array([1, 2], np.uint8).view(bool)),
    (_contents.ascending, np.array([1, 1])),
    (_contents.pointers("entries"), np.array([0, 2, 2, 4])),
    (_contents.pointers("entries"), np.array([1, 2, 2, 5])),
    (_contents.pointers("entries"), np.array([0, 3, 2, 5])),
    (_contents.pointers("entries"), np.array([], int)),
    (_contents.columns_of_rows("pointers", "columns"), np.array([0, 4, 1, 2, 3])),
    (_contents.columns_of_rows("pointers", "columns"), np.array([0, -1, 1, 2, 3])),
    (_contents.columns_of_rows("pointers", "columns"), np.array([3, 0, 1, 2, 3])),
    (_contents.columns_of_rows("pointers", "columns"), np.array([0, 1, 2, 2, 3])),
    (_contents.below("columns"), np.array([4])),
    (_contents.positive_definite(1e30), np.zeros((2, 2))),
    (_contents.positive_definite(1e30), np.array([[2.0, 1], [0, 2]])),
    (_contents.positive_definite(1e30), np.full((2, 2), np.nan)),
    (_contents.covariance, np.array([[1.0, 2], [2, 1]])),
    (_contents.moderate, np.full((3, 3), 1e19, np.float32)),
    (_contents.within(1e100), np.array([0, -np.inf], np.float32)),
    (_contents.within(5.0), np.array([np.nan, 1])),
    (_contents.within(5.0), np.array([6.0])),
    (_contents.moderate, np.array([np.nan], np.float32)),
    (_contents.products_with("left"), np.array([[1e20, 1]], np.float32)),
    (_contents.products_with("left"), np.array([[np.nan, 1]], np.float32)),
]
AROUND = {"pointers": POINTERS, "left": np.array([[1e20, 0]], np.float32)}, {"entries": 5, "columns": 4}


@pytest.mark.parametrize(("told", "array"), GOOD)
def test_properties_take_what_is_right(told, array):
    assert told(array, *AROUND) is None


@pytest.mark.parametrize(("told", "array"), BAD)
@pytest.mark.parametrize("part", [1, 2, 1 << 20])
def test_properties_refuse_what_is_not(told, array, part, monkeypatch):
    monkeypatch.setattr(_contents, "PART", part)
    assert isinstance(told(array, *AROUND), str)


def test_rows_in_parts(monkeypatch, rng):
    """Against the plain check, row by row."""
    for _ in range(200):
        pointers = np.concatenate([[0], np.cumsum(rng.integers(0, 4, 6))])
        indices = rng.integers(0, 5, pointers[-1])
        if rng.random() < 0.7:
            indices = np.concatenate([np.sort(rng.permutation(5)[: b - a]) for a, b in pairwise(pointers)])
        rows = [indices[a:b] for a, b in pairwise(pointers)]
        monkeypatch.setattr(_contents, "PART", int(rng.integers(1, 6)))
        found = _contents.columns_of_rows("p", "n")(indices, {"p": pointers}, {"n": 5})
        assert (found is None) == all((np.diff(row) > 0).all() for row in rows)


FIELD = _contents.record(
    {"rank": _contents.whole(1), "noise": _contents.real(0, nan=True), "kind": _contents.one_of("a", None)},
    {"history": _contents.list_of(_contents.measured), "on": _contents.flag, "name": _contents.text},
)
RIGHT = {"rank": 3, "noise": 0.5, "kind": None}


@pytest.mark.parametrize(
    "more", [{}, {"noise": float("nan")}, {"noise": 2}, {"history": [{"a": [1, None, "x"]}], "on": True}]
)
def test_fields_that_are_right(more):
    FIELD("header", RIGHT | more)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"rank": 0}, "its header.rank is 0, and has to be a whole number of at least 1"),
        ({"rank": True}, "its header.rank is True"),
        ({"rank": 2.0}, "its header.rank is 2.0"),
        ({"rank": 1 << 60}, "its header.rank is 1152921504606846976"),
        ({"noise": -1.0}, r"its header.noise is -1.0, and has to be a number of at least 0"),
        ({"noise": float("inf")}, "its header.noise is inf"),
        ({"noise": 10**400}, "its header.noise is 1000"),
        ({"noise": None}, "its header.noise is None"),
        ({"kind": "b"}, "its header.kind is 'b', and has to be one of 'a', None"),
        ({"kind": []}, "its header.kind is list"),
        ({"more": 1}, "its header has 'more', which no model of its kind has"),
        ({"history": {}}, "its header.history is dict, and has to be a list"),
        ({"history": [{"a": 10**30}]}, r"its header.history\[0\].a is 1000"),
        ({"on": 1}, "its header.on is 1, and has to be true or false"),
        ({"name": 1}, "its header.name is 1, and has to be text"),
    ],
)
def test_fields_that_are_not(more, message):
    with pytest.raises(ValueError, match=message):
        FIELD("header", RIGHT | more)
    with pytest.raises(ValueError, match="its header lacks 'rank'"):
        FIELD("header", {"noise": 1.0, "kind": None})


def test_what_was_measured_is_not_nested_without_end():
    deep = 1
    for _ in range(100):
        deep = [deep]
    with pytest.raises(ValueError, match="its history is list, and has to be a number or a word"):
        _contents.measured("history", deep)
