"""Which contender is drawn how: the one table of it, for every figure of the library, its benches and its gallery."""

from __future__ import annotations

from typing import Any

from dmc.plots.theme import FIFTH, FIRST, FOURTH, INK, SECOND, SIXTH, SOFT, THIRD

Style = dict[str, Any]


def _of(color: str, marker: str, dashes: Any = "-", width: float = 1.6) -> Style:
    return {"color": color, "marker": marker, "linestyle": dashes, "linewidth": width, "markersize": 4.5}


_OURS = _of(FIRST, "o", width=2.2)
_REFERENCE = _of(SOFT, "", ":", 1.4)
DOTS, DASHES, DASH_DOTS = (0, (1, 1.4)), (0, (5, 2)), (0, (5, 1.5, 1, 1.5))

# Contenders that no figure shows together may share a colour; the library's estimators are "first" wherever they stand.
STYLES: dict[str, Style] = {
    # The library, and what anything is measured against.
    "MatrixCompletion": _OURS,
    "TensorCompletion": _OURS,
    "Recommender": _OURS,
    "mean": _REFERENCE,
    # Networks by width.
    "full width": _of(INK, "", width=4.5) | {"alpha": 0.35},
    "compressed": _of(THIRD, "s"),
    "narrow": _of(SECOND, "^"),
    "two-factor": _of(FOURTH, "D"),
    # Compressed networks by the rate of their outer factors; "compressed" is the rate at which they follow.
    "compressed, γ = 0": _of(FIFTH, "v", DOTS),
    "compressed, γ = .001": _of(FOURTH, "D", DASH_DOTS),
    "compressed, γ = .01": _of(SIXTH, "P", DASHES),
    "compressed, γ = 1": _of(SECOND, "x", DASHES, 1.1),
    # Networks by depth.
    "0 cores": _of(FOURTH, "D", DASH_DOTS),
    "2 cores": _of(SECOND, "^", DASHES),
    "3 cores": _of(FIRST, "o"),
    "2 layers": _of(SECOND, "^", DASHES),
    "3 layers": _of(FIRST, "o"),
    "4 layers": _of(THIRD, "s", DASH_DOTS),
    "5 layers": _of(FOURTH, "D", DASHES),
    "7 layers": _of(SIXTH, "v", DOTS),
    # Matrix completion elsewhere.
    "Gauss–Newton as in GNMR": _of(SECOND, "s"),
    "R2RILS": _of(THIRD, "^", DASHES),
    "ScaledGD": _of(FOURTH, "v", DASH_DOTS),
    "MatrixIRLS": _of(INK, "x", DOTS),
    # Imputers.
    "KNNImputer": _of(SIXTH, "v"),
    "IterativeImputer": _of(SECOND, "s"),
    "soft-impute, tuned": _of(THIRD, "^"),
    "IterativeImputer, trees": _of(FOURTH, "D"),
    # Recommenders elsewhere.
    "Cornac MF": _of(SECOND, "s"),
    "cmfrec CMF": _of(THIRD, "^"),
    "LensKit ALS": _of(FOURTH, "D"),
    "Surprise SVD": _of(SIXTH, "v"),
    # Adapters.
    "deep": _OURS,
    "deep, β2 = .99": _of(FIFTH, "v", DOTS),
    "LoRA, A normal": _of(SECOND, "s", DASHES),
    "LoRA, as peft": _of(THIRD, "^", DASH_DOTS),
    # Starts, and distances of covariances.
    "orthogonal": _of(FIRST, "o"),
    "normal": _of(SECOND, "s", DASHES),
    "uniform": _of(THIRD, "^", DOTS),
    "Bures–Wasserstein": _of(FIRST, "o"),
    "Frobenius": _of(SECOND, "s"),
    # Amounts of data.
    "few samples": _of(SIXTH, "o"),
    "many samples": _of(FIRST, "s"),
}


def style(contender: str, **changes: Any) -> Style:
    """Return how a contender is drawn, for `Line.style`.

    Parameters
    ----------
    contender : str
        One of `STYLES`.
    **changes : values of matplotlib
        Settings that differ in this figure, such as ``marker=""`` where there are many points.

    Returns
    -------
    dict
        Settings of `Line.style`.

    Raises
    ------
    KeyError
        If it is not in the table.

    Examples
    --------
    >>> from dmc import plots
    >>> plots.style("narrow", marker="")["color"], plots.style("mean")["linestyle"]
    ('second', ':')
    """
    return STYLES[contender] | changes
