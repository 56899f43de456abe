"""What is asked of a fitted recommender: each a function of the served state. `dmc.Recommender` describes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set, ValuesView
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc._warn import warn
from dmc.factors import Factors
from dmc.pattern import SparseIndex
from dmc.recommend import answers, candidates, list_ranking
from dmc.recommend.answers import Output
from dmc.recommend.state import State
from dmc.recommend.tables.table import Table
from dmc.recommend.tables.vocabulary import Vocabulary

MANY_STRANGERS = 20  # of whom somebody should be known: fewer may well all be new

Positions = NDArray[np.int64]
Vectors = Literal["prediction", "ranking"]


def predict(
    state: State, table: Any, *, clip: bool, interval: float | None, unknown: str, output: Output | None
) -> Any:
    """The table with predictions of its pairs, whether both of each are known, and bounds if asked for."""
    _checks.choice(unknown, "unknown", ("mean", "error", "nan"))
    user, item, _ = state.columns
    source = Table.open(table, (user, item))
    rows = _positions(state.users, source.ids(user), user, unknown)
    cols = _positions(state.items, source.ids(item), item, unknown)
    predicted = _predicted(state, rows, cols)
    centre = np.clip(predicted, *state.range)
    known = (rows >= 0) & (cols >= 0)
    found: dict[str, NDArray[Any]] = {"prediction": centre if clip else predicted, "known": known}
    if interval is not None:
        found |= _bounds(state, rows, cols, centre, interval)
    if unknown == "nan":
        found = {name: np.where(known, values, np.float32(np.nan)) for name, values in found.items()} | {"known": known}
    return answers.added_to(source, found, output)


def _bounds(
    state: State, rows: Positions, cols: Positions, centre: NDArray[np.float32], interval: float
) -> dict[str, NDArray[np.float32]]:
    if state.calibration is None:
        _checks.real(interval, "interval", 0, 1, open_ends=True)
        raise ValueError("this model has learnt no intervals; fit Recommender(intervals=True) to ratings")
    of_users, of_items = state.counts
    bounds = state.calibration.bounds(centre, of_users[rows], of_items[cols], interval)
    inside = (np.clip(bound, *state.range) for bound in bounds)  # before float32, which may not hold what lies outside
    return {name: bound.astype(np.float32) for name, bound in zip(("lower", "upper"), inside, strict=True)}


def recommend(
    state: State,
    users: Any,
    n: int,
    *,
    filter_already_liked: bool,
    filter_items: Any,
    items: Any,
    clip: bool,
    unknown: str,
    output: Output | None,
    clicks: bool,
) -> Any:
    """A table of the n best items for each user."""
    _checks.choice(unknown, "unknown", ("mean", "error"))
    if filter_already_liked and state.without_ratings is not None:
        raise ValueError(
            "the model was saved without its ratings and does not know what a user has rated; "
            "pass filter_already_liked_items=False"
        )
    user, item, _ = state.columns
    hidden = state.rated if filter_already_liked else state.disliked if clicks else None
    own = items if isinstance(items, Mapping) and item not in items else None
    if users is None:
        users = state.users.ids if own is None else list(own)
    source = asked(users, user)
    ids = source.ids(user)
    rows = _positions(state.users, ids, user, unknown)
    if own is None:
        best = _best(state, rows, n, hidden, filter_items, items)
    else:
        best = _best_of_own(state, ids, rows, n, hidden, filter_items, own)
    found = best >= 0
    counts = found.sum(axis=1)
    predicted = _predicted(state, np.repeat(rows, counts), best[found])
    columns = {
        user: np.repeat(source.column(user), counts),
        item: state.items.ids[best[found]],
        "prediction": np.clip(predicted, *state.range) if clip else predicted,
    }
    return answers.given_back(source, columns, output)


def _best(state: State, rows: Positions, n: int, hidden: SparseIndex | None, never: Any, only: Any) -> Positions:
    """(users, n) the best items of all, or of some; −1 where fewer are left."""
    among = None
    if only is not None or never is not None:
        allowed = np.full(len(state.items), only is None)
        for ids, value in ((only, True), (never, False)):
            if ids is not None:
                allowed[_known_items(state, ids)] = value
        among = np.flatnonzero(allowed)
    scores = _scores(state)
    best, _ = scores.top_n(rows % len(scores.U), n, exclude=hidden, among=among)
    return np.asarray(best)


def _best_of_own(
    state: State,
    ids: NDArray[Any],
    rows: Positions,
    n: int,
    hidden: SparseIndex | None,
    never: Any,
    own: Mapping[Any, Any],
) -> Positions:
    """The same of each user's own candidates."""
    user, item, _ = state.columns
    owners, flat = candidates.flattened(own)
    positions = _positions(state.items, asked(flat, item).ids(item), item, "mean")
    if never is not None:
        positions = np.where(np.isin(positions, _known_items(state, never)), -1, positions)
    left, scores = candidates.of_each(ids, user, own, owners, positions), _scores(state)
    rows = rows % len(scores.U)
    if hidden is not None:
        left = candidates.without(left, hidden.take(rows)[0], len(state.items))
    return candidates.best(scores, rows, n, left)


