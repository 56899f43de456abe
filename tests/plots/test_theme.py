"""Every colour contrasts with its ground, and stays apart from the others for colour-blind readers."""

from itertools import combinations

import numpy as np
import pytest

from dmc.plots.theme import COLORS, DARK, INK, LIGHT, SOFT, Theme

THEMES = pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
# G. Machado, M. Oliveira, L. Fernandes, "A physiologically-based model for simulation of color vision deficiency",
# IEEE TVCG 15 (2009): linear RGB, severity 1.
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
APART = 10  # ΔE*ab: about four times what side by side can just be told apart


def linear(color: str) -> np.ndarray:
    """Linear RGB of an sRGB colour (IEC 61966-2-1)."""
    c = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """By WCAG 2.2."""
    low, high = sorted(float(linear(color) @ [0.2126, 0.7152, 0.0722]) for color in (one, other))
    return (high + 0.05) / (low + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = (to_xyz @ np.clip(rgb, 0, 1)) / [0.9505, 1, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)  # the example everybody quotes


@THEMES
def test_lines_and_text_contrast_with_the_ground(theme: Theme) -> None:
    assert min(contrast(theme.color(role), theme.ground) for role in COLORS) >= 3
    assert min(contrast(theme.color(role), theme.ground) for role in (INK, SOFT)) >= 4.5


@THEMES
@pytest.mark.parametrize("vision", VISION)
def test_series_are_told_apart(theme: Theme, vision: str) -> None:
    seen = {role: lab(np.asarray(VISION[vision]) @ linear(theme.color(role))) for role in COLORS}
    near = {(a, b): np.linalg.norm(seen[a] - seen[b]) for a, b in combinations(seen, 2)}
    assert min(near.values()) >= APART, min(near, key=near.__getitem__)


def test_roles_become_colours_and_all_else_stays() -> None:
    style = {"color": "first", "markerfacecolor": "#123456", "label": "first", "linewidth": 2}
    assert DARK.resolved(style) == style | {"color": DARK.series[0]}
    assert len({*LIGHT.roles.values()}) == len(LIGHT.roles)  # which an SVG takes apart by
