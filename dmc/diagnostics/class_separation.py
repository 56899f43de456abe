"""How well classes are separated in features: two of the measures of collapse."""

from __future__ import annotations

from typing import NamedTuple

from numpy.typing import ArrayLike

from dmc.collapse import collapse


class Separation(NamedTuple):
    """How well the classes are separated in a layer's features; from `separation`.

    Parameters
    ----------
    within_to_between : float
        D = tr(Σ_W)/tr(Σ_B): variance within the classes over that between their means; falls from layer to layer.
    nc1 : float
        Within-class collapse, tr(Σ_W Σ_B⁺)/number of classes (Papyan, Han & Donoho, 2020).

    Examples
    --------
    >>> from dmc import diagnostics
    >>> found = diagnostics.separation([[0.0], [2.0], [10.0], [12.0]], ["a", "a", "b", "b"])
    >>> round(found.within_to_between, 6), round(found.nc1, 6)
    (0.04, 0.02)
    """

    within_to_between: float
    nc1: float


def separation(features: ArrayLike, labels: ArrayLike) -> Separation:
    """Measure how well classes are separated in features: two of the measures of `collapse`, with its warnings.

    Parameters
    ----------
    features : (samples, k) array
        One row for each sample.
    labels : (samples,) array of any values
        The class of each row.

    Returns
    -------
    Separation
        Both measures fall as the classes separate.

    Raises
    ------
    ValueError
        If the lengths differ, a feature is not finite, or there are fewer than two classes.

    Examples
    --------
    >>> from dmc import diagnostics
    >>> near = diagnostics.separation([[0.0], [2.0], [3.0], [5.0]], [0, 0, 1, 1])
    >>> far = diagnostics.separation([[0.0], [2.0], [10.0], [12.0]], [0, 0, 1, 1])
    >>> far.within_to_between < near.within_to_between
    True
    """
    found = collapse(features, labels)
    return Separation(found.within_to_between, found.nc1)
