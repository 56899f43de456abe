"""What the positions can determine: against matrices whose undetermined parts are planted."""

import numpy as np
import pytest

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
