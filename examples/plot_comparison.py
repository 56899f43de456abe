"""Compare all networks on your matrix
===================================

`dmc.compare` trains each kind of network on one matrix and draws the error on held-out entries by steps and by
seconds. Networks of three layers stop at the noise whatever their width; the compressed one takes as many steps as
the full-width one, in a fraction of the time. Two factors over-fit. `MatrixCompletion`, which searches for the rank
itself, is one point: its end.

The matrix here is planted: 150 × 120, rank 4, with noise, a third of it observed. The networks are given a rank bound
of 8, `MatrixCompletion` none.
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
    found.figure(path, theme="both")
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
