"""A panel drawn as on a page, for looking at."""

from __future__ import annotations

from typing import Any

import matplotlib

from dmc.plots import LIGHT, Panel, layout


def drawn_figure(diagrams: Any, columns: int | None = None, theme: Any = LIGHT) -> Any:
    """The figure of some diagrams, laid out."""
    with matplotlib.rc_context(theme.settings()):
        figure = layout.arranged(diagrams, columns, theme)
        figure.canvas.draw()
    return figure


def drawn(panel: Panel) -> Any:
    """The axes of a panel."""
    return drawn_figure([panel]).axes[0]
