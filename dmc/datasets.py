"""Data to try things on: planted matrices with a known answer, and a photograph."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc.identifiability import Identifiability
from dmc.observations import Observations

__all__ = [
    "Planted",
    "photograph",
    "planted",
]


class Planted(NamedTuple):
    """A matrix with a known answer, X = A·Bᵀ, and its observed entries.

    Parameters
    ----------
    observations : Observations
        The observed entries.
    A : (rows, rank) float64 array
        Left factor of X.
    B : (columns, rank) float64 array
        Right factor of X.

    Examples
    --------
    >>> import dmc
    >>> observed, A, B = dmc.datasets.planted((30, 20), rank=2, observed=0.5)
    >>> observed.n_observed, A.shape, B.shape
    (300, (30, 2), (20, 2))
    """

    observations: Observations
    A: NDArray[np.float64]
    B: NDArray[np.float64]

    @property
    def identifiability(self) -> Identifiability:
        """Which rows and columns the observed positions can determine at the planted rank; computed at each access.

        Judge a solver on those only: what it predicts elsewhere is luck.

        Examples
        --------
        >>> import dmc
        >>> print(dmc.datasets.planted((60, 60), rank=3, observed=0.14).identifiability)
        2 of 60 rows have too few entries for rank 3 and 3 of 60 columns have too few entries for rank 3
        """
        return Identifiability.of(self.observations.pattern, self.A.shape[1])


def planted(
    shape: tuple[int, int],
    rank: int,
    observed: float,
    *,
    condition: float = 1.0,
    noise: float = 0.0,
    seed: int | np.random.Generator = 0,
) -> Planted:
    """Make a random low-rank matrix, of which entries are observed uniformly at random, without replacement.

    The dense matrix is never formed, so shapes may be large.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    rank : int
        Rank of the planted matrix.
    observed : float
        Share of the entries that are observed, above 0, at most 1.
    condition : float
        Condition number σ_1/σ_rank; the singular values fall geometrically from the first to the last.
    noise : float
        Standard deviation of Gaussian noise on the observed values; a typical entry of X has standard deviation 1.
    seed : int or numpy.random.Generator
        The same seed gives the same matrix.

    Returns
    -------
    Planted
        With observations in float64.

    Examples
    --------
    >>> import numpy as np
    >>> import dmc
    >>> data = dmc.datasets.planted((30, 20), rank=2, observed=0.5, noise=0.1)
    >>> data.observations
    Observations(30×20, 300 observed = 50 %, float64)
    >>> int(np.linalg.matrix_rank(data.A @ data.B.T))
    2
    """
    m, n = _checks.shape(shape)
    rank = _checks.rank(rank, (m, n))
    _checks.real(condition, "condition", 1)
    _checks.real(noise, "noise", 0)
    _checks.real(observed, "observed", 0, 1)
    n_observed = round(observed * m * n)
    if n_observed < 1:
        raise ValueError(f"observed is {observed:g}: not one entry of a {m}×{n} matrix; raise it")
    rng = np.random.default_rng(seed)
    s = np.geomspace(1, 1 / condition, rank)
    root = np.sqrt(s * np.sqrt(m * n / np.sum(s**2)))
    A = np.linalg.qr(rng.standard_normal((m, rank)))[0] * root
    B = np.linalg.qr(rng.standard_normal((n, rank)))[0] * root
    positions = np.sort(rng.choice(m * n, n_observed, replace=False))
    rows, cols = positions // n, positions % n
    values = np.einsum("ij,ij->i", A[rows], B[cols])
    if noise:
        values += noise * rng.standard_normal(n_observed)
    return Planted(Observations.from_entries(rows, cols, values, (m, n)), A, B)


def photograph(
    observed: float = 0.3, seed: int | np.random.Generator = 0
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Load scikit-learn's photograph `china.jpg` with a random mask of observed pixels.

    Parameters
    ----------
    observed : float
        Share of the pixels that are observed.
    seed : int or numpy.random.Generator
        The same seed gives the same mask.

    Returns
    -------
    image : (427, 640, 3) float64
        Red, green and blue, from 0 to 1.
    mask : (427, 640) bool
        True where a pixel was observed.

    Raises
    ------
    ImportError
        If Pillow, which reads the file, is not installed.

    Examples
    --------
    >>> import dmc
    >>> image, mask = dmc.datasets.photograph(observed=0.3)
    >>> image.shape, round(float(mask.mean()), 2)
    ((427, 640, 3), 0.3)
    """
    from sklearn.datasets import load_sample_image

    _checks.real(observed, "observed", 0, 1, open_ends=True)
    try:
        image = load_sample_image("china.jpg") / 255.0
    except ImportError:
        raise ImportError("the photograph needs Pillow to be read; run: pip install 'dmc[plot]'") from None
    return image, np.random.default_rng(seed).random(image.shape[:2]) < observed
