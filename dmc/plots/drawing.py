"""A description onto matplotlib's axes: lines, bars, bands, thresholds, images, ticks. Titles and legends: layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from dmc.plots.description import Line, Panel, Picture, Threshold
from dmc.plots.theme import INK, SOFT, Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis


def draw(axes: Axes, diagram: Panel | Picture, theme: Theme) -> None:
    """Everything of a diagram but its title, its note and its legend."""
    if isinstance(diagram, Picture):
        axes.imshow(np.clip(np.asarray(diagram.image), 0, 1), interpolation="nearest")
        axes.set_axis_off()
        return
    for line in diagram.lines:
        _line(axes, line, theme)
    axes.set(xlabel=diagram.xlabel, ylabel=diagram.ylabel, yscale=diagram.yscale, xscale=diagram.xscale)
    for threshold in diagram.thresholds:
        _threshold(axes, threshold, theme)
    for limits, limit in ((diagram.ylim, axes.set_ylim), (diagram.xlim, axes.set_xlim)):
        if limits != (None, None):  # which would fix those of the moment
            limit(*limits)
    _ticks(axes, diagram)
    axes.grid(True)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _line(axes: Axes, line: Line, theme: Theme) -> None:
    style = theme.resolved(line.style)
    if line.whiskers is not None:
        _whiskers(axes, line, theme)
    if line.bars is not None:
        axes.bar(line.x, line.y, line.bars, label=line.label or None, **style)
        return
    drawn = axes.plot(line.x, line.y, **style)
    if line.label:
        drawn[0].set_label(line.label)
    if line.spread is not None:
        axes.fill_between(line.x, *line.spread, color=drawn[0].get_color(), alpha=0.2, linewidth=0)


def _whiskers(axes: Axes, line: Line, theme: Theme) -> None:
    """Error bars; over bars in ink, which would else hide them."""
    assert line.whiskers is not None
    middle, (low, high) = np.asarray(line.y), map(np.asarray, line.whiskers)
    color = theme.color(line.style.get("color", INK) if line.bars is None else INK)
    ends = np.maximum([middle - low, high - middle], 0)
    bars, alpha = line.bars is not None, line.style.get("alpha", 1)
    width, caps, order = (1.2, 2.5, 3) if bars else (1, 0, 1.5)
    axes.errorbar(
        line.x, middle, ends, fmt="none", ecolor=color, elinewidth=width, capsize=caps, zorder=order, alpha=alpha
    )


def _threshold(axes: Axes, threshold: Threshold, theme: Theme) -> None:
    """Dashed, across; the label stands on its line, inside the axes, on ground of its own."""
    soft = theme.color(SOFT)
    style: dict[str, Any] = {"color": soft, "linewidth": 1, "linestyle": (0, (4, 3)), "zorder": 1.8}
    ground = {"facecolor": theme.ground, "edgecolor": "none", "alpha": 0.85, "pad": 0.8}
    side = "left" if threshold.at < 0.34 else "right" if threshold.at > 0.66 else "center"
    text: dict[str, Any] = {"fontsize": 8, "color": soft, "bbox": ground, "zorder": 2.5}
    text |= {"textcoords": "offset points", "annotation_clip": True}  # not where its line is out of sight
    if threshold.axis == "y":
        axes.axhline(threshold.value, **style)
        text |= {"xycoords": axes.get_yaxis_transform(), "ha": side, "va": "bottom"}
        label = axes.annotate(threshold.label, (threshold.at, threshold.value), (0, 2.5), **text)
    else:
        upright = {"left": "bottom", "right": "top"}.get(side, "center")
        axes.axvline(threshold.value, **style)
        text |= {"xycoords": axes.get_xaxis_transform(), "ha": "left", "va": upright, "rotation": 90}
        label = axes.annotate(threshold.label, (threshold.value, threshold.at), (2.5, 0), **text)
    label.set_in_layout(False)  # it is inside


def _ticks(axes: Axes, panel: Panel) -> None:
    if panel.xticks:
        axes.set_xticks(range(len(panel.xticks)), panel.xticks)
        axes.tick_params(axis="x", length=0)
    for axis, scale in ((axes.xaxis, panel.xscale), (axes.yaxis, panel.yscale)):
        if scale == "linear" and not (panel.xticks and axis is axes.xaxis):
            whole = axis is axes.xaxis and all(_whole(line.x) for line in panel.lines)
            _linear_ticks(axis, 5 if axis is axes.xaxis else 6, whole)
        if scale == "log":
            _log_ticks(axis)


def _whole(values: ArrayLike) -> bool:
    return bool(np.all(np.mod(np.asarray(values, dtype=np.float64), 1) == 0))


def _linear_ticks(axis: Axis, most: int, whole: bool) -> None:
    """Numbers in full while they are short; no half steps of what is counted."""
    from matplotlib import ticker

    largest = max(map(abs, axis.get_view_interval()))
    if largest < 1e-3 or largest >= 1e5:  # as 1.5e+06: fewer of them, which are long
        axis.set_major_locator(ticker.MaxNLocator(4, integer=whole))
        axis.set_major_formatter("{x:.4g}")
        return
    axis.set_major_locator(ticker.MaxNLocator(most, steps=[1, 2, 2.5, 5, 10], integer=whole))
    axis.set_major_formatter("{x:,.10g}")


def _log_ticks(axis: Axis) -> None:
    """Plain numbers where the axis spans less than two powers of ten: of these there would be two labels at most."""
    from matplotlib import ticker

    least, most = axis.get_view_interval()
    if most < 100 * least:
        axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:,g}")
        axis.set_minor_formatter(ticker.NullFormatter())
