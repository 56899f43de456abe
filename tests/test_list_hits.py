"""Hits and gains of lists, by way of `dmc.metrics`; their values are checked with the measures that take them."""

import math

import pytest

from dmc import metrics


def test_lists_may_be_interleaved_and_pairs_repeat(rng):
    hit, n_relevant = metrics.hits((["b", "a", "b", "a"], [1, 2, 3, 4]), (["a", "b", "a", "a"], [4, 1, 4, 9]))
    assert hit.tolist() == [[False, True], [True, False]]
    assert n_relevant.tolist() == [2, 1]


def test_seven_is_seven():
    hit, n_relevant = metrics.hits((["7", "7", "x"], [1, 2, 3]), ([7, 8], ["2", "y"]))
    assert hit.tolist() == [[False, True], [False, False]]
    assert n_relevant.tolist() == [1, 1]


def test_the_highest_grade_of_a_repeated_pair_counts():
    gain, ideal = metrics.gains(([1], ["a"]), ([1, 1, 1], ["a", "a", "b"]), [2, 4, 1], 3)
    assert gain.tolist() == [[4]]
    assert ideal.tolist() == [[4, 1, 0]]


def test_lists_refused():
    with pytest.raises(ValueError, match="no item is relevant to anybody"):
        metrics.hits(([1], [2]), ([], []))
    with pytest.raises(ValueError, match="an item is recommended to a user more than once"):
        metrics.hits(([1, 1], [2, 2]), ([1], [2]))
    with pytest.raises(ValueError, match="differ in length: users has 1, items has 2"):
        metrics.hits(([1], [2, 3]), ([1], [2]))


def test_grades_refused():
    relevant = ([1, 1], ["a", "b"])
    for grades, message in (
        ([0, 1], "grades: the smallest is 0; relevant items need a grade above 0"),
        ([-1, 1], "the smallest is -1"),
        ([math.nan, 1], "grades holds 1 value that is not finite"),
        ([1], "differ in length: grades has 1"),
    ):
        with pytest.raises(ValueError, match=message):
            metrics.gains(([1], ["a"]), relevant, grades)
