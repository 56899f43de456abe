"""Lists from ratings: an item is worth listing if the user would choose it, and more so if he would rate it high."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import kernels
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.recommend import implicit
from dmc.recommend.preferences import Preferences
from dmc.recommend.side_information import NONE, Described, SideInformation
from dmc.recommend.state import Fitted, Lazy, Origin, Ranking
from dmc.solver.solution import Status

Float = NDArray[np.float32]


@dataclass(frozen=True)
class ListRankingTuning:
    """What was chosen for lists from ratings, on held-out parts of the training ratings of MovieLens 100K, Douban,
    FilmTrust and MovieTweetings, with preferences of two kinds of ridge and of weights: what is best goes with the size
    of the preferences.

    Attributes
    ----------
    rank : int
        Of the preferences; 32 lose a tenth of Douban's NDCG, and cost half.
    rating_share : float
        What a standard deviation of the ratings is worth, of the rated pairs' average preference.
    full_gain : float
        Above one half: such an area under the curve, or a larger one, lets preferences count in full.
    held_out : float
        Share of the rated pairs that tell that area.
    min_held_out, max_held_out : int
        Of these pairs: with fewer lists go by predicted rating.
    """

    rank: int = 64
    rating_share: float = 0.25
    full_gain: float = 0.125
    held_out: float = 0.1
    min_held_out: int = 20
    max_held_out: int = 20_000


TUNING = ListRankingTuning()


def rank_lists(
    ratings: Observations, served: Factors, attributes: SideInformation, device: str | None, n_threads: int | None
) -> Ranking:
    """How a recommender's lists are to be ranked: a model of preferences is fitted to who rated what.

    What is rated and what is not tells more of what a user wants than the ratings do, but not everywhere: where pairs
    were rated by chance, it tells nothing. So preferences count by how well they tell rated pairs, which they have not
    seen, from others; where they do not, and where there are too few ratings to know, lists go by predicted rating.

    Parameters
    ----------
    ratings : Observations
    served : Factors
        Whose products, plus the mean, are the predicted ratings; each side with a last row for those who are not known.
    attributes : SideInformation
        Who has no rating is taken to be chosen, and to choose, as others of such attributes are and do.
    device : str, optional
        Where to fit.
    n_threads : int, optional

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C: half a fit is not kept.
    """
    chosen = chosen_of(ratings)
    try:
        train, held_out = chosen.split(min(TUNING.held_out, TUNING.max_held_out / chosen.n_observed), 0)
    except ValueError:  # each pair is the only one of its user or item
        return _by_rating(served)
    if held_out.n_observed < TUNING.min_held_out:
        return _by_rating(served)
    with kernels.threads(n_threads):
        first = _fitted(train, device, None, attributes)
        share = min((_area(first.factors, chosen, held_out) - 0.5) / TUNING.full_gain, 1.0)
        if share <= 0:
            return _by_rating(served)
        found = _fitted(chosen, device, first)
    weight = TUNING.rating_share * _average(found) / (share * (float(np.std(ratings.values, dtype=np.float64)) or 1.0))
    return joined(found, served, weight)


def rank_again(
    origin: Origin,
    ratings: Observations,
    served: Factors,
    attributes: SideInformation,
    refit: bool,
    device: str | None,
    n_threads: int | None,
) -> Ranking:
    """The ranking for more ratings, users or items, from the one before: how ratings count in it stays.

    Parameters
    ----------
    origin : Origin
    ratings, served, attributes, device, n_threads
        As in `rank_lists`.
    refit : bool
        Also fit the preferences again from where they stand; else only new and changed rows are placed.
    """
    before = origin.ranking()
    if before.preferences is None:
        return rank_lists(ratings, served, attributes, device, n_threads) if refit else _by_rating(served)
    chosen = chosen_of(ratings)
    with kernels.threads(n_threads):
        of_users, of_items = (None if of is None else Described(np.arange(len(of)), of) for of in attributes)
        way = origin.row_of, origin.column_of, origin.changed, (of_users, of_items)
        grown = before.preferences().extended(chosen, *way)
        if refit:
            grown = _fitted(chosen, device, grown)
    return joined(grown, served, before.rating_weight)


def joined(found: Preferences, served: Factors, rating_weight: float) -> Ranking:
    """Preferences and ratings as one product.

    Who has chosen nothing yet, or unknown items alone, is taken to prefer what most have chosen, as strongly on average
    as others do what they have chosen themselves.
    """
    counts, wanted = found.counts.pattern.column_counts, found.factors
    squares = float(np.square(counts, dtype=np.float64).sum())
    popular = np.append(counts * (_average(found) * found.counts.n_observed / squares), 0)
    new = np.append(~found.known, True)
    U, V = (np.vstack([side, np.zeros_like(side[:1])]) for side in (wanted.U, wanted.V))
    left = np.hstack([np.where(new[:, None], 0, U), new[:, None], rating_weight * served.left], dtype=np.float32)
    right = np.hstack([V, popular[:, None], served.right], dtype=np.float32, casting="same_kind")
    return Ranking(left, right, rating_weight, Lazy.of(found))


def row(ranking: Ranking, columns: NDArray[np.int64], predicting: Float) -> Float:
    """(k,) the row of `ranking.left` of somebody new, from what he has rated alone and his vector for predictions.

    Raises
    ------
    ValueError
        If there are preferences, and the model was saved without its ratings.
    """
    if ranking.preferences is None:
        return predicting
    prefers = ranking.preferences().vector(columns, np.ones(len(columns)))[:-2]
    return np.concatenate([prefers, [0], ranking.rating_weight * predicting], dtype=np.float32, casting="same_kind")


def _average(found: Preferences) -> float:
    """Preference of the pairs that were chosen."""
    pairs = found.counts.rows, found.counts.cols
    return max(float(found.factors.at(*pairs).mean(dtype=np.float64)), 0.0)


def arrays(ranking: Ranking, *, preferences: bool = True) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """What `from_arrays` needs besides the ratings: the product as it is served, and numbers.

    Parameters
    ----------
    ranking : Ranking
    preferences : bool
        Also what its preferences are to be taken out again by; without ratings they cannot be.
    """
    if ranking.preferences is None:
        return {}, {}
    numbers: dict[str, Any] = {"rating_weight": ranking.rating_weight}
    arrays: dict[str, NDArray[Any]] = {"left": ranking.left, "right": ranking.right}
    if preferences:
        found = ranking.preferences()
        of_these, told = found.arrays()
        numbers |= {"width": found.factors.width, "preferences": told}
        arrays |= {name: array for name, array in of_these.items() if name.endswith(".cold")}
    return arrays, numbers


def from_arrays(
    arrays: Mapping[str, NDArray[Any]], numbers: Mapping[str, Any], served: Factors, fitted: Lazy[Fitted]
) -> Ranking:
    """The ranking again; its preferences are taken out of the product when they are asked for."""
    if not numbers:
        return _by_rating(served)
    left, right = arrays["left"], arrays["right"]
    preferences = Lazy(partial(_preferences_in, arrays, numbers, fitted))
    return Ranking(left, right, numbers["rating_weight"], preferences)


def _preferences_in(
    arrays: Mapping[str, NDArray[Any]], numbers: Mapping[str, Any], fitted: Lazy[Fitted]
) -> Preferences:
    ratings, models = fitted()  # first: a model that was saved without them says so
    width = numbers["width"]
    factors = {"U": arrays["left"][:-1, :width], "V": arrays["right"][:-1, :width]}
    found = Preferences.from_arrays({**arrays, **factors}, numbers["preferences"], chosen_of(ratings))
    return replace(found, attributes=models[0].attributes)


def chosen_of(ratings: Observations) -> Observations:
    """Each rated pair as one click; as more or less than one, where ratings have weights."""
    weights = np.ones(ratings.n_observed, np.float32)
    if ratings.weights is not None:
        weights = (ratings.weights / ratings.weights.mean(dtype=np.float64)).astype(np.float32)
    return replace(ratings, values=weights, weights=None)


def _by_rating(served: Factors) -> Ranking:
    return Ranking(np.asarray(served.left), np.asarray(served.right), 1.0, None)


def _fitted(
    chosen: Observations, device: str | None, start: Preferences | None, attributes: SideInformation = NONE
) -> Preferences:
    found = implicit.fit(chosen, TUNING.rank, 0, (), device, start, attributes)
    if found.status is Status.STOPPED:  # which nothing but Ctrl-C does here
        raise KeyboardInterrupt
    return found


def _area(factors: Factors, chosen: Observations, held_out: Observations) -> float:
    """Under the curve: how often a held-out pair is preferred to one that its user has not chosen, drawn by chance."""
    rng, known = np.random.default_rng(0), np.flatnonzero(chosen.pattern.column_counts)
    rows = np.asarray(held_out.rows).astype(np.int64)
    columns = known[rng.integers(0, len(known), held_out.n_observed)]
    other = chosen.locate(rows, columns) < 0
    if not other.any():
        return 0.5
    rows, columns = rows[other], columns[other]
    theirs, others = factors.at(rows, held_out.cols[other].astype(np.int64)), factors.at(rows, columns)
    return float(np.mean(theirs > others) + 0.5 * np.mean(theirs == others))
