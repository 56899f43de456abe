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
