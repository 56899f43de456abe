"""One's own matrix, all ways: `dmc.compare` draws held-out error by steps and by seconds.

Here a planted 150×120 matrix of rank 4 with noise, of which a third was observed; the networks are told that the rank
is at most 8. Three layers of any width stop at the noise, two over-fit, and `MatrixCompletion` is told nothing.
"""

import sys
import warnings
from pathlib import Path

import dmc


def main(folder: str = ".", max_steps: int = 2500) -> Path:
    planted = dmc.datasets.planted((150, 120), rank=4, observed=1 / 3, noise=0.05)
    with warnings.catch_warnings():  # that the networks, which go on to fit the noise, have not converged
        warnings.simplefilter("ignore", UserWarning)
        found = dmc.compare(planted, rank=8, max_steps=max_steps)
    print(found)
    path = Path(folder) / "comparison.png"
    found.figure(path)
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
