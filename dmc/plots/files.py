"""Figures into files, for light and dark pages, and into HTML pages."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmc import _checks
from dmc._whole_file import whole_file
from dmc.plots import layout
from dmc.plots.description import Panel, Picture
from dmc.plots.theme import DARK, LIGHT, Theme

Ground = Literal["light", "dark", "both"]
_DRAWN = {"light": [("", LIGHT)], "dark": [("", DARK)], "both": [("", LIGHT), ("-dark", DARK)]}


def panels(
    diagrams: Sequence[Panel | Picture],
    path: str | os.PathLike[str],
    columns: int | None = None,
    *,
    theme: Ground = "light",
) -> None:
    """Draw diagrams side by side into a file.

    Panels that share the labels of their lines have one legend together; others have theirs below the panel. No legend
    covers data.

    Parameters
    ----------
    diagrams : sequence of Panel or Picture
        Row by row.
    path : path
        Its suffix decides the format (.png, .pdf, .svg). The file appears whole or not at all.
    columns : int, optional
        Diagrams in a row; by default two.
    theme : {"light", "dark", "both"}
        The background it is for. "both" draws two files: figure.png and figure-dark.png.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there is no diagram, `columns` is below 1, or there is no such theme.

    Examples
    --------
    >>> import os, tempfile
    >>> from dmc import plots
    >>> falling = plots.Line([0, 1, 2], [1, 0.1, 0.01], "compressed", plots.style("compressed"))
    >>> panel = plots.Panel("The error falls tenfold a step", "step", "relative error", [falling], yscale="log")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plots.panels([panel], os.path.join(folder, "error.png"), theme="both")
    ...     print(sorted(os.listdir(folder)))
    ['error-dark.png', 'error.png']
    """
    _checks.choice(theme, "theme", tuple(_DRAWN))
    if not diagrams:
        raise ValueError("there is nothing to draw; give at least one panel or picture")
    if columns is not None:
        columns = _checks.integer(columns, "columns", 1)
    stem, suffix = os.path.splitext(os.fspath(path))
    for ending, of in _DRAWN[theme]:
        with _in_force(of):
            _save(layout.arranged(diagrams, columns, of), f"{stem}{ending}{suffix}")


def pictures(
    images: Mapping[str, ArrayLike], path: str | os.PathLike[str], columns: int = 2, *, theme: Ground = "light"
) -> None:
    """Draw images into a file, side by side, each below its title.

    Parameters
    ----------
    images : dict
        From titles to (rows, columns, 3) colours from 0 to 1; values outside are clipped.
    path : path
        Its suffix decides the format (.png, .pdf, .svg). The file appears whole or not at all.
    columns : int
        Images in a row.
    theme : {"light", "dark", "both"}
        As in `panels`.

    Raises
    ------
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from dmc import plots
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plots.pictures({"black": np.zeros((4, 6, 3)), "white": np.ones((4, 6, 3))}, os.path.join(folder, "two.png"))
    ...     print(os.listdir(folder))
    ['two.png']
    """
    panels([Picture(title, image) for title, image in images.items()], path, columns, theme=theme)


def restoration(
    original: NDArray[np.float64],
    mask: NDArray[np.bool_],
    restored: NDArray[np.float64],
    path: str | os.PathLike[str],
    notes: tuple[str, str] = ("", ""),
    *,
    theme: Ground = "light",
) -> None:
    """Draw the observed pixels of a photograph, its restoration, and the original, side by side, into a file.

    Parameters
    ----------
    original : (rows, columns, 3) float array
        Colours from 0 to 1.
    mask : (rows, columns) bool
        True where a pixel was observed; the others are drawn black.
    restored : (rows, columns, 3) float array
        Colours from 0 to 1.
    path : path
        Its suffix decides the format (.png, .pdf, .svg). The file appears whole or not at all.
    notes : (str, str)
        Shown under "Observed" and under "Restored".
    theme : {"light", "dark", "both"}
        As in `panels`.

    Raises
    ------
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from dmc import plots
    >>> image, mask = np.full((4, 6, 3), 0.5), np.eye(4, 6, dtype=bool)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plots.restoration(image, mask, image, os.path.join(folder, "photograph.png"))
    ...     print(os.listdir(folder))
    ['photograph.png']
    """
    observed = f"Observed: {100 * mask.mean():.0f} % of the pixels"
    three = [
        Picture(observed, original * mask[..., None], notes[0]),
        Picture("Restored", restored, notes[1]),
        Picture("Original", original),
    ]
    panels(three, path, 3, theme=theme)


def svg(panel: Panel, name: str, alt: str) -> str:
    """A diagram as an <svg> element to stand inside an HTML page: see-through, with text as text.

    Colours are CSS variables of the page, --ink, --soft, --rule and --first to --sixth, so that one drawing is right on
    light and on dark ground.

    Parameters
    ----------
    panel : Panel
    name : str
        Another one for each diagram of a page: ids begin with it.
    alt : str
        What is seen, for those who cannot see it.

    Returns
    -------
    str

    Raises
    ------
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> from dmc import plots
    >>> panel = plots.Panel("", "step", "error", [plots.Line([0, 1], [1, 0], style={"color": "first"})])
    >>> drawn = plots.svg(panel, "error", "the error falls")
    >>> drawn[:51], "var(--first, #0072b2)" in drawn
    ('<svg role="img" aria-label="the error falls" viewBo', True)
    """
    drawn = io.StringIO()
    with _in_force(LIGHT, {"svg.fonttype": "none", "svg.hashsalt": name}):
        figure = layout.arranged([panel], 1, LIGHT, width=4.8)
        for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
            patch.set_visible(False)
        figure.savefig(drawn, format="svg")
    text = drawn.getvalue()
    inside = text[text.index(">", text.index("<svg")) + 1 :]
    # What a file needs and a page does not: who made it, addresses of standards, a style for all that is around.
    inside = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", inside, flags=re.DOTALL)
    inside = inside.replace("xlink:href", "href")
    inside = re.sub(r'\bid="|(?<=href=")#|(?<=url\()#', lambda found: f"{found[0]}{name}-", inside)
    for role, color in LIGHT.roles.items():
        inside = inside.replace(color, f"var(--{role}, {color})")
    width, height = (72 * inches for inches in figure.get_size_inches())
    return f'<svg role="img" aria-label="{escape(alt)}" viewBox="0 0 {width:g} {height:g}">{inside.strip()}'


@contextmanager
def _in_force(theme: Theme, settings: Mapping[str, Any] | None = None) -> Iterator[None]:
    """matplotlib's settings for a figure, and afterwards those of before."""
    try:
        import matplotlib
        import matplotlib.figure
    except ImportError:
        raise ImportError("figures need matplotlib, which is not installed; run: pip install 'dmc[plot]'") from None
    everything: Any = {"svg.hashsalt": "dmc", **theme.settings(), **(settings or {})}
    with matplotlib.rc_context(everything):
        yield


def _save(figure: Any, path: str) -> None:
    """Into a file that appears whole or not at all, and is the same whenever it is drawn: without dates or chance."""
    suffix = os.path.splitext(path)[1][1:].lower()
    of_format = {"pdf": "CreationDate", "svg": "Date"}.get(suffix)
    drawn = io.BytesIO()  # matplotlib's own words for a full disk have no number
    figure.savefig(drawn, format=suffix or "png", metadata=None if of_format is None else {of_format: None})
    with whole_file(path if suffix else f"{path}.png") as file:
        file.write(drawn.getbuffer())
