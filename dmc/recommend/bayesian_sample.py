"""A Bayesian fit of very many ratings begins on some of the rows: how these are drawn, shown, and gone on from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dmc._group import Group, Share, spread_qr
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.recommend.bayesian_model import covariance
from dmc.recommend.factor_posterior import FactorPosterior


def as_of_all_rows(chosen: NDArray[np.int64], count: int, shift: float, group: Group, some: Factors) -> Factors:
    """Factors of some of the rows as those of all, the others standing where these do on average."""
    assert some.row_bias is not None
    assert some.column_bias is not None
    number = np.float32(group.sum(len(chosen)))
    average, middle = (group.sum(of.sum(axis=0)) / number for of in (some.U, some.row_bias))
    U, bias = np.repeat(average[None], count, axis=0), np.full(count, middle)
    U[chosen], bias[chosen] = some.U, some.row_bias
    return Factors(U, (), some.V, bias, some.column_bias + np.float32(shift))


def some_rows(
    observations: Observations, n_entries: int, rng: np.random.Generator, share: Share
) -> tuple[NDArray[np.int64], Observations, Share]:
    """Rows drawn by chance, ascending, that have about so many entries in all processes; these entries; and the rows'
    share. Of a share in parts whole parts are drawn."""
    index = observations.pattern.by_row
    counts = share.in_all(share.of_parts(np.asarray(index.indptr))) if share.hashed else observations.pattern.row_counts
    order = rng.permutation(len(counts))
    drawn = np.sort(order[: int(np.searchsorted(np.cumsum(counts[order]), n_entries)) + 1])
    if share.hashed:
        share, chosen = share.among(drawn)
    else:
        share, chosen = Share.whole(len(drawn)), drawn
    index, places = index.take(chosen)
    weights = None if observations.weights is None else observations.weights[places]
    shape = (len(chosen), observations.shape[1])
    return chosen, Observations.from_lines(index, observations.values[places], shape, weights), share


def keep_largest(rows: FactorPosterior, columns: FactorPosterior, width: int) -> None:
    """Drop all directions but those in which the model is largest."""
    R, T = (spread_qr(side.means[:, :-1].astype(np.float64), side.rows_over)[1] for side in (rows, columns))
    P, s, Qt = np.linalg.svd(R @ T.T)
    root, first = np.sqrt(s[:width]), rows.rows_over.first  # another machine may choose other signs
    rows.rotate(first(np.linalg.pinv(R) @ P[:, :width] * root))
    columns.rotate(first(np.linalg.pinv(T) @ Qt[:width].T * root))


def begin_from_sample(
    sides: tuple[FactorPosterior, FactorPosterior],
    of_sample: tuple[FactorPosterior, FactorPosterior],
    shift: float,
    ratio: float,
    rng: np.random.Generator,
) -> None:
    """Columns, and the prior of the rows, as a fit to some of the rows has left them.

    Parameters
    ----------
    sides, of_sample : (rows, columns)
    shift, ratio : float
        The sample's mean, and its unit, in units of all.
    rng : numpy.random.Generator
    """
    (rows, columns), (some_rows, same_columns), root = sides, of_sample, np.float32(ratio**0.5)
    columns.means, columns.covariance = same_columns.means * root, same_columns.covariance * ratio
    columns.means[:, -1] *= root
    columns.means[:, -1] += np.float32(shift)
    columns.set_features(columns.presence)
    rows.add_directions(columns.means.shape[1] - 1, rng)
    each = np.ones(len(some_rows.means), np.int64)
    rows.covariance = (covariance(some_rows.means, each, some_rows.rows_over) + some_rows.covariance) * ratio
    rows.weights[0] = average(some_rows) * ratio**0.5


def average(side: FactorPosterior) -> NDArray[np.float32]:
    """(unknowns,) of the means of all rows of all processes."""
    means, total = side.means, side.rows_over.sum
    return np.asarray(total(means.sum(axis=0)) / np.float32(total(len(means))))