def _known_items(state: State, ids: Any) -> Positions:
    """Positions of those of some items that are known."""
    item = state.columns[1]
    positions = _positions(state.items, asked(ids, item).ids(item), item, "mean")
    return positions[positions >= 0]


def _scores(state: State) -> Factors:
    """What lists go by; the last row is of users who are not known."""
    by = state if state.ranking is None else state.ranking()
    return Factors(by.left, (), by.right[:-1])


def factors(state: State, vectors: Vectors) -> Factors:
    """Vectors of those who are known, whose products are the predictions less the mean, or order the lists."""
    _checks.choice(vectors, "vectors", ("prediction", "ranking"))
    if vectors == "ranking":
        scores = _scores(state)
        return Factors(scores.U[:-1], (), scores.V)
    return Factors(state.left[:-1], (), state.right[:-1])


def similar(state: State, side: Literal["user", "item"], of: Any, n: int, output: Output | None) -> Any:
    """A table of the n users, or items, most like each of those asked for."""
    if side == "user":
        name, vocabulary, units = state.columns[0], state.users, state.user_directions
    else:
        name, vocabulary, units = state.columns[1], state.items, state.item_directions
    n, source = _checks.integer(n, "n", 1), asked(of, name)
    ids = source.ids(name)
    positions = vocabulary.positions(ids)
    if (positions < 0).any():
        unknown = ids[positions < 0].tolist()[0]
        raise ValueError(f"{name} {unknown!r} is not known; give {name}s that were rated in fit")
    itself = SparseIndex(np.arange(len(units) + 1), np.arange(len(units)))
    best, cosines = Factors(units, (), units).top_n(positions, n, exclude=itself)
    found = best >= 0
    columns = {
        name: np.repeat(source.column(name), found.sum(axis=1)),
        "similar": vocabulary.ids[best[found]],
        "similarity": cosines[found],
    }
    return answers.given_back(source, columns, output)


def explain(state: State, user: Any, item: Any, n: int, output: Output | None) -> Any:
    """What each of a user's ratings adds to the prediction for an item, the n largest."""
    n = _checks.integer(n, "n", 1)
    row, column = (
        _known(vocabulary.positions([id], name)[0], name, id)
        for vocabulary, id, name in zip((state.users, state.items), (user, item), state.columns[:2], strict=True)
    )
    ratings, models = state.fitted()
    shares = np.mean([model.contributions(row, column) for model in models], axis=0)
    own = slice(state.seen.indptr[row], state.seen.indptr[row + 1])
    order = np.argsort(-np.abs(shares), kind="stable")[:n]
    columns = {
        state.columns[1]: state.items.ids[state.seen.indices[own][order]],
        state.columns[2]: ratings.values[own][order],
        "contribution": shares[order].astype(np.float32),
    }
    return answers.given_back(Table.open({}), columns, output)


