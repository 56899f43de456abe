"""Figures: the only room that knows matplotlib."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmc._whole_file import whole_file

__all__ = [
    "COLORS",
    "FIRST",
    "FOURTH",
    "SECOND",
    "THIRD",
    "Line",
    "Panel",
    "panels",
    "pictures",
    "restoration",
]

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# What lines and bars are drawn in, and by which name a page may choose other colours for them: see `svg`.
FIRST, SECOND, THIRD, FOURTH = COLORS = ("#2b6cb0", "#c05621", "#2f855a", "#805ad5")
_CHOSEN = {"#000000": "ink", "#b0b0b0": "rule", FIRST: "first", SECOND: "second", THIRD: "third", FOURTH: "fourth"}


def _figure(**settings: Any) -> Figure:
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
class Panel:
    """One diagram: labelled axes (with units), a title that says what is seen, lines.

    With `xticks`, x counts these labels: 0, 1, …
    """

    title: str
    xlabel: str
    ylabel: str
    lines: Sequence[Line]
    yscale: str = "linear"
    xscale: str = "linear"
    ylim: tuple[float | None, float | None] = (None, None)
    xticks: Sequence[str] = ()


def panels(diagrams: Sequence[Panel], path: str | os.PathLike[str], columns: int | None = None) -> None:
    """Draw diagrams side by side into a file.

    Parameters
    ----------
    diagrams : sequence of Panel
    path : path
        Its suffix says the format (.png, .pdf, .svg). The file appears whole or not at all.
    columns : int, optional
        Diagrams in a row; left out: all of them.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    across = min(columns or len(diagrams), len(diagrams))
    rows = -(-len(diagrams) // across)
    figure = _figure(figsize=(5.4 * across, 3.9 * rows), dpi=150)
    places = figure.subplots(rows, across, squeeze=False).ravel()
    for axes, panel in zip(places, diagrams, strict=False):
        _draw(axes, panel)
    for axes in places[len(diagrams) :]:
        axes.set_axis_off()
    _save(figure, path)


def pictures(images: Mapping[str, ArrayLike], path: str | os.PathLike[str]) -> None:
    """Draw images of one size into a file, two beside each other, each below its title.

    Parameters
    ----------
    images : dict
        From titles to (rows, columns, 3) colours from 0 to 1; what lies outside is clipped.
    path : path
        Its suffix says the format (.png, .pdf, .svg). The file appears whole or not at all.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    height, width = np.shape(next(iter(images.values())))[:2]
    rows = -(-len(images) // 2)
    figure = _figure(figsize=(9.6, rows * (4.8 * height / width + 0.4)), dpi=150)
    for axes, (title, image) in zip(figure.subplots(rows, 2, squeeze=False).flat, images.items(), strict=False):
        axes.imshow(np.clip(np.asarray(image), 0, 1), interpolation="nearest")
        axes.set_title(title, fontsize=11)
    for axes in figure.axes:
        axes.set_axis_off()
    _save(figure, path)


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Into a file that appears whole or not at all, and is the same whenever it is drawn: without dates or chance."""
    import matplotlib

    suffix = os.path.splitext(path)[1][1:].lower()
    name = path if suffix else f"{os.fspath(path)}.png"
    of_format = {"pdf": "CreationDate", "svg": "Date"}.get(suffix)
    drawn = io.BytesIO()  # matplotlib's own words for a full disk have no number
    with matplotlib.rc_context({"svg.hashsalt": "dmc"}):
        figure.savefig(drawn, format=suffix or "png", metadata=None if of_format is None else {of_format: None})
    with whole_file(name) as file:
        file.write(drawn.getbuffer())


def svg(panel: Panel, name: str, alt: str) -> str:
    """A diagram as an <svg> element to stand inside an HTML page: see-through, with text as text.

    Colours are CSS variables of the page, --ink, --rule and --first to --fourth, so that one drawing is right on light
    and on dark ground.

    Parameters
    ----------
    panel : Panel
    name : str
        Another one for each diagram of a page: ids begin with it.
    alt : str
        What is seen, for those who cannot see it.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    figure = _figure(figsize=(4.8, 3.2))
    import matplotlib

    axes = figure.subplots()
    _draw(axes, panel)
    for patch in (figure.patch, axes.patch):
        patch.set_visible(False)
    drawn = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(drawn, format="svg")
    text = drawn.getvalue()
    inside = text[text.index(">", text.index("<svg")) + 1 :]
    # What a file needs and a page does not: who made it, addresses of standards, a style for all that is around.
    inside = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", inside, flags=re.DOTALL)
    inside = inside.replace("xlink:href", "href")
    inside = re.sub(r'\bid="|(?<=href=")#|(?<=url\()#', lambda found: f"{found[0]}{name}-", inside)
    for color, variable in _CHOSEN.items():
        inside = inside.replace(color, f"var(--{variable}, {color})")
    width, height = (72 * inches for inches in figure.get_size_inches())
    return f'<svg role="img" aria-label="{escape(alt)}" viewBox="0 0 {width:g} {height:g}">{inside.strip()}'


def _draw(axes: Axes, panel: Panel) -> None:
    for line in panel.lines:
        if line.whiskers is not None:
            _whiskers(axes, line)
        if line.bars is not None:
            axes.bar(line.x, line.y, line.bars, label=line.label or None, **line.style)
            continue
        drawn = axes.plot(line.x, line.y, **line.style)
        if line.label:
            drawn[0].set_label(line.label)
        if line.spread is not None:
            axes.fill_between(line.x, *line.spread, color=drawn[0].get_color(), alpha=0.2, linewidth=0)
    axes.set(xlabel=panel.xlabel, ylabel=panel.ylabel, yscale=panel.yscale, xscale=panel.xscale, ylim=panel.ylim)
    axes.set_title(panel.title, fontsize=11)
    if panel.xticks:
        axes.set_xticks(range(len(panel.xticks)), panel.xticks)
    for axis, scale in ((axes.xaxis, panel.xscale), (axes.yaxis, panel.yscale)):
        if scale == "linear" and not (panel.xticks and axis is axes.xaxis):
            whole = axis is axes.xaxis and all(_whole(line.x) for line in panel.lines)
            _linear_ticks(axis, whole)
        if scale == "log":
            _log_ticks(axis)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if any(line.label for line in panel.lines):
        axes.legend(fontsize=9, frameon=False)


def _whole(values: ArrayLike) -> bool:
    return bool(np.all(np.mod(np.asarray(values, dtype=np.float64), 1) == 0))


def _linear_ticks(axis: Axis, whole: bool) -> None:
    """Numbers in full while they are short; no half steps of what is counted."""
    from matplotlib import ticker

    largest = max(map(abs, axis.get_view_interval()))
    if largest < 1e-3 or largest >= 1e5:  # as 1.5e+06: fewer of them, which are long
        axis.set_major_locator(ticker.MaxNLocator(4, integer=whole))
        axis.set_major_formatter("{x:.4g}")
        return
    if whole:
        axis.set_major_locator(ticker.MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    axis.set_major_formatter("{x:,.10g}")


def _log_ticks(axis: Axis) -> None:
    """Plain numbers where the axis spans less than two powers of ten: of these there would be two labels at most."""
    from matplotlib import ticker

    least, most = axis.get_view_interval()
    if most < 100 * least:
        axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(ticker.NullFormatter())


def _whiskers(axes: Axes, line: Line) -> None:
    """Error bars; over bars in ink, which would else hide them."""
    assert line.whiskers is not None
    middle, (low, high) = np.asarray(line.y), map(np.asarray, line.whiskers)
    color = "#000000" if line.bars is not None else line.style.get("color", "#000000")
    ends = np.maximum([middle - low, high - middle], 0)
    axes.errorbar(line.x, middle, ends, fmt="none", ecolor=color, elinewidth=1.2, capsize=2.5, zorder=3)


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
        Its suffix says the format (.png, .pdf, .svg). The file appears whole or not at all.
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
    _save(figure, path)
