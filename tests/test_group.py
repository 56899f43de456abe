"""One process alone, and what a process holds of the rows."""

import numpy as np
import pytest

from dmc._group import ALONE, N_PARTS, Share, spread_qr, spread_svd


def test_alone_gets_back_what_it_gives():
    array = np.arange(3.0)
    assert ALONE.sum(array) is array
    assert ALONE.gather(array)[0] is array
    assert ALONE.first(5) == 5
    assert ALONE.any(True)
    assert not ALONE.any(False)
    assert list(range(10))[ALONE.share(10)] == list(range(10))
    np.testing.assert_array_equal(ALONE.max(np.array([1.0, -2.0])), [1.0, -2.0])


def share(parts, rows):
    return Share(ALONE, np.array(parts), np.array(rows))


def test_what_is_drawn_for_a_part_does_not_depend_on_the_others():
    whole = share([3, 7, 20], [2, 4, 1]).normal(np.random.default_rng(5), 3)
    np.testing.assert_array_equal(share([7], [4]).normal(np.random.default_rng(5), 3), whole[2:6])
    np.testing.assert_array_equal(share([3, 20], [2, 1]).normal(np.random.default_rng(5), 3), whole[[0, 1, 6]])
    assert share([], np.zeros(0, int)).normal(np.random.default_rng(5), 3).shape == (0, 3)


def test_all_who_draw_go_on_alike():
    some, none = np.random.default_rng(5), np.random.default_rng(5)
    share([3], [2]).normal(some, 3)
    share([], np.zeros(0, int)).normal(none, 3)
    assert some.random() == none.random()


def test_a_whole_share_draws_as_a_generator_does():
    drawn = Share.whole(4).normal(np.random.default_rng(1), 2)
    np.testing.assert_array_equal(drawn, np.random.default_rng(1).standard_normal((4, 2), dtype=np.float32))
    indptr = np.array([0, 5, 5, 9, 12])
    sampled = Share.whole(4).sample(np.random.default_rng(1), 100, indptr)
    np.testing.assert_array_equal(sampled, np.random.default_rng(1).integers(0, 12, 100))


def test_entries_are_drawn_among_those_of_all_parts():
    indptr = np.array([0, 5, 5, 9, 12])
    of_all = share([3, 7, 20], [2, 1, 1])
    np.testing.assert_array_equal(of_all.of_parts(indptr), [5, 4, 3])
    drawn = of_all.sample(np.random.default_rng(1), 3000, indptr)
    assert set(drawn.tolist()) == set(range(12))
    assert len(of_all.in_all(of_all.of_parts(indptr))) == N_PARTS


def test_some_parts_of_a_share():
    some, rows = share([3, 7, 20], [2, 4, 1]).among(np.array([20, 3, 500]))
    assert (some.parts.tolist(), some.rows.tolist(), rows.tolist()) == ([3, 20], [2, 1], [0, 1, 6])
    assert some.count == 3


@pytest.mark.parametrize("m", [0, 2, 9])
def test_the_qr_of_one_process_is_that_of_numpy(rng, m):
    A = rng.standard_normal((m, 3))
    for ours, theirs in zip(spread_qr(A, ALONE), np.linalg.qr(A), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_singular_values_of_one_process_are_those_of_numpy(rng):
    A = rng.standard_normal((9, 3))
    for ours, theirs in zip(spread_svd(A, ALONE), np.linalg.svd(A, full_matrices=False), strict=True):
        np.testing.assert_array_equal(ours, theirs)
