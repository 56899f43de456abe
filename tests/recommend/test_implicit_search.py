"""The search for a ridge and a rank: on planted tastes, whose number is known."""

import numpy as np
import pytest

from dmc.observations import Observations
from dmc.recommend import implicit_search
from dmc.recommend.implicit_search import Search, settings_for
from dmc.solver.loop import Run


def groups(count, m=1500, n=1000, each=12, seed=0):
    """Clicks of users who like the items of one group each, more than of others."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(np.arange(m), each)
    own = rng.random(len(rows)) < 0.8
    cols = np.where(own, rng.integers(0, n // count, len(rows)) * count + rows % count, rng.integers(0, n, len(rows)))
    once = np.ones(len(rows), np.float32)
    return Observations.from_entries(rows, cols, once, (m, n), "last")


def search(counts):
    return Search(counts, np.random.default_rng(0), Run())


def test_weights_mean_the_same_at_any_density():
    sparse, dense = (settings_for((9, n), np.full(9, np.e, np.float32)) for n in (10**5, 10**2))
    assert sparse.unobserved == pytest.approx(2e-4)
    assert dense.unobserved / sparse.unobserved == pytest.approx(1e3)
    full = settings_for((9, 1), np.full(9, np.e, np.float32))
    assert full.unobserved == pytest.approx(1.0)  # less than any count weighs


def test_what_is_old_and_what_is_disliked_does_not_make_nothing_heavier():
    new, old = (settings_for((9, 1000), np.full(9, count, np.float32)) for count in (1.0, 1e-3))
    assert old.unobserved == pytest.approx(1e-3 * new.unobserved)
    mixed = settings_for((4, 1000), np.array([1, 1, -1, -1], np.float32))
    assert mixed.unobserved == pytest.approx(new.unobserved / 2)


def test_dislikes_are_not_sought():
    counts = groups(10)
    liked = counts.with_values(np.where(np.arange(counts.n_observed) % 5, 1, -1).astype(np.float32))
    found = search(liked)
    sought = np.zeros(counts.shape, bool)
    sought[found._judges[found._of], found._sought] = True
    values = liked.values[liked.locate(*np.nonzero(sought))]
    assert (values > 0).all()


def test_few_groups_need_no_more_directions():
    found = search(groups(10))
    found.find_ridge(64)
    found.find_rank(1000)
    assert found.best.rank == 64
    assert [trial["rank"] for trial in found.trials][-1] == 128


def test_many_groups_need_more():
    found = search(groups(300, n=1500))
    found.find_ridge(64)
    found.find_rank(1000)
    assert found.best.rank >= 128
    at = {}
    for trial in found.trials:
        at[trial["rank"]] = max(trial["ndcg"], at.get(trial["rank"], 0))
    assert at[found.best.rank] > at[64] + 0.005


def test_the_ridge_found_is_the_best_tried():
    found = search(groups(40))
    found.find_ridge(64)
    best = max(found.trials, key=lambda trial: trial["ndcg"])
    assert found.ridge == best["ridge"]
    ridges = sorted(trial["ridge"] for trial in found.trials)
    assert len(set(ridges)) == len(ridges)
    assert min(ridges) >= implicit_search.TUNING.ridge * implicit_search.TUNING.min_ridge_ratio
    assert max(ridges) <= implicit_search.TUNING.ridge * implicit_search.TUNING.max_ridge_ratio


def test_a_list_is_judged_by_where_the_held_out_stand():
    found = search(groups(10))
    found.find_ridge(64)
    lists, _ = found.best.factors().top_n(found._judges, 50, exclude=found._problem.pattern.by_row)
    expected = []
    for judge, places in enumerate(lists):
        sought = found._sought[found._of == judge]
        hit = np.isin(places, sought)
        best = (1 / np.log2(np.arange(min(len(sought), 50)) + 2)).sum()
        expected.append((hit / np.log2(np.arange(50) + 2)).sum() / best)
    np.testing.assert_allclose(found._judge(found.best), expected)


def test_too_few_counts_tell_nothing():
    few = groups(2, m=20, n=10, each=3)
    found = search(few)
    assert not found.possible
    assert found.ridge == implicit_search.TUNING.small_data_ridge
