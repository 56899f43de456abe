"""Lines, bars, bands, thresholds and ticks, as matplotlib has them."""

import io
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from dmc import plots
from drawn_panels import drawn


@pytest.mark.parametrize("ends", [(0.98e6, 4.6e6), (-1e9, 1e9), (1e-6, 4.6e-6), (1, 5), (0, 99_000)])
def test_numbers_below_an_axis_do_not_overlap(ends):
    axes = drawn(plots.Panel("", "x", "y", [plots.Line(np.linspace(*ends, 9), np.linspace(*ends, 9))]))
    boxes = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()]
    shown = [box for box in boxes if axes.bbox.x0 - 1 <= (box.x0 + box.x1) / 2 <= axes.bbox.x1 + 1]
    assert len(shown) >= 2
    assert all(left.x1 < right.x0 for left, right in pairwise(shown))


def test_a_narrow_range_of_powers_has_plain_numbers():
    panel = plots.Panel("", "x", "y", [plots.Line([0.006, 0.012, 0.048], [1, 2, 3])], xscale="log")
    shown = [label.get_text() for label in drawn(panel).get_xticklabels(which="both")]
    assert {"0.01", "0.02"} <= set(shown)
    assert not any("10^" in text for text in shown)


def test_what_is_counted_has_no_half_steps():
    axes = drawn(plots.Panel("", "x", "y", [plots.Line([1, 2, 3], [1, 2.5, 3])]))
    assert not [label for label in axes.get_xticklabels() if "." in label.get_text()]


def test_whiskers_reach_where_they_should_and_are_left_out_where_there_are_none():
    line = plots.Line([0, 1, 2], [1, 2, 3], whiskers=([0.5, np.nan, 3.0], [1.25, np.nan, 3.5]))
    for of in (line, replace(line, bars=0.5)):
        axes = drawn(plots.Panel("", "x", "y", [of]))
        (whiskers,) = [found for found in axes.collections if hasattr(found, "get_segments")]
        found = [segment[:, 1].tolist() for segment in whiskers.get_segments() if segment.size]
        assert found == [[0.5, 1.25], [3.0, 3.5]]


def test_a_threshold_crosses_the_panel_and_its_label_stays_inside():
    line = plots.Line([0, 1, 2], [1, 2, 3])
    marks = [plots.Threshold(2.5, "half", at=at) for at in (0, 0.5, 1)] + [
        plots.Threshold(1, "one", "x", at) for at in (0, 0.5, 1)
    ]
    for mark in marks:
        axes = drawn(plots.Panel("", "x", "y", [line], thresholds=[mark]))
        _, across = axes.lines
        ends = across.get_ydata() if mark.axis == "y" else across.get_xdata()
        assert list(ends) == [mark.value, mark.value]
        (label,) = axes.texts
        box, inside = label.get_window_extent(), axes.get_window_extent()
        assert label.get_text() == mark.label
        assert inside.x0 - 3 <= box.x0 < box.x1 <= inside.x1 + 3
        assert inside.y0 - 3 <= box.y0 < box.y1 <= inside.y1 + 3


def test_limits_are_kept_and_those_left_open_follow_the_data():
    axes = drawn(plots.Panel("", "x", "y", [plots.Line([0, 10], [1, 2])], ylim=(0, None), xlim=(None, 5)))
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] >= 2
    assert axes.get_xlim()[1] == 5


def test_error_bars_of_points_have_their_colour():
    points = plots.Line([0, 1], [1, 2], "", {"color": "second", "linestyle": ""}, whiskers=([0, 1], [2, 3]))
    axes = drawn(plots.Panel("", "x", "y", [points]))
    (whiskers,) = [found for found in axes.collections if hasattr(found, "get_segments")]
    expected = [int(plots.LIGHT.color("second")[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    np.testing.assert_allclose(whiskers.get_color()[0][:3], expected)


def test_limits_left_open_make_room_for_a_threshold_and_others_hide_it():
    line = plots.Line([0, 1], [0.9, 1])
    far = [plots.Threshold(1e-5, "far")]
    axes = drawn(plots.Panel("", "x", "y", [line], yscale="log", thresholds=far))
    assert axes.get_ylim()[0] <= 1e-5
    axes = drawn(plots.Panel("", "x", "y", [line], yscale="log", thresholds=far, ylim=(0.5, 2)))
    assert axes.get_ylim() == (0.5, 2)
    axes.figure.savefig(io.BytesIO())  # matplotlib cannot draw text that is too far off
