"""What is asked of a fitted recommender: predictions, lists, likeness, reasons."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Set, ValuesView
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc.bayesian import Bayesian
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.pattern import Lines
from dmc.preferences import Preferences
from dmc.ratings import Table, Vocabulary

Model = Bayesian | Preferences


class Recommending:
    """The part of `dmc.Recommender` that answers; what it needs of the part that fits and loads stands first."""

    columns_: tuple[str, str, str]  # of users, items and ratings in a table
    users_: Vocabulary
    items_: Vocabulary
    mean_: float
    range_: tuple[float, float]
    _left: NDArray[np.float32]  # factors and biases as they are multiplied, a last line for strangers
    _right: NDArray[np.float32]
    _seen: Lines
    _ratings: Observations
    _residuals: NDArray[np.float32]  # absolute, ascending; none: no intervals

    def _models(self) -> list[Model]:
        raise NotImplementedError

    def _check_fitted(self) -> None:
        if not hasattr(self, "_left"):
            from sklearn.exceptions import NotFittedError

            raise NotFittedError("this Recommender is not fitted yet; call fit with a table of ratings first")

    @property
    def factors_(self) -> Factors:
        left, right = self.user_factors, self.item_factors
        return Factors(left[:, :-2], (), right[:, :-2], left[:, -2], right[:, -1])

    @property
    def user_factors(self) -> NDArray[np.float32]:
        self._check_fitted()
        return self._left[:-1]

    @property
    def item_factors(self) -> NDArray[np.float32]:
        self._check_fitted()
        return self._right[:-1]

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
            ``Recommender(intervals=True)``. They hold on average over pairs like those that were rated.

        Returns
        -------
        The table's own kind, with a column "prediction" (float32), and with `interval` "lower" and "upper"; for a file,
        a dict of arrays.
        """
        self._check_fitted()
        source = Table.open(table, self.columns_[:2])
        user, item = (source.ids(name) for name in self.columns_[:2])
        rows, cols = self.users_.lines(user), self.items_.lines(item)
        m, n = len(self._left), len(self._right)
        predicted = Factors(self._left, (), self._right).at(rows % m, cols % n) + np.float32(self.mean_)
        centre = np.clip(predicted, *self.range_)
        result = source.with_column("prediction", centre if clip else predicted)
        if interval is None:
            return result
        half = self._half_width(interval)
        for name, bound in (("lower", centre - half), ("upper", centre + half)):
            result = Table.open(result).with_column(name, np.clip(bound, *self.range_))
        return result

    def _half_width(self, probability: float) -> np.float32:
        probability = _checks.real(probability, "interval", 0, 1, open_ends=True)
        n = len(self._residuals)
        if n == 0:
            raise ValueError("this model has learnt no intervals; fit Recommender(intervals=True)")
        place = math.ceil((n + 1) * probability) - 1  # Vovk et al.: exact for the next rating like these
        return np.float32(self._residuals[place] if place < n else self.range_[1] - self.range_[0])

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

        Users who are not known get the items that are best on average.

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
            Columns of users, items (named as in `fit`) and "prediction" (float32), best first for each user in the
            order given.
        """
        self._check_fitted()
        user, item, _ = self.columns_
        source = _asked(self.users_.ids if users is None else users, user)
        rows = self.users_.lines(source.ids(user))
        among = None
        if items is not None or filter_items is not None:
            allowed = np.full(len(self.items_), items is None)
            for ids, value in ((items, True), (filter_items, False)):
                lines = self.items_.lines(_asked([] if ids is None else ids, item).ids(item), item)
                allowed[lines[lines >= 0]] = value
            among = np.flatnonzero(allowed)
        seen = Lines(np.append(self._seen.pointers, self._seen.pointers[-1]), self._seen.indices)
        best, scores = Factors(self._left, (), self._right[:-1]).top_n(
            rows % len(self._left), n, exclude=seen if filter_already_liked_items else None, among=among
        )
        found = best >= 0
        columns = {
            user: np.repeat(source.column(user), found.sum(axis=1)),
            item: self.items_.ids[best[found]],
            "prediction": np.clip(scores[found] + np.float32(self.mean_), *self.range_),
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
        f = self.factors_
        return self._similar(items, self.columns_[1], self.items_, f.V, f.U, n)

    def similar_users(self, users: Any, n: int = 10) -> Any:
        """The n users most like each of some users; see `similar_items`."""
        f = self.factors_
        return self._similar(users, self.columns_[0], self.users_, f.U, f.V, n)

    def _similar(
        self, asked: Any, name: str, vocabulary: Vocabulary, own: NDArray[Any], other: NDArray[Any], n: int
    ) -> Any:
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
        itself = Lines(np.arange(len(units) + 1), np.arange(len(units)))
        best, cosines = Factors(units, (), units).top_n(lines, n, exclude=itself)
        found = best >= 0
        columns = {
            name: np.repeat(source.column(name), found.sum(axis=1)),
            "similar": vocabulary.ids[best[found]],
            "similarity": cosines[found],
        }
        return source.like(columns)

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
        self._check_fitted()
        n, members = _checks.integer(n, "n", 1), self._models()
        row, column = (
            int(vocabulary.lines([asked], name)[0])
            for vocabulary, asked, name in zip((self.users_, self.items_), (user, item), self.columns_[:2], strict=True)
        )
        for line, name, asked in zip((row, column), self.columns_[:2], (user, item), strict=True):
            if line < 0:
                raise ValueError(f"{name} {asked!r} is not known; ask for one that was rated in fit")
        shares = np.mean([member.contributions(row, column) for member in members], axis=0)
        own = slice(self._seen.pointers[row], self._seen.pointers[row + 1])
        order = np.argsort(-np.abs(shares), kind="stable")[:n]
        return {
            self.columns_[1]: self.items_.ids[self._seen.indices[own][order]],
            self.columns_[2]: self._ratings.values[own][order],
            "contribution": shares[order].astype(np.float32),
        }


def _asked(ids: Any, name: str) -> Table:
    """A table of ids, whatever they came in."""
    if isinstance(ids, (Iterator, Set, ValuesView)):  # which NumPy would take for one id
        ids = list(ids)
    if not (hasattr(ids, "columns") or isinstance(ids, Mapping)):  # a list as it is: an array might round huge ids
        ids = {name: ids if isinstance(ids, (list, tuple)) else np.atleast_1d(ids)}
    return Table.open(ids, (name,))
