"""When a path has done its work."""

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
