"""Passengers of a metro: days without any counts
==============================================

Counts of passengers at stations × days × times of day, 40 % of them missing. The first panel shows a station on a day
of which nothing was seen: the counts, and what `dmc.TensorCompletion` fills in. The second shows the error of
held-out entries for each axis as the tube and for each unfolding, which is what `tube="auto"` compares.

Counts spread over three orders of magnitude, so their square roots are completed.
"""

import os
import sys
import warnings
from pathlib import Path

import numpy as np

import dmc
from dmc import plots


def passengers() -> np.ndarray:
    """(stations, days, times) of Hangzhou's metro, as in Chen & Sun's transdim; where it is not at hand, made up."""
    from scipy.io import loadmat

    folder = Path(os.environ.get("DMC_DATA", Path(__file__).parents[2] / "shared" / "data"))
    file = folder / "tensors" / "hangzhou_metro.mat"
    if file.is_file():
        return np.asarray(loadmat(file)["tensor"], float)
    rng, hours = np.random.default_rng(0), np.linspace(6, 24, 108)
    peaks = [np.exp(-(((hours - peak) / width) ** 2)) for peak, width in ((8, 1), (18, 1.5), (14, 5))]
    size = 300 * rng.random((80, 3)) @ np.diag([1, 0.8, 0.4])
    week = np.array([[1, 1, 1, 1, 1, 0.3, 0.2], [1, 1, 1, 1, 1, 0.6, 0.4], [0.8, 0.8, 0.8, 0.8, 1, 1.3, 1.2]])
    return rng.poisson(np.einsum("sp,pd,pt->sdt", size, np.tile(week, 4)[:, :25], peaks)).astype(float)


def main(folder: str = ".", stations: int = 80, missing: float = 0.4) -> Path:
    counts = passengers()[:stations]
    n_stations, n_days, n_times = counts.shape
    rng = np.random.default_rng(0)
    days = np.repeat((rng.random((n_stations, n_days)) >= missing)[:, :, None], n_times, 2)
    entries = rng.random(counts.shape) >= missing
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the stations' days that are wholly missing, which is meant so
        by_days = dmc.TensorCompletion(tube=2, min_value=0).fit(np.sqrt(counts), mask=days)
        judged = dmc.TensorCompletion(min_value=0).fit(np.sqrt(counts), mask=entries)
    filled = by_days.complete() ** 2
    station, day = _typical(counts, filled, days)
    hours = 24 * np.arange(n_times) / n_times
    names = list(judged.candidate_errors_)
    errors = np.array([judged.candidate_errors_[name] for name in names])
    path = Path(folder) / "metro_passengers.png"
    plots.panels(
        [
            plots.Panel(
                f"Station {station} on day {day}, all of it missing",
                "time of the day of service, in 24ths",
                "passengers in ten minutes",
                [
                    plots.Line(hours, counts[station, day], "counted", {"color": plots.SOFT, "linewidth": 1}),
                    plots.Line(hours, filled[station, day], "filled in", {"color": plots.FIRST, "linewidth": 2}),
                ],
                ylim=(0, None),
                note=f"{n_stations} stations, {n_days} days; {100 * missing:.0f} % of the days missing",
                wide=True,
            ),
            plots.Panel(
                "Held-out entries choose the axis",
                "axis of the tube, or of the unfolding's columns",
                "error of held-out square roots, rms",
                [plots.Line(np.arange(len(names)), errors, "", {"color": plots.FIRST}, bars=0.6)],
                ylim=(0, None),
                xticks=[name.replace(" ", "\n") for name in names],
                note=f"{100 * missing:.0f} % of the entries missing",
                wide=True,
            ),
        ],
        path,
        theme="both",
    )
    return path


def _typical(counts: np.ndarray, filled: np.ndarray, seen: np.ndarray) -> tuple[int, int]:
    """The missing station's day of median relative error, among the busier half."""
    size = np.sqrt(np.mean(counts**2, axis=2))
    off = np.sqrt(np.mean((filled - counts) ** 2, axis=2)) / np.maximum(size, 1)
    at = np.argwhere(~seen[:, :, 0] & (size >= np.median(size)))
    order = np.argsort(off[tuple(at.T)])
    station, day = at[order[len(order) // 2]]
    return int(station), int(day)


if __name__ == "__main__":
    main(*sys.argv[1:])
