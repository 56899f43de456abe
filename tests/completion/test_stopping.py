"""When a path has done its work."""

import math

import numpy as np
import pytest

from dmc import observe
from dmc.completion import stopping
from dmc.completion.stopping import Settled
from dmc.factors import Factors
from dmc.solver.solution import StepInfo

# --- Settled


def looks(settled: Settled, widths, values) -> list[bool]:
    """What it says to each of a row of looks."""
    said = []
    for i, (width, value) in enumerate(zip(widths, values, strict=True)):
        at = Factors(np.ones((20, width)), (), np.ones((20, width)))
        said.append(settled(StepInfo(i, 100, value, 1.0, 0.0, at)))
    return said


def test_a_path_has_settled_after_five_looks_at_one_width():
    assert looks(Settled(9, 1.0, 0.84), [3] * 7, [0.5] * 7) == [False] * 5 + [True] * 2
    assert not any(looks(Settled(9, 1.0, 0.84), [1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 2], [0.5] * 12))
    assert looks(Settled(9, 1.0, 0.84), [1, 2, 4, 4, 3, 3, 3, 3, 3, 3], [0.5] * 10) == [False] * 9 + [True]


def test_at_the_bound_it_has_settled_only_when_the_entries_are_nearly_matched():
    settled = Settled(3, 1.0, 0.84)
    assert not any(looks(settled, [3] * 15, 0.8 ** np.arange(15)))  # to 0.04: it falls
    assert not settled.stuck
    assert looks(settled, [3] * 6, 0.9e-3 * 0.8 ** np.arange(6))[4]
    assert not settled.stuck


def test_at_the_bound_it_is_stuck_when_the_value_no_longer_falls():
    settled = Settled(3, 1.0, 0.84)
    assert looks(settled, [1, 2, 3, 3, 3, 3, 3, 3], [1, 0.5, *(0.4 * 0.99 ** np.arange(6))]) == [False] * 7 + [True]
    assert settled.stuck
    below = Settled(4, 1.0, 0.84)
    assert any(looks(below, [3] * 8, 0.4 * 0.99 ** np.arange(8)))
    assert not below.stuck


@pytest.mark.parametrize("patience", [1.0, 2.0])
@pytest.mark.parametrize("decay", [0.7, 0.84, 0.95, 0.97, 0.985])
def test_what_counts_is_how_far_the_level_has_fallen(decay, patience):
    """In few looks of a fast path or in many of a slow one; with patience 2 by the square."""
    said = looks(Settled(9, 1.0, decay, patience), [3] * 600, [0.5] * 600)
    fallen = decay ** said.index(True)
    wanted = Settled.level_fall**patience
    assert wanted * decay**0.51 <= fallen <= wanted * decay**-0.51  # to half a look


@pytest.mark.parametrize("decay", [0.84, 0.95, 0.985])
def test_a_slow_path_is_stuck_by_the_same_fall_of_the_value(decay):
    """Over a fall of the level by so much, a value that falls by .96 a step of a fast path still falls, and .98 not."""
    steps = math.log(0.84) / math.log(decay)
    for fall, stuck in ((0.96, False), (0.98, True)):
        settled = Settled(3, 1.0, decay)
        said = looks(settled, [3] * 70, 0.9 * (fall ** (1 / steps)) ** np.arange(70))
        assert any(said) == settled.stuck == stuck


def test_the_fastest_path_is_looked_at_twice():
    assert looks(Settled(9, 1.0, 0.01), [3] * 4, [0.5] * 4) == [False, False, True, True]


# --- patience


@pytest.mark.parametrize(("joins", "wanted"), [(True, 8), (False, 40)])
def test_patience_is_longer_while_no_direction_joins(joins, wanted):
    """The second direction of a matrix behind a large offset joins after dozens of steps."""
    held_out = observe(np.ones((3, 3)))
    patience = stopping.Patience(held_out)
    for n in range(60):
        wide = Factors(np.zeros((3, 2 if joins and n > 2 else 1)), (), np.zeros((3, 2 if joins and n > 2 else 1)))
        if patience(StepInfo(n, 100, 1.0, 0.5, 0.0, wide)):
            break
    assert n == wanted
