"""Parts of a pattern: theorems on how dense they are, and planted ones."""

from itertools import pairwise

import numpy as np
import pytest

import hard_patterns
from dmc import observe
from dmc.completion import cores


def pattern_of(mask):
    return observe(np.ones(mask.shape), mask).pattern


def ratio(mask, rank):
    """Entries over degrees of freedom, times the rank."""
    return mask.sum() / (sum(mask.shape) - rank)


def within(mask, part):
    return mask[np.ix_(*part)]


@pytest.mark.parametrize("rank", [1, 3, 6])
@pytest.mark.parametrize("seed", range(6))
def test_what_is_densest_outnumbers_its_freedom_by_more(seed, rank):
    """A row with no more entries than there are for each degree of freedom raises what is left for the others."""
    rng = np.random.default_rng(seed)
    mask = rng.random((rng.integers(20, 60), rng.integers(20, 60))) < rng.uniform(0.05, 0.5, (1, 1))
    mask &= rng.random(len(mask))[:, None] < 0.9
    part = cores.densest(pattern_of(mask), rank)
    if part is None:
        return
    core = within(mask, part)
    assert ratio(core, rank) >= ratio(mask, rank)
    assert min(core.sum(axis=0).min(), core.sum(axis=1).min()) > int(ratio(core, rank))
    assert min(core.shape) > 2 * rank


def test_the_densest_part_is_the_planted_one():
    rng = np.random.default_rng(0)
    mask = rng.random((40, 50)) < 0.04
    mask[10:25, 20:42] = True
    rows, columns = cores.densest(pattern_of(mask), 2)
    np.testing.assert_array_equal(np.flatnonzero(rows), np.arange(10, 25))
    np.testing.assert_array_equal(np.flatnonzero(columns), np.arange(20, 42))


@pytest.mark.parametrize(("rank", "whole"), [(1, True), (3, True), (4, False)])
def test_all_or_nothing_may_be_densest(rank, whole):
    """All, where no row or column has fewer entries than the others; nothing, where hardly more than a rank is left."""
    part = cores.densest(pattern_of(np.ones((9, 8), bool)), rank)
    assert (part is not None) == whole
    assert part is None or all(side.all() for side in part)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("pattern", [hard_patterns.power_law, hard_patterns.band, hard_patterns.uniform])
def test_a_window_is_the_share_that_was_asked_for(pattern, share):
    """But for the few that are taken away at a time."""
    mask = pattern(70, 0.1, np.random.default_rng(1))
    kept = sum(int(side.sum()) for side in cores.window(pattern_of(mask), share))
    assert share * 140 - 140 // cores.ROUNDS <= kept <= share * 140


def test_smaller_windows_lie_in_larger_ones():
    mask = hard_patterns.power_law(70, 0.1, np.random.default_rng(2))
    windows = [np.concatenate(cores.window(pattern_of(mask), share)) for share in (0.25, 0.5, 0.8, 1.0)]
    for small, large in pairwise(windows):
        assert (small <= large).all()
    assert windows[-1].all()


def test_of_a_power_law_a_window_is_denser():
    mask = hard_patterns.power_law(70, 0.1, np.random.default_rng(3))
    density = [within(mask, cores.window(pattern_of(mask), share)).mean() for share in (0.25, 0.5, 0.8, 1.0)]
    assert sorted(density, reverse=True) == density
    assert density[0] > 2 * density[-1]


def test_of_a_band_a_window_is_a_piece():
    """Its rows are next to each other, and no row lies far from its columns."""
    mask = hard_patterns.band(100, 0.1, np.random.default_rng(4))
    rows, columns = map(np.flatnonzero, cores.window(pattern_of(mask), 0.4))
    assert np.ptp(rows) < 1.5 * len(rows)
    assert abs(rows.mean() - columns.mean()) < 10


def test_empty_rows_and_columns_are_the_first_to_go():
    mask = np.ones((20, 20), bool)
    mask[3] = mask[:, 5:8] = False
    for rows, columns in (cores.window(pattern_of(mask), 0.9), cores.densest(pattern_of(mask), 2)):
        np.testing.assert_array_equal(np.flatnonzero(~rows), [3])
        np.testing.assert_array_equal(np.flatnonzero(~columns), [5, 6, 7])


# --- without a gap


def test_rows_and_columns_without_a_gap_are_found_in_an_arrow():
    rows, cols = np.indices((30, 40))
    found = cores.complete(pattern_of((rows < 5) | (cols < 4)))
    np.testing.assert_array_equal(found[0], np.arange(30) < 5)
    assert found[1].all()


@pytest.mark.parametrize("seed", range(5))
def test_what_is_called_complete_has_no_gap(seed):
    mask = np.random.default_rng(seed).random((40, 30)) < 0.7
    rows, cols = cores.complete(pattern_of(mask))
    assert mask[np.ix_(rows, cols)].all()
    assert min(rows.sum(), cols.sum()) >= 3
