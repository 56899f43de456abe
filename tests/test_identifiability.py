"""What the positions can determine: against matrices whose undetermined parts are planted."""

import numpy as np
import pytest

import jacobian
from dmc import observe
from dmc.identifiability import Identifiability


def of(mask, rank):
    return Identifiability.of(observe(np.ones(mask.shape), mask).pattern, rank)


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_full_observation_determines_everything(rank):
    found = of(np.ones((7, 5), bool), rank)
    assert found.whole
    assert str(found) == ""
    assert found.known(np.arange(7)[:, None], np.arange(5)).all()


def test_a_line_needs_as_many_entries_as_the_rank():
    mask = np.ones((6, 8), bool)
    mask[2, 2:] = False
    for rank, determined in ((1, True), (2, True), (3, False)):
        found = of(mask, rank)
        assert (found.row_blocks[2] == 0) == determined
        assert found.whole == determined
    assert str(of(mask, 3)) == "1 of 6 rows have too few entries for rank 3"


def test_lines_that_hang_on_undetermined_ones_fall_in_turn():
    """Column 5 has two entries, one of them in a row that itself has too few."""
    mask = np.ones((6, 6), bool)
    mask[:, 5] = False
    mask[4, 1:] = False
    mask[[4, 0], 5] = True
    found = of(mask, 3)
    np.testing.assert_array_equal(found.row_blocks, [0, 0, 0, 0, -1, 0])
    np.testing.assert_array_equal(found.column_blocks, [0, 0, 0, 0, 0, -1])
    mask[1:3, 5] = True  # three entries now in rows that are determined
    assert of(mask, 3).column_blocks[5] == 0


def test_blocks_that_share_no_entry():
    mask = np.zeros((7, 9), bool)
    mask[:3, :4] = mask[3:, 4:] = True
    found = of(mask, 2)
    assert found.n_blocks == 2
    assert str(found) == "the rest falls into 2 blocks that share no entry"
    np.testing.assert_array_equal(found.known(np.arange(7)[:, None], np.arange(9)), mask)
    mask[0, 8] = True  # one link is enough for the rank-one part of both scales
    assert of(mask, 1).whole


def test_the_condition_is_that_of_the_jacobian():
    """Rank one: determined exactly where the entries make the two sides' Jacobian of full rank but for one scale."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.random((6, 6)) < 0.3
        if not mask.any():
            continue
        found = of(mask, 1)
        u, v = rng.uniform(1, 2, 6), rng.uniform(1, 2, 6)
        rows, cols = np.nonzero(mask)
        J = np.zeros((len(rows), 12))
        J[np.arange(len(rows)), rows] = v[cols]
        J[np.arange(len(rows)), 6 + cols] = u[rows]
        assert found.whole == (np.linalg.matrix_rank(J) == 11)


# --- against the null space of the Jacobian


def known(mask, rank):
    m, n = mask.shape
    return of(mask, rank).known(np.arange(m)[:, None], np.arange(n))


def corner(shape, rows, cols):
    mask = np.zeros(shape, bool)
    mask[:rows, :cols] = True
    return mask


def cycle(mask, rows, cols):
    """Rows and columns with two entries each among themselves, one after the other around."""
    mask[rows, cols] = mask[rows, np.roll(cols, 1)] = True
    return mask


def arrow(rank, spoilt):
    """Full rows and full columns, as many as the rank: all others have just enough entries, or one of them too few."""
    mask = np.zeros((9, 8), bool)
    mask[:rank] = mask[:, :rank] = True
    mask[8, 0] = not spoilt
    return mask


def hanging_cycle(links):
    """A full corner, and a cycle that hangs on it by so many entries of its first row."""
    mask = cycle(corner((10, 10), 6, 6), np.arange(6, 10), np.arange(6, 10))
    mask[6, :links] = True
    return mask


EXACT = {
    "arrow": (arrow(2, False), 2),
    "arrow of rank three": (arrow(3, False), 3),
    "spoilt arrow": (arrow(3, True), 3),
    "cycle that hangs by an entry": (hanging_cycle(1), 2),
    "cycle that hangs by two": (hanging_cycle(2), 2),
    "cycle of rank one": (cycle(np.zeros((5, 5), bool), np.arange(5), np.arange(5)), 1),
    "band": (abs(np.subtract.outer(np.arange(12), np.arange(12))) <= 2, 2),
    "corner with a row beside it": (corner((6, 9), 5, 9) | (np.indices((6, 9)).sum(axis=0) == 7), 2),
}


@pytest.mark.parametrize(("mask", "rank"), EXACT.values(), ids=EXACT)
def test_what_is_determined_is_told_exactly(mask, rank):
    np.testing.assert_array_equal(known(mask, rank) | mask, jacobian.Movements(mask, rank).determined)


@pytest.mark.parametrize("seed", range(40))
def test_a_pattern_that_determines_everything_is_not_refused(seed):
    """Conditions that are necessary: of all of the matrix."""
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(4, 12, 2)) < rng.uniform(0.3, 0.9)
    rank = int(rng.integers(1, 4))
    if jacobian.Movements(mask, rank).determined.all():
        assert of(mask, rank).whole
    assert not (known(mask, rank)[mask.sum(axis=1) < rank]).any()
    assert not (known(mask, rank)[:, mask.sum(axis=0) < rank]).any()


@pytest.mark.parametrize(
    "mask",
    [cycle(np.zeros((5, 5), bool), np.arange(5), np.arange(5)), abs(np.subtract.outer(*[np.arange(12)] * 2)) <= 1],
    ids=["cycle", "thin band"],
)
def test_nothing_is_said_where_there_is_no_core(mask):
    """Although it can be moved: the conditions are not sufficient."""
    assert of(mask, 2).whole
    assert not jacobian.Movements(mask, 2).determined.all()


@pytest.mark.parametrize(("shared", "blocks"), [(0, 2), (1, 2), (2, 1)])
def test_blocks_are_one_where_they_share_as_many_rows_as_the_rank(shared, blocks):
    """Columns of one corner and columns of another, seen in rows of which some are in both."""
    mask = corner((10, 12), 5, 6)
    mask[5 - shared :, 6:] = True
    if shared < 2:
        assert not jacobian.Movements(mask, 2).determined[0, 11]
    assert jacobian.Movements(mask, 2).determined.all() == (blocks == 1)
    assert of(mask, 2).n_blocks <= blocks  # a common row joins them, which is not enough


def test_ranks_may_differ_from_row_to_row():
    mask = np.ones((6, 6), bool)
    mask[[0, 1], 2:] = False
    ranks = np.array([2, 3, 2, 2, 2, 2]), np.full(6, 2)
    found = Identifiability.of(observe(np.ones((6, 6)), mask).pattern, 3, ranks)
    np.testing.assert_array_equal(found.row_blocks, [0, -1, 0, 0, 0, 0])
    assert (found.column_blocks == 0).all()


def test_empty_rows_and_single_entries_are_no_block():
    mask = corner((8, 8), 5, 5)
    mask[7, 7] = True
    found = of(mask, 2)
    assert found.n_blocks == 1
    np.testing.assert_array_equal(found.row_blocks, [0] * 5 + [-1] * 3)
    assert Identifiability.of(observe(np.ones((1, 1))).pattern, 1).whole
