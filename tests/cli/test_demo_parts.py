"""What the demo shows is what it found."""

import numpy as np
import pytest

import dmc
from dmc.cli import demo_parts


def test_the_photograph_is_what_was_seen_and_what_was_made_of_it(monkeypatch):
    image, mask = dmc.datasets.photograph(0.3)
    small, seen = image[::12, ::12], mask[::12, ::12]
    monkeypatch.setattr(dmc.datasets, "photograph", lambda observed: (small, seen))
    part = demo_parts.photograph()
    gaps, restored = (diagram.image for diagram in part.diagrams)
    assert (gaps[~seen] == 0).all()
    np.testing.assert_array_equal(gaps[seen], small[seen])
    np.testing.assert_array_equal(restored[seen], small[seen])
    off = np.mean((restored[~seen] - small[~seen]) ** 2)
    assert part.found["psnr"] == pytest.approx(-10 * np.log10(off))


def test_the_scatter_diagram_has_hidden_values_alone():
    """On its line of truth are the table's values; the bars hold most of them."""
    from sklearn.datasets import load_diabetes

    part = demo_parts.table_with_gaps()
    (panel,) = part.diagrams
    _, points = panel.lines
    ldl = load_diabetes(scaled=False).data[:, 5]
    hidden = ldl[np.random.default_rng(0).random((442, 10))[:, 5] < 0.3]
    np.testing.assert_array_equal(points.x, hidden[: demo_parts.SHOWN])
    low, high = points.whiskers
    assert np.mean((low <= points.x) & (points.x <= high)) > 0.8
    assert panel.thresholds[0].value == pytest.approx(np.mean(ldl), abs=3)
