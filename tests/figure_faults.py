"""What is wrong with where things stand in a figure: found by the boxes that matplotlib has of them."""

from __future__ import annotations

from itertools import combinations
from typing import Any

SLACK = 1.5  # pixels that boxes may reach beyond


def faults(figure: Any) -> list[str]:
    """Texts cut off or over each other, and legends over axes; in words."""
    canvas = figure.bbox
    found, boxes = [], dict(_texts(figure))
    for name, box in boxes.items():
        if not (canvas.x0 - SLACK <= box.x0 and box.x1 <= canvas.x1 + SLACK):
            found.append(f"{name!r} is cut off at a side")
        if not (canvas.y0 - SLACK <= box.y0 and box.y1 <= canvas.y1 + SLACK):
            found.append(f"{name!r} is cut off above or below")
    for (one, a), (other, b) in combinations(boxes.items(), 2):
        if _overlap(a, b):
            found.append(f"{one!r} lies over {other!r}")
    for legend in _legends(figure):
        for axes in figure.axes:
            if axes.axison and _overlap(legend.get_window_extent(), axes.get_window_extent()):
                found.append(f"the legend of {[text.get_text() for text in legend.get_texts()]} lies over an axes")
    return found


def _texts(figure: Any) -> Any:
    for i, axes in enumerate(figure.axes):
        for text in (axes._left_title, *axes.texts):
            yield from _named(f"{i}: ", text)
        if axes.axison:
            for axis in (axes.xaxis, axes.yaxis):
                yield from _named(f"{i}: ", axis.label)
                low, high = sorted(axis.get_view_interval())
                for tick in axis.get_major_ticks():
                    if low <= tick.get_loc() <= high:
                        yield from _named(f"{i}, {axis.axis_name} at {tick.get_loc():g}: ", tick.label1)
    for legend in _legends(figure):
        for text in legend.get_texts():
            yield from _named("legend: ", text)


def _named(where: str, text: Any) -> Any:
    if text.get_text() and text.get_visible():
        yield f"{where}{text.get_text()}", text.get_window_extent()


def _legends(figure: Any) -> list[Any]:
    return [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend() is not None)]


def _overlap(a: Any, b: Any) -> bool:
    across = min(a.x1, b.x1) - max(a.x0, b.x0)
    upright = min(a.y1, b.y1) - max(a.y0, b.y0)
    return bool(across > SLACK and upright > SLACK)
