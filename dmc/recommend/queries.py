"""What is asked of a fitted recommender: predictions, lists, likeness, reasons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set, ValuesView
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.pattern import SparseIndex
from dmc.recommend.state import State
from dmc.recommend.table import Table, Vocabulary
from dmc.solver.solution import Status


class Recommending:
    """The part of `dmc.Recommender` that answers.

    What it answers by is one `State`, which the part that fits and loads replaces by another in one assignment: each
    query takes it once, so that many threads may ask while one fits.
    """

    _state: State | None = None

    def _served(self) -> State:
        state = self._state
        if state is None:
            from sklearn.exceptions import NotFittedError

            raise NotFittedError("this Recommender is not fitted yet; call fit with a table of ratings first")
        return state

    @property
    def columns_(self) -> tuple[str, str, str]:
        return self._served().columns

    @property
    def users_(self) -> Vocabulary:
        return self._served().users

    @property
    def items_(self) -> Vocabulary:
        return self._served().items

    @property
    def n_observed_(self) -> int:
        return len(self._served().seen.indices)

    @property
    def observations_(self) -> Observations:
        return self._served().fitted().observations

    @property
    def mean_(self) -> float:
        return self._served().mean

    @property
    def range_(self) -> tuple[float, float]:
        return self._served().range

    @property
    def rank_(self) -> int:
        return self._served().rank

    @property
    def noise_(self) -> float:
        return self._served().noise

    @property
    def status_(self) -> Status:
        return self._served().course.status

    @property
    def n_iter_(self) -> int:
        return self._served().course.n_iter

    @property
    def validation_rmse_(self) -> float:
        return self._served().course.validation_rmse

    @property
    def history_(self) -> list[dict[str, Any]]:
        return [dict(look) for look in self._served().course.history]

    @property
    def factors_(self) -> Factors:
        return self._served().factors

    @property
    def user_factors(self) -> NDArray[np.float32]:
        return self._served().left[:-1]

    @property
    def item_factors(self) -> NDArray[np.float32]:
        return self._served().right[:-1]

    def predict(self, table: Any, *, clip: bool = True, interval: float | None = None) -> Any:
        """Predict the rating of each pair of a user and an item.

        A user or an item that is not known gets what is expected of one without ratings.

        Parameters
        ----------
        table : data frame, mapping of arrays, or path of a file
            With the columns of users and items named as in `fit`.
        clip : bool
            Keep the predictions inside the range of the ratings seen in `fit`.
        interval : float, optional
            Also give bounds between which a rating lies with this probability, such as .9; needs
            ``Recommender(intervals=True)``. They are as wide as what is known of the user and of the item asks for, and
            hold for pairs like those that were rated before. They are the shortest found for this probability: those of
            a smaller one need not lie inside. Of later ratings bounds for 90 % have held 83–87 %: judge them by
            ``dmc.evaluation.split(by="time")``.

        Returns
        -------
        The table's own kind, with a column "prediction" (float32), and with `interval` "lower" and "upper"; for a file,
        a dict of arrays.
        """
        state = self._served()
        user, item, _ = state.columns
        source = Table.open(table, (user, item))
        rows, cols = state.users.lines(source.ids(user)), state.items.lines(source.ids(item))
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

    def recommend(
        self,
        users: Any = None,
        n: int = 10,
        *,
        filter_already_liked_items: bool = True,
        filter_items: Any = None,
        items: Any = None,
    ) -> Any:
        """The n best items for each user, of those that the user has not rated.

        Lists go by what a user would choose and by how he would rate it: a model of preferences (`recommend.implicit`),
        fitted to who rated what, plus the predicted rating (`recommend.list_ranking`). It is fitted once, when it is
        first needed: by this call, or by `save`, so that a loaded model has it. That takes as long as the fit to the
        ratings or, of millions, several times as long; meanwhile who asks for other lists waits. Where it was chance
        who rated what, lists go by predicted rating alone; with ``feedback="implicit"`` by the preference. Users who
        are not known get what is chosen often and rated high.

        Parameters
        ----------
        users : id, sequence of ids, or data frame or mapping with the column of users, optional
            All users that are known, if left out.
        n : int
            Items for each user; fewer where fewer are left.
        filter_already_liked_items : bool
            Leave out what the user has rated.
        filter_items : ids, as `users`, optional
            Never recommend these.
        items : ids, as `users`, optional
            Recommend only these. Unknown ones are left out, in both.

        Returns
        -------
        dict of arrays, or a data frame if one was given
            Columns of users, items (named as in `fit`) and "prediction" (float32): the predicted rating, or
            preference. Best first for each user, in the order given.
        """
        state = self._served()
        user, item, _ = state.columns
        source = _asked(state.users.ids if users is None else users, user)
        rows = state.users.lines(source.ids(user))
        among = None
        if items is not None or filter_items is not None:
            allowed = np.full(len(state.items), items is None)
            for ids, value in ((items, True), (filter_items, False)):
                lines = state.items.lines(_asked([] if ids is None else ids, item).ids(item), item)
                allowed[lines[lines >= 0]] = value
            among = np.flatnonzero(allowed)
        exclude = SparseIndex(np.append(state.seen.indptr, state.seen.indptr[-1]), state.seen.indices)
        by = state if state.ranking is None else state.ranking()
        best, _ = Factors(by.left, (), by.right[:-1]).top_n(
            rows % len(by.left), n, exclude=exclude if filter_already_liked_items else None, among=among
        )
        found = best >= 0
        counts = found.sum(axis=1)
        columns = {
            user: np.repeat(source.column(user), counts),
            item: state.items.ids[best[found]],
            "prediction": np.clip(_predicted(state, np.repeat(rows, counts), best[found]), *state.range),
        }
        return source.like(columns)

    def similar_items(self, items: Any, n: int = 10) -> Any:
        """The n items most like each of some items: those that the same users are predicted to rate alike.

        Parameters
        ----------
        items : id, sequence of ids, or data frame or mapping with the column of items
            Known ones.
        n : int

        Returns
        -------
        dict of arrays, or a data frame if one was given
            Columns of items, "similar" (ids) and "similarity" (the cosine, float32), most similar first.
        """
        state = self._served()
        return _similar(items, state.columns[1], state.items, state.factors.V, state.factors.U, n)

    def similar_users(self, users: Any, n: int = 10) -> Any:
        """The n users most like each of some users; see `similar_items`."""
        state = self._served()
        return _similar(users, state.columns[0], state.users, state.factors.U, state.factors.V, n)

    def explain(self, user: Any, item: Any, n: int = 10) -> dict[str, NDArray[Any]]:
        """Which of a user's ratings speak for an item, and which against it.

        The prediction is what is expected of such a user plus a contribution of each rating, by being higher or lower
        than was expected.

        Parameters
        ----------
        user, item : ids
            Known ones.
        n : int
            How many ratings at most.

        Returns
        -------
        dict of arrays
            Columns of items, ratings (named as in `fit`) and "contribution" (in the ratings' units, float32), largest
            first by size.
        """
        state, n = self._served(), _checks.integer(n, "n", 1)
        row, column = (
            int(vocabulary.lines([asked], name)[0])
            for vocabulary, asked, name in zip((state.users, state.items), (user, item), state.columns[:2], strict=True)
        )
        for line, name, asked in zip((row, column), state.columns[:2], (user, item), strict=True):
            if line < 0:
                raise ValueError(f"{name} {asked!r} is not known; ask for one that was rated in fit")
        ratings, members = state.fitted()
        shares = np.mean([member.contributions(row, column) for member in members], axis=0)
        own = slice(state.seen.indptr[row], state.seen.indptr[row + 1])
        order = np.argsort(-np.abs(shares), kind="stable")[:n]
        return {
            state.columns[1]: state.items.ids[state.seen.indices[own][order]],
            state.columns[2]: ratings.values[own][order],
            "contribution": shares[order].astype(np.float32),
        }


def _predicted(state: State, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.float32]:
    """(pairs,) predictions at lines of the factors, −1 being somebody who is not known."""
    return state.served.at(rows % len(state.left), cols % len(state.right)) + np.float32(state.mean)


def _similar(asked: Any, name: str, vocabulary: Vocabulary, own: NDArray[Any], other: NDArray[Any], n: int) -> Any:
    n, source = _checks.integer(n, "n", 1), _asked(asked, name)
    ids = source.ids(name)
    lines = vocabulary.lines(ids)
    if (lines < 0).any():
        unknown = ids[lines < 0].tolist()[0]
        raise ValueError(f"{name} {unknown!r} is not known; ask for those that were rated in fit")
    # Vectors whose products are those of the predictions over all lines of the other side.
    own, other = (a / (np.abs(a).max(initial=0) or np.float32(1)) for a in (own, other))  # squares may overflow
    values, vectors = np.linalg.eigh(other.T.astype(np.float64) @ other)
    units = own @ (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32)
    units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    itself = SparseIndex(np.arange(len(units) + 1), np.arange(len(units)))
    best, cosines = Factors(units, (), units).top_n(lines, n, exclude=itself)
    found = best >= 0
    columns = {
        name: np.repeat(source.column(name), found.sum(axis=1)),
        "similar": vocabulary.ids[best[found]],
        "similarity": cosines[found],
    }
    return source.like(columns)


def _asked(ids: Any, name: str) -> Table:
    """A table of ids, whatever they came in."""
    if isinstance(ids, (Iterator, Set, ValuesView)):  # which NumPy would take for one id
        ids = list(ids)
    if not (hasattr(ids, "columns") or isinstance(ids, Mapping)):  # a list as it is: an array might round huge ids
        ids = {name: ids if isinstance(ids, (list, tuple)) else np.atleast_1d(ids)}
    return Table.open(ids, (name,))
