"""Descriptions of diagrams, independent of how matplotlib draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Line:
    """One line of a panel, or one series of bars.

    Parameters
    ----------
    x : (points,) numbers
        Horizontal positions.
    y : (points,) or (points, lines) numbers
        Vertical positions; with two dimensions, a bundle of lines with one label.
    label : str
        Its name in the legend; empty for none.
    style : dict
        What matplotlib's `plot` takes: color, linestyle, linewidth, marker, alpha. Colours are roles ("first" to
        "sixth", "ink", "soft"), which every theme has, or any of matplotlib's. `dmc.plots.style` has those of
        contenders.
    spread : ((points,), (points,)), optional
        Lower and upper edges of a band around the line: a range over seeds.
    bars : float, optional
        Draw bars of this width instead of a line; `style` is then what matplotlib's `bar` takes.
    whiskers : ((points,), (points,)), optional
        Lower and upper ends of an error bar at each point.

    Examples
    --------
    >>> from dmc import plots
    >>> plots.Line([0, 1, 2], [1.0, 0.5, 0.25], "compressed", plots.style("compressed")).label
    'compressed'
    """

    x: ArrayLike
    y: ArrayLike
    label: str = ""
    style: dict[str, Any] = field(default_factory=dict)
    spread: tuple[ArrayLike, ArrayLike] | None = None
    bars: float | None = None
    whiskers: tuple[ArrayLike, ArrayLike] | None = None


@dataclass(frozen=True)
class Threshold:
    """A value that is drawn across a panel, with its meaning beside it.

    Parameters
    ----------
    value : float
        Where, on the axis.
    label : str
        What it means.
    axis : {"y", "x"}
        Which axis has the value.
    at : float
        Position of the label along the line, from 0 (left, or bottom) to 1.

    Examples
    --------
    >>> from dmc import plots
    >>> plots.Threshold(0.1, "a tenth of the start")
    Threshold(value=0.1, label='a tenth of the start', axis='y', at=1.0)
    """

    value: float
    label: str
    axis: Literal["y", "x"] = "y"
    at: float = 1.0


@dataclass(frozen=True)
class Panel:
    """A diagram: labelled axes with units, a title that says what is seen, lines.

    Parameters
    ----------
    title : str
        What is seen. Wrapped to the panel's width.
    xlabel, ylabel : str
        What the axes show, with units.
    lines : sequence of Line
        In the order of drawing.
    yscale, xscale : {"linear", "log"}
        Scales of the axes.
    ylim : (float or None, float or None)
        Range of the axis; None: from the data.
    xticks : sequence of str, optional
        Labels for x = 0, 1, …, where x counts categories.
    xlim : (float or None, float or None)
        Range of the axis; None: from the data.
    note : str
        Below the title, smaller: sizes, seeds, the meaning of a band.
    thresholds : sequence of Threshold
        Values to draw across the panel.
    wide : bool
        Whether to take a whole row of the figure.

    Examples
    --------
    >>> from dmc import plots
    >>> line = plots.Line([0, 1, 2], [1.0, 0.5, 0.25])
    >>> panel = plots.Panel("The error halves in a step", "step", "relative error", [line], yscale="log")
    >>> panel.title
    'The error halves in a step'
    """

    title: str
    xlabel: str
    ylabel: str
    lines: Sequence[Line]
    yscale: str = "linear"
    xscale: str = "linear"
    ylim: tuple[float | None, float | None] = (None, None)
    xticks: Sequence[str] = ()
    xlim: tuple[float | None, float | None] = (None, None)
    note: str = ""
    thresholds: Sequence[Threshold] = ()
    wide: bool = False


@dataclass(frozen=True)
class Picture:
    """An image below its title.

    Parameters
    ----------
    title : str
        What is seen.
    image : (rows, columns, 3) numbers
        Colours from 0 to 1; values outside are clipped.
    note : str
        Below the title, smaller.
    wide : bool
        Whether to take a whole row of the figure.

    Examples
    --------
    >>> import numpy as np
    >>> from dmc import plots
    >>> plots.Picture("black", np.zeros((4, 6, 3))).title
    'black'
    """

    title: str
    image: ArrayLike
    note: str = ""
    wide: bool = False
