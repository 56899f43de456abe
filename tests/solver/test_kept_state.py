"""States of fits as trees and arrays, and back."""

import json
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest

from dmc import Status, datasets, initial
from dmc.factors import Factors
from dmc.solver.kept_state import Arrays, Unkept, pack, unpack
from dmc.solver.problem import MaskedLeastSquares


class Pair(NamedTuple):
    a: object
    b: object


@dataclass(frozen=True)
class Held:
    array: np.ndarray
    more: object = None


class Plain:
    def __init__(self, **parts):
        vars(self).update(parts)


def again(value, like=None):
    arrays = Arrays()
    tree = json.loads(json.dumps(pack(value, value if like is None else like, arrays)))
    return unpack(tree, value if like is None else like, Arrays(arrays.stored))


@pytest.mark.parametrize(
    "value", [None, True, 3, 2**100, 1e-300, float("inf"), "text", (), [], {}, (1, [2, {"a": (3,)}])]
)
def test_plain_values(value):
    assert again(value) == value
    assert type(again(value)) is type(value)


def test_nan_and_keys_that_are_no_text():
    found = again({1: float("nan"), (2, 3): "x", None: 0})
    assert list(found) == [1, (2, 3), None]
    assert np.isnan(found[1])


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i1", "u8", "?", "c16", ">f8", "U3", "M8[s]"])
def test_arrays_of_any_dtype(dtype):
    array = np.arange(6).reshape(2, 3).astype("i8" if dtype[0] == "M" else "f8").astype(dtype)
    found = again(array)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    "make",
    [
        lambda a: a,
        lambda a: a.T,
        lambda a: a[:, :3],
        lambda a: a[::2, 1:],
        lambda a: a[::-1],
        lambda a: a[:0],
        lambda a: np.asfortranarray(a)[:, 2:4],
        lambda a: a[0, 0:0],
        lambda a: np.broadcast_to(a[0], (4, 5)),
        lambda a: a[0, 0],
        lambda a: np.array(3.0),
    ],
)
def test_numbers_lie_in_memory_as_they_did(make):
    array = make(np.random.default_rng(0).standard_normal((6, 5)))
    found = again(array)
    np.testing.assert_array_equal(found, array)
    assert type(found) is type(array)
    if isinstance(array, np.ndarray) and min(array.strides, default=1) > 0 and array.size:
        assert found.strides == array.strides
    if isinstance(array, np.ndarray) and array.size:
        found[...] = 0  # it may be written to


def test_an_array_that_is_met_twice_is_one():
    a = np.ones(3)
    arrays = Arrays()
    pack((a, [a]), None, arrays)
    found = again((a, [a]))
    assert len(arrays.stored) == 1
    assert found[0] is found[1][0]


def test_what_is_kept_does_not_follow_what_comes_later():
    a, arrays = np.ones(3), Arrays()
    tree = pack(a, None, arrays)
    a[:] = 5
    assert unpack(tree, None, arrays).tolist() == [1, 1, 1]


def test_factors_enums_and_objects_like_those_of_the_start():
    factors = initial.gaussian((4, 3), 2, 1, 0.1)
    value = Pair(Held(np.ones(2), factors), Plain(status=Status.STOPPED, held=None))
    found = again(value)
    assert isinstance(found, Pair)
    assert isinstance(found.a, Held)
    assert isinstance(found.a.more, Factors)
    np.testing.assert_array_equal(found.a.more.dense(), factors.dense())
    assert found.b.status is Status.STOPPED


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_random_generators_go_on(kind):
    rng = np.random.Generator(getattr(np.random, kind)(3))
    rng.standard_normal(7)
    found = again((rng,), (None,))[0]
    assert found.standard_normal(5).tolist() == rng.standard_normal(5).tolist()


def test_a_generator_that_others_draw_from_stays_that_one():
    shared, arrays = np.random.default_rng(3), Arrays()
    tree = pack(shared, shared, arrays)
    expected = shared.random(4).tolist()
    assert unpack(tree, shared, arrays) is shared
    assert shared.random(4).tolist() == expected


def test_problems_and_callables_are_those_of_the_start():
    problem = MaskedLeastSquares(datasets.planted((6, 5), 1, 0.9).observations)
    state = partial(MaskedLeastSquares.value, problem), problem, 1.5
    assert again(state) == state


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ((1, Held(np.ones(2))), "a Held at [1]"),
        ({"f": lambda: 0}, "a function at ['f']"),
        ([np.array([object()])], "an array of object at [0]"),
        ((x for x in ()), "a generator at the top"),
        ({"a": [np.random.RandomState(0)]}, "a RandomState at ['a'][0]"),
        (print, "a builtin_function_or_method at the top"),
    ],
)
def test_what_cannot_be_kept_is_named(value, named):
    with pytest.raises(Unkept) as told:
        pack(value, None, Arrays())
    assert str(told.value) == named


def test_another_function_than_at_the_start_cannot_be_kept():
    with pytest.raises(Unkept):
        pack((lambda: 0,), (lambda: 1,), Arrays())


@pytest.mark.parametrize(
    "tree",
    [
        ["object", "Held", {}],
        ["named", "Popen", ["ls"]],
        ["enum", "Status", "NO_SUCH"],
        ["array", "7", "<f8", [1], [1], None],
        ["random", "os", ["dict", [], []]],
        ["what", 1],
        [],
        ["tuple"],
    ],
)
def test_a_tree_that_nobody_packed_makes_nothing(tree):
    with pytest.raises((ValueError, KeyError, TypeError, IndexError)):
        unpack(tree, None, Arrays())


def test_tensors():
    torch = pytest.importorskip("torch")
    tensor = torch.arange(12.0).reshape(3, 4).T
    found = again((tensor,))[0]
    assert torch.equal(found, tensor)
    assert found.stride() == tensor.stride()
