"""Figures: the only room that knows matplotlib."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def _figure(**settings: Any) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("figures need matplotlib, which is not installed; run: pip install 'dmc[plot]'") from None
    return Figure(layout="constrained", **settings)


@dataclass(frozen=True)
class Line:
    """One line of a panel.

    Attributes
    ----------
    x, y : (points,) numbers, or y (points, lines) for a bundle with one label
    label : str
        Its name in the legend; empty for none.
    style : dict
        What matplotlib's `plot` takes: color, linestyle, linewidth, marker, alpha.
    spread : ((points,), (points,)), optional
        Lower and upper edges of a band around the line: a range over seeds.
    """

    x: ArrayLike
    y: ArrayLike
    label: str = ""
    style: dict[str, Any] = field(default_factory=dict)
    spread: tuple[ArrayLike, ArrayLike] | None = None


@dataclass(frozen=True)
class Panel:
    """One diagram: labelled axes (with units), a title that says what is seen, lines."""

    title: str
    xlabel: str
    ylabel: str
    lines: Sequence[Line]
    yscale: str = "linear"
    xscale: str = "linear"
    ylim: tuple[float | None, float | None] = (None, None)


def panels(diagrams: Sequence[Panel], path: str | os.PathLike[str]) -> None:
    """Draw diagrams side by side into a file.

    Parameters
    ----------
    diagrams : sequence of Panel
    path : path
        Its suffix says the format (.png, .pdf, .svg).

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    figure = _figure(figsize=(5.4 * len(diagrams), 3.9), dpi=150)
    for axes, panel in zip(np.atleast_1d(figure.subplots(1, len(diagrams))), diagrams, strict=True):
        for line in panel.lines:
            drawn = axes.plot(line.x, line.y, **line.style)
            if line.label:
                drawn[0].set_label(line.label)
            if line.spread is not None:
                axes.fill_between(line.x, *line.spread, color=drawn[0].get_color(), alpha=0.2, linewidth=0)
        axes.set(xlabel=panel.xlabel, ylabel=panel.ylabel, yscale=panel.yscale, xscale=panel.xscale, ylim=panel.ylim)
        axes.set_title(panel.title, fontsize=11)
        for axis, scale in ((axes.xaxis, panel.xscale), (axes.yaxis, panel.yscale)):
            if scale == "linear":
                axis.set_major_formatter("{x:,.10g}")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if any(line.label for line in panel.lines):
            axes.legend(fontsize=9, frameon=False)
    figure.savefig(path)


def restoration(
    original: NDArray[np.float64],
    mask: NDArray[np.bool_],
    restored: NDArray[np.float64],
    path: str | os.PathLike[str],
    notes: tuple[str, str] = ("", ""),
) -> None:
    """Draw what was seen of a photograph, what was made of it, and the original, side by side, into a file.

    Parameters
    ----------
    original, restored : (rows, columns, 3) float array
        Colours from 0 to 1.
    mask : (rows, columns) bool
        True where a pixel was observed; the others are drawn black.
    path : path
        Its suffix says the format (.png, .pdf, .svg).
    notes : (str, str)
        Shown under "observed" and under "restored".

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    height = 4.1 * original.shape[0] / original.shape[1]
    figure = _figure(figsize=(12.6, height + 0.55), dpi=150)
    panels = [
        (original * mask[..., None], f"observed: {100 * mask.mean():.0f} % of the pixels", notes[0]),
        (np.clip(restored, 0, 1), "restored", notes[1]),
        (original, "original", ""),
    ]
    for axes, (image, title, note) in zip(figure.subplots(1, 3), panels, strict=True):
        axes.imshow(image, interpolation="nearest")
        axes.set_title(f"{title}\n{note}", fontsize=11)
        axes.set_axis_off()
    figure.savefig(path)
