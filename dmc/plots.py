"""Figures: the only room that knows matplotlib."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray


def _figure(**settings: Any) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("figures need matplotlib, which is not installed; run: pip install 'dmc[plot]'") from None
    return Figure(layout="constrained", **settings)


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
