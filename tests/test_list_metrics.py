"""Measures of lists, by way of `dmc.metrics`: against brute force, scikit-learn, and the page of conventions."""

import doctest
import math
import pickle

import numpy as np
import pytest

from dmc import metrics
from metric_conventions import CATALOGUE, FITTED, GRADES, LISTS, OF_ALL, N, cells, check


def brute_force(recommended, relevant, n):
    """The definitions, one user and one item at a time."""
    found = {"precision": [], "recall": [], "ndcg": [], "average_precision": []}
    for user in relevant:
        good, given = set(relevant[user]), recommended.get(user, [])[:n]
        flags = [item in good for item in given]
        found["precision"].append(sum(flags) / n)
        found["recall"].append(sum(flags) / len(good))
        gain = sum(1 / math.log2(place + 2) for place, flag in enumerate(flags) if flag)
        best = sum(1 / math.log2(place + 2) for place in range(min(n, len(good))))
        found["ndcg"].append(gain / best)
        precisions = [sum(flags[: place + 1]) / (place + 1) for place, flag in enumerate(flags) if flag]
        found["average_precision"].append(sum(precisions) / min(n, len(good)))
    return {name: sum(values) / len(values) for name, values in found.items()}


def pairs(lists):
    return tuple(
        np.array(column) for column in zip(*((u, i) for u, items in lists.items() for i in items), strict=True)
    )


@pytest.mark.parametrize("n", [1, 3, 10, 50])
@pytest.mark.parametrize("name", [lambda i: i, lambda i: f"x{i}"], ids=["numbers", "text"])
def test_rankings_equal_brute_force(n, name, rng):
    """Users with few or many relevant items, with short lists, with none, and lists of users with nothing relevant."""
    recommended, relevant = {}, {}
    for user in rng.permutation(40).tolist():
        size = int(rng.integers(1, 20))
        if user % 5:
            recommended[name(user)] = [name(i) for i in rng.permutation(30)[:size].tolist()]
        if user % 4:
            relevant[name(user)] = [name(i) for i in rng.permutation(30)[: rng.integers(1, 12)].tolist()]
    hit, n_relevant = metrics.hits(pairs(recommended), pairs(relevant))
    assert n_relevant.tolist() == [len(relevant[user]) for user in sorted(relevant)]
    for measure, expected in brute_force(recommended, relevant, n).items():
        assert getattr(metrics, measure)(hit, n_relevant, n) == pytest.approx(expected, rel=1e-12), measure


@pytest.mark.parametrize("n", [1, 5, 30])
def test_ndcg_equals_scikit_learn(n, rng):
    reference = pytest.importorskip("sklearn.metrics")
    scores = rng.permuted(np.tile(np.arange(30.0), (20, 1)), axis=1)
    relevant = rng.random((20, 30)) < 0.2
    relevant[:, 0] = True
    order = np.argsort(-scores, axis=1)
    hit, n_relevant = metrics.hits((np.repeat(np.arange(20), 30), order.ravel()), np.nonzero(relevant))
    assert metrics.ndcg(hit, n_relevant, n) == pytest.approx(reference.ndcg_score(relevant, scores, k=n))
    if n == 30:
        averages = [reference.average_precision_score(a, b) for a, b in zip(relevant, scores, strict=True)]
        assert metrics.average_precision(hit, n_relevant, n) == pytest.approx(np.mean(averages))


def test_the_best_list_is_worth_one_and_the_worst_nothing():
    relevant = ([1, 1, 2], ["a", "b", "a"])
    best, worst = (metrics.hits(([1, 1, 2], items), relevant) for items in (["b", "a", "a"], ["x", "y", "z"]))
    for measure in (metrics.recall, metrics.ndcg, metrics.average_precision):
        assert measure(*best) == 1
        assert measure(*worst) == 0
    assert metrics.precision(*best, n=2) == pytest.approx((1 + 1 / 2) / 2)
    assert metrics.recall(*metrics.hits(([], []), relevant)) == 0


def test_rankings_refused():
    for hit, n_relevant, message in (
        ([[True]], [1, 2], "n_relevant shape"),
        ([[1.0]], [1], "dtype float64"),
        (np.zeros((0, 3), bool), [], "of at least one user"),
        ([[True, True]], [1], "n_relevant is 1 in row 0, which has 2 hits"),
        ([[False]], [0], "n_relevant is 0 in row 0"),
    ):
        with pytest.raises(ValueError, match=message):
            metrics.recall(hit, n_relevant)
    with pytest.raises(ValueError, match="n is 0"):
        metrics.ndcg([[True]], [1], 0)


