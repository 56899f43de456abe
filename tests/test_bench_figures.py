"""bench/figures: from the results at hand, with everything inside the canvas and one look for each contender."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from dmc import plots
from drawn_panels import drawn_figure
from figure_faults import faults

BENCH = Path(__file__).parent.parent / "bench"
NAMES = sorted(path.stem for path in (BENCH / "figures").glob("*.png") if not path.stem.endswith("-dark"))


@pytest.fixture(scope="module")
def drawing() -> Iterator[ModuleType]:
    sys.path.insert(0, str(BENCH))
    import _figures

    yield _figures
    sys.path.remove(str(BENCH))


def test_every_figure_has_twins_and_a_function(drawing: ModuleType) -> None:
    files = {path.name for path in drawing.FOLDER.glob("*.png")}
    assert files == {f"{name}{ending}.png" for name in drawing.FIGURES for ending in ("", "-dark")}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_cut_off_or_covered(name: str, drawing: ModuleType) -> None:
    panels, columns = drawing.FIGURES[name]
    assert faults(drawn_figure(panels(), columns)) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_says_what_it_shows(name: str, drawing: ModuleType) -> None:
    panels = drawing.FIGURES[name][0]()
    for panel in panels:
        assert panel.title
        assert panel.xlabel or panel.xticks
        assert panel.ylabel or panels[0].ylabel  # once in a row of small ones
        for line in panel.lines:
            assert line.label, f"a line of {panel.title!r} has no name"


@pytest.mark.parametrize("name", NAMES)
def test_a_label_looks_the_same_in_every_panel(name: str, drawing: ModuleType) -> None:
    colors: dict[str, set[str]] = {}
    for panel in drawing.FIGURES[name][0]():
        for line in panel.lines:
            colors.setdefault(line.label, set()).add(line.style["color"])
    assert all(len(of) == 1 for of in colors.values())


def test_contenders_have_the_colour_of_the_table_in_every_figure(drawing: ModuleType) -> None:
    seen = set()
    for panels, _ in drawing.FIGURES.values():
        for line in (line for panel in panels() for line in panel.lines):
            if line.label in plots.STYLES:
                seen.add(line.label)
                assert line.style["color"] == plots.STYLES[line.label]["color"], line.label
    assert {"MatrixCompletion", "full width", "compressed", "narrow", "Recommender", "3 layers"} <= seen