def _known(position: np.int64, name: str, id: Any) -> int:
    if position < 0:
        raise ValueError(f"{name} {id!r} is not known; give one that was rated in fit")
    return int(position)


def user_vector(
    state: State, items: Any, ratings: Any, vectors: Vectors = "prediction", *, clicks: bool
) -> NDArray[np.float32]:
    """(k,) the vector of somebody with these ratings alone; of clicks, one each if none are given."""
    _checks.choice(vectors, "vectors", ("prediction", "ranking"))
    _, item, rating = state.columns
    cols = state.items.positions(items, item)
    given = np.ones(len(cols)) if ratings is None else _checks.as_float(ratings, rating)
    if ratings is None and not clicks:
        raise ValueError("ratings is missing; only a model with feedback='implicit' needs none")
    _checks.same_length(items=cols, ratings=given)
    _checks.finite(given, rating)
    known, given = cols[cols >= 0], given[cols >= 0]
    if len(np.unique(known)) < len(known):
        raise ValueError("an item is given more than once; give each item once")
    order = np.argsort(known)
    lists_by = state.ranking() if vectors == "ranking" and state.ranking is not None else None
    if len(known) == 0 or (clicks and (given < 0).all()):  # nothing is known of what such a one likes
        return np.array(state.left[-1] if lists_by is None else lists_by.left[-1])
    of_each = [model.vector(known[order], given[order]) for model in state.models()]
    own = np.concatenate([vector[:-2] for vector in of_each])
    predicting = np.append(own, np.mean([vector[-2:] for vector in of_each], axis=0)).astype(np.float32)
    return predicting if lists_by is None else list_ranking.row(lists_by, known[order], predicting)


def _predicted(state: State, rows: Positions, cols: Positions) -> NDArray[np.float32]:
    """(pairs,) predictions at positions, −1 being somebody who is not known."""
    return state.served.at(rows % len(state.left), cols % len(state.right)) + np.float32(state.mean)


def _positions(vocabulary: Vocabulary, ids: NDArray[Any], name: str, unknown: str) -> Positions:
    """(entries,) the position of each id, −1 where one is not known; refused, or warned of, where that is worse.

    A few strangers are everyday life; where nobody is known, the ids are most likely spelt in another way.
    """
    positions = vocabulary.positions(ids, name)
    missing = positions < 0
    if unknown == "error" and missing.any():
        strangers = np.unique(ids[missing])
        others = f", nor are {len(strangers) - 1:,} others" if len(strangers) > 1 else ""
        raise ValueError(
            f"{name} {ids[missing][0].item()!r} is not known{others}; leave out unknown ones, or pass "
            "unknown='mean' to predict what is expected of them"
        )
    if unknown == "mean" and len(ids) >= MANY_STRANGERS and missing.all():
        count = len(np.unique(ids))
        if count >= MANY_STRANGERS:
            warn(
                f"none of the {count:,} ids in {name!r} is known, such as {ids[0].item()!r}; a known one is "
                f"{vocabulary.ids[0].item()!r}: spell them as in fit"
            )
    return positions


def asked(ids: Any, name: str) -> Table:
    """A table of ids, whatever they came in."""
    if isinstance(ids, Table):
        return ids
    if isinstance(ids, (Iterator, Set, ValuesView)):  # which NumPy would take for one id
        ids = list(ids)
    if not (
        hasattr(type(ids), "columns") or isinstance(ids, Mapping)
    ):  # a list as it is: an array might round huge ids
        ids = {name: ids if isinstance(ids, (list, tuple)) else np.atleast_1d(ids)}
    return Table.open(ids, (name,))
