"""Figures: what a diagram shows is described once, and drawn for light and for dark pages.

`Panel`, `Line`, `Threshold` and `Picture` describe diagrams without matplotlib; `panels`, `pictures` and `restoration`
draw them into files. Needs matplotlib (``pip install 'dmc[plot]'``), which is imported when something is drawn.
"""

from dmc.plots.description import Line, Panel, Picture, Threshold
from dmc.plots.files import Ground as Ground, panels, pictures, restoration, svg as svg
from dmc.plots.styles import STYLES, style
from dmc.plots.theme import (
    COLORS,
    DARK as DARK,
    FIFTH,
    FIRST,
    FOURTH,
    INK,
    LIGHT as LIGHT,
    SECOND,
    SIXTH,
    SOFT,
    THIRD,
    Theme as Theme,
)

__all__ = [
    "COLORS",
    "FIFTH",
    "FIRST",
    "FOURTH",
    "INK",
    "SECOND",
    "SIXTH",
    "SOFT",
    "STYLES",
    "THIRD",
    "Line",
    "Panel",
    "Picture",
    "Threshold",
    "panels",
    "pictures",
    "restoration",
    "style",
]
