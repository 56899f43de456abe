"""Measures of neural collapse: against their definitions, planted geometries, and features that say nothing."""

import re

import numpy as np
import pytest

from dmc import collapse as module
from dmc.collapse import ClassStatistics, collapse


def simplex(n_classes, k, rng):
    """(C, k) a simplex equiangular tight frame, turned at random."""
    frame = np.eye(n_classes) - 1 / n_classes
    turn = np.linalg.qr(rng.standard_normal((k, n_classes)))[0].T
    return frame @ turn


def drawn(rng, n=400, k=7, n_classes=4, spread=2.0):
    labels = rng.integers(n_classes, size=n)
    return spread * rng.standard_normal((n_classes, k))[labels] + rng.standard_normal((n, k)) * np.arange(
        1, k + 1
    ), labels


def by_definition(X, y):
    """NC1 and D by outer products, one sample at a time."""
    mean, within, between = X.mean(axis=0), 0, 0
    classes = np.unique(y)
    for c in classes:
        members = X[y == c]
        for h in members:
            within = within + np.outer(h - members.mean(axis=0), h - members.mean(axis=0)) / len(X)
        shift = members.mean(axis=0) - mean
        between = between + len(members) / len(X) * np.outer(shift, shift)
    nc1 = np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / len(classes)
    return nc1, np.trace(within) / np.trace(between)


@pytest.mark.parametrize("n_classes", [2, 3, 6])
def test_as_defined(n_classes):
    X, y = drawn(np.random.default_rng(n_classes), n_classes=n_classes)
    found = collapse(X, y)
    assert (found.nc1, found.within_to_between) == pytest.approx(by_definition(X, y), rel=1e-9)
    assert (found.n_samples, found.n_classes) == (400, n_classes)


def test_nc2_and_nc3_as_defined():
    rng = np.random.default_rng(0)
    X, y = drawn(rng)
    W = rng.standard_normal((4, 7))
    found = collapse(X, y, W)
    M = np.stack([X[y == c].mean(axis=0) for c in range(4)])
    M -= M.mean(axis=0)
    norms = np.linalg.norm(M, axis=1)
    cosines = [M[a] @ M[b] / norms[a] / norms[b] for a in range(4) for b in range(4) if a != b]
    assert found.equinorm == pytest.approx(np.std(norms) / np.mean(norms), rel=1e-9)
    assert found.equiangular == pytest.approx(np.mean(np.abs(np.array(cosines) + 1 / 3)), rel=1e-9)
    assert found.nc3 == pytest.approx(np.linalg.norm(W / np.linalg.norm(W) - M / np.linalg.norm(M)), rel=1e-9)


def test_collapsed_features_are_a_simplex_with_its_classifier():
    rng = np.random.default_rng(1)
    M = simplex(5, 9, rng)
    y = np.repeat(np.arange(5), 40)
    X = 3 * M[y] + 7 + 1e-5 * rng.standard_normal((200, 9))
    found = collapse(X, y, 0.1 * M)
    assert found.nc1 < 1e-8
    assert max(found.within_to_between, found.equinorm, found.equiangular, found.simplex_distance, found.nc3) < 1e-4
    turned = collapse(X, y, -M)
    assert turned.nc3 == pytest.approx(2, abs=1e-3)
    stretched = collapse(X * np.arange(1, 10), y)
    assert min(stretched.equinorm, stretched.equiangular, stretched.simplex_distance) > 0.05


@pytest.mark.parametrize("size", [1, 7, 150])
def test_batches_give_what_all_at_once_give(size):
    X, y = drawn(np.random.default_rng(2))
    X, order = X + 1e4, np.argsort(y, kind="stable")  # whole batches of one class, far from the origin
    X, y = X[order], y[order]
    statistics = ClassStatistics()
    statistics.update(X[:0], y[:0])
    for at in range(0, len(X), size):
        statistics.update(X[at : at + size], y[at : at + size])
    np.testing.assert_allclose(statistics.measure(), collapse(X, y), rtol=1e-8)
    assert statistics.measure().nc1 == pytest.approx(by_definition(X - 1e4, y)[0], rel=1e-8)


@pytest.mark.parametrize("factor", [1e-200, 1e-30, 1e30, 1e200])
def test_units_do_not_matter(factor):
    X, y = drawn(np.random.default_rng(3))
    np.testing.assert_allclose(collapse(X * factor, y), collapse(X, y), rtol=1e-9)


def test_kinds_of_arrays_and_labels():
    X, y = drawn(np.random.default_rng(4))
    X = np.round(10 * X)
    expected = collapse(X, y)
    names = np.array(["d", "c", "b", "a"])[y]
    strided = np.asfortranarray(X)
    strided.flags.writeable = False
    for features, labels in ((X.astype(int), names), (X.tolist(), y.tolist()), (strided, y), (X.astype(np.float32), y)):
        np.testing.assert_allclose(collapse(features, labels), expected, rtol=1e-6)


def test_rows_of_a_classifier_are_the_labels_in_order():
    """Whichever class is met first."""
    M = simplex(3, 4, np.random.default_rng(0))
    y = np.array([2, 2, 0, 0, 1, 1])
    assert collapse(M[y], y, M).nc3 < 1e-9


@pytest.mark.filterwarnings("error")
def test_a_class_that_coincides_with_another_is_cut_relatively():
    """Σ_B has rank 1 for two classes, and for three of which two have the same mean."""
    rng = np.random.default_rng(5)
    noise = rng.standard_normal((600, 5)) * [1, 2, 3, 4, 5]
    y = np.repeat([0, 1, 2], 200)
    noise -= np.stack([noise[y == c].mean(axis=0) for c in range(3)])[y]
    X = noise + np.array([0.0, 10.0, 10.0])[y][:, None] * np.eye(5)[0] + 1000
    assert collapse(X, y).nc1 == pytest.approx(noise[:, 0].var() / (100 * 2 / 9) / 3, rel=1e-6)
    two = collapse(X, y > 0)
    assert two.nc1 == pytest.approx(noise[:, 0].var() / (100 * 2 / 9) / 2, rel=1e-6)
    assert np.isnan([two.equinorm, two.equiangular, two.simplex_distance]).all()  # two means are always a simplex


