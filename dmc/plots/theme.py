"""Colours by role, for light and for dark ground.

The six series colours follow M. Okabe and K. Ito, "Color Universal Design" (2008), darkened for light ground and
lightened for dark ground until each contrasts at least 3:1 with it (WCAG 2.2, criterion 1.4.11). Simulated protanopia,
deuteranopia and tritanopia leave every pair apart (tests/plots/test_theme.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Roles: what a description says in place of a colour.
INK, SOFT = "ink", "soft"
FIRST, SECOND, THIRD, FOURTH, FIFTH, SIXTH = COLORS = ("first", "second", "third", "fourth", "fifth", "sixth")
_COLORED = ("color", "markerfacecolor", "markeredgecolor", "edgecolor", "facecolor", "ecolor")


@dataclass(frozen=True)
class Theme:
    """The colours of a figure, as ``#rrggbb``.

    Parameters
    ----------
    name : str
        "light" or "dark".
    ground : str
        Behind everything.
    ink : str
        Text, axes and whatever is drawn in "ink".
    soft : str
        Notes, thresholds and other secondary things.
    rule : str
        Grid lines.
    series : tuple of str
        What "first" to "sixth" are drawn in.

    Examples
    --------
    >>> from dmc import plots
    >>> plots.LIGHT.color("first"), plots.DARK.color("first"), plots.DARK.color("#123456")
    ('#0072b2', '#4aa8e8', '#123456')
    """

    name: str
    ground: str
    ink: str
    soft: str
    rule: str
    series: tuple[str, ...]

    @property
    def roles(self) -> dict[str, str]:
        """From the name of each role to its colour."""
        return {INK: self.ink, SOFT: self.soft, "rule": self.rule, **dict(zip(COLORS, self.series, strict=True))}

    def color(self, name: str) -> str:
        """The colour of a role; any other colour as it is."""
        return self.roles.get(name, name)

    def resolved(self, style: Mapping[str, Any]) -> dict[str, Any]:
        """A style with colours in place of roles."""
        return {key: self.color(value) if key in _COLORED else value for key, value in style.items()}

    def settings(self) -> dict[str, Any]:
        """What matplotlib's rc parameters are while a figure is drawn."""
        inks = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
        return {
            **dict.fromkeys(inks, self.ink),
            **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), self.ground),
            "grid.color": self.rule,
            "grid.linewidth": 0.6,
            "axes.linewidth": 0.7,
            "font.size": 9,
            "axes.labelsize": 9,
            "xtick.labelsize": 8.5,
            "ytick.labelsize": 8.5,
            "legend.fontsize": 8.5,
        }


LIGHT = Theme(
    name="light",
    ground="#ffffff",
    ink="#1f2328",
    soft="#6a737d",
    rule="#dfe3e8",
    series=("#0072b2", "#d04a02", "#00926a", "#a3327f", "#5a4000", "#c28b00"),
)
DARK = Theme(
    name="dark",
    ground="#14181d",
    ink="#e6edf3",
    soft="#9aa4af",
    rule="#343b44",
    series=("#4aa8e8", "#f08040", "#2fbf92", "#e58fcb", "#f2e58a", "#a87c0a"),
)
