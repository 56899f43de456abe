"""Coverage and novelty, by way of `dmc.metrics`."""

import pytest

from dmc import metrics


def test_coverage():
    assert metrics.coverage(["a", "b", "a"], 8) == 0.25
    assert metrics.coverage([], 8) == 0
    with pytest.raises(ValueError, match="n_items is 1; it has to be at least 2"):
        metrics.coverage(["a", "b"], 1)


def test_novelty():
    # Of 8 users, all have the first item, 2 the second, nobody the third: 0, 2 and 3 bits.
    assert metrics.novelty.per_user(["b", "a", "b"], [8, 2, 0], 8).tolist() == [2, 1.5]
    assert metrics.novelty(["b", "a", "b"], [8, 2, 0], 8) == 1.75


def test_novelty_refused():
    with pytest.raises(ValueError, match="nothing is recommended"):
        metrics.novelty([], [], 3)
    with pytest.raises(ValueError, match="n_users is 3; it has to be at least 4: an item is chosen by 4"):
        metrics.novelty([1], [4], 3)
    with pytest.raises(ValueError, match="counts: the smallest is -1"):
        metrics.novelty([1], [-1], 3)
