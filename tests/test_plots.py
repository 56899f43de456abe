"""The figure is written, in proportion, and shows what it was given."""

import subprocess
import sys

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


def test_the_suffix_says_the_format(tmp_path):
    picture = np.full((8, 9, 3), 0.5)
    for suffix, magic in {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}.items():
        plots.restoration(picture, np.ones((8, 9), bool), picture, tmp_path / f"figure.{suffix}")
        assert (tmp_path / f"figure.{suffix}").read_bytes().startswith(magic)


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
