"""Figures as files: what they show, in which format, and the twins for light and dark pages; inside a page."""

import re
import subprocess
import sys
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib import image as images

from dmc import plots


def three_panels(pixels: np.ndarray) -> list[np.ndarray]:
    """The three pictures of the figure, cut out at the first and last line that hold anything but white."""
    ink = (pixels[..., :3] < 0.999).any(axis=2)
    middle = ink[int(0.6 * len(ink))]  # below the titles, every picture is hit
    edges = np.flatnonzero(np.diff(np.concatenate([[False], middle, [False]]).astype(int)))
    spans = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a > 50]
    panels = []
    for a, b in spans:
        rows = np.flatnonzero(ink[:, a:b].all(axis=1))
        panels.append(pixels[rows[0] : rows[-1] + 1, a:b, :3])
    return panels


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (30, 30)])
def test_restoration_shows_what_was_observed_what_was_made_of_it_and_the_original(shape, tmp_path):
    original = np.broadcast_to([0.2, 0.6, 0.9], (*shape, 3))
    restored = np.broadcast_to([1.7, -0.5, 0.5], (*shape, 3))  # out of the range of colours: clipped, not wrapped
    mask = np.zeros(shape, bool)
    mask[:, : shape[1] // 2] = True
    path = tmp_path / "figure.png"
    plots.restoration(original, mask, restored, path, ("5.0 dB", "50.0 dB"))
    pixels = images.imread(path)
    panels = three_panels(pixels)
    assert len(panels) == 3
    for panel in panels:
        height, width = panel.shape[:2]
        assert height / width == pytest.approx(shape[0] / shape[1], rel=0.05)
    seen, made, whole = panels
    half = seen.shape[1] // 2
    np.testing.assert_allclose(np.median(seen[:, : half - 5], axis=(0, 1)), [0.2, 0.6, 0.9], atol=0.01)
    np.testing.assert_allclose(np.median(seen[:, half + 5 :], axis=(0, 1)), [0, 0, 0], atol=0.01)
    np.testing.assert_allclose(np.median(made, axis=(0, 1)), [1, 0, 0.5], atol=0.01)
    np.testing.assert_allclose(np.median(whole, axis=(0, 1)), [0.2, 0.6, 0.9], atol=0.01)
    titles = pixels[: int(0.1 * len(pixels)), :, :3]
    assert (titles < 0.5).any()


def test_pictures_stand_beside_each_other_in_their_colours(tmp_path):
    colours = {"red": (0.9, 0.1, 0.1), "green": (0.2, 1.7, -0.4), "blue": (0.0, 0.0, 0.5)}
    plots.pictures({name: np.broadcast_to(c, (30, 40, 3)) for name, c in colours.items()}, tmp_path / "figure.png")
    pixels = images.imread(tmp_path / "figure.png")[..., :3]
    m, n = (length // 2 for length in pixels.shape[:2])
    quarters = pixels[:m, :n], pixels[:m, n:], pixels[m:, :n]
    for quarter, colour in zip(quarters, colours.values(), strict=True):
        np.testing.assert_allclose(quarter[m // 2, n // 2], np.clip(colour, 0, 1), atol=0.01)
    assert (pixels[m:, n:] == 1).all()  # the fourth place is empty


def test_panels_draw_each_line_with_its_name_and_colour(tmp_path):
    """Read from the SVG, which names its texts in comments and its colours in styles."""
    n = np.arange(1, 50)
    falling = plots.Line(n, 10.0 ** -(n / 10), "ours", {"color": "#12ab34"}, (10.0 ** -(n / 9), 10.0 ** -(n / 11)))
    bundle = plots.Line(n, np.stack([n, 2 * n, 3 * n], axis=1), "theirs", {"color": "#ab1234"})
    nameless = plots.Line(n, n, style={"color": "#1234ab"})
    path = tmp_path / "figure.svg"
    plots.panels(
        [
            plots.Panel("error falls", "step", "error (relative)", [falling], yscale="log"),
            plots.Panel("bundles", "step", "size", [bundle, nameless], ylim=(0, 100)),
        ],
        path,
    )
    drawn = path.read_text()
    for text in ("error falls", "bundles", "error (relative)", "size", "ours", "theirs"):
        assert drawn.count(f"<!-- {text} -->") == 1
    assert drawn.count("<!-- step -->") == 2
    assert r"10^{-4}" in drawn  # a logarithmic axis
    assert drawn.count("stroke: #ab1234") == 4  # three lines and one in the legend
    assert drawn.count("stroke: #1234ab") == 1
    assert "fill: #12ab34; fill-opacity: 0.2" in drawn  # the spread


def test_an_svg_for_a_page_brings_text_and_colours_of_the_page_and_nothing_of_the_world():
    bars = plots.Line([0, 1, 2], [1, 2, 3], "ours", {"color": plots.FIRST}, bars=0.5)
    line = plots.Line([0, 1, 2], [3, 2, 1], "theirs", {"color": plots.SECOND, "marker": "o"})
    panel = plots.Panel("", "group", "error", [bars, line], xticks=("few", "some", "many"))
    drawn = plots.svg(panel, "one", 'a "quoted" <text>')
    root = ElementTree.fromstring(drawn)
    assert root.attrib["aria-label"] == 'a "quoted" <text>'
    assert root.attrib["role"] == "img"
    texts = [element.text for element in root.iter("text")]
    assert {"group", "error", "ours", "theirs", "few", "some", "many"} <= set(texts)
    assert drawn.count("fill: var(--first, #0072b2)") == 4  # three bars and one in the legend
    assert "stroke: var(--second, #d04a02)" in drawn
    assert "http" not in drawn
    assert "<style" not in drawn
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert all(id.startswith("one-") for id in ids)
    named = re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', drawn)
    assert named
    assert {a or b for a, b in named} <= set(ids)
    widths = [
        max(xs) - min(xs)
        for path in root.iter("path")
        if "--first" in path.attrib.get("style", "") and "clip-path" in path.attrib
        for xs in [[float(x) for x in re.findall(r"[ML] (\S+)", path.attrib["d"])]]
    ]
    places = [float(t.attrib["x"]) for t in root.iter("text") if t.text in ("few", "some")]
    np.testing.assert_allclose(widths, 0.5 * (places[1] - places[0]), rtol=1e-3)
    assert plots.svg(panel, "one", 'a "quoted" <text>') == drawn


def test_drawing_for_a_page_leaves_the_settings_of_matplotlib_as_they_were():
    before = dict(matplotlib.rcParams)
    plots.svg(plots.Panel("", "x", "y", [plots.Line([0, 1], [0, 1])]), "one", "a line")
    assert dict(matplotlib.rcParams) == before


def test_the_suffix_says_the_format(tmp_path):
    picture = np.full((8, 9, 3), 0.5)
    for suffix, magic in {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}.items():
        plots.restoration(picture, np.ones((8, 9), bool), picture, tmp_path / f"figure.{suffix}")
        assert (tmp_path / f"figure.{suffix}").read_bytes().startswith(magic)


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg", "PNG"])
def test_a_figure_is_the_same_whenever_it_is_drawn(suffix, tmp_path, monkeypatch):
    line = plots.Line([0, 1, 2], [1, 2, 3], "line", spread=([0, 1, 2], [2, 3, 4]))
    drawn = []
    for day in ("0", "86400"):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", day)  # by which matplotlib would date it
        plots.panels([plots.Panel("title", "x", "y", [line])], tmp_path / f"figure.{suffix}")
        drawn.append((tmp_path / f"figure.{suffix}").read_bytes())
    assert drawn[0] == drawn[1]
    assert [path.name for path in tmp_path.iterdir()] == [f"figure.{suffix}"]


def test_a_name_without_a_suffix_gets_one(tmp_path):
    plots.panels([plots.Panel("title", "x", "y", [plots.Line([0, 1], [0, 1])])], tmp_path / "figure")
    assert images.imread(tmp_path / "figure.png").ndim == 3


def test_no_global_state_of_matplotlib_is_touched(tmp_path):
    """pyplot would choose a window system for the host program and keep the figure alive."""
    code = (
        "import sys, numpy, dmc; p = numpy.ones((8, 9, 3));"
        "dmc.plots.restoration(p, p[..., 0] > 0, p, sys.argv[1]); print('matplotlib.pyplot' in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "figure.png")], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "False"


def test_without_matplotlib(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # as if it were not installed
    picture = np.ones((8, 9, 3))
    with pytest.raises(ImportError, match=r"matplotlib, which is not installed; run: pip install 'dmc\[plot\]'"):
        plots.restoration(picture, picture[..., 0] > 0, picture, tmp_path / "figure.png")
    assert not list(tmp_path.iterdir())


def test_twins_differ_in_nothing_but_their_colours(tmp_path):
    panel = plots.Panel("title", "x", "y", [plots.Line([0, 1], [0, 1], "line", plots.style("compressed"))])
    plots.panels([panel], tmp_path / "figure.png", theme="both")
    plots.panels([panel], tmp_path / "alone.png", theme="dark")
    light, dark, alone = (images.imread(tmp_path / f"{name}.png") for name in ("figure", "figure-dark", "alone"))
    assert light.shape == dark.shape
    np.testing.assert_array_equal(dark, alone)
    np.testing.assert_allclose(light[0, 0, :3], 1)
    np.testing.assert_allclose(255 * dark[0, 0, :3], [0x14, 0x18, 0x1D], atol=0.5)
    with pytest.raises(ValueError, match="theme is 'dim'; choose one of 'light', 'dark', 'both'"):
        plots.panels([panel], tmp_path / "figure.png", theme="dim")


@pytest.mark.parametrize(
    ("diagrams", "settings", "message"),
    [
        (0, {}, "nothing to draw"),
        (1, {"columns": 0}, "columns is 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path, diagrams, settings, message):
    panel = plots.Panel("title", "x", "y", [plots.Line([0, 1], [0, 1])])
    with pytest.raises(ValueError, match=message):
        plots.panels([panel] * diagrams, tmp_path / "figure.png", **settings)
    assert not list(tmp_path.iterdir())