# --- each user's, graded, novelty


def lists_and_grades(rng, n_users=40, n_items=30, grades=5):
    """Lists of 0 to 15 items, of users with 0 to 12 relevant ones of whole grades; as pairs of arrays."""
    recommended = {u: rng.permutation(n_items)[: rng.integers(0, 16)].tolist() for u in range(n_users)}
    relevant = {u: rng.permutation(n_items)[: rng.integers(0, 13)].tolist() for u in range(n_users)}
    whose, which = pairs(relevant)
    return pairs(recommended), (whose, which), rng.integers(1, grades + 1, len(whose)).astype(float)


ALL = ("precision", "recall", "ndcg", "average_precision", "reciprocal_rank", "hit_rate")


@pytest.mark.parametrize("name", ALL)
def test_a_measure_is_the_mean_of_each_users(name, rng):
    recommended, relevant, _ = lists_and_grades(rng)
    measure, ranking = getattr(metrics, name), metrics.hits(recommended, relevant)
    each = measure.per_user(*ranking, 7)
    assert measure(*ranking, n=7) == each.mean()
    assert pickle.loads(pickle.dumps(measure)) is measure
    assert measure.__doc__ == measure.per_user.__doc__
    users = np.unique(relevant[0])
    for row, user in enumerate(users):
        alone = metrics.hits(*((who[who == user], what[who == user]) for who, what in (recommended, relevant)))
        assert measure(*alone, n=7) == pytest.approx(each[row], rel=1e-14)


def test_first_hits_and_any_hits():
    hit = np.array([[False, False, True], [True, True, False], [False, False, False]])
    assert metrics.reciprocal_rank.per_user(hit, [1, 2, 1], 3).tolist() == [1 / 3, 1, 0]
    assert metrics.reciprocal_rank.per_user(hit, [1, 2, 1], 2).tolist() == [0, 1, 0]
    assert metrics.hit_rate(hit, [1, 2, 1], 3) == 2 / 3
    assert metrics.hit_rate(hit, [1, 2, 1], 2) == 1 / 3
    nothing = metrics.hits(([], []), ([1, 2], [3, 4]))
    assert [getattr(metrics, name)(*nothing) for name in ALL] == [0] * 6


@pytest.mark.parametrize("exponential", [False, True])
@pytest.mark.parametrize("n", [1, 5, 30])
def test_graded_ndcg_equals_the_definition(n, exponential, rng):
    recommended, relevant, grades = lists_and_grades(rng)
    found = metrics.graded_ndcg.per_user(*metrics.gains(recommended, relevant, grades, n), n, exponential)
    expected = []
    for user in np.unique(relevant[0]):
        worth = dict(zip(relevant[1][relevant[0] == user], grades[relevant[0] == user], strict=True))
        worth = {item: 2**grade - 1 if exponential else grade for item, grade in worth.items()}
        given = [worth.get(item, 0) for item in recommended[1][recommended[0] == user][:n]]
        best = sorted(worth.values(), reverse=True)[:n]
        gain, ideal = (sum(g / math.log2(p + 2) for p, g in enumerate(g)) for g in (given, best))
        expected.append(gain / ideal)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("n", [1, 5, 30])
def test_graded_ndcg_equals_scikit_learn(n, rng):
    reference = pytest.importorskip("sklearn.metrics")
    scores = rng.permuted(np.tile(np.arange(30.0), (20, 1)), axis=1)
    grades = rng.integers(0, 4, (20, 30)) * 1.0
    order = np.argsort(-scores, axis=1)
    gain, ideal = metrics.gains(
        (np.repeat(np.arange(20), 30), order.ravel()), np.nonzero(grades), grades[grades > 0], n
    )
    assert metrics.graded_ndcg(gain, ideal, n) == pytest.approx(reference.ndcg_score(grades, scores, k=n))


@pytest.mark.parametrize("exponential", [False, True])
def test_of_equal_grades_graded_ndcg_is_ndcg(exponential, rng):
    recommended, relevant, grades = lists_and_grades(rng)
    plain = metrics.ndcg.per_user(*metrics.hits(recommended, relevant), 8)
    graded = metrics.gains(recommended, relevant, np.full(len(grades), 3.0), 8)
    np.testing.assert_allclose(metrics.graded_ndcg.per_user(*graded, 8, exponential), plain, rtol=1e-12)


