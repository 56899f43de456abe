"""A photograph with 70 % of its entries missing
=============================================

Each channel of each pixel of a photograph is missing by itself. The figure shows the photograph, what was seen of it,
and two completions by `dmc.TensorCompletion`: with the colours as the tube, and with the axis that held-out entries
prefer.

Along the colours, which are three entries long, the transform's slices are brightness and hue. The held-out entries
of this picture prefer the axis of its columns: along it neighbours are alike, which low rank does not know.
"""

import sys
import warnings
from pathlib import Path

import numpy as np

import dmc
from dmc import plots


def main(folder: str = ".", block: int = 4, missing: float = 0.7) -> Path:
    from sklearn.datasets import load_sample_image

    whole = load_sample_image("china.jpg").astype(float)
    m, n = (length // block for length in whole.shape[:2])
    image = whole[: m * block, : n * block].reshape(m, block, n, block, 3).mean((1, 3))
    seen = np.random.default_rng(0).random(image.shape) >= missing
    pictures = {"The photograph": image, f"{100 * missing:.0f}\u00a0% missing": np.where(seen, image, 0)}
    for tube, name in ((2, "Along the colours"), ("auto", "Along the best axis")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the pixels without any entry
            model = dmc.TensorCompletion(tube=tube, min_value=0, max_value=255).fit(image, mask=seen)
        found = model.complete()
        off = np.mean((found - image)[~seen] ** 2)
        pictures[f"{name}: {10 * np.log10(255**2 / off):.1f} dB"] = found
    path = Path(folder) / "photograph.png"
    plots.pictures({title: picture / 255 for title, picture in pictures.items()}, path, theme="both")
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
