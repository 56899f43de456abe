"""All of bench/figures, from bench/results, with nothing measured: each once for light pages and once for dark ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from _library_figures import phase, recommend, roofline, scaling, tables
from _network_figures import against_full, depth, follows_full, narrow, rates, separation, speed
from _training_figures import adapters, network_curves, skip_tuning
from dmc import plots

FOLDER = Path(__file__).parent / "figures"
# What is drawn, and how many panels are in a row.
FIGURES: dict[str, tuple[Callable[[], Sequence[plots.Panel]], int]] = {
    "tables": (tables, 4),
    "recommend": (recommend, 2),
    "roofline": (roofline, 2),
    "phase": (phase, 2),
    "scaling": (scaling, 1),
    "against_full": (against_full, 2),
    "rates": (rates, 1),
    "depth": (depth, 1),
    "adapters": (adapters, 1),
    "follows_full": (follows_full, 2),
    "narrow": (narrow, 2),
    "separation": (separation, 3),
    "speed": (speed, 2),
    "skip_tuning": (skip_tuning, 1),
    "network_curves": (network_curves, 2),
}


def figures() -> None:
    """bench/figures from the recorded results, for light and for dark pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, (panels, columns) in FIGURES.items():
        plots.panels(panels(), FOLDER / f"{name}.png", columns, theme="both")
