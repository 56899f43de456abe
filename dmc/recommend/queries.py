"""What is asked of a fitted recommender: each a function of the served state. `dmc.Recommender` describes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set, ValuesView
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc.factors import Array, Factors
from dmc.pattern import SparseIndex
from dmc.recommend.state import State
from dmc.recommend.table import Table


def predict(state: State, table: Any, clip: bool, interval: float | None) -> Any:
    """The table with predictions of its pairs, and bounds of them if asked for."""
    user, item, _ = state.columns
    source = Table.open(table, (user, item))
    rows, cols = state.users.positions(source.ids(user)), state.items.positions(source.ids(item))
    predicted = _predicted(state, rows, cols)
    centre = np.clip(predicted, *state.range)
    result = source.with_column("prediction", centre if clip else predicted)
    if interval is None:
        return result
    if state.calibration is None:
        _checks.real(interval, "interval", 0, 1, open_ends=True)
        raise ValueError("this model has learnt no intervals; fit Recommender(intervals=True) to ratings")
    of_users, of_items = state.counts
    bounds = state.calibration.bounds(centre, of_users[rows], of_items[cols], interval)
    for name, bound in zip(("lower", "upper"), bounds, strict=True):
        inside = np.clip(bound, *state.range)  # before float32, which may not hold what lies outside
        result = Table.open(result).with_column(name, inside.astype(np.float32))
    return result


def recommend(state: State, users: Any, n: int, filter_already_liked: bool, filter_items: Any, items: Any) -> Any:
    """A table of the n best items for each user."""
    user, item, _ = state.columns
    source = _asked(state.users.ids if users is None else users, user)
    rows = state.users.positions(source.ids(user))
    among = None
    if items is not None or filter_items is not None:
        allowed = np.full(len(state.items), items is None)
        for ids, value in ((items, True), (filter_items, False)):
            cols = state.items.positions(_asked([] if ids is None else ids, item).ids(item), item)
            allowed[cols[cols >= 0]] = value
        among = np.flatnonzero(allowed)
    exclude = SparseIndex(np.append(state.seen.indptr, state.seen.indptr[-1]), state.seen.indices)
    by = state if state.ranking is None else state.ranking()
    best, _ = Factors(by.left, (), by.right[:-1]).top_n(
        rows % len(by.left), n, exclude=exclude if filter_already_liked else None, among=among
    )
    found = best >= 0
    counts = found.sum(axis=1)
    columns = {
        user: np.repeat(source.column(user), counts),
        item: state.items.ids[best[found]],
        "prediction": np.clip(_predicted(state, np.repeat(rows, counts), best[found]), *state.range),
    }
    return source.like(columns)


def similar(state: State, side: Literal["user", "item"], asked: Any, n: int) -> Any:
    """A table of the n users, or items, most like each of those asked for."""
    factors = state.factors
    if side == "user":
        name, vocabulary, own, other = state.columns[0], state.users, factors.U, factors.V
    else:
        name, vocabulary, own, other = state.columns[1], state.items, factors.V, factors.U
    n, source = _checks.integer(n, "n", 1), _asked(asked, name)
    ids = source.ids(name)
    positions = vocabulary.positions(ids)
    if (positions < 0).any():
        unknown = ids[positions < 0].tolist()[0]
        raise ValueError(f"{name} {unknown!r} is not known; ask for those that were rated in fit")
    units = _directions(own, other)
    itself = SparseIndex(np.arange(len(units) + 1), np.arange(len(units)))
    best, cosines = Factors(units, (), units).top_n(positions, n, exclude=itself)
    found = best >= 0
    columns = {
        name: np.repeat(source.column(name), found.sum(axis=1)),
        "similar": vocabulary.ids[best[found]],
        "similarity": cosines[found],
    }
    return source.like(columns)


def _directions(own: Array, other: Array) -> NDArray[np.float32]:
    """(known, k) unit vectors whose products are the cosines of the predictions over all of the other side."""
    own, other = (a / (np.abs(a).max(initial=0) or np.float32(1)) for a in (own, other))  # squares may overflow
    values, vectors = np.linalg.eigh(other.T.astype(np.float64) @ other)
    units: NDArray[np.float32] = own @ (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32)
    units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return units


def explain(state: State, user: Any, item: Any, n: int) -> dict[str, NDArray[Any]]:
    """What each of a user's ratings adds to the prediction for an item, the n largest."""
    n = _checks.integer(n, "n", 1)
    row, column = (
        _known(vocabulary.positions([asked], name)[0], name, asked)
        for vocabulary, asked, name in zip((state.users, state.items), (user, item), state.columns[:2], strict=True)
    )
    ratings, models = state.fitted()
    shares = np.mean([model.contributions(row, column) for model in models], axis=0)
    own = slice(state.seen.indptr[row], state.seen.indptr[row + 1])
    order = np.argsort(-np.abs(shares), kind="stable")[:n]
    return {
        state.columns[1]: state.items.ids[state.seen.indices[own][order]],
        state.columns[2]: ratings.values[own][order],
        "contribution": shares[order].astype(np.float32),
    }


def _known(position: np.int64, name: str, asked: Any) -> int:
    if position < 0:
        raise ValueError(f"{name} {asked!r} is not known; ask for one that was rated in fit")
    return int(position)


def user_vector(state: State, items: Any, ratings: Any, *, clicks: bool) -> NDArray[np.float32]:
    """(k,) the vector of somebody with these ratings alone; of clicks, one each if none are given."""
    _, item, rating = state.columns
    cols = state.items.positions(items, item)
    given = np.ones(len(cols)) if ratings is None else _checks.as_float(ratings, rating)
    if ratings is None and not clicks:
        raise ValueError("the ratings are not given; without them only feedback='implicit' places a user")
    _checks.same_length(items=cols, ratings=given)
    _checks.finite(given, rating)
    known, given = cols[cols >= 0], given[cols >= 0]
    if len(np.unique(known)) < len(known):
        raise ValueError("an item is given more than once; give each one time")
    order = np.argsort(known)
    vectors = [model.vector(known[order], given[order]) for model in state.fitted().models]
    factors = np.concatenate([vector[:-2] for vector in vectors])
    return np.append(factors, np.mean([vector[-2:] for vector in vectors], axis=0)).astype(np.float32)


def _predicted(state: State, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.float32]:
    """(pairs,) predictions at positions, −1 being somebody who is not known."""
    return state.served.at(rows % len(state.left), cols % len(state.right)) + np.float32(state.mean)


def _asked(ids: Any, name: str) -> Table:
    """A table of ids, whatever they came in."""
    if isinstance(ids, (Iterator, Set, ValuesView)):  # which NumPy would take for one id
        ids = list(ids)
    if not (hasattr(ids, "columns") or isinstance(ids, Mapping)):  # a list as it is: an array might round huge ids
        ids = {name: ids if isinstance(ids, (list, tuple)) else np.atleast_1d(ids)}
    return Table.open(ids, (name,))
