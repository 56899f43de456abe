"""What a diagram shows, without a word on how matplotlib draws it."""

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
    x, y : (points,) numbers, or y (points, lines) for a bundle with one label
    label : str
        Its name in the legend; empty for none.
    style : dict
        What matplotlib's `plot` takes: color, linestyle, linewidth, marker, alpha. Colours are roles ("first" to
        "sixth", "ink", "soft"), which every theme has, or any of matplotlib's. `dmc.plots.style` has those of
        contenders.
    spread : ((points,), (points,)), optional
        Lower and upper edges of a band around the line: a range over seeds.
    bars : float, optional
        Draw bars of this width in place of a line; `style` is then what matplotlib's `bar` takes.
    whiskers : ((points,), (points,)), optional
        Lower and upper ends of an error bar at each point.
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
    """A value that is drawn across a panel, with what it means beside it.

    Parameters
    ----------
    value : float
    label : str
    axis : {"y", "x"}
        Which axis has the value.
    at : float
        Where along the line the label stands, from 0 (left, or bottom) to 1.
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
    lines : sequence of Line
    yscale, xscale : {"linear", "log"}
    ylim, xlim : (float or None, float or None)
        None: as the data have it.
    xticks : sequence of str, optional
        x counts these labels: 0, 1, …
    note : str
        Below the title, smaller: sizes, seeds, what a band is.
    thresholds : sequence of Threshold
    wide : bool
        Take a whole row of the figure.
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
    image : (rows, columns, 3) numbers
        Colours from 0 to 1; what lies outside is clipped.
    note : str
        Below the title, smaller.
    wide : bool
        Take a whole row of the figure.
    """

    title: str
    image: ArrayLike
    note: str = ""
    wide: bool = False
