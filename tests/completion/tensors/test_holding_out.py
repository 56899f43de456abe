"""Held-out entries are missing as the missing ones are."""

import numpy as np
import pytest

from dmc.completion.tensors.holding_out import hold_out, missing_along


def test_entries_at_random_are_held_out_at_random() -> None:
    rng = np.random.default_rng(0)
    observed = rng.random((20, 15, 10)) < 0.6
    assert missing_along(observed) is None
    held_out = hold_out(observed, 0.05, rng)
    assert not (held_out & ~observed).any()
    assert held_out.sum() == round(0.05 * observed.sum())


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_where_whole_tubes_are_missing_whole_tubes_are_held_out(axis: int) -> None:
    rng = np.random.default_rng(0)
    observed = np.moveaxis(np.repeat((rng.random((20, 15)) < 0.7)[:, :, None], 10, 2), 2, axis)
    assert missing_along(observed) == axis
    held_out = hold_out(observed, 0.1, rng)
    of_tubes = held_out.sum(axis)
    assert set(np.unique(of_tubes)) == {0, 10}
    assert (of_tubes > 0).sum() >= 0.1 * observed.any(axis).sum()
    assert not (held_out & ~observed).any()


def test_short_tubes_that_chance_empties_are_no_sign() -> None:
    observed = np.random.default_rng(0).random((40, 40, 3)) < 0.3
    assert (~observed.any(2)).mean() > 0.3
    assert missing_along(observed) is None


def test_nothing_missing_and_few_entries() -> None:
    rng = np.random.default_rng(0)
    whole = np.ones((6, 5, 4), bool)
    assert missing_along(whole) is None
    assert hold_out(whole, 0.05, rng).sum() == 24  # a fifth of few
    one = np.zeros((3, 3, 3), bool)
    one[1, 1, 1] = True
    assert (hold_out(one, 0.05, rng) == one).all()
