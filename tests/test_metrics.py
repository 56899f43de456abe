"""The measures against values worked out by hand, and against scikit-learn."""

import math

import numpy as np
import pytest

from dmc import metrics

PREDICTED, ACTUAL = [1.0, 2, 3, 4], [1, 4, 3, 0]


def test_worked_by_hand():
    assert metrics.rmse(PREDICTED, ACTUAL) == pytest.approx(math.sqrt(20 / 4))
    assert metrics.mae(PREDICTED, ACTUAL) == pytest.approx(6 / 4)


def test_equal_scikit_learn(rng):
    reference = pytest.importorskip("sklearn.metrics")
    a, b = rng.standard_normal((2, 100))
    assert metrics.rmse(a, b) == pytest.approx(reference.root_mean_squared_error(b, a))
    assert metrics.mae(a, b) == pytest.approx(reference.mean_absolute_error(b, a))


def test_differences_of_integers_do_not_wrap_around():
    assert metrics.mae(np.array([0], np.uint8), np.array([255], np.uint8)) == 255


def test_single_precision_is_added_up_in_double():
    assert metrics.rmse(np.full(10, 1e25, np.float32), np.zeros(10, np.float32)) == pytest.approx(1e25)


@pytest.mark.parametrize("measure", [metrics.rmse, metrics.mae])
@pytest.mark.parametrize(
    ("predicted", "actual", "error", "said"),
    [
        ([], [], ValueError, "there are no entries to compare"),
        ([1, 2], [1], ValueError, "differ in length: predicted has 2, actual has 1"),
        ([[1, 2]], [[1, 2]], ValueError, r"predicted has shape \(1, 2\)"),
        ([1, math.nan], [1, 2], ValueError, "predicted holds 1 value that is not finite"),
        ([1, 2], [1, math.inf], ValueError, "actual holds 1 value that is not finite"),
        (["a"], [1], TypeError, "predicted holds 'a'"),
    ],
)
def test_refused(measure, predicted, actual, error, said):
    with pytest.raises(error, match=said):
        measure(predicted, actual)


def test_psnr(rng):
    original = rng.random((4, 5, 3))
    # An error of a tenth of the peak everywhere is 20 decibels; a hundredth, 40.
    assert metrics.psnr(original + 0.1, original) == pytest.approx(20)
    assert metrics.psnr(255 * original + 2.55, 255 * original, peak=255) == pytest.approx(40)
    assert metrics.psnr(original, original) == math.inf


def test_psnr_refuses_other_shapes_and_peaks(rng):
    with pytest.raises(ValueError, match=r"shape .*\(2, 3\).*\(3, 2\)"):
        metrics.psnr(np.ones((2, 3)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="peak is 0"):
        metrics.psnr([1.0], [0.0], peak=0)


# --- recommendations


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


def test_lists_may_be_interleaved_and_pairs_repeat(rng):
    hit, n_relevant = metrics.hits((["b", "a", "b", "a"], [1, 2, 3, 4]), (["a", "b", "a", "a"], [4, 1, 4, 9]))
    assert hit.tolist() == [[False, True], [True, False]]
    assert n_relevant.tolist() == [2, 1]


def test_seven_is_seven():
    hit, n_relevant = metrics.hits((["7", "7", "x"], [1, 2, 3]), ([7, 8], ["2", "y"]))
    assert hit.tolist() == [[False, True], [False, False]]
    assert n_relevant.tolist() == [1, 1]


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


def test_coverage():
    assert metrics.coverage(["a", "b", "a"], 8) == 0.25
    assert metrics.coverage([], 8) == 0
    with pytest.raises(ValueError, match="n_items is 1; it has to be at least 2"):
        metrics.coverage(["a", "b"], 1)


def test_rankings_refused():
    with pytest.raises(ValueError, match="no item is relevant to anybody"):
        metrics.hits(([1], [2]), ([], []))
    with pytest.raises(ValueError, match="an item is recommended to a user more than once"):
        metrics.hits(([1, 1], [2, 2]), ([1], [2]))
    with pytest.raises(ValueError, match="differ in length: users has 1, items has 2"):
        metrics.hits(([1], [2, 3]), ([1], [2]))
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
