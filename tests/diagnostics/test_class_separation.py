"""The separation of classes, of planted ones against its expectation."""

import numpy as np
import pytest

from dmc import diagnostics


def test_separation_of_planted_classes():
    rng = np.random.default_rng(0)
    means = 10 * np.eye(3)
    labels = np.repeat(["a", "b", "c"], 4000)
    features = np.repeat(means, 4000, axis=0) + rng.standard_normal((12000, 3))
    found = diagnostics.separation(features, labels)
    # Σ_W = I; the means, centred, have Σ_B = 100/3 (I − 11ᵀ/3): trace 200/3, and pseudo-inverse of trace 2·3/100.
    assert found.within_to_between == pytest.approx(3 / (200 / 3), rel=0.03)
    assert found.nc1 == pytest.approx(2 * 3 / 100 / 3, rel=0.03)
    assert diagnostics.separation(np.repeat(means, 2, axis=0), np.repeat([0, 1, 2], 2)).within_to_between == 0


def test_separation_bad_input():
    with pytest.raises(ValueError, match="1 class"):
        diagnostics.separation(np.ones((3, 2)), [1, 1, 1])
    with pytest.raises(ValueError, match="one label"):
        diagnostics.separation(np.ones((3, 2)), [1, 2])
