"""Where everything of a figure stands: titles wrapped above their axes, legends below or beside them, nothing cut off.

A figure is `WIDTH` inches wide whatever is in it, so that text has one size wherever figures are shown at one width: of
a column of 800 pixels, text of nine points has a height of 15.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dmc.plots.description import Panel, Picture
from dmc.plots.drawing import draw
from dmc.plots.theme import SOFT, Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

WIDTH = 6.4
DPI = 200  # 1,280 pixels: nearly two for each of a column of 700
HEIGHTS = {1: 2.9, 2: 2.15}  # inches of a panel's axes, by panels in a row; 1.6 where there are more
MOST_COLUMNS = 4  # of a legend
GAP = 0.06  # inches between axes' labels and the legend below
LEFT_OF_AXES = 0.3  # inches that are free beside an empty place, as it has no labels

Diagram = Panel | Picture


def arranged(diagrams: Sequence[Diagram], columns: int | None, theme: Theme, width: float = WIDTH) -> Figure:
    """A figure with all diagrams in it, laid out; call it with the theme's settings in force.

    Parameters
    ----------
    diagrams : sequence of Panel or Picture
    columns : int, optional
        Diagrams in a row; left out: two.
    theme : Theme
    width : float
        Inches.
    """
    places, spare = _places(diagrams, columns)
    rows, across = 1 + max(row for row, _ in places), max(span.stop for _, span in places)
    figure = _figure(width, 4.5 * rows)  # high enough for anything: see _stretch
    grid = figure.add_gridspec(rows, across)
    axes = [figure.add_subplot(grid[row, span]) for row, span in places]
    for of, diagram in zip(axes, diagrams, strict=True):
        draw(of, diagram, theme)
    figure.draw_without_rendering()
    for of, diagram in zip(axes, diagrams, strict=True):
        _title(of, diagram, theme)
    _legends(figure, axes, None if spare is None else figure.add_subplot(grid[spare]))
    heights = [_height(of, diagram, across, width) for of, diagram in zip(axes, diagrams, strict=True)]
    in_row = [[height for height, (at, _) in zip(heights, places, strict=True) if at == row] for row in range(rows)]
    grid.set_height_ratios([max(of) for of in in_row])
    _stretch(figure, axes, heights, [row for row, _ in places])
    return figure


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return Figure(figsize=(width, height), dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.07))


def _places(
    diagrams: Sequence[Diagram], columns: int | None
) -> tuple[list[tuple[int, slice]], tuple[int, slice] | None]:
    """Row and columns of each diagram; and those of an empty place at the end, if there is one."""
    across = min(columns or 2, sum(1 for diagram in diagrams if not diagram.wide) or 1)
    places, row, column = [], 0, 0
    for diagram in diagrams:
        span = across if diagram.wide else 1
        if column + span > across:
            row, column = row + 1, 0
        places.append((row, slice(column, column + span)))
        column += span
    return places, None if column == across else (row, slice(column, across))


def _title(axes: Axes, diagram: Diagram, theme: Theme) -> None:
    """Above the axes, from their left: the title in bold, and the note below it."""
    room = axes.get_window_extent().width
    above = 5.0
    if diagram.note:
        size = 8.5
        note = _wrapped(axes, diagram.note, room, fontsize=size)
        style: dict[str, Any] = {
            "fontsize": size,
            "color": theme.color(SOFT),
            "va": "bottom",
            "ha": "left",
            "linespacing": 1.2,
        }
        style |= {"xycoords": "axes fraction", "textcoords": "offset points"}
        axes.annotate(note, (0, 1), (0, above), **style)
        above += 1.25 * size * (1 + note.count("\n")) + 3.5  # room for what hangs below the title's baseline
    if diagram.title:
        title = _wrapped(axes, diagram.title, room, fontsize=10, fontweight="bold")
        axes.set_title(title, loc="left", pad=above, fontsize=10, fontweight="bold", linespacing=1.2)


def _wrapped(axes: Axes, text: str, room: float, **font: Any) -> str:
    """Text in lines that are at most so many pixels long; a longer word has one of its own."""
    probe = axes.figure.text(0, 0, "", **font)

    def fits(line: str) -> bool:
        probe.set_text(line)
        return bool(probe.get_window_extent().width <= room)

    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            longer = f"{line} {word}" if line else word
            if line and not fits(longer):
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    probe.remove()
    return "\n".join(lines)


def _legends(figure: Figure, axes: Sequence[Axes], spare: Axes | None) -> None:
    """One for the panels that share labels, in an empty place or below all; each other below its own axes."""
    found = [of.get_legend_handles_labels() for of in axes]
    sharing = _sharing([set(labels) for _, labels in found])
    together: dict[str, Any] = {}
    for i, (of, (handles, labels)) in enumerate(zip(axes, found, strict=True)):
        if i not in sharing and labels:
            _below(figure, of, handles, labels)
        for handle, label in zip(handles, labels, strict=True):
            if i in sharing:
                together.setdefault(label, handle)
    alone = spare is not None and _in_place(spare, together)
    if together and not alone:
        _fitted(figure, list(together.values()), list(together), figure.bbox.width, loc="outside lower center")


def _sharing(labels: Sequence[set[str]]) -> set[int]:
    """The largest group of panels of which each shares a label with another one; none if there are two such groups."""
    groups: list[set[int]] = []
    for i, of in enumerate(labels):
        touching = [group for group in groups if any(of & labels[j] for j in group)]
        groups = [group for group in groups if group not in touching] + [{i}.union(*touching)]
    several = [group for group in groups if len(group) > 1]
    return several[0] if len(several) == 1 else set()


def _in_place(spare: Axes, together: dict[str, Any]) -> bool:
    """Whether the common legend stands in the empty place: if there is one and it has room."""
    spare.set_axis_off()
    if not together:
        return False
    legend = spare.legend(together.values(), together, loc="center left", frameon=False, labelspacing=0.7)
    legend.set_in_layout(False)
    wider = legend.get_window_extent().width - spare.bbox.width
    if wider <= LEFT_OF_AXES * spare.figure.dpi:
        legend.set_loc("center right" if wider > 0 else "center left")
        return True
    legend.remove()
    return False


def _below(figure: Figure, axes: Axes, handles: list[Any], labels: list[str]) -> None:
    from matplotlib.transforms import ScaledTranslation

    labels_below: Any = axes.xaxis.get_tightbbox()
    down = (axes.bbox.y0 - labels_below.y0) / figure.dpi + GAP
    where = axes.transAxes + ScaledTranslation(0, -down, figure.dpi_scale_trans)
    room = axes.bbox.width
    _fitted(axes, handles, labels, room, loc="upper left", bbox_to_anchor=(0, 0), bbox_transform=where)


def _fitted(place: Figure | Axes, handles: list[Any], labels: list[str], room: float, **settings: Any) -> Legend:
    """A legend in as many columns as there is room for, without a last row that is almost empty."""
    rows = [-(-len(labels) // columns) for columns in range(min(len(labels), MOST_COLUMNS), 0, -1)]
    for columns in [-(-len(labels) // count) for count in dict.fromkeys(rows)]:  # as even as they can be
        settings |= {"ncols": columns, "frameon": False, "borderaxespad": 0, "columnspacing": 1.4, "handlelength": 2.6}
        legend = place.legend(handles, labels, **settings)
        if columns == 1 or legend.get_window_extent().width <= room:
            break
        legend.remove()
    return legend


def _stretch(figure: Figure, axes: Sequence[Axes], heights: Sequence[float], rows: Sequence[int]) -> None:
    """As high as it takes for every row of axes to have its height, whatever stands around them."""
    for _ in range(3):  # labels of ticks may change with the height
        figure.draw_without_rendering()
        missing = 0.0
        for row in set(rows):
            there = [i for i, at in enumerate(rows) if at == row]
            missing += max(heights[i] for i in there) - min(_room(figure, axes[i]) for i in there)
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + missing)
        if abs(missing) < 0.02:
            break


def _height(axes: Axes, diagram: Diagram, across: int, width: float) -> float:
    """Inches that the axes are to have from top to bottom; of an image, those that its width makes."""
    if isinstance(diagram, Panel):
        return HEIGHTS.get(1 if diagram.wide else across, 1.6)
    rows, columns = np.shape(diagram.image)[:2]
    return float(axes.get_position(original=True).width * width * rows / columns)


def _room(figure: Figure, axes: Axes) -> float:
    """Inches that the layout gives the axes from top to bottom; an image may take less."""
    return float(axes.get_position(original=True).height * figure.get_size_inches()[1])