NOTHING = {
    "zeros": (np.zeros((12, 3)), "all 12 feature vectors are the same"),
    "a constant": (np.full((12, 3), 0.1), "all 12 feature vectors are the same"),
    "a constant far away": (
        np.full((12, 3), np.float32(1e6)) + np.float32(0.01),
        "all 12 feature vectors are the same",
    ),
}


@pytest.mark.parametrize("name", NOTHING)
def test_features_that_say_nothing(name):
    features, words = NOTHING[name]
    with pytest.warns(UserWarning, match=words):
        found = collapse(features, np.repeat([0, 1, 2], 4))
    assert np.isnan(found[:6]).all()


def test_one_member_a_class_and_none():
    X = np.random.default_rng(6).standard_normal((3, 4))
    with pytest.warns(UserWarning, match="no class has two members"):
        assert np.isnan(collapse(X, [0, 1, 2])[:6]).all()
    with pytest.warns(UserWarning, match="1 class has no members"):
        assert np.isnan(collapse(X, [0, 1, 1], n_classes=3)[:6]).all()
    with pytest.warns(UserWarning, match="2 classes have no members"):
        assert np.isnan(collapse(X, [0, 1, 1], np.eye(4))[:6]).all()


def test_means_that_coincide_are_as_far_from_collapse_as_can_be():
    X = np.array([[1.0, 2], [3, 4]] * 4)
    with pytest.warns(UserWarning, match="class means coincide"):
        found = collapse(X, [0, 0, 1, 1] * 2)
    assert found.nc1 == found.within_to_between == np.inf
    assert np.isnan(found[2:6]).all()


def test_many_features():
    rng = np.random.default_rng(7)
    X, y = drawn(rng, n=40, k=module.MAX_FEATURES + 1, n_classes=3)
    with pytest.warns(UserWarning, match="NC1 is measured up to 4,096 and is NaN: pool them first"):
        found = collapse(X, y)
    assert np.isnan(found.nc1)
    deviations = X - np.stack([X[y == c].mean(axis=0) for c in range(3)])[y]
    total = ((X - X.mean(axis=0)) ** 2).sum()
    within = (deviations**2).sum()
    assert found.within_to_between == pytest.approx(within / (total - within), rel=1e-9)
    assert np.isfinite(found[1:5]).all()


def test_a_classifier_of_zeros():
    X, y = drawn(np.random.default_rng(8))
    with pytest.warns(UserWarning, match="the classifier is all zero; NC3 is NaN"):
        found = collapse(X, y, np.zeros((4, 7)))
    assert np.isnan(found.nc3)
    assert np.isfinite(found[:5]).all()


X, Y = drawn(np.random.default_rng(9), n=20)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: collapse(X, Y[1:]),
            ValueError,
            "features have shape (20, 7) and labels (19,); give one label for each",
        ),
        (lambda: collapse(X[:, 0], Y), ValueError, "features have shape (20,)"),
        (lambda: collapse(np.where(X > 1, np.nan, X), Y), ValueError, "not finite"),
        (lambda: collapse(np.where(X > 1, np.inf, X), Y), ValueError, "not finite"),
        (lambda: collapse([["a"], ["b"]], [0, 1]), TypeError, "features holds 'a', which is not a number"),
        (lambda: collapse(X, np.zeros(20)), ValueError, "labels hold 1 class; separation needs two"),
        (lambda: collapse(np.zeros((0, 3)), []), ValueError, "labels hold 0 classes"),
        (lambda: collapse(X, np.where(Y == 1, np.nan, Y)), ValueError, "labels hold 3 NaNs; give a class for each"),
        (lambda: collapse(X, Y + 1, n_classes=4), ValueError, "labels run from 1 to 4; give whole numbers from 0 to 3"),
        (
            lambda: collapse(X, Y, np.ones((4, 6))),
            ValueError,
            "classifier has shape (4, 6); give one row for each of 4",
        ),
        (lambda: collapse(X, Y, np.ones((3, 7))), ValueError, "classifier has shape (3, 7)"),
        (lambda: collapse(X, Y + 3, np.ones((5, 7))), ValueError, "which is not a row of a classifier of 5"),
        (lambda: collapse(X, Y, np.full((4, 7), np.nan)), ValueError, "classifier holds 28 values that are not finite"),
        (lambda: collapse(X, Y, n_classes=1), ValueError, "n_classes is 1; it has to be at least 2"),
    ],
)
def test_refused_in_words(call, error, words):
    with pytest.raises(error, match=re.escape(words)):
        call()


def test_batches_of_other_widths():
    statistics = ClassStatistics()
    statistics.update(X, Y)
    with pytest.raises(ValueError, match="features have 6 columns and earlier ones had 7"):
        statistics.update(X[:, 1:], Y)


@pytest.mark.parametrize("labels", [[None, 1, 2, None, 1, 2], np.array(["a", 1, 2, "a", 1, 2], object)])
def test_labels_of_several_kinds_are_refused(labels):
    with pytest.raises(ValueError, match="labels are of several kinds"):
        collapse(np.eye(6), labels)
    statistics = ClassStatistics()
    statistics.update(np.eye(4), [0, 1, 0, 1])
    with pytest.raises(ValueError, match="labels are of several kinds"):
        statistics.update(np.eye(4), list("abab"))