def test_counts_of_thousands_do_not_overflow():
    gain, ideal = metrics.gains(([1, 1], ["b", "a"]), ([1, 1], ["a", "b"]), [5000, 4999], 2)
    discount = 1 / math.log2(3)
    assert metrics.graded_ndcg(gain, ideal, 2, exponential=True) == pytest.approx(
        (0.5 + discount) / (1 + 0.5 * discount)
    )


def test_many_more_places_than_there_are_take_no_memory_and_change_nothing():
    relevant = ([1, 1, 2], ["a", "b", "a"])
    hit, n_relevant = metrics.hits(([1, 1, 2], ["b", "c", "a"]), relevant)
    gain, ideal = metrics.gains(([1, 1, 2], ["b", "c", "a"]), relevant, [1, 2, 3], 10**12)
    assert ideal.tolist() == [[2, 1, 0], [3, 0, 0]]
    for n in (5, 10**12):
        assert metrics.graded_ndcg(gain, ideal, n) == metrics.graded_ndcg(gain, ideal, 3)
        assert metrics.ndcg(hit, n_relevant, n) == metrics.ndcg(hit, n_relevant, 2)


def test_graded_refused():
    gain, ideal = metrics.gains(([1], ["a"]), ([1, 1], ["a", "b"]), [1, 2], 2)
    for arguments, message in (
        ((gain, ideal, 4), r"ideal \(1, 2\); give .* with n=4"),
        ((gain, ideal[:0], 3), "of at least one user"),
        ((gain, 0 * ideal, 3), "ideal is zero in row 0"),
        ((gain, ideal, 0), "n is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            metrics.graded_ndcg(*arguments)


@pytest.mark.parametrize("shown", [metrics.hits, metrics.novelty.per_user])
def test_examples(shown):
    examples = doctest.DocTestFinder(recurse=False).find(shown, shown.__name__, globs=vars(metrics).copy())
    assert [doctest.DocTestRunner().run(example).failed for example in examples] == [0]


# --- docs/guide/metrics.md


def by_user(lists):
    """Pairs of arrays; of a dict of grades the items."""
    return tuple(np.array(a) for a in zip(*((user, item) for user, own in lists.items() for item in own), strict=True))


def test_each_cell_of_the_page_that_is_ours():
    recommended, relevant = by_user(LISTS), by_user(GRADES)
    ranking = metrics.hits(recommended, relevant)
    grades = [grade for own in GRADES.values() for grade in own.values()]
    gains = metrics.gains(recommended, relevant, grades, N)
    first = [(user, item) for user, own in LISTS.items() for item in own[:N]]
    had = [sum(item in own for own in FITTED.values()) for _, item in first]
    said = cells("here")
    for measure, cell in said.items():
        name = measure.split("`")[1]
        if name == "coverage":
            assert cell == OF_ALL
            assert metrics.coverage([item for _, item in first], len(CATALOGUE)) == len({i for _, i in first}) / 20
        elif name == "novelty":
            check(cell, dict.fromkeys(GRADES, math.nan) | of_users(metrics.novelty, [u for u, _ in first], had, 4))
        elif name == "graded_ndcg":
            figures = metrics.graded_ndcg.per_user(*gains, N, exponential="exponential" in measure)
            check(cell, dict(zip(GRADES, figures, strict=True)))
        else:
            check(cell, dict(zip(GRADES, getattr(metrics, name).per_user(*ranking, N), strict=True)))
    assert {measure.split("`")[1] for measure in said} == {
        *ALL, "graded_ndcg", "novelty", "coverage"
    }  # fmt: skip


def of_users(measure, users, *arguments):
    return dict(zip(sorted(set(users)), measure.per_user(users, *arguments), strict=True))


def test_users_without_a_list_or_a_relevant_item():
    """0, and left out: the second table of the page."""
    ranking = metrics.hits((["ann", "eve"], ["b", "a"]), by_user(GRADES))
    for name in ALL:
        figures = getattr(metrics, name).per_user(*ranking, N)
        assert len(figures) == len(GRADES)
        assert figures[0] > 0
        assert figures[1:].tolist() == [0, 0, 0]
