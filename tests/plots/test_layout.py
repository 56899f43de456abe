"""Nothing is cut off, nothing lies over data or over other text, and text has one size in every figure."""

from itertools import combinations

import numpy as np
import pytest

from dmc import plots
from drawn_panels import drawn_figure
from figure_faults import faults

X = np.arange(1, 30)
LONG = "A title that says at some length what is to be seen in this panel, and what it means for whoever reads it"


def falling(*names: str) -> list[plots.Line]:
    return [plots.Line(X, X ** -(1.0 + i), name, plots.style(name)) for i, name in enumerate(names)]


def panel(*names: str, **settings) -> plots.Panel:
    settings = {"title": LONG, "note": "120 × 120, rank 3, 30 % observed; median and range over five seeds"} | settings
    return plots.Panel(xlabel="step", ylabel="relative error", lines=falling(*names), **settings)


IMAGE = plots.Picture(LONG, np.zeros((40, 60, 3)), "a note", wide=True)
CASES = {
    "one": [panel("compressed", "narrow")],
    "two of a kind": [panel("compressed", "narrow"), panel("compressed", "narrow", title="short", note="")],
    "two of their own": [panel("compressed", "narrow"), panel("R2RILS", "ScaledGD")],
    "three": [panel("compressed"), panel("compressed", "narrow"), panel("narrow")],
    "three of their own": [panel("compressed"), panel("narrow"), panel("full width", yscale="log")],
    "many labels": [panel(*plots.STYLES)],
    "an image above": [IMAGE, panel("compressed"), panel("narrow")],
    "words below": [
        plots.Panel(LONG, "", "y", [plots.Line(range(4), range(4), "a", bars=0.5)], xticks=["two\nlines"] * 4)
    ],
    "nothing said": [panel("compressed", title="", note="")],
}


@pytest.mark.parametrize("theme", [plots.LIGHT, plots.DARK], ids=lambda theme: theme.name)
@pytest.mark.parametrize("case", CASES)
def test_all_text_is_inside_and_apart(case: str, theme: plots.Theme) -> None:
    assert faults(drawn_figure(CASES[case], theme=theme)) == []


def test_faults_are_found() -> None:
    figure = drawn_figure(CASES["one"])
    (axes,) = figure.axes
    axes.set_title("x" * 400, loc="left")
    axes.legend(loc="center")
    figure.canvas.draw()
    assert len(faults(figure)) >= 2


def test_labels_that_panels_share_have_one_legend() -> None:
    def legends(name: str) -> int:
        figure = drawn_figure(CASES[name])
        return len(figure.legends) + sum(axes.get_legend() is not None for axes in figure.axes)

    assert [legends(name) for name in ("two of a kind", "two of their own", "three")] == [1, 2, 1]


def test_figures_have_one_width_and_rows_of_axes_one_height() -> None:
    widths, heights = set(), []
    for case in ("one", "two of a kind", "three", "an image above"):
        figure = drawn_figure(CASES[case])
        widths.add(figure.get_size_inches()[0])
        heights.append([axes.get_window_extent().height / figure.dpi for axes in figure.axes])
    assert len(widths) == 1
    assert heights[0] == pytest.approx([2.9], abs=0.1)
    assert heights[1] == pytest.approx([2.15] * 2, abs=0.1)
    assert heights[2][:3] == pytest.approx([2.15] * 3, abs=0.1)


def test_a_wide_diagram_has_a_row_of_its_own() -> None:
    image, left, right = drawn_figure(CASES["an image above"]).axes
    assert image.get_window_extent().y0 > left.get_window_extent().y1
    assert left.get_window_extent().y0 == right.get_window_extent().y0


def test_columns() -> None:
    figure = drawn_figure([panel("compressed", title="", note="")] * 3, columns=3)
    boxes = [axes.get_window_extent() for axes in figure.axes]
    assert len({box.y0 for box in boxes}) == 1
    assert all(a.x1 < b.x0 for a, b in combinations(boxes, 2))
